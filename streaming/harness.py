"""Between Faust and an agent: batches in, acknowledgement out, and the promise that nothing is ever skipped.

In: a Faust stream of raw bytes. Out: `agent.handle(batch)`, then the acknowledgement of exactly that batch.
- Faust acknowledges an event whose handler raised. So nothing may escape: TryLater is retried without end (after
  `retry_limit_s` the agent counts as paused, and an alert fires); anything else ends the process before Faust notices,
  and whoever restarts it goes on from the last acknowledged event.
- A rebalance takes partitions away and gives them back: the agent forgets a partition when the group's generation
  changes, or when its offsets are not continuous; never while a batch is under way.
- An agent with an `overlap` is handed further batches before the first is done, in the order of the log. One that fails
  is tried again when all before it are done, and then those after it, before anything new is read.
- Faust makes two asyncio tasks, a message and an event of every record, which cost more than the ledger does with it;
  `Consumer` below hands records on in chunks, each one message to Faust.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import faust
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from inventorybot import telemetry
from inventorybot.errors import TryLater
from inventorybot.patience import until_it_works
from inventorybot.wire.codec import Record

FAILED = 70
"""Exit status after an unexpected error (EX_SOFTWARE)."""
CHUNK_RECORDS, CHUNK_BYTES = 256, 1_048_576
"""What is handed on at once: as many records, or pictures of that many bytes in all (or one that is larger)."""
PACE_S = 0.01
"""Between two looks for new records: what comes meanwhile comes in one fetch, not in ten, each dearer than its records."""
WORTH_OVERLAPPING = 512
"""Events that must wait for a batch to begin before the last is done: smaller ones cost more than they save."""
UNFORESEEN = "an error that was not foreseen; ending, so that no event is skipped"
BUFFERED_CHUNKS = 256
"""Chunks that wait for the agent at the most; then the partition is paused. A steady stream comes in chunks of a few records:
with room for 64 the ledger paused and resumed all the time at 4,000 updates a second, and 1 % waited over two seconds."""

SWEEP_EVERY_S = 600.0
TROUBLED_SWEEP_S = 10.0
"""Between two searches for cycles in a worker that should leave none, and in one whose batches fail: an error knows the frames
that it went through, with the whole batch, and those know the error."""

log = telemetry.log(__name__)


class Agent(Protocol):
    """What the harness drives. `forget` drops what is cached of a partition."""

    name: str

    async def handle(self, records: Sequence[Record]) -> None:
        """Everything that follows from the batch is durable on return. Raises: TryLater."""

    def forget(self, partition: int) -> None:
        """Another worker may have had this partition."""


class Chunk(ConsumerMessage):
    """Records of one partition that Faust takes for one message: the last, behind a gap in the offsets."""

    __slots__ = ("records",)
    records: Sequence[Record]


class Consumer(driver.Consumer):
    """Faust's consumer with a plain loop from fetcher to streams."""

    async def _drain_messages(self, fetcher: Any) -> None:
        app_stops = self.transport.app
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await self._read_once()
                await asyncio.sleep(PACE_S)
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not app_stops.should_stop:
                raise

    async def _read_once(self) -> None:
        """One answer of the fetcher. What a rebalance interrupts is read again from the committed offset."""
        fetched, active = await self._wait_next_records(timeout=1.0)
        generation = self.app.consumer_generation_id
        if fetched is None or self.should_stop:
            return
        if not self.flow_active:
            with suppress(KafkaError):  # the rebalance that stopped the flow seeks as well
                await self.perform_seek()
            return
        for tp, records in fetched.items():
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            for chunk in chunks(records):
                if not self.flow_active or generation != self.app.consumer_generation_id:
                    return
                await self._hand_on(tp, chunk, generation)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust merges what overlaps after each; chunks never do, and a merge costs more than the ledger does with one."""
        committed = self._committed_offset[tp]
        begin = offset_from if committed is None else max(offset_from, committed + 1)
        if begin <= offset_to:
            self._gap[tp].addi(begin, offset_to + 1)

    async def _hand_on(self, tp: TP, fetched: Sequence[Any], generation: int) -> None:
        read = self._read_offset[tp]
        records = [r for r in fetched if read is None or r.offset >= read]
        if not records:
            return
        last = records[-1]
        chunk = Chunk(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type, None, b"", b"", None, tp=tp,
            generation_id=generation,
        )  # fmt: skip
        chunk.records = [
            Record(tp.topic, tp.partition, r.offset, r.key, r.value, r.headers, r.timestamp) for r in records
        ]
        begin = records[0].offset if read is None else min(records[0].offset, read + 1)
        if begin < last.offset:  # nobody acknowledges these: the last stands for them
            await self._add_gap(tp, begin, last.offset - 1)
        await self.callback(chunk)
        self._read_offset[tp] = last.offset


def chunks(records: Sequence[Any]) -> Iterator[list[Any]]:
    """Fetched records in lists of at most CHUNK_RECORDS, and of CHUNK_BYTES or little more."""
    chunk: list[Any] = []
    size = 0
    for record in records:
        if chunk and (len(chunk) == CHUNK_RECORDS or size >= CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += len(record.value or b"")
    if chunk:
        yield chunk


class Transport(driver.Transport):
    """Faust's Kafka transport with the consumer above."""

    Consumer: ClassVar[type] = Consumer


@dataclass(slots=True)
class Batch:
    """Records for the agent. `events`: the chunks that are handled with it; `forget`: partitions to begin anew."""

    records: list[Record]
    events: list[Any]
    forget: set[int]


class Garbage:
    """When Python looks for cycles: where many may have come together, not every few hundred events.

    A batch makes some ten thousand objects, none of them in a cycle, beside a cache of a million. By default the search
    takes a third of the ledger's time. Every 100,000 objects it still stops everything for a tenth of a second, and now and
    then for a third: too long where events are to be visible within a quarter.

    Args: agents: where all have the attribute `acyclic`, for they leave no cycles behind, the search waits for `sweep`.
    """

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._waits = all(getattr(agent, "acyclic", False) for agent in agents)
        self._swept = time.monotonic()

    def begin(self) -> None:
        """From now on; what is there already will stay."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 20, 20)
        if self._waits:
            gc.disable()

    def sweep(self, failed: bool) -> None:
        """Look through everything if that was long ago. A million objects take about a second. Args: failed: a batch did."""
        if self._waits and time.monotonic() - self._swept > (TROUBLED_SWEEP_S if failed else SWEEP_EVERY_S):
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._swept = time.monotonic()


class Harness:
    """Runs one agent on one stream.

    Args:
        agent: with an attribute `overlap` where it takes so many batches at once.
        size: the most events a batch takes.
        linger_s: how long a batch waits for company.
        retry_limit_s: after so long without success the agent counts as paused.
        tidy: called between two batches with False, after one that failed with True.
    """

    def __init__(
        self, agent: Agent, *, size: int, linger_s: float, retry_limit_s: float, tidy: Callable[[bool], object] = bool
    ) -> None:
        self._agent, self._size, self._linger_s, self._retry_limit_s = agent, size, linger_s, retry_limit_s
        self._tidy = tidy
        self._overlap: int = getattr(agent, "overlap", 1)
        self._generation: dict[int, int | None] = {}
        self._next: dict[int, int] = {}
        self._chunks: deque[Any] = deque()
        self._taken = 0
        self._under_way: deque[asyncio.Task[None]] = deque()
        self._troubled = False

    async def run(self, stream: Any) -> None:
        """Handle the stream until the worker stops."""
        app = stream.app
        newest: asyncio.Task[None] | None = None
        try:
            async for batch in self._batches(stream):
                self._tidy(False)
                if batch.forget:
                    await self._settle(0)
                    for partition in batch.forget:
                        self._agent.forget(partition)
                newest = asyncio.create_task(self._see_through(app, batch, newest))
                self._under_way.append(newest)
            await self._settle(0)
        except asyncio.CancelledError:
            log.info(
                "stopped in the middle of a batch; whoever gets its partitions takes it again", agent=self._agent.name
            )
            os._exit(0 if app.should_stop else FAILED)
        except BaseException:  # whatever escaped would be acknowledged, and so lost
            log.exception(UNFORESEEN, agent=self._agent.name)
            os._exit(FAILED)

    async def _settle(self, most: int) -> None:
        """Wait until at most so many batches are under way; none where one of them has failed."""
        while self._under_way and (len(self._under_way) > most or self._troubled):
            await self._under_way.popleft()
        if not self._under_way:
            self._troubled = False

    async def _batches(self, stream: Any) -> AsyncIterator[Batch]:
        """Batches, none of them acknowledged. Events of an older generation are left to their new owner."""
        app, queue = stream.app, stream.channel.queue
        async for first in stream.noack().events():
            self._chunks.append(first)
            while self._chunks:
                await self._settle(self._overlap - 1)
                if self._drain(queue) < self._size and self._linger_s:
                    await asyncio.sleep(self._linger_s)
                if self._drain(queue) < min(self._size, WORTH_OVERLAPPING):
                    await self._settle(0)
                    self._drain(queue)
                batch = self._take(app.consumer_generation_id)
                if batch.records:
                    yield batch

    def _drain(self, queue: Any) -> int:
        """Collect what waits, up to a full batch or little more; returns how much that is."""
        waiting = sum(len(event.message.records) for event in self._chunks) - self._taken
        while waiting < self._size and not queue.empty():
            event = queue.get_nowait()
            self._chunks.append(event)
            waiting += len(event.message.records)
        return waiting

    def _take(self, generation: int) -> Batch:
        batch = Batch([], [], set())
        while self._chunks and len(batch.records) < self._size:
            message = self._chunks[0].message
            if message.generation_id == generation:
                room = self._size - len(batch.records)
                part = message.records[self._taken : self._taken + room]
                self._follow(message.partition, part, generation, batch.forget)
                batch.records += part
                self._taken += len(part)
                if self._taken < len(message.records):
                    break
                batch.events.append(self._chunks[0])
            self._chunks.popleft()
            self._taken = 0
        return batch

    def _follow(self, partition: int, records: Sequence[Record], generation: int, forget: set[int]) -> None:
        """Notice where a partition's records do not go on from those before."""
        for record in records:
            if self._generation.get(partition) != generation or self._next.get(partition) != record.offset:
                forget.add(partition)
                self._generation[partition] = generation
            self._next[partition] = record.offset + 1

    async def _see_through(self, app: faust.App, batch: Batch, before: asyncio.Task[None] | None) -> None:
        """One batch until it is acknowledged, after the one before it."""
        started = time.monotonic()
        try:
            done = False
            if not self._troubled:
                try:
                    await self._attempt(batch)
                    done = True
                except TryLater as error:
                    self._troubled = True
                    telemetry.RETRIES.labels(error.part).inc()
            if before is not None:
                await before
            if not done:
                await until_it_works(self._agent.name, lambda: self._attempt(batch), self._retry_limit_s)
            for event in batch.events:
                if event.message.generation_id == app.consumer_generation_id:
                    event.ack()
            self._measure(app, batch.records, time.monotonic() - started)
        except BaseException:  # whatever escaped would be acknowledged, and so lost
            log.exception(UNFORESEEN, agent=self._agent.name)
            os._exit(FAILED)

    async def _attempt(self, batch: Batch) -> None:
        try:
            await self._agent.handle(batch.records)
        except TryLater:
            self._tidy(True)
            raise

    def _measure(self, app: faust.App, records: Sequence[Record], seconds: float) -> None:
        name = self._agent.name
        telemetry.BATCH.labels(name).observe(len(records))
        telemetry.BATCH_SECONDS.labels(name).observe(seconds)
        for place, offset in {TP(r.topic, r.partition): r.offset for r in records}.items():  # the newest of each
            highwater = app.consumer.highwater(place) if place in app.consumer.assignment() else None
            if highwater is not None:
                telemetry.LAG.labels(name, str(place.partition)).set(max(0, highwater - offset - 1))
