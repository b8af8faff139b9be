"""The stock-watch agent: one open anomaly a SKU and kind, through crashes, races, replays, and days without an event.

Run: `pytest tests/unit/stock_watch/test_agent.py`. One unit a day is expected of K1 (7 a week).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from inventorybot.adapters.memory.ledger import MemoryLedger
from inventorybot.domain.alerts import Status
from inventorybot.domain.days import DAY_MS
from inventorybot.wire.codec import Record
from streaming.agents.stock_watch import SETTLED_MS
from tests.unit.agents.stage import Crash
from tests.unit.stock_watch.shop import Shop
from tests.unit.stock_watch.test_outlook import MONDAY, week

ALL = frozenset({0, 1})


@pytest.fixture
async def shop() -> Shop:
    made = Shop()
    await made.forecast("K1")
    return made


async def test_stock_goes_down_an_alert_is_raised_with_its_date_and_a_receipt_resolves_it(shop: Shop) -> None:
    await shop.see(12, 5)
    (found,) = shop.live()
    assert (found.kind, found.site, found.bin, found.sku) == ("projected-stock-out", "S1", None, "K1")
    assert (found.knowledge.recorded, found.knowledge.expected_at) == (5, MONDAY + 5 * DAY_MS)
    await shop.see(20)
    assert shop.said() == ["raised", "resolved"]
    assert [a.status for a in shop.anomalies.states.values()] == [Status.RESOLVED]


async def test_the_next_time_it_is_an_anomaly_of_its_own(shop: Shop) -> None:
    await shop.see(5, 20, 4)
    assert shop.said() == ["raised", "resolved", "raised"]
    assert sorted(str(a.status) for a in shop.anomalies.states.values()) == ["open", "resolved"]


async def test_excess_and_stock_out_are_two_anomalies_of_a_sku(shop: Shop) -> None:
    await shop.see(24, 3)
    assert [a.kind for a in shop.live()] == ["projected-stock-out"]
    assert {a.kind: str(a.status) for a in shop.anomalies.states.values()} == {
        "excess-stock": "resolved", "projected-stock-out": "open",
    }  # fmt: skip


async def test_the_bins_of_a_sku_are_taken_together(shop: Shop) -> None:
    records = await shop.stock(5, bin_id="B1") + await shop.stock(6, bin_id="B2")
    await shop.watch.handle(records)
    assert shop.said() == []
    await shop.watch.handle(await shop.stock(0, bin_id="B2"))
    assert shop.said() == ["raised"]


async def test_a_sku_without_a_forecast_is_left_alone(shop: Shop) -> None:
    await shop.see(0, -3, sku="K9")
    assert shop.said() == []


class CountingLedger(MemoryLedger):
    """Notes how many SKUs it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def sku_stock(self, site: str, skus: Sequence[str]) -> dict[str, int]:
        self.asked.append(len(skus))
        return await super().sku_stock(site, skus)


async def test_many_changes_of_a_sku_are_one_look() -> None:
    shop = Shop(ledger=CountingLedger())
    await shop.forecast("K1")
    records: list[Record] = []
    for n in range(200):
        records += await shop.stock(300 - n, bin_id=f"B{n % 3}")
    await shop.watch.handle(records)
    assert isinstance(shop.ledger, CountingLedger)
    assert shop.ledger.asked[0] == 1
    assert len(shop.ledger.asked) <= 2


async def test_the_same_batch_again_and_another_worker_say_nothing_new(shop: Shop) -> None:
    first, second = await shop.stock(12), await shop.stock(5)
    for agent in (shop.watch, shop.watch, shop.other, shop.worker()):
        await agent.handle([*first, *second])
        await shop.fold()
    assert shop.said()[0] == "raised"
    assert len(shop.anomalies.states) == 1
    (name,) = shop.anomalies.states
    assert [s.action for s in await shop.anomalies.steps(name)] == ["raised"]


async def test_who_dies_after_noting_and_before_saying_it_says_it_when_it_is_back(shop: Shop) -> None:
    records = await shop.stock(5)
    shop.topic.dies = True
    with suppress(Crash):
        await shop.watch.handle(records)
    shop.topic.dies = False
    assert shop.said() == []
    again = shop.worker()
    for _ in range(3):  # the alert agent is slow: it is still said once
        await again.handle(records)
    await shop.fold()
    assert shop.said() == ["raised"]
    assert len(shop.live()) == 1


async def test_who_dies_after_saying_that_it_is_over_and_before_noting_it_leaves_nothing_open(shop: Shop) -> None:
    await shop.see(5)
    records = await shop.stock(20)
    shop.watches.dies = True
    with suppress(Crash):
        await shop.watch.handle(records)
    shop.watches.dies = False
    await shop.worker().handle(records)
    await shop.fold()
    assert shop.live() == []
    assert shop.said()[:2] == ["raised", "resolved"]
    await shop.see(4)
    assert len(shop.live()) == 1
    assert len(shop.anomalies.states) == 2


async def test_a_worker_that_judged_old_stock_sees_that_another_has_judged_newer_and_takes_it_back(shop: Shop) -> None:
    """watch: reads 5 ........ says raised, reads 20, says resolved.   other: reads 20, sees it noted, says resolved."""
    low = await shop.stock(5)

    async def meanwhile() -> None:
        await shop.other.handle(await shop.stock(20))

    shop.topic.before = meanwhile
    await shop.watch.handle(low)
    await shop.fold()
    assert shop.live() == []
    await shop.see(4)
    assert len(shop.live()) == 1


async def test_newer_forecasts_are_noticed_without_an_event_and_the_same_ones_are_not_looked_at_again(
    shop: Shop,
) -> None:
    await shop.see(12)
    await shop.watch.sweep(ALL)
    assert shop.said() == []
    await shop.forecast("K1", mean=21.0, made_at=MONDAY + 5)
    await shop.watch.sweep(ALL)
    await shop.fold()
    assert shop.said() == ["raised"]
    await shop.watch.sweep(ALL)
    shop.now += DAY_MS - 1
    await shop.watch.sweep(ALL)
    assert shop.said() == ["raised"]


async def test_forecasts_that_were_still_being_written_are_looked_at_once_more(shop: Shop) -> None:
    await shop.see(12)
    await shop.stock(2, "K2")
    shop.now = MONDAY + 10
    await shop.forecast("K1", made_at=MONDAY + 5)
    await shop.watch.sweep(ALL)
    await shop.forecast("K2", made_at=MONDAY + 5)  # the rest of the same run
    shop.now = MONDAY + 5 + SETTLED_MS
    await shop.watch.sweep(ALL)
    assert shop.said() == ["raised"]


async def test_a_day_that_passes_without_an_event_is_looked_at(shop: Shop) -> None:
    await shop.forecast("K1", weeks=2, made_at=MONDAY)
    quiet = [week(n, 0.0, (0.0,) * 5) for n in range(2, 6)]
    await shop.forecasts.write([replace(x, made_at=MONDAY) for x in quiet])
    await shop.see(22)  # 8 more than the 14 of the next 14 days
    shop.now += SETTLED_MS
    await shop.watch.sweep(ALL)
    shop.now += DAY_MS - 1
    await shop.watch.sweep(ALL)
    assert shop.said() == []
    shop.now = MONDAY + 7 * DAY_MS  # 15 more than the 7 of the next 14 days
    await shop.watch.sweep(ALL)
    assert shop.said() == ["raised"]


async def test_each_worker_sweeps_the_share_of_its_partitions(shop: Shop) -> None:
    skus = [f"K{n}" for n in range(40)]
    await shop.forecast(*skus)
    for sku in skus:
        await shop.stock(1, sku)
    await shop.watch.sweep(frozenset({1}))
    await shop.fold()
    assert {a.sku for a in shop.live()} == {sku for sku in skus if zlib.crc32(sku.encode()) % 2 == 1}
    await shop.other.sweep(frozenset({0}))
    await shop.watch.sweep(ALL)  # it was given the other's partitions
    await shop.fold()
    assert {a.sku for a in shop.live()} == set(skus)


async def test_an_anomaly_that_nobody_remembers_is_found_by_the_sweep(shop: Shop) -> None:
    await shop.see(5)
    shop.watches.states.clear()
    await shop.stock(20)
    await shop.worker().sweep(ALL)
    await shop.fold()
    assert shop.live() == []


async def test_one_that_a_successor_has_followed_is_ended_by_the_sweep(shop: Shop) -> None:
    await shop.see(5, 20)
    (old,) = shop.anomalies.states.values()
    shop.anomalies.states[old.id] = type(old)(
        *(Status.OPEN if name == "status" else getattr(old, name) for name in old.__dataclass_fields__)
    )
    await shop.worker().sweep(ALL)
    await shop.fold()
    assert shop.live() == []


async def test_what_a_person_closed_stays_closed_until_stock_has_come(shop: Shop) -> None:
    await shop.see(5)
    shop.now += 1000
    await shop.close(shop.live()[0])
    await shop.see(4, 3)
    assert shop.live() == []
    await shop.see(30, 3)
    assert len(shop.live()) == 1


async def test_what_is_no_level_is_a_dead_letter_and_the_rest_is_seen(shop: Shop) -> None:
    (good,) = await shop.stock(5)
    bad = Record("inventory.levels", 0, 99, good.key, b"{}", good.headers, good.timestamp)
    await shop.watch.handle([good, bad])
    assert shop.said() == ["raised"]
    assert len(shop.dead.letters) == 1


async def test_beside_its_stream_it_sweeps_once_it_has_partitions_and_waits_out_a_store_that_is_away(
    shop: Shop,
) -> None:
    await shop.stock(5)
    swept = asyncio.Event()
    asked: list[int] = []

    def owned() -> frozenset[int]:
        asked.append(1)
        shop.topic.down = len(asked) == 2
        if shop.said():
            swept.set()
        return ALL if len(asked) > 1 else frozenset()

    task = asyncio.create_task(shop.worker(poll_s=0.001).beside(owned))
    await asyncio.wait_for(swept.wait(), 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert shop.said() == ["raised"]
