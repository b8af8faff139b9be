"""What the forecasts of a SKU at a site say about any stretch of time: expected demand, its quantiles, how long stock lasts.

In: `Forecast`s of one SKU at one site. Out: an `Outlook`. The arithmetic in words, with an example: docs/stock-watch.md.

A period's demand comes evenly through it, and periods err independently of each other: over a part f of a period the mean
is f times the period's, and the squared distance of a quantile from the mean is f times the period's; both add up over
periods. Before the first period, behind the last, and in a hole between two, demand is as on the average of those told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inventorybot.domain.days import DAY_MS, WEEK_MS
from inventorybot.domain.demand import LEVELS
from inventorybot.domain.forecast import Forecast

"""How long a period is taken to be where a single one is told."""
MONTHS_DIFFER = 1.2
"""A period that is longer than the shortest by more has a hole behind it; months differ by 31 to 28."""
MOST_DAYS = 3650.0
"""Cover of ten years or more is told as ten years: beyond that it says nothing."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Demand of a SKU at a site over time.

    Args:
        edges: (E,) where one rate gives way to another, ms: begins of periods, begins of holes, the end of the last.
        rate: (E + 1,) expected units a ms before the first edge, between two, behind the last.
        spread: (E + 1, 5) signed squared distance of each quantile (LEVELS) from the mean, units² a ms.
        model: who made the newest of the forecasts. made_at: when, ms.
    """

    edges: NDArray[np.float64]
    rate: NDArray[np.float64]
    spread: NDArray[np.float64]
    model: str
    made_at: int

    @classmethod
    def of(cls, forecasts: Sequence[Forecast]) -> Outlook:
        """Args: forecasts: of one SKU at one site, at least one, one a period, in any order."""
        told = sorted(forecasts, key=lambda x: x.period)
        begins = np.array([x.period for x in told], float)
        gaps = np.diff(begins) if len(told) > 1 else np.array([WEEK_MS], float)
        lengths = np.where(gaps > MONTHS_DIFFER * gaps.min(), gaps.min(), gaps)
        lengths = lengths if len(told) == 1 else np.append(lengths, lengths[-1])  # (P,)
        mean = np.array([x.mean for x in told])
        off = np.array([x.quantiles for x in told]) - mean[:, None]  # (P, 5)
        known = np.column_stack([mean, off * np.abs(off)])  # (P, 6)
        usual, rates = known.sum(axis=0) / lengths.sum(), known / lengths[:, None]
        edges, rows = [], [usual]
        for begin, end, following, rate in zip(begins, begins + lengths, [*begins[1:], np.inf], rates, strict=True):
            edges.append(begin)
            rows.append(rate)
            if end < following:  # a hole, or the end
                edges.append(end)
                rows.append(usual)
        table, newest = np.array(rows), max(told, key=lambda x: x.made_at)
        return cls(np.array(edges), table[:, 0].copy(), table[:, 1:].copy(), newest.model, newest.made_at)

    def demand(self, since: int, until: int) -> tuple[float, tuple[float, ...]]:
        """Expected units in a stretch of time, ms, and their quantiles at LEVELS, never falling nor below 0."""
        shares = self._shares(since, until)
        mean, squared = float(shares @ self.rate), shares @ self.spread
        told = mean + np.sign(squared) * np.sqrt(np.abs(squared))
        return mean, tuple(np.maximum.accumulate(np.maximum(told, 0.0)).tolist())

    def days_of_cover(self, units: int, now: int) -> float:
        """Days from `now` until expected demand has used up `units`; 0 where there are none, at most MOST_DAYS."""
        if units <= 0:
            return 0.0
        end = now + MOST_DAYS * DAY_MS
        knots = np.concatenate([[now], self.edges[(self.edges > now) & (self.edges < end)], [end]])
        spent = np.concatenate([[0.0], np.cumsum([self._shares(a, b) @ self.rate for a, b in pairwise(knots)])])
        if spent[-1] <= units:
            return MOST_DAYS
        k = int(np.searchsorted(spent, units, side="left"))
        gone = knots[k - 1] + (knots[k] - knots[k - 1]) * (units - spent[k - 1]) / (spent[k] - spent[k - 1])
        return float((gone - now) / DAY_MS)

    def _shares(self, since: float, until: float) -> NDArray[np.float64]:
        """(E + 1,) ms of [since, until) before the first edge, between two, behind the last."""
        cut = np.clip(self.edges, since, until)
        return np.concatenate([[cut[0] - since], np.diff(cut), [until - cut[-1]]])


def probability_of(units: float, quantiles: Sequence[float]) -> float:
    """The probability that demand reaches `units`, above 0, given its quantiles at LEVELS.

    Between two quantiles, and between 0 and the first, it is read off a straight line. Behind the last it falls off as it
    did between the last two.
    """
    if quantiles[-1] < units:
        drop = quantiles[-1] - quantiles[-2]
        pace = math.log((1 - LEVELS[-2]) / (1 - LEVELS[-1]))
        return 0.0 if drop <= 0 else (1 - LEVELS[-1]) * math.exp(-pace * (units - quantiles[-1]) / drop)
    low, below = 0.0, 0.0
    for level, q in zip(LEVELS, quantiles, strict=True):
        if q >= units:
            return 1 - (below + (level - below) * (units - low) / (q - low))
        low, below = q, level
    raise AssertionError("the last quantile is not below the units")
