"""The composition root of each agent: settings in, a Faust application out. `AGENTS` lists them.

A worker runs one agent, so that each scales by itself; its consumer group is `inventorybot-AGENT`. Each `_agent`
function imports what only it needs: a ledger worker never loads torch.
"""

from __future__ import annotations

import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faust
from aiokafka.partitioner import murmur2

from inventorybot import wiring
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.cassandra.schema import epoch_of
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.kafka import KafkaPublisher, Topics
from inventorybot.settings import Settings
from inventorybot.wire import topics
from inventorybot.wire.topics import Topic
from streaming.harness import Agent, Harness, Transport

COMMIT_EVERY_S = 1.0
"""What a killed worker's successor does again: a second of events."""
HEARTBEAT_S = 3.0
MAX_POLL_S = 600.0
"""A worker that waits for a database keeps its partitions this long: nobody else could do better."""
BUFFERED_EVENTS = 8192


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What an agent is made from. `epoch`, `partitions`: of the topic it reads."""

    settings: Settings
    database: Database
    publisher: KafkaPublisher
    dead_letters: CassandraDeadLetters
    epoch: int
    partitions: int


@dataclass(frozen=True, slots=True)
class Spec:
    """One agent: the topic it reads, how it is made, and the most events one of its batches takes."""

    topic: Topic
    make: Callable[[Parts], Agent]
    size: Callable[[Settings], int]


def _ledger(p: Parts) -> Agent:
    from streaming.agents.ledger import LedgerAgent

    return LedgerAgent(
        CassandraLedger(p.database), p.publisher, p.dead_letters, epoch=p.epoch, limits=wiring.time_limits(p.settings),
        belongs=lambda key: (murmur2(key) & 0x7FFFFFFF) % p.partitions, now=now_ms,
    )  # fmt: skip


AGENTS: dict[str, Spec] = {
    "ledger": Spec(topics.UPDATES, _ledger, lambda s: s.batch_events),
}


def connect(settings: Settings, name: str) -> tuple[Agent, Parts]:
    """An agent with everything it needs. Raises: SetupError, TryLater."""
    spec = AGENTS[name]
    state = Topics(wiring.kafka_config(settings)).state(spec.topic.name)
    database = wiring.database(settings)
    publisher = wiring.publisher(settings)
    dead_letters = CassandraDeadLetters(database, wiring.kafka_config(settings))
    parts = Parts(settings, database, publisher, dead_letters, epoch_of(database, state), state.partitions)
    return spec.make(parts), parts


def build(settings: Settings, name: str, agent: Agent) -> faust.App:
    """The Faust application that runs an agent. At least once, one stream, no tables: see docs/adr/0001."""
    spec = AGENTS[name]
    app = faust.App(
        f"inventorybot-{name}",
        broker=[f"kafka://{host.strip()}" for host in settings.kafka.split(",")],
        broker_credentials=_credentials(settings),
        broker_session_timeout=settings.broker_session_timeout_s,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_max_poll_interval=MAX_POLL_S,
        broker_commit_interval=COMMIT_EVERY_S,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * 1_048_576,
        stream_buffer_maxsize=max(BUFFERED_EVENTS // 64, 2 * spec.size(settings)),
        stream_wait_empty=False,  # events that were read but not handled are read again by their next owner
        processing_guarantee="at_least_once",
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
        datadir=tempfile.mkdtemp(prefix=f"inventorybot-{name}-"),  # Faust insists on one; nothing of ours is in it
        autodiscover=False,
    )
    app.transport = Transport(app.conf.broker, app, loop=app.loop)
    source = app.topic(spec.topic.name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    harness = Harness(
        agent, size=spec.size(settings), linger_s=settings.linger_ms / 1000, retry_limit_s=settings.retry_limit_s
    )

    async def run(stream: Any) -> None:
        await harness.run(stream)

    app.agent(source, name=name, concurrency=1)(run)
    return app


def _credentials(settings: Settings) -> Any:
    tls = (
        ssl.create_default_context(cafile=settings.kafka_ca_file or None) if "SSL" in settings.kafka_security else None
    )
    if settings.kafka_security.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=settings.kafka_sasl_mechanism, username=settings.kafka_user, password=settings.kafka_password,
            ssl_context=tls,
        )  # fmt: skip
    return faust.SSLCredentials(tls) if tls else None
