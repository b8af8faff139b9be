"""The fold of fold.py as Spark runs it: the SKUs of the sites in parts, each part by the same function.

In: frames of the lake's movements, and of the levels and daily rows of the day before. Out: frames with the columns of the lake.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ml.history.fold import CORRECTIONS, DAILY, LEVELS, fold_days

ROWS_A_PART = 50_000
"""Levels and movements that one task holds: with 31 days about 400 MB at the most."""
_FOLDED = (
    "what int, day int, site string, bin string, sku string, on_hand long, sold long, received long, returned long, "
    "written_off long, adjusted long, counted long, recorded long, in_stock double, censored boolean, at long, found long"
)
_IN_PANDAS = {"int": "Int64", "long": "Int64", "string": "object", "double": "float64", "boolean": "boolean"}
_TYPES = {name: _IN_PANDAS[kind] for name, kind in (field.split() for field in _FOLDED.split(", "))}
_ALL = list(_TYPES)
_LEVEL, _DAILY, _CORRECTION = 0, 1, 2


@dataclass(frozen=True, slots=True)
class SparkFolded:
    """Rows of the datasets, `day` as a date. `cached` holds them all until it is unpersisted."""

    levels: DataFrame
    daily: DataFrame
    corrections: DataFrame
    cached: DataFrame


def fold_days_in_spark(moves: DataFrame, opening: DataFrame, first: int, last: int) -> SparkFolded:
    """Fold the movements of some days; see `fold.fold_days`.

    Args:
        moves: columns of the lake's movements.
        opening: site, bin, sku, on_hand.
        first, last: days since the epoch, both included.
    """
    cluster = max(moves.sparkSession.sparkContext.defaultParallelism, 1)
    parts = max(cluster, (moves.count() + opening.count()) // ROWS_A_PART + 1)
    part = F.pmod(F.hash("site", "sku"), F.lit(parts)).alias("part")
    left = moves.select(
        part, "site", "bin", "sku", "kind", "quantity", "to_bin", F.unix_micros("occurred_at").alias("at"), "revision"
    )
    right = opening.select(part, "site", "bin", "sku", "on_hand")

    def run(some: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
        folded = fold_days(some, before, first, last)
        told = ((_LEVEL, folded.levels), (_DAILY, folded.daily), (_CORRECTION, folded.corrections))
        return pd.concat([table.assign(what=what).reindex(columns=_ALL).astype(_TYPES) for what, table in told])

    folded = left.groupBy("part").cogroup(right.groupBy("part")).applyInPandas(run, _FOLDED)
    cached = folded.withColumn("day", F.date_from_unix_date("day")).persist()
    corrections = cached.where(F.col("what") == _CORRECTION).withColumn("counted_at", F.timestamp_micros("at"))
    return SparkFolded(
        cached.where(F.col("what") == _LEVEL).select(*LEVELS),
        cached.where(F.col("what") == _DAILY).select(*DAILY),
        corrections.select(*["counted_at" if name == "at" else name for name in CORRECTIONS]),
        cached,
    )
