"""Sales of many series on one time axis.

In: a cleaned long table. Out: a Panel of (N, T) arrays, which can be cut at any period so that nothing after it is seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from inventorybot.domain.demand import segments
from ml.demand.periods import Periods

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

OUTLIER = 10.0
"""A sale above this many times a series' own 95 % quantile of sales is capped there before models learn from it."""
OUTLIER_SALES = 8
"""With fewer sales a series cannot say what is unusual for it."""


@dataclass(frozen=True)
class Wider:
    """Mean known units a series and period of all series, and of each store, where a panel holds only some of them.

    Args: every: (T,); store: name to (T,); 0 where nothing is known. capped: the same of capped sales.
    """

    every: NDArray[np.float64]
    store: dict[str, NDArray[np.float64]]
    capped: Wider | None = None

    def until(self, origin: int) -> Wider:
        """What was known before period `origin`."""
        cut = {name: values[:origin] for name, values in self.store.items()}
        return Wider(self.every[:origin], cut, self.capped and self.capped.until(origin))


@dataclass(frozen=True)
class Panel:
    """N series over T periods.

    Args:
        store, item, category: (N,) names; category "" where there is none.
        periods: the time axis of T periods.
        units: (N, T), units a period; NaN: not known (before the first sale, out of stock, or missing).
        covariates: name to (N, T + F), price, promotions, weather …; NaN: not known. F >= 0 future periods.
        wider: the level of all series where these are all of some items only; None: these are all there are.
    """

    store: NDArray[np.str_]
    item: NDArray[np.str_]
    category: NDArray[np.str_]
    periods: Periods
    units: Array
    covariates: dict[str, Array] = field(default_factory=dict)
    wider: Wider | None = None

    @property
    def n(self) -> int:
        return len(self.units)

    @property
    def t(self) -> int:
        return int(self.units.shape[1])

    def until(self, origin: int, ahead: int = 0) -> Panel:
        """The same series as they were known before period `origin`, with covariates known `ahead` periods further."""
        return replace(
            self,
            units=self.units[:, :origin],
            periods=replace(self.periods, count=origin),
            covariates={k: v[:, : origin + ahead] for k, v in self.covariates.items()},
            wider=self.wider and self.wider.until(origin),
        )

    def tamed(self) -> Panel:
        """The same with outliers capped, as models are to see it."""
        return replace(self, units=capped(self.units)[0], wider=self.wider and self.wider.capped)

    def only(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Panel:
        """Some of the series."""
        return replace(
            self,
            store=self.store[rows],
            item=self.item[rows],
            category=self.category[rows],
            units=self.units[rows],
            covariates={k: v[rows] for k, v in self.covariates.items()},
        )

    def segments(self) -> NDArray[np.str_]:
        """(N,) smooth, erratic, intermittent, lumpy or silent."""
        return segments(self.units)


def capped(units: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Sales with each series' outliers cut to ten times its own 95 % quantile of sales.

    Args: units: (N, T). Returns: the same with caps applied, and (N, T) where one was.
    """
    sold = np.where(units > 0, units, np.nan)
    enough = np.isfinite(sold).sum(axis=1) >= OUTLIER_SALES
    limit = np.full(len(units), np.inf)
    if enough.any():
        limit[enough] = OUTLIER * np.nanquantile(sold[enough], 0.95, axis=1)
    over = units > limit[:, None]
    return np.where(over, limit[:, None], units).astype(np.float32), over
