"""Forecasts by item, category and store that add up: coherent over the whole hierarchy.

In: a Panel, forecasts of its series, and forecasts at the earlier origins. Out: forecasts of every level.

Bottom-up sums the series' forecasts; MinT also forecasts the sums and reconciles both by the variance of their errors. Which
one is better is measured on held-back periods. Source: Wickramasuriya, Athanasopoulos, Hyndman 2019, J. Am. Stat. Assoc. 114;
hierarchicalforecast does the algebra.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.demand import statistical
from ml.demand.metrics import wape
from ml.demand.panel import Array, Panel

MAX_BOTTOM = 3_000
"""Series up to which MinT is tried: its matrices are dense in the number of nodes above, and sparse below."""
BOTTOM_UP, MINT = "bottom-up", "MinT"


@dataclass(frozen=True)
class Hierarchy:
    """Sums of series.

    Args: level: (A,) total, store, category or item; name: (A,) of each sum; members: (A, N) True where a series belongs to it.
    """

    level: list[str]
    name: list[str]
    members: NDArray[np.bool_]

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, …) to (A, …); what is not known counts as zero."""
        flat = np.nan_to_num(values.reshape(len(values), -1).astype(np.float64))
        return (self.members.astype(np.float64) @ flat).reshape(-1, *values.shape[1:])


def build(panel: Panel) -> Hierarchy:
    """Total, stores, categories and items, leaving out levels that are the same as another or as the series."""
    level, name, members = ["total"], ["all"], [np.ones(panel.n, bool)]
    for kind, names in (("store", panel.store), ("category", panel.category), ("item", panel.item)):
        unique = np.unique(names)
        if 1 < len(unique) < panel.n:
            for one in unique:
                level.append(kind)
                name.append(str(one))
                members.append(names == one)
    return Hierarchy(level, name, np.stack(members))


def reconcile(
    h: Hierarchy, bottom: NDArray[np.floating], top: NDArray[np.floating], errors: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """MinT with the variances of errors (diagonal): forecasts of sums and of series that add up.

    Args: bottom: (N, H); top: (A, H), own forecasts of the sums; errors: (A + N, R), past errors of sums then series, units.
    Returns: (A, H) and (N, H), >= 0 at the bottom.
    """
    from hierarchicalforecast.methods import MinTraceSparse
    from scipy import sparse

    summing = sparse.vstack([sparse.csr_matrix(h.members.astype(np.float64)), sparse.identity(len(bottom))]).tocsr()
    base = np.vstack([top, bottom]).astype(np.float64)
    past = np.nan_to_num(errors.astype(np.float64)) + _jitter(errors.shape)
    method = MinTraceSparse("wls_var", nonnegative=False, qp=False)
    found = method.fit_predict(S=summing, y_hat=base, y_insample=past, y_hat_insample=np.zeros_like(past))["mean"]
    series = np.maximum(np.asarray(found)[len(h.members) :], 0.0)
    return h.members.astype(np.float64) @ series, series


def _jitter(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Errors of a thousandth of a unit, so that a series never wrong so far has a variance."""
    return np.where(np.arange(shape[1]) % 2 == 0, 1e-3, -1e-3) * np.ones(shape)


def top_forecasts(h: Hierarchy, panel: Panel, horizon: int) -> Array:
    """Own forecasts of the sums, by exponential smoothing chosen by AICc (AutoETS); (A, H), units."""
    sums = h.sums(panel.units).astype(np.float32)
    names = np.array(h.name)
    upper = replace(panel, store=names, item=names, category=names, units=sums, covariates={})
    return statistical.forecast("AutoETS", upper, horizon)


@dataclass(frozen=True)
class Coherent:
    """Which way of adding up is used, what each measured on the latest held-back stretch, and the forecasts.

    Args: method: bottom-up or MinT; errors: method to level to WAPE; series: (N, H), units.
    """

    method: str
    errors: dict[str, dict[str, float]]
    series: Array


def coherent(panel: Panel, h: Hierarchy, mean: Array, held_back: list[tuple[Panel, Array, Array]]) -> Coherent:
    """Chooses between bottom-up and MinT by the mean WAPE of the levels on the latest held-back stretch.

    Args: mean: (N, H), units; held_back: past, actual (N, H') and forecast (N, H') of earlier origins, latest first.
    """
    _, actual, forecast = held_back[0]
    errors = {BOTTOM_UP: measured(h, actual, forecast)}
    if panel.n > MAX_BOTTOM or len(held_back) < 2:
        return Coherent(BOTTOM_UP, errors, mean)
    tops = [top_forecasts(h, past, y.shape[1]) for past, y, _ in held_back]
    past_errors = [
        np.vstack([h.sums(y) - top, np.nan_to_num(y - f)]) for (_, y, f), top in zip(held_back, tops, strict=True)
    ]
    _, tried = reconcile(h, forecast, tops[0], np.hstack(past_errors[1:]))
    errors[MINT] = measured(h, actual, tried)
    if _level_mean(errors[MINT]) >= _level_mean(errors[BOTTOM_UP]):
        return Coherent(BOTTOM_UP, errors, mean)
    _, series = reconcile(h, mean, top_forecasts(h, panel, mean.shape[1]), np.hstack(past_errors))
    return Coherent(MINT, errors, series.astype(np.float32))


def _level_mean(errors: dict[str, float]) -> float:
    return float(np.mean(list(errors.values())))


def rows(panel: Panel, h: Hierarchy, mean: Array) -> pd.DataFrame:
    """One row a sum and period: level, name, period, mean (units)."""
    horizon = mean.shape[1]
    sums = h.sums(mean)
    out = pd.DataFrame({"level": np.repeat(h.level, horizon), "name": np.repeat(h.name, horizon)})
    out["period"] = np.tile(panel.periods.labels(panel.t, panel.t + horizon), len(h.name))
    out["mean"] = np.round(sums.ravel(), 4)
    return out


def measured(h: Hierarchy, actual: Array, forecast: NDArray[np.floating]) -> dict[str, float]:
    """WAPE of each level of some forecasts of the series (N, H)."""
    y, f = h.sums(actual), h.sums(np.where(np.isfinite(actual), forecast, 0.0))
    at = np.array(h.level)
    return {str(lv): wape(y[at == lv], f[at == lv]) for lv in dict.fromkeys(h.level)} | {
        "series": wape(actual, forecast)
    }
