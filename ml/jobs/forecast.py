"""`inventorybot jobs run forecast`: the demand model in service -> forecasts by site, SKU and period in the store.

In: the lake, the release in service (where there is none yet, one is trained first). Out: `ForecastStore`, which plans, alerts
and recommendations read; with --spark the same rows through Spark and its connector, for more series than one machine holds.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Annotated

import pandas as pd
import typer

from inventorybot import wiring
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.adapters.registry import Release
from inventorybot.clock import now_ms
from inventorybot.domain.forecast import NAMES, Forecast
from inventorybot.errors import BadEvent
from inventorybot.ports import ForecastStore
from inventorybot.settings import Settings, load
from ml.demand import lifecycle
from ml.demand.forecaster import Config
from ml.jobs.history import (
    LEAST,
    MODEL,
    History,
    Say,
    in_service,
    kind_of,
    lake_of,
    name_of,
    need_registry,
    read_history,
    telling,
)
from ml.jobs.retrain_demand import make_release, reports_of, serve

CHUNK = 4096
"""Rows that are written together."""


def forecast(
    lake: Annotated[str, typer.Option(help="Folder or URL of the history; default: INVENTORYBOT_LAKE.")] = "",
    horizon: Annotated[
        int | None, typer.Option(min=1, max=400, help="Periods ahead; default: INVENTORYBOT_FORECAST_HORIZON.")
    ] = None,
    spark: Annotated[bool, typer.Option("--spark", help="Through Spark: the same rows, on a cluster.")] = False,
) -> str:
    """Store forecasts by the demand model in service; where there is none yet, train one first."""
    settings, made_at = load(), now_ms()
    steps = horizon or settings.forecast_horizon
    with telling("Forecasting") as say:
        release = service(settings, lake, say)
        kind = str(release.card()["kind"])
        say("reading the lake")
        history = read_history(lake_of(settings, lake), kind)
        way = through_spark if spark else through_store
        said = way(settings, release, history, steps, made_at, say)
    typer.echo(said)
    return said


def service(settings: Settings, lake: str, say: Say) -> Release:
    """The release in service; one is trained where there is none. Raises: NotYet: the history is too short for it."""
    held = wiring.registry(need_registry(settings))
    if (found := in_service(held)) is not None:
        return found
    say("no demand model is in service yet: training one")
    kind = kind_of(settings.forecast_every)
    history = read_history(lake_of(settings, lake), kind, least=LEAST[kind])
    made = make_release(
        history, kind, settings.forecast_horizon, held, reports_of(settings), now_ms(), say, Config(), False
    )
    typer.echo(serve(settings, held, made))
    return held.current(MODEL)


def through_store(settings: Settings, release: Release, history: History, horizon: int, made_at: int, say: Say) -> str:
    """Forecast in this process, and write through the store. Returns: what was stored, in a sentence."""
    say(f"{MODEL} {release.version}")
    frame = lifecycle.forecast_locally(release.path, history.daily, horizon, history.covariates)
    say(f"storing {len(frame):,} rows")
    database = wiring.database(settings)
    try:
        stored, refused = asyncio.run(
            store(forecasts_of(frame, name_of(release), made_at), CassandraForecasts(database))
        )
    finally:
        database.close()
    told = f"; {len(refused):,} refused, the first because {refused[0]}" if refused else ""
    return summary(frame["period"], stored, frame.groupby(["site", "sku"]).ngroups, release) + told


def through_spark(settings: Settings, release: Release, history: History, horizon: int, made_at: int, say: Say) -> str:
    """Forecast on Spark, and write through its connector. Returns: what was stored, in a sentence."""
    from pyspark.sql import functions as F

    from ml.demand import spark as distributed
    from ml.history.session import spark_session
    from ml.history.tables import load_demand

    say("starting Spark")
    with spark_session("forecast", settings, connectors=True) as spark:
        daily = load_demand(spark, history.lake, history.first, history.last)
        say(f"{MODEL} {release.version}")
        frame = distributed.forecast_with_spark(
            spark, release.path, daily, horizon, made_at, covariates=history.covariates
        ).persist()
        distributed.store(frame, settings.cassandra_keyspace, name_of(release))
        found = frame.agg(F.count("*"), F.countDistinct("site", "sku"), F.min("period"), F.max("period")).first()
    assert found is not None
    return summary(pd.Series([found[2], found[3]]), found[0], found[1], release)


def forecasts_of(frame: pd.DataFrame, model: str, made_at: int) -> Iterator[Forecast]:
    """Rows of `lifecycle.forecast_locally` as forecasts. Args: made_at: ms."""
    periods = (frame["period"].to_numpy("datetime64[ms]").astype("int64")).tolist()
    quantiles = zip(*(frame[name].tolist() for name in NAMES), strict=True)
    rows = zip(frame["site"].tolist(), frame["sku"].tolist(), periods, frame["mean"].tolist(), quantiles, strict=True)
    for site, sku, period, mean, levels in rows:
        yield Forecast(site, sku, period, mean, levels, model, made_at)


async def store(forecasts: Iterator[Forecast], into: ForecastStore) -> tuple[int, list[str]]:
    """Stores what holds what a forecast must; returns how many, and of each other one the reason. Raises: TryLater."""
    stored, refused = 0, []
    while chunk := list(itertools.islice(forecasts, CHUNK)):
        good = []
        for one in chunk:
            try:
                one.check()
                good.append(one)
            except BadEvent as error:
                refused.append(f"{one.site} {one.sku}: {error.reason}")
        await into.write(good)
        stored += len(good)
    return stored, refused


def summary(periods: pd.Series, rows: int, series: int, release: Release) -> str:
    """What was stored, in a sentence."""
    first, last = (pd.Timestamp(at).date() for at in (periods.min(), periods.max()))
    return f"{rows:,} forecasts of {series:,} series stored, periods {first} to {last}, by {name_of(release)}"
