"""LightGBM as mlforecast uses it: each series scaled by itself, one step ahead learnt, and repeated. For comparison; never saved.

In: a Panel. Out: forecasts (N, H), units. Absolute error is the loss, because WAPE is what is judged; lags and averages are those that fit
into half of the history.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from ml.demand.panel import Array, Panel
from ml.demand.periods import WINDOWS, YEAR
from ml.demand.statistical import carried

NAME = "LightGBM (mlforecast)"
ROUNDS = 200
LAGS = (1, 2, 3, 4, 8, 13, 26)
FREQUENCY = {"daily": "D", "weekly": "7D", "monthly": "MS"}
CALENDAR = {"daily": ["dayofweek", "month"], "weekly": ["week"], "monthly": ["month"]}
LEAST = 6
"""Periods below which no lag is left to learn from."""
MONDAY = "2001-01-01"
"""Where numbered periods are put in a calendar: a year's position is then counted from the first of them."""


def forecast(panel: Panel, horizon: int, *, learn_from: Panel | None = None, seed: int = 1) -> Array:
    """Units forecast for the `horizon` periods after the panel; (N, H), >= 0.

    Args: learn_from: more series of the same time, the panel's among them, to learn from. Raises: ValueError: under LEAST periods.
    """
    if panel.t < LEAST:
        raise ValueError(f"{panel.t} periods are too few: at least {LEAST} are needed")
    import lightgbm as lgb
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean
    from mlforecast.target_transforms import LocalStandardScaler

    source, kind = learn_from or panel, panel.periods.kind
    frame = _long(source)
    longest = int(frame["unique_id"].value_counts().iloc[0])
    year, half = YEAR[kind], max(longest // 2, 1)
    lags = [k for k in (*LAGS, year) if k <= half]
    averages: dict[int, list[Any]] = {1: [RollingMean(w) for w in WINDOWS[kind][1:4] if w <= half] or [RollingMean(2)]}
    if year <= half:
        averages[max(1, year - horizon)] = [RollingMean(WINDOWS[kind][2])]
    of = MLForecast(
        lgb.LGBMRegressor(
            n_estimators=ROUNDS, objective="l1", num_threads=1, verbose=-1, random_state=seed, deterministic=True
        ),
        freq=FREQUENCY[kind],
        lags=lags,
        lag_transforms=averages,
        date_features=CALENDAR[kind],
        target_transforms=[LocalStandardScaler()],
    )
    wanted = _row_of(source, panel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of series too short for a lag: they are forecast all the same
        of.fit(frame, static_features=[], dropna=longest > 2 * max(lags))
        found = of.predict(horizon, ids=np.unique(wanted).tolist()).sort_values(["unique_id", "ds"])
    values = found["LGBMRegressor"].to_numpy(np.float64).reshape(-1, horizon)
    return np.asarray(np.maximum(np.nan_to_num(values[np.searchsorted(np.unique(wanted), wanted)]), 0), np.float32)


def _long(panel: Panel) -> pd.DataFrame:
    """One row a series and period from its first known one on; a series that knows nothing is one zero."""
    y = carried(panel.units).astype(np.float64)
    y[~np.isfinite(y).any(axis=1), -1] = 0.0
    known = np.isfinite(y)
    periods = panel.periods
    if periods.dated:
        days = periods.dates(0, panel.t)
    else:
        days = pd.date_range(MONDAY, periods=panel.t, freq=FREQUENCY[periods.kind])
    series, at = np.nonzero(known)
    return pd.DataFrame({"unique_id": series, "ds": days.to_numpy()[at], "y": y[known]})


def _row_of(source: Panel, panel: Panel) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Each series' row in the source."""
    if source is panel:
        return np.arange(panel.n)
    index = pd.MultiIndex.from_arrays([source.store, source.item])
    return np.asarray(index.get_indexer(pd.MultiIndex.from_arrays([panel.store, panel.item])), np.int64)
