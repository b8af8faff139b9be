"""From a table as a business has it to a panel; every refused row has its reason. Run: pytest tests/unit/demand/test_cleaning.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.demand.cleaning import Cleaned, clean
from ml.demand.panel import capped
from ml.demand.table import find_columns, read_table


def cleaned(frame: pd.DataFrame, **how: object) -> Cleaned:
    return clean(frame, find_columns(frame), **how)  # type: ignore[arg-type]


def weekly(units: list[object], **more: object) -> pd.DataFrame:
    return pd.DataFrame({"store": "a", "item": "x", "week": range(len(units)), "units": units, **more})


def test_a_row_that_cannot_be_used_is_named_with_its_reason_and_the_others_are_used() -> None:
    frame = pd.DataFrame(
        {
            "Store": ["a", None, "a", "a", "a", "a"],
            "SKU": ["x"] * 6,
            "Date": ["2025-01-06", "2025-01-13", "soon", "2025-01-13", "2025-01-20", None],
            "Qty": ["3", "1", "2", "many", "4", "5"],
        }
    )
    found = cleaned(frame)
    assert found.refused[["row", "reason"]].to_numpy().tolist() == [
        [2, "Store is empty"],
        [3, "Date is no weekly period"],
        [4, "Qty is not a number"],
        [6, "Date is empty"],
    ]
    assert found.panel.units.tolist() == [[3.0, 0.0, 4.0]]


def test_duplicates_are_summed_and_returns_netted() -> None:
    frame = pd.DataFrame({"item": ["x"] * 5, "week": [0, 0, 1, 1, 2], "units": [3, 4, 5, -2, -6]})
    found = cleaned(frame)
    assert found.panel.units.tolist() == [[7.0, 3.0, 0.0]]
    assert found.repaired["rows of negative units netted as returns"] == 2
    assert found.repaired["periods that stayed below zero, counted as zero"] == 1
    assert found.panel.store.tolist() == ["all"]


def test_a_period_without_a_row_is_a_zero_sale_once_the_series_has_begun() -> None:
    frame = pd.DataFrame({"item": ["x", "x", "y", "y"], "week": [0, 3, 2, 3], "units": [5, 6, 7, 8]})
    np.testing.assert_array_equal(cleaned(frame).panel.units, [[5, 0, 0, 6], [np.nan, np.nan, 7, 8]])


def test_a_period_in_which_the_whole_store_has_no_row_is_not_known() -> None:
    # three items sell in three weeks of four: that all rest in one week by chance has probability (1/4)^3 = 1.6 %
    frame = pd.DataFrame({"item": list("xyz") * 3, "week": [0, 0, 0, 1, 1, 1, 3, 3, 3], "units": range(1, 10)})
    np.testing.assert_array_equal(cleaned(frame).panel.units, [[1, 4, np.nan, 7], [2, 5, np.nan, 8], [3, 6, np.nan, 9]])


def test_a_table_that_records_zeros_means_nothing_by_leaving_a_row_out() -> None:
    frame = pd.DataFrame({"item": ["x"] * 3, "week": [0, 1, 3], "units": [1, 0, 2]})
    np.testing.assert_array_equal(cleaned(frame).panel.units, [[1, 0, np.nan, 2]])
    np.testing.assert_array_equal(cleaned(frame, gaps="zero").panel.units, [[1, 0, 0, 2]])


def test_no_stock_is_not_no_demand() -> None:
    flagged = cleaned(weekly([4, 0, 5], stockout=[0, 1, 0])).panel.units
    np.testing.assert_array_equal(flagged, [[4, np.nan, 5]])
    empty_shelf = cleaned(weekly([4, 0, 0], on_hand=[9, 0, 9])).panel.units
    np.testing.assert_array_equal(empty_shelf, [[4, np.nan, 0]])


def test_empty_units_are_not_known_and_behind_the_last_sale_they_carry_a_plan() -> None:
    found = cleaned(weekly([4, None, 5, None], price=[1.0, 1.0, 1.0, 0.5])).panel
    np.testing.assert_array_equal(found.units, [[4, np.nan, 5]])
    assert found.covariates["price"].tolist() == [[1.0, 1.0, 1.0, 0.5]]


@pytest.mark.parametrize(
    ("values", "kind", "count"),
    [
        (["2025-01-06", "2025-01-20"], "weekly", 3),
        (["2025-01-31", "2025-03-31"], "monthly", 3),
        (["2025-01-06", "2025-01-07", "2025-01-09"], "daily", 4),
        (["2025-W01", "2025-W03"], "weekly", 3),
        (["202501", "202503", "202504"], "monthly", 4),
        (["01.02.2025", "01.04.2025", "01.05.2025"], "monthly", 4),
    ],
)
def test_the_period_is_inferred_from_the_dates(values: list[str], kind: str, count: int) -> None:
    found = cleaned(pd.DataFrame({"item": "x", "period": values, "units": 1})).panel
    assert (found.periods.kind, found.t) == (kind, count)


def test_zeros_before_a_late_launch_are_not_demand() -> None:
    found = cleaned(weekly([0] * 20 + [3, 0, 4])).panel.units[0]
    assert np.isnan(found[:20]).all()
    assert found[20:].tolist() == [3, 0, 4]


def test_an_outlier_is_cut_to_ten_times_the_series_own_high_sales() -> None:
    units = np.full((1, 100), 2.0, np.float32)
    units[0, 50] = 900
    limited, over = capped(units)
    assert limited[0, 50] == 20.0
    assert over.sum() == 1


def test_columns_that_cannot_be_found_are_asked_for_in_words(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no column for units among item, week: name one with --units"):
        find_columns(pd.DataFrame({"item": ["x"], "week": [1]}))
    with pytest.raises(SetupError, match="'nix', named for price, is not in the table"):
        find_columns(weekly([1]), {"price": "nix"})
    with pytest.raises(SetupError, match="is no file"):
        read_table(tmp_path / "none.csv")


def test_a_semicolon_table_with_decimal_commas_and_leading_zeros_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("Store;Item;Week;Units\n007;0012;2025-W01;1,5\n007;0012;2025-W02;2,5\n")
    frame = read_table(path)
    found = cleaned(frame).panel
    assert (found.store[0], found.item[0]) == ("007", "0012")
    assert found.units.tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize(
    ("units", "found"),
    [
        (["1,234", "5", "1,000.5"], [1234, 5, 1000.5]),
        (["1.234,5", "2,5", "1.000"], [1234.5, 2.5, 1000]),
        ([" 7 ", "8", "9"], [7, 8, 9]),
    ],
)
def test_thousands_set_apart_are_read_as_the_column_writes_them(units: list[str], found: list[float]) -> None:
    assert cleaned(weekly(units)).panel.units.tolist() == [found]
