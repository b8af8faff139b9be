"""A feasible plan from prices: the smoothed plan, scaled into every limit, and checked in float64.

In: a `Dual` that was evaluated at the prices. Out: units by slice, what they are worth, what they use.
Tests: tests/unit/planning/test_solve.py.
"""

from __future__ import annotations

import torch

from ml.planning.dual import Dual
from ml.planning.problem import Tensor, Worth, excess

SHY = 4e-7
"""Plans stay this much below a limit, relative, so that float32 quantities keep it exactly."""
TRIES = 4


def recover(dual: Dual, prices: Tensor, theta: float) -> tuple[Tensor, Worth]:
    """The plan at these prices (2 M,), cut to fit: units by slice (M, K, N), float32, and its worth."""
    p = dual.problem
    m, k, n = p.shape
    y = torch.empty((m, k, n), dtype=torch.float32, device=p.device)
    price = prices.to(dual.dtype).reshape(2, m)

    def take(number: int) -> tuple[Tensor, Tensor]:
        part = dual.parts[number]
        volume, inverse = dual.volume_N[part], 1.0 / (theta * dual.scale_N[part])
        paid = (price[0][:, None] * volume + price[1][:, None] + dual.nu_N[part]) * inverse
        t = (dual.value[:, :, part] * inverse - paid[:, None]).clamp_(0, 1)
        t *= dual.width[:, :, part]
        t *= (p.supply_N[part] * (1 - SHY) / t.sum((0, 1)).clamp(min=1e-30)).clamp(max=1.0)
        y[:, :, part] = t
        use = y[:, :, part].sum(1, dtype=torch.float64)
        return use @ p.volume_N[part], use.sum(1)

    used = [torch.stack(column).sum(0) for column in zip(*dual.each(take), strict=True)]
    for _ in range(TRIES):
        shares = [(limit / u.clamp(min=1e-300)) for limit, u in zip((p.storage_M, p.flow_M), used, strict=True)]
        share = torch.minimum(*shares)
        cut = torch.where(share < 1, share * (1 - SHY), torch.ones_like(share)).to(y.dtype)
        worth, used = measure(dual, y, cut)
        if worth.violations.worst == 0.0:
            break
    return y, worth


def measure(dual: Dual, y: Tensor, cut_M: Tensor) -> tuple[Worth, list[Tensor]]:
    """Cut the plan (in place) by a factor a site, and measure it in float64: value, use, every violation."""
    p = dual.problem

    def chunk(number: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        part = dual.parts[number]
        block = y[:, :, part]
        block *= cut_M[:, None, None]
        exact = block.double()
        use = exact.sum(1)
        width = p.width_MKN[:, :, part]
        box = torch.maximum((block - width).max(), -block.min())
        over = (use.sum(0) - p.supply_N[part].double()).max()
        exact *= p.value_MKN[:, :, part]
        return exact.sum(), use @ p.volume_N[part], use.sum(1), box.double(), over

    value, space, units, box, over = (torch.stack(column) for column in zip(*dual.each(chunk), strict=True))
    space_M, units_M = space.sum(0), units.sum(0)
    violations = excess(p, space_M, units_M, float(over.max()), float(box.max()))
    return Worth(float(value.sum()), space_M, units_M, violations), [space_M, units_M]
