"""Where `verify` reads from: Kafka's log from its first record to its last, and Cassandra's tables in full.

In: how to reach them. Out: places and facts, rows and levels. Nothing is written, no offset is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from inventorybot.adapters.cassandra.session import Database
from inventorybot.errors import SetupError, TryLater
from services.verify.events import Fact, read
from services.verify.fold import Place, Row

Bounds = dict[int, tuple[int, int]]
"""By partition: the first offset there is, and the one after the last."""
TIMEOUT_S = 10.0
"""Of one question to the brokers; a healthy cluster answers in milliseconds."""
SILENCE_S = 30.0
"""No record for so long, with records still to come, means that the brokers are away."""
RANGES = 32
"""Pieces that the token ring is read in: each a query of its own, paged, none near the request time-out."""
PAGE = 2000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # the driver gives times in UTC without a zone
_MS = timedelta(milliseconds=1)
_LOW, _HIGH = -(1 << 63), (1 << 63) - 1


class Log:
    """One topic. Args: config: how to reach the brokers (librdkafka's names)."""

    def __init__(self, config: dict[str, Any], topic: str) -> None:
        self._config, self._topic = config, topic
        self._consumer = Consumer({**config, "group.id": "inventorybot-verify", "enable.auto.commit": False})

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def bounds(self) -> Bounds:
        """Raises: TryLater: no broker answers. SetupError: there is no such topic."""
        try:
            found = self._consumer.list_topics(self._topic, timeout=TIMEOUT_S).topics[self._topic]
            if found.error is not None:
                raise SetupError(f"Kafka has no topic {self._topic}: run `inventorybot migrate` first")
            places = [TopicPartition(self._topic, p) for p in sorted(found.partitions)]
            marks = [self._consumer.get_watermark_offsets(p, timeout=TIMEOUT_S) for p in places]
        except KafkaException as error:
            raise TryLater("kafka", error.args[0].str()) from error
        if any(mark is None for mark in marks):
            raise TryLater("kafka", f"the brokers do not say where {self._topic} ends")
        return {p.partition: mark for p, mark in zip(places, marks, strict=True)}

    def committed(self, group: str) -> dict[int, int]:
        """The offsets that a consumer group has handled up to, by partition. Raises: TryLater."""
        admin = AdminClient(self._config)  # must outlive its futures: they are lost with it
        try:
            asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=TIMEOUT_S)
            found = asked[group].result(timeout=TIMEOUT_S).topic_partitions
        except KafkaException as error:
            raise TryLater("kafka", error.args[0].str()) from error
        except TimeoutError as error:
            raise TryLater("kafka", "no broker says how far the ledger is") from error
        return {p.partition: max(0, p.offset) for p in found if p.topic == self._topic}

    def messages(self, bounds: Bounds) -> Iterator[Any]:
        """Every record within the bounds; within a partition in order. Raises: TryLater: the brokers went away."""
        left = {p: end for p, (start, end) in bounds.items() if start < end}
        self._consumer.assign([TopicPartition(self._topic, p, bounds[p][0]) for p in left])
        silent = 0.0
        while left:
            batch: list[Any] = self._consumer.consume(1000, timeout=1.0)
            silent = 0.0 if batch else silent + 1.0
            if silent >= SILENCE_S:
                raise TryLater(
                    "kafka", f"no record of {self._topic} for {SILENCE_S:g} s; {len(left)} partitions unfinished"
                )
            for m in batch:
                if m.error() is not None:
                    if m.error().retriable():
                        continue
                    raise TryLater("kafka", m.error().str())
                end = left.get(m.partition())
                if end is None:
                    continue
                if m.offset() < end:
                    yield m
                if m.offset() + 1 >= end:
                    del left[m.partition()]
        self._consumer.unassign()

    def facts(self, bounds: Bounds) -> Iterator[tuple[Place, int, Fact | str]]:
        """Place, arrival (ms) and content of every record within the bounds."""
        for m in self.messages(bounds):
            yield (m.partition(), m.offset()), m.timestamp()[1], read(m.headers(), m.key(), m.value())


def dead_letters(log: Log, bounds: Bounds, topic: str) -> Iterator[tuple[Place, str, int]]:
    """Of the letters of one topic: the original's place, why, and when it had arrived, ms."""
    for m in log.messages(bounds):
        said = {name: (text or b"").decode(errors="replace") for name, text in m.headers() or () if name[:3] == "dl_"}
        if said.get("dl_topic") == topic:
            yield (int(said["dl_partition"]), int(said["dl_offset"])), said["dl_code"], int(said["dl_at"])


class Tables:
    """Whole tables of one keyspace, by pieces of the token ring."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def old_epochs(self, topic: str) -> frozenset[int]:
        """Incarnations of a topic whose records are gone: those with another id than the newest has."""
        rows = self._database.execute("SELECT epoch, topic_id FROM topic_epoch WHERE topic = %s", (topic,))
        newest = max(rows, key=lambda r: r.epoch, default=None)
        return frozenset(r.epoch for r in rows if newest is not None and r.topic_id != newest.topic_id)

    def rows(self, done: Callable[[float], None]) -> Iterator[Row]:
        """The ledger."""
        columns = ("site", "bin", "occurred_at", "event_id", "sku", "kind", "quantity", "revision", "to_bin")
        for r in self._scan("ledger_by_bin", ("site", "bucket", "week"), columns, done):
            at = (r.occurred_at - _EPOCH) // _MS
            yield Row(r.site, r.bin, at, r.event_id, r.sku, r.kind, r.quantity, r.revision, r.to_bin)

    def levels(self, table: str, done: Callable[[float], None]) -> Iterator[tuple[str, str, str, int]]:
        """Site, bin, SKU and units of a level table."""
        for r in self._scan(table, ("site", "bucket"), ("site", "bin", "sku", "on_hand"), done):
            yield r.site, r.bin, r.sku, r.on_hand

    def _scan(
        self, table: str, key: Sequence[str], columns: Sequence[str], done: Callable[[float], None]
    ) -> Iterator[Any]:
        token = f"token({', '.join(key)})"
        cql = f"SELECT {', '.join(columns)} FROM {table} WHERE {token} > ? AND {token} <= ?"  # noqa: S608  # our own names
        statement = self._database.prepared(cql).statement
        statement.fetch_size = PAGE
        edges = [_LOW + (_HIGH - _LOW) * i // RANGES for i in range(RANGES + 1)]
        try:
            for low, high in pairwise(edges):
                yield from self._database.session.execute(statement, (low, high))
                done(1 / RANGES)
        except (NoHostAvailable, DriverException, OSError) as error:
            raise TryLater("cassandra", f"reading {table}: {error}") from error
