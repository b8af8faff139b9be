"""What customers would buy, a day a column: made by a seed, or real sales spread over days.

In: a seed and sizes; or a table store, item, week | date, units. Out: `Demand`, matrices (slot, day), with the promotions that were
announced. The made world is meant to be hard on a detector: most SKUs sell less than one a day, and sales stop for honest reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from inventorybot.errors import SetupError
from ml.anomaly.story import Matrix, Names

Ints = npt.NDArray[np.int64]

FAMILY = 10
"""SKUs of a family, on average: the shelf neighbours that are mistaken for one another."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Units asked for, whether or not they are there.

    Args:
        site, sku, family: (S,) names.
        units: (S, D) units a day, ≥ 0, whole.
        planned: (S, D) factor the business foresaw (weekday, announced promotions); 1: an ordinary day.
        rate: (S,) units a day it reckons with at first.
        listed: (S, D) whether the SKU is ordered at all: not before its launch, not after it is discontinued.
    """

    site: Names
    sku: Names
    family: Names
    units: Matrix
    planned: Matrix
    rate: npt.NDArray[np.float64]
    listed: npt.NDArray[np.bool_]


def layout(series: int) -> tuple[int, int]:
    """Sites and SKUs a site of about so many slots: 2,000 are 10 × 200."""
    sites = max(1, round((series / 20) ** 0.5))
    return sites, max(1, round(series / sites))


def made(series: int, days: int, rng: np.random.Generator, *, lulls: float = 1.0, pace: float = 1.0) -> Demand:
    """Demand with a negative binomial spread about weekday, season, promotions, lulls, launches and exits.

    Args:
        series, days: about so many slots (`layout`), exactly so many days.
        rng: seeded.
        lulls: how often sales fall for honest reasons; 1: see `_lulls`.
        pace: 1: the median slot sells one in two days, as in a shop's long tail; 8: four a day, as groceries do.
    """
    sites, skus = layout(series)
    slots = sites * skus
    site, sku = np.repeat(np.arange(sites), skus), np.tile(np.arange(skus), sites)
    family = rng.integers(0, max(1, skus // FAMILY), skus)[sku]
    rate = (
        np.exp(rng.normal(-0.3, 1.3, skus))[sku]
        * np.exp(rng.normal(0, 0.5, slots))
        * np.exp(rng.normal(0, 0.3, sites))[site]
    )
    rate = np.clip(pace * rate, 0.02, 200)
    weekday, promoted, foreseen = _weekdays(sites, days, rng)[site], *_promotions(slots, days, rng)
    mean = rate[:, None] * weekday * _season(family, days, rng) * promoted * _lulls(site, sku, days, rng, lulls)
    listed, life = _life(skus, days, rng)
    mean = mean * life[sku]
    spread = np.exp(rng.normal(0.9, 0.6, slots))[:, None]  # shape of the gamma: smaller is lumpier
    units = rng.poisson(mean * rng.gamma(spread, 1 / spread, (slots, days))).astype(np.float64)
    units *= np.where(
        rng.random((slots, days)) < 0.4 / 365, rng.integers(5, 15, (slots, days)), 1
    )  # somebody buys in bulk
    return Demand(
        _names("site", site), _names("sku", sku), _names("family", family),
        units, weekday * foreseen, rate * np.exp(rng.normal(0, 0.2, slots)), listed[sku],
    )  # fmt: skip


def _names(kind: str, numbers: Ints) -> Names:
    return np.array([f"{kind}-{n:04d}" for n in numbers])


def _weekdays(sites: int, days: int, rng: np.random.Generator) -> Matrix:
    share = rng.dirichlet(np.full(7, 25.0), sites) * 7  # (sites, 7)
    return share[:, np.arange(days) % 7]


def _season(family: Ints, days: int, rng: np.random.Generator) -> Matrix:
    n = family.max() + 1
    swing, phase = rng.beta(1.5, 5, n), rng.uniform(0, 2 * np.pi, n)
    wave: Matrix = 1 + swing[:, None] * np.sin(2 * np.pi * np.arange(days) / 365 + phase[:, None])
    return wave[family]


def _promotions(slots: int, days: int, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """About three a year of a week each, sales × 1.5 to 4 and a dip after; three in four are announced, not exactly."""
    real, foreseen = np.ones((slots, days)), np.ones((slots, days))
    n = rng.poisson(3 * days / 365 * slots)
    for slot, start, lift, told, miss in zip(
        rng.integers(0, slots, n), rng.integers(0, days, n), rng.uniform(1.5, 4, n), rng.random(n) < 0.75,
        np.exp(rng.normal(0, 0.25, n)), strict=True,
    ):  # fmt: skip
        real[slot, start : start + 7] = lift
        real[slot, start + 7 : start + 14] = 0.7
        if told:
            foreseen[slot, start : start + 7] = max(1.0, lift * miss)
    return real, foreseen


def _lulls(site: Ints, sku: Ints, days: int, rng: np.random.Generator, often: float) -> Matrix:
    """Sales that fall though the stock is there: of one slot, of one SKU at all sites, of a whole site."""
    factor = np.ones((len(site), days))
    for groups, a_year, low, high, shortest, longest in (
        (np.arange(len(site)), 0.08, 0.1, 0.6, 14, 70),  # a competitor's offer, a bad place on the shelf
        (sku, 0.08, 0.0, 0.4, 14, 90),  # out of fashion or season everywhere
        (site, 1.0, 0.0, 0.4, 2, 10),  # road works, holidays
    ):
        members = groups.max() + 1
        n = rng.poisson(often * a_year * days / 365 * members)
        for who, start, f, length in zip(
            rng.integers(0, members, n), rng.integers(0, days, n), rng.uniform(low, high, n),
            rng.integers(shortest, longest, n), strict=True,
        ):  # fmt: skip
            factor[groups == who, start : start + length] *= f
    return factor


def _life(skus: int, days: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.bool_], Matrix]:
    """Which days a SKU is ordered (SKU, D), and its factor: 4 % are launched late, 4 % discontinued and fade."""
    day, kind = np.arange(days), rng.random(skus)
    at = rng.integers(days // 5, max(days // 5 + 1, days * 4 // 5), skus)[:, None]
    after = day >= at
    listed = np.where((kind < 0.04)[:, None], after, np.where((kind > 0.96)[:, None], ~after, True))
    fade = np.where(after, 0.5 ** (np.maximum(0, day - at) / 14), 1.0)
    life: Matrix = np.where((kind < 0.04)[:, None], after, np.where((kind > 0.96)[:, None], fade, 1.0)).astype(
        np.float64
    )
    return listed, life


def from_sales(sales: pd.DataFrame, series: int, days: int, rng: np.random.Generator) -> Demand:
    """Real sales as demand: some stores and items, some stretch of days, weeks spread over days by a multinomial.

    Nothing is known of its promotions or lulls, so they all come as surprises; what a real stock-out hid stays hidden.

    Args:
        sales: columns store, item, units and `date`, or `week` (a whole number, one a week); `family` is optional.
        series, days: about so many slots; exactly so many days.
    Raises: SetupError: a column is missing, or the table holds fewer days than asked for.
    """
    when = next((c for c in ("date", "week") if c in sales), None)
    missing = [c for c in ("store", "item", "units") if c not in sales]
    if when is None or missing:
        raise SetupError(
            f"the sales table needs store, item, units and week or date; it lacks {', '.join(missing) or 'week or date'}"
        )
    wide = _wide(sales, when, series, rng)
    values = np.maximum(np.nan_to_num(wide.to_numpy(dtype=np.float64)), 0)  # returns are no demand
    step = 7 if when == "week" else 1
    periods = -(-days // step)
    if values.shape[1] < periods:
        raise SetupError(
            f"the sales table holds {values.shape[1] * step} days and {days} are needed: give more history or ask for fewer --days"
        )
    start = int(rng.integers(0, values.shape[1] - periods + 1))
    values = np.rint(values[:, start : start + periods])
    store, item = (
        wide.index.get_level_values(0).to_numpy(dtype=np.str_),
        wide.index.get_level_values(1).to_numpy(dtype=np.str_),
    )
    planned = np.ones((len(values), days))
    if when == "week":
        site = np.unique(store, return_inverse=True)[1]
        share = rng.dirichlet(np.full(7, 25.0), site.max() + 1)[site]
        values = rng.multinomial(
            values.astype(np.int64), share[:, None, :].repeat(periods, 1).reshape(len(values), periods, 7)
        )
        values = values.reshape(len(store), -1).astype(np.float64)
        planned = np.tile(share * 7, (1, periods))[:, :days]
    items, position = np.unique(item, return_inverse=True)
    family = rng.permutation(len(items))[position] // FAMILY
    units = values[:, :days]
    return Demand(
        store,
        item,
        _names("family", family),
        units,
        planned,
        units[:, :56].mean(1) + 0.01,
        np.ones(units.shape, dtype=bool),
    )


def _wide(sales: pd.DataFrame, when: str, series: int, rng: np.random.Generator) -> pd.DataFrame:
    """(store, item) × period, of stores and items drawn by the seed."""
    stores, items = (np.sort(sales[c].astype(str).unique()) for c in ("store", "item"))
    sites = min(layout(series)[0], len(stores))
    chosen = (
        rng.choice(stores, sites, replace=False),
        rng.choice(items, min(-(-series // sites), len(items)), replace=False),
    )
    mine = sales[sales["store"].astype(str).isin(chosen[0]) & sales["item"].astype(str).isin(chosen[1])]
    mine = mine.assign(store=mine["store"].astype(str), item=mine["item"].astype(str))
    wide = mine.pivot_table(index=["store", "item"], columns=when, values="units", aggfunc="sum", observed=True)
    full = (
        pd.date_range(wide.columns.min(), wide.columns.max())
        if when == "date"
        else range(int(wide.columns.min()), int(wide.columns.max()) + 1)
    )
    return wide.reindex(columns=full)
