"""The table of item parameters: what it may say, what is refused and why, and which row speaks of an item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from inventorybot.domain.restock import Criterion
from inventorybot.errors import BadEvent, SetupError
from ml.restock.items import from_rows, parse_lead_time, read_items
from ml.restock.policy import Terms


def rows(*cells: dict[str, Any]) -> Any:
    return from_rows(iter({"site": "BER1", "sku": "A", **c} for c in cells), Terms())


def test_a_row_is_read_with_defaults_for_what_it_leaves_out() -> None:
    items, refused = rows(
        {"lead_time": "5:1 7:2 9:1", "pack": 6.0, "min_order": "12", "shelf_life_days": None, "unit_cost": 2.5}
    )
    terms = items.of("BER1", "A")
    assert refused == []
    assert terms.lead_days == ((5, 0.25), (7, 0.5), (9, 0.25))
    assert (terms.pack, terms.min_order, terms.shelf_life_days, terms.unit_cost) == (6, 12, None, 2.5)
    assert (terms.service_level, terms.review_days) == (0.95, 7)


def test_a_shortage_cost_alone_means_that_costs_decide() -> None:
    assert rows({"shortage_cost": 3})[0].of("BER1", "A").criterion is Criterion.COSTS
    assert rows({"shortage_cost": 3, "service_level": 0.9})[0].of("BER1", "A").criterion is Criterion.CYCLE_SERVICE
    assert rows({"criterion": "fill-rate"})[0].of("BER1", "A").criterion is Criterion.FILL_RATE


def test_of_several_rows_the_closest_counts() -> None:
    named = [("*", "*"), ("BER1", "*"), ("*", "A"), ("BER1", "A")]
    items, refused = rows(*({"site": s, "sku": k, "pack": n} for n, (s, k) in enumerate(named, 2)))
    assert refused == []
    found = [items.of(s, k).pack for s, k in (("MUC1", "Z"), ("BER1", "Z"), ("MUC1", "A"), ("BER1", "A"))]
    assert found == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("cells", "column", "words"),
    [
        ({"pack": 0}, "pack", "pack must be 1 to"),
        ({"pack": 2.5}, "pack", "a whole number, not 2.5"),
        ({"unit_cost": "cheap"}, "unit_cost", "a number, not 'cheap'"),
        ({"service_level": 1}, "service_level", "0.01 to 0.9999, not 1"),
        ({"lead_time": "a week"}, "lead_time", "whole days, such as 7"),
        ({"lead_time": "5:0.5 5:0.5"}, "lead_time", "whole days"),
        ({"lead_time": "400"}, "lead_time", "0 to 365, not 400"),
        ({"criterion": "best"}, "criterion", "cycle-service, fill-rate, costs, not 'best'"),
        ({"criterion": "costs"}, "shortage_cost", "a shortage cost is needed"),
        ({"site": ""}, "site", "1 to 64 printable"),
        ({"sku": "x" * 129}, "sku", "1 to 128 printable"),
        ({"on_order": float("inf")}, "on_order", "a whole number, not inf"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_its_column_and_the_rest_goes_on(cells: Any, column: str, words: str) -> None:
    items, (refusal,) = rows({"sku": "good", "pack": 3}, cells)
    assert (refusal.row, refusal.column) == (2, column)
    assert words in refusal.reason
    assert items.of("BER1", "good").pack == 3


def test_an_item_whose_own_row_was_refused_gets_no_default_in_its_place() -> None:
    items, _ = rows({"pack": 0}, {"sku": "*", "pack": 4})
    with pytest.raises(BadEvent, match="its row in the table of items was refused: pack must be"):
        items.of("BER1", "A")
    assert items.of("BER1", "B").pack == 4


def test_of_two_rows_of_one_item_the_first_counts_and_the_second_is_refused() -> None:
    items, (refusal,) = rows({"pack": 2}, {"pack": 3})
    assert (refusal.row, items.of("BER1", "A").pack) == (2, 2)


def test_tables_are_read_as_csv_and_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"site": ["BER1", "BER1"], "sku": ["007", "b"], "lead_time": ["3", "4:1 5:1"], "pack": [6, None]}
    )
    frame.to_csv(tmp_path / "i.csv", index=False)
    frame.to_parquet(tmp_path / "i.parquet")
    for name in ("i.csv", "i.parquet"):
        items, refused = read_items(tmp_path / name, Terms())
        assert refused == []
        assert (items.of("BER1", "007").pack, items.of("BER1", "b").pack) == (6, 1)
        assert items.of("BER1", "b").lead_days == ((4, 0.5), (5, 0.5))


@pytest.mark.parametrize(
    ("columns", "words"), [(["site"], "lacks the column sku"), (["site", "sku", "colour"], "the column colour")]
)
def test_a_table_that_is_none_is_refused_whole(tmp_path: Path, columns: list[str], words: str) -> None:
    pd.DataFrame({c: ["x"] for c in columns}).to_csv(tmp_path / "i.csv", index=False)
    with pytest.raises(SetupError, match=words):
        read_items(tmp_path / "i.csv", Terms())
    with pytest.raises(SetupError, match="is no file"):
        read_items(tmp_path / "none.csv", Terms())


def test_one_lead_time_needs_no_weight() -> None:
    assert parse_lead_time(7) == ((7, 1.0),)
    assert parse_lead_time("7.0") == ((7, 1.0),)
