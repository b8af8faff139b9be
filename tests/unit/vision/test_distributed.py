"""Two processes that train together, and runs that are compared. Run: pytest tests/unit/vision/test_distributed.py"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from inventorybot.errors import SetupError
from ml.vision import experiments
from ml.vision.config import TrainConfig, changed
from ml.vision.render import write_bins
from ml.vision.train import run

TINY = TrainConfig(
    arch="resnet18", rendered=8, rendered_px=32, phases=((32, 1),), eval_px=32, batch=4, pretrained=False, max_steps=2
)
SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from ml.vision.config import TrainConfig, changed
from ml.vision.train import run
run(changed(TrainConfig(), json.loads(sys.argv[1]), "test"), Path(sys.argv[2]))
"""


def test_two_processes_end_with_one_checkpoint_and_one_log(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*launch, json.dumps(asdict(TINY)), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "on 2 x cpu" in done.stdout
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (1, 2)
    alone = torch.load(run(TINY, tmp_path / "alone", say=lambda _: None), weights_only=True)
    moved = state["net"]["fc.weight"] - alone["net"]["fc.weight"]
    assert 0 < float(moved.abs().max()) < 0.05  # the same start, batches of other halves: near, and not the same


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")  # as torchrun sets it
    with pytest.raises(SetupError, match="cannot be shared by 3 processes"):
        run(TINY, tmp_path, say=lambda _: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A tiny run with real bins, of which some are kept back."""
    bins = write_bins(tmp_path_factory.mktemp("bins") / "bins.zip", 40, seed=2, px=32)
    return changed(TINY, {"bins": [str(bins)], "rendered": 0, "calibration": 0.4}, "test")


def test_every_variant_becomes_a_row_and_a_finished_one_is_not_trained_again(base: TrainConfig, tmp_path: Path) -> None:
    file = tmp_path / "variants.toml"
    file.write_text('[base]\nlr = 1e-3\n[[variant]]\nname = "plain"\n[[variant]]\nname = "ordinal"\nloss = "corn"\n')
    table = experiments.ablate(base, file, tmp_path / "out", lambda _: None).read_text().splitlines()
    assert [row.split("|")[1].strip() for row in table[2:]] == ["plain", "ordinal"]
    assert len({row.count("|") for row in table}) == 1
    said: list[str] = []
    experiments.ablate(base, file, tmp_path / "out", said.append)
    assert said.count("resumed after epoch 1") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("[[variant]]\nlr = 1.0\n", "name of its own"), ('[[variant]]\nname = "a"\nspeed = 1\n', "no option speed")],
)
def test_a_wrong_variant_is_named_before_anything_is_trained(
    base: TrainConfig, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "variants.toml").write_text(text)
    with pytest.raises(SetupError, match=words):
        experiments.ablate(base, tmp_path / "variants.toml", tmp_path / "out", lambda _: None)


def test_a_search_keeps_its_table_and_goes_on_where_it_stopped(base: TrainConfig, tmp_path: Path) -> None:
    file = tmp_path / "ranges.toml"
    file.write_text('lr = { low = 1e-4, high = 1e-2, log = true }\nloss = ["soft", "corn"]\n')
    for trials in (1, 2):
        best = experiments.search(base, file, tmp_path / "out", trials=trials, say=lambda _: None)
    rows = list(csv.DictReader((tmp_path / "out" / "trials.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == ["0", "1"]
    least = min(rows, key=lambda row: float(row["nll"]))
    assert (best.lr, best.loss) == (pytest.approx(float(least["lr"])), least["loss"])
    file.write_text("lr = 3\n")
    with pytest.raises(SetupError, match="list of choices, or a range"):
        experiments.search(base, file, tmp_path / "other", trials=1, say=lambda _: None)


def test_bins_too_few_to_compare_on_are_said_so(base: TrainConfig, tmp_path: Path) -> None:
    checkpoint = run(replace(base, calibration=0.0), tmp_path / "run", say=lambda _: None)
    with pytest.raises(SetupError, match="set calibration higher"):
        experiments.measure_run(checkpoint)
