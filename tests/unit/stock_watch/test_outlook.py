"""What forecasts say of any stretch of time; every number here was worked out by hand.

Run: `pytest tests/unit/stock_watch/test_outlook.py`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventorybot.domain.days import DAY_MS
from inventorybot.domain.forecast import Forecast
from inventorybot.domain.outlook import MOST_DAYS, Outlook, probability_of

MONDAY = 1_795_392_000_000  # 2026-11-23T00:00:00Z
WEEK = 7 * DAY_MS
SPREAD = (1.0, 4.0, 6.0, 9.0, 14.0)


def week(number: int, mean: float = 7.0, quantiles: tuple[float, ...] = SPREAD) -> Forecast:
    return Forecast("S1", "K1", MONDAY + number * WEEK, mean, quantiles, "demand@v1", MONDAY - DAY_MS + number)


ONE, TWO = Outlook.of([week(0)]), Outlook.of([week(1, 14.0, (4.0, 9.0, 13.0, 18.0, 26.0)), week(0)])


def test_a_whole_period_is_told_as_it_was_forecast() -> None:
    mean, quantiles = ONE.demand(MONDAY, MONDAY + WEEK)
    assert mean == pytest.approx(7.0)
    assert quantiles == pytest.approx(SPREAD)


def test_a_quarter_of_a_period_has_a_quarter_of_the_mean_and_half_of_the_spread_and_never_falls_below_zero() -> None:
    mean, quantiles = ONE.demand(MONDAY + WEEK // 4, MONDAY + WEEK // 2)
    assert mean == pytest.approx(1.75)
    assert quantiles == pytest.approx((0.0, 0.25, 1.25, 2.75, 5.25))  # 1.75 + half of -6, -3, -1, 2, 7


def test_periods_err_independently_so_two_alike_spread_by_the_root_of_two() -> None:
    _, quantiles = Outlook.of([week(0), week(1)]).demand(MONDAY, MONDAY + 2 * WEEK)
    assert quantiles[-1] == pytest.approx(14 + 7 * 2**0.5)
    assert quantiles[0] == pytest.approx(14 - 6 * 2**0.5)


@pytest.mark.parametrize(
    ("units", "since", "days"),
    [
        (0, 0, 0.0),
        (-3, 0, 0.0),
        (7, 0, 7.0),
        (10, 0, 8.5),  # 7 in the first week, 3 at 2 a day
        (30, 0, 20.0),  # 21 in both weeks, 9 at the average of 1.5 a day
        (10, -2, 9.0),  # 3 in the two days before, at the average; 7 in the first week
        (7, 10, 3.5),  # in the middle of the second week: 2 a day
    ],
)
def test_cover_is_when_expected_demand_has_used_up_the_stock(units: int, since: int, days: float) -> None:
    assert TWO.days_of_cover(units, MONDAY + since * DAY_MS) == pytest.approx(days)


def test_a_week_that_was_not_forecast_is_as_the_average_of_the_others() -> None:
    mean, _ = Outlook.of([week(0), week(2, 14.0), week(3, 14.0)]).demand(MONDAY, MONDAY + 2 * WEEK)
    assert mean == pytest.approx(7 + 35 / 3)


def test_months_follow_each_other_without_a_hole() -> None:
    starts = [0, 31, 59]  # January, February, then the last, taken to be as long as the one before
    months = [
        replace(week(0, mean), period=MONDAY + at * DAY_MS) for at, mean in zip(starts, (31, 28, 56), strict=True)
    ]
    assert Outlook.of(months).demand(MONDAY, MONDAY + 87 * DAY_MS)[0] == pytest.approx(115)
    assert Outlook.of(months).demand(MONDAY + 30 * DAY_MS, MONDAY + 32 * DAY_MS)[0] == pytest.approx(2)


def test_what_nobody_wants_lasts_for_ever_told_as_ten_years() -> None:
    assert Outlook.of([week(0, 0.0, (0.0,) * 5)]).days_of_cover(1, MONDAY) == MOST_DAYS


def test_it_names_who_made_the_newest_forecast() -> None:
    assert (TWO.model, TWO.made_at) == ("demand@v1", MONDAY - DAY_MS + 1)


@pytest.mark.parametrize(
    ("units", "probability"),
    [
        (6, 0.5),
        (5, 0.625),  # halfway from the quartile at 4 to the median at 6
        (0.5, 0.975),  # half of the first twentieth lies below
        (14, 0.05),
        (19, 0.01),  # a fifth, as from 9 (a quarter) to 14 (a twentieth)
    ],
)
def test_the_probability_of_demand_is_read_off_its_quantiles(units: float, probability: float) -> None:
    assert probability_of(units, SPREAD) == pytest.approx(probability)


def test_what_is_seldom_asked_for_is_asked_for_with_the_probability_that_its_quantiles_leave() -> None:
    assert probability_of(1, (0.0, 0.0, 0.0, 0.0, 1.0)) == pytest.approx(0.05)
    assert probability_of(1, (0.0, 0.0, 2.0, 3.0, 5.0)) == pytest.approx(0.625)
    assert probability_of(1, (0.0,) * 5) == 0.0


@given(
    st.lists(st.floats(0, 50), min_size=5, max_size=5).map(sorted), st.floats(0.01, 60), st.floats(0.0, 20),
    st.integers(-20, 40), st.integers(0, 60),
)  # fmt: skip
def test_more_stock_is_never_likelier_to_run_out_and_lasts_no_shorter(
    quantiles: list[float], units: float, more: float, since: int, days: int
) -> None:
    outlook = Outlook.of([week(0, sum(quantiles) / 5, tuple(quantiles)), week(1)])
    start = MONDAY + since * DAY_MS
    _, told = outlook.demand(start, start + days * DAY_MS)
    assert list(told) == sorted(told)
    assert 0 <= probability_of(units + more, told) <= probability_of(units, told) + 1e-12 <= 1 + 1e-9
    assert outlook.days_of_cover(int(units), start) <= outlook.days_of_cover(int(units + more), start) + 1e-9
