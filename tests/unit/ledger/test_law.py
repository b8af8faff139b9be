"""The ledger's law on hand-made histories: every expected level is worked out beside the test."""

from __future__ import annotations

from inventorybot.domain.days import month_of
from inventorybot.domain.events import Kind, Movement
from inventorybot.domain.ledger import Bin, LedgerRow, Outcome, apply, fold, revision, rewind, stored

NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
MINUTE = 60_000


def event(event_id: str, kind: Kind, quantity: int, minute: int, sku: str = "K1") -> Movement:
    return Movement(event_id, kind, NOON + minute * MINUTE, "S1", "B1", sku, quantity)


def told(*events: Movement) -> Bin:
    """A bin that was told these, in this order."""
    state = Bin()
    for offset, e in enumerate(events):
        apply(state, e, revision(0, offset))
    return state


def test_receipts_add_and_picks_take() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0), event("b", Kind.PICK, 3, 1), event("c", Kind.ADJUSTMENT, -1, 2))
    assert state.slots["K1"].on_hand == 6  # 10 - 3 - 1


def test_a_fact_told_twice_counts_once() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0))
    assert apply(state, event("a", Kind.RECEIPT, 10, 0), revision(0, 1)) is Outcome.DUPLICATE
    assert state.slots["K1"].on_hand == 10


def test_another_fact_under_a_used_id_is_a_conflict_and_changes_nothing() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0))
    assert apply(state, event("a", Kind.RECEIPT, 7, 0), revision(0, 1)) is Outcome.CONFLICT
    assert state.slots["K1"].on_hand == 10


def test_a_cycle_count_is_absolute() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0), event("b", Kind.CYCLE_COUNT, 4, 1), event("c", Kind.PICK, 1, 2))
    assert state.slots["K1"].on_hand == 3  # found 4, then took 1


def test_a_pick_that_happened_before_the_count_but_is_told_after_it_changes_nothing() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0), event("b", Kind.CYCLE_COUNT, 4, 5))
    assert apply(state, event("late", Kind.PICK, 2, 3), revision(0, 2)) is Outcome.SUPERSEDED
    assert state.slots["K1"].on_hand == 4  # the counter had already found the two units gone


def test_a_count_told_late_keeps_what_happened_after_it_was_taken() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0), event("b", Kind.PICK, 2, 7))
    apply(state, event("c", Kind.CYCLE_COUNT, 9, 5), revision(0, 2))
    assert state.slots["K1"].on_hand == 7  # 9 found at minute 5, 2 taken at minute 7


def test_a_count_told_late_after_a_restart_takes_the_stored_rows_as_its_history() -> None:
    first = told(event("a", Kind.RECEIPT, 10, 0), event("b", Kind.PICK, 2, 7))
    rows = list(first.batch)
    stored(first, revision(0, 1))
    count = event("c", Kind.CYCLE_COUNT, 9, 5)
    assert first.needs_history(count, revision(0, 2))
    apply(first, count, revision(0, 2), [r for r in rows if r.occurred_at > count.occurred_at])
    assert first.slots["K1"].on_hand == 7


def test_rows_that_arrived_after_the_count_are_not_its_history_when_it_is_handled_again() -> None:
    stored_level = told(event("a", Kind.RECEIPT, 10, 0), event("b", Kind.PICK, 2, 9))
    rows = list(stored_level.batch)
    stored(stored_level, revision(0, 1))
    later = LedgerRow(NOON + 7 * MINUTE, revision(0, 3), "K1", -1, False, "d")  # stored, then the worker died
    apply(stored_level, event("c", Kind.CYCLE_COUNT, 9, 5), revision(0, 2), [*rows, later])
    assert stored_level.slots["K1"].on_hand == 7  # 9 found at minute 5, 2 taken at minute 9; d is still to come


def test_an_older_count_told_after_a_newer_one_changes_nothing() -> None:
    state = told(event("new", Kind.CYCLE_COUNT, 4, 5), event("old", Kind.CYCLE_COUNT, 9, 3))
    assert state.slots["K1"].on_hand == 4


def test_of_two_counts_taken_at_the_same_moment_the_one_told_later_stands() -> None:
    state = told(event("one", Kind.CYCLE_COUNT, 4, 5), event("two", Kind.CYCLE_COUNT, 6, 5))
    assert state.slots["K1"].on_hand == 6


def test_an_arrival_that_is_stored_already_is_not_applied_again() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0))
    stored(state, revision(0, 0))
    assert apply(state, event("a", Kind.RECEIPT, 10, 0), revision(0, 0)) is Outcome.REPLAYED
    assert state.slots["K1"].on_hand == 10


def test_a_level_that_was_stored_without_the_rest_of_its_bin_is_not_moved_twice() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0))  # the worker died before it stored that the bin was done
    assert state.applied == -1
    state.seen.clear()
    assert apply(state, event("a", Kind.RECEIPT, 10, 0), revision(0, 0)) is Outcome.REPLAYED
    assert apply(state, event("b", Kind.PICK, 4, 1), revision(0, 1)) is Outcome.APPLIED
    assert state.slots["K1"].on_hand == 6


def test_what_arrived_after_the_part_that_is_stored_stays_in_memory() -> None:
    state = told(*(event(f"e{n}", Kind.RECEIPT, 1, n) for n in range(8)), event("late", Kind.PICK, 1, -5))
    stored(state, revision(0, 7), window=2)
    assert set(state.seen) == {"e6", "e7", "late"}  # the two newest, and the one that no lookup would find yet
    assert [row.event_id for row in state.batch] == ["late"]
    assert state.floor == NOON + 5 * MINUTE


def test_a_level_may_fall_below_zero_and_both_crossings_are_told() -> None:
    state = told(event("a", Kind.RECEIPT, 1, 0), event("b", Kind.PICK, 3, 1), event("c", Kind.RECEIPT, 5, 2))
    assert state.slots["K1"].on_hand == 3  # 1 - 3 + 5
    assert [(c.below, c.on_hand, c.since) for c in state.crossings] == [
        (True, -2, revision(0, 1)),
        (False, 3, revision(0, 1)),
    ]


def test_a_recreated_topic_begins_above_everything_before_it() -> None:
    assert revision(1, 0) > revision(0, (1 << 40) - 1)


def test_a_revision_lies_above_the_wall_clock_in_microseconds() -> None:
    year_2040_us = 2_208_988_800_000_000
    assert revision(0, 0) > year_2040_us


def test_the_oldest_ids_are_forgotten_and_then_looked_up() -> None:
    state = Bin()
    for n in range(9):
        apply(state, event(f"e{n}", Kind.RECEIPT, 1, n), revision(0, n))
    stored(state, revision(0, 8), window=4)
    assert sorted(state.seen) == ["e5", "e6", "e7", "e8"]
    assert state.needs_lookup(event("e4", Kind.RECEIPT, 1, 4), revision(0, 9))
    assert not state.needs_lookup(event("e8", Kind.RECEIPT, 1, 8), revision(0, 9))
    assert not state.needs_lookup(event("new", Kind.RECEIPT, 1, 20), revision(0, 9))


def test_the_level_of_any_moment_can_be_folded_or_rewound() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0), event("b", Kind.PICK, 3, 5), event("c", Kind.PICK, 1, 9))
    rows = list(state.batch)
    at = NOON + 6 * MINUTE
    assert fold(rows, at) == {"K1": 7}  # 10 - 3; the last pick was later
    assert rewind(state.slots, revision(0, 2), [r for r in rows if r.occurred_at > at], at) == {"K1": 7}


def test_a_moment_before_a_count_cannot_be_rewound_to() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0), event("b", Kind.CYCLE_COUNT, 4, 5))
    assert rewind(state.slots, revision(0, 1), list(state.batch), NOON + 2 * MINUTE) is None


def test_a_row_that_the_levels_do_not_contain_yet_is_not_rewound() -> None:
    state = told(event("a", Kind.RECEIPT, 10, 0))
    ahead = LedgerRow(NOON + 9 * MINUTE, revision(0, 1), "K1", -3, False, "b")
    assert rewind(state.slots, revision(0, 0), [ahead], NOON + MINUTE) == {"K1": 10}


def test_the_bucket_of_a_time_is_its_utc_month() -> None:
    assert month_of(NOON) == 202611
    assert month_of(1_798_761_599_999) == 202612  # 2026-12-31T23:59:59.999Z
    assert month_of(1_798_761_600_000) == 202701


def test_an_arrival_at_the_other_bin_has_an_id_that_nothing_else_there_can_have() -> None:
    move = Movement("m", Kind.MOVE, NOON, "S1", "B1", "K1", 3, "B2", None, "wms")
    arrival = move.arrival()
    assert arrival is not None
    assert (arrival.event_id, arrival.bin, arrival.delta, move.delta) == ("B1>m", "B2", 3, -3)
