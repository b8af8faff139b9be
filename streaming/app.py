"""The composition root of each agent: settings in, a Faust application out. `AGENTS` lists them.

A worker runs one agent, so that each scales by itself; its consumer group is `inventorybot-AGENT`. Each `_agent`
function imports what only it needs: a ledger worker never loads torch.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import faust
from aiokafka.partitioner import murmur2
from faust.exceptions import ConsumerNotStarted

from inventorybot import telemetry, wiring
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.cassandra.schema import epoch_of
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.kafka import KafkaPublisher, Topics
from inventorybot.clock import now_ms
from inventorybot.settings import Settings
from inventorybot.wire import topics
from inventorybot.wire.topics import Topic
from streaming.harness import BUFFERED_CHUNKS, FAILED, UNFORESEEN, Agent, Garbage, Harness, Transport

COMMIT_EVERY_S = 1.0
"""What a killed worker's successor does again: a second of events."""
HEARTBEAT_S = 3.0
WATCHED, WATCH_LINGER_S = 8192, 0.5
"""What runs out in days need not be seen within milliseconds: many changes of a SKU are one look at it."""
MAX_POLL_S = 600.0
"""A worker that waits for a database keeps its partitions this long: nobody else could do better."""

log = telemetry.log(__name__)


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
    """One stream of a worker: the topic, how its agent is made, and the most events one of its batches takes.

    Args:
        linger_s: how long its batches wait for company; None: as the settings say.
    """

    topic: Topic
    make: Callable[[Parts], Agent]
    size: Callable[[Settings], int]
    linger_s: float | None = None


def _ledger(p: Parts) -> Agent:
    from streaming.agents.ledger import LedgerAgent

    return LedgerAgent(
        CassandraLedger(p.database), p.publisher, p.dead_letters, epoch=p.epoch, limits=wiring.time_limits(p.settings),
        belongs=lambda key: (murmur2(key) & 0x7FFFFFFF) % p.partitions, now=now_ms,
    )  # fmt: skip


def _count(p: Parts) -> Agent:
    from inventorybot.adapters.count_model import load
    from inventorybot.adapters.registry_news import shipped
    from streaming.agents.count import CountAgent, Serving

    s = p.settings
    news = wiring.model_news(s)
    serving = Serving(
        lambda: news.current("count"), lambda release: load(news.fetch(release).path, s.device), poll_s=s.model_poll_s,
        clock=time.monotonic, spare=shipped("count"),
    )  # fmt: skip
    asyncio.run(serving.model())  # loaded before the first picture comes, not when it waits
    return CountAgent(serving, wiring.blobs(s), p.publisher, p.dead_letters, limits=wiring.time_limits(s), now=now_ms)


def _variance(p: Parts) -> Agent:
    from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
    from inventorybot.adapters.cassandra.evidence import CassandraEvidence
    from inventorybot.domain.bin_watch import Rules
    from inventorybot.domain.variance import Costs, MiscountPrior
    from streaming.agents.variance import VarianceAgent

    s = p.settings
    rules = Rules(MiscountPrior(s.miscount_rate), Costs(s.recount_cost, s.missed_error_cost), s.look_weight)
    return VarianceAgent(
        CassandraLedger(p.database), CassandraEvidence(p.database, now_ms), CassandraAnomalies(p.database), p.publisher,
        p.dead_letters, rules=rules, epoch=p.epoch, now=now_ms,
    )  # fmt: skip


def _settle(p: Parts) -> Agent:
    from inventorybot.adapters.cassandra.evidence import CassandraEvidence
    from streaming.agents.settle import SettleAgent

    return SettleAgent(CassandraEvidence(p.database, now_ms), p.publisher, p.dead_letters)


def _alert(p: Parts) -> Agent:
    from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
    from streaming.agents.alert import AlertAgent

    return AlertAgent(CassandraAnomalies(p.database), p.dead_letters, epoch=p.epoch)


def _stock_watch(p: Parts) -> Agent:
    from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
    from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
    from inventorybot.adapters.cassandra.stock_watch import CassandraStockWatch
    from inventorybot.domain.stock_watch import WatchRules
    from streaming.agents.stock_watch import StockWatchAgent

    s = p.settings
    rules = WatchRules(s.cover_horizon_days, s.stock_out_probability, s.excess_cover_days, s.excess_units)
    return StockWatchAgent(
        CassandraLedger(p.database), CassandraForecasts(p.database), CassandraStockWatch(p.database),
        CassandraAnomalies(p.database), p.publisher, p.dead_letters, rules=rules, partitions=p.partitions, now=now_ms,
        poll_s=s.stock_watch_poll_s,
    )  # fmt: skip


def _events(settings: Settings) -> int:
    return settings.batch_events


AGENTS: dict[str, tuple[Spec, ...]] = {
    "ledger": (Spec(topics.UPDATES, _ledger, _events),),
    "count": (Spec(topics.BIN_IMAGES, _count, lambda s: s.batch_images),),
    "variance": (Spec(topics.BIN_COUNTS, _variance, _events), Spec(topics.LEVELS, _settle, _events)),
    "alert": (Spec(topics.ANOMALIES, _alert, _events),),
    "stock-watch": (Spec(topics.LEVELS, _stock_watch, lambda s: WATCHED, WATCH_LINGER_S),),
}
"""What each worker runs. A worker's streams share its consumer group, and with it its partitions."""


def connect(settings: Settings, name: str) -> list[Agent]:
    """The agents of a worker, in the order of `AGENTS`, with everything they need. Raises: SetupError, TryLater."""
    known = Topics(wiring.kafka_config(settings))
    states = [known.state(spec.topic.name) for spec in AGENTS[name]]
    database = wiring.database(settings)
    publisher = wiring.publisher(settings)
    dead_letters = CassandraDeadLetters(database, wiring.kafka_config(settings))
    return [
        spec.make(Parts(settings, database, publisher, dead_letters, epoch_of(database, state), state.partitions))
        for spec, state in zip(AGENTS[name], states, strict=True)
    ]


def build(settings: Settings, name: str, agents: Sequence[Agent]) -> faust.App:
    """The Faust application that runs a worker's agents. At least once, no tables: see docs/adr/0001."""
    specs, garbage = AGENTS[name], Garbage(agents)
    app = faust.App(
        f"inventorybot-{name}",
        broker=[f"kafka://{host.strip()}" for host in settings.kafka.split(",")],
        broker_credentials=_credentials(settings),
        broker_session_timeout=settings.broker_session_timeout_s,
        broker_heartbeat_interval=min(HEARTBEAT_S, settings.broker_session_timeout_s / 3),
        broker_max_poll_interval=MAX_POLL_S,
        broker_commit_interval=COMMIT_EVERY_S,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * 1_048_576,
        stream_buffer_maxsize=BUFFERED_CHUNKS,
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
    for spec, agent in zip(specs, agents, strict=True):
        linger_s = settings.linger_ms / 1000 if spec.linger_s is None else spec.linger_s
        harness = Harness(
            agent,
            size=spec.size(settings),
            linger_s=linger_s,
            retry_limit_s=settings.retry_limit_s,
            tidy=garbage.sweep,
        )
        source = app.topic(
            spec.topic.name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        app.agent(source, name=agent.name, concurrency=1)(_stream(harness, garbage))
        if hasattr(agent, "beside"):
            app.task(_beside(app, spec.topic.name, agent))
    return app


def _stream(harness: Harness, garbage: Garbage) -> Callable[[Any], Coroutine[Any, Any, None]]:
    async def run(stream: Any) -> None:
        garbage.begin()
        await harness.run(stream)

    return run


def _beside(app: faust.App, topic: str, agent: Any) -> Callable[[], Coroutine[Any, Any, None]]:
    """What an agent does beside its stream, with the partitions of it that this worker holds."""

    async def run() -> None:
        try:
            await agent.beside(lambda: held(app, topic))
        except asyncio.CancelledError:
            raise
        except BaseException:  # a worker that does half its work looks well, and is not
            log.exception(UNFORESEEN, agent=agent.name)
            os._exit(FAILED)

    return run


def held(app: faust.App, topic: str) -> set[int]:
    """The partitions of a topic that this worker holds now."""
    try:
        return {place.partition for place in app.consumer.assignment() if place.topic == topic}
    except ConsumerNotStarted:
        return set()


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
