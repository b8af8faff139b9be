"""Days of the lake become weeks and months: censored days, weeks that have not ended. Run: pytest tests/unit/demand/test_lake_panel.py"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.demand.lake_panel import axis, panel_of, span
from ml.demand.panel import Panel
from tests.unit.demand.makers import daily


def panel(rows: pd.DataFrame, every: str = "weekly") -> Panel:
    return panel_of(rows, span(rows, every))


def test_a_week_is_the_sum_of_its_days_and_one_that_has_not_ended_is_left_out() -> None:
    # 2025-01-06 is a Monday; 16 days are two weeks and two days
    found = panel(daily(np.arange(16.0)[None, None]))
    assert found.periods.labels(0, 3) == ["2025-01-06", "2025-01-13", "2025-01-20"]
    assert found.units.tolist() == [[0 + 1 + 2 + 3 + 4 + 5 + 6, 7 + 8 + 9 + 10 + 11 + 12 + 13]]


def test_days_out_of_stock_are_not_days_without_demand() -> None:
    sold = np.full((1, 1, 21), 6.0)
    empty = np.zeros((1, 1, 21), bool)
    empty[0, 0, 7:10] = True  # three days of the second week
    empty[0, 0, 14:18] = True  # four days of the third: too many to tell
    sold[empty] = 0
    found = panel(daily(sold, censored=empty))
    # four days sold 24; seven would have sold 24 * 7 / 4 = 42
    np.testing.assert_allclose(found.units, [[42, 42, np.nan]])


def test_a_week_is_never_less_than_what_was_sold_in_it() -> None:
    sold = np.array([1.0, 1, 1, 1, 1, 50, 0])[None, None]
    empty = np.array([False] * 5 + [True, False])[None, None]
    # six known days sold 5, so seven would be 5.8; but 55 were sold
    assert panel(daily(sold, censored=empty)).units.tolist() == [[55.0]]


def test_prices_are_the_mean_of_the_days_that_have_one() -> None:
    price = np.array([2.0, 2, 2, 2, np.nan, np.nan, 1])[None, None]
    # 9 / 5
    assert panel(daily(np.ones((1, 1, 7)), price=price)).covariates["price"][0, 0] == pytest.approx(1.8)


def test_months_and_days_have_their_own_lengths() -> None:
    rows = daily(np.ones((1, 1, 59)), first="2025-01-01")
    assert panel(rows, "monthly").units.tolist() == [[31.0, 28.0]]
    assert panel(rows, "daily").t == 59
    late = panel(rows[rows["day"] >= "2025-01-17"], "monthly")  # 15 days of 31 are less than half
    np.testing.assert_array_equal(late.units, [[np.nan, 28.0]])


def test_what_cannot_be_read_is_said_in_words() -> None:
    with pytest.raises(SetupError, match="lacks the column sold"):
        span(pd.DataFrame({"site": [], "sku": [], "day": []}))
    with pytest.raises(SetupError, match="no weekly period has ended"):
        axis(pd.Timestamp("2025-01-06"), pd.Timestamp("2025-01-11"))
    with pytest.raises(SetupError, match="none of daily, weekly, monthly"):
        axis(pd.Timestamp("2025-01-06"), pd.Timestamp("2025-01-11"), "hourly")
