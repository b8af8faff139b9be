"""Dead letters over HTTP, and sending them again: redelivery checks as the agents do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from msgspec import structs

from inventorybot.errors import BadEvent, Code
from inventorybot.ports import DeadLetter
from inventorybot.wire.codec import Record, rfc3339
from tests.api_world import MINUTE, NOW, RECEIPT, World, event

GOOD = json.dumps(event()["data"]).encode()
ID = "inventory.updates:0:17"


def letter(value: bytes = GOOD, key: bytes | None = b"BER1/P-3-A12", code: Code = Code.OUT_OF_RANGE) -> DeadLetter:
    head = {"specversion": "1.0", "id": "e-1", "source": "wms", "type": RECEIPT, "time": rfc3339(NOW - MINUTE)}
    headers = [(f"ce_{name}", text.encode()) for name, text in head.items()] + [("x-robot", b"\xff")]
    record = Record("inventory.updates", 0, 17, key, value, headers, NOW - MINUTE)
    return DeadLetter.of(record, BadEvent(code, "/data/quantity", "quantity: expected `int` >= 1"))


@pytest.fixture
def world() -> World:
    return World()


async def test_a_letter_is_listed_and_shown_with_its_original(world: World) -> None:
    await world.letters.put([letter(b"\xff{")])
    async with world.client() as api:
        (listed,) = (await api.get("/v1/dead-letters?code=out-of-range&topic=inventory.updates")).json()["items"]
        assert (await api.get("/v1/dead-letters?code=bad-key")).json() == {"items": []}
        shown = (await api.get(f"/v1/dead-letters/{ID}")).json()
        assert (await api.get("/v1/dead-letters/inventory.updates:0:18")).status_code == 404
        assert (await api.get("/v1/dead-letters/nonsense")).status_code == 422
    assert (listed["id"], listed["code"], listed["path"]) == (ID, "out-of-range", "/data/quantity")
    assert (shown["key"], shown["value_text"], shown["value_base64"]) == ("BER1/P-3-A12", None, "/3s=")
    assert shown["headers"]["ce_id"] == "e-1"
    assert shown["headers"]["x-robot"] == "\\xff"


async def test_a_letter_that_is_right_by_now_is_sent_again_as_it_was(world: World) -> None:
    await world.letters.put([letter()])
    async with world.client() as api:
        answer = await api.post(f"/v1/dead-letters/{ID}/replay")
        assert answer.status_code == 200, answer.text
        assert (await api.get(f"/v1/dead-letters/{ID}")).json()["replayed_at"] == rfc3339(NOW)
    (sent,) = world.log.messages
    assert (sent.topic, sent.key, sent.value) == ("inventory.updates", b"BER1/P-3-A12", GOOD)
    assert list(sent.headers) == list(letter().original.headers)


async def test_a_letter_under_the_wrong_key_is_sent_under_the_right_one(world: World) -> None:
    await world.letters.put([letter(key=b"wrong", code=Code.BAD_KEY)])
    async with world.client() as api:
        answer = await api.post(f"/v1/dead-letters/{ID}/replay")
    assert answer.json()["key"] == "BER1/P-3-A12"
    assert world.log.messages[0].key == b"BER1/P-3-A12"


async def test_a_letter_is_corrected_and_sent(world: World) -> None:
    await world.letters.put([letter(GOOD.replace(b"3}", b"0}"))])
    async with world.client() as api:
        still = await api.post(f"/v1/dead-letters/{ID}/replay")
        assert (still.status_code, still.json()["code"], still.json()["path"]) == (
            422,
            "out-of-range",
            "/data/quantity",
        )
        data = event(4)["data"]
        right = await api.post(f"/v1/dead-letters/{ID}/replay", json={"data": data, "attributes": {"id": "e-2"}})
        assert right.status_code == 200, right.text
    (sent,) = world.log.messages
    assert json.loads(sent.value)["quantity"] == 4
    assert dict(sent.headers)["ce_id"] == b"e-2"


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"data": None}, "wrong-type", "/data"),
        ({"attributes": {"time": "yesterday"}}, "bad-time", "/time"),
        ({"attributes": {"colour": "red"}}, "unknown-field", "/attributes"),
        ({"key": "BER1/OTHER"}, "bad-key", ""),
    ],
)
async def test_a_wrong_correction_is_refused_and_nothing_is_noted(
    world: World, change: dict[str, object], code: str, path: str
) -> None:
    await world.letters.put([letter()])
    async with world.client() as api:
        answer = await api.post(f"/v1/dead-letters/{ID}/replay", json=change)
    assert (answer.status_code, answer.json()["code"], answer.json()["path"]) == (422, code, path)
    assert world.log.messages == []
    assert world.letters.letters[ID].replayed_at is None


async def test_a_reused_id_needs_another_id(world: World) -> None:
    await world.letters.put([letter(code=Code.ID_REUSED)])
    async with world.client() as api:
        same = await api.post(f"/v1/dead-letters/{ID}/replay")
        other = await api.post(f"/v1/dead-letters/{ID}/replay", json={"attributes": {"id": "e-9"}})
    assert (same.status_code, same.json()["code"], other.status_code) == (422, "id-reused", 200)


async def test_a_letter_whose_bytes_are_gone_is_a_410(world: World) -> None:
    await world.letters.put([letter()])
    world.letters.forget_bytes(ID)
    async with world.client() as api:
        assert (await api.post(f"/v1/dead-letters/{ID}/replay")).status_code == 410
        assert (await api.get(f"/v1/dead-letters/{ID}")).json()["whole"] is False


async def test_while_the_broker_is_down_nothing_is_noted(world: World) -> None:
    await world.letters.put([letter()])
    world.log.down = True
    async with world.client() as api:
        assert (await api.post(f"/v1/dead-letters/{ID}/replay")).status_code == 503
    assert world.letters.letters[ID].replayed_at is None


async def test_an_event_of_inventorybots_own_is_checked_by_its_type(world: World) -> None:
    own = replace(letter(), topic="inventory.bin-counts")
    own = replace(own, original=structs.replace(own.original, topic="inventory.bin-counts"))
    await world.letters.put([own])
    async with world.client() as api:
        answer = await api.post("/v1/dead-letters/inventory.bin-counts:0:17/replay")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-type")
