"""Calendar, promotions and weather of one table beside the sales of each series. Run: pytest tests/unit/demand/test_covariates.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.demand.covariates import checked, join
from ml.demand.lake_panel import panel_of, span
from ml.demand.panel import Panel
from ml.demand.steps import planned
from tests.unit.demand.makers import daily

ROW = {"site": None, "sku": None, "day": "2025-01-06", "name": "x", "value": 2.0}


def weeks(n: int = 2) -> Panel:
    """Two sites and two SKUs from Monday 2025-01-06 on: s0/k0, s0/k1, s1/k0, s1/k1."""
    rows = daily(np.ones((2, 2, 7 * n)))
    return panel_of(rows, span(rows))


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return checked(pd.DataFrame([ROW | row for row in rows]))


def test_a_value_of_everybody_reaches_every_series_and_a_week_is_the_mean_of_its_days() -> None:
    found = join(weeks(), table({"name": "warm", "value": 10}, {"name": "warm", "value": 20, "day": "2025-01-08"}), 0)
    np.testing.assert_array_equal(found.covariates["warm"], [[15, np.nan]] * 4)


def test_what_is_said_of_a_site_an_item_or_one_series_reaches_only_those() -> None:
    found = join(
        weeks(),
        table(
            {"name": "warm", "site": "s1", "value": 30},
            {"name": "fat", "sku": "k0", "value": 3},
            {"name": "one", "site": "s0", "sku": "k1", "value": 9},
        ),
        0,
    ).covariates
    np.testing.assert_array_equal(found["warm"][:, 0], [np.nan, np.nan, 30, 30])
    np.testing.assert_array_equal(found["fat"][:, 0], [3, np.nan, 3, np.nan])
    np.testing.assert_array_equal(found["one"][:, 0], [np.nan, 9, np.nan, np.nan])


def test_what_is_said_of_one_series_goes_before_its_item_its_site_and_all() -> None:
    found = join(
        weeks(),
        table(
            {"value": 2}, {"site": "s0", "value": 3}, {"sku": "k0", "value": 4}, {"site": "s1", "sku": "k0", "value": 5}
        ),
        0,
    )
    assert found.covariates["x"][:, 0].tolist() == [4, 3, 5, 2]


def test_a_calendar_that_lists_only_its_days_is_the_share_of_days_and_none_elsewhere() -> None:
    days = [{"name": "holiday", "value": 1, "day": d} for d in ("2025-01-13", "2025-01-14", "2025-01-20")]
    found = join(weeks(), table(*days), 2).covariates["holiday"]
    assert found[0] == pytest.approx([0, 2 / 7, 1 / 7, 0])


def test_what_is_planned_for_the_whole_horizon_is_used_ahead_and_what_is_not_is_not() -> None:
    ahead = pd.date_range("2025-01-06", periods=28)
    rows = [{"name": "price", "value": 2.0, "day": d} for d in ahead]
    rows += [{"name": "warm", "value": 9.0, "day": d} for d in ahead[:14]]
    found = join(weeks(), table(*rows), 2)
    assert found.covariates["price"].shape == (4, 4)
    assert planned(found, 2) == ("price",)


def test_a_covariate_of_the_sales_stays_where_the_table_says_nothing() -> None:
    rows = daily(np.ones((1, 1, 14)), price=np.full((1, 1, 14), 5.0))
    found = join(panel_of(rows, span(rows)), table({"name": "Price", "value": 4, "day": "2025-01-13"}), 1)
    np.testing.assert_array_equal(found.covariates["price"], [[5, 4, np.nan]])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"day": "soon"}, "row 2 of the covariates: day is no date"),
        ({"name": " "}, "row 2 of the covariates: name is empty"),
        ({"name": "store"}, "row 2 of the covariates: name is one of all, store, item"),
        ({"value": "much"}, "row 2 of the covariates: value is not a number"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: dict[str, object], why: str) -> None:
    with pytest.raises(SetupError, match=why):
        table({}, row)


def test_a_table_without_a_column_says_which(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="the covariates lack the column sku"):
        checked(pd.DataFrame({"site": ["a"], "day": ["2025-01-06"], "name": ["x"], "value": [1]}))
