"""What a price would do: price elasticity learnt where prices varied, and forecasts changed by it.

In: a Panel with prices, a forecast, and price changes. Out: the changed forecast, or one clear refusal.

ln(units + 1/2) of a series is regressed on ln(price), within the series and with each period's common movement taken
out, so that seasons and growth are not taken for price. Each item's slope is drawn to that of all items by its standard error
(empirical Bayes). Source: Houthakker, Taylor 1970 (constant elasticity); Efron, Morris 1975, J. Am. Stat. Assoc. 70.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from inventorybot.errors import SetupError
from ml.demand.panel import Array, Panel
from ml.demand.periods import Periods, parse_dates

CHANGED = 0.02
"""A price has varied where it was more than this share away from the series' usual one …"""
TIMES = 4
"""… in at least so many periods."""
BOUNDS = (-8.0, 0.0)
"""Elasticities beyond are mistakes of the data: a higher price does not sell more."""
KNOWN_RANGE = 0.15
"""A price further outside what was ever charged is refused: the history says nothing about it."""
RECENT = 13
KEYS = ("item", "store", "from", "to", "price")


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A planned price. Args: item; store "": all; start, stop: first and last period, as the table writes them; price > 0."""

    item: str
    store: str
    start: str
    stop: str
    price: float


@dataclass(frozen=True)
class Elasticities:
    """Percent of units per percent of price.

    Args: item: name to elasticity; error: name to standard error; every: the pooled one.
    """

    item: dict[str, float]
    error: dict[str, float]
    every: float


def parse(text: str) -> PriceChange:
    """Reads "item=…,store=…,from=…,to=…,price=…". Raises: SetupError: a part is missing, unknown or no price."""
    parts = dict(p.partition("=")[::2] for p in text.split(",") if p)
    parts = {k.strip(): v.strip() for k, v in parts.items()}
    wrong = [k for k in parts if k not in KEYS] + [k for k in KEYS if k not in parts and k != "store"]
    if wrong:
        raise SetupError(
            f"price change {text!r}: {wrong[0]!r} is missing or unknown; write item=…,store=…,from=…,to=…,price=…"
        )
    try:
        price = float(parts["price"])
    except ValueError:
        price = np.nan
    if not price > 0 or not np.isfinite(price):
        raise SetupError(f"price change {text!r}: price {parts['price']!r} is not a number above zero")
    return PriceChange(parts["item"], parts.get("store", ""), parts["from"], parts["to"], price)


def elasticities(panel: Panel) -> Elasticities:
    """Learns how units moved with price. Raises: SetupError: no prices, or none that varied."""
    if "price" not in panel.covariates:
        raise SetupError("the table has no prices: a price change cannot be judged; name the column with --price")
    price = panel.covariates["price"][:, : panel.t].astype(np.float64)
    varied = _varied(price, panel.units)
    if not varied.any():
        raise SetupError("no price in the table has varied: how demand answers to price cannot be learnt from it")
    y = np.where(panel.units >= 0, np.log(panel.units.astype(np.float64) + 0.5), np.nan)
    x = np.log(price)
    known = np.isfinite(y) & np.isfinite(x)
    y, x = _within(np.where(known, y, np.nan)), _within(np.where(known, x, np.nan))
    slopes: dict[str, tuple[float, float]] = {}
    for name in np.unique(panel.item[varied]):
        inside = (panel.item == name) & varied
        slopes[str(name)] = _slope(x[inside], y[inside])
    return _pooled(slopes)


def _varied(price: NDArray[np.float64], units: Array) -> NDArray[np.bool_]:
    """(N,) series whose price was away from its median often enough while sales were known."""
    seen = np.isfinite(price) & np.isfinite(units)
    some = seen.any(axis=1)
    usual = np.full(len(price), np.nan)
    usual[some] = np.nanmedian(np.where(seen, price, np.nan)[some], axis=1)
    away = seen & (np.abs(price / usual[:, None] - 1) > CHANGED)
    return np.asarray(away.sum(axis=1) >= TIMES)


def _within(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without each series' mean and, where there are enough series, without each period's."""
    known = np.isfinite(values)
    mean = np.nansum(values, axis=1) / np.maximum(known.sum(axis=1), 1)
    values = values - mean[:, None]
    count = known.sum(axis=0)
    if len(values) >= 20:  # of fewer the common movement is mostly the series' own
        values = values - np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), 0)
    return values


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Least squares through the origin, and its standard error."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    square = float((x**2).sum())
    slope = float((x * y).sum()) / max(square, 1e-12)
    left = float(((y - slope * x) ** 2).sum()) / max(len(x) - 2, 1)
    return slope, float(np.sqrt(left / max(square, 1e-12)))


def _pooled(slopes: dict[str, tuple[float, float]]) -> Elasticities:
    b = np.array([s for s, _ in slopes.values()])
    v = np.array([e**2 for _, e in slopes.values()]) + 1e-9
    every = float((b / v).sum() / (1 / v).sum())
    between = max(float(np.var(b)) - float(v.mean()), 0.0) if len(b) > 1 else 0.0
    keep = between / (between + v) if len(b) > 1 else np.ones(1)
    drawn = np.clip(keep * b + (1 - keep) * every, *BOUNDS)
    names = list(slopes)
    return Elasticities(
        dict(zip(names, map(float, drawn), strict=True)),
        {n: e for n, (_, e) in slopes.items()},
        float(np.clip(every, *BOUNDS)),
    )


def change(panel: Panel, forecast: Array, change: PriceChange, learnt: Elasticities) -> Array:
    """A forecast with one price changed: units times (new price / usual price) ^ elasticity.

    Args: forecast: (N, H) or (N, H, Q), units. Returns: the same shape.
    Raises: SetupError: nothing is meant by the change, the item's price never varied, or the price is far from any charged.
    """
    rows = np.flatnonzero((panel.item == change.item) & ((panel.store == change.store) | (change.store == "")))
    where = f"item {change.item}" + (f" in store {change.store}" if change.store else "")
    if not len(rows):
        raise SetupError(f"price change: there is no {where} in the table")
    if change.item not in learnt.item:
        raise SetupError(
            f"price change: the price of item {change.item} has not varied in the history: its effect cannot be learnt"
        )
    first, last = _steps(panel.periods, change, forecast.shape[1])
    out = forecast.copy()
    for i in rows:
        prices = panel.covariates["price"][i, : panel.t]
        prices = prices[np.isfinite(prices)]
        if not len(prices):
            continue
        low, high = float(prices.min()), float(prices.max())
        if not low * (1 - KNOWN_RANGE) <= change.price <= high * (1 + KNOWN_RANGE):
            raise SetupError(
                f"price change: {change.price:g} is far from what item {change.item} cost in store {panel.store[i]} "
                f"({low:g} to {high:g}): its effect cannot be learnt"
            )
        usual = float(np.median(prices[-RECENT:]))
        out[i, first : last + 1] *= (change.price / usual) ** learnt.item[change.item]
    return out


def _steps(periods: Periods, change: PriceChange, horizon: int) -> tuple[int, int]:
    """First and last step ahead, from 0. Raises: SetupError: outside the horizon, or no period."""
    at = periods.index_of(_like(periods, [change.start, change.stop])) - periods.count
    first, last = int(at[0]), int(at[1])
    if not 0 <= first <= last < horizon:
        labels = periods.labels(periods.count, periods.count + horizon)
        raise SetupError(
            f"price change: {change.start} to {change.stop} is not within the forecast, {labels[0]} to {labels[-1]}"
        )
    return first, last


def _like(periods: Periods, values: list[str]) -> pd.Series:
    text = pd.Series(values)
    return parse_dates(text) if periods.dated else text
