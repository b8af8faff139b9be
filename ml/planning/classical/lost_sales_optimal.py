"""The optimal policy for lost sales with a lead time, by relative value iteration over all states it can need.

In: `LostSales`. Out: `Optimum`: a table of orders, and bounds on the optimal average cost that close in on each other.

With V the relative value and (Morton, Zipkin) `ceilings` on the state and the order,

    V'(x) = c(x0) + min over z of E V((x0 - D)+ + x1, x2, ..., x_{L-1}, z),

and min (V' - V) <= optimal average cost <= max (V' - V) at every sweep (Odoni 1969). The expectation is one matrix product a z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from inventorybot.errors import SetupError
from ml.planning.classical.demand import Floats
from ml.planning.classical.lost_sales import Ints, LostSales, TablePolicy

MOST_WORK = 1e10
"""Multiplications a sweep: about a second on one core, a minute in all."""

MOST_TABLE = 2e7
"""Entries of V: 160 MB, and a few times that while sweeping."""

MOST_SWEEPS = 5_000


@dataclass(frozen=True, eq=False)
class Optimum:
    """An optimal policy and the proof.

    Attributes:
        policy: orders over the table of states.
        lower, upper: the optimal average cost a period lies between; the policy costs at most upper.
        sweeps: how many it took.
    """

    policy: TablePolicy
    lower: float
    upper: float
    sweeps: int


def feasible(item: LostSales) -> bool:
    """Whether `optimal` can do it in about a minute and a gigabyte."""
    on_hand, order = item.ceilings[-1] + 1.0, item.ceilings[0] + 1.0
    return on_hand**2 * order**item.lead_time <= MOST_WORK and on_hand * order ** (item.lead_time - 1) <= MOST_TABLE


def optimal(item: LostSales, *, gap: float = 1e-7, tick: Callable[[float], None] = lambda gap: None) -> Optimum:
    """The policy of least average cost.

    Args:
        item: see lost_sales.
        gap: stop when (upper - lower) / lower is at most this.
        tick: called with the gap after every sweep.
    Raises: SetupError: there are too many states (`feasible` says so beforehand).
    """
    if not feasible(item):
        raise SetupError(
            f"{item.demand.name} with lead time {item.lead_time} has too many states for the optimal policy: "
            "ask for --policy capped, which is near it"
        )
    most, inside = _region(item)
    leaves = item.demand.leaves(item.ceilings[-1])
    cost = item.period_cost(item.ceilings[-1]).reshape((-1,) + (1,) * (item.lead_time - 1))
    value = np.zeros(most.shape)
    sweeps, lower, upper, order = 0, 0.0, np.inf, most
    while upper - lower > gap * max(lower, 1e-12) and sweeps < MOST_SWEEPS:
        best, order = _sweep(value, leaves, most)
        after = best + cost
        change = (after - value)[inside]
        lower, upper = float(change.min()), float(change.max())
        value = after - after.flat[0]
        sweeps += 1
        tick((upper - lower) / max(lower, 1e-12))
    return Optimum(TablePolicy(order), lower, upper, sweeps)


def _region(item: LostSales) -> tuple[Ints, NDArray[np.bool_]]:
    """The largest order worth considering in each state, and the states that such orders lead to, each shaped as V."""
    ceilings, places = item.ceilings, item.lead_time
    shape = (ceilings[-1] + 1,) + (ceilings[0] + 1,) * (places - 1)
    most, inside = np.full(shape, ceilings[0]), np.ones(shape, dtype=bool)
    tail = np.zeros(shape, dtype=np.int64)
    for j in reversed(range(places)):
        tail = tail + np.arange(shape[j]).reshape((-1,) + (1,) * (places - 1 - j))
        most = np.minimum(most, ceilings[places - j] - tail)
        inside &= tail <= ceilings[places - j - 1 if j else places]
    return np.maximum(most, 0), inside


def _sweep(value: Floats, leaves: Floats, most: Ints) -> tuple[Floats, Ints]:
    """min over z of E V(next), and the smallest z that attains it, each shaped as V."""
    size, top = len(leaves), int(most.max())
    padded = np.concatenate([value, np.repeat(value[-1:], top, axis=0)])
    best, order = np.full(value.shape, np.inf), np.zeros(value.shape, dtype=np.int64)
    for z in range(top + 1):
        if value.ndim == 1:
            cost = leaves @ padded[z : z + size]
        else:
            ahead = np.moveaxis(sliding_window_view(padded[..., z], size, axis=0), -1, 0)  # left over, x1, x2 ...
            cost = (leaves @ ahead.reshape(size, -1)).reshape(value.shape)
        better = (cost < best) & (z <= most)
        best[better] = cost[better]
        order[better] = z
    return best, order
