"""`inventorybot jobs run find-suspects`: which records are probably wrong, and which forecasts cannot be true.

In: the lake's daily table, the detector in service, the stored forecasts. Out: steps on inventory.anomalies, of the kinds
suspect-record and implausible-forecast, for what is new since the last run; a run on the same day again says nothing more.
`--dry-run` reads the lake alone and shows what it finds. docs/suspect-records.md says what is looked at and how well it works.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from inventorybot import telemetry, wiring
from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.domain.alerts import Step
from inventorybot.errors import SetupError
from inventorybot.ports import AnomalyStore, ForecastStore, Publisher
from inventorybot.settings import Settings, load
from inventorybot.wire.anomalies import step_message
from ml.anomaly import cases
from ml.anomaly.forecasts import Period, doubts, periods
from ml.anomaly.simulate import WARM
from ml.history.lake import Lake, read
from ml.jobs import NotYet

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

    from ml.anomaly.model import Detector

SOURCE = "inventorybot/jobs/find-suspects"
MODEL = "suspect"
HISTORY = WARM + 365
"""Days that are read: no feature looks further back than a year, but for what a count has not ended."""
AT_ONCE = 500
"""Steps that are published together."""

Day = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day to look at; default: the lake's newest.")
]
LakeUrl = Annotated[str, typer.Option(help="URL of the lake; default: the setting INVENTORYBOT_LAKE.")]
Items = Annotated[
    Path | None,
    typer.Option(
        help="Parquet or CSV with sku and family (items mistaken for one another); without, each SKU is its own."
    ),
]


def find_suspects(
    lake: LakeUrl = "",
    until: Day = None,
    items: Items = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is found; publish nothing, need only the lake.")
    ] = False,
    shown: Annotated[int, typer.Option(min=0, help="Suspects that are shown.")] = 20,
) -> str:
    """Find records that are probably wrong, and forecasts that cannot be true; raise, update and resolve their anomalies."""
    from ml.anomaly.model import load as load_detector  # only here: LightGBM takes a second, and --help needs none

    settings = load()
    telemetry.configure_logging("warning", process="jobs")
    history = Lake(lake or settings.lake)
    since, day = window(history, until.date() if until else None, datetime.now(UTC).date())
    release = wiring.registry(settings).current(MODEL)
    detector, model = load_detector(release.path), f"{release.name}@{release.version}"
    if dry_run:
        rows = _scored(settings, history, since, day, detector, items, ())
        said = _show(rows, detector, day, shown)
    else:
        said = asyncio.run(_run(settings, history, since, day, detector, model, items, shown))
    typer.echo(said)
    return said


def window(lake: Lake, until: date | None, today: date, longest: int = HISTORY) -> tuple[date, date]:
    """(first, last) day to read, at most `longest` of them; the last is over, unless it was asked for.

    Raises: NotYet: the lake has no daily table yet, or too few days before. SetupError: it has not that day.
    """
    days = lake.days("daily")
    if not days:
        raise NotYet(f"the lake {lake.url} has no history yet: `inventorybot jobs run build-history` writes it")
    day = until or max((d for d in days if d < today), default=days[-1])
    if day not in days:
        raise SetupError(
            f"the lake has no {day}: it has {days[0]} to {days[-1]}; run build-history, or choose another --until"
        )
    since = max(days[0], day - timedelta(days=longest - 1))
    if (known := (day - since).days + 1) <= WARM:
        raise NotYet(
            f"{known} days of history until {day} are too few to know what is usual: more than {WARM} are needed"
        )
    return since, day


def score(
    spark: SparkSession, lake: Lake, since: date, day: date, detector: Detector, items: Path | None, lengths: Sequence[int],
    slots: int | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Every slot's newest evening (spark.SCORE), on a session that is open. Args: slots: of a chunk; None: as is usual."""
    from ml.anomaly.spark import SLOTS, scores, stories, with_shared

    daily = spark.read.parquet(lake.spark_path("daily"))
    told = stories(daily, since, day, families(spark, items), slots=slots or SLOTS).persist()
    try:
        return scores(with_shared(told, since), detector, since, lengths).toPandas()
    finally:
        told.unpersist()


def families(spark: SparkSession, items: Path | None) -> Any:
    """The item table as a DataFrame sku, family; None where there is none. Raises: SetupError: it is no such table."""
    if items is None:
        return None
    import pandas as pd

    try:
        found = pd.read_csv(items, dtype=str) if items.suffix == ".csv" else pd.read_parquet(items)
        known = found[["sku", "family"]].dropna().astype(str)
    except (OSError, ValueError, KeyError) as error:
        raise SetupError(f"{items} cannot be read as a table with the columns sku and family: {error}") from error
    return spark.createDataFrame(known)


async def decide(
    rows: pd.DataFrame, detector: Detector, model: str, day: date, anomalies: AnomalyStore, forecasts: ForecastStore,
    asked: Sequence[Period], lengths: Sequence[int],
) -> list[Step]:  # fmt: skip
    """The steps that follow from scored slots and stored forecasts. Raises: TryLater.

    Args: asked: periods whose forecasts are looked at; lengths: that most_sold and least_sold of the rows are of.
    """
    records: list[dict[str, Any]] = rows.to_dict("records")
    sold = {
        (r["site"], r["sku"]): (
            dict(zip(lengths, r["most_sold"], strict=True)),
            dict(zip(lengths, r["least_sold"], strict=True)),
        )
        for r in records
    }
    reasons, looked = await doubts(forecasts, asked, sold)
    slots = dict.fromkeys(looked)
    for r in records:
        if len(r["doubts"]):  # what the detector itself says of the slot cannot be true
            slots[r["site"], r["sku"]] = None
            reasons.setdefault((r["site"], r["sku"]), []).extend(r["doubts"])
    found = await cases.steps(cases.SUSPECT, cases.suspects(records, detector.threshold, model), anomalies, day)
    return found + await cases.steps(cases.FORECAST, cases.doubtful(reasons, list(slots)), anomalies, day)


async def publish(found: Sequence[Step], publisher: Publisher) -> None:
    """All steps. Raises: TryLater: publishing all again does no harm."""
    for first in range(0, len(found), AT_ONCE):
        batch = found[first : first + AT_ONCE]
        await publisher.publish([step_message(step, SOURCE, telemetry.follow(None)) for step in batch])


async def _run(
    settings: Settings,
    lake: Lake,
    since: date,
    day: date,
    detector: Detector,
    model: str,
    items: Path | None,
    shown: int,
) -> str:
    database = wiring.database(settings)
    try:
        anomalies, forecasts = CassandraAnomalies(database), CassandraForecasts(database)
        sites = sorted(read(lake, "daily", day, day, ["site"])["site"].unique())
        asked = await periods(forecasts, sites, cases.evening(day))
        lengths = sorted({p.days for p in asked})
        rows = _scored(settings, lake, since, day, detector, items, lengths)
        found = await decide(rows, detector, model, day, anomalies, forecasts, asked, lengths)
        async with wiring.publisher(settings) as publisher:
            await publish(found, publisher)
    finally:
        database.close()
    did = Counter((step.kind, step.action) for step in found)
    words = ", ".join(f"{n} {kind} {action}" for (kind, action), n in sorted(did.items())) or "nothing new"
    return f"{_show(rows, detector, day, shown)} Told: {words}."


def _scored(
    settings: Settings,
    lake: Lake,
    since: date,
    day: date,
    detector: Detector,
    items: Path | None,
    lengths: Sequence[int],
) -> pd.DataFrame:
    from ml.history.session import spark_session

    status = Console(stderr=True).status(f"Looking at {(day - since).days + 1} days until {day}")
    with status, spark_session("find-suspects", settings, connectors=False) as spark:
        return score(spark, lake, since, day, detector, items, lengths)


def _show(rows: pd.DataFrame, detector: Detector, day: date, shown: int) -> str:
    """The most suspect as a table on the terminal; returns the sentence that sums up."""
    flagged = rows[rows["probability"] >= detector.threshold].sort_values("probability", ascending=False)
    if len(flagged) and shown:
        table = Table("site", "SKU", "probability", "record", "estimate", "why", box=None, pad_edge=False)
        for r in flagged.head(shown).to_dict("records"):
            estimate = max(0.0, r["recorded"] - r["units"])
            table.add_row(
                r["site"],
                r["sku"],
                f"{r['probability']:.2f}",
                f"{r['recorded']:.0f}",
                f"{estimate:.0f}",
                r["why"][:160],
            )
        Console().print(table)
    return f"{len(rows):,} slots on {day}: {len(flagged):,} at the threshold of {detector.threshold:.2f} or above."
