"""Anomalies over HTTP: what people see, and the steps that they take."""

from __future__ import annotations

from typing import Any

import pytest

from inventorybot.domain.alerts import Knowledge
from inventorybot.domain.events import BinImage
from inventorybot.wire.anomalies import read_step
from inventorybot.wire.codec import image_message
from tests.api_world import MINUTE, NOW, P, World

JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"


@pytest.fixture
def world() -> World:
    return World()


async def steps(world: World) -> list[Any]:
    end = (await world.log.bounds("inventory.anomalies"))[1]
    start = tuple(0 for _ in end)
    return [read_step(r) async for batch in world.log.read("inventory.anomalies", start, end) for r in batch]


async def test_a_person_acknowledges_assigns_and_closes_and_everybody_learns_of_it(world: World) -> None:
    await world.raise_anomaly()
    async with world.alert_agent(), world.client() as api:
        first = await api.post("/v1/anomalies/a-1/acknowledge", json={"actor": "kim"})
        assert (first.status_code, first.json()["status"], first.json()["acknowledged_by"]) == (
            200,
            "acknowledged",
            "kim",
        )
        second = await api.post("/v1/anomalies/a-1/assign", json={"actor": "kim", "assignee": "jo", "note": "please"})
        assert (second.status_code, second.json()["assignee"]) == (200, "jo")
        third = await api.post("/v1/anomalies/a-1/close", json={"actor": "jo", "reason": "record-corrected"})
        assert (third.status_code, third.json()["status"]) == (200, "closed")
        assert third.json()["close_reason"] == "record-corrected"
        assert [s["action"] for s in third.json()["steps"]] == ["raised", "acknowledged", "assigned", "closed"]
    told = await steps(world)
    assert [(s.action, s.actor) for s in told] == [
        ("raised", None), ("acknowledged", "kim"), ("assigned", "kim"), ("closed", "jo")
    ]  # fmt: skip


async def test_a_projected_stock_out_shows_its_date_and_is_acknowledged_though_it_has_no_bin(world: World) -> None:
    known = Knowledge(probability=0.9, recorded=4, days_of_cover=1.5, expected_at=NOW)
    await world.raise_anomaly(kind="projected-stock-out", bin=None, sku="kit/7", knowledge=known)
    async with world.alert_agent(), world.client() as api:
        (found,) = (await api.get("/v1/anomalies", params={"kind": "projected-stock-out"})).json()["items"]
        assert (found["bin"], found["sku"], found["days_of_cover"]) == (None, "kit/7", 1.5)
        assert found["expected_at"] == "2026-11-21T06:37:00.000Z"
        assert (await api.get("/v1/anomalies/a-1/distribution")).status_code == 404
        answer = await api.post("/v1/anomalies/a-1/acknowledge", json={"actor": "kim"})
    assert (answer.status_code, answer.json()["status"]) == (200, "acknowledged")


async def test_without_an_alert_agent_the_step_is_published_and_the_answer_says_not_yet(world: World) -> None:
    await world.raise_anomaly()
    async with world.client() as api:
        answer = await api.post("/v1/anomalies/a-1/acknowledge", json={"actor": "kim"})
    assert (answer.status_code, answer.json()["status"]) == (202, "acknowledged")
    assert [s.action for s in await steps(world)] == ["raised", "acknowledged"]


async def test_a_closed_anomaly_cannot_be_assigned_and_closing_it_again_changes_nothing(world: World) -> None:
    await world.raise_anomaly()
    async with world.alert_agent(), world.client() as api:
        await api.post("/v1/anomalies/a-1/close", json={"actor": "jo", "reason": "other"})
        refused = await api.post("/v1/anomalies/a-1/assign", json={"actor": "kim", "assignee": "jo"})
        again = await api.post("/v1/anomalies/a-1/close", json={"actor": "jo", "reason": "other"})
    assert (refused.status_code, refused.json()["code"]) == (409, "contradiction")
    assert "closed" in refused.json()["detail"]
    assert again.status_code == 200
    assert len(await steps(world)) == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "pointer"),
    [
        ("/v1/anomalies/none/close", {"actor": "jo", "reason": "other"}, 404, None),
        ("/v1/anomalies/a-1/close", {"actor": "jo", "reason": "because"}, 422, "/reason"),
        ("/v1/anomalies/a-1/close", {"reason": "other"}, 422, "/actor"),
        ("/v1/anomalies/a-1/assign", {"actor": "jo"}, 422, "/assignee"),
        ("/v1/anomalies/a-1/acknowledge", {"actor": ""}, 422, "/actor"),
        ("/v1/anomalies/a-1/acknowledge", {"actor": "a\x1bb"}, 422, "/actor"),
        ("/v1/anomalies/a-1/acknowledge", {"actor": "jo", "note": "x" * 501}, 422, "/note"),
        ("/v1/anomalies/a-1/acknowledge", {"actor": "jo", "mood": "good"}, 422, "/mood"),
    ],
)
async def test_a_step_that_is_not_right_is_refused_with_a_pointer(
    world: World, path: str, body: dict[str, str], status: int, pointer: str | None
) -> None:
    await world.raise_anomaly()
    async with world.client() as api:
        answer = await api.post(path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    if pointer:
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert len(await steps(world)) == 1


async def test_while_the_broker_is_down_a_step_is_not_taken(world: World) -> None:
    await world.raise_anomaly()
    world.log.down = True
    async with world.client() as api:
        answer = await api.post("/v1/anomalies/a-1/acknowledge", json={"actor": "kim"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_the_list_is_newest_first_filtered_and_paged(world: World) -> None:
    for n in range(5):
        site = "BER1" if n % 2 else "MUC2"
        await world.raise_anomaly(f"a-{n}", at=NOW - n * MINUTE, site=site, event_id=f"r-{n}")
    async with world.client() as api:
        first = (await api.get("/v1/anomalies?limit=3")).json()
        rest = (await api.get("/v1/anomalies", params={"limit": 3, "before": first["next"]})).json()
        one_site = (await api.get("/v1/anomalies?site=BER1&status=open&kind=bin-variance")).json()
        nobody = (await api.get("/v1/anomalies?assignee=jo")).json()
        wrong = await api.get("/v1/anomalies?before=x")
    assert [a["id"] for a in first["items"]] == ["a-0", "a-1", "a-2"]
    assert ([a["id"] for a in rest["items"]], rest["next"]) == (["a-3", "a-4"], None)
    assert [a["id"] for a in one_site["items"]] == ["a-1", "a-3"]
    assert nobody == {"items": [], "next": None}
    assert wrong.status_code == 422


async def test_the_picture_comes_inline_from_the_log_or_from_where_it_lies(world: World) -> None:
    await world.log.publish([image_message(BinImage("i-1", NOW, "BER1", "A-1", JPEG, None, None, "robot"))])
    await world.log.publish([image_message(BinImage("i-2", NOW, "BER1", "A-1", None, "s3://b/2.jpg", None, "robot"))])
    lane = (await world.log.bounds("inventory.bin-images"))[1].index(2)
    world.blobs.pictures = {"s3://b/2.jpg": JPEG + b"2"}
    await world.raise_anomaly("inline", knowledge=Knowledge(image_id="i-1", image_at=f"{lane}:0", p=P))
    await world.raise_anomaly("referenced", knowledge=Knowledge(image_id="i-2", image_at=f"{lane}:1"))
    await world.raise_anomaly("lost", knowledge=Knowledge(image_url="s3://b/3.jpg"))
    await world.raise_anomaly("none", knowledge=Knowledge(why="below zero"))
    async with world.client() as api:
        inline = await api.get("/v1/anomalies/inline/image")
        assert (inline.content, inline.headers["content-type"]) == (JPEG, "image/jpeg")
        assert inline.headers["x-content-type-options"] == "nosniff"
        assert (await api.get("/v1/anomalies/referenced/image")).content == JPEG + b"2"
        lost = await api.get("/v1/anomalies/lost/image")
        assert (lost.status_code, lost.json()["code"]) == (502, "image-unreachable")
        assert (await api.get("/v1/anomalies/none/image")).status_code == 404
        world.log.retain_from("inventory.bin-images", lane, 2)
        gone = await api.get("/v1/anomalies/inline/image")
        assert (gone.status_code, gone.headers["content-type"]) == (410, "application/problem+json")


async def test_the_distribution_behind_an_anomaly_is_shown_beside_the_record(world: World) -> None:
    await world.raise_anomaly()
    await world.raise_anomaly("none", knowledge=Knowledge(why="below zero"))
    async with world.client() as api:
        found = (await api.get("/v1/anomalies/a-1/distribution")).json()
        assert (found["p"], found["count"], found["confidence"]) == (list(P), 4, 0.9)
        assert (found["recorded"], found["estimate"], found["image_id"]) == (6, 4, "img-1")
        assert (await api.get("/v1/anomalies/none/distribution")).status_code == 404
