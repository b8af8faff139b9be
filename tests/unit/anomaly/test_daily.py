"""The lake's daily table as a story, by hand. Run: pytest tests/unit/anomaly/test_daily.py"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.anomaly.daily import BOOKED, expected, known_to_lake, sold_in, story_of, weekdays
from ml.anomaly.simulate import World
from ml.anomaly.train import play
from tests.unit.anomaly.worlds import FIRST, story

LAST = FIRST + timedelta(days=3)


def table(rows: list[tuple[str, int, dict[str, float]]]) -> pd.DataFrame:
    """SKU, day from FIRST, what is not 0; nobody counted."""
    nothing = dict.fromkeys(BOOKED, 0) | {"counted": pd.NA}
    told = [{"site": "s", "sku": k, "day": FIRST + timedelta(days=d)} | nothing | values for k, d, values in rows]
    return pd.DataFrame(told).astype({"counted": "Int64"})


def test_before_a_slot_was_first_seen_nothing_was_booked_and_nothing_there() -> None:
    rows = [("a", d, {"recorded": 9}) for d in range(4)] + [("b", d, {"recorded": 5, "counted": 5}) for d in (2, 3)]
    told = story_of(table(rows), FIRST, LAST)
    assert told.sku.tolist() == ["a", "b"]
    assert told.recorded.tolist() == [[9, 9, 9, 9], [0, 0, 5, 5]]
    assert np.isnan(told.counted[0]).all()
    assert told.counted[1, 2:].tolist() == [5, 5]
    assert told.family.tolist() == ["a", "b"]  # no item table: each SKU is a family of its own


def test_days_outside_are_left_out_and_a_day_that_is_missing_later_is_refused() -> None:
    rows = [("a", d, {"recorded": d}) for d in range(4)]
    assert story_of(table(rows), FIRST + timedelta(days=1), LAST).recorded.tolist() == [[1, 2, 3]]
    with pytest.raises(SetupError, match="slot s/a has 3 rows for 4 days"):
        story_of(table(rows[:2] + rows[3:]), FIRST, LAST)


def test_a_table_without_a_column_or_without_rows_is_refused() -> None:
    rows = table([("a", 0, {})])
    with pytest.raises(SetupError, match="lacks the columns sold"):
        story_of(rows.drop(columns="sold"), FIRST, LAST)
    with pytest.raises(SetupError, match="no row from 2027-01-01"):
        story_of(rows, date(2027, 1, 1), date(2027, 1, 2))


def test_what_is_expected_is_the_average_of_the_days_with_stock_before() -> None:
    sold, stocked = np.array([[4.0, 2, 9, 5, 0]]), np.array([[True, True, False, True, True]])
    found = expected(sold, stocked, np.ones((1, 5)))[0].tolist()
    # 0 sold counts once as what was known at first: 4/2, then (4 + 2)/3; the day without stock says nothing; (4 + 2 + 5)/4
    assert found == pytest.approx([0.005, 2, 2, 2, 11 / 4])


def test_a_day_on_which_twice_as_much_is_usual_is_expected_to_sell_twice_as_much() -> None:
    found = expected(np.array([[4.0, 4.0]]), np.ones((1, 2), dtype=bool), np.array([[2.0, 2.0]]))
    assert found[0, 1] == pytest.approx(2)  # 4 sold are 2 of an ordinary day; half of that is known: 1, times 2


def test_a_weekday_is_compared_with_the_weeks_before_it() -> None:
    days = np.ones((1, 15))
    days[0, [6, 13]] = 8
    found = weekdays(days)[0]
    assert found[:14].tolist() == [1.0] * 14
    assert found[14] == pytest.approx(
        (1 + 1 + 2) / (2 * 3)
    )  # average 2; the two days a week ago and two weeks ago sold 1


def test_no_expectation_knows_what_comes_after() -> None:
    rng = np.random.default_rng(2)
    sold = rng.poisson(3, (4, 60)).astype(float)
    stocked = rng.random((4, 60)) < 0.8
    rhythm = weekdays(sold)
    np.testing.assert_array_equal(weekdays(sold[:, :40]), rhythm[:, :40])
    np.testing.assert_array_equal(
        expected(sold, stocked, rhythm)[:, :40], expected(sold[:, :40], stocked[:, :40], rhythm[:, :40])
    )


def test_what_is_measured_from_the_daily_table_is_what_the_job_works_out() -> None:
    told = play(7, 60, 20, World()).story
    job = story_of(told.to_frame().drop(columns=["family", "expected"]), told.first_day, told.day(told.days - 1))
    measured = known_to_lake(told)
    np.testing.assert_array_equal(job.expected, measured.expected)
    assert job.family.tolist() == measured.family.tolist()


def test_the_most_and_the_fewest_of_a_stretch_are_of_consecutive_days() -> None:
    sold = [[1.0, 2.0] * 40]
    told = story([[5.0] * 80], sold=sold, received=[[1.0] + [0.0] * 79])
    most, least = sold_in(told, [3, 1, 100])
    assert most.tolist() == [[5, 2, 0]]  # 2 + 1 + 2
    assert least[0, :2].tolist() == [4, 1]  # 1 + 2 + 1
    assert np.isnan(least[0, 2])  # there are no hundred days


def test_days_without_stock_are_no_proof_of_few_sales() -> None:
    told = story([[0.0] * 80], sold=[[0.0] * 80])
    assert np.isnan(sold_in(told, [7])[1]).all()
