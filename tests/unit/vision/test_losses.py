"""Losses against values worked out by hand. Run: pytest tests/unit/vision/test_losses.py"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from ml.vision.config import TrainConfig
from ml.vision.losses import CLASSES, loss_of, soft_labels


def sure_of(k: int, label: int, config: TrainConfig) -> float:
    """The loss of a network that is sure of k."""
    scores = 10.0 * nn.functional.one_hot(torch.tensor([k]), CLASSES).float()
    return float(loss_of(scores, torch.tensor([label]), config))


@pytest.mark.parametrize("loss", ["soft", "cross-entropy"])
def test_a_near_miss_costs_less_than_a_far_one(loss: str) -> None:
    config = replace(TrainConfig(), loss=loss)
    found = [sure_of(k, 4, config) for k in (4, 5, 6, 12)]
    assert found == sorted(found)
    assert found[3] > found[0] + 1


def test_a_target_is_highest_on_the_label_and_credits_both_neighbours_alike() -> None:
    target = soft_labels(torch.tensor([3, 20]))
    assert target.sum(1).tolist() == pytest.approx([1.0, 1.0])
    assert target.argmax(1).tolist() == [3, 20]
    assert float(target[0, 2]) == pytest.approx(float(target[0, 4]))
    assert 0.1 < float(target[0, 2]) < 0.2
