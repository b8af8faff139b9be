"""From bins to a release that the loader takes, in miniature. Run: pytest tests/unit/vision/test_release.py"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inventorybot.adapters.count_graph import GraphEngine
from inventorybot.adapters.count_model import load
from inventorybot.domain.counting import CountDistribution
from inventorybot.errors import SetupError
from ml.vision.config import TrainConfig
from ml.vision.data import data_hash, read_bins
from ml.vision.release import class_prior, in_fit_half, write_release
from ml.vision.render import write_bins
from ml.vision.train import kept_back, run


def test_a_trained_checkpoint_becomes_a_release_that_counts_and_whose_card_is_true(tmp_path: Path) -> None:
    bins = write_bins(tmp_path / "bins.zip", 80, seed=1, px=64)
    config = TrainConfig(
        bins=(str(bins),),
        rendered=4,
        rendered_px=64,
        phases=((64, 1),),
        eval_px=64,
        batch=8,
        pretrained=False,
        max_steps=2,
        calibration=0.2,
        frozen_blocks=0,
    )
    checkpoint = run(config, tmp_path / "run", say=lambda _: None)
    out = tmp_path / "release"
    card = write_release(checkpoint, out, version="v9", created=datetime(2026, 11, 21, tzinfo=UTC), rendered=6)

    model = load(out, "cpu")
    (answer,) = model.score([read_bins([bins])[0].jpeg()])
    assert isinstance(answer, CountDistribution)
    assert (model.name, model.version) == ("count", "v9")
    assert json.loads((out / "card.json").read_text()) == card
    assert card["sha256"] == hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert card["data_sha256"] == data_hash(read_bins([bins]))
    assert card["config"]["bins"] == ["bins.zip"]  # no path of the machine it was trained on
    assert {v.dtype for v in load_file(out / "model.safetensors").values() if v.ndim > 1} == {torch.float16}
    n = card["images"]
    assert n["train"] + n["calibration"] + n["val"] == 80
    assert n["calibration"] == sum(b.split == "train" and kept_back(b.pair_group, 0.2) for b in read_bins([bins])) > 5
    assert isinstance(model.engine, GraphEngine)  # processors need no torch for it
    assert 0 < model.card.conformal["0.8"] < 1
    assert n["rendered_report"] == 6
    assert card["held_out"]["value"] == card["metrics"]["all"]["nll"]["value"]
    assert f"{card['metrics']['all']['accuracy']['value']:.1%}" in (out / "README.md").read_text()


def test_checkpoints_that_were_trained_otherwise_are_no_ensemble(tmp_path: Path) -> None:
    paths = []
    for arch in ("resnet18", "resnet34"):
        paths.append(tmp_path / f"{arch}.pt")
        torch.save({"config": json.dumps({"arch": arch}), "ema": {}, "data": "", "epoch": 1}, paths[-1])
    with pytest.raises(SetupError, match="differ in arch"):
        write_release(paths, tmp_path / "out", version="v1", created=datetime(2026, 11, 21, tzinfo=UTC))


def test_the_prior_of_counts_never_seen_is_small_but_not_nothing() -> None:
    prior = class_prior([0, 0, 0, 5])  # 4 bins and half a bin for each of 21 counts: 14.5
    assert prior[0] == pytest.approx(3.5 / 14.5, abs=1e-6)
    assert prior[5] == pytest.approx(1.5 / 14.5, abs=1e-6)
    assert prior[20] == pytest.approx(0.5 / 14.5, abs=1e-6)
    assert sum(class_prior([k % 7 for k in range(61)])) == pytest.approx(1.0, abs=1e-7)  # what events are held to: 1e-6


def test_the_half_that_fits_the_temperature_is_about_half_and_always_the_same() -> None:
    halves = [in_fit_half(f"{i:05}") for i in range(1000)]
    assert 440 <= sum(halves) <= 560  # four standard deviations
    assert halves == [in_fit_half(f"{i:05}") for i in range(1000)]
