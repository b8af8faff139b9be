"""What every forecast store must do: the fake and Cassandra alike. Run: pytest tests/contract/test_forecast_store.py"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.adapters.memory.forecasts import MemoryForecasts
from inventorybot.domain.forecast import Forecast
from inventorybot.ports import ForecastStore
from tests.conftest import Schema

MONDAY = 1_795_392_000_000  # 2026-11-23T00:00:00Z
WEEK = 7 * 86_400_000


@pytest.fixture(params=["memory", "cassandra"])
def store(request: pytest.FixtureRequest) -> Iterator[ForecastStore]:
    if request.param == "memory":
        yield MemoryForecasts()
        return
    schema: Schema = request.getfixturevalue("schema")
    yield CassandraForecasts(schema.database)


@pytest.fixture
def row(unique_name: str) -> Forecast:
    """Of a site that no other test knows: the keyspace is shared."""
    return Forecast(unique_name, "kit/7 grün", MONDAY, 4.5, (1.0, 2.5, 4.0, 6.0, 9.5), "weekly@v3", MONDAY - 5)


async def test_a_site_without_forecasts_has_no_periods(store: ForecastStore, row: Forecast) -> None:
    assert await store.periods(row.site, 0) == []
    assert await store.of_site(row.site, MONDAY) == []


async def test_forecasts_are_read_as_they_were_written_a_site_and_a_period_at_a_time(
    store: ForecastStore, row: Forecast
) -> None:
    skus = [replace(row, sku=f"K{n:03d}") for n in range(300)]
    later = replace(row, period=MONDAY + WEEK)
    await store.write([*skus, row, later, replace(row, site=f"{row.site}x")])
    assert await store.of_site(row.site, MONDAY) == [*skus, row]
    assert await store.of_site(row.site, MONDAY + WEEK) == [later]
    assert await store.periods(row.site, 0) == [MONDAY, MONDAY + WEEK]
    assert await store.periods(row.site, MONDAY + 1) == [MONDAY + WEEK]


async def test_of_two_forecasts_the_one_made_later_stays_in_whatever_order_they_come(
    store: ForecastStore, row: Forecast
) -> None:
    newer = replace(row, mean=7.0, made_at=row.made_at + 1)
    await store.write([newer])
    await store.write([row])
    assert await store.of_site(row.site, MONDAY) == [newer]


async def test_the_forecasts_of_some_skus_are_read_from_the_period_that_holds_a_moment_on(
    store: ForecastStore, row: Forecast
) -> None:
    skus = [replace(row, sku=f"K{n:03d}") for n in range(300)]
    weeks = [replace(x, period=MONDAY + n * WEEK) for n in range(-2, 3) for x in [row, *skus]]
    await store.write([*weeks, replace(row, site=f"{row.site}x")])
    found = await store.of_skus(row.site, [row.sku, "K007", "nothing", row.sku], MONDAY + WEEK - 1)
    assert found == {
        sku: [replace(row, sku=sku, period=MONDAY + n * WEEK) for n in range(3)] for sku in (row.sku, "K007")
    }
    assert len(await store.of_skus(row.site, [x.sku for x in skus], MONDAY + WEEK)) == 300
    ahead = await store.of_skus(row.site, ["K007"], MONDAY - 100 * WEEK)
    assert [x.period for x in ahead["K007"]] == [MONDAY + n * WEEK for n in range(-2, 3)]
    assert await store.of_skus("nowhere", ["K007"], MONDAY) == {}


async def test_it_says_when_the_newest_forecasts_of_a_site_were_made(store: ForecastStore, row: Forecast) -> None:
    assert await store.made_at(row.site) is None
    later = replace(row, period=MONDAY + WEEK, made_at=MONDAY + 7)
    await store.write([later, row, replace(later, sku="K1", made_at=MONDAY + 6)])
    await store.write([replace(row, sku="K2")])
    assert await store.made_at(row.site) == MONDAY + 7


async def test_a_large_site_with_long_names_is_stored(store: ForecastStore, row: Forecast) -> None:
    await store.write([replace(row, sku=f"{n:05d}" + "ü" * 123) for n in range(4000)])
    assert len(await store.of_site(row.site, MONDAY)) == 4000


async def test_many_periods_with_short_names_are_stored(store: ForecastStore, row: Forecast) -> None:
    """Short rows are where a batch's hidden size is largest beside its bytes."""
    short = replace(row, site=row.site[:5], model="m")
    await store.write([replace(short, sku=f"{n:03d}", period=MONDAY + t * WEEK) for t in range(40) for n in range(300)])
    assert len(await store.periods(short.site, 0)) == 40
    assert len(await store.of_site(short.site, MONDAY + 39 * WEEK)) == 300


async def test_writing_nothing_is_fine(store: ForecastStore) -> None:
    await store.write([])
