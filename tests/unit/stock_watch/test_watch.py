"""When the watch speaks: raised at the threshold, settled at half of it, told again only when there is news.

One week is forecast: 7 expected, quantiles 1, 4, 6, 9, 14; so the average goes on at one a day. The horizon is that week;
excess is what lasts longer than 14 days (14 units) by 10 units or more.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from inventorybot.domain.alerts import Anomaly, Knowledge, Status
from inventorybot.domain.days import DAY_MS
from inventorybot.domain.outlook import Outlook
from inventorybot.domain.stock_watch import (
    EXCESS,
    STALE_MS,
    STOCK_OUT,
    Sight,
    Verdict,
    Watch,
    WatchRules,
    adopt,
    consider,
    reconcile,
)
from tests.unit.stock_watch.test_outlook import MONDAY, SPREAD, week

RULES = WatchRules(horizon_days=7, probability=0.5, excess_days=14, excess_units=10)
SIGHT = Sight.of(Outlook.of([week(0)]), RULES, MONDAY)
HOUR = 3_600_000


def seen(kind: str, *stock: tuple[int, int], watch: Watch | None = None) -> tuple[Watch, list[Verdict | None]]:
    """Stock at moments (ms after Monday), one after the other; the week's forecast stays in sight."""
    watch, said = watch or Watch(), []
    for at, units in stock:
        watch, verdict, _ = consider(watch, kind, units, SIGHT, RULES, MONDAY + at)
        said.append(verdict)
    return watch, said


def test_a_stock_out_is_raised_when_it_is_as_likely_as_not_and_says_when() -> None:
    watch, verdict, known = consider(Watch(), STOCK_OUT, 6, SIGHT, RULES, MONDAY)
    assert verdict == "raised"
    assert (known.probability, known.recorded, known.days_of_cover) == (pytest.approx(0.5), 6, 6.0)
    assert known.expected_at == MONDAY + 6 * DAY_MS
    assert known.why == (
        "6 on hand, 7.0 expected in the next 7 days: it runs out before then with 50 % probability, "
        "expected on 2026-11-29 00:00 UTC."
    )
    assert known.model == "demand@v1"
    assert watch.said is not None


def test_a_belief_that_wavers_about_the_threshold_does_not_open_and_shut_the_anomaly() -> None:
    _, said = seen(STOCK_OUT, (0, 7), (HOUR, 6), (2 * HOUR, 7), (3 * HOUR, 6), (4 * HOUR, 9), (5 * HOUR, 10))
    assert said[:2] == [None, "raised"]
    assert "raised" not in said[2:]
    assert said[4] == "updated"  # 0.25 of it left, and three days later: news, but not below a quarter
    assert said[5] == "resolved"  # 0.21


def test_each_end_makes_room_for_an_anomaly_with_an_id_of_its_own() -> None:
    first, _ = seen(STOCK_OUT, (0, 6))
    ended, _ = seen(STOCK_OUT, (HOUR, 30), watch=first)
    assert ended.serial == 1
    assert len({w.anomaly(STOCK_OUT, "S1", "K1") for w in (Watch(), first)}) == 1
    assert ended.anomaly(STOCK_OUT, "S1", "K1") != first.anomaly(STOCK_OUT, "S1", "K1")
    assert first.anomaly(EXCESS, "S1", "K1") != first.anomaly(STOCK_OUT, "S1", "K1")


def test_a_flood_of_sales_is_told_once_an_hour_but_that_nothing_is_left_at_once_and_once() -> None:
    _, said = seen(STOCK_OUT, (0, 6), (1, 5), (2, 4), (3, 0), (4, 1), (5, -1), (HOUR - 1, 1), (2 * HOUR, 3))
    assert said == ["raised", None, None, "updated", None, None, None, "updated"]


def test_time_alone_is_no_news_while_stock_is_used_up_as_expected() -> None:
    _, said = seen(STOCK_OUT, (0, 5), (DAY_MS, 4), (2 * DAY_MS, 3))
    assert said[0] == "raised"
    watch = seen(STOCK_OUT, (0, 5))[0]
    _, verdict, _ = consider(watch, STOCK_OUT, 5, SIGHT, RULES, MONDAY + HOUR * 23)
    assert verdict is None
    _, verdict, _ = consider(watch, STOCK_OUT, 5, SIGHT, RULES, MONDAY + HOUR * 25)
    assert verdict == "updated"  # nothing was sold: it lasts a day longer than was said


@pytest.mark.parametrize("units", [0, -4])
def test_nothing_on_hand_is_a_stock_out_now(units: int) -> None:
    _, verdict, known = consider(Watch(), STOCK_OUT, units, SIGHT, RULES, MONDAY)
    assert verdict == "raised"
    assert (known.probability, known.days_of_cover, known.expected_at) == (1.0, 0.0, MONDAY)
    assert known.why == f"{units} on hand, 7.0 expected in the next 7 days: stock has run out."


def test_an_empty_shelf_of_what_hardly_anybody_wants_is_nobodys_trouble() -> None:
    rare = Sight.of(Outlook.of([week(0, 0.4, (0.0, 0.0, 0.0, 1.0, 2.0))]), RULES, MONDAY)
    assert consider(Watch(), STOCK_OUT, 0, rare, RULES, MONDAY)[1] is None
    wanted = Sight.of(Outlook.of([week(0, 0.6, (0.0, 0.0, 0.0, 1.0, 2.0))]), RULES, MONDAY)
    assert consider(Watch(), STOCK_OUT, 0, wanted, RULES, MONDAY)[1] == "raised"


def test_excess_is_raised_only_where_the_days_and_the_units_are_many() -> None:
    assert seen(EXCESS, (0, 23))[1] == [None]  # 9 more than 14 days ask for
    watch, verdict, known = consider(Watch(), EXCESS, 24, SIGHT, RULES, MONDAY)
    assert verdict == "raised"
    assert (known.probability, known.recorded, known.days_of_cover) == (None, 24, 24.0)
    assert known.why == "24 on hand last 24 days by the forecast: 10 more than the 14 of the next 14 days."
    assert seen(EXCESS, (1, 19), watch=watch)[1] == [None]  # 5 more: not yet settled
    assert seen(EXCESS, (1, 18), watch=watch)[1] == ["resolved"]


def test_without_a_forecast_there_is_no_opinion_and_an_open_anomaly_ends() -> None:
    assert consider(Watch(), STOCK_OUT, 0, None, RULES, MONDAY)[1] is None
    watch, _ = seen(STOCK_OUT, (0, 6))
    assert consider(watch, STOCK_OUT, 6, None, RULES, MONDAY)[1] == "resolved"


def ended(status: Status, at: int) -> Anomaly:
    return Anomaly("a", STOCK_OUT, "S1", None, "K1", status, MONDAY, MONDAY + at, Knowledge(0.5))


def test_what_a_person_closed_is_not_raised_again_for_a_horizon() -> None:
    watch, _ = seen(STOCK_OUT, (0, 6))
    closed = reconcile(watch, STOCK_OUT, ended(Status.CLOSED, HOUR), RULES, MONDAY + HOUR)
    assert seen(STOCK_OUT, (2 * HOUR, 5), (7 * DAY_MS, 5), watch=closed)[1] == [None, None]
    again, said = seen(STOCK_OUT, (7 * DAY_MS + HOUR, 5), watch=closed)
    assert (said, again.serial) == (["raised"], 1)


def test_once_stock_has_come_what_a_person_closed_is_over_and_the_next_is_raised_at_once() -> None:
    watch, _ = seen(STOCK_OUT, (0, 6))
    closed = reconcile(watch, STOCK_OUT, ended(Status.CLOSED, HOUR), RULES, MONDAY + HOUR)
    assert seen(STOCK_OUT, (2 * HOUR, 30), (3 * HOUR, 5), watch=closed)[1] == [None, "raised"]


def test_what_another_worker_resolved_is_over_and_what_lives_stays() -> None:
    watch, _ = seen(STOCK_OUT, (0, 6))
    assert reconcile(watch, STOCK_OUT, None, RULES, MONDAY) is watch
    assert reconcile(watch, STOCK_OUT, ended(Status.ACKNOWLEDGED, 1), RULES, MONDAY) is watch
    assert seen(STOCK_OUT, (2, 5), watch=reconcile(watch, STOCK_OUT, ended(Status.RESOLVED, 1), RULES, MONDAY + 1))[
        1
    ] == ["raised"]


def test_an_open_anomaly_that_nobody_remembers_is_taken_up_and_resolved_when_stock_is_there() -> None:
    live = replace(ended(Status.OPEN, 0), knowledge=Knowledge(0.5, recorded=6, days_of_cover=6.0))
    assert seen(STOCK_OUT, (HOUR, 30), watch=adopt(Watch(), live, MONDAY))[1] == ["resolved"]


def test_every_change_has_a_higher_version_though_the_clock_goes_back() -> None:
    watch, _ = seen(STOCK_OUT, (0, 6))
    later, _ = seen(STOCK_OUT, (-HOUR, 30), watch=watch)
    assert later.version > watch.version == MONDAY * 1000


def test_a_sight_is_good_for_minutes_and_then_looked_at_anew() -> None:
    assert SIGHT.fresh(RULES, MONDAY + STALE_MS - 1) is SIGHT
    later = SIGHT.fresh(RULES, MONDAY + 7 * DAY_MS)
    assert later.at == MONDAY + 7 * DAY_MS
    assert later.quantiles == pytest.approx(SPREAD)  # behind the only week told, the average goes on
