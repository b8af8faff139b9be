"""A one-period planning problem from a table of real sales, and the weeks held out to try plans on.

In: a Parquet table with the columns store, item, week, units. Out: an `Instance`, and the sales of the last weeks as
demand paths. Demand is real, and so is its forecast error; where stores lie, what things cost and how large they are is
not in such a table and is made with a seed.

Stores are spread over cities; a city's stores are one region, with one site. The forecast is empirical: the level is the
mean of the last 13 weeks before the hold-out; quantiles are the level times the quantiles of sales / level over the 52
weeks before, each seen from 1 to `holdout` weeks ahead, pooled over an item's regions. Returns (units below 0) count as
none. Sales are taken for demand: what a store did not have on its shelves, nobody bought.

Run: inventorybot plan simulate DIR --sales FILE; pytest tests/unit/planning/test_from_sales.py
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from inventorybot.errors import SetupError
from ml.planning.baselines import newsvendors
from ml.planning.data import Instance
from ml.planning.generate import HOURS, LEVELS
from ml.planning.places import CITIES, kilometres
from ml.planning.segments import reach

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL_WEEKS = 13
ERROR_WEEKS = 52
COLUMNS = ("store", "item", "week", "units")
SPEEDS = (("same-day", 14.0, 0.30, 0.2), ("next-day", 38.0, 0.10, 0.5), ("standard", 96.0, 0.0, 0.3))
"""Name, promised hours, worth of keeping it (money a unit), share of the orders."""


@dataclass(frozen=True)
class Sales:
    """Sales by item, store and week: names, and units (items, stores, weeks), >= 0."""

    items: tuple[str, ...]
    stores: tuple[str, ...]
    units: Floats


@dataclass(frozen=True)
class Economics:
    """What a sales table does not tell.

    Args:
        seed: same seed, same prices, sizes, places and limits.
        sites: cities with a site and a region each, 1 to the number of stores.
        tight: storage of all sites together, as a share of what they would like to hold; single sites are 40 % above or
            below that share at most.
        scarce: share of the items whose vendor is limited, to 60-120 % of the expected demand.
    """

    seed: int
    sites: int = 7
    tight: float = 0.85
    scarce: float = 0.15

    def __post_init__(self) -> None:
        if not (self.tight > 0 and 0 <= self.scarce <= 1):
            raise SetupError(f"tight must be above 0 and scarce 0 to 1, not {self.tight:g} and {self.scarce:g}")


def read_sales(path: Path) -> Sales:
    """Read a sales table; a week without a row sold nothing.

    Raises: SetupError: no such file, a column is missing, weeks are not whole numbers >= 0, units are not numbers.
    """
    try:
        table = pq.read_table(path)
    except (FileNotFoundError, OSError, pa.ArrowInvalid) as error:
        raise SetupError(f"{path} cannot be read as Parquet: {error}") from error
    missing = [c for c in COLUMNS if c not in table.column_names]
    if missing:
        raise SetupError(f"{path} lacks column {missing[0]}: a sales table has {', '.join(COLUMNS)}")
    if not len(table):
        raise SetupError(f"{path} is empty")
    stores, store = np.unique(np.asarray(table["store"].cast(pa.string()).to_numpy(), dtype=str), return_inverse=True)
    items, item = np.unique(np.asarray(table["item"].cast(pa.string()).to_numpy(), dtype=str), return_inverse=True)
    week = table["week"].to_numpy()
    sold = table["units"].to_numpy().astype(np.float64)
    for column, bad in (("week", (week < 0) | (week != np.floor(week))), ("units", ~np.isfinite(sold))):
        if bad.any():
            row = int(bad.argmax())
            wanted = "a week is a whole number, at least 0" if column == "week" else "units are finite numbers"
            raise SetupError(f"{path}, column {column}, row {row}: {table[column][row].as_py()}: {wanted}")
    units = np.zeros((len(items), len(stores), int(week.max()) + 1))
    np.add.at(units, (item, store, week.astype(np.int64)), sold)
    return Sales(tuple(items.tolist()), tuple(stores.tolist()), units.clip(min=0.0))


def instance_from_sales(sales: Sales, economics: Economics, holdout: int = 13) -> tuple[Instance, Ints]:
    """A one-period problem, a week, from sales; and its held-out weeks.

    Args: holdout: last weeks that the forecast does not see, >= 1.
    Returns: the instance; demand paths (holdout, items, regions, 1), whole units.
    Raises: SetupError: too few weeks, or more sites than stores or cities.
    """
    most = min(len(sales.stores), len(CITIES))
    if not 1 <= economics.sites <= most:
        raise SetupError(f"sites must be 1 to {most} for {len(sales.stores)} stores, not {economics.sites}")
    rng = np.random.default_rng(economics.seed)
    city = rng.permutation(len(sales.stores)) % economics.sites
    regional = np.stack([sales.units[:, city == c].sum(1) for c in range(economics.sites)], axis=1)  # I, R, weeks
    mean, quantiles = forecast(regional[:, :, :-holdout], holdout)
    network = _network(rng, economics.sites)
    goods = _goods(rng, len(sales.items))
    scarce = rng.random(len(sales.items)) < economics.scarce
    supply = np.where(scarce, np.round(mean.sum(1) * rng.uniform(0.6, 1.2, len(sales.items))), np.inf)
    instance = Instance(
        sku=np.array(sales.items),
        **goods,
        **network,
        storage_m3=np.full((economics.sites, 1), np.inf),
        inbound_units=np.full((economics.sites, 1), np.inf),
        supply=supply.astype(np.float32)[:, None],
        demand_mean=mean.astype(np.float32)[:, :, None],
        demand_quantiles=quantiles.astype(np.float32)[:, :, None, :],
        levels=LEVELS,
        stock=np.zeros((len(sales.items), economics.sites), np.float32),
    )
    storage = _storage(instance, rng, economics)
    paths = np.round(regional[:, :, -holdout:]).astype(np.int64).transpose(2, 0, 1)[..., None]
    return replace(instance, storage_m3=storage[:, None]), paths


def forecast(history: Floats, ahead: int) -> tuple[Floats, Floats]:
    """Empirical forecast of a week, the same for each of the next `ahead`.

    Args: history (I, R, weeks), units. Returns: mean (I, R); quantiles at `generate.LEVELS` (I, R, Q), units.
    Raises: SetupError: less than 13 + ahead + 1 weeks.
    """
    weeks = history.shape[2]
    back = min(ERROR_WEEKS, weeks - LEVEL_WEEKS - ahead)
    if ahead < 1 or back < 1:
        raise SetupError(
            f"{weeks} weeks before the hold-out are too few: {LEVEL_WEEKS + ahead + 1} are needed for {ahead} ahead"
        )
    total = np.concatenate([np.zeros((*history.shape[:2], 1)), history.cumsum(2)], axis=2)
    levels = (total[:, :, LEVEL_WEEKS:] - total[:, :, :-LEVEL_WEEKS]) / LEVEL_WEEKS  # at k: weeks k .. k + 12
    target = np.arange(weeks - back, weeks)
    origin = target - np.arange(back) % ahead - LEVEL_WEEKS - 1
    ratio = (history[:, :, target] + 0.5) / (levels[:, :, origin] + 0.5)  # half a unit: no division by nothing
    pooled = ratio.reshape(len(ratio), -1)
    level = levels[:, :, -1:] + 0.5
    mean = (level[:, :, 0] * pooled.mean(1)[:, None] - 0.5).clip(min=0.0)
    quantiles = (level * np.quantile(pooled, LEVELS, axis=1).T[:, None, :] - 0.5).clip(min=0.0)
    return mean, quantiles


def _network(rng: np.random.Generator, sites: int) -> dict[str, npt.NDArray[Any]]:
    """Cities with a site and a region each; hours and cost rise with the distance."""
    place = np.array([c[1:3] for c in CITIES[:sites]], float)
    names = np.array([c[0] for c in CITIES[:sites]])
    km = kilometres(place[:, None], place[None])
    return {
        "site": names,
        "site_name": np.char.capitalize(names),
        "layer": np.ones(sites, np.int64),
        "cutoff_hour": rng.integers(16, 22, sites),
        "site_place": place,
        "region": np.char.add("around-", names),
        "region_place": place,
        "speed": np.array([s[0] for s in SPEEDS]),
        "promise_hours": np.array([s[1] for s in SPEEDS]),
        "speed_value": np.array([s[2] for s in SPEEDS]),
        "speed_share": np.tile([s[3] for s in SPEEDS], (sites, 1)),
        "hour_share": HOURS / HOURS.sum(),
        "delivery_hours": 4.0 + km / 55.0,
        "delivery_cost": 0.35 + 0.0015 * km,
        "lane_from": np.full(sites, -1, np.int64),
        "lane_to": np.arange(sites),
        "lane_cost": rng.uniform(0.05, 0.15, sites).round(4),
        "lane_lead": np.ones((sites, 1)),
    }


def _goods(rng: np.random.Generator, n: int) -> dict[str, Floats | Ints]:
    """Prices, sizes and what is left of a unit that waits a week: its cost less spoilage of 5-40 %."""
    price = np.round(4.0 * np.exp(0.5 * rng.standard_normal(n)), 2).clip(min=0.5)
    cost = np.round(price * rng.uniform(0.6, 0.78, n), 2)
    return {
        "volume_m3": 0.003 * np.exp(0.8 * rng.standard_normal(n)),
        "unit_cost": cost,
        "price": price,
        "holding_cost": 0.004 * cost,
        "salvage": np.round(cost * rng.uniform(0.6, 0.95, n), 2),
        "shortage_cost": 0.1 * price,
        "pack_size": np.ones(n, np.int64),
        "min_order": np.zeros(n),
        "order_cost": np.zeros(n),
    }


def _storage(instance: Instance, rng: np.random.Generator, economics: Economics) -> Floats:
    """Storage by site, (M,) m³: `tight` times what all would like, unevenly spread."""
    seller = newsvendors(instance, 0, national=False, way=reach(instance))
    wanted = instance.volume_m3 @ seller.quantities(np.zeros_like(seller.gain))
    uneven = wanted * rng.uniform(0.6, 1.4, economics.sites)
    storage: Floats = economics.tight * wanted.sum() * uneven / uneven.sum()
    return storage
