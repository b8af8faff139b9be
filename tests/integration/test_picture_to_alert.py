"""From a picture to a listed anomaly over a real Kafka and a real Cassandra: each agent reads what the last wrote.

Only the model is the shipped fake, whose "pictures" are numbers. Names are the test's own: broker and node are shared.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
from inventorybot.adapters.cassandra.evidence import CassandraEvidence
from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.cassandra.schema import epoch_of
from inventorybot.adapters.kafka import KafkaPublisher, Topics
from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.adapters.memory.vision import MemoryBlobs, MemoryCountModel
from inventorybot.domain.alerts import Anomaly, Step
from inventorybot.domain.events import BinImage, Kind, Movement
from inventorybot.wire import topics
from inventorybot.wire.anomalies import step_message
from inventorybot.wire.codec import Message, Record, TimeLimits, image_message, movement_message
from services.local.kafka import Broker
from streaming.agents.alert import AlertAgent
from streaming.agents.count import CountAgent, Serving
from streaming.agents.ledger import LedgerAgent
from streaming.agents.variance import VarianceAgent
from tests.conftest import Schema
from tests.unit.variance.looks import RULES

MINUTE = 60_000
ALL = (topics.UPDATES, topics.BIN_IMAGES, topics.BIN_COUNTS, topics.LEVELS, topics.ANOMALIES)


async def first_release() -> str:
    return "v1"


class Plant:
    """The agents of one site, and their consumers by hand."""

    def __init__(self, bootstrap: str, schema: Schema, site: str) -> None:
        self.site, self.config = site, {"bootstrap.servers": bootstrap}
        self.publisher, self.dead = KafkaPublisher(self.config), MemoryDeadLetters()
        admin = Topics(self.config)
        admin.create(ALL, 2, 1)
        epochs = {t.name: epoch_of(schema.database, admin.state(t.name)) for t in ALL}
        self.partitions = {t.name: admin.state(t.name).partitions for t in ALL}
        self.places: dict[str, list[int]] = {
            t.name: [self._end(t.name, p) for p in range(self.partitions[t.name])] for t in ALL
        }
        now = lambda: time.time_ns() // 1_000_000  # noqa: E731
        ledger, self.anomalies = CassandraLedger(schema.database), CassandraAnomalies(schema.database)
        self.evidence = CassandraEvidence(schema.database, now)
        self.ledger = LedgerAgent(
            ledger, self.publisher, self.dead, epoch=epochs["inventory.updates"], limits=TimeLimits(),
            belongs=self.belongs, now=now,
        )  # fmt: skip
        serving = Serving(first_release, MemoryCountModel, poll_s=60, clock=time.monotonic)
        self.count = CountAgent(serving, MemoryBlobs({}), self.publisher, self.dead, limits=TimeLimits(), now=now)
        self.variance = VarianceAgent(
            ledger, self.evidence, self.anomalies, self.publisher, self.dead, rules=RULES,
            epoch=epochs["inventory.bin-counts"], now=now,
        )  # fmt: skip
        self.alert = AlertAgent(self.anomalies, self.dead, epoch=epochs["inventory.anomalies"])
        self.home = 0

    def belongs(self, _key: bytes) -> int:
        return self.home

    def _end(self, topic: str, partition: int) -> int:
        consumer = Consumer(self.config | {"group.id": "x"})
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
        finally:
            consumer.close()

    def read(self, topic: str, at_least: int) -> list[Record]:
        """What has arrived for this site since the last read."""
        starts = [TopicPartition(topic, p, at) for p, at in enumerate(self.places[topic])]
        consumer = Consumer(self.config | {"group.id": f"{self.site}-{topic}", "enable.auto.commit": False})
        found: list[Record] = []
        try:
            consumer.assign(starts)
            deadline = time.monotonic() + 20
            while len(found) < at_least and time.monotonic() < deadline:
                for m in consumer.consume(100, timeout=0.2):
                    assert m.error() is None
                    at = (m.partition(), m.offset())
                    self.places[topic][at[0]] = at[1] + 1
                    if (m.key() or b"").startswith(self.site.encode()):
                        headers = tuple(m.headers() or ())
                        found.append(Record(topic, *at, m.key(), m.value(), headers, m.timestamp()[1]))
        finally:
            consumer.close()
        assert len(found) >= at_least
        return found

    async def publish(self, *messages: Message) -> None:
        await self.publisher.publish(messages)

    async def listed(self) -> list[Anomaly]:
        return [a async for a in self.anomalies.list(site=self.site)]


@pytest.fixture
async def plant(kafka: Broker, schema: Schema, unique_name: str) -> AsyncIterator[Plant]:
    made = Plant(kafka.bootstrap, schema, unique_name)
    yield made
    made.publisher.close()


async def test_pictures_of_a_bin_that_lost_a_unit_become_a_listed_anomaly_which_a_person_closes(plant: Plant) -> None:
    site, start = plant.site, time.time_ns() // 1_000_000 - 10 * MINUTE
    await plant.publish(movement_message(Movement("r1", Kind.RECEIPT, start, site, "B1", "K1", 4, source="wms")))
    updates = plant.read("inventory.updates", 1)
    plant.home = updates[0].partition
    await plant.ledger.handle(updates)

    shots = [BinImage(f"i{n}", start + n * MINUTE, site, "B1", b"1", source="robot") for n in (1, 2, 3)]
    bad = BinImage("i9", start + MINUTE, site, "B1", b"not a jpeg", source="robot")
    await plant.publish(*(image_message(shot) for shot in (shots[0], bad, *shots[1:])))
    pictures = plant.read("inventory.bin-images", 4)
    await plant.count.handle(pictures)
    assert [x.code for x in plant.dead.letters.values()] == ["image-corrupt"]

    counts = plant.read("inventory.bin-counts", 3)
    await plant.variance.handle(counts)
    await plant.variance.handle(counts)  # told again: nothing more to say
    steps = plant.read("inventory.anomalies", 1)
    await plant.alert.handle(steps)
    (found,) = await plant.listed()
    assert (found.bin, found.status, found.knowledge.recorded, found.knowledge.estimate) == ("B1", "open", 4, 1)
    rows = await plant.evidence.counts((site, "B1"))
    assert [(r.image_id, r.recorded, r.distribution.count) for r in rows] == [("i3", 4, 1), ("i2", 4, 1), ("i1", 4, 1)]

    closed = Step("p1", found.id, found.kind, "closed", start + 9 * MINUTE, site, "B1", actor="ana", reason="other")
    await plant.publish(step_message(closed, "test"))
    await plant.alert.handle([*steps, *plant.read("inventory.anomalies", 1)])
    (found,) = await plant.listed()
    assert (found.status, found.closed_by) == ("closed", "ana")
    assert [s.action for s in await plant.anomalies.steps(found.id)][-1] == "closed"

    await plant.publish(image_message(BinImage("i4", start + 8 * MINUTE, site, "B1", b"1", source="robot")))
    await plant.count.handle(plant.read("inventory.bin-images", 1))
    await plant.variance.handle(plant.read("inventory.bin-counts", 1))
    state = (await plant.evidence.load([(site, "B1")]))[site, "B1"]
    assert (state.said, state.serial, state.looks) == (None, 1, ())
