"""Between Faust and an agent: batches in, acknowledgement out, and the promise that nothing is ever skipped.

In: a Faust stream of raw bytes. Out: `agent.handle(batch)`, then the acknowledgement of exactly that batch.
- Faust acknowledges an event whose handler raised. So nothing may escape: TryLater is retried without end (after
  `retry_limit_s` the agent counts as paused, and an alert fires); anything else ends the process before Faust notices,
  and whoever restarts it goes on from the last acknowledged event.
- A rebalance takes partitions away and gives them back: the agent forgets a partition when the group's generation
  changes, or when its offsets are not continuous.
- Faust's own loop makes two asyncio tasks a message; `Consumer` below reads the same messages with none.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar, Protocol

import faust
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from inventorybot import telemetry
from inventorybot.errors import TryLater
from inventorybot.wire.codec import Record

FAILED = 70
"""Exit status after an unexpected error (EX_SOFTWARE)."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0
YIELD_EVERY = 128
"""Messages read before other tasks get a turn: a few hundred microseconds."""

log = telemetry.log(__name__)


class Agent(Protocol):
    """What the harness drives. `forget` drops what is cached of a partition."""

    name: str

    async def handle(self, records: Sequence[Record]) -> None:
        """Everything that follows from the batch is durable on return. Raises: TryLater."""

    def forget(self, partition: int) -> None:
        """Another worker may have had this partition."""


class Consumer(driver.Consumer):
    """Faust's consumer with a plain loop from fetcher to streams."""

    async def _drain_messages(self, fetcher: Any) -> None:
        app_stops = self.transport.app
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await asyncio.sleep(0)
                await self._read_once()
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not app_stops.should_stop:
                raise

    async def _read_once(self) -> None:
        count = 0
        async for tp, message in self.getmany(timeout=1.0):
            count += 1
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            read = self._read_offset[tp]
            if read is not None and message.offset < read:
                continue
            if read and message.offset - read > 1 and self.app.topics.acks_enabled_for(message.topic):
                await self._add_gap(tp, read + 1, message.offset)
            if not self.flow_active:
                return
            await self.callback(message)
            self._read_offset[tp] = message.offset


class Transport(driver.Transport):
    """Faust's Kafka transport with the consumer above."""

    Consumer: ClassVar[type] = Consumer


class Harness:
    """Runs one agent on one stream.

    Args:
        size: the most events a batch takes.
        linger_s: how long a batch waits for company.
        retry_limit_s: after so long without success the agent counts as paused.
    """

    def __init__(self, agent: Agent, *, size: int, linger_s: float, retry_limit_s: float) -> None:
        self._agent, self._size, self._linger_s, self._retry_limit_s = agent, size, linger_s, retry_limit_s
        self._generation: dict[int, int | None] = {}
        self._next: dict[int, int] = {}

    async def run(self, stream: Any) -> None:
        """Handle the stream until the worker stops."""
        app = stream.app
        try:
            async for events in self._batches(stream):
                started = time.monotonic()
                records = self._records(events)
                await self._handle(records)
                for event in events:
                    event.ack()
                self._measure(app, events, time.monotonic() - started)
        except asyncio.CancelledError:
            log.info(
                "stopped in the middle of a batch; whoever gets its partitions takes it again", agent=self._agent.name
            )
            os._exit(0 if app.should_stop else FAILED)
        except BaseException:
            log.exception("an error that was not foreseen; ending, so that no event is skipped", agent=self._agent.name)
            os._exit(FAILED)

    async def _batches(self, stream: Any) -> AsyncIterator[list[Any]]:
        """Lists of events, none of them acknowledged. Events of an older generation are left to their new owner."""
        app, queue = stream.app, stream.channel.queue
        async for first in stream.noack().events():
            events = [first]
            self._drain(app, queue, events)
            if len(events) < self._size and self._linger_s:
                await asyncio.sleep(self._linger_s)
                self._drain(app, queue, events)
            current = [e for e in events if e.message.generation_id == app.consumer_generation_id]
            if current:
                yield current

    def _drain(self, app: Any, queue: Any, events: list[Any]) -> None:
        while len(events) < self._size and not queue.empty():
            event = queue.get_nowait()
            if event.message.generation_id == app.consumer_generation_id:
                events.append(event)

    def _records(self, events: Sequence[Any]) -> list[Record]:
        records = []
        for event in events:
            m = event.message
            partition, offset = m.partition, m.offset
            if self._generation.get(partition) != m.generation_id or self._next.get(partition) != offset:
                self._agent.forget(partition)
                self._generation[partition] = m.generation_id
            self._next[partition] = offset + 1
            headers = m.headers.items() if hasattr(m.headers, "items") else m.headers or ()
            records.append(
                Record(m.topic, partition, offset, m.key, m.value, tuple(headers), round(m.timestamp * 1000))
            )
        return records

    async def _handle(self, records: Sequence[Record]) -> None:
        """Until it works. The pauses grow, with jitter, so that workers do not knock in step."""
        began, pause, paused = time.monotonic(), FIRST_PAUSE_S, telemetry.PAUSED.labels(self._agent.name)
        while True:
            try:
                await self._agent.handle(records)
                break
            except TryLater as error:
                telemetry.RETRIES.labels(error.part).inc()
                waited = time.monotonic() - began
                if waited > self._retry_limit_s:
                    paused.set(1)
                log.warning(
                    "waiting", agent=self._agent.name, part=error.part, reason=error.reason, waited_s=round(waited, 1)
                )
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE_S)
        paused.set(0)

    def _measure(self, app: faust.App, events: Sequence[Any], seconds: float) -> None:
        name = self._agent.name
        telemetry.BATCH.labels(name).observe(len(events))
        telemetry.BATCH_SECONDS.labels(name).observe(seconds)
        for event in {e.message.partition: e for e in events}.values():  # the newest of each partition
            m = event.message
            place = TP(m.topic, m.partition)
            highwater = app.consumer.highwater(place) if place in app.consumer.assignment() else None
            if highwater is not None:
                telemetry.LAG.labels(name, str(m.partition)).set(max(0, highwater - m.offset - 1))
