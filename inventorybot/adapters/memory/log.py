"""A broker's log in lists, for tests that want speed; it passes the same contract suite as Kafka's reader.

In: messages, published as to a broker. Out: the same, read by place. It is a `ports.Publisher` and a `ports.LogReader`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence

from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.clock import now_ms
from inventorybot.errors import TryLater
from inventorybot.ports import Position
from inventorybot.wire.codec import Message, Record
from inventorybot.wire.topics import TOPICS

_PARTITIONS = {topic.name: topic.partitions or 6 for topic in TOPICS}


class MemoryLog(MemoryPublisher):
    """Args: clock: the broker's time of a record's arrival, ms. `down`: while True, no broker answers."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        super().__init__()
        self._clock = clock
        self._records: dict[str, list[list[Record]]] = {t: [[] for _ in range(n)] for t, n in _PARTITIONS.items()}
        self._oldest: dict[tuple[str, int], int] = {}
        self._grown = asyncio.Event()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Raises as Kafka does."""
        await super().publish(messages)
        for m in messages:
            partition = zlib.crc32(m.key) % _PARTITIONS[m.topic]
            self.append(m.topic, partition, m.key, m.value, list(m.headers))

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> Record:
        """Write one record to a partition, also one that no publisher of ours would write."""
        lane = self._records[topic][partition]
        lane.append(Record(topic, partition, len(lane), key, value, headers, self._clock()))
        self._grown.set()
        self._grown = asyncio.Event()
        return lane[-1]

    def add_partition(self, topic: str) -> int:
        """Give a topic one more partition, which no key of ours belongs to; returns its number."""
        self._records[topic].append([])
        return len(self._records[topic]) - 1

    def retain_from(self, topic: str, partition: int, offset: int) -> None:
        """Remove what lies before an offset, as retention does."""
        self._oldest[topic, partition] = offset

    async def at(self, topic: str, partition: int, offset: int) -> Record | None:
        """By place."""
        self._check()
        lanes = self._records.get(topic, [])
        if not 0 <= partition < len(lanes) or not self._oldest.get((topic, partition), 0) <= offset < len(
            lanes[partition]
        ):
            return None
        return lanes[partition][offset]

    async def bounds(self, topic: str) -> tuple[Position, Position]:
        """Oldest and next."""
        self._check()
        if topic not in self._records:
            raise TryLater("kafka", f"there is no topic {topic} (yet): run `inventorybot migrate`")
        lanes = self._records[topic]
        return tuple(self._oldest.get((topic, p), 0) for p in range(len(lanes))), tuple(len(lane) for lane in lanes)

    async def read(
        self, topic: str, start: Position, until: Position | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """In batches; waits for what comes where `until` is None."""
        at = list(start)
        while True:
            grown = self._grown
            if until is not None:
                self._check()
            records: list[Record] = []
            for p, lane in enumerate(self._records[topic][: len(at)]):
                oldest = max(at[p], self._oldest.get((topic, p), 0))
                records += lane[oldest : None if until is None else until[p]]
                at[p] = max(at[p], len(lane) if until is None else min(until[p], len(lane)))
            if records:
                yield records
            if until is not None:
                return
            await grown.wait()

    def _check(self) -> None:
        if self.down:
            raise TryLater("kafka", "no broker answers")
