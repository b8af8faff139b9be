"""POST /v1/events: each event accepted or refused, with the codes and paths that Kafka and the command line give too."""

from __future__ import annotations

import json

import pytest

from inventorybot.wire.codec import MAX_UPDATE_BYTES
from services.api.parts import Limits
from tests.api_world import World, event
from tests.badinput import ACCEPTED, REFUSED, Case

ONE = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
PROBLEM = "application/problem+json"


@pytest.fixture
def world() -> World:
    return World()


async def test_an_accepted_event_lies_in_kafka_under_the_key_of_its_bin(world: World) -> None:
    async with world.client() as api:
        answer = await api.post("/v1/events", json=event(), headers=ONE)
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "refused": 0, "results": [{"index": 0, "id": "e-1", "status": "accepted"}]}
    (message,) = world.log.messages
    assert (message.topic, message.key) == ("inventory.updates", b"BER1/P-3-A12")
    assert json.loads(message.value) == event()["data"]
    assert dict(message.headers)["ce_id"] == b"e-1"


async def test_the_good_ones_of_a_mixed_batch_are_accepted(world: World) -> None:
    batch = [event(id="a"), event(0, id="b"), "not an event", event(id="d")]
    async with world.client() as api:
        answer = await api.post("/v1/events", json=batch, headers=BATCH)
    assert answer.status_code == 207
    found = answer.json()
    assert (found["accepted"], found["refused"]) == (2, 2)
    assert [r["status"] for r in found["results"]] == ["accepted", "refused", "refused", "accepted"]
    assert {k: found["results"][1][k] for k in ("index", "id", "code", "path")} == {
        "index": 1, "id": "b", "code": "out-of-range", "path": "/data/quantity"
    }  # fmt: skip
    assert found["results"][2]["code"] == "not-cloudevent"
    assert [dict(m.headers)["ce_id"] for m in world.log.messages] == [b"a", b"d"]


async def test_where_all_are_refused_the_answer_is_a_problem_that_lists_them(world: World) -> None:
    async with world.client() as api:
        answer = await api.post("/v1/events", json=[event(0), event(1.5)])
    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM
    found = answer.json()
    assert (found["code"], found["path"], found["refused"]) == ("out-of-range", "/data/quantity", 2)
    assert [e["code"] for e in found["errors"]] == ["out-of-range", "wrong-type"]
    assert world.log.messages == []


@pytest.mark.parametrize("case", [c for c in REFUSED if "structured" in c.forms], ids=lambda c: c.name[:60])
async def test_every_bad_input_is_refused_with_its_code_and_path(world: World, case: Case) -> None:
    async with world.client() as api:
        answer = await api.post("/v1/events", content=case.document(), headers=ONE)
    assert answer.status_code == 422
    found = answer.json()
    expected = (case.code, case.path_structured)
    if case.name == "a whole that is not an object":
        expected = ("wrong-type", "")  # an array where the media type promises one event
    assert (found["code"], found["path"]) == expected
    assert found["path"] == "" or case.says in found["detail"]
    assert world.log.messages == []


@pytest.mark.parametrize("case", [c for c in ACCEPTED if "structured" in c.forms], ids=lambda c: c.name[:60])
async def test_what_is_odd_but_right_is_accepted(world: World, case: Case) -> None:
    async with world.client() as api:
        answer = await api.post("/v1/events", content=case.document(), headers=ONE)
    assert answer.status_code == 202, answer.text


async def test_while_the_broker_is_down_nothing_counts_as_accepted(world: World) -> None:
    world.log.down = True
    async with world.client() as api:
        answer = await api.post("/v1/events", json=[event(id="a"), event(0)])
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["part"] == "kafka"
        assert "accepted" not in answer.json()
        world.log.down = False
        assert (await api.post("/v1/events", json=event(id="a"))).status_code == 202


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"content-type": "text/csv"}, b"x", 415, None),
        ({}, b"{}", 415, None),
        (ONE, b"{", 422, "not-json"),
        (ONE, b"[]", 422, "wrong-type"),
        (BATCH, b"{}", 422, "wrong-type"),
        ({"content-type": "Application/CloudEvents+JSON; charset=utf-8"}, b"{}", 422, "not-cloudevent"),
    ],
)
async def test_a_body_that_is_no_event_is_a_problem(
    world: World, headers: dict[str, str], body: bytes, status: int, code: str | None
) -> None:
    async with world.client() as api:
        answer = await api.post("/v1/events", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json().get("code") == code


async def test_a_thousand_events_are_taken_and_one_more_is_not(world: World) -> None:
    async with world.client() as api:
        assert (await api.post("/v1/events", json=[event(id=str(n)) for n in range(1000)])).status_code == 202
        answer = await api.post("/v1/events", json=[event(id=str(n)) for n in range(1001)])
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert len(world.log.messages) == 1000


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_beyond_the_limit_is_not_read_to_its_end(world: World, declared: bool) -> None:
    world.limits = Limits(body_bytes=2 * MAX_UPDATE_BYTES)
    read = 0

    async def endless() -> object:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b" " * 10_000

    async with world.client() as api:
        if declared:
            answer = await api.post("/v1/events", content=b" " * 40_000, headers=ONE)
        else:
            answer = await api.post("/v1/events", content=endless(), headers=ONE)  # type: ignore[arg-type]
            assert read < 10
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert answer.headers["content-type"] == PROBLEM


async def test_the_callers_trace_goes_on_in_the_event(world: World) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with world.client() as api:
        await api.post("/v1/events", json=event(), headers={"traceparent": trace})
    assert dict(world.log.messages[0].headers)["ce_traceparent"] == trace.encode()


async def test_an_empty_batch_is_accepted_as_nothing(world: World) -> None:
    async with world.client() as api:
        answer = await api.post("/v1/events", content=b"[]", headers=BATCH)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "refused": 0, "results": []})
