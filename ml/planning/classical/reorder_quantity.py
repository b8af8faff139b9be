"""(r, Q): when the position falls to r, order Q; continuous review, lead time, unmet demand waits.

In: demand, lead time, costs. Out: `ReorderQuantity`, exact for Poisson and normal demand, and the usual approximations.

With G(y) the rate of holding and backorder cost when the position was y a lead time ago, the average cost is
[K lambda + sum of G(y) over y = r + 1 .. r + Q] / Q (Poisson), with an integral from r to r + Q for continuous demand.
Source: Zheng (1992), Management Science 38(1); Federgruen & Zheng (1992), An efficient algorithm for computing an optimal (r, Q)
policy, Operations Research 40(4). Snyder & Shen (2019), chapter 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from ml.planning.classical import eoq as lot
from ml.planning.classical._limits import positive, refuse
from ml.planning.classical.demand import Demand, poisson
from ml.planning.classical.newsvendor import newsvendor_normal, normal_loss

ROUNDS = 60
"""Halvings of an interval: below it doubles do not differ. The fixed point settles in fewer."""


@dataclass(frozen=True)
class ReorderQuantity:
    """Order `quantity` when the position falls to `reorder`.

    Attributes:
        reorder, quantity: r and Q > 0, units.
        cost: average a unit of time: ordering, holding, backorders; nan where only approximated.
    """

    reorder: float
    quantity: float
    cost: float = math.nan


def cost_poisson(
    reorder: int, quantity: int, rate: float, lead_time: float, fixed: float, holding: float, penalty: float
) -> float:
    """The exact average cost of any (r, Q) with Poisson demand, a unit of time.

    Args: reorder: r. quantity: Q >= 1. rate: lambda, units a unit of time. lead_time: L > 0, units of time.
        fixed: K, an order. holding: h, penalty: p, a unit and unit of time.
    Raises: BadEvent: a number is out of range.
    """
    positive(quantity=quantity, rate=rate, lead_time=lead_time, fixed=fixed, holding=holding, penalty=penalty)
    total = poisson(rate * lead_time)
    rates = [_rate(total, y, holding, penalty) for y in range(reorder + 1, reorder + quantity + 1)]
    return (fixed * rate + sum(rates)) / quantity


def optimise_poisson(rate: float, lead_time: float, fixed: float, holding: float, penalty: float) -> ReorderQuantity:
    """The optimal (r, Q) with Poisson demand: levels are taken in order of G until the next costs more than the average.

    Args, Raises: as `cost_poisson`.
    """
    positive(rate=rate, lead_time=lead_time, fixed=fixed, holding=holding, penalty=penalty)
    total = poisson(rate * lead_time)
    low = high = total.quantile(penalty / (penalty + holding))  # levels taken: low .. high
    spent = fixed * rate + _rate(total, low, holding, penalty)
    below, above = _rate(total, low - 1, holding, penalty), _rate(total, high + 1, holding, penalty)
    while min(below, above) < spent / (high - low + 1):
        spent += min(below, above)
        if below < above:
            low -= 1
            below = _rate(total, low - 1, holding, penalty)
        else:
            high += 1
            above = _rate(total, high + 1, holding, penalty)
    return ReorderQuantity(low - 1, high - low + 1, spent / (high - low + 1))


def _rate(total: Demand, y: int, holding: float, penalty: float) -> float:
    if y < 0:
        return penalty * (total.mean - y)
    left = float(total.left_over(y)[-1])
    return holding * left + penalty * (total.mean - y + left)


@dataclass(frozen=True)
class NormalLot:
    """An item with normal lead-time demand under (r, Q).

    Attributes:
        rate: lambda, mean demand, units a unit of time, > 0.
        deviation: of demand in a unit of time, units, > 0.
        lead_time: L, units of time, > 0.
        fixed: K, cost an order, > 0. holding: h, a unit and unit of time, > 0.
        penalty: p, a unit backordered; for `optimise` and `cost` also a unit of time, for `expected_level` once a unit.
    Raises: BadEvent: a number is out of range.
    """

    rate: float
    deviation: float
    lead_time: float
    fixed: float
    holding: float
    penalty: float

    def __post_init__(self) -> None:
        positive(**self.__dict__)

    @property
    def mean(self) -> float:
        """Mean lead-time demand, units."""
        return self.rate * self.lead_time

    @property
    def spread(self) -> float:
        """Standard deviation of lead-time demand, units."""
        return self.deviation * math.sqrt(self.lead_time)

    def level_cost(self, y: float) -> float:
        """G(y) = h E(y - D)+ + p E(D - y)+, a unit of time."""
        short = self.spread * normal_loss((y - self.mean) / self.spread)
        return self.holding * (y - self.mean + short) + self.penalty * short

    def cost(self, reorder: float, quantity: float) -> float:
        """The exact average cost of any (r, Q): G integrated in closed form. Raises: BadEvent: Q is not above 0."""
        positive(quantity=quantity)
        high, low = (reorder + quantity - self.mean) / self.spread, (reorder - self.mean) / self.spread
        short = self.spread**2 * (_second_loss(low) - _second_loss(high))
        centre = quantity * (reorder + quantity / 2 - self.mean)
        return (self.fixed * self.rate + self.holding * centre + (self.holding + self.penalty) * short) / quantity

    def reorder_for(self, quantity: float) -> float:
        """The best r for a given Q: G(r) = G(r + Q), by bisection. Raises: BadEvent: Q is not above 0."""
        positive(quantity=quantity)
        best = newsvendor_normal(self.mean, self.spread, self.holding, self.penalty).level
        low, high = best - quantity, best
        for _ in range(ROUNDS):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if self.level_cost(middle) > self.level_cost(middle + quantity) else (low, middle)
            )
        return (low + high) / 2

    def optimise(self) -> ReorderQuantity:
        """The optimal (r, Q): the Q for which the average cost equals G at both ends (Zheng 1992), by bisection."""
        low = high = lot.eoq_with_backorders(self.fixed, self.holding, self.penalty, self.rate).quantity
        while self._ends_cost_less(high):
            high *= 2
        for _ in range(ROUNDS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._ends_cost_less(middle) else (low, middle)
        reorder = self.reorder_for(high)
        return ReorderQuantity(reorder, high, self.cost(reorder, high))

    def _ends_cost_less(self, quantity: float) -> bool:
        reorder = self.reorder_for(quantity)
        return self.level_cost(reorder) < self.cost(reorder, quantity)

    def from_eoq(self) -> ReorderQuantity:
        """EOQ with safety stock: Q of the EOQ, r the newsvendor's level of lead-time demand."""
        quantity = lot.eoq(self.fixed, self.holding, self.rate).quantity
        return self._priced(newsvendor_normal(self.mean, self.spread, self.holding, self.penalty).level, quantity)

    def from_backorder_eoq(self) -> ReorderQuantity:
        """Q of the EOQ with backorders, and the best r for it: at most 1/8 dearer than the optimum (Zheng 1992)."""
        quantity = lot.eoq_with_backorders(self.fixed, self.holding, self.penalty, self.rate).quantity
        return self._priced(self.reorder_for(quantity), quantity)

    def expected_level(self) -> ReorderQuantity:
        """Hadley & Whitin's iteration, `penalty` once a unit backordered: stock is taken to fall from r - mean + Q to r - mean.

        Returns: cost K lambda / Q + h (r - mean + Q / 2) + p lambda n(r) / Q with n(r) the units short a cycle.
        Raises: BadEvent: the penalty is so low that running out for ever costs least.
        """
        quantity = lot.eoq(self.fixed, self.holding, self.rate).quantity
        for _ in range(ROUNDS):
            chance = self.holding * quantity / (self.penalty * self.rate)
            if chance >= 1:
                raise refuse("penalty", f"{self.penalty:g} is too low for this approximation: it would never order")
            z = NormalDist().inv_cdf(1 - chance)
            short = self.spread * normal_loss(z)
            quantity = math.sqrt(2 * self.rate * (self.fixed + self.penalty * short) / self.holding)
        stock = z * self.spread + quantity / 2
        cost = self.fixed * self.rate / quantity + self.holding * stock + self.penalty * self.rate * short / quantity
        return ReorderQuantity(self.mean + z * self.spread, quantity, cost)

    def _priced(self, reorder: float, quantity: float) -> ReorderQuantity:
        return ReorderQuantity(reorder, quantity, self.cost(reorder, quantity))


def _second_loss(z: float) -> float:
    """E[((Z - z)+)^2] / 2 of a standard normal Z, the integral of its loss function from z."""
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return 0.5 * ((z * z + 1) * 0.5 * math.erfc(z / math.sqrt(2)) - z * density)
