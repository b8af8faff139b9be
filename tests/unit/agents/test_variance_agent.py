"""The variance and alert agents together, on the fakes: floods, crashes, closings, late and bad records."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot import telemetry
from inventorybot.domain.alerts import Status
from inventorybot.domain.events import Kind
from inventorybot.errors import TryLater
from inventorybot.wire.codec import Record
from tests.unit.agents.stage import KEY, MINUTE, NOON, Stage, as_records, count_of
from tests.unit.variance.looks import THREE, sure

COUNTS = "inventory.bin-counts"
OTHER = ("S1", "B2")


def pictures(*minutes: int, p: object = THREE, first: int = 0, key: tuple[str, str] = KEY) -> list[Record]:
    """Records of pictures that show three, taken at minutes after noon."""
    messages = [count_of(NOON + m * MINUTE, p, key=key) for m in minutes]  # type: ignore[arg-type]
    return as_records(COUNTS, messages, first)


@pytest.fixture
async def stage() -> Stage:
    """A bin whose record says 4."""
    made = Stage()
    await made.move(Kind.RECEIPT, 4, NOON - MINUTE)
    return made


async def test_pictures_that_disagree_with_the_record_raise_one_anomaly_with_its_evidence(stage: Stage) -> None:
    await stage.count(pictures(1, 2, 3))
    await stage.fold()
    (found,) = stage.live()
    known = found.knowledge
    assert (found.site, found.bin, found.status) == (*KEY, Status.OPEN)
    assert (known.recorded, known.estimate, known.looks, known.image_id) == (4, 3, 3, f"i{NOON + 3 * MINUTE}")
    assert known.probability == pytest.approx(0.695, abs=2e-3)  # docs/adr/0004
    assert known.model == "count@v1"
    assert known.p == THREE.p
    assert known.why is not None
    assert known.why.startswith("The record says 4; 3 pictures since 12:01 UTC say 3.")
    assert [s.action for s in await stage.anomalies.steps(found.id)] == ["raised", "updated"]


async def test_every_count_is_kept_with_the_record_as_of_its_capture(stage: Stage) -> None:
    await stage.move(Kind.PICK, 1, NOON + 2 * MINUTE)
    await stage.count(pictures(1, 3))
    newest, oldest = await stage.evidence.counts(KEY)
    assert (oldest.recorded, newest.recorded) == (4, 3)
    assert oldest.probability_wrong == pytest.approx(0.0956, abs=1e-3)


async def test_one_batch_or_many_lead_to_the_same_evidence_and_the_same_steps(stage: Stage) -> None:
    await stage.count(pictures(1, 2, 3))
    other = Stage()
    await other.move(Kind.RECEIPT, 4, NOON - MINUTE)
    for n, minute in enumerate((1, 2, 3)):
        await other.count(pictures(minute, first=n))
        await other.fold()
    assert other.evidence.states == stage.evidence.states
    assert other.said() == stage.said() == ["raised", "updated"]


async def test_a_flood_of_200_pictures_of_one_wrong_bin_is_one_open_anomaly_and_few_updates(stage: Stage) -> None:
    messages = [count_of(NOON + 500 * n, sure(2 + (n // 7) % 2)) for n in range(200)]
    records = as_records(COUNTS, messages)
    for start in range(0, 200, 32):
        await stage.count(records[start : start + 32])
        await stage.fold()
    assert stage.said().count("raised") == 1
    assert stage.said().count("updated") <= 8  # pauses of 1, 2, 4 … 64 s fill 100 s
    assert len(stage.said()) <= 9
    assert len(stage.live()) == 1


async def test_bins_of_one_batch_are_judged_apart(stage: Stage) -> None:
    await stage.move(Kind.RECEIPT, 3, NOON - MINUTE, OTHER)
    mixed = [*pictures(1, 2), *pictures(1, 2, first=2, key=OTHER)]
    await stage.count([mixed[0], mixed[2], mixed[1], mixed[3]])
    await stage.fold()
    assert len(stage.live(KEY)) == 1
    assert stage.live(OTHER) == []


async def test_a_late_cycle_count_settles_the_anomaly_at_the_next_picture(stage: Stage) -> None:
    await stage.count(pictures(1, 2))
    await stage.move(Kind.CYCLE_COUNT, 3, NOON + 5 * MINUTE)
    await stage.count(pictures(6, first=2))
    await stage.fold()
    assert stage.said() == ["raised", "resolved"]
    assert stage.live() == []


async def test_a_crash_after_publishing_and_before_storing_repeats_the_same_steps(stage: Stage) -> None:
    await stage.count(pictures(1, 2), crash=True)
    assert stage.evidence.states == {}
    await stage.count(pictures(1, 2))
    first, second = stage.topic.messages
    assert dict(first.headers)["ce_id"] == dict(second.headers)["ce_id"]
    assert first.value == second.value
    await stage.fold()
    (found,) = stage.live()
    assert len(await stage.anomalies.steps(found.id)) == 1


async def test_an_anomaly_raised_before_a_crash_that_a_late_update_explains_is_resolved_not_orphaned(
    stage: Stage,
) -> None:
    """─ raise ─ crash ─ a late pick arrives ─ the same pictures again: nothing to raise ─ next picture ─►"""
    await stage.count(pictures(1, 2), crash=True)
    await stage.fold()
    await stage.move(Kind.PICK, 1, NOON)
    await stage.count(pictures(1, 2))
    await stage.fold()
    await stage.count(pictures(3, first=2))
    await stage.fold()
    assert stage.live() == []
    assert len(stage.anomalies.states) == 1


async def test_a_bin_whose_evidence_was_lost_does_not_reuse_the_names_of_anomalies_that_ended(stage: Stage) -> None:
    for n in range(2):
        await stage.count(pictures(4 * n + 1, 4 * n + 2, first=2 * n))
        await stage.fold()
        (found,) = stage.live()
        await stage.person("closed", found.id, NOON + (4 * n + 3) * MINUTE)
    stage.evidence.states.clear()
    await stage.count(pictures(11, 12, first=8))
    await stage.fold()
    assert len(stage.live()) == 1
    assert len(stage.anomalies.states) == 3


async def test_what_a_person_closed_stays_closed_until_there_is_fresh_evidence(stage: Stage) -> None:
    await stage.count(pictures(1, 2))
    await stage.fold()
    (found,) = stage.live()
    await stage.person("closed", found.id, NOON + 3 * MINUTE)
    late = as_records(COUNTS, [count_of(NOON + 150_000, THREE)], 2)
    await stage.count(late)
    await stage.count(pictures(4, first=3))
    await stage.fold()
    assert stage.live() == []
    await stage.count(pictures(5, first=4))
    await stage.fold()
    (again,) = stage.live()
    assert again.id != found.id
    assert again.knowledge.looks == 2


async def test_a_picture_delivered_twice_counts_once(stage: Stage) -> None:
    again = as_records(COUNTS, [count_of(NOON + MINUTE, THREE)] * 6)
    await stage.count(again)
    await stage.count(again)
    assert stage.said() == []
    assert len(await stage.evidence.counts(KEY)) == 1


async def test_a_record_that_is_no_count_goes_to_the_dead_letters_and_its_neighbours_go_on(stage: Stage) -> None:
    good = pictures(1, 2)
    bad = [
        Record(COUNTS, 0, 10, b"S1/B1", b"{", good[0].headers, NOON),
        Record(COUNTS, 0, 11, b"S1/B9", good[0].value, good[0].headers, NOON),
        Record(COUNTS, 0, 12, b"S1/B1", good[0].value, (), NOON),
        Record(COUNTS, 0, 13, b"S1/B1", (good[0].value or b"").replace(b"0.9,", b"0.8,"), good[0].headers, NOON),
    ]
    await stage.count([bad[0], good[0], bad[1], bad[2], good[1], bad[3]])
    assert {x.offset: x.code for x in stage.dead.letters.values()} == {
        10: "not-json", 11: "bad-key", 12: "not-cloudevent", 13: "out-of-range"
    }  # fmt: skip
    assert stage.said() == ["raised"]


async def test_a_broker_that_is_down_leaves_everything_to_be_done_again(stage: Stage) -> None:
    stage.topic.down = True
    with pytest.raises(TryLater):
        await stage.count(pictures(1, 2))
    assert stage.evidence.states == {}
    stage.topic.down = False
    await stage.count(pictures(1, 2))
    assert stage.said() == ["raised"]


async def test_the_way_from_image_to_alert_is_measured(stage: Stage) -> None:
    def total() -> float:
        return sum(s.value for m in telemetry.ALERTED.collect() for s in m.samples if s.name.endswith("_sum"))

    before = total()
    await stage.count(pictures(1, 2))
    # the second picture arrived at 12:02:00.020 and the wall clock says 13:00
    assert total() - before == pytest.approx(58 * 60 - 0.02)


async def test_a_bin_with_more_history_than_is_read_is_judged_on_what_is_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.agents.variance.HISTORY", 3)
    await stage.count(pictures(1, 2))
    for n in range(4):
        await stage.move(Kind.RECEIPT, 1, NOON + (3 + n) * MINUTE)
    await stage.count(pictures(8, first=2, p=sure(8)))
    (newest, *_) = await stage.evidence.counts(KEY)
    assert newest.recorded == 8
    assert len((await stage.evidence.load([KEY]))[KEY].looks) == 1


async def test_a_step_of_a_person_that_comes_too_late_goes_to_the_dead_letters(stage: Stage) -> None:
    await stage.count(pictures(1, 2))
    await stage.fold()
    (found,) = stage.live()
    await stage.person("closed", found.id, NOON + 1)
    await stage.person("acknowledged", found.id, NOON + 2)
    await stage.person("assigned", "7c0ffee0-0000-5000-8000-000000000000", NOON + 3)
    reasons = {x.offset: x.path for x in stage.dead.letters.values()}
    assert reasons == {2: "/data/action", 3: "/data/anomaly_id"}


async def test_steps_handled_again_from_any_point_leave_anomalies_and_dead_letters_as_they_are(stage: Stage) -> None:
    await stage.count(pictures(1, 2, 3))
    await stage.fold()
    (found,) = stage.live()
    for n, action in enumerate(("acknowledged", "assigned", "closed", "assigned")):
        await stage.person(action, found.id, NOON + n)
    records = as_records("inventory.anomalies", stage.topic.messages)
    states, letters = dict(stage.anomalies.states), dict(stage.dead.letters)
    for start in range(len(records)):
        for end in range(start + 1, len(records) + 1):
            await stage.alert.handle(records[start:end])
            assert stage.anomalies.states == states
            assert stage.dead.letters == letters


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("look"), st.integers(0, 6)),
        st.tuples(st.just("crash"), st.integers(0, 6)),
        st.tuples(st.just("move"), st.integers(-2, 2).filter(bool)),
        st.tuples(st.just("late"), st.integers(-2, 2).filter(bool)),
        st.tuples(st.just("count"), st.integers(0, 6)),
        st.tuples(st.sampled_from(["fold", "close", "replay"]), st.just(0)),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(happenings)
async def test_whatever_happens_a_bin_never_has_two_open_anomalies(story: list[tuple[str, int]]) -> None:
    """Looks, crashes between publish and store, late updates, counts, closings, a lagging alert agent, redelivery.

    The alert agent is caught up before a person closes: people see only what it has folded.
    """
    stage, records = Stage(), list[Record]()
    await stage.move(Kind.RECEIPT, 4, NOON - MINUTE)
    for n, (what, value) in enumerate(story):
        now = NOON + n * MINUTE
        if what in ("look", "crash"):
            new = [count_of(now + k, sure(value)) for k in range(2)]
            records += as_records(COUNTS, new, len(records), now)
            await stage.count(records[-2:], crash=what == "crash")
            if what == "crash":
                await stage.count(records[-2:])
        elif what in ("move", "late"):
            kind = Kind.RECEIPT if value > 0 else Kind.PICK
            await stage.move(kind, abs(value), now if what == "move" else now - 90_000)
        elif what == "count":
            await stage.move(Kind.CYCLE_COUNT, value, now)
        elif what == "replay":
            await stage.count(records)
        else:
            await stage.fold()
            for each in stage.live() if what == "close" else ():
                await stage.person("closed", each.id, now)
        await stage.fold() if n % 3 else None
        assert len(stage.live()) <= 1
    await stage.fold()
    assert len(stage.live()) <= 1
    assert stage.dead.letters == {}
