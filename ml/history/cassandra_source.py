"""What Cassandra holds, read through Spark's connector by whole partition keys: no table is scanned but for two columns once.

In: a session that points at the cluster, the keyspace. Out: frames with the columns of the lake.
Tables and keys: docs/cassandra.md. A partition is asked for by its key in a join, so that Spark's tasks share the requests and
Cassandra's coordinators never gather more than one partition at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from inventorybot.adapters.cassandra.ledger import BUCKETS, months, week_of
from inventorybot.domain.days import DAY_MS, month_of

_SHARDS = list(range(BUCKETS))


class CassandraSource:
    """The ledger, counts, anomalies.

    Args:
        reach_days: how long after a day its movements may still arrive.
    """

    name = "cassandra"

    def __init__(self, spark: SparkSession, keyspace: str, reach_days: int) -> None:
        self._spark, self._keyspace, self._reach = spark, keyspace, reach_days

    def day_counts(self, last: date, known: date | None) -> dict[date, int]:
        """How many movements the ledger has of each day until `last`.

        Args: known: the newest day that was counted before; None: count from the first movement on.
        """
        begins = self._begin() if known is None else known - timedelta(days=self._reach)
        if begins is None:
            return {}
        rows = self._ledger(begins, last).groupBy(F.to_date("occurred_at").alias("day")).count().collect()
        return {row["day"]: row["count"] for row in rows if row["day"] <= last}

    def movements(self, days: Iterable[date]) -> DataFrame:
        """The movements of some days."""
        wanted = sorted(days)
        frame = self._ledger(wanted[0], wanted[-1]).withColumn("day", F.to_date("occurred_at"))
        return frame.where(F.col("day").isin(wanted)).withColumn("arrived_at", F.timestamp_micros("written"))

    def counts(self, first: date, last: date) -> DataFrame:
        """What the pictures of some days showed."""
        at = sorted(months(month_of(_ms(first)), month_of(_ms(last))))
        keys = self._names("bin").crossJoin(self._numbers("month", at))
        found = keys.join(self._table("count_by_bin"), ["site", "bin", "month"])
        rows = found.select(
            "image_id", "site", "bin", "captured_at", F.expr("array_position(p, array_max(p)) - 1").alias("count"),
            F.array_max("p").alias("confidence"), "recorded", "probability_wrong", "model",
            F.to_date("captured_at").alias("day"),
        )  # fmt: skip
        return rows.where(F.col("day").between(F.lit(first), F.lit(last)))

    def anomaly_states(self) -> DataFrame:
        """Every anomaly as the JSON that the list keeps: id, state."""
        buckets = self._table("anomaly_bucket").where("scope = 'all'").select("site", "month")
        return buckets.join(self._table("anomaly_by_month"), ["site", "month"]).select("id", "state")

    def _ledger(self, first: date, last: date) -> DataFrame:
        weeks = range(week_of(_ms(first)), week_of(_ms(last) + DAY_MS - 1) + 1)
        keys = self._sites().crossJoin(self._numbers("bucket", _SHARDS)).crossJoin(self._numbers("week", weeks))
        rows = self._table("ledger_by_bin").withColumn("written", F.expr("writetime(revision)"))  # the arrival, µs
        return keys.repartition(self._tasks()).join(rows, ["site", "bucket", "week"])

    def _begin(self) -> date | None:
        """The first day of the month of the first movement: every bin's first row knows its own."""
        first = self._table("level_by_bin").agg(F.min("first_month")).first()
        return date(first[0] // 100, first[0] % 100, 1) if first is not None and first[0] else None

    def _sites(self) -> DataFrame:
        named = self._table("catalogue").where(F.col("kind") == "site").where(F.col("site") == "")
        return named.where(F.col("shard").isin(_SHARDS)).select(F.col("name").alias("site"))

    def _names(self, kind: str) -> DataFrame:
        """site, and the names of a kind there, in a column called after the kind."""
        keys = self._sites().withColumn("kind", F.lit(kind)).crossJoin(self._numbers("shard", _SHARDS))
        return keys.join(self._table("catalogue"), ["kind", "site", "shard"]).select("site", F.col("name").alias(kind))

    def _numbers(self, name: str, values: Iterable[int]) -> DataFrame:
        return self._spark.createDataFrame([(value,) for value in values], f"{name} int")

    def _tasks(self) -> int:
        return max(self._spark.sparkContext.defaultParallelism, 1)

    def _table(self, table: str) -> DataFrame:
        told = {"keyspace": self._keyspace, "table": table, "directJoinSetting": "on"}
        return self._spark.read.format("org.apache.spark.sql.cassandra").options(**told).load()


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
