"""Economic order quantity: steady demand, a fixed cost an order, a holding cost; with its classical variations.

In: rates and costs. Out: `OrderPlan`: how much to order, and the cost a unit of time.
Symbols: K fixed cost an order; h holding cost a unit and unit of time; demand lambda units a unit of time.
Source: Harris (1913); Zipkin (2000), Foundations of Inventory Management, chapter 3; Snyder & Shen (2019), chapter 3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ml.planning.classical._limits import not_negative, positive, refuse


@dataclass(frozen=True)
class OrderPlan:
    """What to order, and what that costs.

    Attributes:
        quantity: Q, units an order.
        cost: average a unit of time: ordering, holding, backorders; purchases too where prices depend on Q.
        backordered: share of demand that waits, 0 .. 1.
    """

    quantity: float
    cost: float
    backordered: float = 0.0


def eoq(fixed: float, holding: float, demand: float) -> OrderPlan:
    """Q = sqrt(2 K lambda / h), cost sqrt(2 K lambda h).

    Args: fixed: K, an order. holding: h, a unit and unit of time. demand: lambda, units a unit of time. All > 0.
    Raises: BadEvent: one is not.
    """
    positive(fixed=fixed, holding=holding, demand=demand)
    return OrderPlan(math.sqrt(2 * fixed * demand / holding), math.sqrt(2 * fixed * demand * holding))


def cost_of(quantity: float, fixed: float, holding: float, demand: float) -> float:
    """K lambda / Q + h Q / 2 for any Q > 0, a unit of time. Raises: BadEvent: a number is not above 0."""
    positive(quantity=quantity, fixed=fixed, holding=holding, demand=demand)
    return fixed * demand / quantity + holding * quantity / 2


def eoq_with_backorders(fixed: float, holding: float, penalty: float, demand: float) -> OrderPlan:
    """Customers wait at a cost of `penalty` (p) a unit and unit of time.

    Q = sqrt(2 K lambda (h + p) / (h p)), a share h / (h + p) of demand waits, cost sqrt(2 K lambda h p / (h + p)).
    Args, Raises: as `eoq`. Source: Snyder & Shen (2019), section 3.5.
    """
    positive(fixed=fixed, holding=holding, penalty=penalty, demand=demand)
    share = holding / (holding + penalty)
    plain = eoq(fixed, holding, demand)
    return OrderPlan(plain.quantity / math.sqrt(1 - share), plain.cost * math.sqrt(1 - share), share)


def epq(fixed: float, holding: float, demand: float, production: float) -> OrderPlan:
    """Stock arrives at a finite rate: economic production quantity.

    Args: as `eoq`; production: mu, units a unit of time, above demand.
    Raises: BadEvent: as `eoq`, or production does not exceed demand.
    Source: Taft (1918); Snyder & Shen (2019), section 3.6: h is replaced by h (1 - lambda / mu).
    """
    positive(fixed=fixed, holding=holding, demand=demand, production=production)
    if production <= demand:
        raise refuse("production", f"{production:g} does not exceed the demand of {demand:g}")
    return eoq(fixed, holding * (1 - demand / production), demand)


def eoq_all_units(
    fixed: float, holding_rate: float, demand: float, breakpoints: Sequence[float], prices: Sequence[float]
) -> OrderPlan:
    """All units of an order cost prices[j] once the order reaches breakpoints[j].

    Args:
        fixed: K. holding_rate: i, a year's holding cost as a share of the price. demand: lambda.
        breakpoints: units, from 0, rising. prices: one a breakpoint, falling.
    Returns: cost includes purchases.
    Raises: BadEvent: a number is out of range, or the lists do not fit.
    Source: Snyder & Shen (2019), section 3.4: the best of each price's own quantity, moved up into its range.
    """
    _check_prices(fixed, holding_rate, demand, breakpoints, prices)
    plans = []
    for j, (start, price) in enumerate(zip(breakpoints, prices, strict=True)):
        quantity = max(eoq(fixed, holding_rate * price, demand).quantity, start)
        if j + 1 == len(prices) or quantity < breakpoints[j + 1]:
            plans.append(OrderPlan(quantity, price * demand + cost_of(quantity, fixed, holding_rate * price, demand)))
    return min(plans, key=lambda plan: plan.cost)


def eoq_incremental(
    fixed: float, holding_rate: float, demand: float, breakpoints: Sequence[float], prices: Sequence[float]
) -> OrderPlan:
    """Only the units beyond breakpoints[j] cost prices[j].

    Args, Returns, Raises: as `eoq_all_units`.
    Source: Snyder & Shen (2019), section 3.4: in range j the order costs a fixed part F_j more, so Q_j =
    sqrt(2 (K + F_j) lambda / (i c_j)).
    """
    _check_prices(fixed, holding_rate, demand, breakpoints, prices)
    plans, extra = [], 0.0
    for j, (start, price) in enumerate(zip(breakpoints, prices, strict=True)):
        extra += start * ((prices[j - 1] if j else price) - price)
        quantity = eoq(fixed + extra, holding_rate * price, demand).quantity
        end = breakpoints[j + 1] if j + 1 < len(prices) else math.inf
        if start <= quantity < end:  # otherwise its own range is beaten by a neighbour's
            cost = cost_of(quantity, fixed + extra, holding_rate * price, demand)
            plans.append(OrderPlan(quantity, price * demand + cost + holding_rate * extra / 2))
    return min(plans, key=lambda plan: plan.cost)


def _check_prices(
    fixed: float, holding_rate: float, demand: float, breakpoints: Sequence[float], prices: Sequence[float]
) -> None:
    positive(fixed=fixed, holding_rate=holding_rate, demand=demand)
    if not prices or len(breakpoints) != len(prices) or breakpoints[0] != 0:
        raise refuse("breakpoints", "there must be one a price, and the first is 0")
    for price in prices:
        positive(prices=price)
    not_negative(**{f"breakpoints/{j}": point for j, point in enumerate(breakpoints)})
    if any(b <= a for a, b in itertools.pairwise(breakpoints)):
        raise refuse("breakpoints", "they must rise")
    if any(b >= a for a, b in itertools.pairwise(prices)):
        raise refuse("prices", "they must fall: a larger order gets the better price")
