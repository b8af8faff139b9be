"""One warehouse, many retailers, steady demand: reorder intervals that are powers of two of a base period.

In: costs and demand rates. Out: `Intervals`: how often each place orders, the cost, and a bound that no policy can beat.

With g_n = half the echelon holding cost of retailer n's stock of a unit of time's demand, and g'_n = half the warehouse's for
it, intervals T cost K_0 / T_0 + sum over n of [K_n / T_n + g_n T_n + g'_n max(T_0, T_n)]. Its minimum over all T > 0 is a lower
bound on every policy; powers of two cost at most 1.0607 of it (94 %), with the best base period 1.0203 (98 %).
Source: Roundy (1985), 98 %-effective integer-ratio lot-sizing for one-warehouse multi-retailer systems, Management Science 31(11).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.planning.classical._limits import not_negative, positive, refuse


@dataclass(frozen=True)
class Retailer:
    """One retailer.

    Attributes:
        fixed: K_n, cost an order, > 0.
        holding: local holding cost a unit and unit of time, at least the warehouse's.
        demand: units a unit of time, > 0.
    """

    fixed: float
    holding: float
    demand: float


@dataclass(frozen=True)
class Intervals:
    """How often to order.

    Attributes:
        warehouse, retailers: units of time between orders.
        cost: average a unit of time.
        bound: no policy, of intervals or not, costs less.
    """

    warehouse: float
    retailers: tuple[float, ...]
    cost: float
    bound: float


@dataclass(frozen=True)
class OneWarehouse:
    """The system.

    Attributes:
        fixed: K_0, cost of a warehouse order, > 0.
        holding: the warehouse's holding cost a unit and unit of time, > 0.
        retailers: at least one.
    Raises: BadEvent: a number is out of range, or a retailer holds more cheaply than the warehouse.
    """

    fixed: float
    holding: float
    retailers: Sequence[Retailer]

    def __post_init__(self) -> None:
        positive(fixed=self.fixed, holding=self.holding)
        if not self.retailers:
            raise refuse("retailers", "there must be at least one")
        for n, retailer in enumerate(self.retailers):
            positive(**{f"retailers/{n}/fixed": retailer.fixed, f"retailers/{n}/demand": retailer.demand})
            not_negative(**{f"retailers/{n}/holding above the warehouse's": retailer.holding - self.holding})

    def cost(self, warehouse: float, retailers: Sequence[float]) -> float:
        """The average cost of intervals of which each is a whole multiple, or a whole fraction, of the warehouse's."""
        total = self.fixed / warehouse
        for retailer, interval in zip(self.retailers, retailers, strict=True):
            own, shared = self._rates(retailer)
            total += retailer.fixed / interval + own * interval + shared * max(warehouse, interval)
        return total

    def relaxed(self) -> Intervals:
        """The intervals of least cost, whole ratios or not; cost and bound are the lower bound.

        At its best a retailer orders as often as the warehouse, unless K_n alone asks for more (sqrt(K_n / (g_n + g'_n)) above
        T_0) or less (sqrt(K_n / g_n) below it). Which ones do only changes at those values: T_0 is solved between them.
        """
        rates = [self._rates(retailer) for retailer in self.retailers]
        longer = [math.sqrt(r.fixed / (own + shared)) for r, (own, shared) in zip(self.retailers, rates, strict=True)]
        shorter = [
            math.sqrt(r.fixed / own) if own else math.inf for r, (own, _) in zip(self.retailers, rates, strict=True)
        ]
        turns = sorted({t for t in (*longer, *shorter) if math.isfinite(t)})
        for low, high in zip([0.0, *turns], [*turns, math.inf], strict=True):
            inside = low + 1.0 if math.isinf(high) else (low + high) / 2
            fixed, slope = self.fixed, 0.0
            for retailer, (own, shared), late, early in zip(self.retailers, rates, longer, shorter, strict=True):
                if late < inside < early:
                    fixed, slope = fixed + retailer.fixed, slope + own + shared
                elif inside >= early:
                    slope += shared
            warehouse = math.sqrt(fixed / slope) if slope else math.inf
            if warehouse <= high:  # the cost is convex in T_0: the first range that holds its own minimum has the least
                warehouse = max(warehouse, low)
                intervals = tuple(min(max(warehouse, a), b) for a, b in zip(longer, shorter, strict=True))
                cost = self.cost(warehouse, intervals)
                return Intervals(warehouse, intervals, cost, cost)
        raise AssertionError("the last range has no end")

    def power_of_two(self, base: float | None = None) -> Intervals:
        """Intervals that are base times a power of two (whole or not, e.g. 1/4).

        Args: base: the base period; cost <= 1.0607 bound. None: the best one; cost <= 1.0203 bound.
        Raises: BadEvent: base is not above 0.
        """
        best = self.relaxed()
        if base is not None:
            positive(base=base)
            return self._rounded(best, base)
        # Rounding changes only where an interval is sqrt 2 times a power of two bases: between two such it is one smooth curve.
        turns = sorted({(math.log2(t) + 0.5) % 1.0 for t in (best.warehouse, *best.retailers)})
        candidates = []
        for low, high in zip(turns, [*turns[1:], turns[0] + 1.0], strict=True):
            there = self._rounded(best, 2.0 ** ((low + high) / 2))
            ordering = self.fixed / there.warehouse
            ordering += sum(r.fixed / t for r, t in zip(self.retailers, there.retailers, strict=True))
            scale = math.sqrt(ordering / (there.cost - ordering))
            middle = 2.0 ** ((low + high) / 2)
            base = min(max(middle * scale, 2.0**low), 2.0**high)
            scale = base / middle
            warehouse, retailers = there.warehouse * scale, tuple(t * scale for t in there.retailers)
            candidates.append(Intervals(warehouse, retailers, self.cost(warehouse, retailers), best.cost))
        return min(candidates, key=lambda found: found.cost)

    def _rounded(self, best: Intervals, base: float) -> Intervals:
        exponents = np.ceil(np.log2(np.array([best.warehouse, *best.retailers]) / (math.sqrt(2) * base)) - 1e-12)
        warehouse, *retailers = (base * 2.0**exponents).tolist()
        return Intervals(warehouse, tuple(retailers), self.cost(warehouse, retailers), best.cost)

    def _rates(self, retailer: Retailer) -> tuple[float, float]:
        """(g_n, g'_n), cost a unit of time squared."""
        shared = 0.5 * self.holding * retailer.demand
        return 0.5 * (retailer.holding - self.holding) * retailer.demand, shared
