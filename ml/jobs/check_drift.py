"""`inventorybot jobs run check-drift`: has demand moved away from what the model in service learnt? Yes or no, with figures.

In: the release's drift.json, the newest days of the lake, the stored forecasts of periods that have come true. Out: a table, a
sentence, metrics; and, where it says yes, a note to the schedule to retrain (or, with --retrain, the retrain itself).
What is measured and when it is too much: ml/demand/drift.py.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from inventorybot import telemetry, wiring
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.adapters.registry import Release
from inventorybot.clock import now_ms
from inventorybot.domain.days import DAY_MS, WEEK_MS
from inventorybot.domain.forecast import Forecast
from inventorybot.ports import ForecastStore
from inventorybot.settings import Settings, load
from ml.demand import drift, lake_panel
from ml.demand.drift import Finding, Profile
from ml.demand.panel import Panel
from ml.history.lake import Lake
from ml.jobs.history import DAYS, History, in_service, lake_of, name_of, need_registry, read_history, telling
from ml.jobs.journal import OK, Journal

RETRAIN = "retrain-demand"
JUDGED = {"daily": 14, "weekly": 4}
"""Periods that have come true of which forecasts are judged."""
LEAST_PAIRS = 20
"""Forecasts of a period with fewer series say little."""
SAID = 3
"""Figures that the sentence names; the table has all."""
AT_MOST_MS = WEEK_MS
"""A retrain is asked for at most once a week: if it was refused, the same days would say the same."""


def check_drift(
    lake: Annotated[str, typer.Option(help="Folder or URL of the history; default: INVENTORYBOT_LAKE.")] = "",
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Where it says yes, retrain now, in this process.")
    ] = False,
) -> str:
    """Say whether demand has moved away from what the model in service learnt; if so, ask for a retrain."""
    settings, now = load(), now_ms()
    release = in_service(wiring.registry(need_registry(settings)))
    findings: list[Finding] = []
    if release is None:
        why = "no demand model is in service yet"
    elif not (release.path / drift.FILE).exists():
        why = f"{name_of(release)} does not say what it learnt from; one that {RETRAIN} makes does"
    else:
        with telling("Drift") as say:
            say("reading the lake")
            findings = look(drift.read(release.path), release, settings, lake_of(settings, lake))
        why = reasons(findings)
        show(findings)
    measure(findings)
    said = f"{'yes' if why else 'no'}: {why or 'nothing is beyond what is usual'}"
    said += ask(settings, why, now) if why and not retrain else ""
    typer.echo(said)
    if not (why and retrain):
        return said
    from ml.jobs.retrain_demand import retrain_demand  # ten seconds of imports that a look does not need

    return f"{said}. {retrain_demand(lake, '', None, True, 1)}"


def reasons(findings: list[Finding]) -> str:
    """The figures that are beyond their limits, the furthest first; "" where none is."""
    found = sorted((f for f in findings if f.beyond), key=lambda f: -f.share)
    more = f"; and {len(found) - SAID} more" if len(found) > SAID else ""
    return "; ".join(f.text() for f in found[:SAID]) + more


def look(learnt: Profile, release: Release, settings: Settings, lake: Lake) -> list[Finding]:
    """Every figure. Raises: NotYet: there is no history. SetupError, TryLater."""
    history = newest_days(learnt, lake)
    if history.last.isoformat() < learnt.until:
        typer.echo(
            f"the release has seen these days: it learnt until {learnt.until}, the lake ends {history.last}", err=True
        )
    database = wiring.database(settings)
    try:
        return asyncio.run(findings_of(learnt, release, history, CassandraForecasts(database)))
    finally:
        database.close()


def newest_days(learnt: Profile, lake: Lake) -> History:
    """What is judged: data and forecasts, and one period more, which may be a part of one. Raises: as `read_history`."""
    periods = max(learnt.window, JUDGED[learnt.kind]) + 1
    return read_history(lake, learnt.kind, reach=timedelta(days=DAYS[learnt.kind] * periods))


async def findings_of(learnt: Profile, release: Release, history: History, store: ForecastStore) -> list[Finding]:
    """Every figure, of data and of errors. Raises: SetupError: there are too few days. TryLater."""
    newest = lake_panel.panel_of(history.daily, lake_panel.span(history.daily, learnt.kind))
    came_true = await errors(newest, store, name_of(release), learnt.kind)
    return drift.data_findings(learnt, newest) + drift.error_findings(learnt, came_true)


async def errors(newest: Panel, store: ForecastStore, model: str, kind: str) -> list[dict[str, float]]:
    """Errors of each of the newest periods, of the forecasts that this model told before.

    Args: newest: what happened; model: as it is stored with each forecast.
    """
    found = []
    begins = newest.periods.dates(0, newest.t)
    series = {key: n for n, key in enumerate(zip(newest.store.tolist(), newest.item.tolist(), strict=True))}
    for t in range(max(0, newest.t - JUDGED[kind]), newest.t):
        begin = int(begins[t].timestamp() * 1000)
        quantiles = np.full((newest.n, 5), np.nan, np.float32)
        for site in np.unique(newest.store).tolist():
            for one in await store.of_site(site, begin):
                if (row := series.get((one.site, one.sku))) is not None and honest(one, model, kind):
                    quantiles[row] = one.quantiles
        told = np.isfinite(quantiles[:, 0]) & np.isfinite(newest.units[:, t])
        if told.sum() >= LEAST_PAIRS:
            found.append(drift.errors_of(newest.units[told, t], quantiles[told]))
    return found


def honest(one: Forecast, model: str, kind: str) -> bool:
    """Whether a forecast is this model's, and was made before its period was over."""
    return one.model == model and one.made_at < one.period + DAYS[kind] * DAY_MS


def ask(settings: Settings, why: str, now: int) -> str:
    """Ask the schedule for a retrain, where there is one. Returns: what came of it, in words."""
    if not settings.jobs_state:
        return f"; `inventorybot jobs run {RETRAIN}` retrains"
    journal = Journal(Path(settings.jobs_state))
    done = [run.began for run in journal.story(RETRAIN).runs if run.result == OK]
    if done and now - done[-1] < AT_MOST_MS:
        return f"; {RETRAIN} ran within a week and is not asked for again"
    journal.ask(RETRAIN, why, now)
    return f"; {RETRAIN} is asked for"


def measure(findings: list[Finding]) -> None:
    """The figures as metrics."""
    for kind in ("data", "error"):
        telemetry.DRIFTED.labels(kind).set(any(f.beyond for f in findings if f.kind == kind))
    for f in findings:
        telemetry.DRIFT.labels(f.figure, f.segment).set(f.share)
        telemetry.DRIFT_VALUE.labels(f.figure, f.segment).set(f.value)


def show(findings: list[Finding]) -> None:
    """A table, the furthest first."""
    table = Table("kind", "figure", "series", "now", "usual", "±", "", box=None, pad_edge=False)
    for f in sorted(findings, key=lambda f: -f.share):
        limit = f"{f.limit:.3f}" if np.isfinite(f.limit) else "too little to say"
        table.add_row(
            f.kind, f.figure, f.segment, f"{f.value:.3f}", f"{f.usual:.3f}", limit, "beyond" if f.beyond else ""
        )
    Console().print(table)
    if not any(f.kind == "error" for f in findings):
        typer.echo("no forecast of this release has come true yet: its errors cannot be judged", err=True)
