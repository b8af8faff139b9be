"""Periodic review with a lead time and lost sales: the model and the policies.

In: `LostSales` (demand, lead time, costs). Out: policies, which say what to order from what is on hand and on the way.
What a policy costs: lost_sales_chain (exactly), lost_sales_search (by simulation). The best of all: lost_sales_optimal.

Each period t: (1) the order placed L periods ago arrives, on hand is x0; (2) an order z is placed, it arrives at the start of
period t + L; (3) demand D comes, what is not on hand is lost; (4) holding on (x0 - D)+, penalty on (D - x0)+. The state
before ordering is x = (x0, x1, ..., x_{L-1}): on hand, and what arrives in 1 .. L - 1 periods. No ordering cost, no discount.
Source: Zipkin (2008), Old and new methods for lost-sales inventory systems, Operations Research 56(5), section 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ml.planning.classical._limits import positive, refuse
from ml.planning.classical.demand import Demand, Floats

Ints = NDArray[np.int64]

LONGEST = 20
"""Longest lead time, periods: a state of 20 places is as long as one is ever reviewed."""


@dataclass(frozen=True, eq=False)
class LostSales:
    """One item under periodic review, unmet demand lost.

    Attributes:
        demand: units a period, independent from period to period.
        lead_time: L, periods from order to arrival, 1 .. 20.
        holding: h, cost a unit left after demand, a period, > 0.
        penalty: p, cost a unit lost, > 0.
    Raises: BadEvent: one of them is out of its range.
    """

    demand: Demand
    lead_time: int
    holding: float
    penalty: float

    def __post_init__(self) -> None:
        positive(holding=self.holding, penalty=self.penalty)
        if not 1 <= self.lead_time <= LONGEST:
            raise refuse("lead_time", f"{self.lead_time} is not between 1 and {LONGEST} periods")
        if self.demand.pmf[0] >= 1:
            raise refuse("demand", "there is never any demand")

    @property
    def critical_ratio(self) -> float:
        """p / (p + h)."""
        return self.penalty / (self.penalty + self.holding)

    @cached_property
    def ceilings(self) -> list[int]:
        """s_j, j = 0 .. L: no optimal policy needs more than s_j units in the last j + 1 places of (x0, ..., x_{L-1}, z).

        s_j is the critical-ratio quantile of demand over j + 1 periods. With more, the last unit ordered is still there at
        the end of the period it arrives in with a probability above p / (p + h), whatever is lost before: ordering it a
        period later costs less. Source: Morton (1969); Zipkin (2008), On the structure of lost-sales inventory models,
        Operations Research 56(4), section 4.
        """
        return [self.demand.over(j + 1).quantile(self.critical_ratio) for j in range(self.lead_time + 1)]

    def period_cost(self, most: int) -> Floats:
        """c(x0) = h E(x0 - D)+ + p E(D - x0)+ for x0 = 0 .. most, cost, shape (most + 1,)."""
        left = self.demand.left_over(most)
        return self.holding * left + self.penalty * (self.demand.mean - np.arange(most + 1) + left)


class Policy(Protocol):
    """How much to order, from what is on hand and on the way."""

    def orders(self, x_NL: Ints) -> Ints:
        """Units to order in each of N states, shape (N,); x_NL: the states, units, as in `LostSales`."""
        ...


@dataclass(frozen=True)
class BaseStock:
    """Order up to S: z = (S - sum of x)+.

    Attributes: level: S, units on hand and on order, >= 0.
    Source: Huh, Janakiraman, Muckstadt & Rusmevichientong (2009), Management Science 55(3): asymptotically optimal as p grows.
    """

    level: int

    def orders(self, x_NL: Ints) -> Ints:
        """See `Policy`."""
        return np.asarray(np.maximum(self.level - x_NL.sum(axis=1), 0))


@dataclass(frozen=True)
class CappedBaseStock:
    """Order up to S, but never more than r at once: z = min(r, (S - sum of x)+).

    Attributes: level: S, units on hand and on order, >= 0; cap: r, units an order, >= 0.
    Source: Xin (2021), Understanding the performance of capped base-stock policies in lost-sales inventory models,
    Operations Research 69(1): asymptotically optimal in L; S alone is base stock, r alone the constant order of Xin &
    Goldberg (2016).
    """

    level: int
    cap: int

    def orders(self, x_NL: Ints) -> Ints:
        """See `Policy`."""
        return np.asarray(np.clip(self.level - x_NL.sum(axis=1), 0, self.cap))


@dataclass(frozen=True, eq=False)
class Myopic:
    """Order what is cheapest in the period it arrives: the smallest z with P(D <= left over + z) >= p / (p + h).

    Left over is what remains on hand at the end of period t + L - 1; its distribution is exact.
    Source: Morton (1971); Zipkin (2008), section 3.
    """

    item: LostSales

    @cached_property
    def _tables(self) -> tuple[Floats, Floats]:
        most, top = self.item.ceilings[-1], self.item.ceilings[0]
        reach_YZ = np.add.outer(np.arange(most + 1), np.arange(top + 1))
        return self.item.demand.leaves(most), self.item.demand.cdf(most + top)[reach_YZ]

    def orders(self, x_NL: Ints) -> Ints:
        """See `Policy`."""
        leaves_YY, served_YZ = self._tables
        left_NY = leaves_YY[np.minimum(x_NL[:, 0], len(leaves_YY) - 1)]
        for arriving_N in x_NL[:, 1:].T:
            left_NY = _shifted(left_NY, arriving_N) @ leaves_YY
        return np.asarray(np.argmax(left_NY @ served_YZ >= self.item.critical_ratio - 1e-12, axis=1))


def _shifted(chance_NY: Floats, by_N: Ints) -> Floats:
    """Row n moved right by by_N[n]; what would leave the table gathers in its last column."""
    rows, columns = chance_NY.shape
    moved_NY = np.zeros((rows, columns))
    for by in np.unique(by_N):
        mine, shift = np.flatnonzero(by_N == by), min(int(by), columns - 1)
        moved_NY[mine, shift:] = chance_NY[mine, : columns - shift]
        moved_NY[mine, -1] += chance_NY[mine, columns - shift :].sum(axis=1)
    return moved_NY


@dataclass(frozen=True, eq=False)
class TablePolicy:
    """Orders looked up in a table; a state outside of the table orders nothing.

    Attributes: order: units, one axis a place of the state, x0 first.
    """

    order: Ints

    def orders(self, x_NL: Ints) -> Ints:
        """See `Policy`."""
        inside_N = np.all(x_NL < np.array(self.order.shape), axis=1)
        return np.where(inside_N, self.order[tuple(np.where(inside_N, x_N, 0) for x_N in x_NL.T)], 0)
