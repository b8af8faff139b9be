"""Training: what is learnt from, and that an interrupted run ends where an uninterrupted one does.

Run: pytest tests/unit/vision/test_train.py
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from inventorybot.adapters import backbones
from inventorybot.errors import SetupError
from ml.vision.config import TrainConfig
from ml.vision.data import read_bins
from ml.vision.distributed import World
from ml.vision.losses import CLASSES, KINDS
from ml.vision.render import write_bins
from ml.vision.train import Trainer, load_sets, predict, run, schedule, together

TINY = TrainConfig(
    rendered=8, rendered_px=64, phases=((64, 2),), eval_px=64, batch=4, pretrained=False, frozen_blocks=0, max_steps=1
)


class Killed(Exception):
    """Stands for the process being killed."""


def test_a_run_killed_after_one_step_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def dies(line: str) -> None:
        if line.startswith("{"):  # the line that ends an epoch
            raise Killed

    run(TINY, tmp_path / "whole", say=lambda _: None)
    with pytest.raises(Killed):
        run(TINY, tmp_path / "killed", say=dies)
    run(TINY, tmp_path / "killed", resume=True, say=lambda _: None)
    whole, resumed = (torch.load(tmp_path / n / "checkpoint.pt", weights_only=True) for n in ("whole", "killed"))
    assert whole["epoch"] == resumed["epoch"] == 2
    for part in ("net", "ema"):
        assert whole[part].keys() == resumed[part].keys()
        for name, value in whole[part].items():
            torch.testing.assert_close(value, resumed[part][name], msg=f"{part}.{name}")
    logs = [(tmp_path / n / "log.jsonl").read_text().splitlines() for n in ("whole", "killed")]
    losses = [[json.loads(line)["loss"] for line in log] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_checkpoint_of_another_configuration_or_of_other_bins_is_not_resumed(tmp_path: Path) -> None:
    run(replace(TINY, phases=((64, 1),)), tmp_path / "run", say=lambda _: None)
    with pytest.raises(SetupError, match="another configuration"):
        run(replace(TINY, lr=1.0), tmp_path / "run", resume=True, say=lambda _: None)
    bins = write_bins(tmp_path / "bins.zip", 2, seed=1, px=64)
    with pytest.raises(SetupError, match="other bins"):
        run(replace(TINY, phases=((64, 1),), bins=(str(bins),)), tmp_path / "run", resume=True, say=lambda _: None)


def test_a_checkpoint_from_before_an_option_was_there_is_resumed(tmp_path: Path) -> None:
    checkpoint = run(TINY, tmp_path, say=lambda _: None)
    state = torch.load(checkpoint, weights_only=True)
    state["config"] = json.dumps({k: v for k, v in json.loads(state["config"]).items() if k != "crop"})
    torch.save(state, checkpoint)
    said: list[str] = []
    run(TINY, tmp_path, resume=True, say=said.append)
    assert "resumed after epoch 2" in said


def test_the_second_question_is_learnt_from_and_not_kept(tmp_path: Path) -> None:
    bins = str(write_bins(tmp_path / "bins.zip", 12, seed=1, px=64))
    plain = replace(TINY, bins=(bins,), calibration=0.0, kinds_weight=0.0)
    asked = replace(plain, kinds_weight=0.5)
    kinds = [b.asins for b in read_bins([bins]) if b.split == "train"]
    train, _, _ = load_sets(asked)
    assert train.kinds[: len(kinds)].tolist() == kinds
    assert len(train.kinds) == len(train.jpegs)
    with_it, without = (
        torch.load(run(c, tmp_path / str(c.kinds_weight), say=lambda _: None), weights_only=True)["ema"]
        for c in (asked, plain)
    )
    assert with_it["_fc.bias"].shape == (CLASSES + KINDS,)
    assert together([with_it], asked)["_fc.bias"].shape == without["_fc.bias"].shape == (CLASSES,)
    p = predict(asked, [with_it], train.jpegs[:2], 64).exp()
    assert p.sum(1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_too_few_pictures_for_one_batch_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="fewer than one batch"):
        run(replace(TINY, rendered=3), tmp_path, say=lambda _: None)


def test_the_learning_rate_warms_up_and_falls_to_a_hundredth() -> None:
    config = replace(TINY, lr=1.0, warmup=0.1)
    rates = [schedule(config, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.01)


def test_a_schedule_with_one_restart_is_back_at_the_top_half_way() -> None:
    config = replace(TINY, lr=1.0, warmup=0.0, restarts=1)
    rates = [schedule(config, step, 101) for step in range(102)]
    assert rates[51] == pytest.approx(1.0)  # step 0 warms up; 100 remain, two descents of 50
    assert rates[50] < 0.02
    assert rates[101] == pytest.approx(0.01)


def test_in_the_head_epochs_nothing_but_the_last_layer_moves() -> None:
    config = replace(TINY, head_epochs=1, phases=((64, 2),))
    trainer = Trainer(config, *load_sets(config), World(0, 1, "cpu"))
    before = {k: v.clone() for k, v in trainer.net.state_dict().items()}
    trainer.run_epoch(lambda _: None)
    moved = {k for k, v in trainer.net.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"_fc.weight", "_fc.bias"}
    trainer.run_epoch(lambda _: None)
    assert not torch.equal(trainer.net.state_dict()["_conv_head.weight"], before["_conv_head.weight"])


def test_phases_say_the_resolution_of_each_epoch() -> None:
    config = replace(TINY, phases=((64, 2), (96, 1)))
    assert [config.px(e) for e in range(config.epochs)] == [64, 64, 96]


def test_folding_the_norms_into_the_convolutions_changes_no_output() -> None:
    torch.manual_seed(1)
    net = backbones.build("efficientnet-lite0", CLASSES)
    for module in net.modules():  # as if trained: norms that do something
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            module.weight.data.uniform_(0.8, 1.5)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = net.eval()(x)
        after = backbones.fuse(net)(x)
    assert float(before.std()) > 1e-4
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-4 * float(before.abs().max()))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
