"""inventory.updates -> the lake's dataset `events`, exactly once, by structured streaming; and movements made from it.

In: the topic, from where the last run stopped. Out: events/day=…/batch=…: every record that the ledger agent would take, doubled ones
included, decoded by the same code. Exactly once: Spark notes what a batch will hold before it reads it, and writing a batch replaces
what an earlier attempt at the same batch left. Movements are the events without their repeats: of an id, the first arrival in its bin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from inventorybot.domain.days import DAY_MS
from inventorybot.domain.ledger import revision
from inventorybot.errors import BadEvent, TryLater
from inventorybot.settings import Settings
from inventorybot.wire.codec import Record, TimeLimits, from_ms, read_movement
from inventorybot.wire.topics import UPDATES
from ml.history.lake import SCHEMAS, Lake

EVENTS = pa.schema([*SCHEMAS["movements"], ("batch", pa.string())])
"""Columns of `events`: those of movements, and the batch, which is a partition."""
_DECODED = (
    "event_id string, site string, bin string, sku string, kind string, quantity long, to_bin string, source string, "
    "reason string, occurred_at timestamp, arrived_at timestamp, revision long"
)
BATCH_EVENTS = 2_000_000
"""Records of a batch: a minute of two cores, and what a crash has done again."""


class KafkaSource:
    """The log of updates.

    Args:
        epoch: the topic's incarnation (topic_epoch in docs/cassandra.md): offsets of another cannot be compared.
        partitions: of the topic; a record in another than its key's is refused, as the ledger agent refuses it.
        reach_days: how long after a day its movements may still arrive.
    """

    name = "kafka"

    def __init__(
        self, spark: SparkSession, settings: Settings, lake: Lake, *, epoch: int, partitions: int, reach_days: int
    ) -> None:
        self._spark, self._settings, self._lake = spark, settings, lake
        self._epoch, self._partitions, self._reach = epoch, partitions, reach_days

    def ingest(self, told: Callable[[int], None] = lambda _: None) -> int:
        """Bring `events` up to the end of the topic as it is now; returns the events added.

        Args: told: hears of the events of each batch.
        Raises: TryLater: the brokers do not answer, or the lake cannot be written; run it again, nothing is lost.
        """
        added = [0]
        limits = TimeLimits(self._settings.max_future_s * 1000, self._settings.max_age_days * DAY_MS)
        decode = decoder(self._epoch, self._partitions, limits)
        target = self._lake.spark_path("events")

        def write(batch: DataFrame, number: int) -> None:
            rows = batch.mapInArrow(decode, _DECODED).withColumn("day", F.to_date("occurred_at")).persist()
            try:
                name = f"{self._epoch:04d}-{number:08d}"
                found = rows.count()
                told(found)
                added[0] += found
                ordered = rows.withColumn("batch", F.lit(name)).repartition("day")
                ordered = ordered.sortWithinPartitions("day", "site", "bin", "revision")
                ordered.write.mode("overwrite").partitionBy("day", "batch").parquet(target)
            finally:
                rows.unpersist()

        checkpoint = self._lake.spark_path(f"_state/updates-{self._epoch:04d}")
        try:
            query = (
                self._stream().writeStream.foreachBatch(write).option("checkpointLocation", checkpoint)
                .trigger(availableNow=True).start()
            )  # fmt: skip
            query.awaitTermination()
        except Exception as error:  # pyspark has a dozen kinds, and each may have any cause
            raise TryLater("kafka", f"the stream into the lake ended: {str(error).strip().splitlines()[0]}") from error
        return added[0]

    def day_counts(self, last: date, known: date | None) -> dict[date, int]:
        """How many movements the log has of each day until `last`; as `CassandraSource.day_counts`."""
        begins = None if known is None else known - timedelta(days=self._reach)
        rows = self._facts(begins).groupBy("day").count().collect()
        return {row["day"]: row["count"] for row in rows if row["day"] <= last}

    def movements(self, days: Iterable[date]) -> DataFrame:
        """The movements of some days."""
        wanted = sorted(days)
        return self._facts(wanted[0] - timedelta(days=self._reach)).where(F.col("day").isin(wanted))

    def _facts(self, begins: date | None) -> DataFrame:
        """Of every id in a bin its first arrival, whatever day the others claim."""
        if not self._lake.has("events"):
            return self._spark.createDataFrame([], f"{_DECODED}, day date")
        events = self._spark.read.schema(f"{_DECODED}, day date, batch string").parquet(self._lake.spark_path("events"))
        events = events.where(F.col("day") >= F.lit(begins)) if begins else events
        first = Window.partitionBy("site", "bin", "event_id").orderBy("revision")
        return events.withColumn("nth", F.row_number().over(first)).where("nth = 1").drop("nth", "batch")

    def _stream(self) -> DataFrame:
        options = {
            "subscribe": UPDATES.name,
            "startingOffsets": "earliest",
            "includeHeaders": "true",
            "maxOffsetsPerTrigger": str(BATCH_EVENTS),
            "failOnDataLoss": "true",
            **kafka_options(self._settings),
        }
        return self._spark.readStream.format("kafka").options(**options).load()


def kafka_options(settings: Settings) -> dict[str, str]:
    """How to reach the brokers, in the words of Spark's connector (`kafka.` and Kafka's own names)."""
    options = {"kafka.bootstrap.servers": settings.kafka, "kafka.security.protocol": settings.kafka_security}
    if settings.kafka_ca_file:
        options |= {"kafka.ssl.truststore.type": "PEM", "kafka.ssl.truststore.location": settings.kafka_ca_file}
    if settings.kafka_security.startswith("SASL"):
        scram = settings.kafka_sasl_mechanism.startswith("SCRAM")
        module = "scram.ScramLoginModule" if scram else "plain.PlainLoginModule"
        login = f"{_quoted('username', settings.kafka_user)} {_quoted('password', settings.kafka_password)}"
        options["kafka.sasl.mechanism"] = settings.kafka_sasl_mechanism
        options["kafka.sasl.jaas.config"] = f"org.apache.kafka.common.security.{module} required {login};"
    return options


def _quoted(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'


def decoder(
    epoch: int, partitions: int, limits: TimeLimits
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function from Kafka's records, as Spark tells them, to the columns of movements; what the ledger refuses is left out."""
    columns = pa.schema([field for field in SCHEMAS["movements"] if field.name != "day"])

    def decode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [row for r in batch.to_pylist() if (row := _event(r, epoch, partitions, limits)) is not None]
            yield pa.RecordBatch.from_pylist(rows, schema=columns)

    return decode


def _event(r: dict[str, Any], epoch: int, partitions: int, limits: TimeLimits) -> dict[str, Any] | None:
    arrived = int(r["timestamp"].timestamp() * 1000)
    headers = [(h["key"], h["value"]) for h in r["headers"] or ()]
    record = Record(r["topic"], r["partition"], r["offset"], r["key"], r["value"], headers, arrived)
    try:
        event, head = read_movement(record, limits)
    except BadEvent:
        return None
    if home_of(record.key or b"", partitions) != record.partition:
        return None
    return {
        "event_id": event.event_id, "site": event.site, "bin": event.bin, "sku": event.sku, "kind": str(event.kind),
        "quantity": event.delta, "to_bin": event.to_bin, "source": event.source, "reason": event.reason,
        "occurred_at": from_ms(head.time), "arrived_at": from_ms(arrived), "revision": revision(epoch, record.offset),
    }  # fmt: skip


@lru_cache(maxsize=1 << 16)
def home_of(key: bytes, partitions: int) -> int:
    """The partition of a key by Java's default partitioner. Source: Apache Kafka, `Utils.murmur2` (MurmurHash 2.0, seed 0x9747b28c)."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    whole = len(key) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if rest := key[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    h ^= h >> 15
    return (h & 0x7FFFFFFF) % partitions
