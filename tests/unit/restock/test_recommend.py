"""The job: from stored forecasts and levels to recommendations that a second run, and people, can rely on."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from inventorybot.adapters.memory.forecasts import MemoryForecasts
from inventorybot.domain.days import DAY_MS
from inventorybot.domain.events import Kind
from inventorybot.domain.forecast import Forecast
from inventorybot.domain.restock import Recommendation, State, approve, dismiss
from inventorybot.errors import SetupError
from ml.jobs.recommend import Outcome, Run
from ml.restock.items import Items, from_rows
from ml.restock.policy import Terms
from tests.api_world import NOW, World, movement

WEEK = 7 * DAY_MS
MONDAY = 1_794_787_200_000  # 2026-11-16T00:00:00Z, the week of NOW, which is its Saturday


@dataclass
class Site:
    """BER1 with 8 weeks of forecasts of two SKUs, 10 a week each, and 5 of A on hand."""

    world: World = field(default_factory=World)
    forecasts: MemoryForecasts = field(default_factory=MemoryForecasts)

    async def stocked(self) -> Site:
        await self.world.book(movement("m-1", Kind.RECEIPT, 5, NOW - WEEK, sku="A"))
        await self.forecasts.write([forecast(sku, n) for sku in "AB" for n in range(8)])
        return self

    async def run(self, items: Items | None = None, now: int = NOW, site: str = "") -> Outcome:
        w, done = self.world, Outcome()
        job = Run(self.forecasts, w.ledger, w.restock, w.log, items or Items(Terms()), now, keep=True)
        for name in await job.sites(site):
            await job.site(name, done, lambda *_: None)
        return done

    async def all(self) -> list[Recommendation]:
        return [r async for r in self.world.restock.list()]


def forecast(sku: str, week: int, scale: float = 1.0) -> Forecast:
    quantiles = tuple(scale * q for q in (5.0, 8.0, 10.0, 12.0, 15.0))
    return Forecast("BER1", sku, MONDAY + week * WEEK, 10 * scale, quantiles, "demand@v1", NOW - DAY_MS)


@pytest.fixture
async def site() -> Site:
    return await Site().stocked()


async def test_what_is_short_is_recommended_with_its_arithmetic(site: Site) -> None:
    done = await site.run()
    assert (done.items, done.needed, done.new, done.refused) == (2, 2, 2, 0)
    a, b = await site.all()
    assert (a.sku, a.arithmetic.on_hand, b.sku, b.arithmetic.on_hand) == ("A", 5, "B", 0)
    assert a.arithmetic.demand_mean == pytest.approx(20, abs=0.01)  # 7 days of lead time and 7 of review, 10 a week
    assert a.quantity == b.quantity - 5 == a.arithmetic.reorder_point - 5
    assert (a.arithmetic.forecast, a.expires_at) == ("demand@v1", NOW + 7 * DAY_MS)


async def test_a_second_run_changes_nothing_whatever_happened_in_between(site: Site) -> None:
    await site.run()
    before = await site.all()
    await site.world.book(movement("m-2", Kind.RECEIPT, 3, NOW, sku="A"))
    again = await site.run(now=NOW + 3_600_000)
    assert (again.needed, again.new) == (2, 0)
    assert await site.all() == before


async def test_a_decision_outlives_a_second_run(site: Site) -> None:
    await site.run()
    store = site.world.restock
    history = await store.history("BER1", "A")
    await store.step(dismiss(history, history.recommendations[0].day, "kim", NOW, "delisted"), history.version)
    await site.run()
    assert [r.state(NOW) for r in await site.all()] == [State.DISMISSED, State.PROPOSED]


async def test_what_is_approved_counts_as_on_order_the_next_day(site: Site) -> None:
    await site.run()
    store, tomorrow = site.world.restock, NOW + DAY_MS
    history = await store.history("BER1", "A")
    ordered = approve(history, history.recommendations[0].day, "kim", NOW)
    await store.step(ordered, history.version)
    done = await site.run(now=tomorrow)
    found = {sku: a for _, sku, a in done.worked_out}
    assert (found["A"].on_order, found["A"].position, found["B"].on_order) == (
        ordered.quantity,
        ordered.quantity + 5,
        0,
    )
    assert found["A"].quantity < ordered.quantity / 2
    overdue = await site.run(now=NOW + 14 * DAY_MS)
    assert {sku: a.on_order for _, sku, a in overdue.worked_out}["A"] == 0


async def test_an_approved_order_that_no_broker_has_seen_is_sent(site: Site) -> None:
    await site.run()
    store = site.world.restock
    history = await store.history("BER1", "A")
    await store.step(approve(history, history.recommendations[0].day, "kim", NOW), history.version)
    assert [(await site.run()).repaired, (await site.run()).repaired] == [1, 0]
    assert (await site.world.log.bounds("inventory.restock-orders"))[1] != (
        await site.world.log.bounds("inventory.restock-orders")
    )[0]


async def test_orders_told_in_the_table_count_too_and_a_refused_row_leaves_its_item_out(site: Site) -> None:
    rows = [{"site": "BER1", "sku": "A", "on_order": 40}, {"site": "BER1", "sku": "B", "pack": 0}]
    items, refusals = from_rows(iter(rows), Terms())
    done = await site.run(items)
    assert (len(refusals), done.items, done.needed, done.refused) == (1, 2, 0, 1)
    assert done.left[0][1] == "B"
    ((_, sku, a),) = done.worked_out
    assert (sku, a.on_order, a.position, a.quantity) == ("A", 40, 45, 0)


async def test_more_forecast_demand_is_more_to_order(site: Site) -> None:
    small = {sku: a.quantity for _, sku, a in (await site.run()).worked_out}
    await site.forecasts.write([forecast("A", n, 2.0) for n in range(8)])
    large = {sku: a.quantity for _, sku, a in (await site.run()).worked_out}
    assert (large["A"] > small["A"], large["B"] == small["B"]) == (True, True)


async def test_a_week_that_a_sku_has_no_forecast_of_asks_for_nothing(site: Site) -> None:
    await site.forecasts.write([forecast("C", n) for n in (0, 1)])
    found = {sku: a for _, sku, a in (await site.run()).worked_out}
    # Saturday to Saturday in two weeks is 1.7 days of week 0 and all of week 1: no more than 10 + 2.5
    assert found["C"].demand_mean == pytest.approx(10 + 10 * (MONDAY + WEEK - NOW) / WEEK, abs=0.01)


async def test_a_site_without_forecasts_is_named_and_an_unknown_one_refused(site: Site) -> None:
    await site.world.book(movement("m-3", Kind.RECEIPT, 5, NOW - WEEK))
    assert (await site.run(now=NOW + 100 * DAY_MS)).left[0][2] == "the site has no forecasts from now on"
    with pytest.raises(SetupError, match="MUC1"):
        await site.run(site="MUC1")
