"""Ways to find the prices of one period: evaluations of the dual until the bound is within 0.005 % of the best one.

In: nothing. Out: a table, which docs/adr/0006 quotes. Run: `python -m benchmarks.planning_prices`. All start at no prices and
evaluate all SKUs each time, so that only the update is compared; the solver saves more by starting on a sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.optimize import linprog, minimize

from ml.planning.dual import Dual, Point
from ml.planning.generate import Sizes, generate
from ml.planning.problem import Problem
from ml.planning.segments import build
from ml.planning.solve import COARSE, fine_theta, newton_step, solve

SKUS, SITES = 10_000, 10
CLOSE = 5e-5
MOST = 400
SHARP = 1e-4
"""Smoothing that stands for none: the methods below take the dual as it is."""


class Enough(Exception):
    """The bound is close, or there were too many evaluations."""


class Meter:
    """A dual that counts evaluations and stops them when the bound is close to the best one."""

    def __init__(self, problem: Problem, best: float) -> None:
        self.dual, self.best, self.count, self.lowest = Dual(problem), best, 0, float("inf")

    def at(self, prices: np.ndarray, theta: float) -> Point:
        self.count += 1
        tensor = torch.from_numpy(np.maximum(prices, 0.0))
        point = self.dual.at(tensor, theta)
        self.lowest = min(self.lowest, self.dual.bound(tensor))
        if self.lowest <= self.best * (1 + CLOSE) or self.count >= MOST:
            raise Enough
        return point


def newton(meter: Meter, size: np.ndarray) -> None:
    """Projected Newton on the smoothed dual."""
    prices = torch.zeros(2 * SITES, dtype=torch.float64)
    for theta in (*COARSE, *[fine_theta(1e-4)] * 40):
        for _ in range(3):
            point = meter.at(prices.numpy(), theta)
            prices = (prices + newton_step(meter.dual, prices, point, 1e-4)).clamp(min=0)


def quasi_newton(meter: Meter, size: np.ndarray) -> None:
    """L-BFGS-B on the smoothed dual, scaled, with the same smoothing."""
    z = np.zeros(2 * SITES)
    for theta in (*COARSE, *[fine_theta(1e-4)] * 10):

        def value(x: np.ndarray, theta: float = theta) -> tuple[float, np.ndarray]:
            point = meter.at(x * size, theta)
            return point.value / meter.best, point.slope.numpy() * size / meter.best

        z = minimize(value, z, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(z), options={"ftol": 1e-12}).x


def accelerated(meter: Meter, size: np.ndarray) -> None:
    """Nesterov's accelerated gradient on the smoothed dual, with backtracking and restarts."""
    x = y = np.zeros(2 * SITES)
    momentum, lipschitz, theta = 1.0, 1.0, fine_theta(1e-4)
    while True:
        here = meter.at(y * size, theta)
        slope = here.slope.numpy() * size / meter.best
        while True:
            new = np.maximum(y - slope / lipschitz, 0.0)
            step = new - y
            there = meter.at(new * size, theta)
            if there.value / meter.best <= here.value / meter.best + slope @ step + lipschitz / 2 * step @ step + 1e-9:
                break
            lipschitz *= 2
        if slope @ (new - x) > 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        y = np.maximum(new + (momentum - 1) / following * (new - x), 0.0)
        x, momentum, lipschitz = new, following, lipschitz * 0.9


def level_bundle(meter: Meter, size: np.ndarray) -> None:
    """Level method on the dual as it is: the nearest prices at which all cuts lie below the level."""
    x, cuts, least = np.zeros(2 * SITES), [], np.inf
    while True:
        point = meter.at(x * size, SHARP)
        value, slope = point.value / meter.best, point.slope.numpy() * size / meter.best
        cuts.append((slope, value - slope @ x))
        least = min(least, value)
        matrix, height = np.array([c[0] for c in cuts]), np.array([c[1] for c in cuts])
        model = linprog(
            np.append(np.zeros(len(x)), 1.0),
            np.hstack([matrix, -np.ones((len(cuts), 1))]),
            -height,
            bounds=[(0, 50)] * len(x) + [(0, None)],
        )
        level = 0.7 * least + 0.3 * model.fun
        centre = x
        near = minimize(
            lambda z, c=centre: ((z - c) @ (z - c), 2 * (z - c)), model.x[:-1], jac=True, method="SLSQP",
            bounds=[(0, 50)] * len(x),
            constraints={"type": "ineq", "fun": lambda z, m=matrix, h=height, v=level: v - m @ z - h, "jac": lambda z, m=matrix: -m},
        )  # fmt: skip
        x = np.maximum(near.x if near.success else model.x[:-1], 0.0)


def subgradient(meter: Meter, size: np.ndarray) -> None:
    """Polyak's subgradient step, told the optimum."""
    x = np.zeros(2 * SITES)
    while True:
        point = meter.at(x * size, SHARP)
        slope = point.slope.numpy() * size / meter.best
        x = np.maximum(x - (point.value / meter.best - 1) * slope / (slope @ slope), 0.0)


def rows() -> Iterator[tuple[str, int, float, float]]:
    problem = build(generate(Sizes(SKUS, SITES), seed=1))
    best = solve(problem, 1e-6).bound
    limits = torch.cat([problem.storage_M, problem.flow_M]).numpy()
    size = best / limits / 10  # prices of the same size
    ways: list[Callable[[Meter, np.ndarray], None]] = [newton, quasi_newton, accelerated, level_bundle, subgradient]
    for way in ways:
        meter, began = Meter(problem, best), time.process_time()
        with suppress(Enough):
            way(meter, size)
        yield (way.__doc__ or "").rstrip("."), meter.count, time.process_time() - began, meter.lowest / best - 1


def main() -> None:
    table = Table("update", "evaluations", "CPU s", "bound above the best")
    torch.set_num_threads(1)
    for name, count, seconds, above in rows():
        table.add_row(name, f"{count}" if above <= CLOSE else f"{count}, not there", f"{seconds:.1f}", f"{above:.4%}")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
