"""The check's own reading of a record agrees with the codec on every good record, and on what is plainly bad.

Run: `pytest tests/unit/verify/test_events.py`. The two share no code, so that one can catch the other.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.errors import Code
from inventorybot.wire import codec, schemas
from inventorybot.wire.codec import Record, TimeLimits, parse_time
from inventorybot.wire.examples import EXAMPLES, START
from services.verify import events
from services.verify.events import Fact, milliseconds
from tests.badinput import ACCEPTED, REFUSED, Case

LEFT_TO_THE_LEDGER = {Code.BAD_TIME, Code.TOO_LARGE, Code.UNKNOWN_FIELD, Code.CONTRADICTION}
"""Faults that the check need not see: it asks only that such a record be in the dead letters."""


def read(record: Record) -> Fact | str:
    return events.read(record.headers, record.key, record.value)


@pytest.mark.parametrize("name", sorted(schemas.MOVEMENTS))
def test_it_reads_every_kind_of_movement_as_the_codec_does(name: str) -> None:
    example = EXAMPLES[name][0]
    head = codec.Envelope(example.id, example.source, name, example.time)
    data = example.data
    message = codec.message(head, f"{data.site}/{data.bin}", data)  # type: ignore[attr-defined]
    record = Record(message.topic, 0, 0, message.key, message.value, message.headers, START + 3_600_000)
    movement, _ = codec.read_movement(record, TimeLimits())
    fact = read(record)
    assert isinstance(fact, Fact)
    assert fact.content == (movement.occurred_at, movement.sku, movement.delta, str(movement.kind))
    assert (fact.event_id, fact.site, fact.bin, fact.to_bin) == (
        movement.event_id, movement.site, movement.bin, movement.to_bin,
    )  # fmt: skip


@pytest.mark.parametrize(
    "case", [c for c in ACCEPTED if "kafka" in c.forms and "image" not in c.type], ids=lambda c: c.name
)
def test_it_reads_what_is_odd_but_right(case: Case) -> None:
    assert isinstance(read(case.record()), Fact)


def test_what_it_reads_and_the_codec_refuses_are_only_faults_of_limits() -> None:
    for case in REFUSED:
        if "kafka" in case.forms and "image" not in case.type and isinstance(read(case.record()), Fact):
            by_limit = case.code is Code.OUT_OF_RANGE or case.path in ("/data/reason", "/source")
            assert case.code in LEFT_TO_THE_LEDGER or by_limit, case.name


@settings(max_examples=300)
@given(st.datetimes(timezones=st.timezones() | st.none()), st.text("0123456789", max_size=12), st.sampled_from("Tt "))
def test_it_tells_time_as_the_codec_does(when: object, digits: str, separator: str) -> None:
    text = when.replace(microsecond=0).isoformat(separator)  # type: ignore[attr-defined]
    if digits and len(text) >= 19:
        text = f"{text[:19]}.{digits}{text[19:]}"
    try:
        expected = parse_time(text)
    except codec.BadEvent:
        return
    assert milliseconds(text) == expected


@given(st.lists(st.tuples(st.text(max_size=12), st.one_of(st.none(), st.binary(max_size=20)))), st.binary(max_size=60))
def test_no_bytes_make_it_stumble(headers: list[tuple[str, bytes | None]], value: bytes) -> None:
    assert isinstance(events.read(headers, None, value), str)
