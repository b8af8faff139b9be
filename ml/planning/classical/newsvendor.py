"""One order, one season of uncertain demand; and base stock under periodic review, which is the same each period.

In: a distribution of demand, and what a unit too many or too few costs. Out: `Stocking`: how much to have, and the expected cost.
Symbols: h overage cost a unit left, p underage cost a unit short; critical ratio p / (p + h).
Source: Arrow, Harris & Marschak (1951); Zipkin (2000), sections 6.2 and 9.4; Snyder & Shen (2019), sections 4.3 and 4.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ml.planning.classical._limits import not_negative, positive, refuse
from ml.planning.classical.demand import Demand


@dataclass(frozen=True)
class Stocking:
    """How much to have before demand comes.

    Attributes:
        level: S, units.
        cost: expected cost of what is left over and what is short (a period).
        left, short: E(S - D)+ and E(D - S)+, units.
    """

    level: float
    cost: float
    left: float
    short: float

    @property
    def fill_rate(self) -> float:
        """Share of one period's mean demand met at once, where level is for a single period: 1 - short / mean."""
        mean = self.level - self.left + self.short
        return 1 - self.short / mean if mean > 0 else 1.0


def critical_ratio(holding: float, penalty: float) -> float:
    """p / (p + h), the probability of not running short that is worth paying for. Raises: BadEvent: not above 0."""
    positive(holding=holding, penalty=penalty)
    return penalty / (penalty + holding)


def costs_from_prices(
    price: float, purchase: float, salvage: float = 0.0, goodwill: float = 0.0
) -> tuple[float, float]:
    """(h, p) of a seller: a unit left loses purchase - salvage, one short loses price - purchase + goodwill.

    The critical ratio is then (price - purchase + goodwill) / (price - salvage + goodwill), and expected profit is
    (price - purchase) E[D] less the cost of `newsvendor`.
    Raises: BadEvent: unless salvage < purchase < price + goodwill.
    """
    not_negative(price=price, purchase=purchase, goodwill=goodwill)
    if not salvage < purchase < price + goodwill:
        raise refuse("purchase", f"{purchase:g} is not between salvage {salvage:g} and price + goodwill")
    return purchase - salvage, price - purchase + goodwill


def newsvendor(demand: Demand, holding: float, penalty: float, *, level: int | None = None) -> Stocking:
    """Any discrete demand: S is the smallest k with P(D <= k) >= p / (p + h).

    Args:
        demand: units. holding: h. penalty: p.
        level: price this S instead of the best.
    Raises: BadEvent: a cost is not above 0, or level is negative.
    """
    ratio = critical_ratio(holding, penalty)
    if level is None:
        level = demand.quantile(ratio)
    not_negative(level=level)
    left = float(demand.left_over(level)[-1])
    short = demand.mean - level + left
    return Stocking(level, holding * left + penalty * short, left, short)


def newsvendor_normal(
    mean: float, deviation: float, holding: float, penalty: float, *, level: float | None = None
) -> Stocking:
    """Normal demand: S = mean + z deviation with Phi(z) = p / (p + h); cost (h + p) deviation phi(z) at the best S.

    Args:
        mean: units, >= 0. deviation: units, > 0. holding: h. penalty: p.
        level: price this S instead of the best.
    Raises: BadEvent: a number is out of range.
    """
    not_negative(mean=mean)
    positive(deviation=deviation)
    ratio, standard = critical_ratio(holding, penalty), NormalDist()
    z = standard.inv_cdf(ratio) if level is None else (level - mean) / deviation
    short = deviation * normal_loss(z)
    left = deviation * z + short
    return Stocking(mean + z * deviation, holding * left + penalty * short, left, short)


def newsvendor_continuous(quantile: Callable[[float], float], mean: float, holding: float, penalty: float) -> Stocking:
    """Any continuous demand, by its quantile function.

    Args:
        quantile: u in (0, 1) to units; rising. mean: E[D], units. holding: h. penalty: p.
    Raises: BadEvent: a cost is not above 0.

    E(S - D)+ = integral of S - quantile(u) over 0 < u < ratio, by Gauss-Legendre in t with u = ratio t^4, which tames the end.
    """
    ratio = critical_ratio(holding, penalty)
    level = quantile(ratio)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    t = (nodes + 1) / 2
    values = np.array([level - quantile(float(ratio * s**4)) for s in t])
    left = float((weights / 2) @ (values * 4 * ratio * t**3))
    short = mean - level + left
    return Stocking(level, holding * left + penalty * short, left, short)


def base_stock(demand: Demand, lead_time: int, holding: float, penalty: float) -> Stocking:
    """Periodic review, lead time L, unmet demand waits: order up to S every period.

    Stock at the end of period t + L is S less the demand of L + 1 periods, so S is that demand's newsvendor.
    Args: demand: units a period. lead_time: L >= 0 periods. holding, penalty: a unit and period, at its end.
    Returns: left and short are end-of-period stock and backorders.
    Raises: BadEvent: a number is out of range.
    """
    not_negative(lead_time=lead_time)
    return newsvendor(demand.over(lead_time + 1), holding, penalty)


def base_stock_normal(mean: float, deviation: float, lead_time: float, holding: float, penalty: float) -> Stocking:
    """`base_stock` for normal demand: mean (L + 1) and deviation sqrt(L + 1) times a period's."""
    not_negative(lead_time=lead_time)
    periods = lead_time + 1
    return newsvendor_normal(mean * periods, deviation * math.sqrt(periods), holding, penalty)


def normal_loss(z: float) -> float:
    """E(Z - z)+ of a standard normal Z."""
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return density - z * 0.5 * math.erfc(z / math.sqrt(2))
