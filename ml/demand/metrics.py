"""How good a forecast is: every figure of the comparison table, each with its definition and source.

In: actual and predicted units, any shape, and quantiles where a distribution is judged. Out: plain floats. Pairs whose actual
is not known are left out. y is actual, f predicted, the sums go over all pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inventorybot.domain.demand import LEVELS

Values = NDArray[np.floating]


def _pairs(y: Values, f: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = np.isfinite(y)
    return y[known].astype(np.float64), f[known].astype(np.float64)


def _over(a: float, b: float) -> float:
    """a / b; NaN where b is 0, because the measure is then not defined."""
    return float(a / b) if b else float("nan")


def rmse(y: Values, f: Values) -> float:
    """Root mean squared error, in units: sqrt(mean((y - f)^2)). Source: Hyndman, Koehler 2006, Int. J. Forecasting 22."""
    y, f = _pairs(y, f)
    return float(np.sqrt(np.mean((y - f) ** 2))) if len(y) else float("nan")


def mae(y: Values, f: Values) -> float:
    """Mean absolute error, in units: mean(|y - f|). Source: Hyndman, Koehler 2006."""
    y, f = _pairs(y, f)
    return float(np.mean(np.abs(y - f))) if len(y) else float("nan")


def correlation(y: Values, f: Values) -> float:
    """Pearson's correlation of y and f, -1 to 1; NaN where one is constant. Source: Witten, Frank, Hall 2011, table 5.8."""
    y, f = _pairs(y, f)
    if not len(y):
        return float("nan")
    dy, df = y - y.mean(), f - f.mean()
    return _over(float((dy * df).sum()), float(np.sqrt((dy**2).sum() * (df**2).sum())))


def rae(y: Values, f: Values) -> float:
    """Relative absolute error: sum|y - f| / sum|y - mean(y)|; 1 is as good as the mean. Source: Witten et al. 2011, table 5.8."""
    y, f = _pairs(y, f)
    return _over(float(np.abs(y - f).sum()), float(np.abs(y - y.mean()).sum())) if len(y) else float("nan")


def rrse(y: Values, f: Values) -> float:
    """Root relative squared error: sqrt(sum(y - f)^2 / sum(y - mean(y))^2). Source: Witten et al. 2011, table 5.8."""
    y, f = _pairs(y, f)
    return (
        float(np.sqrt(_over(float(((y - f) ** 2).sum()), float(((y - y.mean()) ** 2).sum()))))
        if len(y)
        else float("nan")
    )


def mape(y: Values, f: Values) -> float:
    """Mean absolute percentage error over pairs with y != 0, as a share: mean(|y - f| / |y|). Source: Hyndman, Koehler 2006."""
    y, f = _pairs(y, f)
    sold = y != 0
    return float(np.mean(np.abs(y[sold] - f[sold]) / np.abs(y[sold]))) if sold.any() else float("nan")


def r2(y: Values, f: Values) -> float:
    """Coefficient of determination: 1 - sum(y - f)^2 / sum(y - mean(y))^2. Source: Draper, Smith 1998, eq. 1.3.4."""
    y, f = _pairs(y, f)
    return 1 - _over(float(((y - f) ** 2).sum()), float(((y - y.mean()) ** 2).sum())) if len(y) else float("nan")


def wape(y: Values, f: Values) -> float:
    """Weighted absolute percentage error: sum|y - f| / sum|y|. Source: Kolassa, Schütz 2007, Foresight 6 (as MAE/mean)."""
    y, f = _pairs(y, f)
    return _over(float(np.abs(y - f).sum()), float(np.abs(y).sum()))


def bias(y: Values, f: Values) -> float:
    """Relative bias: sum(f - y) / sum|y|; > 0 is too much. Source: Kolassa, Schütz 2007."""
    y, f = _pairs(y, f)
    return _over(float((f - y).sum()), float(np.abs(y).sum()))


def pinball(y: Values, quantiles: Values, levels: tuple[float, ...] = LEVELS) -> float:
    """Mean pinball loss over pairs and levels, in units: max(a (y - q), (a - 1) (y - q)).

    Args: y: (...); quantiles: (..., len(levels)). Source: Koenker, Bassett 1978, Econometrica 46, 33-50.
    """
    known = np.isfinite(y)
    if not known.any():
        return float("nan")
    gap = y[known][:, None].astype(np.float64) - quantiles[known]
    a = np.asarray(levels)
    return float(np.mean(np.maximum(a * gap, (a - 1) * gap)))


def coverage(y: Values, low: Values, high: Values) -> float:
    """Share of actuals within [low, high], ends included. Source: Christoffersen 1998, Int. Economic Review 39."""
    known = np.isfinite(y)
    return float(np.mean((y[known] >= low[known]) & (y[known] <= high[known]))) if known.any() else float("nan")


POINT: dict[str, Callable[[Values, Values], float]] = {
    "WAPE": wape,
    "bias": bias,
    "MAE": mae,
    "RMSE": rmse,
    "correlation": correlation,
    "RAE": rae,
    "RRSE": rrse,
    "MAPE": mape,
    "R²": r2,
}
"""Figures of a point forecast, in the order of the table."""


def measure(y: Values, f: Values, quantiles: Values | None = None) -> dict[str, float]:
    """All figures of one forecast.

    Args: y, f: (...), units; quantiles: (..., 5) at LEVELS, units. Returns: name to value.
    """
    out = {name: of(y, f) for name, of in POINT.items()}
    if quantiles is not None:
        out["pinball"] = pinball(y, quantiles)
        out["coverage 90 %"] = coverage(y, quantiles[..., 0], quantiles[..., -1])
    return out
