"""What a policy for lost sales costs, exactly: the stationary distribution of the Markov chain it makes.

In: `LostSales` and a policy. Out: `Chain`: every state it visits from the empty one, its order there, and the average cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml.planning.classical.demand import Floats
from ml.planning.classical.lost_sales import Ints, LostSales, Policy

MOST_STATES = 400_000
"""Largest chain that is set up: about a gigabyte while it is. Beyond it a policy is simulated."""

MOST_TRANSITIONS = 12_000_000
"""Of them; a state has as many as units on hand."""

MOST_STEPS = 20_000
"""Far more than any stable item needs; then the last distribution is as settled as it gets."""


@dataclass(frozen=True, eq=False)
class Chain:
    """A policy's long run.

    Attributes:
        states_NL, orders_N: what it visits, and what it orders there, units.
        share_N: share of periods in each state; sums to 1.
        cost: average cost a period.
        lost, held: average units a period lost, and left after demand.
    """

    states_NL: Ints = field(repr=False)
    orders_N: Ints = field(repr=False)
    share_N: Floats = field(repr=False)
    cost: float
    lost: float
    held: float


class TooManyStates(Exception):
    """The chain is larger than asked for."""


def evaluate(
    item: LostSales,
    policy: Policy,
    *,
    most_states: int = MOST_STATES,
    tolerance: float = 1e-11,
    tick: Callable[[], None] = lambda: None,
) -> Chain:
    """The exact long-run average cost of a policy.

    Args:
        item, policy: see lost_sales.
        most_states: give up beyond so many.
        tolerance: the distribution has settled when a period moves less probability than this.
        tick: called now and then, for a progress bar.
    Raises: TooManyStates.
    """
    states_NL, orders_N = _reachable(item, policy, most_states, tick)
    matrix_NN = _transitions(item, states_NL, orders_N)
    share_N = np.full(len(states_NL), 1.0 / len(states_NL))
    for step in range(MOST_STEPS):
        after_N = matrix_NN @ share_N
        moved = float(np.abs(after_N - share_N).sum())
        share_N = after_N / after_N.sum()
        if moved < tolerance:
            break
        if step % 20 == 0:
            tick()
    on_hand = np.bincount(states_NL[:, 0], weights=share_N)
    left = item.demand.left_over(on_hand.size - 1)
    held = float(on_hand @ left)
    lost = float(on_hand @ (item.demand.mean - np.arange(on_hand.size) + left))
    return Chain(states_NL, orders_N, share_N, item.holding * held + item.penalty * lost, lost, held)


def _powers(item: LostSales) -> tuple[int, Ints]:
    """A state as one number: its places as digits to this base."""
    base = 1 << min(62 // item.lead_time, 31)
    return base, base ** np.arange(item.lead_time, dtype=np.int64)[::-1]


def _follow(states_NL: Ints, orders_N: Ints) -> tuple[Ints, Ints, Ints]:
    """Every possible next state: (index of the state it follows, units left over, the next state), a row each.

    Raises: TooManyStates.
    """
    counts_N = states_NL[:, 0] + 1
    if counts_N.sum() > MOST_TRANSITIONS:
        raise TooManyStates
    source_T = np.repeat(np.arange(len(states_NL)), counts_N)
    left_T = np.arange(int(counts_N.sum())) - np.repeat(np.cumsum(counts_N) - counts_N, counts_N)
    next_TL = np.column_stack([states_NL[:, 1:], orders_N])[source_T]
    next_TL[:, 0] += left_T
    return source_T, left_T, next_TL


def _reachable(item: LostSales, policy: Policy, most: int, tick: Callable[[], None]) -> tuple[Ints, Ints]:
    base, powers_L = _powers(item)
    seen = fresh = np.zeros(1, dtype=np.int64)
    while fresh.size:
        states_NL = (fresh[:, None] // powers_L) % base
        orders_N = policy.orders(states_NL)
        if max(int(orders_N.max()), int(states_NL.sum(axis=1).max())) >= base // 2:
            raise TooManyStates
        _, _, next_TL = _follow(states_NL, orders_N)
        fresh = np.setdiff1d(np.unique(next_TL @ powers_L), seen, assume_unique=True)
        seen = np.union1d(seen, fresh)
        if seen.size > most:
            raise TooManyStates
        tick()
    states_NL = (seen[:, None] // powers_L) % base
    return states_NL, policy.orders(states_NL)


def _transitions(item: LostSales, states_NL: Ints, orders_N: Ints) -> Any:
    """P(next = row | now = column), scipy's sparse matrix, shape (N, N)."""
    from scipy.sparse import csr_matrix

    _, powers_L = _powers(item)
    source_T, left_T, next_TL = _follow(states_NL, orders_N)
    target_T = np.searchsorted(states_NL @ powers_L, next_TL @ powers_L)
    chance_T = item.demand.leaves(int(states_NL[:, 0].max()))[states_NL[source_T, 0], left_T]
    return csr_matrix((chance_T, (target_T, source_T)), shape=(len(states_NL), len(states_NL)))
