"""`inventorybot publish`: every line of a file is accepted, or refused with its number, code, path and reason."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest

from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.errors import BadEvent, SetupError, TryLater
from inventorybot.wire.codec import TimeLimits, rfc3339
from services.event_lines import MAX_LINE, Form, Line, read_lines
from services.publish_cli import Refusal, Run

NOW = rfc3339(time.time_ns() // 1_000_000 - 60_000)
HEADER = "type,id,time,site,bin,sku,quantity,to_bin,reason,image_url\n"


def csv(*rows: str, header: str = HEADER) -> list[Line]:
    return lines(header + "".join(row.replace("NOW", NOW) + "\n" for row in rows))


def lines(text: str | bytes, form: Form = Form.AUTO, suffix: str = "") -> list[Line]:
    stream = io.BytesIO(text.encode() if isinstance(text, str) else text)
    return list(read_lines(stream, form, suffix, "test"))


async def run(
    found: list[Line], publisher: MemoryPublisher | None = None, patience_s: float = 5
) -> tuple[Run, list[Refusal]]:
    refusals: list[Refusal] = []
    one = Run(TimeLimits(), refusals.append)
    await one.publish(found, publisher or MemoryPublisher(), patience_s)
    return one, refusals


def document(**data: Any) -> str:
    slot = {"site": "BER1", "bin": "A-1", "sku": "B00X", "quantity": 3} | data
    head = {"specversion": "1.0", "id": "e-1", "source": "wms", "type": "inventorybot.movement.receipt.v1", "time": NOW}
    return json.dumps({**head, "data": slot}) + "\n"


async def test_good_lines_are_published_and_bad_ones_reported_with_their_number() -> None:
    publisher = MemoryPublisher()
    text = document() + "\n" + "{oops\n" + document(quantity=0) + document(bin="A/1") + document(quantity=4)
    one, refusals = await run(lines(text), publisher)
    assert (one.lines, one.accepted, one.refused) == (5, 2, 3)
    assert [(r.line, r.code, r.path) for r in refusals] == [
        (3, "not-json", ""), (4, "out-of-range", "/data/quantity"), (5, "out-of-range", "/data/bin")
    ]  # fmt: skip
    assert [json.loads(m.value)["quantity"] for m in publisher.messages] == [3, 4]


async def test_csv_rows_become_the_same_events() -> None:
    publisher = MemoryPublisher()
    one, refusals = await run(
        csv(
            "receipt,e-1,NOW,BER1,A-1,B00X,3,,,",
            "move,e-2,NOW,BER1,A-1,B00X,2,A-2,tidy up,",
            'adjustment,e-3,NOW,BER1,A-1,"kit, red",-1,,"said ""no""",',
            "inventorybot.movement.cycle-count.v1,e-4,NOW,BER1,A-1,B00X,0,,,",
            "bin-image,e-5,NOW,BER1,A-1,,,,,s3://b/1.jpg",
        ),
        publisher,
    )
    assert refusals == []
    assert one.accepted == 5
    found = [json.loads(m.value) for m in publisher.messages]
    assert found[1] == {
        "site": "BER1",
        "bin": "A-1",
        "sku": "B00X",
        "quantity": 2,
        "to_bin": "A-2",
        "reason": "tidy up",
    }
    assert (found[2]["sku"], found[2]["quantity"], found[2]["reason"]) == ("kit, red", -1, 'said "no"')
    assert found[4] == {"site": "BER1", "bin": "A-1", "image_url": "s3://b/1.jpg"}


@pytest.mark.parametrize(
    ("row", "code", "path"),
    [
        ("receipt,e,,BER1,A-1,B00X,3,,,", "missing-field", "/time"),
        (",e,NOW,BER1,A-1,B00X,3,,,", "missing-field", "/type"),
        ("receipt,e,NOW,,A-1,B00X,3,,,", "missing-field", "/data/site"),
        ("receipt,e,NOW,BER1,A-1,B00X,3.0,,,", "wrong-type", "/data/quantity"),
        ("receipt,e,NOW,BER1,A-1,B00X,many,,,", "wrong-type", "/data/quantity"),
        ("receipt,e,NOW,BER1,A-1,B00X,0,,,", "out-of-range", "/data/quantity"),
        ("teleport,e,NOW,BER1,A-1,B00X,3,,,", "unknown-type", "/type"),
        ("transfer-in,e,NOW,BER1,A-1,B00X,3,,,", "unknown-type", "/type"),
        ("receipt,e,yesterday,BER1,A-1,B00X,3,,,", "bad-time", "/time"),
        ("receipt,e,NOW,BER1,A-1,B00X,3,A-2,,", "unknown-field", "/data/to_bin"),
        ("receipt,e,NOW,BER1", "not-cloudevent", ""),
        ('receipt,"e,NOW,BER1,A-1,B00X,3,,,', "not-cloudevent", ""),
    ],
)
async def test_a_bad_row_is_refused_and_the_next_is_not(row: str, code: str, path: str) -> None:
    good = "receipt,e-2,NOW,BER1,A-1,B00X,3,,,"
    one, refusals = await run(csv(good, row) if '"' in row else csv(row, good))
    assert [(r.code, r.path) for r in refusals] == [(code, path)]
    assert one.accepted == 1


def test_the_same_file_gives_the_same_ids_and_equal_rows_are_two_facts() -> None:
    sale, other = "sale,,NOW,BER1,A-1,B00X,1,,,", "sale,,NOW,BER1,A-1,B00X,2,,,"
    ids = [line.event["id"] for line in csv(sale, sale, other)]
    assert len(set(ids)) == 3
    assert ids == [line.event["id"] for line in csv(sale, sale, other)]


def test_an_export_that_has_lost_or_gained_other_rows_still_gives_each_its_id() -> None:
    first, second = "sale,,NOW,BER1,A-1,B00X,1,,,", "pick,,NOW,BER1,A-1,B00X,1,,,"
    (_, before), (after,) = csv(first, second), csv(second)
    assert before.event["id"] == after.event["id"]
    (short,) = csv("pick,NOW,BER1,A-1,B00X,1", header="type,time,site,bin,sku,quantity\n")
    assert short.event["id"] == after.event["id"]


@pytest.mark.parametrize("header", ["type,time,site\n", "type,time,site,bin,colour\n", "type,time,site,bin,bin\n"])
def test_a_header_that_is_not_right_stops_the_file_with_one_sentence(header: str) -> None:
    with pytest.raises(SetupError, match="first line"):
        csv("x,y,z,u,v", header=header)


def test_a_line_over_the_limit_is_refused_and_the_next_is_read() -> None:
    found = lines(b'{"x": "' + b"x" * (3 * MAX_LINE) + b'"}\n' + document().encode())
    assert isinstance(found[0].event, BadEvent)
    assert (found[0].event.code, found[0].number, found[1].number) == ("too-large", 1, 2)
    assert found[1].event["id"] == "e-1"


@pytest.mark.parametrize("bad", [b"\xff\xfe", b"receipt,\x00"])
def test_a_csv_line_that_is_not_text_is_refused_and_the_next_is_read(bad: bytes) -> None:
    good = f"receipt,e-2,{NOW},BER1,A-1,B00X,3,,,\n".encode()
    found = lines(HEADER.encode() + bad + b"\n" + good)
    assert [isinstance(line.event, BadEvent) for line in found] == [True, False]


def test_the_form_is_known_by_name_or_by_its_first_character() -> None:
    row = f"receipt,e-2,{NOW},BER1,A-1,B00X,3,,,\n"
    assert len(lines(HEADER + row)) == 1
    assert len(lines("\ufeff" + HEADER + row)) == 1
    assert len(lines(document())) == 1
    assert isinstance(lines(HEADER, suffix=".jsonl")[0].event, BadEvent)
    assert lines("") == []


async def test_a_file_of_any_size_is_read_as_a_stream() -> None:
    taken = 0

    class Endless(io.RawIOBase):
        def readline(self, size: int | None = -1) -> bytes:
            nonlocal taken
            taken += 1
            return document().encode()

    stream = read_lines(Endless(), Form.JSONL, "", "test")  # type: ignore[arg-type]
    for _ in range(10):
        next(stream)
    assert taken <= 12


async def test_a_broker_that_stays_away_is_told_with_how_far_it_came() -> None:
    class Dies(MemoryPublisher):
        async def publish(self, messages: Any) -> None:
            await super().publish(messages)
            self.down = True

    rows = [document(quantity=n) for n in range(1, 700)]
    with pytest.raises(TryLater, match=r"500 events are safe\. Publish the same file again"):
        await run(lines("".join(rows)), Dies(), patience_s=0.1)


async def test_a_broker_that_comes_back_is_waited_for() -> None:
    class Blinks(MemoryPublisher):
        tries = 0

        async def publish(self, messages: Any) -> None:
            self.tries += 1
            self.down = self.tries < 2
            await super().publish(messages)

    one, _ = await run(lines(document()), Blinks(), patience_s=10)
    assert one.accepted == 1
