"""Every class of bad input is refused with its code, its path and a reason that names the field: over Kafka, over REST.

In: the table in tests/badinput.py. Run: `pytest tests/unit/wire/test_bad_input.py`.
"""

from __future__ import annotations

import json

import pytest

from inventorybot.domain.events import BinImage, Movement
from inventorybot.errors import BadEvent
from inventorybot.wire import codec
from inventorybot.wire.codec import Record, TimeLimits
from tests.badinput import ACCEPTED, NOW, REFUSED, Case

LIMITS = TimeLimits()


def from_kafka(record: Record) -> Movement | BinImage:
    """What the agents do with a record."""
    read = codec.read_image if record.topic == "inventory.bin-images" else codec.read_movement
    return read(record, LIMITS)[0]


def of_form(cases: list[Case], form: str) -> list[object]:
    """The cases that a form can express, by name."""
    return [pytest.param(case, id=case.name[:70]) for case in cases if form in case.forms]


@pytest.mark.parametrize("case", of_form(REFUSED, "kafka"))
def test_over_kafka_it_is_refused_with_code_path_and_reason(case: Case) -> None:
    with pytest.raises(BadEvent) as refused:
        from_kafka(case.record())
    assert (refused.value.code, refused.value.path) == (case.code, case.path)
    assert case.says in refused.value.reason
    assert len(refused.value.reason) < 400


@pytest.mark.parametrize("case", of_form(REFUSED, "structured"))
def test_in_structured_form_it_is_refused_with_the_same_code_path_and_reason(case: Case) -> None:
    with pytest.raises(BadEvent) as refused:
        codec.structured(codec.document(case.document()), NOW, LIMITS)
    assert (refused.value.code, refused.value.path) == (case.code, case.path_structured)
    assert refused.value.path == "" or case.says in refused.value.reason
    assert len(refused.value.reason) < 400


@pytest.mark.parametrize("case", of_form(ACCEPTED, "kafka"))
def test_what_is_odd_but_right_is_accepted_over_kafka(case: Case) -> None:
    assert from_kafka(case.record()).event_id


@pytest.mark.parametrize("case", of_form(ACCEPTED, "structured"))
def test_what_is_odd_but_right_is_accepted_in_structured_form_and_read_back_alike(case: Case) -> None:
    message = codec.structured(codec.document(case.document()), NOW, LIMITS)
    published = Record(message.topic, 0, 0, message.key, message.value, message.headers, NOW)
    assert from_kafka(published) == from_kafka(case.record())


def test_the_standard_librarys_lenient_json_leads_to_the_same_refusals() -> None:
    """A route that parses with `json` lets lone surrogates, NaN and huge integers pass; `structured` refuses them."""
    for case in REFUSED:
        if "structured" not in case.forms or case.whole is not None:
            continue
        try:
            document = json.loads(case.document())
        except (ValueError, RecursionError):
            continue
        with pytest.raises(BadEvent):
            codec.structured(document, NOW, LIMITS)


def test_a_lone_surrogate_that_a_lenient_parser_let_pass_is_refused_where_it_stands() -> None:
    good = json.loads(Case("good").document())
    with pytest.raises(BadEvent, match="wrong-type at /id"):
        codec.structured(good | {"id": "\udcff"}, NOW, LIMITS)
    with pytest.raises(BadEvent, match="not-json at /data"):
        codec.structured(good | {"data": good["data"] | {"sku": "\udcff"}}, NOW, LIMITS)


def test_a_huge_integer_and_a_deep_list_are_refused_in_few_words() -> None:
    good = json.loads(Case("good").document())
    deep: list[object] = []
    for _ in range(50_000):  # from Python 3.12 on, 10,000 lists in each other can be written down
        deep = [deep]
    for strange in (10**5_000, deep):
        with pytest.raises(BadEvent, match="wrong-type at /id"):
            codec.structured(good | {"id": strange}, NOW, LIMITS)
    with pytest.raises(BadEvent, match="not-json at /data"):
        codec.structured(good | {"data": {"sku": deep}}, NOW, LIMITS)


def test_an_unknown_version_is_told_which_one_is_spoken() -> None:
    case = next(c for c in REFUSED if c.name == "an unknown version")
    with pytest.raises(BadEvent, match=r"this release speaks inventorybot\.movement\.receipt\.v1"):
        from_kafka(case.record())


def test_a_record_without_a_value_is_refused() -> None:
    with pytest.raises(BadEvent, match="not-json at /data"):
        codec.read_movement(Record("inventory.updates", 0, 0, b"BER1/A", None, [], NOW), LIMITS)


@pytest.mark.parametrize("shift", [300_000, -400 * 86_400_000])
def test_a_time_on_the_limit_is_accepted_and_a_millisecond_beyond_is_not(shift: int) -> None:
    beyond = 1 if shift > 0 else -1
    assert from_kafka(Case("on the limit", shift_ms=shift).record())
    with pytest.raises(BadEvent, match="bad-time at /time"):
        from_kafka(Case("beyond", shift_ms=shift + beyond).record())
