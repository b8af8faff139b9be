"""What training minimises: cross-entropy, soft labels that credit near misses, twins' differences.

In: scores (B, outputs) of a network, labels (B,) 0..20. Out: one number, the mean over the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from inventorybot.adapters.backbones import head_name
from inventorybot.domain.counting import MAX_COUNT
from ml.vision.config import TrainConfig

CLASSES = MAX_COUNT + 1
KINDS = 11
"""Answers to the second question, how many different products: 0..9, and 10 or more."""


def soft_labels(labels: Tensor) -> Tensor:
    """Targets that credit near misses: a normal curve about the label, wider where counts are high and records vague.

    Args: labels (B,), 0..20. Returns: (B, 21), rows sum to 1; at 3 items 0.72 on the label, 0.14 on each neighbour.
    """
    k = torch.arange(CLASSES, device=labels.device)  # (21,)
    width = 0.42 + 0.04 * labels[:, None]  # (B, 1), in items
    return torch.softmax(-((k - labels[:, None]) ** 2) / (2 * width**2), dim=1)


def class_weights(labels: Tensor, power: float) -> Tensor:
    """Weight of each count (21,): (1 / its frequency) ** power, with a mean of 1 over the bins; 1 for counts not there."""
    n = torch.bincount(labels, minlength=CLASSES).double()
    weight = torch.where(n > 0, n.clamp_min(1) ** -power, 0.0)
    weight = weight * n.sum() / (weight * n).sum()
    return torch.where(n > 0, weight, 1.0).float()


def ranked_probability(p: Tensor, labels: Tensor) -> Tensor:
    """(B,) ranked probability scores, unnormalised: grow with the distance of a miss (Epstein 1969). p (B, 21)."""
    apart = p.cumsum(1) - F.one_hot(labels, CLASSES).cumsum(1)  # (B, 21)
    return apart.square().sum(1)


def twins_loss(p: Tensor, labels: Tensor, twin: Tensor) -> Tensor:
    """How far the expected difference of two looks at one bin is from the recorded one: p (B, 21), twin (B,).

    Args: twin: row of the bin's other look in this batch, or -1.
    Returns: Huber loss in items, mean over twins; 0 where there are none.
    """
    rows = torch.nonzero(twin >= 0).squeeze(1)
    if not len(rows):
        return p.sum() * 0
    mean = p @ torch.arange(CLASSES, device=p.device, dtype=p.dtype)  # (B,)
    other = twin[rows]
    return F.smooth_l1_loss(mean[rows] - mean[other], (labels[rows] - labels[other]).to(p.dtype))


def loss_of(
    scores: Tensor, labels: Tensor, config: TrainConfig, weights: Tensor | None = None, twin: Tensor | None = None
) -> Tensor:
    """What a batch costs under a configuration: scores (B, 21), labels (B,), weights (21,) of counts, twin (B,)."""
    each = torch.ones(len(labels), device=labels.device) if weights is None else weights[labels]  # (B,)
    logs = scores.log_softmax(1)  # (B, 21)
    target = soft_labels(labels) if config.loss == "soft" else F.one_hot(labels, CLASSES).to(logs.dtype)
    score = -(target * logs).sum(1) + config.rps_weight * ranked_probability(logs.exp(), labels)
    total = (score * each).mean()
    if config.pair_weight and twin is not None:
        total = total + config.pair_weight * twins_loss(logs.exp(), labels, twin)
    return total


def training_outputs(config: TrainConfig) -> int:
    """Width of the last layer in training: the counts, and the second question where it is asked."""
    return CLASSES + (KINDS if config.kinds_weight else 0)


def counts_only(weights: dict[str, Tensor], config: TrainConfig) -> dict[str, Tensor]:
    """The weights of a network that answers no second question."""
    last = head_name(config.arch) + "."
    return {name: value[:CLASSES] if name.startswith(last) else value for name, value in weights.items()}
