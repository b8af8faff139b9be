"""What the jobs do with the lake's daily table: train a release, score one on held-back periods, forecast with one.

In: rows of `daily` and of `covariates`; a release folder. Out: the same. `ml/demand/spark.py` has `forecast_locally`'s twin.

    card = train_release(daily, 13, folder, covariates=table)       # card["held_out"]: WAPE of periods that nothing had seen
    score_release(in_service, daily, 13, covariates=table)["WAPE"]  # on the same held-back periods
    forecast_locally(folder, daily, 13)                             # site, sku, period, mean, q05 … q95
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inventorybot.domain.forecast import NAMES
from inventorybot.errors import SetupError
from ml.demand import compare, forecaster, lake_panel, release, statistical
from ml.demand import covariates as tables
from ml.demand.forecaster import MLP, TRANSFERRED, TREES, Config, Forecaster, Say, origins
from ml.demand.metrics import measure
from ml.demand.mlp import Mlp, MlpConfig
from ml.demand.panel import Array, Panel
from ml.demand.steps import base_of, planned
from ml.demand.trees import Trees, TreesConfig

COLUMNS = ("site", "sku", "period", "mean", *NAMES)


def panel(daily: pd.DataFrame, horizon: int, every: str, covariates: pd.DataFrame | None = None) -> Panel:
    """The daily rows as series. Args: covariates: rows of the lake's table. Raises: SetupError: they cannot be used."""
    found = lake_panel.panel_of(daily, lake_panel.span(daily, every))
    return found if covariates is None else tables.join(found, tables.checked(covariates), horizon)


def train_release(
    frame: pd.DataFrame,
    horizon: int,
    folder: Path,
    covariates: pd.DataFrame | None = None,
    say: Say = lambda _: None,
    *,
    created: datetime | None = None,
    every: str = "weekly",
    base: Path | None = None,
    config: Config | None = None,
    compared: bool = True,
    also: Callable[[Forecaster, Panel, pd.DataFrame | None], None] = lambda *_: None,
) -> dict[str, Any]:
    """Chooses, learns, compares all models in one table, and writes a release folder; returns its card.

    Args:
        frame: rows of `daily`; horizon: periods ahead; covariates: rows of the lake's table.
        created: the time now; None: the clock's. base: a release whose MLP is transferred as a further candidate.
        compared: whether the table of all models is made: about a minute.
        also: given the model with its evidence, the series and that table, once the folder is written.
    Raises: SetupError: the rows cannot be used, or are too few.
    """
    say("reading the history")
    series = panel(frame, horizon, every, covariates)
    config = config or Config()
    if config.use_mlp is None:
        config = replace(
            config, use_mlp=True
        )  # every retrain compares it, and it is the base that others are made from
    lower = base_of(base) if base else None
    model = forecaster.fit(series, horizon, config, planned(series, horizon), say, base=lower, keep_mlp=True)
    if not np.isfinite(model.facts["table"]["chosen"]["WAPE"]):
        raise SetupError(
            f"nothing was sold in the last {model.facts['scored_periods']} periods: no model can be judged"
        )
    table = None
    if compared and model.evidence:
        say("comparing")
        table = compare.table(model.evidence, model.known, say=say)
        model.facts["comparison"] = table.round(6).to_dict(orient="index")
    digest = release.data_hash(series)
    card = release.save(model, folder, config=config, data_sha256=digest, created=created or datetime.now(UTC))
    also(model, series, table)
    return card


def forecast_locally(
    folder: Path, frame: pd.DataFrame, horizon: int, covariates: pd.DataFrame | None = None
) -> pd.DataFrame:
    """A release's forecast of the periods after the rows: COLUMNS, units; `period` is its first day, midnight without zone.

    Args: folder: the release; frame: rows of `daily`. Raises: SetupError: they do not fit each other.
    """
    model, card = release.read(folder)
    series = panel(frame, horizon, card["kind"], covariates)
    return rows(series, *model.forecast(series, horizon))


def rows(series: Panel, mean: Array, quantiles: Array) -> pd.DataFrame:
    """Forecasts (N, H), (N, H, 5) as COLUMNS."""
    n, horizon = mean.shape
    out = pd.DataFrame({"site": np.repeat(series.store, horizon), "sku": np.repeat(series.item, horizon)})
    out["period"] = np.tile(series.periods.dates(series.t, series.t + horizon).to_numpy(), n)
    out["mean"] = mean.ravel().astype(np.float64)
    for i, name in enumerate(NAMES):
        out[name] = quantiles[:, :, i].ravel().astype(np.float64)
    return out


def score_release(
    folder: Path, frame: pd.DataFrame, horizon: int, covariates: pd.DataFrame | None = None, say: Say = lambda _: None
) -> dict[str, float]:
    """What a release scores on the latest periods that `train_release` would hold back of the same rows.

    A release that was trained before them is judged as it is. One that has seen some of them would be flattered: its recipe
    (the mixture of each segment, and its settings) is learnt anew from what came before. Both are told apart by `refitted`.

    Returns: figures of `metrics.measure` by name; periods: how many were held back; refitted: 1 or 0; and the WAPE of the moving average.
    Raises: SetupError: the release and the rows do not fit each other.
    """
    model, card = release.read(folder)
    series = panel(frame, horizon, card["kind"], covariates)
    at, scored = origins(series.t, horizon, card["config"]["folds"])
    past, actual = series.until(at[0], scored), series.units[:, at[0] : at[0] + scored]
    seen = str(card["facts"].get("trained_until", "9999")) > series.periods.labels(at[0], at[0] + 1)[0]
    if seen:
        say("learning the release's recipe anew")
        model = _refitted(model, card, past, scored)
    say("scoring")
    _, quantiles = model.forecast(past, scored)
    simple = measure(actual, statistical.forecast("moving average", past, scored))["WAPE"]
    found = measure(actual, quantiles[:, :, 2], quantiles)
    return {**found, "periods": scored, "refitted": float(seen), "WAPE of the moving average": simple}


def _refitted(model: Forecaster, card: dict[str, Any], past: Panel, horizon: int) -> Forecaster:
    """The same mixture and distribution with the learned members fitted to `past` alone."""
    config, known = card["config"], tuple(k for k in model.known if k in past.covariates)
    used = {n for weights in model.choice.values() for n in weights}
    out = replace(model, trees=None, mlp=None, transferred=None)
    if TREES in used:
        out.trees = Trees.fit(past, horizon, TreesConfig(**config["trees"]), known)
    if MLP in used:
        out.mlp = Mlp.fit(past, horizon, MlpConfig(**config["mlp"]), known)
    if TRANSFERRED in used and model.transferred:
        out.transferred = model.transferred.transfer(past, horizon, known=known)
    return out
