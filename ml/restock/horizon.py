"""Demand until any day ahead, as a distribution: periods convolved, a lead time that is itself uncertain mixed over.

In: forecasts of the periods ahead, one item; days ahead with their probabilities. Out: `Total`, a discrete distribution.

**Periods depend on each other** by a normal copula with one common factor: the demand of period t is at the level
Phi(sqrt(r) z + sqrt(1 - r) e_t) of its own distribution, with z shared by all periods and e_t its own, both standard normal.
Given z the periods are independent, and their sum is an exact discrete convolution; that is averaged over z by
Gauss-Hermite quadrature. r = 0 is independence; each period keeps its own distribution for any r.
**A part of a period** has its units thinned: each falls into the part with the part's share of the days, on its own.
Source: one-factor copula, Vasicek 1987 (as for sums of dependent losses); thinning, Feller 1968, section XII.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import gammaln, ndtr, ndtri

from inventorybot.errors import BadEvent, Code
from ml.planning.classical.demand import Demand
from ml.restock.curves import Floats, atoms, whole

POINTS = 4096
"""Steps that a sum may have. Up to as many units the sum is exact to the unit; above, to 1/4096 of the largest sum."""
THIN_POINTS = 256
"""Steps in which a part of a period is thinned; larger periods are first gathered into as many."""
MOST_DEPENDENCE = 0.7
"""Above it the quadrature no longer keeps the periods' own distributions to 0.1 % in the tail (measured)."""
NODES = 9
"""Of the quadrature: marginal tails to 0.06 % at r = 0.5; 15 above that."""
NOISE = 1e-13
"""What a transform and back leaves where there is nothing."""


@dataclass(frozen=True)
class Total:
    """Units that will be asked for. Args: steps: demand in steps. step: units a step; 1 but for the largest movers."""

    steps: Demand
    step: int

    @property
    def mean(self) -> float:
        """Units."""
        return self.steps.mean * self.step

    def quantile(self, level: float) -> int:
        """The smallest number of units that suffices with probability `level`."""
        return self.steps.quantile(level) * self.step

    def over(self, units: int) -> float:
        """P(D > units)."""
        if units < 0:
            return 1.0
        return float(max(0.0, 1 - self.steps.pmf[: units // self.step + 1].sum()))

    def short(self, most: int) -> Floats:
        """E[(D - y)+] at y = 0, step, 2 step … up to `most` units and beyond by less than a step; units."""
        n = -(-most // self.step)
        return self.step * (self.steps.mean - np.arange(n + 1) + self.steps.left_over(n))


class Horizon:
    """Demand of one item at one site.

    Args:
        edges: (P + 1,) days from now at which the periods begin, and the last one ends; rising. Begun before now: below 0.
        mean: (P,); quantiles: (P, 5), units a period.
        reach: no later day will be asked for; days.
        dependence: r, 0 to MOST_DEPENDENCE.
    Attributes: beyond: days up to `reach` that no period covers; the nearest period stands for them.
    Raises: BadEvent: r is out of range, there is no period, or `reach` is over twice what the periods cover.
    """

    def __init__(self, edges: Floats, mean: Floats, quantiles: Floats, reach: float, dependence: float = 0.0) -> None:
        if not 0 <= dependence <= MOST_DEPENDENCE:
            said = f"dependence must be 0 to {MOST_DEPENDENCE}, not {dependence:g}"
            raise BadEvent(Code.OUT_OF_RANGE, "/dependence", said)
        self._edges, rows, self.beyond = _stretched(np.asarray(edges, np.float64), reach)
        x_PJ = atoms(np.asarray(mean)[rows], np.asarray(quantiles)[rows])
        largest = math.ceil(float(x_PJ[:, -1].sum()))
        self.step = max(1, -(-largest // POINTS))
        size = math.ceil(float(x_PJ[:, -1].max(initial=0.0)) / self.step) + 2
        self._length = next_fast_len(-(-largest // self.step) + 2 * len(rows) + 1, real=True)
        self._weights, self._pmfs = conditional(whole(x_PJ, self.step, size), dependence)  # (K,), (P, K, size)
        self._known: dict[tuple[int, float], NDComplex] = {}
        self._until: dict[int, NDComplex] = {0: np.ones((len(self._weights), self._length // 2 + 1), complex)}

    def total(self, days: Mapping[float, float]) -> Total:
        """Demand from now until one of several days ahead. Args: days: probability of each, summing to 1."""
        found = np.zeros(self._length // 2 + 1, complex)
        for day, probability in days.items():
            found += probability * (self._weights @ self._transform(day))
        pmf = irfft(found, self._length)
        pmf[pmf < NOISE] = 0.0
        used = int(np.flatnonzero(pmf)[-1]) + 1
        return Total(Demand(pmf[:used] / pmf[:used].sum(), "ahead"), self.step)

    def _transform(self, day: float) -> NDComplex:
        """Of the demand until a day, for each value of the common factor; (K, F)."""
        first, last = self._edges[:-1], self._edges[1:]
        share = (np.minimum(last, day) - np.maximum(first, 0.0)) / (last - first)
        found = self._until[0]
        for t in np.flatnonzero(share > 1e-6):
            found = found * self._part(int(t), min(1.0, float(share[t])))
        return found

    def _part(self, t: int, share: float) -> NDComplex:
        """Of a share of period t; (K, F)."""
        key = (t, round(share, 6))
        if key not in self._known:
            pmf = self._pmfs[t] if key[1] >= 1 else thinned(self._pmfs[t], key[1])
            self._known[key] = rfft(pmf, self._length, axis=1)
        return self._known[key]


NDComplex = np.ndarray[tuple[int, ...], np.dtype[np.complex128]]


def conditional(pmf_PN: Floats, dependence: float) -> tuple[Floats, Floats]:
    """Each period's distribution given the common factor.

    Returns: (K,) weights of the factor's values; (P, K, N) probabilities, which average to `pmf_PN` over the factor.
    """
    if dependence == 0:
        return np.ones(1), pmf_PN[:, None, :]
    z, weights = _nodes(NODES if dependence <= 0.5 else 15)
    level = ndtri(np.clip(np.cumsum(pmf_PN, axis=1), 0.0, 1.0))[:, None, :]
    moved = ndtr((level - math.sqrt(dependence) * z[:, None]) / math.sqrt(1 - dependence))
    moved[:, :, -1] = 1.0
    return weights, np.diff(moved, axis=2, prepend=0.0)


def thinned(pmf_KN: Floats, share: float) -> Floats:
    """Of units that each fall into a part of the period on their own; (K, N). Args: share: of the part, 0 to 1."""
    n = pmf_KN.shape[1]
    gather = -(-n // THIN_POINTS)
    coarse = pmf_KN if gather == 1 else _gathered(pmf_KN, gather)
    points = coarse.shape[1]
    fine = coarse @ _chances(share)[:points, :points]
    if gather == 1:
        return fine
    out = np.zeros((len(pmf_KN), coarse.shape[1] * gather))
    out[:, ::gather] = fine
    return out


def _gathered(pmf_KN: Floats, gather: int) -> Floats:
    """On every `gather`-th point, means kept; (K, ceil(N / gather) + 1)."""
    at = np.arange(pmf_KN.shape[1])
    below, share = at // gather, (at % gather) / gather
    out = np.zeros((int(below[-1]) + 2, len(pmf_KN)))
    np.add.at(out, below, (pmf_KN * (1 - share)).T)
    np.add.at(out, below + 1, (pmf_KN * share).T)
    return out.T


@lru_cache(maxsize=64)
def _chances(share: float) -> Floats:
    """P(k of n fall into the part), row n, column k; (THIN_POINTS + 1, THIN_POINTS + 1). Args: share: above 0, below 1."""
    n = np.arange(THIN_POINTS + 1)[:, None]
    k = np.arange(THIN_POINTS + 1)[None, :]
    rest = np.maximum(n - k, 0)
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(rest + 1)
    return np.where(k <= n, np.exp(ways + k * math.log(share) + rest * math.log1p(-share)), 0.0)


@lru_cache(maxsize=2)
def _nodes(count: int) -> tuple[Floats, Floats]:
    """Values of the common factor and their weights, which sum to 1; (count,) each."""
    z, weights = np.polynomial.hermite_e.hermegauss(count)
    return z, weights / weights.sum()


def _stretched(edges: Floats, reach: float) -> tuple[Floats, Sequence[int], float]:
    """Periods without gap from now to `reach`, which forecast stands for each, and how many days had none of their own."""
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise BadEvent(Code.OUT_OF_RANGE, "/periods", "there is no forecast of a period that ends after now")
    covered = float(edges[-1] - max(edges[0], 0.0))
    missing = max(0.0, min(float(edges[0]), reach)) + max(0.0, reach - float(edges[-1]))
    if missing > covered:
        said = f"forecasts cover {covered:.0f} of the {reach:.0f} days of lead time, review and shelf life: load more periods"
        raise BadEvent(Code.OUT_OF_RANGE, "/periods", said)
    rows = list(range(len(edges) - 1))
    while edges[0] > 0:
        edges, rows = np.insert(edges, 0, 2 * edges[0] - edges[1]), [0, *rows]
    while edges[-1] < reach:
        edges, rows = np.append(edges, 2 * edges[-1] - edges[-2]), [*rows, rows[-1]]
    kept = int(np.searchsorted(edges, reach - 1e-9)) if reach > 0 else 1
    return edges[: max(kept, 1) + 1], rows[: max(kept, 1)], missing
