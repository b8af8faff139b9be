"""Solve one period: prices of storage and flow, a feasible plan, and the proof of how good it is.

In: a `Problem`; perhaps prices of an earlier solution. Out: a `Solution` with bound and gap.
Prices first on a sample of the SKUs from a strongly smoothed dual to a sharp one, then a few full evaluations: projected
Newton with the exact second derivative of the smoothed dual. Why this and not a bundle: docs/adr/0006. Tests:
tests/unit/planning/test_solve.py. Source: Nesterov (2005), Smooth minimization of non-smooth functions; Bertsekas (1982),
Projected Newton methods.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls

from inventorybot.errors import SetupError
from ml.planning.dual import Dual, Point
from ml.planning.problem import Problem, Tensor, Worth, relative_gap
from ml.planning.recover import recover
from ml.planning.threads import one_thread_each

SAMPLE_SHARE, SAMPLE_LEAST = 0.02, 3_000
COARSE = (0.5, 0.15, 0.05)
"""Smoothing on the way from nothing to prices."""
FINE = 0.9
"""Smoothing of the full evaluations, in √gap: the loss by smoothing is of second order, measured 0.7 θ² on made problems."""
SHARPEST = 1e-7
PATIENCE = 3
"""Sharper dual after sharper dual without a smaller gap: rounding allows no more."""
EXACT_BELOW = 2e-5
"""Gaps that need float64 throughout."""
STAGE_STEPS = 60
DAMPING, MOST_DAMPING = 1e-4, 1e7
"""Least curvature of a price, as a share of its limit by the price; grows where the model promised too much."""
NOISE = {torch.float32: 3e-7, torch.float64: 1e-13}
"""Relative error of a dual value."""
BLIND_STEPS = 6
RIDGE = 1e-7
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """What a unit of each limit is worth; where to start the next solution.

    Args: storage_M: money a m³. flow_M: money a unit. supply_N: money a unit. All >= 0, float64.
    """

    storage_M: Tensor
    flow_M: Tensor
    supply_N: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """A plan and its proof.

    Args:
        y: units by slice (M, K, n), float32, on each device those of its SKUs, in order.
        worth: value, use and violations of them. prices: of the limits, on the CPU. bound: no plan is worth more. theta: last smoothing.
        evaluations: of the dual on all SKUs; samples: on the sample. seconds: wall time of `solve`.
    """

    y: tuple[Tensor, ...]
    worth: Worth
    prices: Prices
    bound: float
    theta: float
    evaluations: int
    samples: int
    seconds: float

    @property
    def gap(self) -> float:
        """(bound - value) / |value|; 0 when both are nothing."""
        return relative_gap(self.bound, self.worth.value)

    @property
    def units_MN(self) -> Tensor:
        """Units of each SKU for each site, on the CPU."""
        return torch.cat([part.sum(1).cpu() for part in self.y], 1)

    @property
    def y_MKN(self) -> Tensor:
        """Units by slice, on the CPU."""
        return torch.cat([part.cpu() for part in self.y], 2)

    def sold_MN(self, sold_K: Tensor) -> Tensor:
        """Units expected to be sold, on the CPU, given the probability that a unit of each slice is asked for."""
        return torch.cat([torch.einsum("mkn,k->mn", part, sold_K.to(part)).cpu() for part in self.y], 1)


def solve(
    problem: Problem,
    gap: float = 1e-4,
    warm: Prices | None = None,
    threads: int = 0,
    progress: Progress | None = None,
    devices: Sequence[torch.device] = (),
) -> Solution:
    """Plan one period.

    Args:
        gap: wanted (bound - value) / |value|, > 0. The solution tells what was reached.
        warm: prices to start from, of the same sites and SKUs.
        threads: on a CPU; 0: one a core.
        progress: told in words what was reached.
        devices: to spread the SKUs over; default: where the problem is.
    Raises: SetupError: `gap` is not above 0, or `warm` belongs to another problem.
    """
    if not gap > 0:
        raise SetupError(f"gap must be above 0, not {gap:g}")
    where = list(devices) or [problem.device]
    with one_thread_each(*where):
        return _solve(problem, gap, warm, threads or os.cpu_count() or 1, progress or (lambda _: None), where)


def _solve(
    problem: Problem, gap: float, warm: Prices | None, threads: int, say: Progress, devices: Sequence[torch.device]
) -> Solution:
    began = time.perf_counter()
    m, _, n = problem.shape
    samples = 0
    if warm is not None:
        if warm.storage_M.shape != (m,) or warm.supply_N.shape != (n,):
            raise SetupError(f"the earlier prices are of other sites or SKUs: {m} and {n} are wanted")
        start = torch.cat([warm.storage_M, warm.flow_M]).double().clamp(min=0).cpu()
        dual = Dual(problem, threads, warm.supply_N, gap < EXACT_BELOW, devices)
    else:
        start, samples = _sampled(problem, gap, say, devices[0])
        dual = Dual(problem, threads, exact=gap < EXACT_BELOW, devices=devices)
    theta = fine_theta(gap)
    best: Solution | None = None
    worse = 0
    for coarse in COARSE if warm is None and not samples else ():
        start, _ = minimise(dual, start, coarse, 0.1)
    while True:
        start, _ = minimise(dual, start, theta, 0.3 * gap)
        y, worth = recover(dual, start, theta)
        prices = Prices(start[:m].clone(), start[m:].clone(), dual.supply_price_N)
        found = Solution(
            y, worth, prices, dual.bound(start), theta, dual.evaluations, samples, time.perf_counter() - began
        )
        say(f"gap {found.gap:.4%} with smoothing {theta:g}, {dual.evaluations} evaluations")
        if best is None or found.gap < best.gap:
            best, worse = found, 0
        else:
            worse += 1
        if best.gap <= gap or theta < SHARPEST or worse == PATIENCE:
            return best
        theta *= min(0.5, max(0.1, (0.5 * gap / found.gap) ** 0.5))


def fine_theta(gap: float) -> float:
    """Smoothing that should just reach the gap."""
    return min(COARSE[-1], FINE * math.sqrt(gap))


def _sampled(problem: Problem, gap: float, say: Progress, device: torch.device) -> tuple[Tensor, int]:
    """Prices from a sample of the SKUs, its limits scaled; and how many evaluations it took."""
    m, _, n = problem.shape
    start = torch.zeros(2 * m, dtype=torch.float64)
    size = max(SAMPLE_LEAST, int(SAMPLE_SHARE * n))
    if n < 2 * size:
        return start, 0
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:size].sort().values.to(problem.device)
    dual = Dual(problem.of(chosen, size / n).to(device), exact=gap < EXACT_BELOW)
    for theta in (*COARSE, fine_theta(gap)):
        start, _ = minimise(dual, start, theta, 0.01)
    say(f"prices of a sample of {size:,} SKUs after {dual.evaluations} evaluations")
    return start, dual.evaluations


def minimise(dual: Dual, start: Tensor, theta: float, tolerance: float) -> tuple[Tensor, Point]:
    """Minimise the smoothed dual over prices >= 0 (2 M,); stops when slack · price and excess fall below `tolerance`.

    `tolerance` is relative: to the value for the prices' slack, to the limits for what exceeds them. Where a step promises
    less than rounding hides, it is judged by these, and a few such steps are enough.
    """
    prices, point, damping = start, dual.at(start, theta), DAMPING
    best, least, blind = prices, unsettled(dual, prices, point), 0
    last = prices
    for _ in range(STAGE_STEPS):
        if least <= tolerance or damping > MOST_DAMPING or blind > BLIND_STEPS:
            break
        step = newton_step(dual, prices, point, damping)
        last = trial = (prices + step).clamp(min=0)
        along = float(((trial - prices) * torch.where(torch.isfinite(point.slope), point.slope, 0.0)).sum())
        found = dual.at(trial, theta)
        noise = NOISE[dual.dtype] * abs(point.value)
        blind += along > -noise
        if found.value > point.value + 0.1 * along + noise:
            damping *= 8
            continue
        prices, point, damping = trial, found, max(DAMPING, damping / 8)
        left = unsettled(dual, prices, point)
        if left < least or along <= -noise:
            best, least = prices, left
    if last is not best:
        point = dual.at(best, theta)  # the supply prices belong to these prices
    return best, point


def unsettled(dual: Dual, prices: Tensor, point: Point) -> float:
    """How far prices are from the minimum: slack · price by the value, or the largest excess by its limit."""
    finite = torch.isfinite(dual.limits)
    if not bool(finite.any()):
        return 0.0
    slack = float((prices[finite] * point.slope[finite].clamp(min=0)).sum()) / max(abs(point.value), 1e-300)
    return max(slack, float((-point.slope[finite] / dual.limits[finite].clamp(min=1e-12)).max()))


def newton_step(dual: Dual, prices: Tensor, point: Point, damping: float) -> Tensor:
    """Minimiser of the quadratic model over prices >= 0, less the prices; each change bounded.

    A convex quadratic over the non-negative orthant is a non-negative least-squares problem of its Cholesky factor.
    """
    m = len(prices) // 2
    finite = torch.isfinite(dual.limits)
    at = prices[finite].numpy()
    slope, limits = point.slope[finite].numpy(), dual.limits[finite].numpy()
    curve = point.curve[finite][:, finite].numpy()
    kind = torch.arange(2 * m)[finite].numpy() >= m
    step = np.zeros(len(prices))
    if not len(at):
        return prices.new_zeros(len(prices))
    typical = np.array(
        [abs(point.value) / max(limits[kind == k].sum(), 1e-12) if (kind == k).any() else 1.0 for k in (0, 1)]
    )
    reach = np.maximum(at, 0.5 * typical[kind.astype(int)])
    least = damping * np.maximum(limits, 1e-9) / reach
    size = np.sqrt(np.maximum(np.diag(curve), 0.0) + least)
    scaled = (curve + np.diag(least)) / np.outer(size, size)
    root = np.linalg.cholesky(scaled + np.eye(len(at)) * RIDGE)
    target = root.T @ (at * size) - np.linalg.solve(root, slope / size)
    best = nnls(root.T, target, maxiter=50 * len(at))[0] / size
    step[finite.numpy()] = np.clip(best - at, -2 * reach, 2 * reach)
    return torch.from_numpy(step).to(prices)
