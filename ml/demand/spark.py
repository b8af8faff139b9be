"""The same forecast, distributed: a release folder and the lake's daily table in, forecast rows out, and into Cassandra.

In: rows of `daily` as a Spark DataFrame or the dataset's path. Out: a DataFrame site, sku, period (date), mean, q05 … q95 (units), made_at
(ms); the same rows as `lifecycle.forecast_locally`, to float tolerance.

What is fixed at training is the release: the mixture of each segment, the models, the errors' quantiles. Of what a forecast reads, all is
of the series itself but three levels: of all series, of its store and of its item. Rows are grouped by SKU, so a group holds its
items whole; the levels of all and of each store are summed first (`Panel.wider`) and handed to every group. Each Python worker reads
the release once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from inventorybot.adapters.cassandra.forecasts import SHARDS
from inventorybot.domain.forecast import NAMES
from inventorybot.errors import SetupError
from ml.demand import covariates as tables
from ml.demand import lake_panel, lifecycle, release
from ml.demand.forecaster import Forecaster
from ml.demand.panel import Panel, Wider

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SERIES_A_GROUP = 2_000
"""Series forecast at a time: 100 MB of features in a worker."""
RESULT = f"site string, sku string, period date, mean double, {', '.join(f'{n} double' for n in NAMES)}, made_at long"
_LEVELS = "store string, capped boolean, at int, total double, known double"
_WANTED = ("site", "sku", "day", "sold", "censored", "price", "category")
_CASSANDRA = "org.apache.spark.sql.cassandra"

Parts = tuple[tuple[str, bytes], ...]
"""The files of a release: what a broadcast carries to workers that do not see its folder."""


def forecast_with_spark(
    spark: SparkSession,
    folder: Path,
    daily: DataFrame | Path | str,
    horizon: int,
    made_at: int,
    *,
    covariates: pd.DataFrame | None = None,
) -> DataFrame:
    """A release's forecast of the periods after the rows: RESULT, lazily; cache it where it is read more than once.

    Args:
        folder: the release, on the driver; daily: the lake's rows, or where they lie as Spark takes it.
        horizon: periods ahead; made_at: now, ms; covariates: rows of the lake's table.
    Raises: SetupError: the release or the rows cannot be used.
    """
    from pyspark.sql import functions as F

    parts = release.parts(folder)
    kind = release.of_parts(parts)[1]["kind"]
    rows = spark.read.parquet(str(daily)) if isinstance(daily, Path | str) else daily
    missing = [c for c in lake_panel.NEEDED if c not in rows.columns]
    if missing:
        raise SetupError(f"the daily table lacks the column {missing[0]}: it has {', '.join(rows.columns)}")
    rows = rows.select(*(c for c in _WANTED if c in rows.columns)).withColumn("day", F.col("day").cast("date"))
    extent = rows.agg(F.min("day"), F.max("day"), F.countDistinct("sku"), F.countDistinct("site", "sku")).first()
    first, last, skus, series = extent or (None, None, 0, 0)
    if first is None:
        raise SetupError("the daily table has no row with a day")
    on = lake_panel.axis(first, last, kind)
    table = None if covariates is None else tables.checked(covariates)
    names = {} if table is None else tables.calendars(table)
    groups = max(1, min(skus, -(-series // SERIES_A_GROUP)))
    grouped = rows.withColumn("bucket", F.pmod(F.crc32("sku"), F.lit(groups))).groupBy("bucket")
    wider = _levels(grouped.applyInPandas(_summing(on), _LEVELS), on)
    told = spark.sparkContext.broadcast((tuple(sorted(parts.items())), wider, table, names))
    return grouped.applyInPandas(_forecasting(on, told, horizon, made_at), RESULT)


def _levels(sums: DataFrame, on: lake_panel.Axis) -> Wider:
    """The level of all series and of each store from the sums of every group."""
    from pyspark.sql import functions as F

    found = sums.groupBy("store", "capped", "at").agg(F.sum("total").alias("total"), F.sum("known").alias("known"))
    frame = pd.DataFrame(found.toPandas())
    capped, plain = (_wider(frame[frame["capped"] == c], on.periods.count) for c in (True, False))
    return Wider(plain.every, plain.store, capped)


def _wider(frame: pd.DataFrame, t: int) -> Wider:
    names, store = np.unique(frame["store"].to_numpy(str), return_inverse=True)
    total, known = np.zeros((len(names), t)), np.zeros((len(names), t))
    at = frame["at"].to_numpy(np.int64)
    total[store, at], known[store, at] = frame["total"], frame["known"]
    means = total / np.maximum(known, 1)
    every = total.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return Wider(every, dict(zip(map(str, names), means, strict=True)))


def _summing(on: lake_panel.Axis) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def sums(rows: pd.DataFrame) -> pd.DataFrame:
        panel = lake_panel.panel_of(rows, on)
        return pd.concat(_sums(p, capped) for p, capped in ((panel, False), (panel.tamed(), True)))

    return sums


def _sums(panel: Panel, capped: bool) -> pd.DataFrame:
    """One row a store and period: units and how many series are known."""
    names, store = np.unique(panel.store, return_inverse=True)
    total, known = np.zeros((len(names), panel.t)), np.zeros((len(names), panel.t))
    np.add.at(total, store, np.nan_to_num(panel.units.astype(np.float64)))
    np.add.at(known, store, np.isfinite(panel.units))
    out = pd.DataFrame({"store": np.repeat(names.astype(object), panel.t), "capped": capped})
    out["at"] = np.tile(np.arange(panel.t, dtype=np.int32), len(names))
    out["total"], out["known"] = total.ravel(), known.ravel()
    return out


def _forecasting(on: lake_panel.Axis, told: Any, horizon: int, made_at: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def forecast(rows: pd.DataFrame) -> pd.DataFrame:
        parts, wider, table, names = told.value
        panel = replace(lake_panel.panel_of(rows, on), wider=wider)
        if table is not None:
            own = table["sku"].isna() | table["sku"].isin(set(panel.item))
            panel = tables.join(panel, table[own], horizon, names)
        out = lifecycle.rows(panel, *_model(parts).forecast(panel, horizon))
        return out.assign(period=out["period"].dt.date, made_at=made_at)

    return forecast


@lru_cache(maxsize=2)
def _model(parts: Parts) -> Forecaster:
    """The release, read once in each Python worker."""
    return release.of_parts(dict(parts))[0]


def store(frame: DataFrame, keyspace: str, model: str, **options: str) -> None:
    """Writes forecasts as `adapters/cassandra/forecasts.py` does: rows, then which periods there are.

    The write time is when they were made, so an older forecast never overwrites a newer one. Args: frame: RESULT; model: who says so;
    options: of the connector, where the session's are not meant.
    """
    from pyspark.sql import functions as F

    day = F.datediff(F.col("period"), F.lit("1970-01-01").cast("date"))
    rows = frame.select(
        "site",
        (day * 86_400).cast("timestamp").alias("period"),
        F.pmod(F.crc32("sku"), F.lit(SHARDS)).cast("int").alias("shard"),
        "sku",
        "mean",
        *NAMES,
        F.lit(model).alias("model"),
        (F.col("made_at") / 1000).cast("timestamp").alias("made_at"),
        (F.col("made_at") * 1000).alias("written"),
    )
    periods = rows.groupBy("site", "period").agg(F.max("written").alias("written"))
    for table, part in (("forecast_by_site", rows), ("forecast_period", periods)):
        writer = part.write.format(_CASSANDRA).options(keyspace=keyspace, table=table, writetime="written", **options)
        writer.mode("append").save()
