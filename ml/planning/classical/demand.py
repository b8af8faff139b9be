"""Demand of one period as a probability mass function, for every model of this folder that counts units.

In: `poisson:5` and its like, or any probabilities. Out: `Demand`, its lead-time sums, and the two expectations that inventory
theory is made of: units left over, and units short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inventorybot.errors import BadEvent, Code

Floats = NDArray[np.float64]

TAIL = 1e-15
"""Probability beyond the last stored value; far below what any cost here is stated to."""

MOST_MEAN = 10_000.0
"""Largest mean demand a period; above it a normal model is as good and quicker."""


@dataclass(frozen=True, eq=False)
class Demand:
    """Units demanded in one period, independent from period to period.

    Attributes:
        pmf: P(D = k) for k = 0 .. K; sums to 1 within 1e-9.
        name: how it was asked for, e.g. `poisson:5`.
    Raises: BadEvent: a probability is negative or not finite, or they do not sum to 1.
    """

    pmf: Floats
    name: str = "given"

    def __post_init__(self) -> None:
        p = self.pmf
        if p.ndim != 1 or p.size == 0 or not np.all(np.isfinite(p)) or p.min() < 0 or abs(p.sum() - 1) > 1e-9:
            raise BadEvent(Code.OUT_OF_RANGE, "/demand", "probabilities must be a row of numbers >= 0 that sum to 1")

    @property
    def mean(self) -> float:
        """E[D], units a period."""
        return float(self.pmf @ np.arange(self.pmf.size))

    @property
    def variance(self) -> float:
        """Var[D], units squared a period."""
        return float(self.pmf @ (np.arange(self.pmf.size) - self.mean) ** 2)

    def cdf(self, most: int) -> Floats:
        """P(D <= k) for k = 0 .. most, shape (most + 1,)."""
        full = np.minimum(np.cumsum(self.pmf), 1.0)
        return np.concatenate([full, np.ones(max(0, most + 1 - full.size))])[: most + 1]

    def quantile(self, probability: float) -> int:
        """The smallest k with P(D <= k) >= probability, units."""
        return int(np.searchsorted(np.cumsum(self.pmf), probability - 1e-12))

    def over(self, periods: int) -> Demand:
        """Demand summed over so many periods, >= 0 (0: none, for certain)."""
        total = np.ones(1)
        for _ in range(periods):
            total = np.convolve(total, self.pmf)
        return Demand(total, f"{self.name} over {periods}")

    def left_over(self, most: int) -> Floats:
        """E[(x - D)+] for x = 0 .. most, units, shape (most + 1,); E[(D - x)+] is mean - x + this."""
        return np.concatenate([[0.0], np.cumsum(self.cdf(most))[:-1]])

    def leaves(self, most: int) -> Floats:
        """P((x - D)+ = y), row x = 0 .. most, column y = 0 .. most, shape (most + 1, most + 1)."""
        p = np.concatenate([self.pmf, np.zeros(max(0, most + 1 - self.pmf.size))])
        x, y = np.indices((most + 1, most + 1))
        chance = np.where(y <= x, p[np.maximum(x - y, 0)], 0.0)
        chance[:, 0] = 0.0
        chance[:, 0] = 1.0 - chance.sum(axis=1)
        return np.asarray(chance)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Independent draws, units."""
        return np.searchsorted(np.cumsum(self.pmf) / self.pmf.sum(), rng.random(shape), side="right").astype(np.int64)


@lru_cache(maxsize=64)
def poisson(mean: float) -> Demand:
    """Poisson demand: P(D = k) = exp(-mean) mean^k / k!, mean in units a period, 0 < mean <= 10,000."""
    _check_mean(mean)
    most = int(mean + 9 * math.sqrt(mean) + 20)
    k = np.arange(most + 1)
    logs = k * math.log(mean) - mean - np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
    return _trimmed(np.exp(logs), f"poisson:{mean:g}")


@lru_cache(maxsize=64)
def geometric(mean: float) -> Demand:
    """Geometric demand from 0: P(D = k) = (1 - q) q^k with q = mean / (1 + mean), 0 < mean <= 10,000 units a period."""
    _check_mean(mean)
    q = mean / (1 + mean)
    most = math.ceil(math.log(TAIL) / math.log(q))
    return _trimmed(np.asarray((1 - q) * q ** np.arange(most + 1), dtype=np.float64), f"geometric:{mean:g}")


def parse(text: str) -> Demand:
    """`poisson:MEAN`, `geometric:MEAN`, or `pmf:P0,P1,...` to a Demand.

    Raises: BadEvent: it is none of these, or a number is out of range.
    """
    kind, _, rest = text.partition(":")
    try:
        if kind == "poisson":
            return poisson(float(rest))
        if kind == "geometric":
            return geometric(float(rest))
        if kind == "pmf":
            return Demand(np.array([float(p) for p in rest.split(",")]), text)
    except ValueError:
        pass
    raise BadEvent(Code.OUT_OF_RANGE, "/demand", f"{text!r} is not poisson:MEAN, geometric:MEAN or pmf:P0,P1,...")


def _check_mean(mean: float) -> None:
    if not 0 < mean <= MOST_MEAN:
        raise BadEvent(Code.OUT_OF_RANGE, "/demand", f"mean {mean:g} is not above 0 and at most {MOST_MEAN:,.0f}")


def _trimmed(p: Floats, name: str) -> Demand:
    p = p / p.sum()
    return Demand(p[: int(np.searchsorted(np.cumsum(p), 1 - TAIL)) + 1], name)
