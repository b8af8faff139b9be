"""Policies on demand that came: what was served and lost, held, thrown away and ordered.

In: demand by series and period, lead times drawn once for all policies, levels as each policy has them at each review.
Out: `Tally`, sums by series. In each period: goods arrive, then (at a review) an order is placed, then demand comes; what
is not there is lost. The oldest units are sold first; what has reached its shelf life at a period's end is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.restock.policy import Levels

Ints = NDArray[np.int64]
SUMS = ("demand", "lost", "held", "wasted", "ordered", "orders", "out", "periods")


@dataclass
class Tally:
    """Sums by series over the scored periods, each (N,).

    Attributes: demand, lost, wasted, ordered: units. held: units at a period's end, summed over periods. orders: their number.
        out: periods in which units were lost. periods: scored.
    """

    n: int
    sums: dict[str, Ints] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sums = {name: np.zeros(self.n, np.int64) for name in SUMS}

    def add(self, **more: Ints | int) -> None:
        """Add a period's figures."""
        for name, values in more.items():
            self.sums[name] += values


class Store:
    """The stock of N series under one policy.

    Args:
        on_hand: (N,), units, fresh. horizon: periods that will be simulated. shelf: periods that a unit keeps; None: for ever.
    """

    def __init__(self, on_hand: Ints, horizon: int, longest: int, shelf: int | None) -> None:
        self._shelf = shelf
        self._stock = np.zeros((len(on_hand), shelf or 1), np.int64)  # oldest first
        self._stock[:, -1] = on_hand
        self._due = np.zeros((len(on_hand), horizon + longest + 1), np.int64)
        self.tally = Tally(len(on_hand))
        self.last_lost = self.last_held = 0
        """Units lost in the last period, and held at its end, all series."""

    def arrive(self, t: int) -> None:
        """What is due comes in."""
        self._stock[:, -1] += self._due[:, t]

    def position(self, t: int) -> Ints:
        """On hand and on order, units; (N,)."""
        return np.asarray(self._stock.sum(axis=1) + self._due[:, t + 1 :].sum(axis=1))

    def order(self, t: int, quantity: Ints, lead: Ints, *, scored: bool) -> None:
        """Place orders. Args: quantity: (N,), units; lead: (N,), periods, >= 0: 0 arrives at once."""
        now = lead == 0
        self._stock[:, -1] += np.where(now, quantity, 0)
        rows = np.flatnonzero(~now & (quantity > 0))
        self._due[rows, t + lead[rows]] += quantity[rows]
        if scored:
            self.tally.add(ordered=quantity, orders=(quantity > 0).astype(np.int64))

    def serve(self, demand: Ints, *, scored: bool) -> None:
        """Demand comes, then the period ends. Args: demand: (N,), units."""
        before = np.cumsum(self._stock, axis=1) - self._stock
        taken = np.clip(demand[:, None] - before, 0, self._stock)
        self._stock -= taken
        lost = demand - taken.sum(axis=1)
        wasted = np.zeros_like(lost)
        if self._shelf is not None:
            wasted = self._stock[:, 0].copy()
            self._stock[:, :-1] = self._stock[:, 1:].copy()
            self._stock[:, -1] = 0
        self.last_lost, self.last_held = int(lost.sum()), int(self._stock.sum())
        if scored:
            self.tally.add(
                demand=demand, lost=lost, held=self._stock.sum(axis=1), wasted=wasted, out=(lost > 0).astype(np.int64), periods=1
            )  # fmt: skip


def quantities(levels: Sequence[Levels], position: Ints) -> Ints:
    """What each series orders; (N,), units. Args: position: (N,)."""
    return np.array([x.quantity(int(p))[1] for x, p in zip(levels, position, strict=True)], np.int64)
