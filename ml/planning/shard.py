"""One device's share of the smoothed Lagrangian dual of the one-period program: sums over its SKUs at given prices.

In: a `Problem` with the SKUs of one device, on it; prices of storage and flow, on the CPU. Out: sums in float64, on the CPU, of
a size that depends on the number of sites alone: whatever is large stays where it is, and a device is asked once a call.
With x = v - volume λ - μ - ν, a slice is taken to the share t = clip(x / h, 0, 1), h = θ · (spread of the SKU's values):
the exact answer is t = [x > 0], smoothing makes the dual once differentiable and its plan nearly feasible. ν, the price of
a SKU's supply, is solved for within each evaluation. On a CPU, SKUs go in chunks that fit a core's cache, chunks over threads.
What is computed for a SKU depends on no other, and sums are float64: any chunks, threads and devices give the same.
Shapes: N SKUs, M sites, K slices, n SKUs of a chunk. Tests: tests/unit/planning/test_devices.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from ml.planning.problem import Problem, Tensor, chunk_size
from ml.planning.threads import over_threads

SUPPLY_STEPS = 25
SUPPLY_TOLERANCE = 1e-5
"""Of the units a vendor can send, in float32: what the plan's final scaling may take away."""
KEPT = 1.0 - 1e-5
"""Share of what moving a supply price gives back: all of it would leave a curvature that rounding can make negative."""
T = TypeVar("T")


class Shard:
    """Evaluates the dual of some SKUs; keeps their supply prices ν from one evaluation to the next.

    Args:
        dtype: of values and shares; sums are float64.
        supply_price_N: ν to start from, money a unit; default 0.
    """

    def __init__(self, problem: Problem, dtype: torch.dtype, threads: int, supply_price_N: Tensor | None) -> None:
        self.problem, self.dtype, self.device = problem, dtype, problem.device
        _, _, n = problem.shape
        step = chunk_size(problem)
        if n > step // 4:  # an even number of like chunks, whatever the threads
            step = -(-n // (2 * -(-n // (2 * step))))
        self.parts = [slice(a, min(n, a + step)) for a in range(0, n, step)]
        self.threads = min(threads, len(self.parts)) if self.device.type == "cpu" else 1
        self.value, self.width = problem.value_MKN.to(dtype), problem.width_MKN.to(dtype)
        self.volume_N, self.supply_N = problem.volume_N.to(dtype), problem.supply_N.to(dtype)
        v = problem.volume_N
        self.moments_N3 = torch.stack([v * v, v, torch.ones_like(v)], 1)
        self.nu_N = torch.zeros(n, dtype=dtype, device=self.device)
        if supply_price_N is not None:
            self.nu_N.copy_(supply_price_N)
        self.scale_N = torch.empty_like(self.nu_N)
        self.scarce: list[Scarce | None] = self.each(self._prepare)

    def _prepare(self, number: int) -> Scarce | None:
        """Spread of each SKU's values, and the SKUs whose supply can bind at all."""
        part = self.parts[number]
        value, width = self.value[:, :, part], self.width[:, :, part]
        self.scale_N[part] = (value[:, 0] - value[:, -1]).amax(0).clamp_(min=1e-6)
        supply = self.supply_N[part]
        rows = torch.nonzero(torch.isfinite(supply))[:, 0]
        wanted = (width[:, :, rows] * (value[:, :, rows] > 0)).sum((0, 1))
        rows = rows[wanted > supply[rows]]
        kept = self.nu_N[part][rows]
        self.nu_N[part] = 0.0  # a price of an earlier problem, where now there is enough
        if not len(rows):
            return None
        self.nu_N[part][rows] = kept
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

    def summed(self, work: Callable[[int], Tensor]) -> Tensor:
        """The sum over the chunks of a vector in float64, on the CPU."""
        return torch.stack(self.each(work)).sum(0).cpu()

    def at(self, prices: Tensor, theta: float) -> Tensor:
        """Dual value, use (2 M,) and curvature (2 M · 2 M) in one float64 vector, at prices (2 M,) with smoothing θ."""
        price = prices.to(self.device, self.dtype).reshape(2, -1)
        return self.summed(lambda number: self._chunk(number, price[0], price[1], theta))

    def _chunk(self, number: int, storage_M: Tensor, flow_M: Tensor, theta: float) -> Tensor:
        """Sums of a chunk, as in `at`."""
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
        use = torch.cat([used @ self.problem.volume_N[part], used.sum(1)])
        return torch.cat([value.reshape(1), use, self._curve(dense, number).reshape(-1)])

    def _curve(self, dense: Tensor, number: int) -> Tensor:
        """Second derivative (2 M, 2 M): Σ density · a aᵀ with a = (volume, 1) at a site, less what moving ν gives back."""
        part, scarce = self.parts[number], self.scarce[number]
        exact = dense.double()
        sums = exact @ self.moments_N3[part]  # M, 3
        square, cross, plain = (torch.diag(sums[:, c]) for c in range(3))
        if scarce is not None:
            rows = scarce.rows[self.nu_N[part][scarce.rows] > 0]
            share = exact[:, rows]
            share = share * (KEPT / share.sum(0).clamp(min=1e-30)).sqrt()
            bulk = share * self.problem.volume_N[part][rows]
            square, cross, plain = square - bulk @ bulk.T, cross - bulk @ share.T, plain - share @ share.T
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
        """Its part of the bound in float64: Σ S ν + Σ w max(0, v - volume λ - μ - ν)."""
        p = self.problem
        storage_M, flow_M = prices.to(self.device, torch.float64).reshape(2, -1)

        def chunk(number: int) -> Tensor:
            part = self.parts[number]
            nu = self.nu_N[part].double()
            paid = storage_M[:, None] * p.volume_N[part] + flow_M[:, None] + nu
            x = p.value_MKN[:, :, part].double()
            x -= paid[:, None]
            total = x.clamp_(min=0).mul_(p.width_MKN[:, :, part]).sum()
            limited = p.supply_N[part].double()
            return total + (nu * torch.where(nu > 0, limited, torch.zeros_like(limited))).sum()

        return float(self.summed(chunk))


@dataclass(frozen=True, slots=True, eq=False)
class Scarce:
    """The SKUs of a chunk whose supply can bind, side by side: rows in the chunk, and their arrays."""

    rows: Tensor
    value: Tensor
    width: Tensor
    volume: Tensor
    scale: Tensor
    supply: Tensor
