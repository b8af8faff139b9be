"""Reads the log itself through confluent-kafka: one record by its place, or a stretch of a topic, without a group.

In: places. Out: `Record`s, or TryLater. No offset is ever committed: who reads knows where it was.
librdkafka blocks, so every consumer lives on a thread of a small pool and the event loop only waits for it.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from inventorybot.errors import TryLater
from inventorybot.ports import Position
from inventorybot.wire.codec import Record

TIMEOUT_S = 5.0
"""Of one question to the brokers; a healthy cluster answers in milliseconds."""
POLL_S = 0.5
"""How long an idle follower waits at a time, and so how late it notices that nobody reads it any more."""
BATCH = 500
READERS = 8
"""Threads: one follower and a few who catch up. More wait for their turn."""

T = TypeVar("T")


class KafkaLog:
    """`ports.LogReader`. Args: config: how to reach the brokers (librdkafka's names)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = {
            **config,
            "group.id": "inventorybot-log-reader",  # demanded by librdkafka, never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 4096,  # a reader's memory; the default would be 64 MB
            "fetch.wait.max.ms": 100,
        }
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="kafka-read")
        self._askers = ThreadPoolExecutor(2, thread_name_prefix="kafka-ask")
        self._idle: queue.SimpleQueue[Consumer] = queue.SimpleQueue()

    async def at(self, topic: str, partition: int, offset: int) -> Record | None:
        """Raises: TryLater."""
        return await self._ask(lambda consumer: _record_at(consumer, topic, partition, offset))

    async def bounds(self, topic: str) -> tuple[Position, Position]:
        """Raises: TryLater: no broker answers, or there is no such topic (yet)."""
        return await self._ask(lambda consumer: _bounds(consumer, topic))

    async def read(
        self, topic: str, start: Position, until: Position | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Raises: TryLater: a broker is away while `until` is given; a follower waits for it instead."""
        wanted = [p for p in range(len(start)) if until is None or start[p] < until[p]]
        if not wanted:
            return
        loop = asyncio.get_running_loop()
        consumer = Consumer(self._config)
        consumer.assign([TopicPartition(topic, p, start[p]) for p in wanted])
        stretch = _Stretch(consumer, until, set(wanted))
        pending: asyncio.Future[list[Record]] | None = None
        try:
            while stretch.left:
                pending = loop.run_in_executor(self._readers, stretch.next)
                records = await asyncio.shield(pending)
                if records:
                    yield records
        finally:
            if pending is not None and not pending.done():
                await asyncio.wait([pending])  # librdkafka must not be closed while a thread polls it
            await loop.run_in_executor(self._askers, consumer.close)

    async def _ask(self, question: Callable[[Consumer], T]) -> T:
        def answer() -> T:
            try:
                consumer = self._idle.get_nowait()
            except queue.Empty:
                consumer = Consumer(self._config)
            try:
                return question(consumer)
            except KafkaException as error:
                raise TryLater("kafka", error.args[0].str()) from error
            finally:
                consumer.unassign()
                self._idle.put(consumer)

        return await asyncio.get_running_loop().run_in_executor(self._askers, answer)

    def close(self) -> None:
        """End the threads and connections; readers must have ended before."""
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._askers.shutdown(wait=True)
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return


class _Stretch:
    """What one reader still has to read. Lives on a reader's thread; `left` is empty once everything was read."""

    def __init__(self, consumer: Consumer, until: Position | None, partitions: set[int]) -> None:
        self._consumer, self._until, self.left = consumer, until, partitions
        self._silent = 0.0

    def next(self) -> list[Record]:
        """The records that have arrived, within POLL_S. Raises: TryLater."""
        first = self._consumer.poll(POLL_S)
        if first is None:
            self._silent += POLL_S
            if self._until is not None and self._silent >= TIMEOUT_S:
                raise TryLater("kafka", "no broker answers")
            return []
        self._silent = 0.0
        out: list[Record] = []
        for message in [first, *self._consumer.consume(BATCH - 1, 0)]:
            self._take(message, out)
        return out

    def _take(self, message: Any, out: list[Record]) -> None:
        error = message.error()
        if error is None:
            if self._until is None or message.offset() < self._until[message.partition()]:
                out.append(record_of(message))
            self._reached(message.partition(), message.offset() + 1)
        elif error.code() == KafkaError._PARTITION_EOF:
            self._reached(message.partition(), message.offset())
        elif self._until is not None and not error.retriable():
            raise TryLater("kafka", error.str())

    def _reached(self, partition: int, position: int) -> None:
        if self._until is not None and position >= self._until[partition]:
            self.left.discard(partition)


def record_of(message: Any) -> Record:
    """A record from librdkafka's message."""
    headers = [(name, value or b"") for name, value in message.headers() or ()]
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        headers,
        message.timestamp()[1],
    )


def _bounds(consumer: Consumer, topic: str) -> tuple[Position, Position]:
    found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if found.error is not None or not found.partitions:
        raise TryLater("kafka", f"there is no topic {topic} (yet): run `inventorybot migrate`")
    marks = [
        consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=TIMEOUT_S)
        for p in range(len(found.partitions))
    ]
    return tuple(low for low, _ in marks), tuple(high for _, high in marks)


def _record_at(consumer: Consumer, topic: str, partition: int, offset: int) -> Record | None:
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() in (KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART):
            return None
        raise
    if not low <= offset < high:
        return None
    consumer.assign([TopicPartition(topic, partition, offset)])
    message = consumer.poll(TIMEOUT_S)
    if message is None:
        raise TryLater("kafka", f"record {offset} of {topic} partition {partition} did not arrive in {TIMEOUT_S:g} s")
    fault = message.error()
    if fault is not None:
        if fault.code() == KafkaError._PARTITION_EOF:
            return None
        raise TryLater("kafka", fault.str())
    return record_of(message) if message.offset() == offset else None
