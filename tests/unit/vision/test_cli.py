"""`inventorybot count`, as a person uses it. Run: pytest tests/unit/vision/test_cli.py"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from inventorybot.adapters.count_model import load
from inventorybot.domain.counting import CountDistribution
from ml.cli import train
from ml.vision.cli import count, evaluate_count
from ml.vision.data import read_bins
from ml.vision.render import write_bins

app = typer.Typer()
app.command()(count)


@pytest.fixture
def bins(tmp_path: Path) -> Path:
    """Five drawn bins, and one whose picture is damaged."""
    path = write_bins(tmp_path / "bins.zip", 5, seed=1, px=96)
    with zipfile.ZipFile(path, "a") as z:
        z.writestr("bin-images/bad.jpg", b"this is no picture")
    return path


def test_every_picture_becomes_a_row_and_a_bad_one_is_named_with_the_reason(bins: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["--bins", str(bins), "--out", str(tmp_path / "counts.parquet"), "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    assert "refused bad: image-corrupt" in result.stderr
    assert "5 counted by count-v1 on cpu" in result.stderr
    rows = pq.read_table(tmp_path / "counts.parquet")
    p = [f"p{k}" for k in range(21)]
    assert rows.column_names == ["id", *p, "count", "confidence", "model"]
    for row in rows.to_pylist():
        assert sum(row[k] for k in p) == pytest.approx(1.0, abs=1e-5)
        assert row[f"p{row['count']}"] == max(row[k] for k in p) == row["confidence"]


def test_single_pictures_are_counted_into_a_table(bins: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bins) as z:
        z.extractall(tmp_path)
    some = sorted((tmp_path / "bin-images").glob("1*.jpg"))
    result = CliRunner().invoke(app, [*map(str, some[:2]), str(tmp_path / "none.jpg"), "--device", "cpu"])
    assert result.exit_code == 0
    assert "confidence" in result.stdout
    assert "none.jpg: cannot be read" in result.stderr.replace("\n", " ")


def test_a_release_is_judged_and_the_page_shows_what_was_found(tmp_path: Path) -> None:
    path, judge = write_bins(tmp_path / "bins.zip", 40, seed=3, px=96), typer.Typer()
    judge.command()(evaluate_count)
    arguments = ["--bins", str(path), "--out", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(judge, [*arguments, "--split", "all"])
    assert result.exit_code == 0, result.output
    verdict = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert verdict["pictures"] == 40 == sum(map(sum, verdict["confusion"]))
    assert len(verdict["coverage"]["all counts"]) == 20
    assert verdict["coverage"]["all counts"][-1] == pytest.approx(
        verdict["metrics"]["all counts"]["accuracy"]["value"], abs=1e-4
    )
    assert {"recall_1", "recall_2", "recall_3+", "precision_20", "precision_50", "precision_100"} == verdict[
        "alerts"
    ].keys()
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 12
    assert page.count("<svg") == 2
    assert f"{verdict['metrics']['all counts']['accuracy']['value']:.1%}" in page
    wrong = CliRunner().invoke(judge, [*arguments, "--split", "test"])
    assert wrong.exit_code == 2


def test_where_nothing_could_be_counted_the_exit_code_is_1(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"x")
    result = CliRunner().invoke(app, [str(tmp_path / "bad.jpg"), "--device", "cpu"])
    assert result.exit_code == 1
    assert "1 refused" in result.stderr


def test_no_pictures_at_all_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, []).exit_code == 2


def test_a_phase_that_is_none_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    result = CliRunner().invoke(train, ["count", "--bins", str(tmp_path), "--phase", "100:2"])
    assert result.exit_code == 2
    assert "multiple of 32" in result.output


def test_runs_with_successive_seeds_become_one_release_and_are_not_made_twice(tmp_path: Path) -> None:
    bins, config = write_bins(tmp_path / "bins.zip", 60, seed=5, px=64), tmp_path / "tiny.toml"
    config.write_text(
        'arch = "resnet18"\npretrained = false\nrendered = 8\nphases = [[32, 1]]\neval_px = 32\nbatch = 8\n'
    )
    arguments = ["--bins", str(bins), "--config", str(config), "--members", "2", "--resume", "--out", str(tmp_path)]
    result = CliRunner().invoke(train, ["count", *arguments])
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "release" / "card.json").read_text())
    assert (card["members"], card["seeds"]) == (2, [1, 2])
    (answer,) = load(tmp_path / "release", "cpu").score([read_bins([bins])[0].jpeg()])
    assert isinstance(answer, CountDistribution)
    again = CliRunner().invoke(train, ["count", *arguments])
    assert again.stdout.count("resumed after epoch 1") == 2
