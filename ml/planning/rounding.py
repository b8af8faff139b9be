"""Whole packs, smallest orders and fixed order costs: a plan in fractions becomes one that can be ordered.

In: a one-period program, its fractional plan, prices and bound. Out: a `Rounded`: whole units that keep every limit, and
what rounding costs against the bound. Also order cycles: every how many periods a SKU is worth ordering.

Every site's part of an order is whole packs. First the fractions are cut off; then packs are added, most value above the
prices a pack first, while storage, inbound and supply have room. An order below the SKU's smallest is raised to it where
that pays and fits, else left out; an order that earns less than its fixed cost is left out. What that frees is filled.

The loss is bound - (value - order costs): no whole plan, however found, can be better than the bound by construction.
Shapes: N SKUs, M serving sites. Run: pytest tests/unit/planning/test_rounding.py
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ml.planning.problem import Problem, Tensor, Worth, evaluate
from ml.planning.solve import Prices

Floats = npt.NDArray[np.float64]
PASSES = 30
"""Rounds of adding at most one pack a SKU and site."""
LONGEST_CYCLE = 16
"""Periods; cycles are powers of two, which cost at most 6 % more than the best (Roundy 1985)."""


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """A plan in whole packs.

    Args:
        units_MN: whole units bought for each site, float64. worth: value and violations of them (`problem.evaluate`).
        order_costs: fixed costs of all orders, money. bound: no plan is worth more, money.
    """

    units_MN: Tensor
    worth: Worth
    order_costs: float
    bound: float

    @property
    def loss(self) -> float:
        """(bound - value + order costs) / |bound|."""
        missing = self.bound - self.worth.value + self.order_costs
        return missing / abs(self.bound) if self.bound else 0.0


def round_plan(
    problem: Problem,
    units_MN: Tensor,
    prices: Prices,
    bound: float,
    *,
    pack_N: npt.ArrayLike,
    min_order_N: npt.ArrayLike,
    order_cost_N: npt.ArrayLike,
) -> Rounded:
    """Round a plan.

    Args: units_MN: fractional units, feasible; pack_N >= 1, min_order_N >= 0: units; order_cost_N >= 0: money an order.
    """
    table = _Table(problem, prices, np.asarray(pack_N, np.float64))
    least = np.asarray(min_order_N, np.float64)
    cost = np.asarray(order_cost_N, np.float64)
    packs = np.floor(units_MN.T.double().numpy() / table.pack[:, None] + 1e-9)  # N, M
    packs = table.fill(packs, np.ones(len(packs), bool))
    packs = table.raise_small(packs, least)
    earned = table.earned(packs)
    ordered = (packs.sum(1) * table.pack >= least - 1e-9) & (earned > cost)
    packs = np.where(ordered[:, None], packs, 0.0)
    packs = table.fill(packs, ordered)
    units = torch.from_numpy((packs * table.pack[:, None]).T.copy())
    fixed = float(cost[packs.sum(1) > 0].sum())
    return Rounded(units, evaluate(problem, units), fixed, bound)


class _Table:
    """Values of whole packs, and what is left of the limits; packs are (N, M)."""

    def __init__(self, problem: Problem, prices: Prices, pack: Floats) -> None:
        self.pack = pack
        self.volume = problem.volume_N.numpy()
        self.storage, self.flow = problem.storage_M.numpy(), problem.flow_M.numpy()
        self.supply = problem.supply_N.double().numpy()
        self.fee = (
            self.volume[:, None] * prices.storage_M.numpy()
            + prices.flow_M.numpy()
            + prices.supply_N.double().numpy()[:, None]
        )
        width = problem.width_MKN.double().permute(2, 0, 1).numpy()  # N, M, K
        value = problem.value_MKN.double().permute(2, 0, 1).numpy()
        zero = np.zeros((*width.shape[:2], 1))
        self.edge = np.concatenate([zero, width.cumsum(2)], axis=2)
        self.money = np.concatenate([zero, (width * value).cumsum(2)], axis=2)
        self.slope = np.concatenate([value, (problem.surplus_N[:, None] - problem.lane_M).numpy()[:, :, None]], axis=2)

    def value(self, packs: Floats) -> Floats:
        """Worth of packs of each SKU at each site, (N, M) money."""
        units = packs * self.pack[:, None]
        k = (units[:, :, None] >= self.edge).sum(2, keepdims=True) - 1
        take = [np.take_along_axis(x, k, 2)[:, :, 0] for x in (self.money, self.edge, self.slope)]
        found: Floats = take[0] + (units - take[1]) * take[2]
        return found

    def earned(self, packs: Floats) -> Floats:
        """Worth of each SKU's packs above the prices of the limits, (N,) money."""
        found: Floats = (self.value(packs) - packs * self.pack[:, None] * self.fee).sum(1)
        return found

    def room(self, packs: Floats) -> tuple[Floats, Floats, Floats]:
        """m³ (M,), units (M,) and units (N,) still free."""
        units = packs * self.pack[:, None]
        # a hair is kept back, so that sums in another order still keep the limit
        return (
            self.storage * (1 - 1e-12) - self.volume @ units,
            self.flow * (1 - 1e-12) - units.sum(0),
            self.supply - units.sum(1),
        )

    def fill(self, packs: Floats, may: npt.NDArray[np.bool_]) -> Floats:
        """Add packs of the SKUs in `may`, those that earn most above the prices a unit of limits first, while any earns."""
        packs = packs.copy()
        for _ in range(PASSES):
            gain: Floats = np.subtract(self.value(packs + 1), self.value(packs))
            storage, flow, supply = self.room(packs)
            size = self.pack[:, None]
            fits = (self.volume[:, None] * size <= storage) & (size <= flow) & (size <= supply[:, None])
            i, j = np.nonzero(may[:, None] & fits & (gain > 1e-9))
            if not len(i):
                break
            order = np.argsort(-(gain - size * self.fee)[i, j] / (self.pack * self.volume)[i], kind="stable")
            i, j = i[order], j[order]
            added = self._first_that_fit(i, j, storage, flow, supply)
            packs[i[added], j[added]] += 1
        return packs

    def _first_that_fit(
        self, i: npt.NDArray[np.int64], j: npt.NDArray[np.int64], storage: Floats, flow: Floats, supply: Floats
    ) -> npt.NDArray[np.bool_]:
        """Which packs, in this order, fit if all before them are taken."""
        units = self.pack[i]
        fits = _running(units * self.volume[i], j) <= storage[j]
        fits &= _running(units, j) <= flow[j]
        fits &= _running(units, i) <= supply[i]
        return fits

    def raise_small(self, packs: Floats, least: Floats) -> Floats:
        """Raise orders below the smallest where that pays and fits; else they stay as they are, to be left out."""
        packs = packs.copy()
        small = np.flatnonzero((packs.sum(1) > 0) & (packs.sum(1) * self.pack < least - 1e-9))
        for i in small.tolist():
            storage, flow, supply = self.room(packs)
            trial = packs[i].copy()
            size, bulk = self.pack[i], self.pack[i] * self.volume[i]
            while trial.sum() * size < least[i] - 1e-9:
                more = trial - packs[i]
                fits = (
                    ((more + 1) * bulk <= storage)
                    & ((more + 1) * size <= flow)
                    & ((more.sum() + 1) * size <= supply[i])
                )
                if not fits.any():
                    break
                rows = self._row(i, trial + 1) - self._row(i, trial)
                trial[int(np.where(fits, rows, -np.inf).argmax())] += 1
            if trial.sum() * size >= least[i] - 1e-9 and (self._row(i, trial) - trial * size * self.fee[i]).sum() > 0:
                packs[i] = trial
        return packs

    def _row(self, i: int, packs: Floats) -> Floats:
        """`value` of one SKU: (M,) packs -> (M,) money."""
        units = packs * self.pack[i]
        k = (units[:, None] >= self.edge[i]).sum(1) - 1
        at = np.arange(len(packs))
        found: Floats = self.money[i, at, k] + (units - self.edge[i, at, k]) * self.slope[i, at, k]
        return found


def _running(amount: Floats, group: npt.NDArray[np.int64]) -> Floats:
    """Running sum within each group, in the order given."""
    order = np.argsort(group, kind="stable")
    total = amount[order].cumsum()
    first = np.flatnonzero(np.r_[True, group[order][1:] != group[order][:-1]])
    start = np.repeat(np.r_[0.0, total[first[1:] - 1]], np.diff(np.r_[first, len(order)]))
    out = np.empty_like(total)
    out[order] = total - start
    return out


def order_cycles(mean_N: Floats, order_cost_N: Floats, holding_N: Floats, longest: int = LONGEST_CYCLE) -> Floats:
    """Every how many periods each SKU is ordered: the power of two that costs least a period.

    Args: mean_N: units a period; order_cost_N: money an order; holding_N: money a unit and period.
    Returns: (N,) periods, 1 to `longest`. Ordering every n periods costs K / n + h μ (n - 1) / 2 a period.
    Source: Roundy (1985), 98%-effective integer-ratio lot-sizing for one-warehouse multi-retailer systems.
    """
    cycles = 2.0 ** np.arange(int(np.log2(longest)) + 1)
    cost = order_cost_N[:, None] / cycles + holding_N[:, None] * mean_N[:, None] * (cycles - 1) / 2
    found: Floats = cycles[cost.argmin(1)]
    return found


def in_cycles(purchases_NT: Floats, cycle_N: Floats, room_T: Floats, volume_N: Floats) -> Floats:
    """Buy a cycle's needs in its first period, as far as storage has room for what then lies longer.

    Args: purchases_NT: units bought by period; cycle_N: periods; room_T: m³ that the plan leaves free; volume_N: m³.
    Returns: (N, T) units; a SKU's total is the same, and no period's free space falls below 0. SKUs with the largest saving
        of orders a cubic metre go first; one that does not fit keeps its orders.
    """
    bought, room = purchases_NT.copy(), room_T.astype(np.float64).copy()
    periods = bought.shape[1]
    for i in np.argsort(volume_N * purchases_NT.sum(1), kind="stable"):
        n = int(cycle_N[i])
        if n <= 1:
            continue
        moved = np.zeros(periods)
        for start in range(0, periods, n):
            moved[start] = bought[i, start : start + n].sum()
        early = volume_N[i] * (moved.cumsum() - bought[i].cumsum())  # m³ that lie there longer
        if (early <= room).all():
            bought[i] = moved
            room -= early
    return bought
