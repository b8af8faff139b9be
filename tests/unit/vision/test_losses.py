"""Losses against values worked out by hand. Run: pytest tests/unit/vision/test_losses.py"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from inventorybot.adapters.backbones import corn_log_p
from ml.vision.config import TrainConfig
from ml.vision.losses import CLASSES, class_weights, corn_loss, log_p, loss_of, soft_labels, twins_loss


def sure_of(k: int, label: int, config: TrainConfig) -> float:
    """The loss of a network that is sure of k."""
    if config.head == "corn":
        scores = torch.where(torch.arange(CLASSES - 1) < k, 10.0, -10.0)[None]
    else:
        scores = 10.0 * nn.functional.one_hot(torch.tensor([k]), CLASSES).float()
    return float(loss_of(scores, torch.tensor([label]), config))


@pytest.mark.parametrize("loss", ["soft", "cross-entropy", "corn"])
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


def test_an_ordinal_head_gives_the_product_of_its_conditionals() -> None:
    # P(y > 0) = 1/2, P(y > 1 | y > 0) = 1/4: p = 1/2, 3/8, 1/8
    scores = torch.tensor([[0.0, math.log(1 / 3)]])
    assert corn_log_p(scores).exp()[0].tolist() == pytest.approx([1 / 2, 3 / 8, 1 / 8])


def test_each_ordinal_task_sees_the_bins_that_reach_it() -> None:
    # labels 0 and 2, scores 0: tasks asked: {0} and {0, 1}, three answers of probability 1/2 each
    found = corn_loss(torch.zeros(2, 2), torch.tensor([0, 2]), torch.ones(2))
    assert float(found) == pytest.approx(math.log(2))


def test_every_head_gives_a_distribution() -> None:
    for head, width in (("softmax", CLASSES), ("corn", CLASSES - 1)):
        assert log_p(torch.randn(3, width), head).exp().sum(1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)


def test_rare_counts_weigh_more_and_the_mean_weight_is_1() -> None:
    labels = torch.tensor([1] * 8 + [2] * 2)
    weights = class_weights(labels, 1.0)
    assert float(weights[2] / weights[1]) == pytest.approx(4.0)
    assert float(weights[labels].mean()) == pytest.approx(1.0)
    assert class_weights(labels, 0.0)[1:3].tolist() == [1.0, 1.0]


def test_twins_cost_by_how_far_their_expected_difference_is_from_the_recorded_one() -> None:
    p = nn.functional.one_hot(torch.tensor([5, 2, 7]), CLASSES).float()  # expected 5 and 2: 3 apart, recorded 1 apart
    found = twins_loss(p, torch.tensor([3, 2, 7]), torch.tensor([1, -1, -1]))
    assert float(found) == pytest.approx(2 - 0.5)  # Huber loss of 2 items
    assert float(twins_loss(p, torch.tensor([3, 2, 7]), torch.tensor([-1, -1, -1]))) == 0
