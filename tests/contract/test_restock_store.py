"""What every restock store must do: the fake and Cassandra alike. Run: pytest tests/contract/test_restock_store.py"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from inventorybot.adapters.cassandra.restock import CassandraRestock
from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.memory.restock import MemoryRestock
from inventorybot.domain.days import DAY_MS, day_of
from inventorybot.domain.restock import Recommendation, State, approve, dismiss, receive
from inventorybot.errors import BadEvent
from inventorybot.ports import RestockStore
from services.local.cassandra import Node
from tests.unit.restock.makers import NOON, arithmetic, recommendation


@pytest.fixture(scope="module")
def database(cassandra: Node) -> Iterator[Database]:
    """A keyspace of these tests' own: they list everything there is."""
    made = Database.connect(
        [cassandra.host], cassandra.port, datacenter="datacenter1", consistency="LOCAL_QUORUM", timeout_s=20
    )
    migrate(made, "restock", datacenter="datacenter1", replication=1)
    yield made
    made.close()


@pytest.fixture(params=["memory", "cassandra"])
def store(request: pytest.FixtureRequest) -> RestockStore:
    if request.param == "memory":
        return MemoryRestock(lambda: NOON)
    made: Database = request.getfixturevalue("database")
    for table in ("restock", "restock_id", "restock_by_day", "restock_day", "restock_under_way"):
        made.execute(f"TRUNCATE {table}")
    return CassandraRestock(made, lambda: NOON)


async def listed(store: RestockStore, **asked: object) -> list[tuple[int, str, str]]:
    return [(r.day, r.site, r.sku) async for r in store.list(**asked)]  # type: ignore[arg-type]


async def approved(store: RestockStore, r: Recommendation, at: int = NOON) -> Recommendation:
    history = await store.history(r.site, r.sku)
    after = approve(history, r.day, "kim", at)
    assert await store.step(after, history.version)
    return after


async def test_what_nobody_worked_out_is_not_there(store: RestockStore) -> None:
    assert await store.find("nobody") is None
    assert (await store.history("BER1", "K")).recommendations == ()
    assert await store.under_way("BER1") == []
    assert await listed(store) == []


async def test_a_recommendation_is_read_as_it_was_written(store: RestockStore) -> None:
    written = recommendation(sku="kit/7 grün")
    assert await store.put([written]) == 1
    assert await store.find(written.id) == written
    assert (await store.history("BER1", "kit/7 grün")).recommendations == (written,)
    assert [r async for r in store.list()] == [written]


async def test_of_one_day_the_first_stays_and_a_decision_survives_a_repeated_run(store: RestockStore) -> None:
    first = recommendation()
    await store.put([first])
    after = await approved(store, first)
    later = replace(first, made_at=first.made_at + 60_000, arithmetic=replace(arithmetic(), quantity=99))
    assert await store.put([later]) == 0
    assert await store.put([first]) == 0
    found = await store.find(first.id)
    assert found == after
    assert (found.quantity, found.state(NOON)) == (24, State.APPROVED)


async def test_of_two_people_at_once_one_is_told_to_look_again(store: RestockStore) -> None:
    made = recommendation()
    await store.put([made])
    history = await store.history("BER1", "B00X")
    yes, no = approve(history, made.day, "kim", NOON), dismiss(history, made.day, "jo", NOON, "too much")
    done = await asyncio.gather(store.step(yes, history.version), store.step(no, history.version))
    assert sorted(done) == [False, True]
    found = await store.find(made.id)
    assert found is not None
    assert found.steps == (yes if done[0] else no).steps


async def test_two_days_of_one_sku_share_their_version(store: RestockStore) -> None:
    yesterday, today = recommendation(at=NOON - DAY_MS, days=3), recommendation()
    await store.put([yesterday])
    before = await store.history("BER1", "B00X")
    stale = approve(before, yesterday.day, "kim", NOON)
    await store.put([today])
    await approved(store, today)
    assert not await store.step(stale, before.version)
    found = await store.history("BER1", "B00X")
    assert [r.state(NOON) for r in found.recommendations] == [State.APPROVED, State.LAPSED]


async def test_a_newer_one_takes_the_place_of_an_undecided_one(store: RestockStore) -> None:
    yesterday, today = recommendation(at=NOON - DAY_MS, days=3), recommendation()
    await store.put([yesterday, today])
    found = await store.find(yesterday.id)
    assert found is not None
    assert (found.newer, found.state(NOON)) == (today.day, State.LAPSED)
    assert [r.newer for r in (await store.history("BER1", "B00X")).recommendations] == [None, today.day]


async def test_what_is_approved_is_under_way_until_it_is_received(store: RestockStore) -> None:
    for sku in ("B", "A", "C"):
        await store.put([recommendation(sku=sku)])
    for sku in ("B", "A"):
        await approved(store, recommendation(sku=sku))
    assert [r.sku for r in await store.under_way("BER1")] == ["A", "B"]
    assert await store.under_way("MUC1") == []
    history = await store.history("BER1", "A")
    assert await store.step(receive(history, day_of(NOON), "jo", NOON), history.version)
    assert [r.sku for r in await store.under_way("BER1")] == ["B"]


async def test_an_order_that_was_sent_says_when(store: RestockStore) -> None:
    made = recommendation()
    await store.put([made])
    await approved(store, made)
    assert [r.sent_at for r in await store.under_way("BER1")] == [None]
    await store.mark_sent(made, NOON + 5)
    assert [r.sent_at for r in await store.under_way("BER1")] == [NOON + 5]


async def test_the_list_is_newest_first_then_by_site_and_sku_over_pages(store: RestockStore) -> None:
    made = [
        recommendation(site, sku, NOON - n * DAY_MS, days=9)
        for n in (0, 1)
        for site in ("BER1", "MUC1")
        for sku in "abc"
    ]
    await store.put(made)
    want = [(r.day, r.site, r.sku) for r in made]
    assert await listed(store) == want
    assert await listed(store, limit=0) == []
    pages, before = [], None
    while page := [r async for r in store.list(limit=5, before=before)]:
        pages += [(r.day, r.site, r.sku) for r in page]
        before = page[-1].cursor
    assert pages == want
    assert await listed(store, site="MUC1", limit=4) == [w for w in want if w[1] == "MUC1"][:4]


async def test_the_list_is_filtered_by_state(store: RestockStore) -> None:
    old = recommendation(at=NOON - DAY_MS, days=1)
    await store.put([old, recommendation(sku="b"), recommendation(sku="c")])
    await approved(store, recommendation(sku="c"))
    assert [sku for _, _, sku in await listed(store, state=State.LAPSED)] == ["B00X"]
    assert [sku for _, _, sku in await listed(store, state=State.PROPOSED)] == ["b"]
    assert [sku for _, _, sku in await listed(store, state=State.APPROVED)] == ["c"]


async def test_a_cursor_that_is_none_is_refused(store: RestockStore) -> None:
    with pytest.raises(BadEvent):
        await listed(store, before="yesterday")


async def test_a_thousand_of_one_day_are_listed_whole(store: RestockStore) -> None:
    assert await store.put([recommendation(sku=f"SKU-{n:04d}") for n in range(1000)]) == 1000
    found = await listed(store, limit=2000)
    assert [sku for _, _, sku in found] == [f"SKU-{n:04d}" for n in range(1000)]
