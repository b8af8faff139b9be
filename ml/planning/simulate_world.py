"""The world a plan is tried in: the instance as plain tensors, and the orders that arrive in it.

In: an instance; or demand paths handed in. Out: `World`, and order streams that depend on the seed alone, so that every
plan meets the same orders (common random numbers).

Letters in shapes: N replications, I SKUs, J sites, R regions, S speeds, C = R * S cells, T periods, L lanes.
Demand is negative binomial with the instance's mean and variance, Poisson where the variance is not above the mean
(Gamma-Poisson: Johnson, Kemp and Kotz 2005, Univariate Discrete Distributions, ch. 5).

Run: pytest tests/unit/planning/test_simulate.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inventorybot.errors import SetupError
from ml.planning.data import Instance
from ml.planning.fulfilment import gains

SUPPLIER = -1
"""Number of the vendor as the start of a lane."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lane:
    """A way into a site: start (`SUPPLIER` or a site's number), end, cost (money a unit), P(lead time = 0, 1, … periods)."""

    start: int
    end: int
    cost: float
    lead: tuple[float, ...]


@dataclass(frozen=True)
class World:
    """All that the simulator needs; float64 tensors.

    Args:
        price, unit_cost, holding, salvage, shortage, volume: (I,), money a unit; volume in m³.
        order_cost: (I,), money an order to the vendor.
        hours, cost: (J, R), door to door and last mile; inf where a site does not deliver.
        cutoff: (J,), hour of day; layer: (J,), 1 is nearest to the vendors.
        promise, value: (S,), hours and money; share: (R, S), rows sum to 1.
        hour_share: (24,), sums to 1.
        storage, inbound: (J, T), m³ and units; supply: (I, T), units, inf where unlimited.
        mean, variance: (I, R, T), units of demand.
        opening: (I, J), units; lanes: the ways in.
    """

    skus: tuple[str, ...]
    sites: tuple[str, ...]
    regions: tuple[str, ...]
    speeds: tuple[str, ...]
    price: Tensor
    unit_cost: Tensor
    holding: Tensor
    salvage: Tensor
    shortage: Tensor
    order_cost: Tensor
    volume: Tensor
    hours: Tensor
    cost: Tensor
    cutoff: Tensor
    layer: Tensor
    promise: Tensor
    value: Tensor
    share: Tensor
    hour_share: Tensor
    storage: Tensor
    inbound: Tensor
    supply: Tensor
    mean: Tensor
    variance: Tensor
    opening: Tensor
    lanes: tuple[Lane, ...]

    @property
    def periods(self) -> int:
        return self.mean.shape[2]

    @property
    def base(self) -> Tensor:
        """Price and avoided shortage of a unit sold, (I,) money."""
        return self.price + self.shortage

    def gain_at(self, hour: float) -> Tensor:
        """What a unit ordered at this hour earns beyond `base`, (C, J) money; -inf where a site does not deliver."""
        return gains(self.hours, self.cost, self.promise, self.value, self.cutoff, hour)

    def expected_gain(self) -> Tensor:
        """`gain_at` averaged over the hours and, by region, over its speeds: (R, J) money."""
        cells = sum(float(p) * self.gain_at(h) for h, p in enumerate(self.hour_share) if p > 0)
        assert isinstance(cells, Tensor)
        by_speed = cells.reshape(len(self.regions), len(self.speeds), -1)  # (R, S, J)
        return torch.where(
            torch.isfinite(self.cost.T), (by_speed * self.share[:, :, None]).nan_to_num().sum(1), -torch.inf
        )

    def homes(self) -> Tensor:
        """The site that serves each region best on average, its way in paid, (R,); the first where two are equal."""
        return (self.expected_gain() - self.inlet()).argmax(1)

    def inlet(self) -> Tensor:
        """Cheapest cost of bringing a unit from the vendor into each site over its lanes, (J,) money; inf where no way."""
        cost = torch.full((len(self.sites),), torch.inf, dtype=torch.float64)
        for _ in range(len(self.sites)):
            for lane in self.lanes:
                start = 0.0 if lane.start == SUPPLIER else float(cost[lane.start])
                cost[lane.end] = min(float(cost[lane.end]), start + lane.cost)
        return cost


def world_of(instance: Instance) -> World:
    """The simulator's view of an instance.

    With one period goods arrive at once: there is no later period that a lead time could move them to.
    """
    x = instance
    lead = x.lane_lead if x.periods > 1 else np.ones((len(x.lane_to), 1))
    rows = zip(x.lane_from.tolist(), x.lane_to.tolist(), x.lane_cost.tolist(), lead.tolist(), strict=True)
    lanes = tuple(Lane(a, b, c, tuple(chances)) for a, b, c, chances in rows)
    return World(
        skus=tuple(x.sku.tolist()),
        sites=tuple(x.site.tolist()),
        regions=tuple(x.region.tolist()),
        speeds=tuple(x.speed.tolist()),
        price=_tensor(x.price),
        unit_cost=_tensor(x.unit_cost),
        holding=_tensor(x.holding_cost),
        salvage=_tensor(x.salvage),
        shortage=_tensor(x.shortage_cost),
        order_cost=_tensor(x.order_cost),
        volume=_tensor(x.volume_m3),
        hours=_tensor(x.delivery_hours.T),
        cost=_tensor(x.delivery_cost.T),
        cutoff=_tensor(x.cutoff_hour),
        layer=_tensor(x.layer),
        promise=_tensor(x.promise_hours),
        value=_tensor(x.speed_value),
        share=_tensor(x.speed_share),
        hour_share=_tensor(x.hour_share),
        storage=_tensor(x.storage_m3),
        inbound=_tensor(x.inbound_units),
        supply=_tensor(x.supply),
        mean=_tensor(x.demand_mean),
        variance=_tensor(spread(x.demand_quantiles, x.levels) ** 2),
        opening=_tensor(np.floor(x.stock)),
        lanes=lanes,
    )


def spread(quantiles: Floats, levels: Floats) -> Floats:
    """Standard deviation from the outermost quantiles, as a normal's: (…, Q) units -> (…) units."""
    low, high = (NormalDist().inv_cdf(float(levels[k])) for k in (0, -1))
    found: Floats = (quantiles[..., -1].astype(np.float64) - quantiles[..., 0]) / (high - low)
    return found


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))


@dataclass(frozen=True)
class Stretch:
    """A part of a period in which orders are served together: hour of day, share of the period's orders."""

    hour: float
    share: float


def stretches(world: World, days: int = 1, least: int = 8) -> list[Stretch]:
    """Cut a period of `days` days into stretches within which no site's cut-off falls.

    Args: days: in a period, >= 1; least: stretches a day if the period is a day, so that stock is spent step by step.
    Returns: in order of time; shares sum to 1. Stretches without orders are left out.
    """
    cuts = {0.0, 24.0} | {float(h) for h in world.cutoff if 0 < h < 24}
    if days == 1:
        cuts |= {24.0 * k / least for k in range(least)}
    edges = sorted({int(np.ceil(c)) for c in cuts})  # hour_share knows whole hours
    day = [
        Stretch(float(a), float(world.hour_share[a:b].sum()) / days)
        for a, b in pairwise(edges)
        if float(world.hour_share[a:b].sum()) > 0
    ]
    return day * days


def draw_demand(world: World, seed: int, replication: int) -> Ints:
    """One path of demand: (I, R, T) units, negative binomial; depends on the seed and the replication alone."""
    rng = np.random.default_rng([seed, replication, 0])
    mean, variance = world.mean.numpy(), world.variance.numpy()
    excess = np.maximum(variance - mean, 0.0)
    spread = excess > 1e-9 * np.maximum(mean, 1e-12)
    shape = np.where(spread, mean * mean / np.where(spread, excess, 1.0), 1.0)
    rate = np.where(spread, rng.gamma(np.maximum(shape, 1e-12)) / np.maximum(shape, 1e-12) * mean, mean)
    drawn: Ints = rng.poisson(rate)
    return drawn


def draw_leads(world: World, seed: int, replication: int) -> Ints:
    """Lead times, (L, T) periods: what leaves on a lane in a period travels together."""
    rng = np.random.default_rng([seed, replication, 1])
    drawn = [rng.choice(len(lane.lead), size=world.periods, p=np.array(lane.lead)) for lane in world.lanes]
    return np.array(drawn, dtype=np.int64).reshape(len(world.lanes), world.periods)


def draw_orders(
    world: World, demand: Ints, parts: list[Stretch], seed: int, replication: int, period: int
) -> Iterator[Tensor]:
    """Split a period's demand over stretches and speeds: one (I, C) tensor of units a stretch.

    Args: demand (I, R), units. Every unit falls into exactly one stretch and cell (multinomial).
    """
    rng = np.random.default_rng([seed, replication, 2, period])
    share = world.share.numpy()
    left = demand
    ahead = 1.0
    for k, part in enumerate(parts):
        chance = min(1.0, part.share / ahead) if k + 1 < len(parts) else 1.0
        now = rng.binomial(left, chance) if chance < 1.0 else left
        left, ahead = left - now, max(ahead - part.share, 1e-12)
        cells = rng.multinomial(now, share[None, :, :])  # (I, R, S)
        yield torch.from_numpy(cells.reshape(len(cells), -1).astype(np.float64))


def check_paths(paths: Ints, world: World) -> Ints:
    """Refuse demand paths that do not fit: (N, I, R, T), whole units >= 0."""
    wanted = (len(world.skus), len(world.regions), world.periods)
    if paths.ndim != 4 or paths.shape[1:] != wanted:
        raise SetupError(f"demand paths have shape {paths.shape}, wanted (N, {', '.join(map(str, wanted))})")
    if (paths < 0).any():
        n, i, r, t = (int(x[0]) for x in np.nonzero(paths < 0))
        raise SetupError(
            f"demand of {world.skus[i]} in {world.regions[r]}, period {t}, path {n} is {paths[n, i, r, t]}: units are >= 0"
        )
    return paths
