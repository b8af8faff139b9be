"""Dead letters: the original bytes in the topic inventory.dead-letters, an index to them in dead_letter_by_day.

In: refused records and why. Out: the same, found again by day, code and topic, and sent again if somebody wishes.
A letter carries the original's key, value and headers, and after them the eight `dl_…` headers of OURS. Bytes first,
then index: a crash between the two leaves a letter without an index, which the agent's replay then writes. Index cells
carry the record's arrival as write time, so that a repeat writes the same cell. Try: `inventorybot dead-letters list`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from confluent_kafka import KafkaException, Producer

from inventorybot.adapters.cassandra.session import Database, ms
from inventorybot.adapters.kafka import drain
from inventorybot.adapters.kafka_log import KafkaLog
from inventorybot.clock import now_ms
from inventorybot.domain.days import DAY_MS, day_of
from inventorybot.errors import TryLater
from inventorybot.ports import DeadLetter
from inventorybot.wire.codec import Record
from inventorybot.wire.topics import DEAD_LETTERS

DAYS = 31
"""How far back there can be a letter: 30 days of retention, and today."""
MAX_REASON = 1000
ACK_TIMEOUT_S = 10.0
"""A dead letter that Kafka does not take within this is not safe: the agent tries again, and does not go on."""
OURS = ("dl_topic", "dl_partition", "dl_offset", "dl_at", "dl_code", "dl_path", "dl_reason", "dl_null")
"""dl_null names what was null in the original (key, value): Kafka tells null from empty, and so must a replay."""

_SELECT = (
    "SELECT at, topic, partition, offset, code, path, reason, letter_offset, replayed_at "
    "FROM dead_letter_by_day WHERE day = ? "
)
_INSERT = (
    "INSERT INTO dead_letter_by_day (day, at, topic, partition, offset, code, path, reason, letter_offset) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_HAVE = "SELECT offset FROM dead_letter_by_day WHERE day = ? AND at = ? AND topic = ? AND partition = ? AND offset = ?"
_FIND = _SELECT + "AND topic = ? AND partition = ? AND offset = ? ALLOW FILTERING"  # within one day's partition
_MARK = (
    "UPDATE dead_letter_by_day USING TIMESTAMP ? AND TTL ? SET replayed_at = ? "
    "WHERE day = ? AND at = ? AND topic = ? AND partition = ? AND offset = ?"
)


class CassandraDeadLetters:
    """`ports.DeadLetters` on one session and one producer of its own (it needs to know where each letter came to lie).

    Args:
        config: how to reach the brokers (librdkafka's names).
        clock: now, ms; decides which days are looked through.
    """

    def __init__(self, database: Database, config: Mapping[str, Any], clock: Callable[[], int] = now_ms) -> None:
        self._db, self._config, self._clock = database, config, clock
        self._log = KafkaLog(config)
        self._producer: Producer | None = None
        self._lock = threading.Lock()

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Raises: TryLater: not all are safe; putting all again does no harm."""
        if not letters:
            return
        have = await self._db.gather([(_HAVE, _key(x)) for x in letters])
        new = [x for x, rows in zip(letters, have, strict=True) if not rows]
        offsets = await asyncio.to_thread(self._append, new)
        await self._db.write(
            [
                (_INSERT, (*_key(x), x.code, x.path, x.reason[:MAX_REASON], offset, x.at * 1000))
                for x, offset in zip(new, offsets, strict=True)
            ]
        )

    async def list(
        self, *, code: str | None = None, topic: str | None = None, limit: int = 100
    ) -> AsyncIterator[DeadLetter]:
        """Raises: TryLater."""
        filters = [(column, value) for column, value in (("code", code), ("topic", topic)) if value is not None]
        cql = _SELECT + "".join(f"AND {column} = ? " for column, _ in filters)
        cql += "LIMIT ?" + (" ALLOW FILTERING" if filters else "")
        left = limit
        for day in self._days():
            for row in await self._db.rows(cql, (day, *(value for _, value in filters), left)):
                left -= 1
                yield _letter(row)
            if left <= 0:
                return

    async def get(self, letter_id: str) -> DeadLetter | None:
        """`whole` is False where retention has removed the bytes. Raises: TryLater."""
        row = await self._find(letter_id)
        if row is None:
            return None
        letter = _letter(row)
        record = await self._log.at(DEAD_LETTERS.name, 0, row.letter_offset)
        if record is None:
            return letter
        original = unwrap(record)
        same = original is not None and (original.topic, original.partition, original.offset) == (
            letter.topic, letter.partition, letter.offset
        )  # fmt: skip
        return replace(letter, original=original, whole=True) if original is not None and same else letter

    async def mark_replayed(self, letter_id: str, at: int) -> None:
        """One that is not there stays so. Raises: TryLater."""
        row = await self._find(letter_id)
        if row is None:
            return
        arrived = ms(row.at) or 0
        left_s = max(1, (arrived + (DAYS - 1) * DAY_MS - self._clock()) // 1000)  # the note ends with its row
        key = (day_of(arrived), arrived, row.topic, row.partition, row.offset)
        await self._db.write([(_MARK, (at * 1000, left_s, at, *key))])

    def close(self) -> None:
        """End the connections to Kafka; the session is its owner's."""
        self._log.close()

    def _days(self) -> Sequence[int]:
        now = self._clock()
        return [
            day_of(now - back * DAY_MS) for back in range(-1, DAYS)
        ]  # from tomorrow: the broker's clock may be ahead

    async def _find(self, letter_id: str) -> Any:
        """The newest day first: people ask for what has just happened."""
        place = parse_id(letter_id)
        if place is None:
            return None
        for day in self._days():
            rows = await self._db.rows(_FIND, (day, *place))
            if rows:
                return rows[0]
        return None

    def _append(self, letters: Sequence[DeadLetter]) -> Sequence[int]:
        """Write letters to the topic; returns where they lie. Blocks: called on a thread."""
        with self._lock:
            if self._producer is None:
                limits = {"message.max.bytes": 1_500_000, "message.timeout.ms": int(ACK_TIMEOUT_S * 1000)}
                self._producer = Producer({**self._config, "acks": "all", "enable.idempotence": True, **limits})
            results: dict[int, Any] = {}

            def delivered(i: int, error: Any, message: Any) -> None:
                results[i] = error or message.offset()

            try:
                for i, x in enumerate(letters):
                    self._producer.produce(
                        DEAD_LETTERS.name, x.original.value, x.original.key, 0, headers=_wrap(x),
                        on_delivery=partial(delivered, i),
                    )  # fmt: skip
                    if i % 1000 == 999:
                        drain(self._producer, ACK_TIMEOUT_S)
                drain(self._producer, ACK_TIMEOUT_S + 1)
            except (KafkaException, BufferError) as error:
                self._producer = None  # librdkafka may have given it up for good
                raise TryLater("kafka", str(error)) from error
        failed = next((r for r in results.values() if not isinstance(r, int)), None)
        if failed is not None or len(results) < len(letters):
            raise TryLater("kafka", failed.str() if failed is not None else "no acknowledgement of a dead letter")
        return [results[i] for i in range(len(letters))]


def parse_id(letter_id: str) -> tuple[str, int, int] | None:
    """Topic, partition and offset of a letter's id; None: it cannot be one."""
    topic, _, rest = letter_id.partition(":")
    numbers = rest.split(":")
    if not topic or len(numbers) != 2 or not all(n.isascii() and n.isdigit() and len(n) < 19 for n in numbers):
        return None
    partition, offset = map(int, numbers)
    return (topic, partition, offset) if partition < 1 << 31 else None


def _key(x: DeadLetter) -> tuple[int, int, str, int, int]:
    return day_of(x.at), x.at, x.topic, x.partition, x.offset


def _letter(row: Any) -> DeadLetter:
    at = ms(row.at) or 0
    gone = Record(row.topic, row.partition, row.offset, None, None, (), at)
    return DeadLetter(
        row.topic, row.partition, row.offset, at, row.code, row.path, row.reason, gone, ms(row.replayed_at), whole=False
    )


def _wrap(x: DeadLetter) -> list[tuple[str, str | bytes | None]]:
    null = " ".join(n for n, v in (("key", x.original.key), ("value", x.original.value)) if v is None)
    said = (x.topic, str(x.partition), str(x.offset), str(x.at), x.code, x.path, x.reason[:MAX_REASON], null)
    return [*x.original.headers, *((name, value.encode()) for name, value in zip(OURS, said, strict=True))]


def unwrap(letter: Record) -> Record | None:
    """The original record from a record of inventory.dead-letters; None: it is not one of ours."""
    own = letter.headers[-len(OURS) :]
    if tuple(name for name, _ in own) != OURS:
        return None
    topic, partition, offset, at, *_, null = (value.decode() for _, value in own)
    missing = null.split()
    key = None if "key" in missing else letter.key or b""
    value = None if "value" in missing else letter.value or b""
    return Record(topic, int(partition), int(offset), key, value, list(letter.headers[: -len(OURS)]), int(at))
