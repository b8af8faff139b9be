"""Plan requests over Kafka: what is refused, with which code and path; what is accepted is read back as it was said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventorybot.domain.network_plan import PlanChange, PlanRequest, PlanState, PlanSummary
from inventorybot.errors import BadEvent
from inventorybot.wire import schemas
from inventorybot.wire.codec import Record, TimeLimits, envelope_of
from inventorybot.wire.plans import plan_message, read_request, request_message
from tests.badinput import NOW
from tests.unit.wire.test_fuzz import refusal

GOOD: dict[str, Any] = {"by": "kim", "changes": [{"site": "BER1", "storage_m3": 400}]}
TYPE = schemas.PLAN_REQUESTED


def record(data: Any, *, name: str = "p-1", type_: str = TYPE, key: bytes | None = b"p-1", time: str = "") -> Record:
    head = {"specversion": "1.0", "id": name, "source": "wms", "type": type_, "time": time or "2026-11-21T06:36:00Z"}
    value = data if isinstance(data, bytes) else json.dumps(data).encode()
    headers = [(f"ce_{k}", v.encode()) for k, v in head.items()]
    return Record("inventory.plan-requests", 0, 7, key, value, headers, NOW)


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "changes": [{"site": "BER1", "storage_m3": 1} | fields]}


@pytest.mark.parametrize(
    ("bad", "code", "path"),
    [
        (record(b"{"), "not-json", "/data"),
        (record({}), "missing-field", "/data/by"),
        (record(GOOD | {"colour": 1}), "unknown-field", "/data/colour"),
        (record(GOOD | {"by": 7}), "wrong-type", "/data/by"),
        (record(GOOD | {"by": ""}), "out-of-range", "/data/by"),
        (record(GOOD | {"base": "a b"}), "out-of-range", "/data/base"),
        (record(GOOD | {"base": "p-1"}), "contradiction", "/data/base"),
        (record(changed(site="a/b")), "out-of-range", "/data/changes/0/site"),
        (record(changed(storage_m3="much")), "wrong-type", "/data/changes/0/storage_m3"),
        (record(changed(storage_m3=2e9)), "out-of-range", "/data/changes/0/storage_m3"),
        (record(changed(first_period=-1)), "out-of-range", "/data/changes/0/first_period"),
        (record(changed(lost=True)), "contradiction", "/data/changes/0"),
        (record(changed(first_period=2, last_period=1)), "contradiction", "/data/changes/0"),
        (record(GOOD, type_="inventorybot.plan.requested.v2"), "unknown-type", "/type"),
        (record(GOOD, name="a/b", key=b"a/b"), "out-of-range", "/id"),
        (record(GOOD, name="newest", key=b"newest"), "out-of-range", "/id"),
        (record(GOOD, name="..", key=b".."), "out-of-range", "/id"),
        (record(GOOD | {"base": ".."}), "out-of-range", "/data/base"),
        (record(GOOD, key=b"p-2"), "bad-key", ""),
        (record(GOOD, key=None), "bad-key", ""),
        (record(GOOD, time="2026-11-22T06:36:00Z"), "bad-time", "/time"),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_with_code_and_path(bad: Record, code: str, path: str) -> None:
    with pytest.raises(BadEvent) as refused:
        read_request(bad, TimeLimits())
    assert (refused.value.code, refused.value.path) == (code, path), refused.value.reason


sites = st.sampled_from(["BER1", "MÜN 2", "x"])
amounts = st.floats(-1e9, 1e9).filter(bool)
changes = st.one_of(
    st.builds(PlanChange, sites, amounts, amounts, first_period=st.integers(0, 5)),
    st.builds(PlanChange, sites, lost=st.just(True), first_period=st.just(1), last_period=st.integers(1, 9)),
)
requests = st.builds(
    PlanRequest, st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z").filter(lambda n: n != "newest"), st.just(NOW - 1000),
    st.just("kim"), st.one_of(st.none(), st.just("the new hall")), st.lists(changes, max_size=4).map(tuple),
    st.one_of(st.none(), st.just("base plan".replace(" ", "-"))),
)  # fmt: skip


@given(requests)
def test_a_request_is_read_as_it_was_written(asked: PlanRequest) -> None:
    if asked.base == asked.id:
        return
    m = request_message(asked, "test")
    found, head = read_request(Record(m.topic, 0, 0, m.key, m.value, m.headers, NOW), TimeLimits())
    assert (found, head.source, m.topic) == (asked, "test", "inventory.plan-requests")


@given(st.binary(max_size=200))
def test_whatever_bytes_come_the_answer_is_a_request_or_a_refusal(value: bytes) -> None:
    found = refusal(lambda: read_request(record(value), TimeLimits()))
    assert found is None or found.path.startswith("/data")


def test_a_plan_that_failed_is_told_with_its_reason() -> None:
    failed = PlanSummary(PlanRequest("p-1", NOW, "kim"), PlanState.FAILED, "there are no forecasts")
    m = plan_message(failed, "inventorybot/planner", NOW)
    assert (m.topic, m.key, envelope_of(m.headers).id) == ("inventory.plans", b"p-1", "p-1:failed")
    assert json.loads(m.value) == {
        "plan_id": "p-1", "state": "failed", "by": "kim", "reason": "there are no forecasts"
    }  # fmt: skip
