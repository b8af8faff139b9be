"""The smoothed Lagrangian dual of the one-period program: value, slope and curvature at given prices, over all devices.

In: a `Problem`, devices, prices of storage and flow. Out: a `Point`; a rigorous bound. The dual is a sum over SKUs: they are
spread over the devices, evenly and in order, and each works out its share (`shard`) while the others do; only sums as long
as there are sites come back. One device is the same with one share. Tests: tests/unit/planning/test_devices.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ml.planning.problem import Problem, Tensor
from ml.planning.shard import Shard
from ml.planning.threads import over_threads

DOUBLE_BELOW = 400_000
"""Slices up to which float64 is used throughout: there it costs nothing, and small problems need small θ."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """The smoothed dual at one set of prices.

    Args:
        value: money. slope: of the prices (2 M,), storage then flow: limit less use. curve: (2 M, 2 M). All float64, on the CPU.
    """

    value: float
    slope: Tensor
    curve: Tensor


class Dual:
    """Evaluates the dual of one problem; keeps the supply prices ν from one evaluation to the next.

    Args:
        threads: on CPUs, over all shards.
        supply_price_N: ν to start from, money a unit; default 0.
        exact: float64 whatever the size.
        devices: to spread the SKUs over; default: where the problem is.
    """

    def __init__(
        self,
        problem: Problem,
        threads: int = 1,
        supply_price_N: Tensor | None = None,
        exact: bool = False,
        devices: Sequence[torch.device] = (),
    ) -> None:
        self.problem = problem
        m, k, n = problem.shape
        self.dtype = torch.float64 if exact or m * k * n <= DOUBLE_BELOW else torch.float32
        self.spread = spread_over(n, devices or [problem.device])
        own = max(1, threads // max(1, sum(device.type == "cpu" for _, device in self.spread)))

        def shard(number: int) -> Shard:
            part, device = self.spread[number]
            share = problem if part == slice(0, n) else problem.of(part)
            price = None if supply_price_N is None else supply_price_N[part]
            return Shard(share.to(device), self.dtype, own, price)

        self.shards = over_threads(shard, range(len(self.spread)), len(self.spread))
        self.limits = torch.cat([problem.storage_M, problem.flow_M]).double().cpu()
        self.evaluations = 0

    @property
    def supply_price_N(self) -> Tensor:
        """ν, float64, on the CPU."""
        return torch.cat([shard.nu_N.double().cpu() for shard in self.shards])

    def each(self, work: Callable[[int], T]) -> list[T]:
        """The work of every shard by its number, in order, side by side: a thread each, as CUDA lets go of Python's lock."""
        return over_threads(work, range(len(self.shards)), len(self.shards))

    def at(self, prices: Tensor, theta: float) -> Point:
        """Value, slope and curvature at these prices (2 M,), float64 on the CPU, with smoothing θ."""
        two = len(prices)
        sums = torch.stack(self.each(lambda i: self.shards[i].at(prices, theta))).sum(0)
        self.evaluations += 1
        value, used, curve = sums[0], sums[1 : 1 + two], sums[1 + two :].reshape(two, two)
        return Point(float(value) + self.paid(prices), self.limits - used, curve)

    def paid(self, prices: Tensor) -> float:
        """What the shared limits are worth at these prices: Σ C λ + Σ F μ."""
        finite = torch.isfinite(self.limits)
        return float((self.limits[finite] * prices[finite]).sum())

    def bound(self, prices: Tensor) -> float:
        """A rigorous upper bound of the program, in float64: any prices >= 0 give one (weak duality).

        Σ C λ + Σ F μ + Σ S ν + Σ w max(0, v - volume λ - μ - ν)
        """
        return sum(self.each(lambda i: self.shards[i].bound(prices.double()))) + self.paid(prices.double())


def spread_over(skus: int, devices: Sequence[torch.device]) -> list[tuple[slice, torch.device]]:
    """SKUs shared out evenly and in order; a device without any is left out."""
    edges = [skus * i // len(devices) for i in range(len(devices) + 1)]
    pairs = zip(edges, edges[1:], devices, strict=False)
    return [(slice(a, b), device) for a, b, device in pairs if b > a]
