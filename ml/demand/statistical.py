"""Forecasts of each series from itself alone: what every learned model has to beat.

In: a Panel. Out: forecasts (N, H) by name. Averages and repeats are one line of numpy over all series; the others are
statsforecast's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ml.demand.panel import Array, Panel
from ml.demand.periods import SEASON, WINDOWS

FAST = ("moving average", "moving median", "seasonal naive", "SES", "Croston", "TSB", "ADIDA")
"""Below 0.1 ms a series (measured): always tried."""
SLOW = ("Theta", "AutoETS")
"""6 to 20 ms a series: tried on a sample, and used for few series."""
TSB_SMOOTHING = (0.2, 0.2)
"""Of sizes and of probability. Source: within the range of Teunter, Syntetos, Babai 2011, Eur. J. Oper. Res. 214."""
SEASONS_NEEDED = 2


def forecast(name: str, panel: Panel, horizon: int) -> Array:
    """Units forecast for the `horizon` periods after the panel by one method; (N, H), >= 0.

    Args: name: one of FAST or SLOW. Raises: KeyError: another name.
    """
    if name in _AVERAGES:
        return np.asarray(np.maximum(_AVERAGES[name](panel, horizon), 0), np.float32)
    return _one_by_one(_MODELS[name], panel, horizon)


def _moving(panel: Panel, horizon: int, of: Callable[..., NDArray[np.floating]]) -> NDArray[np.floating]:
    window = carried(panel.units)[:, -WINDOWS[panel.periods.kind][2] :]
    out = np.zeros(panel.n)
    known = np.isfinite(window).any(axis=1)
    out[known] = of(window[known], axis=1)
    return np.repeat(out[:, None], horizon, axis=1)


def _seasonal_naive(panel: Panel, horizon: int) -> NDArray[np.floating]:
    """The same period of the last season; the last value where there is less than one season."""
    y, season = carried(panel.units), SEASON[panel.periods.kind]
    if panel.t < season:
        season = 1
    at = panel.t - season + np.arange(horizon) % season
    last = y[:, -1:]
    return np.nan_to_num(np.where(np.isfinite(y[:, at]), y[:, at], last))


def carried(units: Array) -> Array:
    """Gaps after a series' start take the last known value. Args and returns: (N, T), units."""
    known = np.isfinite(units)
    at = np.where(known, np.arange(units.shape[1]), -1)
    at = np.maximum.accumulate(at, axis=1)
    return np.where(at >= 0, np.take_along_axis(units, np.maximum(at, 0), axis=1), np.nan).astype(np.float32)


def _one_by_one(make: Callable[[int], object], panel: Panel, horizon: int) -> Array:
    y = carried(panel.units)
    season = SEASON[panel.periods.kind]
    out = np.zeros((panel.n, horizon), np.float32)
    first = np.isfinite(y).argmax(axis=1)
    for i in range(panel.n):
        series = y[i, first[i] :]
        if len(series) < 2 or not (series > 0).any() or (series == series[0]).all():
            out[i] = series[-1] if np.isfinite(series[-1]) else 0.0
            continue
        model = make(season if len(series) > SEASONS_NEEDED * season else 1)
        out[i] = _safe(model, series, horizon)
    return out


def _safe(model: object, series: Array, horizon: int) -> Array:
    """The forecast, or the mean of the series where the method cannot be fitted to it."""
    try:
        with np.errstate(all="ignore"):  # they divide by zero on short and on perfectly regular series, and say NaN
            found = np.asarray(model.forecast(series, horizon)["mean"], np.float32)  # type: ignore[attr-defined]
    except (ValueError, RuntimeError, ZeroDivisionError, IndexError, NotImplementedError):
        found = np.full(horizon, np.nan, np.float32)
    limit = 10 * series.max()  # a trend that ran away is no forecast
    return np.clip(np.where(np.isfinite(found), found, series.mean()), 0, limit).astype(np.float32)


def _model(name: str, **fixed: object) -> Callable[[int], object]:
    def make(season: int) -> object:
        from statsforecast import models

        return getattr(models, name)(**fixed, **({"season_length": season} if name in _SEASONAL else {}))

    return make


_SEASONAL = ("DynamicOptimizedTheta", "AutoETS")
_AVERAGES: dict[str, Callable[[Panel, int], NDArray[np.floating]]] = {
    "moving average": lambda p, h: _moving(p, h, np.nanmean),
    "moving median": lambda p, h: _moving(p, h, np.nanmedian),
    "seasonal naive": _seasonal_naive,
}
_MODELS: dict[str, Callable[[int], object]] = {
    "SES": _model("SimpleExponentialSmoothingOptimized"),
    "Croston": _model("CrostonOptimized"),
    "TSB": _model("TSB", alpha_d=TSB_SMOOTHING[0], alpha_p=TSB_SMOOTHING[1]),
    "ADIDA": _model("ADIDA"),
    "Theta": _model("DynamicOptimizedTheta"),
    "AutoETS": _model("AutoETS"),
}
