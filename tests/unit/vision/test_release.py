"""From bins to a release that the loader takes, in miniature. Run: pytest tests/unit/vision/test_release.py"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inventorybot.adapters.count_model import load
from inventorybot.domain.counting import CountDistribution
from ml.vision.data import data_hash, read_bins
from ml.vision.release import class_prior, in_fit_half, write_release
from ml.vision.render import write_bins
from ml.vision.train import TrainConfig, run


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
    assert n["train"] + n["fit"] + n["report"] == 80
    assert n["rendered_report"] == 6
    assert card["held_out"]["value"] == card["metrics"]["crossfit_all"]["nll"]["value"]
    assert f"{card['metrics']['all']['accuracy']['value']:.1%}" in (out / "README.md").read_text()


def test_the_prior_of_counts_never_seen_is_small_but_not_nothing() -> None:
    prior = class_prior([0, 0, 0, 5])  # 4 bins and half a bin for each of 21 counts: 14.5
    assert prior[0] == pytest.approx(3.5 / 14.5, abs=1e-6)
    assert prior[5] == pytest.approx(1.5 / 14.5, abs=1e-6)
    assert prior[20] == pytest.approx(0.5 / 14.5, abs=1e-6)


def test_the_half_that_fits_the_temperature_is_about_half_and_always_the_same() -> None:
    halves = [in_fit_half(f"{i:05}") for i in range(1000)]
    assert 440 <= sum(halves) <= 560  # four standard deviations
    assert halves == [in_fit_half(f"{i:05}") for i in range(1000)]
