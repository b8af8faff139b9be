"""The plan at given prices, cut to fit the limits, and checked in float64.

In: a `Dual` that was evaluated at the prices. Out: units by slice, on each device those of its SKUs; what they are worth, what
they use. Tests: tests/unit/planning/test_solve.py, test_devices.py.
"""

from __future__ import annotations

import torch

from ml.planning.dual import Dual
from ml.planning.problem import Tensor, Worth, excess
from ml.planning.shard import Shard

SHY = 4e-7
"""Plans stay this much below a limit, relative, so that float32 quantities keep it exactly."""
TRIES = 4


def recover(dual: Dual, prices: Tensor, theta: float) -> tuple[tuple[Tensor, ...], Worth]:
    """The plan at these prices (2 M,), cut to fit: units by slice (M, K, n) of every shard, float32, and its worth."""
    p = dual.problem
    m, k, _ = p.shape
    shapes = [(m, k, shard.problem.shape[2]) for shard in dual.shards]
    y = tuple(torch.empty(s, dtype=torch.float32, device=d.device) for s, d in zip(shapes, dual.shards, strict=True))
    used = torch.stack(dual.each(lambda i: _taken(dual.shards[i], y[i], prices, theta))).sum(0)  # 2, M
    limits = dual.limits.reshape(2, m)
    for _ in range(TRIES):
        share = (limits / used.clamp(min=1e-300)).amin(0)
        cut = torch.where(share < 1, share * (1 - SHY), torch.ones_like(share)).float()
        worth, used = _measured(dual, y, cut)
        if worth.violations.worst == 0.0:
            break
    return y, worth


def _taken(shard: Shard, y: Tensor, prices: Tensor, theta: float) -> Tensor:
    """Write a shard's plan, cut to the vendors' supply; its use of storage and flow (2, M), float64 on the CPU."""
    p = shard.problem
    price = prices.to(shard.device, shard.dtype).reshape(2, -1)

    def take(number: int) -> Tensor:
        part = shard.parts[number]
        volume, inverse = shard.volume_N[part], 1.0 / (theta * shard.scale_N[part])
        paid = (price[0][:, None] * volume + price[1][:, None] + shard.nu_N[part]) * inverse
        t = (shard.value[:, :, part] * inverse - paid[:, None]).clamp_(0, 1)
        t *= shard.width[:, :, part]
        t *= (p.supply_N[part] * (1 - SHY) / t.sum((0, 1)).clamp(min=1e-30)).clamp(max=1.0)
        y[:, :, part] = t
        use = y[:, :, part].sum(1, dtype=torch.float64)
        return torch.stack([use @ p.volume_N[part], use.sum(1)])

    return shard.summed(take)


def _measured(dual: Dual, y: tuple[Tensor, ...], cut_M: Tensor) -> tuple[Worth, Tensor]:
    """Cut the plan (in place) by a factor a site, and measure it in float64: value, use, every violation; and use (2, M)."""
    m = len(cut_M)
    found = torch.stack(dual.each(lambda i: _shard_measured(dual.shards[i], y[i], cut_M)))  # shards, 3 + 2 M
    value, (over, box) = float(found[:, 0].sum()), found[:, 1:3].amax(0).tolist()
    used = found[:, 3:].sum(0).reshape(2, m)
    space_M, units_M = used.to(dual.problem.device)
    return Worth(value, space_M, units_M, excess(dual.problem, space_M, units_M, over, box)), used


def _shard_measured(shard: Shard, y: Tensor, cut_M: Tensor) -> Tensor:
    """Value, largest excess of supply and of a slice, use (2 M,): float64, on the CPU."""
    p, cut = shard.problem, cut_M.to(shard.device)

    def chunk(number: int) -> Tensor:
        part = shard.parts[number]
        block = y[:, :, part]
        block *= cut[:, None, None]
        exact = block.double()
        use = exact.sum(1)
        box = torch.maximum((block - p.width_MKN[:, :, part]).max(), -block.min()).double()
        over = (use.sum(0) - p.supply_N[part].double()).max()
        exact *= p.value_MKN[:, :, part]
        return torch.cat([torch.stack([exact.sum(), over, box]), use @ p.volume_N[part], use.sum(1)])

    found = torch.stack(shard.each(chunk))
    sums, most = found.sum(0), found[:, 1:3].amax(0)
    return torch.cat([sums[:1], most, sums[3:]]).cpu()
