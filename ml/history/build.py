"""Bring the lake up to date: the days that have changed, and of all later days what follows from them.

In: a source (Cassandra's ledger, or the events of Kafka), the lake. Out: the lake's datasets; run it again and nothing changes.

A day has changed where the source has another number of movements than the day was made of: facts are only ever added, so that is
the same as asking which arrived since, and does not depend on a clock or on how far the ledger agent is behind. From the first
changed day on, levels and daily rows are folded anew, a month at a time, from the levels of the evening before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ml.history.cassandra_source import CassandraSource
from ml.history.fold import day_number
from ml.history.lake import Lake
from ml.history.outcomes import anomaly_rows
from ml.history.spark_fold import fold_days_in_spark
from ml.history.state import load_state, save_state
from ml.history.tables import load, replace_days

WINDOW_DAYS = 31
"""Days that are folded at once: what a crash has done again, and what a task holds of each slot."""
COUNTS_LATE_DAYS = 31
"""How long after it was taken a picture's count may still arrive."""
ONE = timedelta(days=1)

Say = Callable[[str, int, int], None]
"""Hears of progress: what is done, how much of it, of how much."""


class Source(Protocol):
    """Where movements come from."""

    name: str

    def day_counts(self, last: date, known: date | None) -> dict[date, int]:
        """Movements of each day until `last`; `known`: the newest day that was counted before."""

    def movements(self, days: Iterable[date]) -> DataFrame:
        """The movements of some days, with the columns of the lake."""


@dataclass(frozen=True)
class Built:
    """What a build did. Args: changed: days whose movements were written; first, last: days whose levels were."""

    changed: list[date]
    first: date | None
    last: date | None
    movements: int


def build_days(
    spark: SparkSession, lake: Lake, source: Source, *, until: date, whole: date, forced: Sequence[date] = (),
    say: Say = lambda *_: None,
) -> Built:  # fmt: skip
    """Make movements, levels, daily and corrections hold what the source holds.

    Args:
        until: the last day to build; days that were built before are kept up to date beyond it.
        whole: the last day that is over; a later one is built as it stands, and again the next time.
        forced: days to build whether they have changed or not.
    Raises: TryLater: source or store does not answer; run it again.
    """
    state = load_state(lake)
    last = max([until, *state.days]) if state.whole_until is None else max(until, state.whole_until)
    counts = source.day_counts(last, max(state.days, default=None))
    changed = {day for day, rows in counts.items() if state.days.get(day) != rows} | {d for d in forced if d in counts}
    ends = state.whole_until if state.whole_until else last
    begin = min([*changed, *forced, ends + ONE])
    begin = max(begin, min([*counts, *state.days], default=last + ONE))
    if begin > last:
        return Built([], None, None, 0)
    state.break_from(begin)
    save_state(lake, state)
    written, first, total = 0, begin, (last - begin).days + 1
    while first <= last:
        end = min(first + (WINDOW_DAYS - 1) * ONE, last)
        now = {day for day in changed if first <= day <= end}
        say("days", (first - begin).days, total)
        made = _movements(spark, lake, source, now)
        _fold(spark, lake, first, end)
        written += sum(made.values())
        state.days |= {day: rows for day, rows in made.items() if day <= whole}
        state.whole_until = max(min(end, whole), begin - ONE)
        save_state(lake, state)
        first = end + ONE
    say("days", total, total)
    return Built(sorted(changed), begin, last, written)


def _movements(spark: SparkSession, lake: Lake, source: Source, days: set[date]) -> dict[date, int]:
    """Write the movements of some days; returns how many each has."""
    if not days:
        return {}
    rows = source.movements(days).persist()
    try:
        replace_days(rows, lake, "movements", days)
        return {row["day"]: row["count"] for row in rows.groupBy("day").count().collect()}
    finally:
        rows.unpersist()


def _fold(spark: SparkSession, lake: Lake, first: date, last: date) -> None:
    """Write levels, daily rows and corrections of some days from the lake's movements and the evening before."""
    before = first - ONE
    opening = load(spark, lake, "levels", before, before).select("site", "bin", "sku", "on_hand")
    seen = load(spark, lake, "daily", before, before).select(
        "site", F.lit("").alias("bin"), "sku", F.lit(0).cast("long")
    )
    moves = load(spark, lake, "movements", first, last)
    folded = fold_days_in_spark(moves, opening.unionAll(seen), day_number(first), day_number(last))
    days = [first + n * ONE for n in range((last - first).days + 1)]
    try:
        replace_days(folded.levels, lake, "levels", days)
        replace_days(priced(folded.daily, load(spark, lake, "covariates")), lake, "daily", days)
        replace_days(folded.corrections, lake, "corrections", days)
    finally:
        folded.cached.unpersist()


def priced(daily: DataFrame, covariates: DataFrame) -> DataFrame:
    """Daily rows with the covariate `price`: of the SKU at the site, else of the SKU everywhere; empty where neither is known."""
    prices = (
        covariates.where("name = 'price' AND sku IS NOT NULL")
        .groupBy("site", "sku", "day")
        .agg(F.max("value").alias("value"))
    )
    own = prices.where("site IS NOT NULL").withColumnRenamed("value", "own")
    anywhere = prices.where("site IS NULL").select("sku", "day", F.col("value").alias("anywhere"))
    joined = daily.join(own, ["site", "sku", "day"], "left").join(anywhere, ["sku", "day"], "left")
    return joined.withColumn("price", F.coalesce("own", "anywhere")).drop("own", "anywhere")


def build_counts(lake: Lake, source: CassandraSource, until: date) -> int:
    """Write what pictures showed, as far back as counts may still have arrived since they were last written; returns how many."""
    written = lake.days("counts")
    first = (written[-1] if written else until - timedelta(days=365)) - timedelta(days=COUNTS_LATE_DAYS)
    rows = source.counts(first, until).persist()
    try:
        replace_days(rows, lake, "counts", ())
        return rows.count()
    finally:
        rows.unpersist()


def build_anomalies(spark: SparkSession, lake: Lake, source: CassandraSource, until: date) -> int:
    """Write every anomaly raised until a day, as it stands now: old ones end too; returns how many."""
    rows = anomaly_rows(source.anomaly_states(), load(spark, lake, "corrections"))
    rows = rows.where(F.col("day") <= F.lit(until)).persist()
    try:
        replace_days(rows, lake, "anomalies", ())
        return rows.count()
    finally:
        rows.unpersist()
