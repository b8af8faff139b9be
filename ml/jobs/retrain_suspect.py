"""`inventorybot jobs run retrain-suspect`: the detector of suspect records learns on from what counts have found.

In: the lake's daily table (every cycle count is an outcome) and its anomalies (suspect records that people closed), the release in
service. Out: a new release in the registry and in service, if it is better on the newest quarter of the outcomes; else the reason.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console

from inventorybot import telemetry, wiring
from inventorybot.errors import SetupError
from inventorybot.settings import Settings, load
from ml.anomaly.cases import SUSPECT
from ml.anomaly.model import Detector
from ml.anomaly.model import load as load_detector
from ml.anomaly.train import COUNTS, Examples, retrain
from ml.history.lake import Lake, read
from ml.jobs import NotYet
from ml.jobs.find_suspects import MODEL, Day, Items, LakeUrl, families, window

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MOST = 200_000
"""Outcomes that are learnt from, the newest: 100 MB, and minutes."""
METRIC = "log loss of cycle counts"


def retrain_suspect(
    lake: LakeUrl = "",
    until: Day = None,
    items: Items = None,
    days: Annotated[int, typer.Option(min=120, help="Days of history whose counts are learnt from.")] = 730,
) -> str:
    """Train the detector of suspect records on with what cycle counts found; put it in service if it is better."""
    settings = load()
    telemetry.configure_logging("warning", process="jobs")
    if not settings.models:
        raise SetupError(
            "there is no model registry: set INVENTORYBOT_MODELS, such as sqlite:////var/lib/inventorybot/models.db"
        )
    history = Lake(lake or settings.lake)
    now = datetime.now(UTC)
    since, day = window(history, until.date() if until else None, now.date(), days)
    from ml.history.session import spark_session

    with (
        Console(stderr=True).status(f"Collecting what counts found from {since} to {day}"),
        spark_session("retrain-suspect", settings, connectors=False) as spark,
    ):
        found = collect(spark, history, since, day, items)
    said = asyncio.run(learn(settings, found, now))
    typer.echo(said)
    return said


def collect(
    spark: SparkSession, lake: Lake, since: date, day: date, items: Path | None = None, slots: int | None = None
) -> Examples:
    """What counts found and people closed, oldest first, on a session that is open."""
    from ml.anomaly.spark import SLOTS, outcomes, stories, with_shared

    daily = spark.read.parquet(lake.spark_path("daily"))
    told = stories(daily, since, day, families(spark, items), slots=slots or SLOTS).persist()
    try:
        rows = pd.DataFrame(outcomes(with_shared(told, since), since, closed(read(lake, "anomalies"))).toPandas())
    finally:
        told.unpersist()
    rows = rows.sort_values(["day", "site", "sku"], ignore_index=True).tail(MOST)
    x = np.stack(rows["x"].tolist()).astype(np.float32) if len(rows) else np.zeros((0, 0), dtype=np.float32)
    return Examples(x, rows["wrong"].to_numpy(dtype=bool), rows["units"].to_numpy(dtype=np.float64), np.ones(len(rows)))


def closed(anomalies: pd.DataFrame) -> pd.DataFrame:
    """Suspect records whose outcome is known: site, sku, day, ended, wrong (train.labelled). Args: of the lake."""
    known = anomalies[(anomalies["kind"] == SUSPECT) & anomalies["outcome"].isin(["confirmed", "refuted"])]
    return known.assign(
        day=known["raised_at"].dt.date, ended=known["ended_at"].fillna(known["raised_at"]).dt.date,
        wrong=known["outcome"] == "confirmed",
    )[["site", "sku", "day", "ended", "wrong"]]  # fmt: skip


async def learn(settings: Settings, found: Examples, now: datetime, rounds: int = 60) -> str:
    """Learns on from the release in service and puts the new one there, if it is better; returns what came out.

    Args: rounds: trees to add.
    Raises: NotYet: too few outcomes. SetupError: the registry refuses it. TryLater: the registry does not answer.
    """
    if len(found) < COUNTS:
        raise NotYet(f"{len(found)} cycle counts are too few to learn from: {COUNTS} are needed; it goes on as it is")
    registry = wiring.registry(settings)
    before = registry.current(MODEL)
    old = load_detector(before.path)
    try:
        new, verdict = retrain(old, found, rounds)
    except SetupError as error:
        raise NotYet(str(error)) from error
    if new is old:
        return f"{MODEL} {before.version} stays in service: {verdict}"
    version = f"{now:%Y%m%d-%H%M%S}"
    with TemporaryDirectory() as folder:
        _card(new, version, before.version, now).save(Path(folder))
        registry.publish(MODEL, version, Path(folder))
    figures: dict[str, Any] = new.card["retrained"]
    said = await wiring.put_in_service(settings, MODEL, version, in_service_value=figures["before"])
    return f"{MODEL} {version} is in service: {said}; {verdict}"


def _card(detector: Detector, version: str, after: str, now: datetime) -> Detector:
    """The detector with the card of a release."""
    card = detector.card | {
        "name": MODEL, "version": version, "created": now.isoformat(timespec="seconds"), "grown_from": after,
        "held_out": {
            "metric": METRIC, "value": detector.card["retrained"]["after"], "better": "lower", "data": detector.card["retrained"]["data"],
        },
    }  # fmt: skip
    return replace(detector, card=card)
