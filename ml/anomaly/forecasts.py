"""Stored forecasts that cannot be true: compared with the most, and the fewest, that each slot ever sold in as many days.

In: ports.ForecastStore, and by slot what it sold in stretches of some lengths (spark.SCORE). Out: the reasons, by slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from inventorybot.domain.days import DAY_MS
from inventorybot.domain.forecast import Forecast
from inventorybot.ports import ForecastStore
from inventorybot.wire.codec import from_ms
from ml.anomaly.absurd import absurd
from ml.anomaly.cases import Slot

LONGEST_DAYS = 31
"""Of a period: one that began earlier is over."""

USUAL = 7
"""Days of a period where a site has only one: forecasts are of weeks unless told otherwise."""

SHOWN = 3
"""Periods of a slot that are told of; the others are counted."""


@dataclass(frozen=True, slots=True)
class Period:
    """A period of a site: its begin, ms, and its length, days."""

    site: str
    begin: int
    days: int


async def periods(store: ForecastStore, sites: Iterable[str], since: int) -> list[Period]:
    """The periods that have forecasts and are not over. Args: since: ms. Raises: TryLater."""
    found = []
    for site in sites:
        begins = list(await store.periods(site, since - LONGEST_DAYS * DAY_MS))
        days = [round((b - a) / DAY_MS) for a, b in pairwise(begins)]
        days += days[-1:] or [USUAL][: len(begins)]
        found += [Period(site, b, n) for b, n in zip(begins, days, strict=True) if b + n * DAY_MS > since]
    return found


async def doubts(
    store: ForecastStore, asked: Sequence[Period], sold: Mapping[Slot, tuple[Mapping[int, float], Mapping[int, float]]]
) -> tuple[dict[Slot, list[str]], list[Slot]]:
    """(why the forecasts of a slot cannot be true, by slot; all slots that were looked at).

    Args:
        asked: of `periods`.
        sold: slot to (most, fewest) units by length of a stretch in days; slots without are not looked at.
    Raises: TryLater.
    """
    found: dict[Slot, list[tuple[date, str]]] = {}
    looked: dict[Slot, None] = {}
    for period in asked:
        for forecast in await store.of_site(period.site, period.begin):
            slot = (forecast.site, forecast.sku)
            if slot not in sold:
                continue
            looked[slot] = None
            most, least = sold[slot]
            reasons = _doubts(forecast, most.get(period.days), least.get(period.days))
            found.setdefault(slot, []).extend((from_ms(period.begin).date(), reason) for reason in reasons)
    return {slot: _told(reasons) for slot, reasons in found.items() if reasons}, list(looked)


def _doubts(forecast: Forecast, most: float | None, least: float | None) -> list[str]:
    known = least if least is not None and least > 0 else None  # NaN: nothing is known
    whole = [d.reason for d in absurd(forecast=forecast.quantiles, most_sold=most, least_sold=known)]
    return whole or [d.reason for d in absurd(forecast=[forecast.mean], most_sold=most)]


def _told(reasons: Sequence[tuple[date, str]]) -> list[str]:
    told = [f"From {day}: {reason}" for day, reason in sorted(reasons)]
    return told if len(told) <= SHOWN else [*told[:SHOWN], f"and {len(told) - SHOWN} more like these"]
