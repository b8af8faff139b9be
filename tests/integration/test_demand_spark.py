"""The forecast in Spark is the forecast here, and Cassandra keeps the newest one. Run: pytest tests/integration/test_demand_spark.py"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from ml.demand import lifecycle
from ml.demand import release as releases
from ml.demand import spark as spark_forecast
from ml.demand.ensemble import EVERY
from ml.demand.forecaster import MLP, TREES, Config
from ml.demand.mlp import Mlp, MlpConfig
from ml.demand.trees import Trees, TreesConfig
from services.local.cassandra import Node
from tests.conftest import Schema
from tests.unit.demand.makers import daily

CREATED = datetime(2025, 11, 24, tzinfo=UTC)
MADE_AT = 1_764_000_000_123
SMALL = Config(trees=TreesConfig(rounds=30, rows=5_000), mlp=MlpConfig(width=16, steps=60, rows=3_000), use_mlp=True)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    level = np.exp(rng.uniform(-1.5, 3, (3, 8, 1)))
    sold = rng.poisson(level * (1 + 0.5 * np.sin(np.arange(300) / 40)))
    sold[0, 0, 150] = 900  # an outlier: the levels of capped and of true sales differ
    return daily(sold, censored=rng.random(sold.shape) < 0.03, price=rng.choice([1.0, 1.2], sold.shape))


@pytest.fixture(scope="module")
def promotions() -> pd.DataFrame:
    days = pd.date_range("2025-01-06", periods=340)[::9]
    return pd.DataFrame({"site": [None] * len(days), "sku": "k1", "day": days, "name": "promotion", "value": 1.0})


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, rows: pd.DataFrame, promotions: pd.DataFrame) -> Path:
    """A release whose mixture uses every kind of member, so that each is compared."""
    folder = tmp_path_factory.mktemp("release")
    card = lifecycle.train_release(rows, 4, folder, promotions, config=SMALL, compared=False, created=CREATED)
    assert card["held_out"]["value"] == card["facts"]["table"]["chosen"]["WAPE"]
    model, _ = releases.read(folder)
    series = lifecycle.panel(rows, 4, "weekly", promotions)
    model.choice = {EVERY: {TREES: 0.4, MLP: 0.4, "SES": 0.2}}
    known = ("promotion",)
    model.trees = model.trees or Trees.fit(series, 4, SMALL.trees, known)
    model.mlp = model.mlp or Mlp.fit(series, 4, SMALL.mlp, known)
    releases.save(model, folder, config=SMALL, data_sha256=card["data_sha256"], created=CREATED)
    return folder


def test_groups_forecast_apart_are_the_same_rows_as_all_at_once(
    spark: SparkSession,
    schema: Schema,
    cassandra: Node,
    rows: pd.DataFrame,
    promotions: pd.DataFrame,
    release: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spark_forecast, "SERIES_A_GROUP", 6)  # 24 series: four groups
    here = lifecycle.forecast_locally(release, rows, 4, promotions)
    frame = spark.createDataFrame(rows.assign(day=rows["day"].dt.date))
    found = spark_forecast.forecast_with_spark(spark, release, frame, 4, MADE_AT, covariates=promotions).cache()
    there = found.toPandas().sort_values(["site", "sku", "period"], ignore_index=True)
    assert len(there) == 3 * 8 * 4
    assert there[["site", "sku"]].equals(here[["site", "sku"]])
    assert pd.to_datetime(there["period"]).tolist() == here["period"].tolist()
    numbers = ["mean", "q05", "q25", "q50", "q75", "q95"]
    np.testing.assert_allclose(there[numbers], here[numbers], rtol=1e-5)
    _the_newest_stays(found, schema, cassandra, there)


def _the_newest_stays(found: DataFrame, schema: Schema, cassandra: Node, there: pd.DataFrame) -> None:
    site = "spark-forecast"
    reach = {"spark.cassandra.connection.host": cassandra.host, "spark.cassandra.connection.port": str(cassandra.port)}
    one = found.where("site = 's0'").withColumn("site", F.lit(site))
    older = one.withColumn("made_at", F.col("made_at") - 1000).withColumn("mean", F.lit(77.0))
    spark_forecast.store(one, schema.keyspace, "demand 2", **reach)
    spark_forecast.store(older, schema.keyspace, "demand 1", **reach)
    store = CassandraForecasts(schema.database)
    periods = asyncio.run(store.periods(site, 0))
    assert periods == sorted({int(pd.Timestamp(p).timestamp() * 1000) for p in there["period"]})
    kept = asyncio.run(store.of_site(site, periods[0]))
    first = there[(there["site"] == "s0") & (there["period"] == there["period"].min())].set_index("sku")
    assert [x.sku for x in kept] == [f"k{i}" for i in range(8)]
    assert {x.model for x in kept} == {"demand 2"}
    assert {x.made_at for x in kept} == {MADE_AT}
    assert [x.mean for x in kept] == pytest.approx(first.loc[[x.sku for x in kept], "mean"].tolist())
