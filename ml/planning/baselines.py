"""Three simple ways to plan, to compare the network plan with; all keep to the same storage, inbound and supply.

In: an instance. Out: whole units to have at each site. All three use the demand distributions of the planner
(`segments.site_quantiles`) and newsvendor quantities, priced so that storage is not exceeded.

- each site alone: a newsvendor a site, with its own storage and inbound flow, for the regions that are at home there. No
  site knows of the others: where their orders exceed a vendor's supply, all are cut in proportion.
- demand-proportional: a national newsvendor quantity, priced so that all storage together would do, spread over the
  sites as expected demand is; a site that is too small for its part cuts it in proportion.
- national pooling: the same national quantity, put where it is cheapest to serve all demand from, site after site as they
  fill up; SKUs with the largest profit a cubic metre choose first.

Source: newsvendor with shared capacity: Hadley and Whitin (1963), Analysis of inventory systems, ch. 6.
Run: pytest tests/unit/planning/test_baselines.py
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ml.planning.data import Instance
from ml.planning.segments import Reach, reach, site_quantiles, slice_edges, slice_matrix

Floats = npt.NDArray[np.float64]
STEPS = 40
"""Halvings of a price's interval: to a part in 10^12."""
GRID = 40
"""Pieces of the quantile function."""


@dataclass(frozen=True)
class Newsvendors:
    """One newsvendor for each SKU and place; a place is a site, or the nation.

    Args:
        levels: (G,) cumulative probabilities, rising. quantile: (N, P, G) units at these levels.
        gain: (N, P) money more for a unit sold than for one left; loss: (N, P) money paid for one left.
    """

    levels: Floats
    quantile: Floats
    gain: Floats
    loss: Floats

    def quantities(self, price: Floats) -> Floats:
        """Best units when a unit costs `price` more: price (N, P) money -> (N, P) units.

        The critical level is 1 - (loss + price) / gain; none is bought where that is not positive.
        """
        level = 1.0 - (self.loss + price) / np.maximum(self.gain, 1e-12)
        place = np.clip(level, 0.0, self.levels[-1]) / (self.levels[1] - self.levels[0])  # levels are even
        low = np.minimum(place.astype(int), len(self.levels) - 2)
        left, right = (np.take_along_axis(self.quantile, (low + d)[:, :, None], 2)[:, :, 0] for d in (0, 1))
        return np.where(level > 0.0, left + (right - left) * (place - low), 0.0)

    def within(self, volume: Floats, storage: Floats, flow: Floats) -> Floats:
        """Best units under limits: volume (N,) m³; storage (P,) m³; flow (P,) units -> (N, P) units."""
        highest = float(np.max(self.gain / volume[:, None], initial=1.0))

        def spaced(fee: Floats) -> Floats:  # the least price of space for these fees of a unit
            low, high = np.zeros_like(fee), np.full_like(fee, highest)
            for _ in range(STEPS):
                middle = (low + high) / 2
                over = volume @ self.quantities(volume[:, None] * middle + fee) > storage
                low, high = np.where(over, middle, low), np.where(over, high, middle)
            return np.where(volume @ self.quantities(np.broadcast_to(fee, self.gain.shape)) > storage, high, 0.0)

        fee = np.zeros_like(storage)
        units = self.quantities(volume[:, None] * spaced(fee) + fee)
        if (units.sum(0) <= flow).all():
            return units
        low, high = np.zeros_like(fee), np.full_like(fee, float(np.max(self.gain, initial=1.0)))
        for _ in range(STEPS):
            fee = (low + high) / 2
            over = self.quantities(volume[:, None] * spaced(fee) + fee).sum(0) > flow
            low, high = np.where(over, fee, low), np.where(over, high, fee)
        fee = np.where(units.sum(0) > flow, high, 0.0)
        return self.quantities(volume[:, None] * spaced(fee) + fee)


def newsvendors(instance: Instance, period: int, *, national: bool, way: Reach | None = None) -> Newsvendors:
    """The newsvendors of the serving sites, or of the nation. Before the last period a unit left saves buying it again."""
    way = way or reach(instance)
    places = 1 if national else len(way.sites)
    home = way.home_RM
    share = home.sum(1, keepdims=True) if national else home  # R, P
    mean = instance.demand_mean[:, :, period].astype(np.float64)
    quantile, offered = site_quantiles(
        torch.from_numpy(instance.demand_quantiles[:, :, period].astype(np.float64)),
        torch.from_numpy(mean),
        instance.levels,
        torch.from_numpy(share),
        torch.from_numpy(np.zeros(places)),
    )  # P, Q, N and P, N
    widths = np.einsum("kq,pqn->npk", slice_matrix(instance.levels, GRID), quantile.numpy()).clip(min=0.0)
    weight = mean[:, :, None] * home / np.maximum(mean.sum(1), 1e-20)[:, None, None]  # N, R, M
    earn = np.where(np.isfinite(way.earn_RM), way.earn_RM, 0.0)
    if national:
        won, lane = (weight * earn).sum((1, 2))[:, None], (weight.sum(1) @ way.lane_M)[:, None]
    else:
        won = (mean @ (home * earn)) / np.maximum(offered.numpy().T, 1e-20)
        lane = np.broadcast_to(way.lane_M, won.shape)
    left = (instance.salvage - instance.holding_cost)[:, None]
    if period + 1 < instance.periods:
        left = np.maximum(left, instance.unit_cost[:, None] + lane - instance.holding_cost[:, None])
    return Newsvendors(
        levels=slice_edges(GRID),
        quantile=np.concatenate([np.zeros((*widths.shape[:2], 1)), widths.cumsum(2)], axis=2),
        gain=np.maximum((instance.price + instance.shortage_cost)[:, None] - left + won, 0.0),
        loss=instance.unit_cost[:, None] + lane - left,
    )


def site_alone(instance: Instance, period: int = 0) -> Floats:
    """Each site its own newsvendor: (N, sites) whole units to have."""
    way = reach(instance)
    storage, flow = instance.storage_m3[way.sites, period], instance.inbound_units[way.sites, period]
    units = newsvendors(instance, period, national=False, way=way).within(instance.volume_m3, storage, flow)
    return _spread_out(instance, way, units, period)


def demand_proportional(instance: Instance, period: int = 0) -> Floats:
    """A national quantity, spread as demand is: (N, sites) whole units to have."""
    way = reach(instance)
    demand = instance.demand_mean[:, :, period].astype(np.float64) @ way.home_RM  # N, M
    units = national_quantity(instance, period, way)[:, None] * demand / np.maximum(demand.sum(1, keepdims=True), 1e-20)
    storage, flow = instance.storage_m3[way.sites, period], instance.inbound_units[way.sites, period]
    units *= np.minimum(1.0, storage / np.maximum(instance.volume_m3 @ units, 1e-20))
    units *= np.minimum(1.0, flow / np.maximum(units.sum(0), 1e-20))
    return _spread_out(instance, way, units, period)


def national_pooling(instance: Instance, period: int = 0) -> Floats:
    """A national quantity at the cheapest sites that have room: (N, sites) whole units to have."""
    way = reach(instance)
    mean = instance.demand_mean[:, :, period].astype(np.float64)
    earn = np.where(np.isfinite(way.earn_RM), way.earn_RM, way.earn_RM[np.isfinite(way.earn_RM)].min() - 1.0)
    cheapest = np.argsort(
        -((mean / np.maximum(mean.sum(1, keepdims=True), 1e-20)) @ earn - way.lane_M), axis=1, kind="stable"
    )
    quantity = np.floor(national_quantity(instance, period, way))
    seller = newsvendors(instance, period, national=True, way=way)
    room = instance.storage_m3[way.sites, period].astype(np.float64).copy()
    dock = np.floor(instance.inbound_units[way.sites, period]).astype(np.float64)
    units = np.zeros((instance.skus, len(way.sites)))
    for i in np.argsort(-((seller.gain - seller.loss)[:, 0] / instance.volume_m3), kind="stable"):
        for j in cheapest[i]:
            fits = min(quantity[i], np.floor(room[j] / instance.volume_m3[i] + 1e-9), dock[j])
            units[i, j] = fits
            quantity[i] -= fits
            room[j] -= fits * instance.volume_m3[i]
            dock[j] -= fits
            if quantity[i] <= 0:
                break
    return _spread_out(instance, way, units, period)


def national_quantity(instance: Instance, period: int, way: Reach) -> Floats:
    """Newsvendor quantities of the whole demand under all storage together, not above supply: (N,) units."""
    storage = instance.storage_m3[way.sites, period].sum(keepdims=True)
    flow = instance.inbound_units[way.sites, period].sum(keepdims=True)
    seller = newsvendors(instance, period, national=True, way=way)
    units = seller.within(instance.volume_m3, storage, flow)[:, 0]
    return np.minimum(units, instance.supply[:, period].astype(np.float64))


def _spread_out(instance: Instance, way: Reach, units: Floats, period: int) -> Floats:
    """Cut to supply, make whole packs, and place among all sites: (N, M) -> (N, sites) whole units.

    Parts of packs that were cut are given back from a half on, largest first, where storage, inbound and supply allow.
    Orders below a SKU's smallest are raised pack by pack at its largest site if all of that fits, else left out.
    """
    supply = instance.supply[:, period].astype(np.float64)
    size = instance.pack_size.astype(np.float64)
    packs = units * np.minimum(1.0, supply / np.maximum(units.sum(1), 1e-20))[:, None] / size[:, None]
    whole = np.floor(packs + 1e-9)
    room = instance.storage_m3[way.sites, period] - (instance.volume_m3 * size) @ whole
    dock = instance.inbound_units[way.sites, period] - size @ whole
    spare = np.minimum(supply, 1e15) - whole.sum(1) * size
    part = packs - whole

    def fits(i: int, j: int, n: float) -> bool:
        units = n * size[i]
        return bool(units * instance.volume_m3[i] <= room[j] and units <= dock[j] and units <= spare[i])

    def put(i: int, j: int, n: float) -> None:
        whole[i, j] += n
        room[j] -= n * size[i] * instance.volume_m3[i]
        dock[j] -= n * size[i]
        spare[i] -= n * size[i]

    for flat in np.argsort(-part, axis=None, kind="stable").tolist():
        i, j = divmod(flat, units.shape[1])
        if part[i, j] < 0.5:
            break
        if fits(i, j, 1.0):
            put(i, j, 1.0)
    for i in np.flatnonzero((whole.sum(1) > 0) & (whole.sum(1) * size < instance.min_order)).tolist():
        j, more = int(whole[i].argmax()), float(np.ceil(instance.min_order[i] / size[i]) - whole[i].sum())
        if fits(i, j, more):
            put(i, j, more)
        else:
            whole[i] = 0.0
    placed = np.zeros((instance.skus, instance.sites))
    placed[:, way.sites] = whole * size[:, None]
    return placed
