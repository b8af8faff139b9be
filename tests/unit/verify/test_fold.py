"""The independent check finds nothing where all is right, and every single thing that is made wrong.

In: a history of nine records told by hand, and the tables a right ledger makes of it. Run: `pytest tests/unit/verify`.

    offset   0        1        2        3        4         5          6         7        8
    bin A    +10 r1            -3 m1    dup r1   =4 c1     +5 r2      -2 s1              poison
    bin B             +1 r9                                                     +3 m1
    time     10       15       20       10       40        30 (late)  50        20
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.verify.events import Fact
from services.verify.fold import Check, Finding, Row, Share, Transfers
from services.verify.report import Report

REVISION = 2048 << 40
Told = tuple[int, Fact | str]


def fact(event_id: str, kind: str, at: int, bin_id: str, units: int, to_bin: str | None = None) -> Fact:
    return Fact(event_id, kind, at, "S", bin_id, "K", units, to_bin)


def story() -> list[Told]:
    """Offset and content; every record of the drawing above."""
    return [
        (0, fact("r1", "receipt", 10, "A", 10)),
        (1, fact("r9", "receipt", 15, "B", 1)),
        (2, fact("m1", "move", 20, "A", -3, "B")),
        (3, fact("r1", "receipt", 10, "A", 10)),
        (4, fact("c1", "cycle-count", 40, "A", 4)),
        (5, fact("r2", "receipt", 30, "A", 5)),
        (6, fact("s1", "sale", 50, "A", -2)),
        (7, fact("A>m1", "transfer-in", 20, "B", 3)),
        (8, "unreadable"),
    ]


def rows() -> list[Row]:
    """What a right ledger holds: one row a fact, at its first arrival."""
    return [
        Row(f.site, f.bin, f.occurred_at, f.event_id, f.sku, f.kind, f.units, REVISION + offset, f.to_bin)
        for offset, f in story()
        if isinstance(f, Fact) and offset != 3
    ]


LEVELS = {("A", "level_by_bin"): 2, ("A", "level_by_sku"): 2, ("B", "level_by_bin"): 4, ("B", "level_by_sku"): 4}
"""A: counted 4 at time 40, then 2 sold. B: 1 received, 3 moved in."""


def checked(
    told: list[Told],
    kept: list[Row],
    levels: dict[tuple[str, str], int],
    *,
    dead: bool = True,
    check: Check | None = None,
) -> list[Finding]:
    check = check or Check()
    if dead:
        check.dead((0, 8), "not-json", 100)
    for offset, content in told:
        check.record((0, offset), 100, content)
    for row in kept:
        check.row(row)
    for (bin_id, table), units in levels.items():
        check.level(table, "S", bin_id, "K", units)
    return [*check.findings(), *check.transfers.findings()]


def kinds(found: list[Finding]) -> set[str]:
    return {f.kind for f in found}


def test_nothing_is_found_where_all_is_right() -> None:
    check = Check()
    assert checked(story(), rows(), LEVELS, check=check) == []
    assert check.counts["records"] == 9
    assert check.counts["duplicates"] == 1
    assert check.counts["facts"] == 7
    assert check.reasons == {"not-json": 1}


@pytest.mark.parametrize("gone", range(7))
def test_a_ledger_row_that_is_gone_is_found_as_lost(gone: int) -> None:
    kept = rows()
    missing = kept.pop(gone)
    lost = [f for f in checked(story(), kept, LEVELS) if f.kind == "lost"]
    assert [f.event_id for f in lost] == [missing.event_id]


@pytest.mark.parametrize("which", range(7))
@pytest.mark.parametrize(
    "second",
    [
        pytest.param(
            lambda r: replace(r, occurred_at=r.occurred_at + 1, revision=r.revision + 20), id="at another time"
        ),
        pytest.param(lambda r: replace(r, event_id=r.event_id + "x", revision=r.revision + 20), id="under another id"),
        pytest.param(lambda r: r, id="just so"),
    ],
)
def test_a_second_row_is_found_as_double_counted(which: int, second: Callable[[Row], Row]) -> None:
    kept = rows()
    kept.append(second(kept[which]))
    assert "double-counted" in kinds(checked(story(), kept, LEVELS))


@pytest.mark.parametrize("which", range(7))
@pytest.mark.parametrize(
    "altered",
    [
        pytest.param(lambda r: replace(r, quantity=r.quantity + 1), id="units"),
        pytest.param(lambda r: replace(r, revision=r.revision + 1), id="not the first arrival"),
        pytest.param(lambda r: replace(r, sku="L"), id="SKU"),
        pytest.param(lambda r: replace(r, kind="adjustment"), id="kind"),
        pytest.param(lambda r: replace(r, occurred_at=r.occurred_at + 1), id="time"),
    ],
)
def test_a_row_that_says_something_else_is_found(which: int, altered: Callable[[Row], Row]) -> None:
    kept = rows()
    kept[which] = altered(kept[which])
    assert "double-counted" in kinds(checked(story(), kept, LEVELS))


@pytest.mark.parametrize("which", list(LEVELS))
@pytest.mark.parametrize("by", [-1, 1, None])
def test_a_level_that_is_altered_or_gone_is_found(which: tuple[str, str], by: int | None) -> None:
    levels = dict(LEVELS)
    if by is None:
        del levels[which]
    else:
        levels[which] += by
    found = checked(story(), rows(), levels)
    assert [(f.kind, f.bin) for f in found] == [("differing", which[0])]
    assert which[1] in found[0].what


def test_a_level_of_a_slot_that_no_record_speaks_of_is_found() -> None:
    found = checked(story(), rows(), LEVELS | {("C", "level_by_sku"): 1})
    assert [(f.kind, f.bin, f.expected) for f in found] == [("differing", "C", None)]


def test_a_record_that_is_neither_applied_nor_refused_is_lost() -> None:
    assert kinds(checked(story(), rows(), LEVELS, dead=False)) == {"lost"}


def test_a_dead_letter_of_an_earlier_topic_excuses_nothing() -> None:
    check = Check()
    check.dead((0, 8), "not-json", 99)
    assert kinds(checked(story(), rows(), LEVELS, dead=False, check=check)) == {"lost"}


def test_an_id_used_again_for_another_fact_must_be_in_the_dead_letters() -> None:
    told = [*story(), (9, fact("r1", "receipt", 10, "A", 11))]
    assert kinds(checked(told, rows(), LEVELS)) == {"lost"}
    check = Check()
    check.dead((0, 9), "id-reused", 100)
    told = [*story(), (9, fact("r1", "receipt", 10, "A", 11))]
    assert checked(told, rows(), LEVELS, check=check) == []


def test_a_move_whose_other_half_never_came_is_half_applied() -> None:
    told = [t for t in story() if t[0] != 7]
    kept = [r for r in rows() if r.kind != "transfer-in"]
    levels = LEVELS | {("B", "level_by_bin"): 1, ("B", "level_by_sku"): 1}
    found = checked(told, kept, levels)
    assert [(f.kind, f.bin, f.event_id) for f in found] == [("half-applied", "B", "A>m1")]


def test_an_arrival_without_its_move_is_half_applied() -> None:
    told = [t for t in story() if t[0] != 2]
    kept = [r for r in rows() if r.kind != "move"]
    assert kinds(checked(told, kept, LEVELS)) == {"half-applied"}


def test_an_arrival_of_other_units_than_left_is_half_applied() -> None:
    told = [*story()[:7], (7, fact("A>m1", "transfer-in", 20, "B", 2)), story()[8]]
    kept = [replace(r, quantity=2) if r.kind == "transfer-in" else r for r in rows()]
    levels = LEVELS | {("B", "level_by_bin"): 3, ("B", "level_by_sku"): 3}
    assert kinds(checked(told, kept, levels)) == {"half-applied"}


def test_the_other_half_may_come_after_the_end_of_what_is_looked_at() -> None:
    check = Check()
    check.set_aside(fact("A>m1", "transfer-in", 20, "B", 3))
    told = [t for t in story() if t[0] != 7]
    assert checked(told, rows(), LEVELS, check=check) == []


def test_a_bin_that_changed_meanwhile_is_not_judged() -> None:
    check = Check()
    check.set_aside(fact("new", "sale", 60, "A", -1))
    wrong = LEVELS | {("A", "level_by_bin"): 1}
    assert checked(story(), rows(), wrong, check=check) == []
    assert check.counts["bins set aside"] == 1


def test_rows_of_a_topic_that_is_gone_are_the_ground_the_new_one_builds_on() -> None:
    old = Row("S", "A", 5, "before", "K", "receipt", 100, REVISION + 3)
    kept = [old, *(replace(r, revision=r.revision + (1 << 40)) for r in rows())]
    assert checked(story(), kept, LEVELS, check=Check(old_epochs=frozenset({0}))) == []
    told = [t for t in story() if t[0] != 4]  # without the cycle count the old 100 shows: 100 + 10 - 3 + 5 - 2
    kept = [r for r in kept if r.kind != "cycle-count"]
    levels = LEVELS | {("A", "level_by_bin"): 110, ("A", "level_by_sku"): 110}
    assert checked(told, kept, levels, check=Check(old_epochs=frozenset({0}))) == []


def test_a_plainly_bad_record_whose_letter_is_no_longer_kept_is_not_called_lost() -> None:
    check = Check(forgotten_before=101)
    assert checked(story(), rows(), LEVELS, dead=False, check=check) == []
    assert check.counts["forgotten"] == 1


@pytest.mark.parametrize("passes", [2, 3, 7])
def test_several_passes_find_the_same_as_one(passes: int) -> None:
    def all_passes(kept: list[Row]) -> set[tuple[str, str, str]]:
        transfers, found = Transfers(), []
        for i in range(passes):
            check = Check(Share(i, passes), transfers)
            check.dead((0, 8), "not-json", 100)
            for offset, content in story():
                check.record((0, offset), 100, content)
            for row in kept:
                check.row(row)
            for (bin_id, table), units in LEVELS.items():
                check.level(table, "S", bin_id, "K", units)
            found += check.findings()
        return {(f.kind, f.bin, f.event_id) for f in [*found, *transfers.findings()]}

    assert all_passes(rows()) == set()
    for gone in range(7):
        kept = [r for i, r in enumerate(rows()) if i != gone]
        assert all_passes(kept) == {(f.kind, f.bin, f.event_id) for f in checked(story(), kept, LEVELS)}


def test_the_verdict_is_bad_as_soon_as_one_thing_is_found_or_the_ledger_is_behind() -> None:
    assert Report().as_json()["ok"]
    assert not Report(behind=1).as_json()["ok"]
    report = Report(findings=checked(story(), rows()[1:], LEVELS))
    assert not report.good
    assert report.as_json()["lost"] == 1
