"""A forecast of demand: what a site will be asked for of a SKU in a period, as a mean and quantiles.

In: numbers. Out: a `Forecast` that holds what a forecast must, or BadEvent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from inventorybot.domain.demand import LEVELS
from inventorybot.errors import BadEvent, Code

NAMES = tuple(f"q{round(level * 100):02d}" for level in LEVELS)
"""The quantiles that a forecast tells: q05 … q95."""
MAX_NAME = {"site": 64, "sku": 128}


@dataclass(frozen=True, slots=True)
class Forecast:
    """Demand of a SKU at a site in one period, units.

    Args:
        period: its begin, ms since the epoch, UTC.
        quantiles: at LEVELS, never falling.
        model: who says so. made_at: when, ms.
    """

    site: str
    sku: str
    period: int
    mean: float
    quantiles: tuple[float, ...]
    model: str
    made_at: int

    def check(self) -> None:
        """Raises: BadEvent: a name is missing or too long, a number is not finite or below 0, the quantiles fall."""
        for field, limit in MAX_NAME.items():
            name = getattr(self, field)
            if not 1 <= len(name) <= limit or name != name.strip() or not name.isprintable():
                raise BadEvent(Code.OUT_OF_RANGE, f"/{field}", f"{field} must have 1 to {limit} printable characters")
        for field, value in zip(("mean", *NAMES), (self.mean, *self.quantiles), strict=True):
            if not (math.isfinite(value) and value >= 0):
                raise BadEvent(
                    Code.OUT_OF_RANGE, f"/{field}", f"{field} must be a number of units, 0 or more, not {value}"
                )
        for name, low, high in zip(NAMES[1:], self.quantiles, self.quantiles[1:], strict=False):
            if high < low:
                raise BadEvent(
                    Code.CONTRADICTION, f"/{name}", f"{name} {high:g} is below the quantile before it, {low:g}"
                )
