"""One reader of inventory.anomalies in this process, fanned out to every live stream.

In: the end of the log, from ports.LogReader. Out: for each subscriber every record from any place on, once and in order.

Why one reader: a consumer of its own for each stream costs a megabyte and four threads, this costs a queue. Why nothing
is missed: a subscriber that comes back first reads the log itself, from its place to where the reader stands, and is
attached in the very step of the event loop in which it finds itself level with it. Why nobody blocks anybody: a full
queue ends its subscription and no other; what it missed is still in the log, at the place where it comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from inventorybot import telemetry
from inventorybot.errors import TryLater
from inventorybot.ports import LogReader, Position
from inventorybot.wire.codec import Record

RETRY_S = 1.0
"""Between tries to find the topic while no broker answers."""
CATCHING_UP = 4
"""Subscribers that read the log themselves at one time: after a restart all come back at once."""


LOOK_S = 60.0
"""Between two looks whether the topic has been given more partitions."""


class Dropped(Exception):  # a state of a subscriber, not a fault of ours
    """The subscriber must come again; says why."""


class _Queue:
    """What a subscriber has not read yet. `ended`: why nothing more is put into it."""

    def __init__(self, size: int) -> None:
        self.items: asyncio.Queue[Record] = asyncio.Queue(size)
        self.ended = ""

    def offer(self, record: Record) -> bool:
        try:
            self.items.put_nowait(record)
        except asyncio.QueueFull:
            self.ended = "this subscriber reads too slowly"
        return not self.ended


class Hub:
    """Args: queue: records that a subscriber may lag behind. look_s: between two looks for more partitions."""

    def __init__(self, log: LogReader, topic: str, queue: int, look_s: float = LOOK_S) -> None:
        self._log, self.topic, self._size, self._look_s = log, topic, queue, look_s
        self._position: Position | None = None
        self._found = asyncio.Event()
        self._queues: set[_Queue] = set()
        self._turn = asyncio.Semaphore(CATCHING_UP)

    @property
    def position(self) -> Position:
        """Where the reader stands. Raises: TryLater: it has not found the topic yet."""
        if self._position is None:
            raise TryLater("kafka", f"the reader of {self.topic} has not reached a broker yet")
        return self._position

    async def ready(self, timeout_s: float) -> Position:
        """Where the reader stands; waits for it to have begun. Raises: TryLater: it does not."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._found.wait(), timeout_s)
        return self.position

    async def run(self) -> None:
        """Read on for ever; cancel it to end."""
        log = telemetry.log(__name__)
        while True:
            try:
                self._widen((await self._log.bounds(self.topic))[1])
                reading = asyncio.create_task(self._read())
                try:
                    await self._until_wider(reading)
                finally:
                    reading.cancel()
                    await asyncio.wait([reading])
            except TryLater as error:
                log.warning("live stream waits", reason=str(error))
                await asyncio.sleep(RETRY_S)

    async def _read(self) -> None:
        async with aclosing(self._log.read(self.topic, self.position)) as batches:
            async for records in batches:
                for record in records:
                    self._tell(record)

    async def _until_wider(self, reading: asyncio.Task[None]) -> None:
        """Wait until the topic has more partitions than are read. Raises what ends the reading."""
        while not (await asyncio.wait([reading], timeout=self._look_s))[0]:
            if len((await self._log.bounds(self.topic))[1]) > len(self.position):
                return
        reading.result()

    def _widen(self, newest: Position) -> None:
        """Begin at the end of the log; later, take in further partitions from their beginning."""
        if self._position is None:
            self._position = newest
            self._found.set()
        elif len(newest) > len(self._position):
            self._position += (0,) * (len(newest) - len(self._position))
            self._drop_all("the topic has been given more partitions")

    def _drop_all(self, why: str) -> None:
        for queue in self._queues:
            queue.ended = why
        self._queues = set()

    def _tell(self, record: Record) -> None:
        if record.offset < self.position[record.partition]:  # all come again, told of the gap
            self._drop_all("the topic was made anew")
        self._position = after(self.position, record)
        self._queues = {queue for queue in self._queues if queue.offer(record)}

    async def follow(self, start: Position, idle_s: float) -> AsyncGenerator[Record | None, None]:
        """Every record from `start` on; None after `idle_s` without one.

        Raises: Dropped: come again from where you are. TryLater: no broker answers while it catches up.
        """
        place = start
        async with self._turn:
            while not _level(place, self.position):
                target = self.position
                async with aclosing(self._log.read(self.topic, place, target)) as batches:
                    async for records in batches:
                        for record in records:
                            place = after(place, record)
                            yield record
                place = tuple(map(max, place, target))  # what compaction or a transaction left out is not coming
            queue = _Queue(self._size)
            self._queues.add(queue)  # no await since `_level` said so: nothing lies between the log and the queue
        try:
            while not (queue.ended and queue.items.empty()):
                try:
                    record = await asyncio.wait_for(queue.items.get(), idle_s)
                except TimeoutError:
                    yield None
                    continue
                if record.offset >= place[record.partition]:  # else another API process, further on, has told it
                    place = after(place, record)
                    yield record
            raise Dropped(queue.ended)
        finally:
            self._queues.discard(queue)


def after(position: Position, record: Record) -> Position:
    """The place behind a record."""
    moved = list(position)
    moved[record.partition] = record.offset + 1
    return tuple(moved)


def _level(place: Position, target: Position) -> bool:
    return all(have >= want for have, want in zip(place, target, strict=True))
