"""(s, S): when the position is at s or below, order up to S; periodic review with a fixed cost, exact.

In: demand of a period, lead time, costs. Out: `ReorderUpTo`, optimal by Zheng & Federgruen's algorithm, or a quick approximation.

With G(y) the expected cost of a period L ahead when the position is y after ordering, m and M the renewal mass and function of
demand, the average cost of (s, S) is [K + sum over j = 0 .. S - s - 1 of m(j) G(S - j)] / M(S - s).
Source: Zheng & Federgruen (1991), Finding optimal (s, S) policies is about as simple as evaluating a single policy,
Operations Research 39(4); correction 40(1) (1992). Snyder & Shen (2019), section 4.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ml.planning.classical._limits import not_negative, positive, refuse
from ml.planning.classical.demand import Demand, Floats

MOST_SPAN = 200_000
"""Largest S - s that is searched; fixed costs beyond it belong to an EOQ."""


@dataclass(frozen=True)
class ReorderUpTo:
    """Order up to `up_to` when the position (on hand + on order - backorders) is at `reorder` or below.

    Attributes:
        reorder, up_to: s < S, units.
        cost: average a period: fixed, holding and backorder cost; nan where only approximated.
    """

    reorder: float
    up_to: float
    cost: float = math.nan


class _Costs:
    """G(y) for any whole y: the table in the middle, the straight lines it becomes on both sides."""

    def __init__(self, demand: Demand, lead_time: int, holding: float, penalty: float) -> None:
        total = demand.over(lead_time + 1)
        self._holding, self._penalty, self._mean = holding, penalty, total.mean
        left = total.left_over(total.pmf.size)
        self._table = holding * left + penalty * (total.mean - np.arange(left.size) + left)
        self.best = int(np.argmin(self._table))

    def between(self, low: int, high: int) -> Floats:
        """G(low) .. G(high - 1)."""
        y = np.arange(low, high)
        inside = self._table[np.clip(y, 0, self._table.size - 1)]
        above = np.where(y < self._table.size, inside, self._holding * (y - self._mean))
        return np.asarray(np.where(y < 0, self._penalty * (self._mean - y), above))

    def __call__(self, y: int) -> float:
        return float(self.between(y, y + 1)[0])


def _renewal(demand: Demand, size: int) -> Floats:
    """m(0) .. m(size - 1): the expected number of visits to each total of demand, m = sum of all convolution powers."""
    p, mass = demand.pmf, np.zeros(size)
    mass[0] = 1 / (1 - p[0])
    for j in range(1, size):
        k = min(j, p.size - 1)
        mass[j] = (p[1 : k + 1] @ mass[j - k : j][::-1]) / (1 - p[0])
    return mass


def cost_of(
    reorder: int, up_to: int, demand: Demand, fixed: float, holding: float, penalty: float, *, lead_time: int = 0
) -> float:
    """The exact average cost a period of any (s, S).

    Args: reorder, up_to: s < S, units. demand: units a period. fixed: K, an order. holding: h, penalty: p, a unit and period.
        lead_time: L >= 0 periods; an order placed before the demand of period t meets the demand of period t + L.
    Raises: BadEvent: a number is out of range.
    """
    _check(demand, fixed, holding, penalty, lead_time)
    if not reorder < up_to <= reorder + MOST_SPAN:
        raise refuse("up_to", f"{up_to} is not above the reorder point {reorder}, by at most {MOST_SPAN:,}")
    mass = _renewal(demand, up_to - reorder)
    values = _Costs(demand, lead_time, holding, penalty).between(reorder + 1, up_to + 1)[::-1]
    return float((fixed + mass @ values) / mass.sum())


def optimise(demand: Demand, fixed: float, holding: float, penalty: float, *, lead_time: int = 0) -> ReorderUpTo:
    """The optimal (s, S), exactly. Args, Raises: as `cost_of`.

    The search starts at the minimiser of G, lowers s while that helps, then raises S while G(S) is below the best cost so far.
    """
    _check(demand, fixed, holding, penalty, lead_time)
    costs = _Costs(demand, lead_time, holding, penalty)
    mass = _renewal(demand, 64)

    def average(reorder: int, up_to: int) -> float:
        nonlocal mass
        span = up_to - reorder
        if span > MOST_SPAN:
            raise refuse("fixed", f"{fixed:g} asks for orders of more than {MOST_SPAN:,} units")
        if span > mass.size:
            mass = _renewal(demand, 2 * span)
        values = costs.between(reorder + 1, up_to + 1)[::-1]
        return float((fixed + mass[:span] @ values) / mass[:span].sum())

    up_to = costs.best
    reorder = up_to - 1
    while average(reorder, up_to) > costs(reorder):
        reorder -= 1
    best, best_up_to = average(reorder, up_to), up_to
    up_to += 1
    while costs(up_to) <= best:
        if average(reorder, up_to) < best:
            best_up_to = up_to
            while average(reorder, up_to) <= costs(reorder + 1):
                reorder += 1
            best = average(reorder, up_to)
        up_to += 1
    return ReorderUpTo(reorder, best_up_to, best)


def power_approximation(
    mean: float, deviation: float, fixed: float, holding: float, penalty: float, *, lead_time: float = 0.0
) -> ReorderUpTo:
    """(s, S) from fitted powers of the costs, to be rounded where units are whole.

    On Zheng & Federgruen's table it costs at most 0.2 % more than `optimise` where an order lasts three periods or longer, and up
    to 9 % more where it lasts about two: there whole periods matter, which powers cannot see.

    Args: mean, deviation: of demand a period, units. fixed, holding, penalty, lead_time: as `cost_of`.
    Raises: BadEvent: a number is out of range.
    Source: Ehrhardt & Mosier (1984), A revision of the power approximation, Management Science 30(5).
    """
    positive(mean=mean, deviation=deviation, fixed=fixed, holding=holding, penalty=penalty)
    not_negative(lead_time=lead_time)
    total, spread = mean * (lead_time + 1), deviation * math.sqrt(lead_time + 1)
    order = 1.30 * mean**0.494 * (fixed / holding) ** 0.506 * (1 + spread**2 / mean**2) ** 0.116
    z = math.sqrt(order * holding / (penalty * spread))
    reorder = 0.973 * total + spread * (0.183 / z + 1.063 - 2.192 * z)
    if order / mean > 1.5:
        return ReorderUpTo(reorder, reorder + order)
    from ml.planning.classical.newsvendor import newsvendor_normal

    single = newsvendor_normal(total, spread, holding, penalty).level
    return ReorderUpTo(min(reorder, single), min(reorder + order, single))


def _check(demand: Demand, fixed: float, holding: float, penalty: float, lead_time: int) -> None:
    positive(fixed=fixed, holding=holding, penalty=penalty)
    not_negative(lead_time=lead_time)
    if demand.pmf[0] >= 1:
        raise refuse("demand", "there is never any demand")
