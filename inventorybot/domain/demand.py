"""What demand is: how regular it is, and what a forecast of it says. Pure; standard library and numpy.

In: units sold by period. Out: a segment by how often and how evenly an item sells, and the levels of a forecast.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles every forecast carries; the outer two bound the 90 % interval."""

ADI_CUT = 1.32
CV2_CUT = 0.49


class Segment(StrEnum):
    """How regular demand is. Source: Syntetos, Boylan, Croston 2005, J. Oper. Res. Soc. 56, 495-503."""

    SMOOTH = "smooth"
    ERRATIC = "erratic"
    INTERMITTENT = "intermittent"
    LUMPY = "lumpy"
    SILENT = "silent"  # nothing was ever sold: there is no interval and no size to classify


def demand_interval(units: NDArray[np.floating]) -> NDArray[np.float64]:
    """Average demand interval of each series: periods seen per period with sales.

    Args: units: (N, T), units a period; NaN: not known. Returns: (N,), in periods, >= 1; inf where nothing sold.
    """
    sold = (units > 0).sum(axis=1)
    seen = np.isfinite(units).sum(axis=1)
    return np.where(sold > 0, seen / np.maximum(sold, 1), np.inf)


def size_variation(units: NDArray[np.floating]) -> NDArray[np.float64]:
    """Squared coefficient of variation of the non-zero demand sizes of each series.

    Args: units: (N, T), units a period; NaN: not known. Returns: (N,), no unit; 0 with fewer than two sales.
    """
    sold = units > 0
    n = sold.sum(axis=1)
    size = np.where(sold, units, 0.0).astype(np.float64)
    mean = size.sum(axis=1) / np.maximum(n, 1)
    spread = np.where(sold, size - mean[:, None], 0.0)
    variance = (spread**2).sum(axis=1) / np.maximum(n - 1, 1)
    return np.where(n > 1, variance / np.maximum(mean, 1e-12) ** 2, 0.0)


def segments(units: NDArray[np.floating]) -> NDArray[np.str_]:
    """The segment of each series, by average demand interval (cut 1.32) and squared variation of sizes (cut 0.49).

    Args: units: (N, T), units a period; NaN: not known. Returns: (N,) of Segment values.
    Source: Syntetos, Boylan, Croston 2005.
    """
    adi, cv2 = demand_interval(units), size_variation(units)
    rare, uneven = adi >= ADI_CUT, cv2 >= CV2_CUT
    names = np.where(
        rare,
        np.where(uneven, Segment.LUMPY.value, Segment.INTERMITTENT.value),
        np.where(uneven, Segment.ERRATIC.value, Segment.SMOOTH.value),
    )
    return np.where(np.isinf(adi), Segment.SILENT.value, names)
