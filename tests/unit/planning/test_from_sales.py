"""A problem from a sales table: forecasts worked out by hand, held-out weeks untouched, bad tables refused.

Run: pytest tests/unit/planning/test_from_sales.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from inventorybot.errors import SetupError
from ml.planning.baselines import site_alone
from ml.planning.data import check, read_instance
from ml.planning.from_sales import Economics, Sales, forecast, instance_from_sales, read_sales
from ml.planning.simulate_cli import simulate as command

WEEKS = 40


def sales_table(path: Path, **changes: Any) -> Path:
    """4 stores, 6 items, 40 weeks of Poisson sales; one week is a return."""
    rng = np.random.default_rng(3)
    store, item, week = (x.ravel() for x in np.meshgrid(np.arange(4), np.arange(6), np.arange(WEEKS), indexing="ij"))
    units = rng.poisson(20.0, len(week)).astype(np.float64)
    units[0] = -3.0
    columns = {
        "store": np.char.add("store-", store.astype(str)),
        "item": np.char.add("item-", item.astype(str)),
        "week": week,
        "units": units,
    }
    pq.write_table(pa.table(columns | changes), path)
    return path


def test_steady_sales_are_forecast_to_stay() -> None:
    mean, quantiles = forecast(np.full((1, 2, 30), 8.0), 3)
    assert mean.tolist() == [[8.0, 8.0]]
    assert quantiles.tolist() == [[[pytest.approx(8.0)] * 7] * 2]


def test_a_forecast_spreads_as_sales_did_around_their_level() -> None:
    # two weeks beyond level and horizon: 10 and 20 sold against a level of 10, half a unit added: ratios 1 and 20.5 / 10.5
    history = np.array([[[10.0] * 15 + [20.0]]])
    mean, quantiles = forecast(history, 1)
    level = (12 * 10 + 20) / 13 + 0.5
    assert mean[0, 0] == pytest.approx(level * (1 + 20.5 / 10.5) / 2 - 0.5)
    assert quantiles[0, 0, 3] == pytest.approx(level * (1 + 20.5 / 10.5) / 2 - 0.5)  # median of two


def test_the_held_out_weeks_are_the_paths_and_the_forecast_has_not_seen_them(tmp_path: Path) -> None:
    sales = read_sales(sales_table(tmp_path / "sales.parquet"))
    instance, paths = instance_from_sales(sales, Economics(1, sites=2), holdout=5)
    assert paths.shape == (5, 6, 2, 1)
    assert paths.sum() == sales.units[:, :, -5:].sum()
    other = sales.units.copy()
    other[:, :, -5:] = 999.0
    again, _ = instance_from_sales(Sales(sales.items, sales.stores, other), Economics(1, sites=2), holdout=5)
    assert again.same_as(instance)
    assert check(instance) is instance


def test_returns_count_as_no_sale(tmp_path: Path) -> None:
    assert read_sales(sales_table(tmp_path / "sales.parquet")).units[0, 0, 0] == 0.0


def test_the_seed_makes_the_economics_and_tightness_the_storage(tmp_path: Path) -> None:
    sales = read_sales(sales_table(tmp_path / "sales.parquet"))
    one, same, two = (instance_from_sales(sales, Economics(s, sites=2), 5)[0] for s in (1, 1, 2))
    loose, _ = instance_from_sales(sales, Economics(1, sites=2, tight=1.7), 5)
    assert one.same_as(same)
    assert not np.array_equal(one.price, two.price)
    assert loose.storage_m3.sum() == pytest.approx(2 * one.storage_m3.sum())
    assert (one.volume_m3 @ site_alone(one)).sum() <= one.storage_m3.sum()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"units": np.full(4 * 6 * WEEKS, np.inf)}, "column units, row 0"),
        ({"week": np.full(4 * 6 * WEEKS, -1)}, "column week, row 0"),
    ],
)
def test_a_bad_cell_is_named(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=reason):
        read_sales(sales_table(tmp_path / "sales.parquet", **changes))


def test_a_missing_column_and_a_missing_file_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"store": ["s"], "item": ["i"], "week": [0]}), tmp_path / "short.parquet")
    with pytest.raises(SetupError, match="lacks column units"):
        read_sales(tmp_path / "short.parquet")
    with pytest.raises(SetupError, match="cannot be read"):
        read_sales(tmp_path / "none.parquet")


def test_too_few_weeks_and_too_many_sites_are_refused(tmp_path: Path) -> None:
    sales = read_sales(sales_table(tmp_path / "sales.parquet"))
    with pytest.raises(SetupError, match="too few"):
        instance_from_sales(sales, Economics(1, sites=2), holdout=20)
    with pytest.raises(SetupError, match="1 to 4"):
        instance_from_sales(sales, Economics(1, sites=5), holdout=5)
    with pytest.raises(SetupError, match="tight"):
        Economics(1, tight=0.0)


def test_the_command_makes_the_problem_and_plays_the_held_out_weeks(tmp_path: Path) -> None:
    table = sales_table(tmp_path / "sales.parquet")
    application = typer.Typer()
    application.command()(command)
    words = [str(tmp_path / "problem"), "--out", str(tmp_path / "out"), "--sales", str(table), "--sites", "2"]
    done = CliRunner().invoke(application, [*words, "--holdout", "4"])
    assert done.exit_code == 0, done.output
    assert "4 replications" in done.output
    assert read_instance(tmp_path / "problem").sites == 2
    other = CliRunner().invoke(application, [*words, "--holdout", "4", "--seed", "2"])
    assert isinstance(other.exception, SetupError)
    assert "another problem" in str(other.exception)
