"""The tables of a problem: read back as written, and refused with table, column, row and reason.

Run: pytest tests/unit/planning/test_tables.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inventorybot.errors import SetupError
from ml.planning.data import read_instance, write_instance
from ml.planning.generate import Sizes, generate
from ml.planning.tables import quantile_column, quantile_levels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A made problem with 6 SKUs, 4 sites in 2 layers and 3 periods."""
    write_instance(generate(Sizes(6, 4, 3, 2), seed=1), tmp_path)
    return tmp_path


def change(folder: Path, table: str, edit: Callable[[dict[str, list[Any]]], object]) -> None:
    """Rewrite a table after an edit of its columns."""
    path = folder / f"{table}.parquet"
    columns = pq.read_table(path).to_pydict()
    edit(columns)
    pq.write_table(pa.table(columns), path)


def test_what_is_read_is_what_was_written_bit_by_bit(tmp_path: Path) -> None:
    made = generate(Sizes(40, 5, 4, 3), seed=2)
    write_instance(made, tmp_path)
    assert read_instance(tmp_path).same_as(made)


def test_the_order_of_rows_does_not_matter(folder: Path) -> None:
    before = read_instance(folder)
    change(folder, "demand", lambda c: [c.update({k: v[::-1]}) for k, v in list(c.items())])
    assert read_instance(folder).same_as(before)


def test_a_limit_that_is_null_is_no_limit(folder: Path) -> None:
    change(folder, "capacity", lambda c: c["storage_m3"].__setitem__(0, None))
    assert np.isinf(read_instance(folder).storage_m3[0, 0])


def test_rows_that_may_be_missing_mean_no_limit_no_demand_and_no_stock(folder: Path) -> None:
    (folder / "supply.parquet").unlink()
    (folder / "stock.parquet").unlink()
    change(folder, "demand", lambda c: [c.update({k: v[1:]}) for k, v in list(c.items())])
    read = read_instance(folder)
    assert np.isinf(read.supply).all()
    assert not read.stock.any()
    assert read.demand_mean[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("table", "column", "row", "value", "said"),
    [
        ("skus", "volume_m3", 2, 0.0, "table skus, column volume_m3, row 2: 0.0 must be above 0"),
        ("skus", "price", 1, -1.0, "table skus, column price, row 1: -1.0 must be at least 0"),
        ("skus", "price", 3, float("nan"), "table skus, column price, row 3: nan is not a number"),
        ("skus", "unit_cost", 3, None, "table skus, column unit_cost, row 3: None is not a number"),
        ("skus", "salvage", 0, 1e9, "table skus, column salvage, row 0"),
        ("skus", "pack_size", 4, 0, "table skus, column pack_size, row 4: 0 must be at least 1"),
        ("skus", "sku", 5, "sku-0000000", "table skus, column sku, row 5: the same key stands in an earlier row"),
        ("skus", "sku", 1, "", "table skus, column sku, row 1: '' is empty"),
        ("sites", "cutoff_hour", 0, 25, "table sites, column cutoff_hour, row 0: 25 must be at most 24"),
        ("sites", "site", 0, "supplier", "table sites, column site, row 0: 'supplier' is kept for the vendors"),
        ("capacity", "site", 0, "atlantis", "table capacity, column site, row 0: 'atlantis' is not the name of a row"),
        ("capacity", "period", 11, 7, "table capacity, column period: there is no row for site"),
        ("region_speeds", "share", 0, 0.5, "table region_speeds, column share: region berlin sums to 1.35, not 1"),
        ("order_hours", "share", 0, 0.5, "table order_hours, column share: it sums to"),
        ("delivery", "hours", 0, float("inf"), "table delivery, column hours, row 0: inf is not finite"),
        ("lanes", "to_site", 0, "mars", "table lanes, column to_site, row 0: 'mars' is not the name of a row"),
        ("lane_lead_times", "probability", 0, 0.1, "column probability: lane 0 of table lanes sums to"),
        ("supply", "period", 0, 9, "table supply, column period, row 0: 9 is beyond table capacity"),
        ("demand", "q10", 3, 0.0, "table demand, column q10, row 3: 0.0 is below q05"),
        ("demand", "region", 3, "nowhere", "table demand, column region, row 3: 'nowhere' is not the name of a row"),
        ("stock", "units", 0, -2.0, "table stock, column units, row 0: -2.0 must be at least 0"),
    ],
)
def test_a_bad_cell_is_named_with_its_table_column_row_and_reason(
    folder: Path, table: str, column: str, row: int, value: object, said: str
) -> None:
    change(folder, table, lambda c: c[column].__setitem__(row, value))
    with pytest.raises(SetupError) as raised:
        read_instance(folder)
    assert said in str(raised.value)


def test_a_table_or_column_that_is_missing_is_named(folder: Path) -> None:
    change(folder, "skus", lambda c: c.pop("price"))
    with pytest.raises(SetupError, match="table skus lacks column price"):
        read_instance(folder)
    (folder / "skus.parquet").unlink()
    with pytest.raises(SetupError, match=r"skus\.parquet is missing"):
        read_instance(folder)


def test_a_column_of_the_wrong_type_is_named(folder: Path) -> None:
    change(folder, "skus", lambda c: c.update(price=["dear"] * 6))
    with pytest.raises(SetupError, match="column price, row 0: is of type string, a number is wanted"):
        read_instance(folder)


def test_a_site_that_serves_but_that_no_lane_reaches_is_refused(folder: Path) -> None:
    change(folder, "lane_lead_times", lambda c: [c.update({k: v[:2]}) for k, v in list(c.items())])
    change(folder, "lanes", lambda c: [c.update({k: v[:1]}) for k, v in list(c.items())])
    with pytest.raises(SetupError, match="no lane leads there from the supplier"):
        read_instance(folder)


def test_a_lane_back_up_the_layers_must_take_time(folder: Path) -> None:
    def turn(columns: dict[str, list[Any]]) -> None:
        for row, start in enumerate(columns["from_site"]):
            if start != "supplier":
                columns["from_site"][row], columns["to_site"][row] = columns["to_site"][row], start

    change(folder, "lanes", turn)
    change(folder, "lane_lead_times", turn)
    with pytest.raises(SetupError, match="must take at least one period"):
        read_instance(folder)


def test_quantile_columns_are_named_by_their_level() -> None:
    assert [quantile_column(x) for x in (0.05, 0.1, 0.5, 0.975, 0.995)] == ["q05", "q10", "q50", "q975", "q995"]
    found = quantile_levels(["q995", "mean", "q05", "quota", "q50"])
    assert found == [(0.05, "q05"), (0.5, "q50"), (0.995, "q995")]
