"""`inventorybot api`: the composition root of the HTTP API.

In: settings. Out: uvicorn on INVENTORYBOT_API_HOST:API_PORT (127.0.0.1:8700 unless told otherwise: there is no
authentication yet), until SIGTERM or Ctrl-C. Waits up to a minute for a Cassandra that is still starting.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import uvicorn

from inventorybot import settings as configuration
from inventorybot import telemetry, wiring
from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.evidence import CassandraEvidence
from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.cassandra.plans import CassandraPlans
from inventorybot.adapters.cassandra.restock import CassandraRestock
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.kafka import KafkaPublisher
from inventorybot.adapters.kafka_log import KafkaLog
from inventorybot.clock import now_ms
from inventorybot.errors import SetupError
from inventorybot.settings import Settings
from inventorybot.wire.topics import ANOMALIES
from services.api.app import create_app
from services.api.parts import Parts

if TYPE_CHECKING:
    from inventorybot.adapters.blobs import Blobs

BACKLOG = 512
"""Connections that may wait to be taken in while a burst is worked off."""
CONNECTIONS = 800
"""Requests and streams at once, else 503: with the connections to Kafka and Cassandra below the usual 1,024 open files."""
GRACE_S = 5
"""For requests in flight at SIGTERM; live streams are ended at once, and their clients come again."""


def api(
    port: Annotated[int, typer.Option(help="port; 0: the setting INVENTORYBOT_API_PORT", min=0, max=65535)] = 0,
    host: Annotated[str, typer.Option(help="address; empty: the setting INVENTORYBOT_API_HOST")] = "",
) -> None:
    """Run the HTTP API. Its document is at /openapi.json."""
    settings = configuration.load()
    telemetry.configure_logging(settings.log_level, process="api")
    listener = listen(host or settings.api_host, port or settings.api_port)
    database = wiring.database(settings)
    try:
        serve(settings, database, listener)
    finally:
        database.close()


def listen(host: str, port: int) -> socket.socket:
    """The socket, before anything else is started. Raises: SetupError: the port is taken, or the address not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SetupError(
            f"the API cannot listen on {host}:{port} ({error.strerror}); choose another with --port"
        ) from error
    return listener


def serve(settings: Settings, database: Database, listener: socket.socket) -> None:
    """Serve until told to stop."""
    log = KafkaLog(wiring.kafka_config(settings))
    publisher = wiring.publisher(settings)
    letters = CassandraDeadLetters(database, wiring.kafka_config(settings))
    try:
        app = create_app(assemble(settings, database, log, publisher, letters))
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, backlog=BACKLOG, lifespan="on",
            limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=GRACE_S,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        publisher.close()
        letters.close()
        log.close()


def assemble(
    settings: Settings,
    database: Database,
    log: KafkaLog,
    publisher: KafkaPublisher,
    letters: CassandraDeadLetters,
) -> Parts:
    """The real parts."""
    ledger = CassandraLedger(database)
    return Parts(
        publisher=publisher,
        log=log,
        levels=ledger,
        anomalies=CassandraAnomalies(database),
        evidence=CassandraEvidence(database, now_ms),
        plans=CassandraPlans(database, now_ms),
        restock=CassandraRestock(database, now_ms),
        dead_letters=letters,
        blobs=LazyBlobs(settings),
        times=wiring.time_limits(settings),
        checks={
            "kafka": lambda: log.bounds(ANOMALIES.name),
            "cassandra": lambda: database.rows("SELECT step FROM schema_step WHERE all_steps = ? LIMIT 1", ("all",)),
        },
    )


class LazyBlobs:
    """Referenced pictures; their libraries (fsspec's stores, an image decoder) are loaded when the first is asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._blobs: Blobs | None = None

    async def read(self, url: str) -> bytes:
        """Raises: BadEvent, TryLater. SetupError: this process was installed without the extra `vision`."""
        if self._blobs is None:
            try:
                module = await asyncio.to_thread(importlib.import_module, "inventorybot.adapters.blobs")
            except ImportError as error:
                raise SetupError(f"pictures by reference need the extra `vision`: {error}") from error
            self._blobs = self._make(module.Blobs)
        return await self._blobs.read(url)

    def _make(self, make: type[Blobs]) -> Blobs:
        s = self._settings
        root = Path(s.images_root) if s.images_root else None
        endpoint = s.images_s3_endpoint or None
        return make(("file", "s3"), root, s.image_timeout_s, anonymous=s.images_s3_anonymous, endpoint=endpoint)
