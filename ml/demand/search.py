"""Searches the settings of the MLP: a grid, or Bayesian search (Optuna's tree-structured Parzen estimator).

In: a Panel. Out: the settings with the least WAPE on the stretch before the latest held-back one, which is never seen, and every trial.
Source: Bergstra et al. 2011, NeurIPS 24.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from inventorybot.errors import SetupError
from ml.demand.forecaster import Say, origins
from ml.demand.metrics import wape
from ml.demand.mlp import Mlp, MlpConfig
from ml.demand.panel import Panel

GRID = {"width": (64, 128), "lr": (7e-4, 2e-3), "dropout": (0.0, 0.15)}
"""Eight networks."""
BATCHES = (256, 512, 1024, 4096)
WIDTHS = (32, 64, 128, 256)
SEARCHED = ("width", "lower", "upper", "dropout", "lr", "weight_decay", "batch")
FILE = "trials.csv"
"""The table of trials in a release folder."""


@dataclass(frozen=True)
class Found:
    """What a search came to. Args: config: the best; trials: one row a network: trial, its settings, WAPE, best (bool)."""

    config: MlpConfig
    trials: pd.DataFrame

    def table(self) -> bytes:
        """The trials as CSV."""
        return bytes(self.trials.to_csv(index=False), "utf-8")


def search(panel: Panel, horizon: int, how: str, trials: int, start: MlpConfig, say: Say) -> Found | None:
    """Searches as told; None where `how` is none.

    Args: how: none, grid or optuna; trials: networks that optuna tries, `start` first. The same seed, the same trials.
    Raises: SetupError: `how` is unknown, or the history is too short to hold two stretches back.
    """
    if how not in ("none", "grid", "optuna"):
        raise SetupError(f"--search {how!r} is none of none, grid, optuna")
    if how == "none":
        return None
    if len(origins(panel.t, horizon, 2)[0]) < 2:
        raise SetupError(f"{panel.t} periods are too few to search on: two stretches cannot be held back")
    return grid(panel, horizon, start, say) if how == "grid" else bayesian(panel, horizon, start, say, trials=trials)


def score(panel: Panel, horizon: int, config: MlpConfig) -> float:
    """WAPE of a network on the second-latest stretch, so that the latest stays unseen for the report.

    Raises: SetupError: nothing was sold in that stretch.
    """
    at, scored = origins(panel.t, horizon, 2)
    past = panel.until(at[1])
    found = wape(panel.units[:, at[1] : at[1] + scored], Mlp.fit(past, scored, config).predict(past, scored))
    if not np.isfinite(found):
        raise SetupError("nothing was sold in the periods that the search is judged on: leave --search out")
    return found


def grid(panel: Panel, horizon: int, start: MlpConfig, say: Say) -> Found:
    """The best of GRID."""
    tried: list[tuple[MlpConfig, float]] = []
    combinations = list(product(*GRID.values()))
    for values in combinations:
        settings: dict[str, Any] = dict(zip(GRID, values, strict=True))
        config = replace(start, **settings)
        tried.append((config, score(panel, horizon, config)))
        say(f"grid search {len(tried)} of {len(combinations)}: WAPE {tried[-1][1]:.4f}, best {_least(tried):.4f}")
    return _found(tried)


def bayesian(panel: Panel, horizon: int, start: MlpConfig, say: Say, *, trials: int) -> Found:
    """The best of `trials` networks, the first of which is `start`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=start.seed))
    study.enqueue_trial({name: getattr(start, name) for name in SEARCHED})
    tried: list[tuple[MlpConfig, float]] = []
    study.optimize(_objective(panel, horizon, start, tried, trials, say), n_trials=trials)
    return _found(tried)


def _objective(
    panel: Panel, horizon: int, start: MlpConfig, tried: list[tuple[MlpConfig, float]], trials: int, say: Say
) -> Callable[[Any], float]:
    def objective(trial: Any) -> float:
        config = replace(
            start,
            width=trial.suggest_categorical("width", sorted({*WIDTHS, start.width})),
            lower=trial.suggest_int("lower", 1, 3),
            upper=trial.suggest_int("upper", 1, 2),
            dropout=trial.suggest_float("dropout", 0.0, 0.4),
            lr=trial.suggest_float("lr", 2e-4, 1e-2, log=True),
            weight_decay=trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
            batch=trial.suggest_categorical("batch", sorted({*BATCHES, start.batch})),
        )
        tried.append((config, score(panel, horizon, config)))
        say(f"Bayesian search {len(tried)} of {trials}: WAPE {tried[-1][1]:.4f}, best {_least(tried):.4f}")
        return tried[-1][1]

    return objective


def _least(tried: list[tuple[MlpConfig, float]]) -> float:
    return min(found for _, found in tried)


def _found(tried: list[tuple[MlpConfig, float]]) -> Found:
    best = min(range(len(tried)), key=lambda i: tried[i][1])
    rows = [
        {"trial": i + 1, **{name: getattr(config, name) for name in SEARCHED}, "WAPE": found, "best": i == best}
        for i, (config, found) in enumerate(tried)
    ]
    return Found(tried[best][0], pd.DataFrame(rows))
