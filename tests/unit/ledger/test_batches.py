"""Bound rows into the bytes of a batch: held against the driver's own encoding, and against Cassandra's limits.

In: values and writes. Out: frames, batches. Run: pytest on this file; needs no database.
"""

from __future__ import annotations

import asyncio
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import ConsistencyLevel, DriverException
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType

from inventorybot.adapters.cassandra.session import (
    MAX_BATCH_BYTES,
    Prepared,
    Write,
    _gather,
    _Protocol,
    pack,
    packed,
    partition_of,
)

QUERY_ID = bytes(range(16))
TYPES = ("text", "int", "bigint", "timestamp", "double", "text")
CASSANDRA_REFUSES = 50 * 1024
"""batch_size_fail_threshold of a stock cassandra.yaml. It counts 20 bytes a cell (write time, TTL, deletion time) and each
row's own 20: level_by_bin with names of one character takes 138 bytes as it is sent, and counts as 214."""


def statement() -> Prepared:
    columns = [SimpleNamespace(type=SimpleNamespace(typename=name)) for name in TYPES]
    made: Any = SimpleNamespace(query_id=QUERY_ID, column_metadata=columns)
    return Prepared(made)


def frame(handler: Any, queries: list[Any]) -> bytes:
    message = BatchMessage(BatchType.UNLOGGED, queries, ConsistencyLevel.LOCAL_QUORUM)
    encoded: bytes = handler.encode_message(message, 7, 4, None, False)
    return encoded


def test_a_batch_is_sent_as_the_driver_would_send_it() -> None:
    row = statement().row(("Bücher", -5, 1 << 50, 1_795_262_400_000, 0.25, None))
    values = ["Bücher".encode(), struct.pack(">i", -5), struct.pack(">q", 1 << 50)]
    values += [struct.pack(">q", 1_795_262_400_000), struct.pack(">d", 0.25), UNSET_VALUE]
    assert frame(_Protocol, [row, row]) == frame(ProtocolHandler, [(True, QUERY_ID, values)] * 2)


def test_a_text_packed_before_is_taken_as_it_is() -> None:
    values = ("S1", 1, 2, 3, 0.5, "K1")
    assert statement().row((packed("S1"), *values[1:5], packed("K1"))) == statement().row(values)


def test_the_routing_key_is_the_drivers() -> None:
    batch = BatchStatement()
    batch.routing_key = [b"S1", struct.pack(">i", 5), struct.pack(">i", 2968)]
    assert partition_of("S1", 5, 2968) == batch.routing_key


def test_what_goes_to_one_partition_goes_in_one_batch_that_knows_its_replicas() -> None:
    writes = [Write(b"AB"[n % 2 : n % 2 + 1], (b"x" * 100,)) for n in range(200)]
    assert [(key, len(rows)) for key, rows in pack(writes)] == [(b"A", 100), (b"B", 100)]


def test_small_partitions_share_requests() -> None:
    batches = pack([Write(bytes([n]), (b"x" * 100,)) for n in range(64)])
    assert [(key, len(rows)) for key, rows in batches] == [(None, 32), (None, 32)]


def test_no_batch_is_larger_than_cassandra_takes_and_no_write_is_split() -> None:
    bins = [Write(b"A", [bytes([n]) * 1_500] * 7) for n in range(20)]  # 10,500 bytes a bin
    batches = pack(bins)
    assert max(sum(map(len, rows)) for _, rows in batches) <= MAX_BATCH_BYTES < CASSANDRA_REFUSES / 1.55
    assert [len(rows) for _, rows in batches] == [21] * 6 + [14]  # three bins fit in 32,000 bytes
    assert {key for key, _ in batches} == {b"A"}


class Answer:
    """A driver's future that gives its pages when told to. `more`: pages still to come after the one given."""

    def __init__(self, more: int = 0) -> None:
        self.more, self.asked = more, 0

    @property
    def has_more_pages(self) -> bool:
        return self.more > 0

    def add_callbacks(self, page: Any, _error: Any) -> None:
        self.page = page

    def clear_callbacks(self) -> None:
        del self.page

    def start_fetching_next_page(self) -> None:
        self.more, self.asked = self.more - 1, self.asked + 1


async def test_a_request_without_an_answer_is_given_up_and_the_others_kept() -> None:
    good, silent = Answer(), Answer()
    asked = asyncio.create_task(_gather([lambda: good, lambda: silent], 0.2))
    await asyncio.sleep(0)
    good.page(["row"])
    answers = await asked
    assert answers[0] == ["row"]
    assert isinstance(answers[1], DriverException)
    assert str(answers[1]) == "no answer within 0.2 s"


async def test_where_nothing_comes_at_all_one_time_limit_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    wait = asyncio.wait

    def counted(futures: Any, **options: float) -> Any:
        waits.append(options["timeout"])
        return wait(futures, **options)

    monkeypatch.setattr(asyncio, "wait", counted)
    (answer,) = await _gather([Answer], 0.05)
    assert isinstance(answer, DriverException)
    assert waits == [0.05]


async def test_pages_that_keep_coming_may_take_longer_than_the_limit() -> None:
    slow = Answer(more=3)
    asked = asyncio.create_task(_gather([lambda: slow], 0.2))
    for n in range(4):
        await asyncio.sleep(0.15)
        slow.page([n])
    assert await asked == [[0, 1, 2, 3]]
    assert slow.asked == 3
