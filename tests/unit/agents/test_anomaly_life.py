"""The life of an anomaly: who may do what, when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventorybot.domain.alerts import (
    BY_AGENTS,
    BY_PEOPLE,
    Anomaly,
    Knowledge,
    Status,
    Step,
    advance,
    anomaly_id,
    place,
)
from inventorybot.errors import BadEvent, Code


def step(action: str, at: int = 10, **more: object) -> Step:
    said = {"actor": "ana", "assignee": "ben", "reason": "record-corrected"} if action in BY_PEOPLE else {}
    return Step(f"{action}-{at}", "a1", "bin-variance", action, at, "S", "B", **(said | more))  # type: ignore[arg-type]


def after(*steps: Step) -> Anomaly | None:
    anomaly = None
    for each in steps:
        anomaly = advance(anomaly, each)
    return anomaly


def test_an_anomaly_is_raised_acknowledged_assigned_and_closed() -> None:
    found = after(
        step("raised", 1, knowledge=Knowledge(probability=0.4)), step("acknowledged", 2), step("assigned", 3, note="today"),
        step("updated", 4, knowledge=Knowledge(probability=0.9)), step("closed", 5),
    )  # fmt: skip
    assert found == Anomaly(
        "a1", "bin-variance", "S", "B", None, Status.CLOSED, 1, 5, Knowledge(probability=0.9), "ben", "ana", "ana",
        "record-corrected", "today",
    )  # fmt: skip
    assert not found.live


def test_an_acknowledged_anomaly_is_still_resolved_by_evidence() -> None:
    found = after(step("raised"), step("acknowledged"), step("resolved"))
    assert found is not None
    assert found.status is Status.RESOLVED


def test_one_settled_by_a_count_still_shows_the_picture_that_raised_it() -> None:
    known = Knowledge(probability=0.4, recorded=4, image_id="i", why="because")
    found = after(step("raised", knowledge=known), step("resolved", knowledge=Knowledge(why="counted")))
    assert found is not None
    assert found.knowledge == replace(known, why="counted")


def test_a_step_told_again_changes_nothing_and_says_so_by_returning_the_same_object() -> None:
    for last in ("updated", "acknowledged", "assigned"):
        found = after(step("raised"), step(last))
        assert advance(found, step(last)) is found
    closed = after(step("raised"), step("closed"))
    assert advance(closed, step("closed", 99)) is closed


def test_evidence_that_comes_after_the_end_changes_nothing() -> None:
    for end in ("closed", "resolved"):
        ended = after(step("raised"), step(end))
        for late in BY_AGENTS:
            assert advance(ended, step(late, 99)) is ended


@pytest.mark.parametrize("end", ["closed", "resolved"])
@pytest.mark.parametrize("action", sorted(BY_PEOPLE))
def test_a_person_cannot_work_on_what_has_ended(end: str, action: str) -> None:
    if action == end:
        return
    with pytest.raises(BadEvent) as refused:
        advance(after(step("raised"), step(end)), step(action, 99))
    assert (refused.value.code, refused.value.path) == (Code.CONTRADICTION, "/data/action")


@pytest.mark.parametrize("action", sorted(BY_PEOPLE))
def test_a_person_cannot_work_on_what_never_was(action: str) -> None:
    with pytest.raises(BadEvent, match="there is no anomaly a1"):
        advance(None, step(action))


def test_evidence_on_what_never_was_is_let_go() -> None:
    assert advance(None, step("updated")) is None
    assert advance(None, step("resolved")) is None


@pytest.mark.parametrize(
    ("action", "field"), [("acknowledged", "actor"), ("assigned", "assignee"), ("closed", "reason")]
)
def test_a_person_must_say_who_to_whom_or_why(action: str, field: str) -> None:
    with pytest.raises(BadEvent) as refused:
        advance(after(step("raised")), step(action, **{field: None}))
    assert (refused.value.code, refused.value.path) == (Code.MISSING_FIELD, f"/data/{field}")


def test_a_step_of_another_bin_is_refused() -> None:
    with pytest.raises(BadEvent, match="is of S/B, not of S/C"):
        advance(after(step("raised")), replace(step("closed"), bin="C"))


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(BadEvent, match="no step 'eaten'"):
        advance(after(step("raised")), step("eaten"))


def test_the_id_of_an_anomaly_tells_kind_site_bin_and_occasion_apart() -> None:
    ids = {
        anomaly_id(*parts)
        for parts in [("k", "s", "b", "0"), ("k", "s", "b", "1"), ("k", "s", "b0", ""), ("k", "sb", "", "0")]
    }
    assert len(ids) == 4
    assert anomaly_id("k", "s", "b", "0") == anomaly_id("k", "s", "b", "0")


def test_a_cursor_names_a_place_in_the_list_and_nothing_else_does() -> None:
    found = after(step("raised", 1_700_000_000_000))
    assert found is not None
    assert place(found.cursor) == (1_700_000_000_000, "a1")
    for wrong in ("", "1", ".", "1.", ".x", "-1.x", "one.x", "²1.x", "9" * 16 + ".x"):
        with pytest.raises(BadEvent):
            place(wrong)


steps = st.lists(st.builds(step, st.sampled_from(sorted(BY_AGENTS | BY_PEOPLE)), st.integers(0, 50)), max_size=12)


@given(steps)
def test_whatever_happens_an_ended_anomaly_never_comes_back_to_life(story: list[Step]) -> None:
    anomaly, ended = None, None
    for each in story:
        try:
            anomaly = advance(anomaly, each)
        except BadEvent:
            continue
        if ended is not None:
            assert anomaly == ended
        elif anomaly is not None and not anomaly.live:
            ended = anomaly


@given(steps)
def test_time_never_runs_back(story: list[Step]) -> None:
    anomaly = None
    for each in story:
        before = anomaly
        try:
            anomaly = advance(anomaly, each)
        except BadEvent:
            continue
        if before is not None and anomaly is not None:
            assert anomaly.updated_at >= before.updated_at
            assert anomaly.raised_at == before.raised_at
