"""The smoothed Lagrangian dual of the one-period program: value, slope and curvature at given prices, all SKUs at once.

In: a `Problem`, prices of storage and flow. Out: a `Point`; the plan at those prices; a rigorous bound.
With x = v - volume λ - μ - ν, a slice is taken to the share t = clip(x / h, 0, 1), h = θ · (spread of the SKU's values):
the exact answer is t = [x > 0], smoothing makes the dual once differentiable and its plan nearly feasible. ν, the price of
a SKU's supply, is solved for within each evaluation. SKUs go in chunks that fit a core's cache, chunks over threads.
Shapes: N SKUs, M sites, K slices, n SKUs of a chunk. Tests: tests/unit/planning/test_solve.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from ml.planning.problem import Problem, Tensor, chunk_size
from ml.planning.threads import over_threads

DOUBLE_BELOW = 400_000
"""Slices up to which float64 is used throughout: there it costs nothing, and small problems need small θ."""
SUPPLY_STEPS = 25
SUPPLY_TOLERANCE = 1e-5
"""Of the units a vendor can send, in float32: what the plan's final scaling may take away."""
KEPT = 1.0 - 1e-5
"""Share of what moving a supply price gives back: all of it would leave a curvature that rounding can make negative."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """The smoothed dual at one set of prices.

    Args:
        value: money. slope: of the prices (2 M,), storage then flow: limit less use. curve: (2 M, 2 M), float64.
    """

    value: float
    slope: Tensor
    curve: Tensor


class Dual:
    """Evaluates the dual of one problem; keeps the supply prices ν from one evaluation to the next.

    Args:
        supply_price_N: ν to start from, money a unit; default 0.
        exact: float64 whatever the size.
    """

    def __init__(
        self, problem: Problem, threads: int = 1, supply_price_N: Tensor | None = None, exact: bool = False
    ) -> None:
        self.problem = problem
        m, k, n = problem.shape
        self.dtype = torch.float64 if exact or m * k * n <= DOUBLE_BELOW else torch.float32
        step = chunk_size(problem)
        if n > step // 4:  # an even number of like chunks, whatever the threads: the same sums
            step = -(-n // (2 * -(-n // (2 * step))))
        self.parts = [slice(a, min(n, a + step)) for a in range(0, n, step)]
        self.threads = min(threads, len(self.parts)) if problem.device.type == "cpu" else 1
        self.value, self.width = problem.value_MKN.to(self.dtype), problem.width_MKN.to(self.dtype)
        self.volume_N, self.supply_N = problem.volume_N.to(self.dtype), problem.supply_N.to(self.dtype)
        self.nu_N = torch.zeros(n, dtype=self.dtype, device=problem.device)
        if supply_price_N is not None:
            self.nu_N.copy_(supply_price_N)
        self.scale_N = torch.empty_like(self.nu_N)
        self.scarce: list[Scarce | None] = self.each(self._prepare)
        self.limits = torch.cat([problem.storage_M, problem.flow_M]).double()
        self.evaluations = 0

    def _prepare(self, number: int) -> Scarce | None:
        """Spread of each SKU's values, and the SKUs whose supply can bind at all."""
        part = self.parts[number]
        value, width = self.value[:, :, part], self.width[:, :, part]
        self.scale_N[part] = (value[:, 0] - value[:, -1]).amax(0).clamp_(min=1e-6)
        supply = self.supply_N[part]
        rows = torch.nonzero(torch.isfinite(supply))[:, 0]
        wanted = (width[:, :, rows] * (value[:, :, rows] > 0)).sum((0, 1))
        rows = rows[wanted > supply[rows]]
        if not len(rows):
            return None
        self.nu_N[part][torch.isinf(supply)] = 0.0
        return Scarce(
            rows,
            value[:, :, rows],
            width[:, :, rows],
            self.volume_N[part][rows],
            self.scale_N[part][rows],
            supply[rows],
        )

    def each(self, work: Callable[[int], T]) -> list[T]:
        """The work of every chunk, in order, over the threads."""
        return over_threads(work, range(len(self.parts)), self.threads)

    def at(self, prices: Tensor, theta: float) -> Point:
        """Value, slope and curvature at these prices (2 M,), float64, with smoothing θ."""
        m = self.problem.shape[0]
        price_MP = prices.to(self.dtype).reshape(2, m)
        sums = self.each(lambda i: self._chunk(i, price_MP[0], price_MP[1], theta))
        self.evaluations += 1
        value = sum(float(s[0]) for s in sums)
        used = torch.stack([s[1] for s in sums]).sum(0)
        curve = torch.stack([s[2] for s in sums]).sum(0)
        finite = torch.isfinite(self.limits)
        value += float((self.limits[finite] * prices[finite]).sum())
        return Point(value, self.limits - used, curve)

    def _chunk(self, number: int, storage_M: Tensor, flow_M: Tensor, theta: float) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of a chunk in float64: dual value, use (2 M,), curvature (2 M, 2 M)."""
        part = self.parts[number]
        volume = self.volume_N[part]
        width = theta * self.scale_N[part]
        self.solve_supply(number, storage_M, flow_M, theta)
        nu = self.nu_N[part]
        inverse = 1.0 / width
        paid = (storage_M[:, None] * volume + flow_M[:, None] + nu) * inverse  # M, n
        u = self.value[:, :, part] * inverse
        u -= paid[:, None]
        t = u.clamp(0, 1)
        y = self.width[:, :, part] * t
        use = y.sum(1)  # M, n
        dense = (self.width[:, :, part] * (t == u)).sum(1).mul_(inverse)  # M, n
        profit = u.sub_(t, alpha=0.5).mul_(y).sum((0, 1)).mul_(width)
        value = profit.sum(dtype=torch.float64)
        scarce = self.scarce[number]
        if scarce is not None:
            rows = scarce.rows
            value = value + (nu[rows].double() * scarce.supply.double()).sum()
        used = use.double()
        slope = torch.cat([used @ self.problem.volume_N[part], used.sum(1)])
        return value, slope, self._curve(dense, volume, nu, scarce)

    def _curve(self, dense: Tensor, volume: Tensor, nu: Tensor, scarce: Scarce | None) -> Tensor:
        """Second derivative: Σ density · a aᵀ with a = (volume, 1) at a site, less what moving ν gives back."""
        sums = (dense @ torch.stack([volume * volume, volume, torch.ones_like(volume)], 1)).double()  # M, 3
        square, cross, plain = (torch.diag(sums[:, c]) for c in range(3))
        if scarce is not None:
            rows = scarce.rows[nu[scarce.rows] > 0]
            part = dense[:, rows].double()
            part = part * (KEPT / part.sum(0).clamp(min=1e-30)).sqrt()
            bulk = part * volume[rows].double()
            square, cross, plain = square - bulk @ bulk.T, cross - bulk @ part.T, plain - part @ part.T
        return torch.cat([torch.cat([square, cross], 1), torch.cat([cross.T, plain], 1)], 0)

    def solve_supply(self, number: int, storage_M: Tensor, flow_M: Tensor, theta: float) -> None:
        """ν so that the SKUs of a chunk take just what their vendors can send: safeguarded Newton, all at once."""
        s = self.scarce[number]
        if s is None:
            return
        width = theta * s.scale
        inverse = 1.0 / width
        u0 = s.value * inverse - ((storage_M[:, None] * s.volume + flow_M[:, None]) * inverse)[:, None]
        low, high = torch.zeros_like(width), u0.amax((0, 1)).clamp_(min=0)
        nu_part = self.nu_N[self.parts[number]]
        nu = torch.minimum(nu_part[s.rows] * inverse, high)  # in units of the smoothing width
        near = SUPPLY_TOLERANCE if self.dtype == torch.float32 else SUPPLY_TOLERANCE / 100
        for _ in range(SUPPLY_STEPS):
            u = u0 - nu
            t = u.clamp(0, 1)
            over = (s.width * t).sum((0, 1)) - s.supply
            wrong = (over.abs() > near * s.supply) & ~((over < 0) & (nu <= 0))
            if not bool(wrong.any()):
                break
            low, high = torch.where(over > 0, nu, low), torch.where(over > 0, high, nu)
            dense = (s.width * (t == u)).sum((0, 1))
            step = nu + over / dense
            outside = ~((step > low) & (step < high))
            outside &= ~((step <= 0) & (low <= 0))
            nu = torch.where(wrong, torch.where(outside, (low + high) / 2, step.clamp(min=0)), nu)
        nu_part[s.rows] = nu * width

    def bound(self, prices: Tensor) -> float:
        """A rigorous upper bound of the program, in float64: any prices >= 0 give one (weak duality).

        Σ C λ + Σ F μ + Σ S ν + Σ w max(0, v - volume λ - μ - ν)
        """
        p = self.problem
        storage_M, flow_M = prices.double().reshape(2, p.shape[0])

        def chunk(number: int) -> Tensor:
            part = self.parts[number]
            nu = self.nu_N[part].double()
            paid = storage_M[:, None] * p.volume_N[part] + flow_M[:, None] + nu
            x = p.value_MKN[:, :, part].double()
            x -= paid[:, None]
            total = x.clamp_(min=0).mul_(p.width_MKN[:, :, part]).sum()
            scarce = nu > 0
            return total + (nu[scarce] * p.supply_N[part][scarce].double()).sum()

        finite = torch.isfinite(self.limits)
        return sum(float(c) for c in self.each(chunk)) + float((self.limits[finite] * prices[finite]).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Scarce:
    """The SKUs of a chunk whose supply can bind, side by side: rows in the chunk, and their arrays."""

    rows: Tensor
    value: Tensor
    width: Tensor
    volume: Tensor
    scale: Tensor
    supply: Tensor
