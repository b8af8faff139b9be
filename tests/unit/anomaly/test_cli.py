"""`inventorybot train anomaly` and `inventorybot evaluate anomaly`, as a person uses them. Run: pytest tests/unit/anomaly/test_cli.py"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from inventorybot.errors import SetupError
from ml.anomaly.cli import evaluate_anomaly, train_anomaly
from ml.anomaly.model import SHIPPED, Detector, load
from ml.cli import EVALUATE, evaluate
from tests.unit.anomaly.test_simulate import weekly

train_app = typer.Typer()
train_app.command()(train_anomaly)
evaluate_app = typer.Typer()
evaluate_app.command()(evaluate_anomaly)

SMALL = ["--series", "200", "--days", "60", "--replays", "1", "--no-harder"]


def test_an_evaluation_leaves_a_page_that_needs_no_other_and_its_figures(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path / "release")
    asked = [*SMALL, "--release", str(tmp_path / "release")]
    result = CliRunner().invoke(evaluate_app, [*asked, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "report.html").read_text()
    for words in ("zero streak", "isolation forest", "ECOD", "By cause", "data:image/png;base64,"):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert set(figures["As in life"]) == {"detector", "zero streak", "isolation forest", "ECOD"}
    assert {"precision", "recall", "f1", "auc_roc"} <= set(figures["As in life"]["detector"]["figures"])
    assert (tmp_path / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_real_sales_are_measured_on(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path / "release")
    weekly(8, 40, 40).to_csv(tmp_path / "sales.csv", index=False)
    asked = [*SMALL, "--series", "300", "--days", "120", "--release", str(tmp_path / "release")]
    result = CliRunner().invoke(
        evaluate_app, [*asked, "--sales", str(tmp_path / "sales.csv"), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    assert "On the sales given" in json.loads((tmp_path / "out" / "figures.json").read_text())


def test_a_seed_that_was_trained_on_is_refused(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path)
    result = CliRunner().invoke(evaluate_app, ["--seed", "52", "--release", str(tmp_path)])
    assert isinstance(result.exception, SetupError)
    assert "seed 52 was trained on" in str(result.exception)


def test_sales_that_cannot_be_read_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "sales.parquet").write_bytes(b"this is no table")
    result = CliRunner().invoke(train_app, ["--sales", str(tmp_path / "sales.parquet"), "--out", str(tmp_path)])
    assert isinstance(result.exception, SetupError)
    assert "sales.parquet cannot be read" in str(result.exception)


def test_calibrating_leaves_a_release_whose_card_says_on_what_and_how_well(tmp_path: Path) -> None:
    asked = ["--no-trees", "--series", "200", "--days", "60", "--seed", "60", "--version", "v7", "--out", str(tmp_path)]
    result = CliRunner().invoke(train_app, asked)
    assert result.exit_code == 0, result.output
    card = load(tmp_path).card
    assert (card["name"], card["version"]) == ("suspect", "v7")
    assert {60, *load(SHIPPED).card["seeds"]} <= set(card["seeds"])
    assert card["held_out"]["metric"] == "average precision"
    assert not card["own_sales"]


def test_the_release_that_ships_can_be_loaded_and_says_its_limits() -> None:
    card = load(SHIPPED).card
    assert card["name"] == "suspect"
    assert card["limits"]


@pytest.mark.parametrize("model", EVALUATE)
def test_every_model_that_evaluate_names_can_be_asked_for_help(model: str) -> None:
    result = CliRunner().invoke(evaluate, [model, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_a_model_that_is_none_is_wrong_usage() -> None:
    assert CliRunner().invoke(evaluate, ["nothing"]).exit_code == 2
