"""Demand and money -> slices of demand with a value each, at the site that serves them best.

In: an `Instance`. Out: the arrays of `Problem`. docs/planning.md has the formulas. Tests: tests/unit/planning/test_segments.py.
Shapes: N SKUs, M serving sites, R regions, Q forecast quantiles, K slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ml.planning.data import Instance
from ml.planning.problem import Problem, Tensor
from ml.planning.tables import Array

SLICES = 10
TOP_LEVEL = 0.99
"""No stock is planned for demand above this quantile."""
TAIL_SLOPE = 2.0
"""Above the highest forecast quantile the quantile function rises this much faster than between the last two."""
DAY_H = 24.0
"""An order after the cut-off leaves this much later."""
CHUNK = 16_384
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """What the network can do for each region, the same for all SKUs.

    Args:
        sites: rows of the serving sites in the instance, int64 (M,).
        lane_M: cheapest way from a vendor to the site, money a unit.
        earn_RM: value of kept promises less last mile, money a unit; -inf where the site does not deliver.
        rank_RM: serving sites by earnings less lanes, best first; column 0 is the region's home.
        wait_M: variance of the lead time on that way, periods².
    """

    sites: Array
    lane_M: Array
    earn_RM: Array
    rank_RM: Array
    wait_M: Array

    @property
    def home_RM(self) -> Array:
        """1 where a site is the region's home, else 0; float64."""
        home = np.zeros(self.earn_RM.shape)
        home[np.arange(len(home)), self.rank_RM[:, 0]] = 1.0
        return home


def reach(instance: Instance) -> Reach:
    """Promises kept by cut-off share and delivery hours, cheapest lanes, and homes."""
    sites = np.flatnonzero(instance.serving)
    cost, wait = cheapest_lanes(instance)
    early = instance.cutoff_share[sites]  # M
    hours = instance.delivery_hours[:, sites, None]  # R, M, 1
    kept = early[:, None] * (hours <= instance.promise_hours) + (1 - early)[:, None] * (
        hours + DAY_H <= instance.promise_hours
    )
    worth = (instance.speed_share[:, None, :] * instance.speed_value * kept).sum(axis=2)
    earn = worth - instance.delivery_cost[:, sites]
    rank = np.argsort(-(earn - cost[sites]), axis=1, kind="stable")
    return Reach(sites, cost[sites], earn, rank, wait[sites])


def cheapest_lanes(instance: Instance) -> tuple[Array, Array]:
    """Cost and lead-time variance of the cheapest way from a vendor to every site, float64 (sites,); inf: no way."""
    lead = instance.lane_lead
    mean = lead @ np.arange(lead.shape[1])
    variance = lead @ np.arange(lead.shape[1]) ** 2 - mean**2
    cost, wait = np.full(instance.sites, np.inf), np.zeros(instance.sites)
    for _ in range(instance.sites):  # Bellman-Ford: a way has at most that many lanes
        for e, (a, b) in enumerate(zip(instance.lane_from, instance.lane_to, strict=True)):
            base, before = (0.0, 0.0) if a < 0 else (cost[a], wait[a])
            if base + instance.lane_cost[e] < cost[b]:
                cost[b], wait[b] = base + instance.lane_cost[e], before + variance[e]
    return cost, wait


def slice_edges(slices: int) -> Array:
    """Levels between which the slices lie, float64 (K + 1,): even from 0 to TOP_LEVEL."""
    return np.linspace(0.0, TOP_LEVEL, slices + 1)


def slice_matrix(levels: Array, slices: int) -> Array:
    """Widths of the slices as a linear function of the forecast quantiles, float64 (K, Q).

    The quantile function is linear between (0, 0), the forecast levels, and beyond the last with TAIL_SLOPE.
    """
    edges = slice_edges(slices)
    at = np.zeros((slices + 1, len(levels)))
    knots = np.concatenate([[0.0], levels])
    for row, x in enumerate(edges):
        if x >= levels[-1]:
            steep = TAIL_SLOPE * (x - levels[-1]) / (levels[-1] - levels[-2])
            at[row, -1], at[row, -2] = 1.0 + steep, -steep
            continue
        right = int(np.searchsorted(knots, x, side="right"))
        share = (x - knots[right - 1]) / (knots[right] - knots[right - 1])
        at[row, right - 1] = share
        if right >= 2:
            at[row, right - 2] = 1.0 - share
    widths: Array = np.diff(at, axis=0)
    return widths


def site_quantiles(
    quantile_nRQ: Tensor, mean_nR: Tensor, levels: Array, share: Tensor, wait_M: Tensor
) -> tuple[Tensor, Tensor]:
    """Quantiles (M, Q, n) and mean (M, n) of the demand that sites serve together for their regions.

    Quantiles are added as if regions rose and fell together, then drawn to the mean by √Σσ² / Σσ, as they do not; an
    uncertain lead time adds mean² · variance.

    Args:
        share: of each region's demand that the site is asked for, (R, M).
    """
    spread = float(_normal(levels[-1]) - _normal(levels[0]))
    total = torch.einsum("nrq,rm->mqn", quantile_nRQ, share)
    mean = torch.einsum("nr,rm->mn", mean_nR, share)
    sigma_nR = (quantile_nRQ[..., -1] - quantile_nRQ[..., 0]) / spread
    apart = torch.einsum("nr,rm->mn", sigma_nR.square(), share.square())
    together = torch.einsum("nr,rm->mn", sigma_nR, share)
    apart += mean.square() * wait_M[:, None]
    drawn = apart.sqrt() / together.clamp(min=1e-20)
    total = mean[:, None] + (total - mean[:, None]) * drawn[:, None]
    return total.clamp_(min=0), mean


def _normal(level: float) -> float:
    return float(torch.special.ndtri(torch.tensor(level, dtype=torch.float64)))


def build(
    instance: Instance,
    *,
    slices: int = SLICES,
    period: int = 0,
    progress: Progress | None = None,
) -> Problem:
    """The one-period linear program of an instance.

    Args:
        progress: told the number of SKUs done since the last call.
    """
    way = reach(instance)
    n, m = instance.skus, len(way.sites)
    value, width = torch.empty(m, slices, n), torch.empty(m, slices, n)
    offered, held_sold = torch.empty(m, n), torch.empty(m, n)
    held, chance = torch.from_numpy(instance.stock[:, way.sites].T.copy()), torch.from_numpy(sold(slices)).float()
    stored = 0.0
    for a in range(0, n, CHUNK):
        part = slice(a, min(n, a + CHUNK))
        v, w, mean = _slices(instance, way, part, slices, period)
        kept = torch.minimum((held[:, None, part] - (w.cumsum(1) - w)).clamp_(min=0), w)
        left, paid = _left(instance, part), torch.from_numpy(instance.unit_cost[part])
        own = v.double() + paid + torch.from_numpy(way.lane_M)[:, None, None]
        beyond = (held[:, part].double() - kept.sum(1)) * left
        stored += float((own * kept).sum() + beyond.sum())
        held_sold[:, part] = (kept * chance[:, None]).sum(1)
        value[:, :, part], width[:, :, part], offered[:, part] = v, w - kept, mean
        if progress:
            progress(part.stop - part.start)
    volume = torch.from_numpy(instance.volume_m3)
    room = torch.from_numpy(instance.storage_m3[way.sites, period]) - held.double() @ volume
    lost = float((instance.demand_mean[:, :, period].sum(axis=1, dtype=np.float64) * instance.shortage_cost).sum())
    return Problem(
        value_MKN=value,
        width_MKN=width,
        sold_K=torch.from_numpy(sold(slices)),
        volume_N=volume,
        surplus_N=_left(instance, slice(None)) - torch.from_numpy(instance.unit_cost),
        lane_M=torch.from_numpy(way.lane_M),
        storage_M=room.clamp_(min=0),
        flow_M=torch.from_numpy(instance.inbound_units[way.sites, period].copy()),
        supply_N=torch.from_numpy(instance.supply[:, period].copy()),
        held_MN=held,
        held_sold_MN=held_sold,
        offered_MN=offered,
        constant=stored - lost,
    )


def sold(slices: int) -> Array:
    """Probability that a unit of each slice is asked for, float64 (K,)."""
    edges = slice_edges(slices)
    middle: Array = 1.0 - (edges[1:] + edges[:-1]) / 2
    return middle


def _left(instance: Instance, part: slice) -> Tensor:
    """Worth of a unit that is not sold: salvage less holding."""
    return torch.from_numpy(instance.salvage[part] - instance.holding_cost[part])


def _slices(instance: Instance, way: Reach, part: slice, slices: int, period: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values and widths (M, K, n) and mean demand (M, n) of some SKUs."""
    width, mean, earn = site_demand(instance, way, part, slices, period, torch.from_numpy(way.wait_M).float())
    price, goodwill = torch.from_numpy(instance.price[part]), torch.from_numpy(instance.shortage_cost[part])
    left, cost = _left(instance, part), torch.from_numpy(instance.unit_cost[part])
    gain = (price + goodwill - left).float() + earn  # M, n
    gain.clamp_(min=0)  # worth more unsold than sold: then it is not bought for sale
    base = (left - cost - torch.from_numpy(way.lane_M)[:, None]).float()  # M, n
    value = torch.from_numpy(sold(slices)).float()[:, None] * gain[:, None] + base[:, None]
    return value, width, mean


def site_demand(
    instance: Instance, way: Reach, part: slice, slices: int, period: int, wait_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Slice widths (M, K, n), mean demand (M, n) and earnings a unit (M, n) of some SKUs at the sites that serve them."""
    mean_nR = torch.from_numpy(instance.demand_mean[part, :, period])
    quantile_nRQ = torch.from_numpy(instance.demand_quantiles[part, :, period])
    home = torch.from_numpy(way.home_RM).float()
    quantile, mean = site_quantiles(quantile_nRQ, mean_nR, instance.levels, home, wait_M)
    width = torch.matmul(torch.from_numpy(slice_matrix(instance.levels, slices)).float(), quantile).clamp_(min=0)
    earn = torch.from_numpy(np.where(np.isfinite(way.earn_RM), way.earn_RM, 0.0)).float()
    weighed = torch.einsum("nr,rm->mn", mean_nR, home * earn)
    return width, mean, weighed / mean.clamp(min=1e-20)
