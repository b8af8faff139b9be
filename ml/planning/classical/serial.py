"""Serial systems: stages in a line, each with a lead time and an echelon base-stock level, solved exactly.

In: `SerialSystem`. Out: `SerialPolicy`: optimal echelon levels and the average cost; or the cost of levels that are given.

Stages are numbered from the customer: stage 1 meets demand, the last one buys from an unlimited source. With echelon holding
cost h_j, D_j the demand over lead time L_j, penalty p a unit backordered a period, and x- = max(-x, 0),

    C_0(x) = (p + h_1 + ... + h_N) x-,      G_j(y) = E[h_j (y - D_j) + C_{j-1}(y - D_j)],
    S_j = argmin G_j,                        C_j(x) = G_j(min(S_j, x)),        optimal cost = G_N(S_N).

Stage j's cost is that of the stock after L_j periods of demand: continuous review; in periodic review where stage 1 is charged
after the demand of its period, its L_1 is one period longer. Stock in transit belongs to the stage it left.
Source: Clark & Scarf (1960); Chen & Zheng (1994); Snyder & Shen (2019), Fundamentals of Supply Chain Theory, section 6.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ml.planning.classical._limits import not_negative, positive, refuse
from ml.planning.classical.demand import Demand, Floats, poisson

TAILS = 8.0
"""Standard deviations of lead-time demand that are kept; P(beyond) < 1e-15."""

FINEST = 24
"""Grid points a standard deviation of the shortest lead time: costs are then right to about 1e-6, levels to 1e-3 of it."""

MOST_POINTS = 400_000
"""Of a grid: lead times further apart than this allows are refused."""


@dataclass(frozen=True)
class NormalDemand:
    """Demand whose sum over t periods is normal: mean t * mean, variance t * deviation^2 (units, a period)."""

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        not_negative(mean=self.mean)
        positive(deviation=self.deviation)


@dataclass(frozen=True)
class PoissonDemand:
    """Demand that comes one unit at a time, `mean` units a period on average; lead times may be any fraction."""

    mean: float

    def __post_init__(self) -> None:
        positive(mean=self.mean)


@dataclass(frozen=True)
class SerialSystem:
    """N stages in a line; every tuple begins at the customer.

    Attributes:
        echelon_holding: h_j, cost a unit a period of what stage j adds in value, > 0. Local cost of stage j is h_j + ... + h_N.
        lead_times: L_j, periods from stage j + 1 to stage j, >= 0; whole periods where demand is a `Demand`.
        penalty: p, cost a unit backordered at stage 1 a period, > 0.
        demand: at stage 1.
    Raises: BadEvent: lengths differ, or a number is out of range.
    """

    echelon_holding: tuple[float, ...]
    lead_times: tuple[float, ...]
    penalty: float
    demand: NormalDemand | PoissonDemand | Demand

    def __post_init__(self) -> None:
        positive(penalty=self.penalty)
        if not 1 <= len(self.echelon_holding) == len(self.lead_times) <= 100:
            raise refuse("lead_times", "there must be 1 to 100 stages, each with one holding cost and one lead time")
        for stage, (holding, lead_time) in enumerate(zip(self.echelon_holding, self.lead_times, strict=True), 1):
            positive(**{f"echelon_holding/{stage}": holding})
            not_negative(**{f"lead_times/{stage}": lead_time})
            if isinstance(self.demand, Demand) and lead_time != int(lead_time):
                raise refuse(f"lead_times/{stage}", f"{lead_time:g} is not whole periods, which this demand needs")
        if not any(self.lead_times):
            raise refuse("lead_times", "at least one must be above 0")

    @classmethod
    def from_local(
        cls,
        local_holding: tuple[float, ...],
        lead_times: tuple[float, ...],
        penalty: float,
        demand: NormalDemand | PoissonDemand | Demand,
    ) -> SerialSystem:
        """From each stage's own holding cost (rising towards the customer): h_j = local_j - local_{j+1}."""
        upstream = (*local_holding[1:], 0.0)
        return cls(tuple(a - b for a, b in zip(local_holding, upstream, strict=True)), lead_times, penalty, demand)


@dataclass(frozen=True)
class SerialPolicy:
    """What a serial system keeps, and what that costs.

    Attributes:
        echelon_levels: S_j, units on hand, on order and everywhere downstream of stage j, less backorders; stage 1 first.
        cost: average a period: echelon holding of all stages (stock in transit included) and backorders.
    """

    echelon_levels: tuple[float, ...]
    cost: float

    @property
    def local_levels(self) -> tuple[float, ...]:
        """Local base-stock levels that do the same: s_1 = S_1, s_j = S_j - S_{j-1} with S_j lowered to the least above it."""
        least, lowered = math.inf, []
        for level in reversed(self.echelon_levels):
            least = min(least, level)
            lowered.append(least)
        lowered.reverse()
        return tuple(level - below for level, below in zip(lowered, [0.0, *lowered[:-1]], strict=True))


def optimise(system: SerialSystem) -> SerialPolicy:
    """The optimal echelon base-stock levels and their cost.

    Returns: see `SerialPolicy`. Levels are whole units for Poisson and given demand.
    Raises: BadEvent: lead times are so far apart that no grid fits them.
    """
    return _recursion(system, None)


def cost_of(system: SerialSystem, echelon_levels: tuple[float, ...]) -> float:
    """The average cost a period of echelon levels that are given, stage 1 first, units.

    Raises: BadEvent: there is not one level a stage, or one is far outside of what demand can ask for.
    """
    if len(echelon_levels) != len(system.lead_times):
        raise refuse("echelon_levels", f"there are {len(system.lead_times)} stages")
    return _recursion(system, echelon_levels).cost


def newsvendor_levels(system: SerialSystem) -> tuple[float, ...]:
    """Echelon levels by one newsvendor formula a stage: the mean of the two bounds on the optimal ones.

    Source: Shang & Song (2003), Management Science 49(5): ratios (p + h_{j+1} + ... + h_N) over p + h_1 + ... + h_N and over
    p + h_j + ... + h_N, each with the demand of L_1 + ... + L_j.
    """
    levels = []
    for j in range(len(system.lead_times)):
        above = system.penalty + sum(system.echelon_holding[j + 1 :])
        ratios = above / (system.penalty + sum(system.echelon_holding)), above / (above + system.echelon_holding[j])
        levels.append(sum(_quantile(system.demand, sum(system.lead_times[: j + 1]), ratio) for ratio in ratios) / 2)
    return tuple(levels)


def _quantile(demand: NormalDemand | PoissonDemand | Demand, periods: float, probability: float) -> float:
    if isinstance(demand, NormalDemand):
        spread = demand.deviation * math.sqrt(periods)
        return demand.mean * periods + (spread * NormalDist().inv_cdf(probability) if spread else 0.0)
    return float(_whole(demand, periods).quantile(probability))


def _whole(demand: PoissonDemand | Demand, periods: float) -> Demand:
    """Units over a lead time."""
    if isinstance(demand, Demand):
        return demand.over(int(periods))
    return poisson(demand.mean * periods) if periods > 0 else Demand(np.ones(1))


def _recursion(system: SerialSystem, levels: tuple[float, ...] | None) -> SerialPolicy:
    """The recursion above on a grid whose origin moves with mean demand, so that no value is interpolated."""
    smooth = isinstance(system.demand, NormalDemand)
    x, kernels, moves = _normal_grid(system, levels) if smooth else _whole_grid(system, levels)
    held = (system.penalty + sum(system.echelon_holding)) * np.maximum(-x, 0.0)  # C_{j-1} on x
    chosen, best = [], 0.0
    for j, kernel in enumerate(kernels):
        cost = _convolved(system.echelon_holding[j] * x + held, kernel)
        first = len(kernel) // 2 if smooth else len(kernel) - 1
        x = x[first : first + len(cost)] + moves[j]
        level, best = _at(x, cost, levels[j]) if levels else _least(x, cost, smooth)
        chosen.append(level)
        held = np.where(x < level, cost, best)
    return SerialPolicy(tuple(chosen), best)


def _whole_grid(system: SerialSystem, levels: tuple[float, ...] | None) -> tuple[Floats, list[Floats], list[float]]:
    """Units; wide enough that after every convolution all levels are still on it."""
    assert not isinstance(system.demand, NormalDemand)
    if levels and any(level != round(level) for level in levels):
        raise refuse("echelon_levels", "this demand comes in whole units, so must the levels")
    kernels = [_whole(system.demand, lead_time).pmf for lead_time in system.lead_times]
    reach = sum(len(kernel) - 1 for kernel in kernels)
    low, high = int(min(0.0, *(levels or (0.0,)))), int(max(reach, *(levels or (0.0,))))
    _fits(high - low + reach)
    return np.arange(low - reach - 2, high + 3).astype(np.float64), kernels, [0.0] * len(kernels)


def _normal_grid(system: SerialSystem, levels: tuple[float, ...] | None) -> tuple[Floats, list[Floats], list[float]]:
    """A grid through 0 around mean demand; 0, the only kink of C_0, stays on it until the first convolution."""
    assert isinstance(system.demand, NormalDemand)
    moves = [system.demand.mean * lead_time for lead_time in system.lead_times]
    spreads = [system.demand.deviation * math.sqrt(lead_time) for lead_time in system.lead_times]
    step = min(spread for spread in spreads if spread) / FINEST
    asked = [abs(level - middle) for level, middle in zip(levels or (), np.cumsum(moves), strict=False)]
    width = TAILS * (sum(spreads) + math.hypot(*spreads)) + max(asked, default=0.0)
    _fits(2 * width / step)
    half = math.ceil(width / step) + 2 * len(spreads) + 2
    kernels, kinked = [], True
    for spread in spreads:
        kernels.append(_weights(spread, step, kinked))
        kinked = kinked and not spread
    return np.asarray(np.arange(-half, half + 1) * step, dtype=np.float64), kernels, moves


def _fits(points: float) -> None:
    if points > MOST_POINTS:
        raise refuse("lead_times", f"a grid for them needs {points:,.0f} points; the most is {MOST_POINTS:,}")


def _weights(spread: float, step: float, kinked: bool) -> Floats:
    """Weights of a centred normal variable on step * k, |k| <= 8 spreads.

    Where the function is linear between grid points (`kinked`), the exact integrals of those lines; where it is smooth, the
    density, whose sum converges faster than any power of the step.
    """
    if not spread:
        return np.ones(1)
    k = np.arange(-math.ceil(TAILS * spread / step), math.ceil(TAILS * spread / step) + 1) * (step / spread)
    density = np.exp(-(k**2) / 2)
    if not kinked:
        return np.asarray(density / density.sum())
    knots = np.concatenate([[k[0] - step / spread], k, [k[-1] + step / spread]])
    above = np.array([0.5 * math.erfc(knot / math.sqrt(2)) for knot in knots])
    loss = np.exp(-(knots**2) / 2) / math.sqrt(2 * math.pi) - knots * above  # E(Z - k)+
    weights = np.maximum(np.diff(loss, 2), 0.0)
    return np.asarray(weights / weights.sum())


def _convolved(values: Floats, kernel: Floats) -> Floats:
    """Every sum of values with the whole kernel on them, shape (len(values) - len(kernel) + 1,)."""
    if len(values) * len(kernel) < 2e7:  # below, the plain sum is as quick as the transform and rounds less
        return np.convolve(values, kernel, mode="valid")
    size = 1 << (len(values) - 1).bit_length()
    full = np.fft.irfft(np.fft.rfft(values, size) * np.fft.rfft(kernel, size), size)
    return full[len(kernel) - 1 : len(values)]


def _least(x: Floats, cost: Floats, smooth: bool) -> tuple[float, float]:
    """Where cost is least, and how much; between points by a parabola where it is smooth."""
    i = int(np.argmin(cost))
    if not smooth or i in (0, len(cost) - 1):
        return float(x[i]), float(cost[i])
    low, middle, high = cost[i - 1 : i + 2]
    slope, bend = (high - low) / 2, high - 2 * middle + low
    move = -slope / bend if bend > 0 else 0.0
    return float(x[i] + move * (x[1] - x[0])), float(middle + slope * move / 2)


def _at(x: Floats, cost: Floats, level: float) -> tuple[float, float]:
    """Cost at a level that is given, by the parabola through the three nearest points."""
    step = x[1] - x[0]
    i = min(max(round((level - x[0]) / step), 1), len(x) - 2)
    low, middle, high = cost[i - 1 : i + 2]
    move = (level - x[i]) / step
    return level, float(middle + move * (high - low) / 2 + move**2 * (high - 2 * middle + low) / 2)
