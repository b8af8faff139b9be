"""Tables of an answer, and the commands that make them. Run: pytest tests/unit/planning/test_result.py"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from inventorybot.errors import SetupError
from ml.planning.cli import app
from ml.planning.data import read_instance, write_instance
from ml.planning.generate import Sizes, generate
from ml.planning.result import RESULTS, read_prices, write_result
from ml.planning.run import plan
from ml.planning.segments import reach
from ml.planning.tables import TABLES


def invoke(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_a_problem_is_made_solved_shown_and_exported_from_the_command_line(tmp_path: Path) -> None:
    problem, out = tmp_path / "problem", tmp_path / "answer"
    invoke("generate", "--skus", 200, "--sites", 4, "--seed", 3, "--out", problem)
    said = invoke("solve", problem, "--out", out, "--gap", "1e-4")
    assert "(proved)" in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["gap"] <= 1e-4
    assert max(summary["violations"].values()) == 0.0
    assert summary["value"] <= summary["bound"]
    assert "a m³ is worth" in invoke("show", out)
    invoke("solve", problem, "--out", tmp_path / "again", "--warm", out)
    again = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert again["iterations"] < summary["iterations"]
    assert "rows" in invoke("export-mps", problem, "--out", tmp_path / "p.mps.gz")


def test_the_plan_on_disk_keeps_the_limits_and_its_columns_are_the_documented_ones(tmp_path: Path) -> None:
    made = generate(Sizes(150, 4), seed=1)
    result = plan(made, device="cpu")
    write_result(result, made, tmp_path)
    tables = {name: pq.read_table(tmp_path / f"{name}.parquet") for name in RESULTS}
    assert {n: t.column_names for n, t in tables.items()} == {n: list(c) for n, c in RESULTS.items()}
    volume = dict(zip(made.sku.tolist(), made.volume_m3.tolist(), strict=True))
    used = dict.fromkeys(made.site.tolist(), 0.0)
    for row in tables["plan"].to_pylist():
        used[row["site"]] += row["units"] * volume[row["sku"]]
        assert row["sales"] <= row["cover"]
        assert row["left"] == pytest.approx(row["cover"] - row["sales"], abs=1e-3)
    for j, site in enumerate(made.site.tolist()):
        assert used[site] <= made.storage_m3[j, 0]
        assert result.storage_used[j, 0] == pytest.approx(used[site], rel=1e-6)
    units = sum(tables["flows"]["units"].to_pylist())
    assert units == pytest.approx(sum(tables["plan"]["units"].to_pylist()), rel=1e-6)


def test_every_column_of_problem_and_answer_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "planning.md").read_text(encoding="utf-8")
    for table, columns in [*TABLES.items(), *RESULTS.items()]:
        part = page.partition(f"### `{table}`")[2].partition("###")[0]
        for column, meaning in columns.items():
            told = meaning if isinstance(meaning, str) else meaning.doc
            assert f"| `{column}` | {told}" in part, f"{table}.{column}"


def test_several_periods_move_what_they_buy_and_the_tables_balance(tmp_path: Path) -> None:
    made = generate(Sizes(8, 4, 3, 2), seed=1)
    write_instance(made, tmp_path / "problem")
    invoke("solve", tmp_path / "problem", "--out", tmp_path / "out")
    result = plan(read_instance(tmp_path / "problem"), device="cpu")
    assert result.summary["model"] == "several periods"
    assert result.summary["gap"] <= 1e-3
    out = np.zeros_like(result.units)
    for lane, start in enumerate(made.lane_from):
        if start >= 0:
            out[:, start] += result.flow[:, lane]
    before = np.concatenate([made.stock[:, :, None], result.left[:, :, :-1]], axis=2)
    spare = before + result.units - out - result.sales - result.left  # thrown away, never made
    assert spare.min() > -1e-3
    assert "periods" in (tmp_path / "out" / "summary.json").read_text()


def test_prices_come_back_by_name_and_what_is_new_starts_at_nothing(tmp_path: Path) -> None:
    made = generate(Sizes(100, 3), seed=1)
    result = plan(made, device="cpu")
    write_result(result, made, tmp_path)
    larger = generate(Sizes(120, 4), seed=1)
    prices = read_prices(tmp_path, larger, reach(larger).sites)
    assert prices.storage_M[:3].tolist() == result.storage_price[:, 0].tolist()
    assert prices.storage_M[3] == 0.0
    assert np.array_equal(prices.supply_N[:100].numpy(), result.supply_price[:, 0].astype(float))
    assert not prices.supply_N[100:].any()


def test_whole_packs_are_multiples_that_keep_the_limits_and_tell_their_loss() -> None:
    made = generate(Sizes(200, 3), seed=1)
    result = plan(made, device="cpu", whole=True)
    assert np.array_equal(result.units % made.pack_size[:, None, None], np.zeros_like(result.units))
    assert max(result.summary["violations"].values()) == 0.0
    assert 0.0 < result.summary["rounding"]["loss"] < 0.05
    assert result.summary["gap"] <= 1e-4  # of the plan in fractions, which proves the bound


def test_options_that_several_periods_do_not_have_are_refused() -> None:
    with pytest.raises(SetupError, match="need one period supplied"):
        plan(generate(Sizes(4, 3, 2, 1), seed=1), spill=1)


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    made = generate(Sizes(4, 3), seed=1)
    with pytest.raises(SetupError, match="holds no plan"):
        read_prices(tmp_path, made, reach(made).sites)


def test_a_gap_that_is_not_reached_is_told_by_the_exit_code(tmp_path: Path) -> None:
    write_instance(generate(Sizes(30, 3), seed=1), tmp_path / "problem")
    said = invoke("solve", tmp_path / "problem", "--out", tmp_path / "out", "--gap", "1e-30", code=1)
    assert "gap not reached" in said
    assert (tmp_path / "out" / "plan.parquet").exists()
