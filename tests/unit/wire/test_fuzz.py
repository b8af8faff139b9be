"""Whatever bytes arrive, the codec answers with a fact or with BadEvent; what it writes, it reads back the same.

Run: `pytest tests/unit/wire/test_fuzz.py`. Hypothesis keeps failing examples in .hypothesis/.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.domain.events import BinImage, Kind, Movement
from inventorybot.errors import BadEvent
from inventorybot.wire import codec, schemas
from inventorybot.wire.codec import Record, TimeLimits
from tests.badinput import NOW

LIMITS = TimeLimits()
names = st.from_regex(r"\A[A-Za-z0-9é東][A-Za-z0-9 é東.:-]{0,30}[A-Za-z0-9é東]\Z")
attribute = st.one_of(
    st.binary(max_size=80),
    st.none(),
    st.sampled_from(
        [
            b"1.0",
            b"e-1",
            b"wms",
            b"2026-11-21T06:36:00Z",
            b"2026-11-21T06:36:00+99:00",
            b"inventorybot.movement.move.v1",
        ]
    ),
)
header_names = st.one_of(
    st.sampled_from(["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_traceparent"]),
    st.text(max_size=20),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=12,
)
fields = st.sampled_from(["site", "bin", "sku", "quantity", "to_bin", "reason", "image", "image_url", "camera"])
data = st.dictionaries(fields, json_values, max_size=9)


def refusal(call: Callable[[], object]) -> BadEvent | None:
    """How a call was refused; None: it was not. Any other exception passes through, and fails the test."""
    try:
        call()
    except BadEvent as refused:
        refused.reason.encode()
        return refused
    return None


@settings(max_examples=600, deadline=None)
@given(
    st.one_of(st.none(), st.binary(max_size=300)),
    st.lists(st.tuples(header_names, attribute), max_size=9),
    st.one_of(st.none(), st.binary(max_size=40)),
)
def test_any_bytes_give_a_fact_or_a_bad_event(value: bytes | None, headers: list[Any], key: bytes | None) -> None:
    record = Record("t", 0, 0, key, value, headers, NOW)
    for read in (codec.read_movement, codec.read_image):
        refused = refusal(partial(read, record, LIMITS))
        assert refused is None or refused.path == "" or refused.path.startswith("/")


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([*schemas.MOVEMENTS, schemas.BIN_IMAGE]), data, st.binary(max_size=20))
def test_any_json_under_a_right_envelope_gives_a_fact_or_a_bad_event(name: str, fields: Any, key: bytes) -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_source", b"wms"), ("ce_type", name.encode()),
               ("ce_time", b"2026-11-21T06:36:00Z")]  # fmt: skip
    read = codec.read_image if name == schemas.BIN_IMAGE else codec.read_movement
    refused = refusal(partial(read, Record("t", 0, 0, key, json.dumps(fields).encode(), headers, NOW), LIMITS))
    assert refused is None or refused.path == "" or refused.path.startswith("/data")


@settings(max_examples=600, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["specversion", "id", "source", "type", "time", "data", "x"]),
        st.one_of(json_values, data, st.sampled_from(["1.0", "2026-11-21T06:36:00Z", *schemas.MOVEMENTS])),
    )
)
def test_any_structured_document_gives_a_message_or_a_bad_event(document: dict[str, Any]) -> None:
    refused = refusal(partial(codec.structured, document, NOW, LIMITS))
    assert refused is None or refused.path == "" or refused.path.startswith("/")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_text_is_a_json_value_or_a_bad_event(text: bytes) -> None:
    refused = refusal(partial(codec.document, text))
    assert refused is None or refused.path == ""


movements = st.builds(
    Movement,
    event_id=st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=128
    ),
    kind=st.sampled_from(Kind),
    occurred_at=st.integers(NOW - 400 * 86_400_000, NOW + 300_000),
    site=names,
    bin=names,
    sku=names,
    quantity=st.integers(1, schemas.MAX_UNITS),
    to_bin=st.none(),
    reason=st.one_of(st.none(), names),
    source=st.just("wms"),
)


@settings(max_examples=300, deadline=None)
@given(movements, st.booleans())
def test_a_movement_written_is_read_back_the_same(movement: Movement, traced: bool) -> None:
    if movement.kind in (Kind.PUT_AWAY, Kind.MOVE):
        movement = movement._replace(to_bin=movement.bin + "2")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" if traced else None
    written = codec.movement_message(movement, trace)
    record = Record(written.topic, 0, 0, written.key, written.value, written.headers, NOW)
    assert codec.read_movement(record, LIMITS) == (movement, codec.envelope_of(written.headers))
    assert codec.envelope_of(written.headers).traceparent == trace


@settings(max_examples=100, deadline=None)
@given(names, names, st.one_of(st.none(), st.binary(min_size=1, max_size=500)))
def test_an_image_written_is_read_back_the_same(site: str, bin_id: str, image: bytes | None) -> None:
    url = None if image else "s3://pictures/1.jpg"
    event = BinImage("e-1", NOW, site, bin_id, image, url, "camera 7", "robot-3")
    written = codec.image_message(event)
    record = Record(written.topic, 0, 0, written.key, written.value, written.headers, NOW)
    assert codec.read_image(record, LIMITS)[0] == event


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_a_time_is_written_as_the_library_writes_it_and_read_back(ms: int) -> None:
    text = codec.rfc3339(ms)
    assert text == codec.from_ms(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert codec.parse_time(text) == ms
