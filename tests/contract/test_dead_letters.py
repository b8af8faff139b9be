"""What every keeper of dead letters must do: the fake, and Cassandra's index over Kafka's bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.kafka import Topics
from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.errors import BadEvent, Code, TryLater
from inventorybot.ports import DeadLetter, DeadLetters
from inventorybot.wire.codec import Record
from inventorybot.wire.topics import DEAD_LETTERS
from services.local.cassandra import Node
from services.local.kafka import Broker
from tests.conftest import without_idempotence

NOW = time.time_ns() // 1_000_000
HOUR = 3_600_000
BAD = BadEvent(Code.OUT_OF_RANGE, "/data/quantity", "quantity: expected `int` >= 1 – not 0")
EVERY_BYTE = bytes(range(256))


@pytest.fixture(scope="module")
def database(cassandra: Node) -> Iterator[Database]:
    """A keyspace of these tests' own: they list everything there is."""
    made = Database.connect(
        [cassandra.host], cassandra.port, datacenter="datacenter1", consistency="LOCAL_QUORUM", timeout_s=20
    )
    migrate(made, "dead_letters", datacenter="datacenter1", replication=1)
    yield made
    made.close()


@pytest.fixture(params=["memory", "cassandra"])
def letters(request: pytest.FixtureRequest) -> Iterator[DeadLetters]:
    if request.param == "memory":
        yield MemoryDeadLetters()
        return
    database: Database = request.getfixturevalue("database")
    kafka: Broker = request.getfixturevalue("kafka")
    config = {"bootstrap.servers": kafka.bootstrap}
    Topics(config).create([DEAD_LETTERS], partitions=1, replication=1)
    database.execute("TRUNCATE dead_letter_by_day")
    made = CassandraDeadLetters(database, config, lambda: NOW)
    yield made
    made.close()


def letter(
    offset: int = 7, at: int = NOW - HOUR, topic: str = "inventory.updates", error: BadEvent = BAD
) -> DeadLetter:
    headers = [("ce_id", b"e-1"), ("x-robot", b"\xff\x00"), ("dl_topic", b"an impostor"), ("ce_id", b"e-2")]
    return DeadLetter.of(Record(topic, 3, offset, b"BER1/A", EVERY_BYTE, headers, at), error)


async def listed(letters: DeadLetters, **filters: str | int) -> list[int]:
    return [x.offset async for x in letters.list(**filters)]  # type: ignore[arg-type]


async def test_the_original_comes_back_byte_for_byte(letters: DeadLetters) -> None:
    await letters.put([letter()])
    found = await letters.get("inventory.updates:3:7")
    assert found == letter()
    assert found.original.value == EVERY_BYTE
    assert list(found.original.headers) == [
        ("ce_id", b"e-1"), ("x-robot", b"\xff\x00"), ("dl_topic", b"an impostor"), ("ce_id", b"e-2")
    ]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(None, b"x"), (b"k", None), (None, None), (b"", b"")])
async def test_null_stays_null_and_empty_stays_empty(
    letters: DeadLetters, key: bytes | None, value: bytes | None
) -> None:
    original = Record("inventory.updates", 0, 1, key, value, [], NOW - HOUR)
    await letters.put([DeadLetter.of(original, BAD)])
    found = await letters.get("inventory.updates:0:1")
    assert found is not None
    assert (found.original.key, found.original.value) == (key, value)


async def test_the_largest_image_event_is_kept_whole(letters: DeadLetters) -> None:
    big = Record("inventory.bin-images", 0, 1, b"BER1/A", b"x" * 1_390_000, [], NOW - HOUR)
    await letters.put([DeadLetter.of(big, BAD)])
    found = await letters.get("inventory.bin-images:0:1")
    assert found is not None
    assert found.original.value == b"x" * 1_390_000


async def test_a_list_is_newest_first_over_days_and_filtered(letters: DeadLetters) -> None:
    key = BadEvent(Code.BAD_KEY, "", "the key must be site/bin")
    await letters.put([
        letter(1, NOW - 50 * HOUR), letter(2, NOW - HOUR), letter(3, NOW - 26 * HOUR, error=key),
        letter(4, NOW - 2 * HOUR, "inventory.bin-images"), letter(5, NOW - 27 * HOUR),
    ])  # fmt: skip
    assert await listed(letters) == [2, 4, 3, 5, 1]
    assert await listed(letters, limit=2) == [2, 4]
    assert await listed(letters, code="bad-key") == [3]
    assert await listed(letters, topic="inventory.bin-images") == [4]
    assert await listed(letters, topic="inventory.updates", code="out-of-range", limit=2) == [2, 5]
    (first,) = [x async for x in letters.list(limit=1)]
    assert not first.whole
    assert (first.code, first.path, first.reason) == (BAD.code, BAD.path, BAD.reason)


async def test_a_repeat_changes_nothing(letters: DeadLetters) -> None:
    await letters.put([letter()])
    await letters.mark_replayed(letter().id, NOW)
    await letters.put([letter(), letter(8)])
    assert await listed(letters) == [7, 8]
    assert await letters.get(letter().id) == replace(letter(), replayed_at=NOW)
    await letters.put([])


async def test_a_letter_sent_again_twice_shows_the_last_time(letters: DeadLetters) -> None:
    await letters.put([letter()])
    for at in (NOW - 5, NOW):
        await letters.mark_replayed(letter().id, at)
    found = await letters.get(letter().id)
    assert found is not None
    assert found.replayed_at == NOW


@pytest.mark.parametrize(
    "name", ["", "x", "inventory.updates:3:9", "inventory.updates:3:-1", "a:b:c", "t:1:" + "9" * 40]
)
async def test_there_is_no_letter_of_another_name(letters: DeadLetters, name: str) -> None:
    await letters.put([letter()])
    assert await letters.get(name) is None
    await letters.mark_replayed(name, NOW)
    assert await listed(letters) == [7]


async def test_what_retention_removed_is_told_as_gone(letters: DeadLetters, request: pytest.FixtureRequest) -> None:
    await letters.put([letter()])
    if isinstance(letters, MemoryDeadLetters):
        letters.forget_bytes(letter().id)
    else:
        admin = AdminClient({"bootstrap.servers": request.getfixturevalue("kafka").bootstrap})
        done = admin.delete_records([TopicPartition(DEAD_LETTERS.name, 0, -1)])  # -1: all there is
        for future in done.values():
            future.result()
    found = await letters.get(letter().id)
    assert found is not None
    assert not found.whole
    assert found.original.value is None
    assert (found.code, found.reason, found.at) == (BAD.code, BAD.reason, NOW - HOUR)


async def test_a_dead_broker_is_a_reason_to_try_later_and_nothing_is_indexed(database: Database) -> None:
    database.execute("TRUNCATE dead_letter_by_day")
    alone = CassandraDeadLetters(database, {"bootstrap.servers": "127.0.0.1:9", "log_level": 0}, lambda: NOW)
    with pytest.raises(TryLater, match="kafka"):
        await alone.put([letter()])
    assert await listed(alone) == []
    alone.close()


async def test_a_producer_that_librdkafka_gave_up_is_replaced(database: Database, kafka: Broker) -> None:
    database.execute("TRUNCATE dead_letter_by_day")
    config: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap, "log_level": 0}
    Topics(config).create([DEAD_LETTERS], 1, 1)
    letters = CassandraDeadLetters(database, config, lambda: NOW)
    with without_idempotence(config), pytest.raises(TryLater, match="kafka"):
        await letters.put([letter()])
    await letters.put([letter()])
    assert len(await listed(letters)) == 1
    letters.close()
