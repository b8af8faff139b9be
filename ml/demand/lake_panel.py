"""From the lake's daily table to a Panel: one row a site, SKU and day becomes series of days, weeks or months.

In: rows of `daily` (docs/demand.md): site, sku, day, sold and, where there are, censored, in_stock, price, category. Out: a Panel.

No stock is not no demand: a censored day is not known. A week is known from four of its days: what those sold, times seven
over their number, and never less than what was sold; a month from half of its days. A period that has not ended is left out.
Weeks begin on Monday.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from inventorybot.errors import SetupError
from ml.demand.panel import Array, Panel
from ml.demand.periods import KINDS, Periods, parse_dates

NEEDED = ("site", "sku", "day", "sold")
KNOWN_SHARE = 0.5
"""Share of a period's days that must be known: four of a week's, half of a month's."""


@dataclass(frozen=True)
class Axis:
    """The days of some rows, and the whole periods that they fill.

    Args: first: first day of period 0; days: (T + 1,) the day, counted from `first`, on which each period begins.
    """

    periods: Periods
    first: pd.Timestamp
    days: NDArray[np.int64]


def axis(first: date | pd.Timestamp, last: date | pd.Timestamp, every: str = "weekly") -> Axis:
    """The whole periods between two days, both included; the first one may have begun before.

    Raises: SetupError: `every` is unknown, or no period has ended by `last`.
    """
    if every not in KINDS:
        raise SetupError(f"period {every!r} is none of {', '.join(KINDS)}")
    start, end = pd.Timestamp(first).normalize(), pd.Timestamp(last).normalize() + pd.Timedelta(days=1)
    if every == "weekly":
        start -= pd.Timedelta(days=start.dayofweek)
        count = (end - start).days // 7
    elif every == "monthly":
        start = start.replace(day=1)
        count = (end.year - start.year) * 12 + end.month - start.month
    else:
        count = (end - start).days
    if count < 1:
        raise SetupError(f"no {every} period has ended between {first} and {last}: wait for more days")
    periods = Periods(every, start, count, True)
    begins = periods.dates(0, count + 1)
    return Axis(periods, start, np.asarray((begins - start).days, np.int64))


def span(daily: pd.DataFrame, every: str = "weekly") -> Axis:
    """The axis of some rows. Raises: SetupError: a column is missing, there is no row, or no period has ended."""
    missing = [name for name in NEEDED if name not in daily.columns]
    if missing:
        raise SetupError(f"the daily table lacks the column {missing[0]}: it has {', '.join(map(str, daily.columns))}")
    days = parse_dates(daily["day"]).dropna()
    if days.empty:
        raise SetupError("the daily table has no row with a day")
    return axis(days.min(), days.max(), every)


def panel_of(daily: pd.DataFrame, on: Axis) -> Panel:
    """The series of some rows on a given axis; sorted by site and SKU.

    Args: daily: columns as above; rows outside the axis are left out.
    """
    keys = daily[["site", "sku"]].astype(str).drop_duplicates().sort_values(["site", "sku"]).reset_index(drop=True)
    series = pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(daily[["site", "sku"]].astype(str)))
    day = (parse_dates(daily["day"]) - on.first).dt.days.fillna(-1).to_numpy(np.int64)
    inside = (day >= 0) & (day < on.days[-1])
    series, day, rows = series[inside], day[inside], daily[inside]
    t = on.periods.count
    flat = series * t + np.searchsorted(on.days, day, side="right") - 1
    shape = (len(keys), t)
    sold = np.maximum(rows["sold"].to_numpy(np.float64, na_value=np.nan), 0)
    censored = rows["censored"].eq(True).to_numpy(bool) if "censored" in rows else np.zeros(len(rows), bool)
    units = _units(flat, sold, censored | ~np.isfinite(sold), np.diff(on.days), shape)
    prices = (
        {"price": _mean(flat, rows["price"].to_numpy(np.float64, na_value=np.nan), shape)} if "price" in rows else {}
    )
    covariates = {k: v for k, v in prices.items() if np.isfinite(v).any()}
    store, item = keys["site"].to_numpy(str), keys["sku"].to_numpy(str)
    return Panel(store, item, _categories(rows, item), on.periods, units, covariates)


def _units(
    flat: NDArray[np.int64],
    sold: NDArray[np.float64],
    unknown: NDArray[np.bool_],
    days: NDArray[np.int64],
    shape: tuple[int, int],
) -> Array:
    """(N, T) units a period: what its known days sold, for all of its days; NaN where too few are known."""
    size = shape[0] * shape[1]
    seen = np.bincount(flat, weights=~unknown, minlength=size).reshape(shape)
    known = np.bincount(flat, weights=np.where(unknown, 0, sold), minlength=size).reshape(shape)
    total = np.bincount(flat, weights=np.nan_to_num(sold), minlength=size).reshape(shape)
    whole = known * days / np.maximum(seen, 1)
    return np.where(seen >= KNOWN_SHARE * days, np.maximum(whole, total), np.nan).astype(np.float32)


def _mean(flat: NDArray[np.int64], values: NDArray[np.float64], shape: tuple[int, int]) -> Array:
    size, known = shape[0] * shape[1], np.isfinite(values)
    n = np.bincount(flat, weights=known, minlength=size)
    total = np.bincount(flat, weights=np.nan_to_num(values), minlength=size)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan).reshape(shape).astype(np.float32)


def _categories(rows: pd.DataFrame, item: NDArray[np.str_]) -> NDArray[np.str_]:
    if "category" not in rows:
        return np.full(len(item), "", dtype=str)
    named = rows[["sku", "category"]].dropna().astype(str).sort_values(["sku", "category"])
    of = named.drop_duplicates("sku").set_index("sku")["category"]
    return np.asarray(pd.Series(item).map(of).fillna(""), str)
