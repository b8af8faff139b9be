"""Network plans over HTTP: what people see of them, and what they ask for."""

from __future__ import annotations

from typing import Any

import pytest

from inventorybot.domain.network_plan import Flow, PlanFigures, PlanRequest, PlanState, PlanSummary, SitePrice
from inventorybot.errors import BadEvent
from inventorybot.ports import DeadLetter
from inventorybot.wire.codec import Record, TimeLimits, rfc3339
from inventorybot.wire.plans import read_request
from inventorybot.wire.schemas import PLAN_REQUESTED
from tests.api_world import MINUTE, NOW, World

WEEK = 7 * 86_400_000
MONDAY = 1_794_787_200_000  # 2026-11-16T00:00:00Z, the week of NOW
PRICES = [SitePrice("BER1", 0, 12.5, 0.25), SitePrice("BER1", 1, 3.0, 0.0), SitePrice("MUC1", 0, 0.0, 0.5)]
FLOWS = [Flow("BER1", "MUC1", 0, 40.0, 2.5), Flow("supplier", "BER1", 0, 100.0, 6.25)]
ASKED: dict[str, Any] = {"by": "kim", "changes": [{"site": "BER1", "storage_m3": 400, "first_period": 1}]}


@pytest.fixture
async def world() -> World:
    """A plan that is ready, and one that failed later."""
    made = World()
    figures = PlanFigures(NOW, MONDAY, WEEK, 2, 10, 2, 99.0, 100.0, 0.01, 90.0, 0.0, 1.5)
    good = PlanRequest("nightly", NOW - 2 * MINUTE, "the night")
    await made.plans.put_result("nightly", NOW, PRICES, FLOWS, {"prices": b"<svg>1</svg>", "flows": b"<svg>2</svg>"})
    await made.plans.put(PlanSummary(good, PlanState.READY, None, figures))
    bad = PlanRequest("bad", NOW - MINUTE, "kim")
    await made.plans.put(PlanSummary(bad, PlanState.FAILED, "there are no forecasts"))
    return made


async def published(world: World) -> list[PlanRequest]:
    end = (await world.log.bounds("inventory.plan-requests"))[1]
    found = world.log.read("inventory.plan-requests", tuple(0 for _ in end), end)
    return [read_request(r, TimeLimits())[0] for (*batch,) in [b async for b in found] for r in batch]


async def test_plans_are_listed_newest_first_and_each_tells_how_it_stands(world: World) -> None:
    async with world.client() as api:
        listed = (await api.get("/v1/plans")).json()
        assert [(p["id"], p["state"], p["reason"]) for p in listed["items"]] == [
            ("bad", "failed", "there are no forecasts"), ("nightly", "ready", None)
        ]  # fmt: skip
        first = (await api.get("/v1/plans?limit=1")).json()
        second = (await api.get(f"/v1/plans?limit=1&before={first['next']}")).json()
        assert [first["items"][0]["id"], second["items"][0]["id"], second["next"]] == ["bad", "nightly", None]
        one = (await api.get("/v1/plans/nightly")).json()
        assert one == (await api.get("/v1/plans/newest")).json()
        assert (one["figures"]["value"], one["figures"]["bound"], one["figures"]["gap"]) == (99.0, 100.0, 0.01)
        assert one["figures"]["start"] == "2026-11-16T00:00:00.000Z"


async def test_what_a_cubic_metre_in_berlin_is_worth_this_week(world: World) -> None:
    async with world.client() as api:
        answer = (await api.get("/v1/plans/newest/prices?site=BER1&at=2026-11-21T06:37:00Z")).json()
        assert answer["plan"] == "nightly"
        assert answer["items"] == [
            {"site": "BER1", "period": 0, "starts_at": "2026-11-16T00:00:00.000Z", "storage": 12.5, "flow": 0.25}
        ]
        every = (await api.get("/v1/plans/nightly/prices")).json()["items"]
        assert [(p["site"], p["period"]) for p in every] == [("BER1", 0), ("BER1", 1), ("MUC1", 0)]
        assert (await api.get("/v1/plans/nightly/prices?period=1")).json()["items"][0]["storage"] == 3.0
        outside = await api.get("/v1/plans/nightly/prices?at=2026-12-01T00:00:00Z")
        assert (outside.status_code, outside.json()["errors"][0]["parameter"]) == (422, "at")


async def test_flows_of_a_period_to_and_from_a_site(world: World) -> None:
    async with world.client() as api:
        answer = (await api.get("/v1/plans/nightly/flows?site=MUC1")).json()
        assert answer["items"] == [{"from_site": "BER1", "to_site": "MUC1", "units": 40.0, "m3": 2.5}]
        assert len((await api.get("/v1/plans/nightly/flows")).json()["items"]) == 2
        assert (await api.get("/v1/plans/nightly/flows?period=1")).json()["items"] == []
        beyond = await api.get("/v1/plans/nightly/flows?period=2")
        assert (beyond.status_code, beyond.json()["errors"][0]["parameter"]) == (422, "period")


async def test_pictures_are_svg_that_runs_no_scripts(world: World) -> None:
    async with world.client() as api:
        answer = await api.get("/v1/plans/newest/prices.svg")
        assert (answer.status_code, answer.text) == (200, "<svg>1</svg>")
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert (await api.get("/v1/plans/nightly/flows.svg")).text == "<svg>2</svg>"


async def test_a_what_if_is_published_on_the_newest_plan_and_queued_where_its_location_says(world: World) -> None:
    async with world.client() as api:
        answer = await api.post("/v1/plans", json=ASKED)
        assert (answer.status_code, answer.json()["state"], answer.json()["base"]) == (202, "queued", "nightly")
        seen = (await api.get(answer.headers["location"])).json()
        assert (seen["state"], seen["changes"][0]["storage_m3"]) == ("queued", 400.0)
    (asked,) = await published(world)
    assert (asked.id, asked.base, asked.by) == (seen["id"], "nightly", "kim")
    assert (asked.changes[0].site, asked.changes[0].first_period) == ("BER1", 1)


async def test_a_plan_without_changes_is_of_the_network_as_it_stands(world: World) -> None:
    async with world.client() as api:
        for body in ({"by": "kim"}, {**ASKED, "base": None}):
            assert (await api.post("/v1/plans", json=body)).json()["base"] is None


async def test_asking_twice_under_one_id_is_asking_once_and_asking_otherwise_is_a_conflict(world: World) -> None:
    async with world.client() as api:
        body = {**ASKED, "id": "hall-7"}
        assert [(await api.post("/v1/plans", json=body)).status_code for _ in range(2)] == [202, 202]
        other = await api.post("/v1/plans", json={**body, "changes": []})
        assert (other.status_code, other.json()["code"], other.json()["path"]) == (409, "id-reused", "/id")
    assert len(await published(world)) == 1


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"changes": [{"site": "BER1"}]}, "/changes/0"),
        ({"changes": [{"site": "BER1", "lost": True, "storage_m3": 1}]}, "/changes/0"),
        ({"changes": [ASKED["changes"][0], {"site": "BER1", "lost": True, "first_period": 3, "last_period": 2}]}, "/changes/1"),
        ({"changes": [{"site": "BER9", "lost": True}]}, "/changes/0/site"),
        ({"changes": [{"site": "BER1", "storage_m3": 1e300}]}, "/changes/0/storage_m3"),
        ({"base": "nobody"}, "/base"),
        ({"id": "newest"}, "/id"),
        ({"id": "a/b"}, "/id"),
        ({"colour": "red"}, "/colour"),
    ],
)  # fmt: skip
async def test_what_cannot_be_planned_is_refused_with_the_field(world: World, changed: Any, path: str) -> None:
    async with world.client() as api:
        answer = await api.post("/v1/plans", json=ASKED | changed)
        assert (answer.status_code, answer.json()["path"]) == (422, path), answer.text
    assert await published(world) == []


async def test_a_request_among_the_dead_letters_is_corrected_and_sent_again(world: World) -> None:
    head = {"specversion": "1.0", "id": "hall-7", "source": "wms", "type": PLAN_REQUESTED, "time": rfc3339(NOW)}
    record = Record(
        "inventory.plan-requests", 0, 3, b"hall", b"{}", [(f"ce_{k}", v.encode()) for k, v in head.items()], NOW
    )
    with pytest.raises(BadEvent) as refused:
        read_request(record, TimeLimits())
    await world.letters.put([DeadLetter.of(record, refused.value)])
    async with world.client() as api:
        url = "/v1/dead-letters/inventory.plan-requests:0:3/replay"
        still = await api.post(url, json={"data": {"by": "kim", "changes": [{"site": "BER1"}]}})
        assert (still.status_code, still.json()["path"]) == (422, "/data/changes/0")
        assert (await api.post(url, json={"data": {"by": "kim"}})).json()["key"] == "hall-7"
    assert [asked.id for asked in await published(world)] == ["hall-7"]


async def test_while_the_broker_is_away_nothing_is_queued(world: World) -> None:
    world.log.down = True
    async with world.client() as api:
        answer = await api.post("/v1/plans", json={**ASKED, "id": "later"})
        assert (answer.status_code, answer.json()["part"]) == (503, "kafka")
        assert (await api.get("/v1/plans/later")).status_code == 404


async def test_a_plan_that_is_not_there_or_not_ready_says_so(world: World) -> None:
    async with world.client() as api:
        assert (await api.get("/v1/plans/nobody")).status_code == 404
        assert (await api.get("/v1/plans/nobody/prices.svg")).status_code == 404
        failed = await api.get("/v1/plans/bad/prices")
        assert (failed.status_code, "there are no forecasts" in failed.json()["detail"]) == (409, True)
    async with World().client() as api:
        assert (await api.get("/v1/plans/newest")).status_code == 404
