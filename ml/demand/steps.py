"""The steps that the commands are made of: read, learn, add up, change a price, tell.

In: paths and options as typed. Out: panels, forecasts, sentences and tables for the terminal.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from inventorybot.errors import SetupError
from ml.demand import compare, hierarchy, output, release, statistical, whatif
from ml.demand import covariates as tables
from ml.demand import report as reports
from ml.demand.cleaning import Cleaned, clean
from ml.demand.forecaster import Forecaster, Say
from ml.demand.metrics import measure
from ml.demand.mlp import Mlp
from ml.demand.panel import Array, Panel
from ml.demand.table import find_columns, read_table


def read(
    sales: Path,
    named: dict[str, str],
    every: str | None,
    gaps: str,
    covariates: list[str] | None,
    say: Say,
    beside: tuple[Path | None, int] = (None, 0),
) -> Cleaned:
    """Reads and cleans a table. Args: as the options of `inventorybot forecast`; beside: file of covariates, periods ahead.

    Raises: SetupError: it cannot be used.
    """
    say(str(sales))
    frame = read_table(sales)
    say(f"cleaning {len(frame):,} rows")
    found = clean(frame, find_columns(frame, named, tuple(covariates or ())), kind=every, gaps=gaps)
    table, ahead = beside
    return found if table is None else replace(found, panel=tables.join(found.panel, tables.read(table), ahead))


def planned(panel: Panel, horizon: int) -> tuple[str, ...]:
    """The covariates that the table gives for all of the horizon: they are plans, and may be used ahead."""
    return tuple(
        name
        for name, values in sorted(panel.covariates.items())
        if values.shape[1] >= panel.t + horizon
        and np.isfinite(values[:, panel.t : panel.t + horizon]).any(axis=0).all()
    )


def hold_back(panel: Panel, horizon: int) -> tuple[Panel, Array, tuple[str, ...]]:
    """What came before the last `horizon` periods, and those. Raises: SetupError: the history is too short for it."""
    if panel.t < horizon + 4:
        raise SetupError(f"{panel.t} periods are too few to hold {horizon} back: at least {horizon + 4} are needed")
    return panel.until(panel.t - horizon), panel.units[:, panel.t - horizon :], ()


def base_of(folder: Path) -> Mlp:
    """The MLP of a model folder, to be transferred. Raises: SetupError: it holds none."""
    if (found := release.read(folder)[0].mlp) is None:
        raise SetupError(f"{folder} holds no MLP: train it anew with `inventorybot train demand`")
    return found


def comparison(model: Forecaster, say: Say) -> pd.DataFrame:
    """All models in one table; see ml/demand/compare.py."""
    assert model.evidence is not None
    return compare.table(model.evidence, model.known, say=say)


def judged(model: Forecaster, past: Panel, actual: Array) -> pd.DataFrame:
    """The model, its mean and the simplest methods on held-back periods. Args: actual: (N, H)."""
    horizon = actual.shape[1]
    mean, quantiles = model.forecast(past, horizon)
    rows = {"model (median)": measure(actual, quantiles[:, :, 2], quantiles), "model (mean)": measure(actual, mean)}
    for name in ("moving average", "moving median", "seasonal naive"):
        rows[name] = measure(actual, statistical.forecast(name, past, horizon))
    return pd.DataFrame(rows).T


def add_up(model: Forecaster, panel: Panel, mean: Array, quantiles: Array, path: Path) -> tuple[Array, Array, str]:
    """Makes the series coherent with items, categories and stores, writes those, and says how.

    Returns: mean (N, H) and quantiles (N, H, 5), moved to agree with the sums, and a sentence.
    """
    h = hierarchy.build(panel)
    held_back = []
    if model.evidence:
        e = model.evidence
        held_back = [(f.past, f.actual, p) for f, p in zip(e.folds, e.points, strict=True)]
    found = hierarchy.coherent(panel, h, mean, held_back)
    ratio = np.where(mean > 0, found.series / np.maximum(mean, 1e-9), 1.0)
    mean, quantiles = found.series, (quantiles * ratio[:, :, None]).astype(np.float32)
    output.write(path, hierarchy.rows(panel, h, mean))
    errors = "; ".join(f"{m}: " + ", ".join(f"{lv} {e:.4f}" for lv, e in by.items()) for m, by in found.errors.items())
    return (
        mean,
        quantiles,
        f"levels written to {path}, added up by {found.method}" + (f" (WAPE held back, {errors})" if errors else ""),
    )


def parse_changes(texts: list[str]) -> list[whatif.PriceChange]:
    """Reads every --price-change. Raises: SetupError: one of them is not understood."""
    return [whatif.parse(t) for t in texts]


def learn_prices(panel: Panel) -> whatif.Elasticities:
    """Price elasticities of the table. Raises: SetupError: it has no prices, or none that varied."""
    return whatif.elasticities(panel)


def change_price(
    panel: Panel, mean: Array, quantiles: Array, change: whatif.PriceChange, learnt: whatif.Elasticities
) -> tuple[Array, Array]:
    """Mean and quantiles under a changed price."""
    return whatif.change(panel, mean, change, learnt), whatif.change(panel, quantiles, change, learnt)


def tell_changes(panel: Panel, before: Array, after: Array) -> str:
    """What the price changes do, in a sentence."""
    moved = (before != after).any(axis=1)
    a, b = float(before[moved].sum()), float(after[moved].sum())
    return (
        f"price change: {a:,.1f} units become {b:,.1f} ({b / a - 1:+.1%}) in {int(moved.sum())} series"
        if a
        else "price change: nothing moves"
    )


def tell_choice(model: Forecaster, *, fresh: bool) -> str:
    """Which models forecast, and by how much they are better than the moving average."""
    facts = model.facts
    lines = [f"{segment}: {mixture}" for segment, mixture in reports.mixtures(model.choice).items()]
    ours, simple = facts["table"]["chosen"], facts["table"]["moving average"]
    if not np.isfinite(simple["WAPE"]):
        return "\n".join([*lines, "nothing was sold in the held-back periods: how good this is cannot be said"])
    better = 1 - ours["WAPE"] / simple["WAPE"] if simple["WAPE"] else 0.0
    honest = "not seen by the choice" if facts["independent"] else "seen by the choice: the history is short"
    lines.append(
        f"{'held back' if fresh else 'when trained'}, {facts['scored_periods']} periods {honest}: WAPE {ours['WAPE']:.4f}, moving average "
        f"{simple['WAPE']:.4f} ({abs(better):.1%} {'better' if better >= 0 else 'WORSE'}); 90 % interval covers {ours['coverage 90 %']:.1%}"
    )
    return "\n".join(lines)


def text_table(frame: pd.DataFrame) -> str:
    """A table for the terminal."""
    return str(frame.to_string(float_format=lambda v: f"{v:.4f}", na_rep="–"))


def report(
    cleaned: Cleaned,
    model: Forecaster,
    mean: Array,
    quantiles: Array,
    folder: Path,
    title: str,
    say: Say,
    table: pd.DataFrame | None = None,
) -> Path:
    """Writes the HTML report, comparing all models first where the evidence is at hand."""
    if table is None and model.evidence:
        table = comparison(model, say)
    say("drawing")
    return reports.write(reports.Story(cleaned, model, table, mean, quantiles, title), folder)
