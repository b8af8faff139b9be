"""Kafka through confluent-kafka: publishing with acknowledgement, creating topics, knowing which incarnation they are.

In: `Message`s. Out: records acknowledged by all in-sync replicas, or TryLater.
Keys are placed by murmur2, as Java clients place them: the partition of a bin must not depend on who publishes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from confluent_kafka import KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets the export
    AdminClient,
    NewTopic,
    OffsetSpec,
)
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from inventorybot import telemetry
from inventorybot.errors import BadEvent, Code, SetupError, TryLater
from inventorybot.wire.codec import Message
from inventorybot.wire.topics import Topic

ADMIN_TIMEOUT_S = 15.0
"""Creating a topic takes well under a second on a healthy cluster."""
RENEW_S = 0.5
"""Between a producer that librdkafka gave up and the next: a cluster that refuses each is not asked in a busy loop."""
_PRODUCER = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "linger.ms": 2,
    "compression.type": "lz4",
    "message.max.bytes": 1_500_000,
    "queue.buffering.max.messages": 100_000,
}


class KafkaPublisher:
    """`ports.Publisher` on one producer and one polling thread; safe to share between tasks of one event loop.

    librdkafka gives a producer up for good after some errors. One of them is a race in it: a broker that comes up just
    between two looks counts as one without idempotence. So its records are told as not delivered, and the next producer
    takes over.

    Args:
        config: how to reach the brokers (librdkafka's names); read again for each producer.
        timeout_s: how long a record may wait for its acknowledgement.
    """

    def __init__(self, config: Mapping[str, Any], timeout_s: float = 10.0) -> None:
        self._config, self._timeout_ms = config, int(timeout_s * 1000)
        self._producer = self._connect()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-publisher", daemon=True)
        self._thread.start()

    def _connect(self) -> Producer:
        return Producer({**_PRODUCER, **self._config, "message.timeout.ms": self._timeout_ms})

    def _poll(self) -> None:
        while not self._closed.is_set():
            try:
                self._producer.poll(0.1)
            except KafkaException as error:
                telemetry.log("kafka").warning("producer_given_up", reason=error.args[0].str())
                self._producer.purge()
                drain(self._producer, 1.0)
                if not self._closed.wait(RENEW_S):
                    self._producer = self._connect()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Raises: TryLater: at least one record was not acknowledged. BadEvent: one is too large for its topic."""
        if not messages:
            return
        latch = _Latch(len(messages), asyncio.get_running_loop())
        for m in messages:
            while True:
                try:
                    self._producer.produce(
                        m.topic, m.value, m.key, headers=list(m.headers), on_delivery=latch.delivered
                    )
                    break
                except BufferError:
                    await asyncio.sleep(0.01)  # the local queue is full: let deliveries make room
                except KafkaException as error:
                    latch.delivered(error.args[0], None)
                    break
        await latch.done
        if latch.error is not None:
            if latch.error.name() == "MSG_SIZE_TOO_LARGE":
                raise BadEvent(
                    Code.TOO_LARGE, "/data", f"the record is larger than its topic takes: {latch.error.str()}"
                )
            raise TryLater("kafka", latch.error.str())

    def close(self, timeout_s: float = 10.0) -> None:
        """Deliver what is queued, then stop."""
        until = time.monotonic() + timeout_s
        while len(self._producer) and time.monotonic() < until:
            time.sleep(0.005)  # the thread is told of each delivery
        self._closed.set()
        self._thread.join(1.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)


def drain(producer: Producer, timeout_s: float) -> None:
    """Wait until every record is told of. `Producer.flush` would go on to the next callback with a fatal error set,
    which Python answers with a SystemError in the callback.

    Raises: KafkaException: librdkafka gave the producer up; make another.
    """
    until = time.monotonic() + timeout_s
    while len(producer) and (left := until - time.monotonic()) > 0:
        producer.poll(left)


class _Latch:
    """One wake-up of the event loop for a whole list of deliveries; keeps the first error."""

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self._left, self._loop, self._lock = count, loop, threading.Lock()
        self.done: asyncio.Future[None] = loop.create_future()
        self.error: Any = None

    def delivered(self, error: Any, _record: Any) -> None:
        with self._lock:
            self.error = self.error or error
            self._left -= 1
            last = self._left == 0
        if last and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the cluster has it. `topic_id` changes when it is deleted and made again."""

    name: str
    topic_id: str
    partitions: int


class Topics:
    """The topics of the cluster. Args: config: how to reach it (librdkafka's names)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._admin = AdminClient(dict(config))

    def create(self, topics: Iterable[Topic], partitions: int, replication: int) -> list[str]:
        """Create those that are missing; returns their names. All of them can be read and written when it returns.

        Raises: TryLater, SetupError.
        """
        wanted = list(topics)
        have = set(self._ask(lambda: self._admin.list_topics(timeout=ADMIN_TIMEOUT_S)).topics)
        missing = [t for t in wanted if t.name not in have]
        in_sync = str(max(1, replication - 1))
        new = [
            NewTopic(
                t.name, t.partitions or partitions, replication, config=t.config() | {"min.insync.replicas": in_sync}
            )
            for t in missing
        ]
        futures = self._ask(lambda: self._admin.create_topics(new, request_timeout=ADMIN_TIMEOUT_S)) if new else {}
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                    raise SetupError(f"Kafka refuses to create the topic {name}: {error.args[0].str()}") from error
        self._await_leaders([t.name for t in wanted])
        return [t.name for t in missing]

    def _await_leaders(self, names: list[str]) -> None:
        """A partition is announced before its leader serves it; until then clients get NOT_LEADER_FOR_PARTITION."""
        for attempt in Retrying(
            retry=retry_if_exception_type(TryLater),
            stop=stop_after_delay(ADMIN_TIMEOUT_S),
            wait=wait_fixed(0.1),  # s; a leader takes over within a few
            reraise=True,
        ):
            with attempt:
                found = self._ask(lambda: self._admin.list_topics(timeout=ADMIN_TIMEOUT_S)).topics
                for late in sorted(set(names) - set(found)):
                    raise TryLater("kafka", f"the brokers do not know the new topic {late} yet")
                latest = {TopicPartition(n, p): OffsetSpec.latest() for n in names for p in found[n].partitions}  # type: ignore[no-untyped-call]
                asked = self._ask(partial(self._admin.list_offsets, latest, request_timeout=ADMIN_TIMEOUT_S))
                for future in asked.values():
                    self._ask(future.result)

    def state(self, name: str) -> TopicState:
        """Raises: TryLater: no broker answers. SetupError: there is no such topic."""
        futures = self._ask(
            lambda: self._admin.describe_topics(TopicCollection([name]), request_timeout=ADMIN_TIMEOUT_S)
        )
        try:
            found = futures[name].result()
        except KafkaException as error:
            if error.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
                raise SetupError(f"Kafka has no topic {name}: run `inventorybot migrate` first") from error
            raise TryLater("kafka", error.args[0].str()) from error
        return TopicState(name, str(found.topic_id), len(found.partitions))

    def _ask(self, call: Any) -> Any:
        try:
            return call()
        except KafkaException as error:
            raise TryLater("kafka", error.args[0].str()) from error
