"""What every plan store must do: the fake and Cassandra alike. Run: pytest tests/contract/test_plan_store.py"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from inventorybot.adapters.cassandra.plans import CassandraPlans
from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.memory.plans import MemoryPlans
from inventorybot.domain.network_plan import (
    Flow,
    PlanChange,
    PlanFigures,
    PlanRequest,
    PlanState,
    PlanSummary,
    SitePrice,
)
from inventorybot.errors import BadEvent
from inventorybot.ports import PlanStore
from services.local.cassandra import Node

NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
DAY = 86_400_000
PRICES = [SitePrice("BER1", 0, 12.5, 0.25), SitePrice("BER1", 1, 0.0, 0.0), SitePrice("MÜN 2", 0, 1.0, 0.5)]
FLOWS = [
    Flow("BER1", "MÜN 2", 0, 40.0, 2.5),
    Flow("supplier", "BER1", 0, 100.0, 6.25),
    Flow("supplier", "BER1", 1, 7.0, 1.0),
]


@pytest.fixture(scope="module")
def database(cassandra: Node) -> Iterator[Database]:
    """A keyspace of these tests' own: they list everything there is."""
    made = Database.connect(
        [cassandra.host], cassandra.port, datacenter="datacenter1", consistency="LOCAL_QUORUM", timeout_s=20
    )
    migrate(made, "plans", datacenter="datacenter1", replication=1)
    yield made
    made.close()


@pytest.fixture(params=["memory", "cassandra"])
def store(request: pytest.FixtureRequest) -> PlanStore:
    if request.param == "memory":
        return MemoryPlans()
    made: Database = request.getfixturevalue("database")
    for table in ("plan", "plan_by_month", "plan_price", "plan_flow", "plan_picture"):
        made.execute(f"TRUNCATE {table}")
    return CassandraPlans(made, lambda: NOON)


def plan(name: str = "p-1", asked_at: int = NOON, state: PlanState = PlanState.QUEUED) -> PlanSummary:
    change = PlanChange("BER1", storage_m3=400.0, first_period=2, last_period=3)
    return PlanSummary(PlanRequest(name, asked_at, "kim", "the new hall – BER", (change,), "base-0"), state)


def ready(found: PlanSummary) -> PlanSummary:
    figures = PlanFigures(NOON + 5000, NOON, 7 * DAY, 8, 10_000, 12, 1204.5, 1205.0, 0.0004, 1100.0, 0.0, 3.25)
    return replace(found, state=PlanState.READY, figures=figures)


async def listed(
    store: PlanStore, state: PlanState | None = None, limit: int = 100, before: str | None = None
) -> list[str]:
    return [found.id async for found in store.list(state=state, limit=limit, before=before)]


async def test_a_plan_nobody_asked_for_is_not_there(store: PlanStore) -> None:
    assert await store.get("p-1") is None
    assert await store.prices("p-1") == []
    assert await store.flows("p-1", 0) == []
    assert await store.picture("p-1", "prices") is None
    assert await listed(store) == []


async def test_a_plan_is_read_as_it_was_written(store: PlanStore) -> None:
    for written in (plan(), ready(plan())):
        await store.put(written)
        assert await store.get("p-1") == written


async def test_a_plan_that_is_ready_never_goes_back(store: PlanStore) -> None:
    await store.put(ready(plan()))
    for stale in (PlanState.SOLVING, PlanState.QUEUED):
        await store.put(plan(state=stale))
    assert await store.get("p-1") == ready(plan())
    assert await listed(store, PlanState.READY) == ["p-1"]


async def test_the_list_is_newest_first_over_months(store: PlanStore) -> None:
    names = [f"p-{n:02d}" for n in range(12)]
    for n, name in enumerate(names):
        await store.put(plan(name, NOON - n * 27 * DAY))
    assert await listed(store) == names
    assert await listed(store, limit=3) == names[:3]
    assert await listed(store, limit=0) == []
    assert await listed(store, before=plan("p-03", NOON - 3 * 27 * DAY).cursor, limit=2) == ["p-04", "p-05"]


async def test_plans_of_one_moment_are_each_listed_once_across_pages(store: PlanStore) -> None:
    for name in ("a", "b", "c"):
        await store.put(plan(name))
    first = await listed(store, limit=2)
    assert first + await listed(store, before=plan(first[-1]).cursor) == ["c", "b", "a"]


async def test_the_list_is_filtered_by_state(store: PlanStore) -> None:
    failed = replace(plan("bad"), state=PlanState.FAILED, reason="there is no site BER9")
    for each in (plan("waits"), ready(plan("good")), failed):
        await store.put(each)
    assert await listed(store, PlanState.READY) == ["good"]
    assert [found async for found in store.list(state=PlanState.FAILED)] == [failed]


async def test_a_cursor_that_is_none_is_refused(store: PlanStore) -> None:
    with pytest.raises(BadEvent):
        await listed(store, before="yesterday")


async def test_a_result_is_read_by_plan_and_flows_by_period(store: PlanStore) -> None:
    await store.put_result("p-1", NOON, PRICES, FLOWS, {"prices": b"<svg/>"})
    assert await store.prices("p-1") == PRICES
    assert await store.flows("p-1", 0) == FLOWS[:2]
    assert await store.flows("p-1", 1) == FLOWS[2:]
    assert await store.picture("p-1", "prices") == b"<svg/>"
    assert await store.picture("p-1", "flows") is None


async def test_a_later_result_replaces_an_earlier_one_as_a_whole(store: PlanStore) -> None:
    await store.put_result("p-1", NOON, PRICES, FLOWS, {"prices": b"old"})
    await store.put_result("p-1", NOON + 1, PRICES[1:], FLOWS[1:2], {"prices": b"new"})
    await store.put_result("p-1", NOON + 1, PRICES[1:], FLOWS[1:2], {"prices": b"new"})
    assert await store.prices("p-1") == PRICES[1:]
    assert await store.flows("p-1", 0) == FLOWS[1:2]
    assert await store.flows("p-1", 1) == []
    assert await store.picture("p-1", "prices") == b"new"


@pytest.mark.parametrize("tail", ["", "ü" * 61])
async def test_a_large_network_is_stored_whether_its_names_are_short_or_long(store: PlanStore, tail: str) -> None:
    sites = [f"{n:03d}{tail}" for n in range(40)]
    prices = [SitePrice(site, t, 1.0, 2.0) for site in sites for t in range(30)]
    flows = [Flow(a, b, 0, 1.0, 2.0) for a in sites for b in sites]
    await store.put_result("p-1", NOON, prices, flows, {})
    assert len(await store.prices("p-1")) == 1200
    assert len(await store.flows("p-1", 0)) == 1600
