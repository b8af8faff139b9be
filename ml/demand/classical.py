"""The six classical regressors beside which every model is shown: scikit-learn on the same features.

In: a Panel. Out: forecasts (N, H) of each. They are for comparison; they are never saved.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ml.demand.features import Features, ahead_rows, draw_rows
from ml.demand.mlp import inputs
from ml.demand.panel import Array, Panel
from ml.demand.trees import logged, units_of

ROWS = 15_000
"""Rows the six learn from: a forest and nearest neighbours take a second each."""


def _makers(seed: int) -> dict[str, Callable[[], Any]]:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge
    from sklearn.neighbors import KNeighborsRegressor

    return {
        "RandomForest": lambda: RandomForestRegressor(
            60, min_samples_leaf=5, max_features=0.4, n_jobs=1, random_state=seed
        ),
        "Linear": LinearRegression,
        "Lasso": lambda: Lasso(alpha=0.002, random_state=seed),
        "Ridge": lambda: Ridge(alpha=10.0),
        "ElasticNet": lambda: ElasticNet(alpha=0.003, l1_ratio=0.5, random_state=seed),
        "KNN": lambda: KNeighborsRegressor(25, weights="distance", n_jobs=1),
    }


NAMES = ("RandomForest", "Linear", "Lasso", "Ridge", "ElasticNet", "KNN")


def forecasts(
    panel: Panel,
    horizon: int,
    known: tuple[str, ...] = (),
    *,
    learn_from: Panel | None = None,
    seed: int = 1,
    rows: int = ROWS,
) -> dict[str, Array]:
    """Forecasts of the `horizon` periods after the panel by each regressor; name to (N, H), units.

    Args: learn_from: more series of the same time, to learn from; default: the panel's own.
    """
    source = learn_from or panel
    features = Features(source, known, ids=False)
    drawn = draw_rows(source, horizon, rows, np.random.default_rng(seed))
    x, _, scale = inputs(features, drawn, horizon)
    z = logged(features.targets(drawn), scale)
    x_ahead, _, scale_ahead = inputs(Features(panel, known, ids=False), ahead_rows(panel.n, panel.t, horizon), horizon)
    centre, width = np.nan_to_num(_nan(np.nanmean, x)), np.nan_to_num(_nan(np.nanstd, x)) + 1e-3
    from sklearn.exceptions import ConvergenceWarning

    out = {}
    for name, make in _makers(seed).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a few dozen rows: its figures say how good it is
            fitted = make().fit(_ready(x, centre, width), z)
        found = units_of(fitted.predict(_ready(x_ahead, centre, width)), scale_ahead)
        out[name] = found.reshape(panel.n, horizon).astype(np.float32)
    return out


def _nan(of: Callable[..., Array], x: Array) -> Array:
    """A statistic of each column; NaN where a column knows nothing."""
    out = np.full(x.shape[1], np.nan, np.float32)
    some = np.isfinite(x).any(axis=0)
    out[some] = of(x[:, some], axis=0)
    return out


def _ready(x: Array, centre: Array, width: Array) -> Array:
    """Standardised, with the mean where unknown."""
    return np.asarray(np.nan_to_num(np.clip((x - centre) / width, -5, 5)), np.float32)
