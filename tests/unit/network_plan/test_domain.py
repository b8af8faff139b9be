"""What a plan request may say, and what its changes make of a site."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inventorybot.domain.network_plan import PlanChange, PlanFigures, PlanRequest, capacity
from inventorybot.errors import BadEvent

MONDAY = 1_794_787_200_000  # 2026-11-16T00:00:00Z
WEEK = 7 * 86_400_000
REQUEST = PlanRequest("p-1", MONDAY, "kim")


def test_a_site_has_its_own_capacity_where_nothing_is_changed() -> None:
    changes = [PlanChange("MUC1", storage_m3=5.0), PlanChange("BER1", storage_m3=5.0, first_period=3)]
    assert capacity(changes, "BER1", 2, 100.0, 40.0) == (100.0, 40.0)


def test_changes_add_up_in_the_periods_that_they_hold_in() -> None:
    changes = [
        PlanChange("BER1", storage_m3=10.0, first_period=1, last_period=2),
        PlanChange("BER1", storage_m3=5.0, inbound_units=-15.0, first_period=2),
    ]
    found = [capacity(changes, "BER1", period, 100.0, 40.0) for period in range(4)]
    assert found == [(100.0, 40.0), (110.0, 40.0), (115.0, 25.0), (105.0, 25.0)]


def test_a_change_of_the_first_period_alone_ends_with_it() -> None:
    changes = [PlanChange("BER1", lost=True, last_period=0)]
    assert [capacity(changes, "BER1", period, 100.0, 40.0) for period in (0, 1)] == [(0.0, 0.0), (100.0, 40.0)]


def test_no_more_can_be_taken_away_than_there_is_and_a_lost_site_gets_nothing_back() -> None:
    assert capacity([PlanChange("BER1", storage_m3=-500.0)], "BER1", 0, 100.0, 40.0) == (0.0, 40.0)
    lost = [PlanChange("BER1", lost=True), PlanChange("BER1", storage_m3=9.0)]
    assert capacity(lost, "BER1", 0, 100.0, 40.0) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (PlanChange("BER1"), "nothing is changed"),
        (PlanChange("BER1", lost=True, inbound_units=1.0), "cannot be given"),
        (PlanChange("BER1", lost=True, first_period=3, last_period=2), "last_period 2 lies before first_period 3"),
    ],
)
def test_a_change_that_cannot_be_meant_is_refused_by_its_place(change: PlanChange, says: str) -> None:
    with pytest.raises(BadEvent) as refused:
        replace(REQUEST, changes=(PlanChange("BER1", storage_m3=1.0), change)).check()
    assert (refused.value.code, refused.value.path) == ("contradiction", "/data/changes/1")
    assert says in refused.value.reason


def test_a_plan_is_not_its_own_base() -> None:
    with pytest.raises(BadEvent, match="its own base"):
        replace(REQUEST, base="p-1").check()


def test_who_asks_and_when_makes_no_other_plan_but_what_is_changed_does() -> None:
    assert REQUEST.same(replace(REQUEST, asked_at=MONDAY + 1, by="jo", why="again"))
    assert not REQUEST.same(replace(REQUEST, base="p-0"))
    assert not REQUEST.same(replace(REQUEST, changes=(PlanChange("BER1", lost=True),)))


def test_a_moment_belongs_to_the_period_that_has_begun() -> None:
    figures = PlanFigures(MONDAY, MONDAY, WEEK, 2, 1, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    moments = (MONDAY - 1, MONDAY, MONDAY + WEEK - 1, MONDAY + WEEK, MONDAY + 2 * WEEK)
    assert [figures.period_at(at) for at in moments] == [None, 0, 0, 1, None]
