"""What every reader of the log must do: the fake and Kafka alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from inventorybot.adapters.kafka import KafkaPublisher
from inventorybot.adapters.kafka_log import KafkaLog
from inventorybot.adapters.memory.log import MemoryLog
from inventorybot.errors import TryLater
from inventorybot.ports import LogReader, Position, Publisher
from inventorybot.wire.codec import Message
from inventorybot.wire.topics import ANOMALIES
from services.local.kafka import Broker

TOPIC = ANOMALIES.name
START = (0, 0, 0)


class Stage:
    """A log, a way to write to it, and a way to age it."""

    def __init__(self, log: LogReader, publisher: Publisher, admin: AdminClient | None) -> None:
        self.log, self.publisher, self._admin = log, publisher, admin

    async def write(self, *values: str) -> None:
        await self.publisher.publish([Message(TOPIC, f"k{v}".encode(), v.encode(), [("h", b"\x00")]) for v in values])

    def forget(self, partition: int, before: int) -> None:
        if isinstance(self.log, MemoryLog):
            self.log.retain_from(TOPIC, partition, before)
        elif self._admin is not None:
            for future in self._admin.delete_records([TopicPartition(TOPIC, partition, before)]).values():
                future.result()

    async def all(self, start: Position, until: Position) -> list[tuple[int, int, str]]:
        async with aclosing(self.log.read(TOPIC, start, until)) as batches:
            return [(r.partition, r.offset, (r.value or b"").decode()) async for batch in batches for r in batch]


@pytest.fixture(params=["memory", "kafka"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    if request.param == "memory":
        memory = MemoryLog()
        yield Stage(memory, memory, None)
        return
    kafka: Broker = request.getfixturevalue("kafka")
    config = {"bootstrap.servers": kafka.bootstrap}
    admin = AdminClient(config)
    _remake(admin)
    log, publisher = KafkaLog(config), KafkaPublisher(config)
    yield Stage(log, publisher, admin)
    log.close()
    publisher.close()


def _remake(admin: AdminClient) -> None:
    """An empty topic: these tests count offsets from 0."""
    if TOPIC in admin.list_topics(timeout=10).topics:
        for future in admin.delete_topics([TOPIC], operation_timeout=10).values():
            future.result()
    for _ in range(100):
        (future,) = admin.create_topics([NewTopic(TOPIC, 3, 1)], operation_timeout=10).values()
        if future.exception() is None:
            return
    raise AssertionError(future.exception())


async def test_every_record_between_two_places_is_read_once_and_in_order(stage: Stage) -> None:
    await stage.write(*map(str, range(50)))
    oldest, end = await stage.log.bounds(TOPIC)
    assert oldest == START
    assert sum(end) == 50
    found = await stage.all(START, end)
    assert sorted(int(value) for _, _, value in found) == list(range(50))
    for p in range(3):
        assert [offset for partition, offset, _ in found if partition == p] == list(range(end[p]))
    middle = tuple(n // 2 for n in end)
    assert sorted(await stage.all(START, middle) + await stage.all(middle, end)) == sorted(found)
    assert await stage.all(end, end) == []


async def test_one_record_is_found_by_its_place(stage: Stage) -> None:
    await stage.write("a", "b")
    for partition, offset, value in await stage.all(START, (await stage.log.bounds(TOPIC))[1]):
        record = await stage.log.at(TOPIC, partition, offset)
        assert record is not None
        assert (record.key, record.value, list(record.headers)) == (
            f"k{value}".encode(),
            value.encode(),
            [("h", b"\x00")],
        )
    assert await stage.log.at(TOPIC, 0, 99) is None
    assert await stage.log.at(TOPIC, 99, 0) is None
    assert await stage.log.at("no-such-topic", 0, 0) is None


async def test_what_retention_removed_is_gone_and_reading_goes_on_from_the_oldest(stage: Stage) -> None:
    await stage.write(*map(str, range(50)))
    end = (await stage.log.bounds(TOPIC))[1]
    partition = max(range(3), key=lambda p: end[p])
    stage.forget(partition, 2)
    assert (await stage.log.bounds(TOPIC))[0][partition] == 2
    assert await stage.log.at(TOPIC, partition, 1) is None
    offsets = [offset for p, offset, _ in await stage.all(START, end) if p == partition]
    assert offsets == list(range(2, end[partition]))


async def test_a_follower_gets_what_comes_later(stage: Stage) -> None:
    await stage.write("before")
    end = (await stage.log.bounds(TOPIC))[1]
    found: list[bytes | None] = []

    async def follow() -> None:
        async with aclosing(stage.log.read(TOPIC, end)) as batches:
            async for batch in batches:
                found.extend(r.value for r in batch)
                if len(found) == 2:
                    return

    task = asyncio.create_task(follow())
    await stage.write("one")
    await stage.write("two")
    await asyncio.wait_for(task, 20)
    assert sorted(v or b"" for v in found) == [b"one", b"two"]


async def test_a_topic_that_is_not_there_yet_is_a_reason_to_try_later(stage: Stage) -> None:
    with pytest.raises(TryLater, match="no-such-topic"):
        await stage.log.bounds("no-such-topic")


async def test_a_dead_broker_is_a_reason_to_try_later() -> None:
    log = KafkaLog({"bootstrap.servers": "127.0.0.1:9", "log_level": 0})
    with pytest.raises(TryLater):
        await log.bounds(TOPIC)
    with pytest.raises(TryLater):
        await log.at(TOPIC, 0, 0)
    log.close()
