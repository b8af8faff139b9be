"""Levels, history and counts over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from inventorybot.domain.events import Kind
from tests.api_world import MINUTE, NOW, World, movement


@pytest.fixture
async def world() -> World:
    """A-1: 5 received, 2 picked, then counted 4; A-2 holds 7 of the same SKU; odd names in A-3."""
    world = World()
    await world.book(
        movement("m-1", Kind.RECEIPT, 5, NOW - 10 * MINUTE),
        movement("m-2", Kind.PICK, 2, NOW - 8 * MINUTE),
        movement("m-3", Kind.CYCLE_COUNT, 4, NOW - 6 * MINUTE),
        movement("m-4", Kind.RECEIPT, 7, NOW - 5 * MINUTE, "A-2"),
        movement("m-5", Kind.RECEIPT, 1, NOW - 4 * MINUTE, "Réserve 3?#", "kit/7/levels"),
    )
    return world


async def get(world: World, path: str) -> dict[str, object]:
    async with world.client() as api:
        answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_a_bin_says_what_it_holds_and_when_it_was_counted(world: World) -> None:
    found = await get(world, "/v1/sites/BER1/bins/A-1/levels")
    assert (found["on_hand"], found["skus"]) == (4, {"B00X": 4})
    assert found["slots"][0]["counted_at"] == "2026-11-21T06:31:00.000Z"  # type: ignore[index]


@pytest.mark.parametrize(("minutes", "units"), [(9, {"B00X": 5}), (7, {"B00X": 3}), (6, {"B00X": 4})])
async def test_a_bin_says_what_it_held_at_any_moment(world: World, minutes: int, units: dict[str, int]) -> None:
    at = f"2026-11-21T06:{37 - minutes:02d}:00Z"
    assert (await get(world, f"/v1/sites/BER1/bins/A-1/levels?as_of={at}"))["skus"] == units


async def test_a_sku_is_summed_over_its_bins(world: World) -> None:
    found = await get(world, "/v1/sites/BER1/skus/B00X/levels")
    assert found["on_hand"] == 11
    assert [(x["bin"], x["on_hand"]) for x in found["bins"]] == [("A-1", 4), ("A-2", 7)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("sku", [quote("kit/7/levels", safe=""), "kit/7/levels"])
async def test_odd_names_find_their_levels(world: World, sku: str) -> None:
    assert (await get(world, f"/v1/sites/BER1/skus/{sku}/levels"))["on_hand"] == 1
    odd = quote("Réserve 3?#")
    assert (await get(world, f"/v1/sites/BER1/bins/{odd}/levels"))["skus"] == {"kit/7/levels": 1}


async def test_pages_of_names_and_levels_follow_on_without_gap_or_repeat(world: World) -> None:
    seen: list[str] = []
    after: object = ""
    while after is not None:
        page = await get(world, f"/v1/sites/BER1/bins?limit=2&after={quote(str(after))}")
        seen += [x["name"] for x in page["items"]]  # type: ignore[attr-defined]
        after = page["next"]
    assert seen == ["A-1", "A-2", "Réserve 3?#"]
    first = await get(world, "/v1/sites/BER1/levels?limit=2")
    assert ([x["bin"] for x in first["items"]], first["next"]) == (["A-1", "A-2"], "A-2")  # type: ignore[attr-defined]
    last = await get(world, "/v1/sites/BER1/levels?limit=2&after=A-2")
    assert ([x["bin"] for x in last["items"]], last["next"]) == (["Réserve 3?#"], None)  # type: ignore[attr-defined]
    assert [x["name"] for x in (await get(world, "/v1/sites"))["items"]] == ["BER1"]  # type: ignore[attr-defined]
    assert [x["name"] for x in (await get(world, "/v1/sites/BER1/skus"))["items"]] == ["B00X", "kit/7/levels"]  # type: ignore[attr-defined]


async def test_history_is_newest_first_and_its_pages_follow_on(world: World) -> None:
    seen: list[tuple[str, int]] = []
    until: object = "2026-11-21T06:37:00Z"
    while until is not None:
        page = await get(world, f"/v1/sites/BER1/bins/A-1/history?limit=1&until={until}")
        seen += [(x["event_id"], x["quantity"]) for x in page["items"]]  # type: ignore[attr-defined]
        until = page["next"]
    assert seen == [("m-3", 4), ("m-2", -2), ("m-1", 5)]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/sites/BER1/bins/NEVER/levels", 404),
        ("/v1/sites/BER1/bins/NEVER/history", 404),
        ("/v1/sites/BER1/skus/NEVER/levels", 404),
        ("/v1/sites/BER1/bins/A%2F1/levels", 404),
        ("/v1/sites/BER1/bins/A%00/levels", 422),
        ("/v1/sites/BER1/bins?limt=5", 422),
        ("/v1/sites/BER1/bins?limit=0", 422),
        ("/v1/sites/BER1/bins/A-1/levels?as_of=yesterday", 422),
        ("/v1/sites/BER1/bins/A-1/levels?as_of=2026-11-21T06:37:00", 422),
        ("/v1/sites/BER1/bins/A-1/history?since=2026-11-21T06:37:00Z&until=2026-11-20T06:37:00Z", 422),
        ("/v1/sites/BER1/bins/A-1/history?since=2020-11-21T06:37:00Z", 422),
    ],
)
async def test_what_cannot_be_answered_is_a_problem_that_says_why(world: World, path: str, status: int) -> None:
    async with world.client() as api:
        answer = await api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert len(answer.json()["detail"]) > 10


async def test_facts_of_one_moment_are_never_torn_apart_by_a_page(world: World) -> None:
    at = NOW - 20 * MINUTE
    await world.book(*(movement(f"t-{n}", Kind.RECEIPT, 1, at, "B-1") for n in range(3)))
    await world.book(movement("u-1", Kind.RECEIPT, 1, at + 1, "B-1"))
    first = await get(world, "/v1/sites/BER1/bins/B-1/history?limit=2")
    assert [x["event_id"] for x in first["items"]] == ["u-1"]  # type: ignore[attr-defined]
    async with world.client() as api:
        answer = await api.get("/v1/sites/BER1/bins/B-1/history", params={"limit": 2, "until": str(first["next"])})
        assert answer.status_code == 422
        assert "raise limit" in answer.json()["detail"]
