"""`inventorybot jobs run retrain-demand`: the lake's history -> a release of the demand model, in service if it is better.

In: the lake's daily table (a censored day is not known, not zero) and covariates; the release in service. Out: a release in the
registry with what it learnt from (drift.json), its report beside the releases, and either a new model in service or the
reason why not. Both releases are scored on the same held-back periods, which neither has seen.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import fsspec
import numpy as np
import pandas as pd
import typer

from inventorybot import telemetry, wiring
from inventorybot.adapters.registry import ModelRegistry, Release, artifacts_beside
from inventorybot.clock import now_ms
from inventorybot.errors import TryLater
from inventorybot.settings import Settings, load
from ml.demand import drift, lifecycle, report
from ml.demand.cleaning import Cleaned, outliers
from ml.demand.ensemble import by_segment
from ml.demand.forecaster import Config, Forecaster
from ml.demand.panel import Panel
from ml.demand.release import CARD
from ml.jobs.history import (
    LEAST,
    MODEL,
    History,
    Say,
    in_service,
    kind_of,
    lake_of,
    need_registry,
    read_history,
    telling,
)

FIGURES = ("WAPE", "bias", "coverage 90 %", "pinball")
"""What metrics tell of both releases."""
SAME = 1e-9
"""Figures that differ by less are the same."""


Promote = Callable[..., Coroutine[Any, Any, str]]
"""As `wiring.put_in_service`."""


@dataclass(frozen=True)
class Made:
    """A release that was published.

    Args: card: of it; before: figures of the one in service on the same periods, if any; ours: WAPE of the new one, measured as
        that one was.
    """

    version: str
    card: dict[str, Any]
    before: dict[str, float] | None
    ours: float
    report: str


def retrain_demand(
    lake: Annotated[str, typer.Option(help="Folder or URL of the history; default: INVENTORYBOT_LAKE.")] = "",
    every: Annotated[str, typer.Option(help="Forecast by day or week; default: INVENTORYBOT_FORECAST_EVERY.")] = "",
    horizon: Annotated[
        int | None, typer.Option(min=1, max=400, help="Periods ahead; default: INVENTORYBOT_FORECAST_HORIZON.")
    ] = None,
    compare: Annotated[bool, typer.Option(help="Compare all models in the report; about a minute.")] = True,
    seed: Annotated[int, typer.Option(help="The same history and seed make the same model.")] = 1,
) -> str:
    """Train the demand model on the lake's history, and put it in service if it beats the one that is."""
    settings, kind = load(), kind_of(every or load().forecast_every)
    held = wiring.registry(need_registry(settings))
    with telling("Retraining") as say:
        say("reading the lake")
        history = read_history(lake_of(settings, lake), kind, least=LEAST[kind])
        steps = horizon or settings.forecast_horizon
        made = make_release(history, kind, steps, held, reports_of(settings), now_ms(), say, Config(seed=seed), compare)
    said = serve(settings, held, made)
    typer.echo(said)
    return said


def reports_of(settings: Settings) -> str:
    """Where reports go: beside the releases."""
    return f"{settings.model_artifacts or artifacts_beside(settings.models)}/reports/{MODEL}"


def make_release(
    history: History, kind: str, horizon: int, held: ModelRegistry, reports: str, now: int, say: Say,
    config: Config, compared: bool = True,
) -> Made:  # fmt: skip
    """Trains, scores both releases, and publishes. Args: reports: URL of a folder; now: ms; horizon: periods ahead.

    Raises: SetupError: the history or the release in service cannot be used. TryLater.
    """
    created = datetime.fromtimestamp(now / 1000, UTC)
    version, current = f"{created:%Y%m%d-%H%M%S}", in_service(held)
    with TemporaryDirectory(prefix="inventorybot-") as scratch:
        folder, pages = Path(scratch) / "release", Path(scratch) / "report"
        title = f"Demand model {version}: {history.first} to {history.last}"

        def also(model: Forecaster, series: Panel, table: pd.DataFrame | None) -> None:
            say("what it learnt from")
            drift.save(drift.profile(series, errors_of(model)), folder)
            say("drawing the report")
            write_report(model, series, table, history, title, pages)

        card = lifecycle.train_release(
            history.daily, horizon, folder, history.covariates, say,
            created=created, every=kind, config=config, compared=compared, also=also,
        )  # fmt: skip
        before = score(current, history, horizon, kind, say)
        ours = float(card["held_out"]["value"])
        if before is not None and before["refitted"]:  # both have seen the periods: their recipes are judged alike
            ours = lifecycle.score_release(folder, history.daily, horizon, history.covariates, say)["WAPE"]
        card = finish_card(folder, card, version, before)
        say("publishing")
        held.publish(MODEL, version, folder)
        place = keep(pages, f"{reports}/{version}")
    measure(card, before)
    return Made(version, card, before, ours, place)


def score(current: Release | None, history: History, horizon: int, kind: str, say: Say) -> dict[str, float] | None:
    """Figures of the release in service on the periods that were held back; None: there is none, or it forecasts others."""
    if current is None or current.card().get("kind") != kind:
        return None
    return lifecycle.score_release(current.path, history.daily, horizon, history.covariates, say)


def serve(settings: Settings, held: ModelRegistry, made: Made, promote: Promote = wiring.put_in_service) -> str:
    """Puts a published release in service, or says why not. Returns: one sentence.

    Raises: SetupError: it cannot be, for another reason than that it is no better. TryLater.
    """
    current = in_service(held)
    told = f"demand {made.version}, held-out WAPE {made.card['held_out']['value']:.4f}{beside(made)}"
    another = current is not None and made.before is None
    if current is not None and made.before is not None and made.ours >= made.before["WAPE"] - SAME:
        return f"{told}: not better, {MODEL} {current.version} stays in service; report: {made.report}"
    try:
        asyncio.run(
            promote(
                settings, MODEL, made.version, even_if_worse=another or made.ours != made.card["held_out"]["value"],
                in_service_value=made.before["WAPE"] if made.before else None,
            )
        )  # fmt: skip
    except TryLater as error:  # it is in service; agents that look hear of it later
        if held.promoted(MODEL) != made.version:
            raise
        told += f" (agents were not told: {error})"
    why = " in place of one that forecasts other periods" if another else ""
    return f"{told}: in service{why}; report: {made.report}"


def beside(made: Made) -> str:
    """What the release in service scored on the same periods, in words."""
    periods = made.card["facts"]["scored_periods"]
    if made.before is None:
        return f" on the last {periods} periods"
    theirs = made.before["WAPE"]
    if made.before.get("refitted"):
        return (
            f" on the last {periods} periods; the one in service has seen them, so both recipes were learnt anew without "
            f"them: {made.ours:.4f}, in service {theirs:.4f}"
        )
    return f" on the last {periods} periods, in service {theirs:.4f}"


def finish_card(folder: Path, card: dict[str, Any], version: str, before: dict[str, float] | None) -> dict[str, Any]:
    """The card with its version, what the one in service scored, and the files that are no part of the model; written."""
    digest = hashlib.sha256((folder / drift.FILE).read_bytes()).hexdigest()
    whole = card | {"version": version, "files": {drift.FILE: digest}}
    if before is not None:
        whole["in_service_scored"] = before
    (folder / CARD).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return whole


def errors_of(model: Forecaster) -> dict[str, list[float]]:
    """WAPE, bias and coverage of each held-back period, as `drift` takes them."""
    if model.evidence is None:
        return {}
    latest, *others = model.evidence.folds
    told = [(latest.actual, model.evidence.quantiles)]
    for fold in others:
        point = by_segment(fold.candidates, model.choice, fold.past.segments())
        told.append((fold.actual, model.distribution.apply(fold.past, point)[1]))
    return drift.held_back_errors(told)


def write_report(
    model: Forecaster, series: Panel, table: pd.DataFrame | None, history: History, title: str, folder: Path
) -> None:
    """The HTML report and its tables."""
    censored = int(history.daily["censored"].sum())
    repaired = {"days out of stock, not counted as zero": censored} if censored else {}
    unknown = int((~np.isfinite(series.units)).sum())
    repaired |= {"periods of which too few days are known": unknown} if unknown else {}
    refused = pd.DataFrame(columns=["row", "store", "item", "period", "units", "reason"])
    cleaned = Cleaned(series, refused, repaired, outliers(series))
    mean, quantiles = model.forecast(series, model.horizon)
    report.write(report.Story(cleaned, model, table, mean, quantiles, title), folder)


def keep(pages: Path, url: str) -> str:
    """Copies the report's folder; returns where its page lies. Raises: TryLater: the place cannot be written."""
    try:
        files, root = fsspec.url_to_fs(url)
        files.makedirs(root, exist_ok=True)
        for path in sorted(pages.iterdir()):
            files.put_file(str(path), f"{root}/{path.name}")
    except OSError as error:
        raise TryLater("model artifacts", f"{url}: {error}") from error
    return f"{url}/report.html"


def measure(card: dict[str, Any], before: dict[str, float] | None) -> None:
    """The figures of both releases as metrics."""
    for release, figures in (("new", card["facts"]["table"]["chosen"]), ("in service", before or {})):
        for name in FIGURES:
            if name in figures:
                telemetry.HELD_OUT.labels(release, name).set(figures[name])
