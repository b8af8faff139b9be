"""What every anomaly store must do: the fake and Cassandra alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from inventorybot.adapters.cassandra import anomalies as real
from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.memory.anomalies import MemoryAnomalies
from inventorybot.domain.alerts import Anomaly, Knowledge, Status, Step
from inventorybot.errors import BadEvent
from inventorybot.ports import AnomalyStore
from services.local.cassandra import Node

DAY = 86_400_000
NOV_1 = 20_393 * DAY  # 2025-11-01T00:00:00Z


@pytest.fixture(scope="module")
def database(cassandra: Node) -> Iterator[Database]:
    """A keyspace of these tests' own: they list everything there is."""
    made = Database.connect(
        [cassandra.host], cassandra.port, datacenter="datacenter1", consistency="LOCAL_QUORUM", timeout_s=20
    )
    migrate(made, "anomalies", datacenter="datacenter1", replication=1)
    yield made
    made.close()


@pytest.fixture(params=["memory", "cassandra"])
def store(request: pytest.FixtureRequest) -> AnomalyStore:
    if request.param == "memory":
        return MemoryAnomalies()
    made: Database = request.getfixturevalue("database")
    for table in ("anomaly", "anomaly_by_month", "anomaly_live", "anomaly_bucket"):
        made.execute(f"TRUNCATE {table}")
    return real.CassandraAnomalies(made)


def anomaly(name: str, raised_at: int = NOV_1, site: str = "S", **more: Any) -> Anomaly:
    known = Knowledge(0.5, 4, 3, 2, (1.0, *[0.0] * 20), "i", "0:1", None, "count@v1", "since 10:02 – 84 %")
    return Anomaly(name, "bin-variance", site, "B", None, Status.OPEN, raised_at, raised_at, known, **more)


def step(name: str, action: str, event_id: str) -> Step:
    return Step(event_id, name, "bin-variance", action, NOV_1, "S", "B", knowledge=Knowledge(0.25, why="x"))


async def listed(store: AnomalyStore, **filters: Any) -> list[str]:
    found: AsyncIterator[Anomaly] = store.list(**filters)
    return [each.id async for each in found]


async def test_what_was_written_is_read_with_its_revision(store: AnomalyStore) -> None:
    a = anomaly("a")
    await store.write({"a": (a, 7)}, [(7, step("a", "raised", "e1"))])
    assert await store.get(["a", "b", "a"]) == {"a": replace(a, revision=7)}
    assert await store.steps("a") == [step("a", "raised", "e1")]
    assert await store.get([]) == {}
    assert await store.steps("b") == []


async def test_an_older_revision_never_overwrites_a_newer_one(store: AnomalyStore) -> None:
    new, old = anomaly("a", note="new"), anomaly("a", note="old")
    await store.write({"a": (new, 9)}, [])
    await store.write({"a": (old, 8)}, [])
    assert (await store.get(["a"]))["a"] == replace(new, revision=9)
    (found,) = [each async for each in store.list()]
    assert found.note == "new"


async def test_a_life_is_told_in_order_and_a_step_published_twice_once(store: AnomalyStore) -> None:
    a = anomaly("a")
    await store.write({"a": (a, 3)}, [(3, step("a", "updated", "e2")), (1, step("a", "raised", "e1"))])
    await store.write({"a": (a, 5)}, [(4, step("a", "updated", "e2")), (5, step("a", "closed", "e3"))])
    await store.write({"a": (a, 5)}, [(5, step("a", "closed", "e3"))])
    assert [each.event_id for each in await store.steps("a")] == ["e1", "e2", "e3"]


async def test_the_list_is_newest_first_over_months_and_sites(store: AnomalyStore) -> None:
    many = [anomaly(f"a{n:02d}", NOV_1 - n * 9 * DAY, "T" if n % 3 else "S") for n in range(9)]
    await store.write({a.id: (a, 1) for a in reversed(many)}, [])
    assert await listed(store) == [a.id for a in many]
    assert await listed(store, limit=4) == ["a00", "a01", "a02", "a03"]
    assert await listed(store, limit=0) == []
    assert await listed(store, before=many[3].cursor, limit=3) == ["a04", "a05", "a06"]
    assert await listed(store, site="S") == ["a00", "a03", "a06"]
    assert await listed(store, site="nowhere") == []
    assert await listed(store, status="open") == [a.id for a in many]


async def test_anomalies_of_one_moment_are_each_listed_once_across_pages(store: AnomalyStore) -> None:
    many = [anomaly(f"a{n}", site="T" if n % 2 else "S") for n in range(7)]
    await store.write({a.id: (a, 1) for a in many}, [])
    told: list[str] = []
    cursor = None
    for _ in range(4):
        page = [each async for each in store.list(limit=2, before=cursor)]
        told += [each.id for each in page]
        cursor = page[-1].cursor
    assert told == ["a6", "a5", "a4", "a3", "a2", "a1", "a0"]


async def test_the_list_is_filtered_by_status_kind_and_assignee(store: AnomalyStore) -> None:
    a, b, c = anomaly("a", assignee="ben"), replace(anomaly("b"), kind="negative-on-hand"), anomaly("c")
    c = replace(c, status=Status.ACKNOWLEDGED)
    await store.write({x.id: (x, 1) for x in (a, b, c)}, [])
    assert await listed(store, assignee="ben") == ["a"]
    assert await listed(store, kind="negative-on-hand") == ["b"]
    assert await listed(store, status="acknowledged") == ["c"]
    assert await listed(store, status="open", kind="bin-variance") == ["a"]
    assert await listed(store, status="closed") == []


async def test_an_anomaly_of_a_sku_at_a_whole_site_is_kept_and_listed_without_a_bin(store: AnomalyStore) -> None:
    known = Knowledge(0.9, recorded=4, days_of_cover=1.5, expected_at=NOV_1 + 5)
    a = replace(anomaly("a"), kind="projected-stock-out", bin=None, sku="kit/7", knowledge=known)
    await store.write({"a": (a, 1)}, [])
    assert [x async for x in store.list(kind="projected-stock-out")] == [replace(a, revision=1)]
    assert await store.get(["a"]) == {"a": replace(a, revision=1)}


async def test_what_has_ended_leaves_the_list_of_what_asks_for_work_for_good(store: AnomalyStore) -> None:
    a = anomaly("a")
    ended = replace(a, status=Status.RESOLVED)
    await store.write({"a": (a, 1)}, [])
    await store.write({"a": (ended, 2)}, [])
    await store.write({"a": (a, 1)}, [])  # a stale worker
    assert await listed(store, status="open") == []
    assert await listed(store, status="resolved") == ["a"]


async def test_many_are_listed_though_they_do_not_fit_one_read(
    store: AnomalyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "CHUNK", 3)
    many = [anomaly(f"a{n:02d}", NOV_1 + n // 2) for n in range(11)]
    await asyncio.gather(*(store.write({a.id: (a, 1)}, []) for a in many))
    assert await listed(store) == [a.id for a in reversed(many)]
    assert await listed(store, status="open", limit=5) == [a.id for a in reversed(many)][:5]


async def test_a_cursor_that_is_none_is_refused(store: AnomalyStore) -> None:
    with pytest.raises(BadEvent):
        await listed(store, before="yesterday")
