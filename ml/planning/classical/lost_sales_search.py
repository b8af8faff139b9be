"""A policy for lost sales of the kind asked for, its best parameters, and what it costs.

In: `LostSales`, and a kind of policy. Out: `Answer`: the policy, its average cost, exact or simulated with its interval.

Parameters are found on simulated costs with common random numbers (every candidate meets the same demand), coarse to fine, and
then improved one unit at a time on exact costs where the chain of states is small enough to be exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from inventorybot.errors import SetupError
from ml.planning.classical.demand import Floats
from ml.planning.classical.lost_sales import BaseStock, CappedBaseStock, Ints, LostSales, Myopic, Policy
from ml.planning.classical.lost_sales_chain import Chain, TooManyStates, evaluate
from ml.planning.classical.lost_sales_kinds import Kind
from ml.planning.classical.lost_sales_optimal import feasible, optimal

Z95 = 1.959964
"""Two-sided 95 % of the normal distribution: path averages are means of thousands of periods."""

SEARCH_PATHS, SEARCH_PERIODS, SEARCH_WARMUP = 100, 600, 60
FINAL_PATHS, FINAL_PERIODS, FINAL_WARMUP = 1_000, 4_000, 400
SLOW_PATHS, SLOW_PERIODS = 250, 1_600  # of a policy that computes a distribution for every order

MOST_ON_HAND = 2_000
"""Units; the myopic policy's table of leftovers is their square, and is multiplied by every state of every period."""

NO_CAP = 1 << 40
"""An order no base-stock level reaches."""

Tick = Callable[[str, float], None]
"""Told what is being done, and how much of it is done (0 .. 1)."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A policy and its price.

    Attributes:
        kind: of the policy; never `best`.
        policy: what to order; its attributes are its parameters.
        cost: average cost a period.
        low, high: exact: both the cost, or the two proven bounds; simulated: the 95 % interval.
        exact: whether the cost is computed, not simulated.
        lower_bound: no policy whatever costs less; None where it is not known.
        chain: every state and order, where it was set up.
    """

    kind: Kind
    policy: Policy
    cost: float
    low: float
    high: float
    exact: bool
    lower_bound: float | None = None
    chain: Chain | None = field(default=None, repr=False)


def find(item: LostSales, kind: Kind = Kind.BEST, *, seed: int = 1, tick: Tick = lambda what, done: None) -> Answer:
    """The best policy of a kind, and its average cost a period.

    Args:
        item: see lost_sales.
        kind: see `Kind`.
        seed: of the simulated demand.
        tick: for a progress bar.
    Raises: SetupError: the optimal or the myopic policy is asked for and its tables would be too large.
    """
    if kind is Kind.OPTIMAL or (kind is Kind.BEST and feasible(item)):
        return _optimal(item, tick)
    if kind is Kind.BASE_STOCK:
        return _base_stock(item, seed, tick)
    if kind is Kind.CAPPED:
        return _capped(item, seed, tick)
    if kind is Kind.MYOPIC:
        if item.ceilings[-1] > MOST_ON_HAND:
            raise SetupError(f"{item.demand.name} is too large for the myopic policy's tables: ask for --policy capped")
        return _priced(item, kind, Myopic(item), seed, tick)
    return min((_capped(item, seed, tick), _base_stock(item, seed, tick)), key=lambda answer: answer.cost)


def simulate(
    item: LostSales,
    policy: Policy,
    *,
    seed: int,
    paths: int,
    periods: int,
    warmup: int,
    tick: Tick = lambda what, done: None,
) -> Floats:
    """Average cost a period of each of many independent paths, shape (paths,); the same seed draws the same demand.

    Args:
        item, policy: see lost_sales.
        seed, paths: of demand.
        periods: that count, each after `warmup` more that do not; every path starts empty.
        tick: for a progress bar.
    """
    rng = np.random.default_rng(seed)
    state_NL = np.zeros((paths, item.lead_time), dtype=np.int64)
    cost_N = np.zeros(paths)
    for period in range(warmup + periods):
        orders_N = policy.orders(state_NL)
        gap_N = state_NL[:, 0] - item.demand.sample(rng, (paths,))
        if period >= warmup:
            cost_N += np.where(gap_N > 0, item.holding * gap_N, -item.penalty * gap_N)
        state_NL = np.column_stack([state_NL[:, 1:], orders_N])
        state_NL[:, 0] += np.maximum(gap_N, 0)
        if period % 100 == 0:
            tick("simulating", period / (warmup + periods))
    return cost_N / periods


def _optimal(item: LostSales, tick: Tick) -> Answer:
    first: list[float] = []

    def closing(gap: float) -> None:
        first.append(gap)
        tick("closing the bounds", 1 - max(0.0, np.log(max(gap, 1e-7) / 1e-7)) / np.log(max(first[0], 1e-6) / 1e-7))

    found = optimal(item, tick=closing)
    try:
        chain = evaluate(item, found.policy, tick=lambda: tick("closing the bounds", 1.0))
    except TooManyStates:
        return Answer(Kind.OPTIMAL, found.policy, found.upper, found.lower, found.upper, True, found.lower)
    return Answer(Kind.OPTIMAL, found.policy, chain.cost, chain.cost, chain.cost, True, found.lower, chain)


def _priced(item: LostSales, kind: Kind, policy: Policy, seed: int, tick: Tick) -> Answer:
    """Its cost: exact if it can be, else simulated with demand that no search has seen."""
    try:
        chain = evaluate(item, policy, tick=lambda: tick("its exact cost", 0.5))
        return Answer(kind, policy, chain.cost, chain.cost, chain.cost, True, None, chain)
    except TooManyStates:
        slow = isinstance(policy, Myopic)
        paths, periods = (SLOW_PATHS, SLOW_PERIODS) if slow else (FINAL_PATHS, FINAL_PERIODS)
        cost_N = simulate(item, policy, seed=seed + 1, paths=paths, periods=periods, warmup=FINAL_WARMUP, tick=tick)
        mean, half = float(cost_N.mean()), Z95 * float(cost_N.std(ddof=1)) / paths**0.5
        return Answer(kind, policy, mean, mean - half, mean + half, False)


def _base_stock(item: LostSales, seed: int, tick: Tick) -> Answer:
    high = item.ceilings[-1]
    level, _ = _zoom(item, (0, high), (NO_CAP, NO_CAP), seed, tick)
    improved = _improve(item, lambda at: BaseStock(at[0]), (level,), tick)
    return _priced(item, Kind.BASE_STOCK, BaseStock(improved[0]), seed, tick)


def _capped(item: LostSales, seed: int, tick: Tick) -> Answer:
    high = int(1.5 * item.ceilings[-1]) + 5  # above S of plain base stock, where the cap alone decides
    lowest = int(item.demand.mean * 0.8)
    level, cap = _zoom(item, (0, high), (lowest, max(item.ceilings[0] + 2, lowest + 2)), seed, tick)
    improved = _improve(item, lambda at: CappedBaseStock(*at), (level, cap), tick)
    return _priced(item, Kind.CAPPED, CappedBaseStock(*improved), seed, tick)


def _zoom(
    item: LostSales, levels: tuple[int, int], caps: tuple[int, int], seed: int, tick: Tick, points: int = 13
) -> tuple[int, int]:
    """Level and cap of least simulated cost: a grid over both ranges, then finer ones around the best until steps are 1."""
    while True:
        level_axis = np.unique(np.linspace(*levels, points).round().astype(np.int64))
        cap_axis = np.unique(np.linspace(*caps, points).round().astype(np.int64))
        level_C, cap_C = (axis.ravel() for axis in np.meshgrid(level_axis, cap_axis))
        best = int(np.argmin(_grid_cost(item, level_C, cap_C, seed, tick)))
        steps = [int(np.diff(axis).max()) if axis.size > 1 else 1 for axis in (level_axis, cap_axis)]
        level, cap = int(level_C[best]), int(cap_C[best])
        if max(steps) <= 1:
            return level, cap
        levels = max(level - steps[0], 0), level + steps[0]
        caps = (cap, cap) if cap == NO_CAP else (max(cap - steps[1], 0), cap + steps[1])


def _grid_cost(item: LostSales, level_C: Ints, cap_C: Ints, seed: int, tick: Tick) -> Floats:
    """Average cost of each candidate, all on the same demand, shape (C,)."""
    rng = np.random.default_rng(seed)
    pipeline = [np.zeros((level_C.size, SEARCH_PATHS), dtype=np.int64) for _ in range(item.lead_time)]
    position = np.zeros((level_C.size, SEARCH_PATHS), dtype=np.int64)
    cost_C = np.zeros(level_C.size)
    for period in range(SEARCH_WARMUP + SEARCH_PERIODS):
        order = np.clip(level_C[:, None] - position, 0, cap_C[:, None])
        gap = pipeline[0] - item.demand.sample(rng, (SEARCH_PATHS,))
        left = np.maximum(gap, 0)
        position += order - pipeline[0] + left
        if period >= SEARCH_WARMUP:
            cost_C += item.holding * left.mean(axis=1) + item.penalty * (left - gap).mean(axis=1)
        pipeline = [*pipeline[1:], order]
        pipeline[0] = pipeline[0] + left
        if period % 50 == 0:
            tick("searching", period / (SEARCH_WARMUP + SEARCH_PERIODS))
    return cost_C / SEARCH_PERIODS


def _improve(
    item: LostSales, policy: Callable[[tuple[int, ...]], Policy], start: tuple[int, ...], tick: Tick
) -> tuple[int, ...]:
    """Parameters none of whose neighbours by one unit costs less, exactly; `start` itself where chains are too large."""
    known: dict[tuple[int, ...], float] = {}

    def cost(at: tuple[int, ...]) -> float:
        if at not in known:
            tick("improving", 0.5)
            known[at] = evaluate(item, policy(at), tolerance=1e-9).cost if min(at) >= 0 else np.inf
        return known[at]

    here = start
    try:
        while True:
            near = [tuple(np.add(here, step)) for step in np.ndindex(*(3,) * len(here))]
            best = min((tuple(int(v) - 1 for v in at) for at in near), key=cost)
            if cost(best) >= cost(here):
                return here
            here = best
    except TooManyStates:
        return start
