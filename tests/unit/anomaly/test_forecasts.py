"""Stored forecasts that cannot be true. Run: pytest tests/unit/anomaly/test_forecasts.py"""

from __future__ import annotations

from math import nan

import pytest

from inventorybot.adapters.memory.forecasts import MemoryForecasts
from inventorybot.domain.days import DAY_MS
from inventorybot.domain.forecast import Forecast
from ml.anomaly.forecasts import Period, doubts, periods

MONDAY = 1_795_392_000_000  # 2026-11-23T00:00:00Z
WEEK = 7 * DAY_MS
SLOT = ("BER1", "K1")


async def stored(*made: tuple[int, float, float]) -> MemoryForecasts:
    """Forecasts of K1 at BER1: week from MONDAY, median, 95 % quantile."""
    store = MemoryForecasts()
    await store.write(
        [
            Forecast(*SLOT, MONDAY + w * WEEK, q50, (q50, q50, q50, q50, q95), "demand@v1", MONDAY)
            for w, q50, q95 in made
        ]
    )
    return store


async def said(store: MemoryForecasts, most: float, least: float) -> list[str]:
    asked = await periods(store, ["BER1"], MONDAY)
    found, looked = await doubts(store, asked, {SLOT: ({7: most}, {7: least})})
    assert looked == [SLOT]
    return found.get(SLOT, [])


async def test_periods_that_are_over_are_not_asked_and_a_period_lasts_until_the_next() -> None:
    store = await stored((-2, 1, 1), (-1, 1, 1), (0, 1, 1), (1, 1, 1))
    asked = await periods(store, ["BER1", "BER2"], MONDAY + 3 * DAY_MS)
    assert asked == [Period("BER1", MONDAY, 7), Period("BER1", MONDAY + WEEK, 7)]


async def test_a_single_period_is_taken_for_a_week() -> None:
    assert await periods(await stored((0, 1, 1)), ["BER1"], MONDAY) == [Period("BER1", MONDAY, 7)]


@pytest.mark.parametrize(("most", "least"), [(10, nan), (10, 0), (0, nan), (10, 10)])
async def test_a_forecast_within_ten_times_of_what_was_seen_is_believed(most: float, least: float) -> None:
    assert await said(await stored((0, 5, 100), (1, 1, 2)), most, least) == []


async def test_more_than_ten_times_the_most_of_as_many_days_is_told_with_its_week() -> None:
    found = await said(await stored((0, 5, 8), (1, 5, 101)), 10, nan)
    assert found == [
        "From 2026-11-30: a forecast of 101 is more than 10 times 10, the most that was ever sold in as many days"
    ]


async def test_less_than_a_tenth_of_the_fewest_with_stock_is_told() -> None:
    (found,) = await said(await stored((0, 0, 1)), 60, 20)
    assert "1 is less than a tenth of 20, the fewest that were sold in as many days with stock" in found


async def test_three_weeks_are_told_and_the_others_counted() -> None:
    found = await said(await stored(*((w, 5, 101) for w in range(5))), 10, nan)
    assert len(found) == 4
    assert found[-1] == "and 2 more like these"


async def test_a_slot_that_is_not_in_the_table_is_not_looked_at() -> None:
    asked = await periods(store := await stored((0, 5, 900)), ["BER1"], MONDAY)
    assert await doubts(store, asked, {}) == ({}, [])
