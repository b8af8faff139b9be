"""Made planning problems that look like a large seller's: cities, categories, skewed sizes, limits that bind.

In: sizes and a seed. Out: an `Instance`; the same seed gives the same numbers. Run: `inventorybot plan generate`.

Sites and regions are cities; a region's share of demand follows its people. A SKU's category gives its size, price, margin
and spread; most SKUs sell little. Demand of a region is gamma with a variance of mean · dispersion + (cv · mean)², its
quantiles by Wilson and Hilferty (1931). Storage and inbound flow are set to a share of what the sites would like to hold,
so that most of them bind; a part of the SKUs has a vendor who cannot send enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inventorybot.errors import SetupError
from ml.planning.data import Instance
from ml.planning.places import CITIES, kilometres
from ml.planning.tables import Array

LEVELS = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
NORMAL = np.array([-1.644854, -1.281552, -0.674490, 0.0, 0.674490, 1.281552, 1.644854])
"""Standard normal quantiles at LEVELS."""
#              share  m³ median  sigma  price  sigma  cost share  units  sigma  cv
CATEGORIES = np.array(
    [
        (0.30, 0.0012, 0.8, 9.0, 0.6, 0.62, 2.2, 1.2, 0.35),  # grocery and household
        (0.20, 0.0020, 0.9, 45.0, 0.9, 0.70, 0.6, 1.3, 0.55),  # electronics
        (0.20, 0.0150, 1.1, 38.0, 0.8, 0.55, 0.5, 1.3, 0.50),  # home and garden
        (0.15, 0.0025, 0.5, 28.0, 0.5, 0.45, 0.9, 1.2, 0.70),  # apparel
        (0.10, 0.0060, 0.8, 22.0, 0.6, 0.52, 0.8, 1.4, 0.80),  # toys
        (0.05, 0.1200, 0.7, 160.0, 0.7, 0.60, 0.15, 1.0, 0.60),  # bulky
    ],
    dtype=np.float32,
)
SPEEDS = (("same-day", 14.0, 2.0, 0.15), ("next-day", 38.0, 0.8, 0.45), ("standard", 96.0, 0.0, 0.40))
"""Name, promised hours, worth of keeping it, share of the orders."""
HOURS = np.array([1, 1, 1, 1, 1, 2, 3, 5, 6, 7, 7, 7, 7, 6, 6, 6, 6, 7, 8, 9, 10, 8, 5, 3], float)
CHUNK = 65_536
"""SKUs made at a time: bounds what the quantiles need beside their result."""
LIMITS = {"skus": 5_000_000, "sites": 200, "periods": 60, "layers": 4, "regions": 400}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a made problem is.

    Args:
        skus, sites, periods, layers: numbers of each. regions: default twice the sites.
        tight: scales storage and inbound limits; 1 leaves about 15 % less than the sites would like.
        scarce: share of the SKUs whose vendor is limited.
        stocked: whether there is opening stock; default: with several periods.

    Raises: SetupError: a size is below 1 or above `LIMITS`, or there are more layers than sites.
    """

    skus: int
    sites: int
    periods: int = 1
    layers: int = 1
    regions: int = 0
    tight: float = 1.0
    scarce: float = 0.15
    stocked: bool | None = None

    def __post_init__(self) -> None:
        for name, limit in LIMITS.items():
            size = getattr(self, name)
            if not (1 <= size <= limit or (name == "regions" and size == 0)):
                raise SetupError(f"{name} must be 1 to {limit:,}, not {size:,}")
        if self.layers > self.sites:
            raise SetupError(f"{self.layers} layers need at least as many sites, not {self.sites}")
        if not (self.tight > 0 and 0 <= self.scarce <= 1):
            raise SetupError(f"tight must be above 0 and scarce 0 to 1, not {self.tight:g} and {self.scarce:g}")


def generate(sizes: Sizes, seed: int) -> Instance:
    """A problem of these sizes, drawn with this seed."""
    rng = np.random.default_rng(seed)
    regions = sizes.regions or 2 * sizes.sites
    site, layer, site_place = _sites(sizes)
    region, region_place, people = _places(regions, "")
    km = kilometres(region_place[:, None], site_place[None])  # R, M
    hours, cost = _delivery(km, layer)
    goods = _goods(rng, sizes.skus)
    mean = _means(rng, goods, people, sizes.periods)
    quantiles = _quantiles(mean, goods["cv"], goods["dispersion"])
    home = _homes(cost, hours)
    wanted = np.zeros((sizes.skus, sizes.sites, sizes.periods), np.float32)
    for r, j in enumerate(home):
        wanted[:, j] += mean[:, r]
    storage, inbound = _limits(rng, goods["volume_m3"], wanted, layer, sizes)
    return Instance(
        sku=np.char.add("sku-", np.char.zfill(np.arange(sizes.skus).astype(np.str_), 7)),
        **{c: goods[c] for c in goods if c not in ("cv", "dispersion", "units")},
        site=site,
        site_name=np.char.add(np.char.capitalize(site), np.where(layer == 1, " hub" if sizes.layers > 1 else "", "")),
        layer=layer,
        cutoff_hour=np.where(layer >= 3, 16, rng.integers(17, 22, sizes.sites)),
        site_place=site_place,
        storage_m3=storage,
        inbound_units=inbound,
        region=region,
        region_place=region_place,
        speed=np.array([s[0] for s in SPEEDS]),
        promise_hours=np.array([s[1] for s in SPEEDS]),
        speed_value=np.array([s[2] for s in SPEEDS]),
        speed_share=np.tile([s[3] for s in SPEEDS], (regions, 1)),
        hour_share=HOURS / HOURS.sum(),
        delivery_hours=hours,
        delivery_cost=cost,
        **_lanes(site_place, layer, sizes.periods),
        supply=_supply(rng, mean, sizes.scarce),
        demand_mean=mean,
        demand_quantiles=quantiles,
        levels=LEVELS,
        stock=_stock(rng, wanted, storage, goods["volume_m3"], layer, sizes),
    )


def _places(n: int, suffix: str) -> tuple[Array, Array, Array]:
    """n cities by size: names, degrees (n, 2), people (n,). Beyond the list, suburbs a little off."""
    again, row = np.divmod(np.arange(n), len(CITIES))
    names = [CITIES[i][0] + (f"-{k + 1}" if k else "") + suffix for k, i in zip(again, row, strict=True)]
    place = np.array([CITIES[i][1:3] for i in row], float) + np.stack([0.25 * again, 0.35 * again], axis=1)
    people = np.array([CITIES[i][3] for i in row], float) / (1.0 + again)
    return np.array(names), np.minimum(place, 89.0), people / people.sum()


def _sites(sizes: Sizes) -> tuple[Array, Array, Array]:
    """Names, layers and places. A fifth of the sites is upstream in each layer but the last."""
    layer = np.full(sizes.sites, sizes.layers)
    upstream = max(1, sizes.sites // 5)
    for lower in range(1, sizes.layers):
        end = min(lower * upstream, sizes.sites - (sizes.layers - lower))
        layer[min((lower - 1) * upstream, end - 1) : end] = lower
    names, place, _ = _places(sizes.sites, "")
    return names, layer, place


def _delivery(km: Array, layer: Array) -> tuple[Array, Array]:
    """Hours and cost (R, M). With layers, the first does not deliver; a third one delivers same-day, nearby."""
    hours, cost = 5.0 + km / 55.0, 2.0 + 0.006 * km
    if layer.max() > 1:
        off = np.broadcast_to(layer == 1, km.shape) | ((layer >= 3) & (km > 120.0))
        hours, cost = np.where(off, np.inf, hours), np.where(off, np.inf, cost)
    return hours, cost


def _homes(cost: Array, hours: Array) -> Array:
    """The cheapest fast site of each region, int64 (R,): enough to size the sites."""
    best: Array = np.argmin(cost + 0.02 * hours, axis=1)
    return best


def _goods(rng: np.random.Generator, n: int) -> dict[str, Array]:
    share = CATEGORIES[:, 0].astype(float)
    c = CATEGORIES[rng.choice(len(share), n, p=share / share.sum())]
    noise = rng.standard_normal((4, n), dtype=np.float32)
    price = np.round(c[:, 3] * np.exp(c[:, 4] * noise[1]), 2).clip(0.5).astype(float)
    cost = np.round(price * (c[:, 5] + 0.05 * noise[2]).clip(0.2, 0.9), 2)
    return {
        "volume_m3": np.maximum(c[:, 1] * np.exp(c[:, 2] * noise[0]), 5e-5).astype(float),
        "unit_cost": cost,
        "price": price,
        "holding_cost": np.round(0.004 * cost, 4),
        "salvage": np.round(rng.uniform(0.3, 0.7, n) * cost, 2),
        "shortage_cost": np.round(0.05 * price, 2),
        "pack_size": rng.choice([1, 1, 1, 2, 4, 6, 12], n).astype(np.int64),
        "min_order": np.where(rng.random(n) < 0.2, rng.choice([10.0, 20.0, 50.0], n), 0.0),
        "order_cost": np.where(rng.random(n) < 0.3, 15.0, 0.0),
        "units": c[:, 6] * np.exp(c[:, 7] * noise[3]),
        "cv": c[:, 8],
        "dispersion": rng.uniform(1.0, 2.5, n).astype(np.float32),
    }


def _means(rng: np.random.Generator, goods: dict[str, Array], people: Array, periods: int) -> Array:
    """Expected demand, float32 (N, R, T): units · regions · share of the people · taste · season."""
    n, r = len(goods["units"]), len(people)
    mean = rng.standard_normal((n, r), dtype=np.float32)
    mean *= 0.4
    np.exp(mean, out=mean)
    mean *= (people * r).astype(np.float32)
    mean *= 8.0 * goods["units"][:, None]
    if periods == 1:
        return mean[:, :, None]
    phase = rng.random(n, dtype=np.float32)[:, None] * 2 * np.pi + np.arange(periods, dtype=np.float32) * (
        2 * np.pi / 13
    )
    season = (1.0 + 0.25 * np.sin(phase)).astype(np.float32)
    return mean[:, :, None] * season[:, None]


def _quantiles(mean: Array, cv: Array, dispersion: Array) -> Array:
    """Gamma quantiles, float32 (N, R, T, Q)."""
    out = np.empty((*mean.shape, len(LEVELS)), np.float32)
    for a in range(0, len(mean), CHUNK):
        m = mean[a : a + CHUNK]
        ninth = (dispersion[a : a + CHUNK, None, None] / m + np.square(cv[a : a + CHUNK])[:, None, None]) / 9
        root = np.sqrt(ninth)
        for q, z in enumerate(NORMAL.astype(np.float32)):
            part = 1 - ninth + z * root
            np.maximum(part, 0, out=part)
            out[a : a + CHUNK, ..., q] = m * part * part * part
    return out


def _limits(rng: np.random.Generator, volume: Array, wanted: Array, layer: Array, sizes: Sizes) -> tuple[Array, Array]:
    """Storage (m³) and inbound units, float64 (M, T): a share of what a site would like to hold and receive."""
    space = np.einsum("i,ijt->jt", volume.astype(np.float32), wanted).astype(float)
    units = wanted.sum(axis=0, dtype=np.float64)
    hub = layer < layer.max()
    space[hub], units[hub] = space.sum(axis=0) / max(1, hub.sum()) / 2, units.sum(axis=0) / max(1, hub.sum())
    covered = 1.0 if sizes.periods == 1 else 1.5  # with a next period there is some of its stock, too
    storage = space.mean(axis=1) * covered * rng.uniform(0.65, 1.05, len(layer)) * sizes.tight
    low, high = (0.6, 1.0) if sizes.periods == 1 else (0.75, 1.1)
    inbound = units.mean(axis=1) * rng.uniform(low, high, len(layer)) * sizes.tight
    shape = (sizes.sites, sizes.periods)
    return np.broadcast_to(storage[:, None], shape).round(3), np.broadcast_to(inbound[:, None], shape).round(0)


def _lanes(place: Array, layer: Array, periods: int) -> dict[str, Array]:
    """Vendors to the first layer, each layer to the next; with several periods, lead times that vary."""
    rows: list[tuple[int, int, float, tuple[float, ...]]]
    rows = [(-1, j, 0.3, (0.8, 0.2)) for j in np.flatnonzero(layer == 1).tolist()]
    if layer.max() > 1:
        rows += [(-1, j, 0.9, (0.0, 0.7, 0.3)) for j in np.flatnonzero(layer == 2).tolist()]
    for i, j in np.argwhere(layer[:, None] + 1 == layer[None, :]):
        km = float(kilometres(place[i], place[j]))
        rows.append((i, j, 0.15 + 0.0008 * km, (0.9, 0.1) if km < 300 else (0.6, 0.4)))
    lead = np.zeros((len(rows), 3 if periods > 1 else 1))
    for e, row in enumerate(rows):
        if periods > 1:
            lead[e, : len(row[3])] = row[3]
        else:
            lead[e, 0] = 1.0
    return {
        "lane_from": np.array([r[0] for r in rows], np.int64),
        "lane_to": np.array([r[1] for r in rows], np.int64),
        "lane_cost": np.array([r[2] for r in rows]).round(4),
        "lane_lead": lead,
    }


def _supply(rng: np.random.Generator, mean: Array, scarce: float) -> Array:
    """Units the vendors can send, float32 (N, T); inf for most SKUs."""
    total = mean.sum(axis=1)
    share = rng.uniform(0.4, 1.3, len(mean)).astype(np.float32)
    limited = rng.random(len(mean)) < scarce
    return np.where(limited[:, None], np.round(total * share[:, None]), np.float32(np.inf)).astype(np.float32)


def _stock(rng: np.random.Generator, wanted: Array, storage: Array, volume: Array, layer: Array, sizes: Sizes) -> Array:
    """Opening stock, float32 (N, M): part of the first period's demand, at most half of the storage."""
    stocked = sizes.periods > 1 if sizes.stocked is None else sizes.stocked
    if not stocked:
        return np.zeros((sizes.skus, sizes.sites), np.float32)
    have = np.floor(wanted[:, :, 0] * rng.uniform(0.0, 1.2, (sizes.skus, sizes.sites)).astype(np.float32))
    room = 0.5 * storage[:, 0] / np.maximum(volume @ have, 1e-9)
    fitted: Array = np.floor(have * np.minimum(1.0, room)).astype(np.float32)
    return fitted
