"""Between Faust and an agent, without Faust: what is handed over, in which order, and when it is acknowledged.

In: chunks as the consumer hands them on. Out: batches at a scripted agent, acknowledgements. Run: pytest on this file.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from intervaltree import IntervalTree  # type: ignore[import-untyped]

import streaming.harness as harness_module
from inventorybot.errors import TryLater
from inventorybot.wire.codec import Record
from streaming.harness import Chunk, Consumer, Garbage, Harness, chunks

TOPIC = "inventory.updates"


def records(first: int, last: int, partition: int = 0, value: bytes = b"{}") -> list[Record]:
    return [Record(TOPIC, partition, offset, b"S1/B1", value, (), 1000) for offset in range(first, last + 1)]


class Event:
    """A chunk as a Faust event. `acked`: where acknowledgements are noted, by the chunk's last offset."""

    def __init__(self, found: list[Record], acked: list[int], generation: int = 1) -> None:
        self.message = SimpleNamespace(records=found, partition=found[0].partition, generation_id=generation)
        self._acked = acked

    def ack(self) -> None:
        self._acked.append(self.message.records[-1].offset)


class Stream:
    """A stream that ends when its chunks are used up."""

    def __init__(self, *events: Event) -> None:
        self.app = SimpleNamespace(
            consumer_generation_id=1, should_stop=False, consumer=SimpleNamespace(assignment=lambda: ())
        )
        self.channel = SimpleNamespace(queue=asyncio.Queue())
        for event in events:
            self.channel.queue.put_nowait(event)

    def noack(self) -> Stream:
        return self

    async def events(self) -> AsyncIterator[Event]:
        while not self.channel.queue.empty():
            yield self.channel.queue.get_nowait()


class Scripted:
    """An agent that notes what it is told. `fails`: how often the batch with this first offset still fails."""

    name = "scripted"

    def __init__(self, overlap: int = 1, fails: dict[int, int] | None = None) -> None:
        self.overlap, self.fails = overlap, fails or {}
        self.told: list[list[int]] = []
        self.forgotten: list[tuple[int, int]] = []
        self.under_way = self.most_under_way = 0
        self.gates: dict[int, asyncio.Event] = defaultdict(_open)
        self.begun: dict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def handle(self, batch: Sequence[Record]) -> None:
        first = batch[0].offset
        self.told.append([r.offset for r in batch])
        self.begun[first].set()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gates[first].wait()
            if self.fails.get(first, 0):
                self.fails[first] -= 1
                raise TryLater("cassandra", "away")
        finally:
            self.under_way -= 1

    def forget(self, partition: int) -> None:
        self.forgotten.append((partition, self.under_way))


def _open() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


def harness(agent: Any, size: int) -> Harness:
    return Harness(agent, size=size, linger_s=0, retry_limit_s=60)


def test_fetched_records_come_in_chunks_of_a_bounded_number_and_size() -> None:
    assert [len(c) for c in chunks(records(0, 599))] == [256, 256, 88]
    pictures = records(0, 4, value=b"x" * 600_000)
    assert [len(c) for c in chunks(pictures)] == [2, 2, 1]  # two of them are more than 1 MiB


async def test_a_batch_is_no_larger_than_asked_and_a_chunk_is_acknowledged_with_its_last_record() -> None:
    acked: list[int] = []
    agent = Scripted()
    await harness(agent, 3).run(Stream(Event(records(0, 4), acked), Event(records(5, 6), acked)))
    assert agent.told == [[0, 1, 2], [3, 4, 5], [6]]
    assert acked == [4, 6]
    assert agent.most_under_way == 1


async def test_batches_overlap_and_are_acknowledged_in_the_order_of_the_log() -> None:
    acked: list[int] = []
    agent = Scripted(overlap=2)
    first = agent.gates[0] = asyncio.Event()  # the first batch waits for it; the second is done at once
    running = asyncio.create_task(harness(agent, 2).run(Stream(*(Event(records(n, n + 1), acked) for n in (0, 2, 4)))))
    await agent.begun[2].wait()
    assert (agent.told, acked) == ([[0, 1], [2, 3]], [])
    first.set()
    await running
    assert acked == [1, 3, 5]
    assert agent.most_under_way == 2


async def test_a_batch_that_fails_is_handled_again_before_anything_that_comes_after_it() -> None:
    acked: list[int] = []
    agent = Scripted(overlap=3, fails={2: 1, 4: 1})  # the second fails, and with it the third, which was under way
    second = agent.gates[2] = asyncio.Event()
    stream = Stream(*(Event(records(n, n + 1), acked) for n in (0, 2, 4, 6)))
    running = asyncio.create_task(harness(agent, 2).run(stream))
    await agent.begun[4].wait()
    second.set()
    await running
    assert agent.told == [[0, 1], [2, 3], [4, 5], [2, 3], [4, 5], [6, 7]]
    assert acked == [1, 3, 5, 7]


async def test_a_partition_is_begun_anew_where_its_offsets_jump_and_only_while_nothing_is_under_way() -> None:
    acked: list[int] = []
    agent = Scripted(overlap=3)
    await harness(agent, 2).run(Stream(*(Event(records(n, n + 1), acked) for n in (0, 2, 9, 11))))
    assert agent.forgotten == [(0, 0), (0, 0)]  # at its first record, and at the jump from 3 to 9


async def test_what_an_older_generation_left_behind_is_left_to_its_new_owner() -> None:
    acked: list[int] = []
    agent = Scripted()
    stale = Event(records(0, 1), acked, generation=0)
    await harness(agent, 8).run(Stream(stale, Event(records(0, 3), acked)))
    assert agent.told == [[0, 1, 2, 3]]
    assert acked == [3]


async def test_a_chunk_is_one_message_that_stands_for_all_offsets_up_to_its_last() -> None:
    place, gaps, handed = TP(TOPIC, 0), [], []

    async def add_gap(_: TP, begin: int, end: int) -> None:
        gaps.append((begin, end))

    async def callback(chunk: Chunk) -> None:
        handed.append((chunk.offset, chunk.generation_id, [r.offset for r in chunk.records]))

    consumer: Any = SimpleNamespace(_read_offset={place: None}, _add_gap=add_gap, callback=callback)
    for first, last in ((5, 7), (8, 8), (12, 13)):  # 9 to 11 are control records, which nobody hands on
        fetched = [SimpleNamespace(**_fields(r), timestamp_type=0) for r in records(first, last)]
        await Consumer._hand_on(consumer, place, fetched, 4)
    assert handed == [(7, 4, [5, 6, 7]), (8, 4, [8]), (13, 4, [12, 13])]
    assert gaps == [(5, 6), (9, 12)]
    assert consumer._read_offset[place] == 13


async def test_chunks_are_committed_one_after_the_other() -> None:
    place = TP(TOPIC, 0)
    consumer: Any = SimpleNamespace(
        _committed_offset={place: None},
        _gap=defaultdict(IntervalTree),
        _acked=defaultdict(list),
        _acked_index=defaultdict(set),
    )

    def done(last: int) -> int | None:
        consumer._acked[place].append(last)
        consumer._acked_index[place].add(last)
        consumer._committed_offset[place] = new = Consumer._new_offset(consumer, place)
        return new

    for begin, last in ((0, 255), (256, 256), (257, 400), (401, 410)):
        if begin < last:
            await Consumer._add_gap(consumer, place, begin, last - 1)
    assert done(255) == 256
    assert Consumer._new_offset(consumer, place) is None  # what is not done is no gap, though it stands for some
    assert done(256) == 257
    assert done(400) == 401
    assert done(410) == 411


async def test_between_two_batches_and_after_a_failed_one_there_is_time_to_tidy() -> None:
    acked: list[int] = []
    agent, seen = Scripted(fails={2: 2}), []
    keeper = Harness(agent, size=2, linger_s=0, retry_limit_s=1, tidy=seen.append)
    await keeper.run(Stream(*(Event(records(n, n + 1), acked) for n in (0, 2, 4))))
    assert acked == [1, 3, 5]
    assert (seen.count(False), seen.count(True)) == (3, 2)


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.enable()
    gc.unfreeze()


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.mark.usefixtures("collector")
def test_a_worker_that_leaves_no_cycles_is_searched_for_them_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = Garbage([SimpleNamespace(name="a", acyclic=True)])
    garbage.begin()
    assert not gc.isenabled()
    knot = weakref.ref(Knot())
    garbage.sweep(failed=False)
    assert knot() is not None
    monkeypatch.setattr(harness_module, "TROUBLED_SWEEP_S", 0.0)
    garbage.sweep(failed=False)
    assert knot() is not None
    garbage.sweep(failed=True)
    assert knot() is None
    knot = weakref.ref(Knot())
    monkeypatch.setattr(harness_module, "SWEEP_EVERY_S", 0.0)
    garbage.sweep(failed=False)
    assert knot() is None
    assert not gc.isenabled()


@pytest.mark.usefixtures("collector")
def test_one_agent_that_may_leave_cycles_has_the_whole_worker_searched() -> None:
    plain, clean = SimpleNamespace(name="a"), SimpleNamespace(name="b", acyclic=True)
    Garbage([plain, clean]).begin()
    assert gc.isenabled()
    assert gc.get_threshold()[0] == 100_000


def _fields(r: Record) -> dict[str, Any]:
    return {"offset": r.offset, "key": r.key, "value": r.value, "headers": r.headers, "timestamp": r.timestamp}
