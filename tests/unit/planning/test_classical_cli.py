"""`inventorybot plan lost-sales`, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from inventorybot.errors import BadEvent
from ml.planning.classical.cli import lost_sales

app = typer.Typer()
app.command()(lost_sales)
ITEM = ["--demand", "poisson:5", "--lead-time", "2", "--holding", "1", "--penalty", "9"]


def test_the_best_policy_its_cost_and_its_table(tmp_path: Path) -> None:
    table = tmp_path / "new" / "orders.parquet"
    result = CliRunner().invoke(app, [*ITEM, "--json", "--out", str(table)])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["cost_per_period"] == pytest.approx(6.09, abs=0.005)  # Zipkin (2008)
    assert said["exact"] is True
    assert said["interval"] == [said["cost_per_period"]] * 2
    assert said["lower_bound"] == pytest.approx(said["cost_per_period"])
    assert said["policy"]["name"] == "optimal"
    assert said["policy"]["table"] == str(table)
    rows = pq.read_table(table).to_pylist()
    assert list(rows[0]) == ["on_hand", "due_1", "order", "share"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    # What is ordered is what is sold: mean demand less what is lost.
    assert sum(row["share"] * row["order"] for row in rows) == pytest.approx(5 - said["lost_per_period"])


def test_parameters_of_a_capped_base_stock() -> None:
    result = CliRunner().invoke(app, [*ITEM, "--json", "--policy", "capped"])
    policy = json.loads(result.stdout)["policy"]
    assert policy["name"] == "capped"
    assert policy["level"] > policy["cap"] > 5 - 1
    assert "table" not in policy


def test_without_json_it_reads_as_text(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*ITEM, "--policy", "base-stock"])
    assert "base-stock: level" in result.stdout
    assert "(exact)" in result.stdout


def test_a_demand_that_is_none_is_refused() -> None:
    result = CliRunner().invoke(app, ["--demand", "normal:5", *ITEM[2:]])
    assert isinstance(result.exception, BadEvent)
    assert "poisson:MEAN" in str(result.exception)
