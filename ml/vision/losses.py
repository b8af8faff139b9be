"""What training minimises: cross-entropy, or soft labels that credit near misses, and the ranked score.

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


def ranked_probability(p: Tensor, labels: Tensor) -> Tensor:
    """(B,) ranked probability scores, unnormalised: grow with the distance of a miss (Epstein 1969). p (B, 21)."""
    apart = p.cumsum(1) - F.one_hot(labels, CLASSES).cumsum(1)  # (B, 21)
    return apart.square().sum(1)


def loss_of(scores: Tensor, labels: Tensor, config: TrainConfig) -> Tensor:
    """What a batch costs under a configuration: scores (B, 21), labels (B,)."""
    logs = scores.log_softmax(1)  # (B, 21)
    target = soft_labels(labels) if config.loss == "soft" else F.one_hot(labels, CLASSES).to(logs.dtype)
    each = -(target * logs).sum(1) + config.rps_weight * ranked_probability(logs.exp(), labels)  # (B,)
    return each.mean()


def training_outputs(config: TrainConfig) -> int:
    """Width of the last layer in training: the counts, and the second question where it is asked."""
    return CLASSES + (KINDS if config.kinds_weight else 0)


def counts_only(weights: dict[str, Tensor], config: TrainConfig) -> dict[str, Tensor]:
    """The weights of a network that answers no second question."""
    last = head_name(config.arch) + "."
    return {name: value[:CLASSES] if name.startswith(last) else value for name, value in weights.items()}
