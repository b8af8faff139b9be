"""From belief to one open anomaly a bin: raised once, updated when there is news, resolved. Times are minutes in ms."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventorybot.domain import bin_watch
from inventorybot.domain.alerts import Anomaly, Knowledge, Status
from inventorybot.domain.bin_watch import Opinion, consider, reconcile, sentence, settled_by
from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.variance import MAX_LOOKS, BinRecord, Change, Costs, Evidence, Look, MiscountPrior, Variance
from tests.unit.variance.looks import RULES, THREE, adjusted, counted, look, moved, says, sure

MINUTE = 60_000


def watch(looks: list[Look], record: BinRecord, state: Evidence | None = None) -> tuple[Evidence, list[Opinion]]:
    """Consider pictures one after the other."""
    state = Evidence() if state is None else state
    opinions = []
    for each in looks:
        state, opinion = consider(state, each, state.applied + 1, record, RULES)
        opinions.append(opinion)
    return state, opinions


def verdicts(opinions: list[Opinion]) -> list[str | None]:
    return [o.verdict for o in opinions]


def test_the_second_picture_raises_the_third_updates_and_the_fourth_has_no_news() -> None:
    """0.10, 0.33, 0.69, 0.91, 0.97 (docs/adr/0004); threshold 0.3, news from 0.1 on.

    4 on record ──────────────────────────────►
    sees   3     3        3       3       3
           –   raised  updated  updated   –
    """
    state, opinions = watch([look(n * MINUTE, THREE) for n in range(1, 6)], says(4))
    assert verdicts(opinions) == [None, "raised", "updated", "updated", None]
    assert state.said is not None
    assert state.said.updates == 2


def test_an_anomaly_is_resolved_when_later_pictures_agree_with_the_record() -> None:
    suspicious = [look(n * MINUTE, THREE) for n in (1, 2, 3)]
    state, opinions = watch([*suspicious, *(look(n * MINUTE, sure(4)) for n in range(4, 12))], says(4))
    assert verdicts(opinions)[1] == "raised"
    assert verdicts(opinions).count("resolved") == 1
    assert verdicts(opinions).count("raised") == 1
    assert state.said is None
    assert state.serial == 1


def test_between_half_the_threshold_and_the_threshold_nothing_opens_and_nothing_shuts() -> None:
    in_between = 0.2  # of threshold 0.3, half of it 0.15
    now = Variance(in_between, 4, 3, 2, 0, ())
    quiet, opinion = bin_watch._announce(Evidence(looks=(look(1, THREE),)), now, True, RULES.costs)
    assert opinion.verdict is None
    state, _ = watch([look(1, THREE), look(2, THREE)], says(4))
    open_, opinion = bin_watch._announce(state, now, True, RULES.costs)
    assert opinion.verdict in (None, "updated")
    assert quiet.said is None
    assert open_.said is not None


@pytest.mark.parametrize("correction", [counted(150_000, 3), adjusted(150_000, -1)])
def test_a_cycle_count_or_an_adjustment_after_the_pictures_settles_the_anomaly(correction: Change) -> None:
    state, _ = watch([look(MINUTE, THREE), look(2 * MINUTE, THREE)], says(4))
    after, (opinion,) = watch([look(3 * MINUTE, sure(3))], says(4, correction), state)
    assert opinion.verdict == "resolved"
    assert [known.captured_at for known in after.looks] == [3 * MINUTE]
    assert after.floor == 150_000


def test_a_count_after_even_the_newest_picture_leaves_nothing_to_judge_by() -> None:
    state, _ = watch([look(MINUTE, THREE), look(2 * MINUTE, THREE)], says(4))
    after, (opinion,) = watch([look(3 * MINUTE, THREE)], says(4, counted(4 * MINUTE, 3)), state)
    assert (opinion.verdict, opinion.variance, opinion.counted) == ("resolved", None, False)
    assert opinion.why == "The bin was counted or corrected at 00:04 UTC; what pictures said before no longer applies."
    assert after.looks == ()


def test_a_count_settles_without_a_picture_only_what_was_seen_before_it() -> None:
    state, _ = watch([look(MINUTE, THREE), look(2 * MINUTE, THREE)], says(4))
    assert settled_by(state, 2 * MINUTE) is not None
    assert settled_by(state, 2 * MINUTE - 1) is None
    assert settled_by(Evidence(looks=state.looks), 5 * MINUTE) is None


def test_a_late_update_that_explains_the_picture_clears_the_record() -> None:
    """The pick happened before the pictures and arrived after the alert."""
    state, opinions = watch([look(n * MINUTE, THREE) for n in (2, 3)], says(4))
    assert verdicts(opinions)[-1] == "raised"
    _, (opinion,) = watch([look(4 * MINUTE, THREE)], says(4, moved(MINUTE, -1)), state)
    assert opinion.verdict == "resolved"
    assert opinion.variance is not None
    assert (opinion.variance.recorded, opinion.variance.looks) == (3, 3)


def test_the_same_picture_delivered_again_changes_nothing() -> None:
    state, _ = watch([look(MINUTE, THREE, "a"), look(2 * MINUTE, THREE, "b")], says(4))
    again, opinions = watch([look(2 * MINUTE, THREE, "b")] * 5, says(4), state)
    assert again.looks == state.looks
    assert not any(o.verdict or o.counted for o in opinions)


def test_what_a_person_closed_is_not_raised_again_by_what_was_seen_before() -> None:
    state, _ = watch([look(MINUTE, THREE), look(2 * MINUTE, THREE)], says(4))
    closed = Anomaly("x", "bin-variance", "S", "B", None, Status.CLOSED, MINUTE, 3 * MINUTE, Knowledge())
    after = reconcile(state, closed)
    assert (after.looks, after.said, after.serial, after.floor) == ((), None, 1, 3 * MINUTE)
    after, opinions = watch([look(3 * MINUTE - 1, THREE, "late"), look(4 * MINUTE, THREE)], says(4), after)
    assert verdicts(opinions) == [None, None]
    assert [o.counted for o in opinions] == [False, True]
    _, (opinion,) = watch([look(5 * MINUTE, THREE)], says(4), after)
    assert opinion.verdict == "raised"


def test_an_anomaly_that_was_announced_just_before_a_crash_is_recognised() -> None:
    live = Anomaly("x", "bin-variance", "S", "B", None, Status.OPEN, 1, 1, Knowledge(0.5, 4, 3))
    adopted = reconcile(Evidence(), live)
    assert adopted.said is not None
    assert adopted.anomaly("S", "B") == Evidence().anomaly("S", "B")
    state, opinions = watch([look(MINUTE, sure(4))], says(4), adopted)
    assert verdicts(opinions) == ["resolved"]
    assert state.anomaly("S", "B") != adopted.anomaly("S", "B")


def test_a_bin_too_busy_to_follow_forgets_its_older_pictures() -> None:
    state, _ = watch([look(MINUTE, THREE), look(2 * MINUTE, THREE)], says(4))
    after, _ = watch([look(9 * MINUTE, THREE)], says(4, start=8 * MINUTE), state)
    assert [known.captured_at for known in after.looks] == [9 * MINUTE]


def test_a_flood_of_pictures_of_one_wrong_bin_is_one_anomaly_and_few_updates() -> None:
    """200 pictures in 100 s that cannot agree between 2 and 3: pauses double from 1 s, so 7 updates fit at the most."""
    flood = [look(500 * n, sure(2 + (n // 7) % 2)) for n in range(200)]
    state, opinions = watch(flood, says(6))
    assert verdicts(opinions).count("raised") == 1
    assert verdicts(opinions).count("resolved") == 0
    assert verdicts(opinions).count("updated") <= 8
    assert len(state.looks) == MAX_LOOKS


def test_a_manager_can_read_why() -> None:
    costs = Costs(1.5, 5.0)
    at = (10 * 60 + 2) * MINUTE
    assert sentence(Variance(0.84, 4, 3, 3, at, ()), costs) == (
        "The record says 4; 3 pictures since 10:02 UTC say 3. The record is wrong with 84 % probability; from 30 % on, "
        "a recount costs less than a missed error."
    )
    assert sentence(Variance(0.999, 4, 3, 1, at, ()), costs).startswith(
        "The record says 4; the picture of 10:02 UTC says 3. The record is wrong with more than 99 % probability;"
    )
    assert sentence(Variance(0.03, 4, 4, 2, at, ()), costs) == (
        "The record says 4; 2 pictures since 10:02 UTC fit it best. The record is wrong with only 3 % probability."
    )
    assert sentence(Variance(1.0, -2, 0, 1, at, ()), costs) == (
        "The record says -2, which no bin can hold; the picture of 10:02 UTC says 0. It is certainly wrong."
    )


def test_evidence_survives_its_json_and_stays_small() -> None:
    state, _ = watch([look(n * MINUTE, THREE, f"image-{n:030d}") for n in range(9)], says(4))
    text = state.to_json()
    assert Evidence.from_json(text) == state
    assert len(text) < 400 * MAX_LOOKS
    assert Evidence.from_json(Evidence().to_json()) == Evidence()
    with pytest.raises(ValueError, match="form 9"):
        Evidence.from_json(json.dumps(json.loads(text) | {"v": 9}))


def test_rules_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="look_weight"):
        bin_watch.Rules(MiscountPrior(), Costs(1, 2), 0.0)
    with pytest.raises(ValueError, match="rate"):
        MiscountPrior(1.0)


counts = st.integers(0, 8).map(sure) | st.just(CountDistribution(tuple([1 / 21] * 21)))
stories = st.lists(st.tuples(st.integers(0, 40), counts), min_size=1, max_size=14, unique_by=lambda s: s[0])


@given(stories, st.integers(-1, 8), st.data())
def test_any_prefix_of_a_story_told_again_changes_nothing(
    story: list[tuple[int, CountDistribution]], units: int, data: st.DataObject
) -> None:
    record = says(units, moved(15_500, 1), counted(25_500, 4))
    looks = [look(at * 1000, p) for at, p in story]
    state, told = Evidence(), []
    for revision, each in enumerate(looks):
        state, opinion = consider(state, each, revision, record, RULES)
        told.append(opinion.verdict)
        for again in range(data.draw(st.integers(0, revision + 1))):
            state_again, repeated = consider(state, looks[again], again, record, RULES)
            assert state_again == state
            assert repeated.verdict is None
    plain, opinions = watch(looks, record)
    assert plain == state
    assert verdicts(opinions) == told


@given(stories, st.randoms(use_true_random=False), st.integers(0, 8))
def test_pictures_that_arrive_in_any_order_leave_the_same_pictures_and_the_same_belief(
    story: list[tuple[int, CountDistribution]], random: object, units: int
) -> None:
    looks = sorted((look(at * 1000, p) for at, p in story), key=lambda each: each.captured_at)
    shuffled = list(looks)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    record = says(units, moved(15_500, 1))
    in_order, first = watch(looks, record)
    out_of_order, second = watch(shuffled, record)
    assert in_order.looks == out_of_order.looks == tuple(looks[-MAX_LOOKS:])
    assert first[-1].variance == second[-1].variance


@given(stories, st.lists(st.tuples(st.integers(0, 41), st.integers(0, 6)), max_size=3), st.integers(-2, 8))
def test_there_are_never_two_open_anomalies_of_one_bin(
    story: list[tuple[int, CountDistribution]], corrections: list[tuple[int, int]], units: int
) -> None:
    record = says(units, *(counted(at * 1000 + 500, n) for at, n in corrections))
    open_, state = None, Evidence()
    for revision, (at, p) in enumerate(story):
        name = state.anomaly("S", "B")
        state, opinion = consider(state, look(at * 1000, p), revision, record, RULES)
        if opinion.verdict == "raised":
            assert open_ is None
            open_ = name
        elif opinion.verdict is not None:
            assert open_ == name
            open_ = None if opinion.verdict == "resolved" else open_
        assert (state.said is None) == (open_ is None)
