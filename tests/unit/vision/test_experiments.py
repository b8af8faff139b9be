"""Runs that are compared: variants, other readings of them, and a search. Run: pytest tests/unit/vision/test_experiments.py"""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from inventorybot.errors import SetupError
from ml.vision import experiments
from ml.vision.config import TrainConfig, changed, read_config
from ml.vision.evaluate import surprisal
from ml.vision.render import write_bins
from ml.vision.train import run

TINY = TrainConfig(
    arch="resnet18", rendered=8, rendered_px=32, phases=((32, 1),), eval_px=32, batch=4, pretrained=False, max_steps=2
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A tiny run with real bins, of which some are kept back."""
    bins = write_bins(tmp_path_factory.mktemp("bins") / "bins.zip", 40, seed=2, px=32)
    return changed(TINY, {"bins": [str(bins)], "rendered": 0, "calibration": 0.4}, "test")


def test_every_variant_becomes_a_row_and_a_finished_one_is_not_trained_again(base: TrainConfig, tmp_path: Path) -> None:
    file = tmp_path / "variants.toml"
    file.write_text(
        '[base]\nlr = 1e-3\n[[variant]]\nname = "plain"\n[[variant]]\nname = "hard"\nloss = "cross-entropy"\n'
    )
    table = experiments.ablate(base, file, tmp_path / "out", lambda _: None).read_text().splitlines()
    assert [row.split("|")[1].strip() for row in table[2:]] == ["plain", "hard"]
    assert len({row.count("|") for row in table}) == 1
    said: list[str] = []
    experiments.ablate(base, file, tmp_path / "out", said.append)
    assert said.count("resumed after epoch 1") == 2


def test_a_variant_of_others_trains_nothing_and_reads_their_weights_in_another_way(
    base: TrainConfig, tmp_path: Path
) -> None:
    file = tmp_path / "variants.toml"
    file.write_text(
        '[[variant]]\nname = "one"\n[[variant]]\nname = "two"\nseed = 2\n'
        '[[variant]]\nname = "both"\nof = ["one", "two"]\n'
        '[[variant]]\nname = "mirrored"\nof = ["one"]\nflip = true\n'
        '[[variant]]\nname = "last-weights"\nof = ["one"]\nema = 0.0\n'
    )
    base = replace(
        base, phases=((32, 6),), max_steps=None, lr=3e-3
    )  # until it knows at least which counts are frequent
    experiments.ablate(base, file, tmp_path / "out", lambda _: None)
    assert not (tmp_path / "out" / "both").exists()
    found = json.loads((tmp_path / "out" / "ablations.json").read_text())
    assert found["one"]["above_first"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    nll = {name: it["nll"]["value"] for name, it in found.items()}
    assert len(set(nll.values())) == 5
    for name, it in found.items():
        assert it["above_first"]["value"] == pytest.approx(nll[name] - nll["one"], abs=2e-4), name
    one, two, both = (
        experiments.answers(base, [tmp_path / "out" / name / "checkpoint.pt" for name in names])
        for names in (["one"], ["two"], ["one", "two"])
    )
    mean_nll = [float(surprisal(it.p, it.y).mean()) for it in (one, two, both)]
    assert mean_nll[2] <= max(mean_nll[:2])  # the mean of two distributions
    assert both.figures()["nll"]["value"] == nll["both"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[variant]]\nlr = 1.0\n", "name of its own"),
        ('[[variant]]\nname = "a"\nspeed = 1\n', "no option speed"),
        ('[[variant]]\nname = "a"\nof = ["b"]\n', "above it that are trained, not 'b'"),
        ('[[variant]]\nname = "a"\n[[variant]]\nname = "b"\nof = ["a"]\nlr = 1.0\n', "not lr"),
        ("[base]\nlr = 1.0\n", "no .*variant"),
    ],
)
def test_a_wrong_variant_is_named_before_anything_is_trained(
    base: TrainConfig, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "variants.toml").write_text(text)
    with pytest.raises(SetupError, match=words):
        experiments.ablate(base, tmp_path / "variants.toml", tmp_path / "out", lambda _: None)


def test_a_search_begins_with_the_options_as_they_are_keeps_its_table_and_goes_on_where_it_stopped(
    base: TrainConfig, tmp_path: Path
) -> None:
    file, out = tmp_path / "ranges.toml", tmp_path / "out"
    file.write_text(
        "[base]\ndropout = 0.2\n[ranges]\nlr = { low = 1e-4, high = 1e-2, log = true }\n"
        'loss = ["soft", "cross-entropy"]\nepochs = { low = 1, high = 2 }\n'
    )
    for trials in (1, 3, 2):
        best = experiments.search(base, file, out, trials=trials, say=lambda _: None)
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert sorted(row["trial"] for row in rows) == ["0", "1", "2"]
    (first,) = (row for row in rows if row["trial"] == "0")
    assert (float(first["lr"]), first["loss"], first["epochs"]) == (base.lr, base.loss, "1")
    assert [float(row["nll"]) for row in rows] == sorted(float(row["nll"]) for row in rows)
    assert (best.lr, best.loss) == (pytest.approx(float(rows[0]["lr"])), rows[0]["loss"])
    assert (best.phases, best.dropout) == (((32, int(rows[0]["epochs"])),), 0.2)
    assert read_config(out / "best.json") == replace(best, bins=())


def test_two_that_search_together_try_different_things(base: TrainConfig, tmp_path: Path) -> None:
    file = tmp_path / "ranges.toml"
    file.write_text("[ranges]\nlr = { low = 1e-4, high = 1e-2, log = true }\n")

    def look(trials: int) -> None:
        experiments.search(base, file, tmp_path / "out", trials=trials, say=lambda _: None)

    look(1)
    with ThreadPoolExecutor(2) as both:
        list(both.map(look, [5, 5]))
    rows = list(csv.DictReader((tmp_path / "out" / "trials.csv").read_text().splitlines()))
    assert len(rows) in {5, 6}  # the other may be at one when the fifth is done
    assert len({row["lr"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[ranges]\nlr = 3\n", "list of choices, or a range"),
        ("[ranges]\nlr = []\n", "list of choices, or a range"),
        ("[ranges]\nspeed = [1, 2]\n", "no option speed"),
        ("[ranges]\nlr = { low = -1.0, high = 1.0 }\n", "above 0"),
        ("lr = [1.0]\n", "no .*ranges"),
        ("[base]\nspeed = 1\n", "no option speed"),
    ],
)
def test_a_wrong_range_is_named_before_anything_is_trained(
    base: TrainConfig, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "ranges.toml").write_text(text)
    with pytest.raises(SetupError, match=words):
        experiments.search(base, tmp_path / "ranges.toml", tmp_path / "out", trials=1, say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_bins_too_few_to_compare_on_are_said_so(base: TrainConfig, tmp_path: Path) -> None:
    config = replace(base, calibration=0.0)
    checkpoint = run(config, tmp_path / "run", say=lambda _: None)
    with pytest.raises(SetupError, match="set calibration higher"):
        experiments.answers(config, [checkpoint])
