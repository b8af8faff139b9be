"""Restock recommendations over HTTP: what people see of them, what they decide, and what the ERP hears of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inventorybot.domain.days import DAY_MS
from inventorybot.domain.restock import Recommendation
from inventorybot.wire.codec import Record
from tests.api_world import NOW, World
from tests.unit.restock.makers import recommendation

KIM = {"actor": "kim"}


@pytest.fixture
async def world() -> World:
    """One that waits, of today."""
    made = World()
    await made.restock.put([recommendation(at=NOW)])
    return made


def one(at: int = NOW, sku: str = "B00X") -> Recommendation:
    return recommendation(sku=sku, at=at)


def url(action: str = "", of: Recommendation | None = None) -> str:
    return f"/v1/restock/{(of or one()).id}{action and '/' + action}"


async def orders(world: World) -> list[Record]:
    end = (await world.log.bounds("inventory.restock-orders"))[1]
    found = world.log.read("inventory.restock-orders", tuple(0 for _ in end), end)
    return [r for (*batch,) in [b async for b in found] for r in batch]


async def test_a_recommendation_shows_its_arithmetic_in_figures_and_in_words(world: World) -> None:
    async with world.client() as api:
        found = (await api.get(url())).json()
    assert (found["state"], found["quantity"], found["day"]) == ("proposed", 24, "2026-11-21")
    a = found["arithmetic"]
    assert (a["on_hand"], a["on_order"], a["position"], a["reorder_point"], a["order_up_to"]) == (4, 6, 10, 28, 30)
    assert (a["raw"], a["quantity"], a["pack"], a["min_order"]) == (20, 24, 6, 12)
    assert a["lead_times"] == [{"days": 5, "probability": 0.5}, {"days": 8, "probability": 0.5}]
    for words in (
        "4 on hand + 6 on order = 10",
        "30 - 10 = 20",
        "whole packs of 6 and a minimum of 12 24",
        "87.5% without",
    ):
        assert words in found["why"]


async def test_the_list_is_filtered_and_paged(world: World) -> None:
    await world.restock.put([one(sku="a"), recommendation("MUC1", "b", NOW)])
    async with world.client() as api:
        first = (await api.get("/v1/restock?limit=2")).json()
        assert [x["sku"] for x in first["items"]] == ["B00X", "a"]
        rest = (await api.get("/v1/restock", params={"limit": 2, "before": first["next"]})).json()
        assert ([x["sku"] for x in rest["items"]], rest["next"]) == (["b"], None)
        assert [x["sku"] for x in (await api.get("/v1/restock?site=MUC1")).json()["items"]] == ["b"]
        assert (await api.get("/v1/restock?state=approved")).json()["items"] == []
        assert (await api.get("/v1/restock?before=yesterday")).status_code == 422


async def test_an_approved_one_becomes_an_order_for_the_erp_once(world: World) -> None:
    async with world.client() as api:
        answers = [await api.post(url("approve"), json={**KIM, "note": "for the fair"}) for _ in range(3)]
        assert [a.status_code for a in answers] == [200, 200, 200]
        assert answers[0].json() == answers[2].json()
        found = answers[0].json()
    assert (found["state"], found["sent_at"], found["steps"][0]["by"]) == ("approved", found["steps"][0]["at"], "kim")
    (order,) = await orders(world)
    headers, data = dict(order.headers), json.loads(order.value or b"")
    assert (order.key, headers["ce_id"].decode(), headers["ce_type"]) == (
        b"BER1/B00X", one().id, b"inventorybot.restock.ordered.v1"
    )  # fmt: skip
    assert (data["quantity"], data["recommended"], data["by"], data["note"]) == (24, 24, "kim", "for the fair")


async def test_a_crash_between_store_and_publish_is_repaired_by_approving_again(world: World) -> None:
    async with world.client() as api:
        world.log.down = True
        failed = await api.post(url("approve"), json=KIM)
        assert (failed.status_code, failed.json()["part"]) == (503, "kafka")
        seen = (await api.get(url())).json()
        assert (seen["state"], seen["sent_at"]) == ("approved", None)
        world.log.down = False
        again = await api.post(url("approve"), json={"actor": "jo"})
        assert (again.status_code, again.json()["sent_at"] is not None) == (200, True)
        assert [s["by"] for s in again.json()["steps"]] == ["kim"]
    assert [dict(o.headers)["ce_id"].decode() for o in await orders(world)] == [one().id]


async def test_a_changed_quantity_is_ordered_as_it_was_changed(world: World) -> None:
    async with world.client() as api:
        changed = await api.post(url("change"), json={**KIM, "quantity": 36, "note": "more rain"})
        assert (changed.json()["state"], changed.json()["quantity"]) == ("proposed", 36)
        repeat = await api.post(url("change"), json={**KIM, "quantity": 36})
        assert len(repeat.json()["steps"]) == 1
        await api.post(url("approve"), json={"actor": "jo"})
        late = await api.post(url("change"), json={**KIM, "quantity": 24})
        assert late.status_code == 409
        assert "approved by jo" in late.json()["detail"]
    (order,) = await orders(world)
    data = json.loads(order.value or b"")
    assert (data["quantity"], data["recommended"], data["by"]) == (36, 24, "jo")


@pytest.mark.parametrize(
    ("quantity", "words"),
    [
        (25, "whole packs of 6"),
        (6, "minimum order"),
        (306, "to 300"),
        (0, "greater than or equal to 1"),
        (6.5, "integer"),
    ],
)
async def test_a_quantity_out_of_its_limits_is_refused_with_the_limit(world: World, quantity: Any, words: str) -> None:
    async with world.client() as api:
        answer = await api.post(url("change"), json={**KIM, "quantity": quantity})
    assert (answer.status_code, answer.json()["path"]) == (422, "/quantity")
    assert words in answer.json()["detail"]


async def test_a_dismissal_needs_a_reason_and_ends_it(world: World) -> None:
    async with world.client() as api:
        assert (await api.post(url("dismiss"), json=KIM)).status_code == 422
        assert (await api.post(url("dismiss"), json={**KIM, "reason": ""})).status_code == 422
        for _ in range(2):
            done = await api.post(url("dismiss"), json={**KIM, "reason": "delisted"})
            assert (done.status_code, done.json()["state"], len(done.json()["steps"])) == (200, "dismissed", 1)
        late = await api.post(url("approve"), json=KIM)
        assert (late.status_code, late.json()["code"]) == (409, "contradiction")
        assert late.headers["content-type"] == "application/problem+json"
    assert await orders(world) == []


async def test_a_newer_one_takes_the_place_of_one_that_nobody_decided(world: World) -> None:
    old = recommendation(at=NOW - DAY_MS)
    await world.restock.put([old])
    async with world.client() as api:
        answer = await api.post(url("approve", old), json=KIM)
        assert (answer.status_code, "20261121 has taken its place" in answer.json()["detail"]) == (409, True)
        assert (await api.get(url(of=old))).json()["state"] == "lapsed"


async def test_no_second_order_for_what_was_ordered_after_it_was_worked_out(world: World) -> None:
    yesterday = recommendation(sku="K", at=NOW - DAY_MS)
    await world.restock.put([yesterday])
    async with world.client() as api:
        assert (await api.post(url("approve", yesterday), json=KIM)).status_code == 200
        today = recommendation(sku="K", at=NOW - 60_000)  # worked out before that approval
        await world.restock.put([today])
        answer = await api.post(url("approve", today), json=KIM)
        assert (answer.status_code, "24 units were approved by kim" in answer.json()["detail"]) == (409, True)
    assert len(await orders(world)) == 1


async def test_goods_that_are_in_no_longer_count_as_on_order(world: World) -> None:
    async with world.client() as api:
        assert (await api.post(url("receive"), json=KIM)).status_code == 409
        await api.post(url("approve"), json=KIM)
        assert len(await world.restock.under_way("BER1")) == 1
        for _ in range(2):
            assert (await api.post(url("receive"), json=KIM)).json()["state"] == "received"
        assert (await api.post(url("approve"), json=KIM)).status_code == 200  # a repeat: it was approved
    assert await world.restock.under_way("BER1") == []
    assert len(await orders(world)) == 1


async def test_one_that_is_not_there_says_so(world: World) -> None:
    async with world.client() as api:
        nobody = "0b9a2d5e-6c1f-5d43-9a6e-3f1c2b7d8e90"
        assert (await api.get(f"/v1/restock/{nobody}")).status_code == 404
        assert (await api.post(f"/v1/restock/{nobody}/approve", json=KIM)).status_code == 404
        assert (await api.get("/v1/restock/newest")).status_code == 422
