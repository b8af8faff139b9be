"""Small models on top of the count model's features: what `change.py` and `agreement.py` have in common.

In: a release and pictures; training examples of a head. Out: features; a trained head, as safetensors and a card.
A head starts as its baseline (its last layer is zero) and learns only what the baseline misses.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from inventorybot.adapters import backbones, count_model
from inventorybot.adapters.jpeg import normalise
from inventorybot.errors import SetupError
from ml.vision.augment import load_pixels
from ml.vision.evaluate import Floats

PATIENCE = 15
"""Epochs without a better figure on the held-out examples after which a head stops learning."""


def residual(width: int, outputs: int, hidden: int = 64) -> nn.Sequential:
    """Two layers that say nothing at first: (B, width) -> (B, outputs), zero before training."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.3), last)


@torch.inference_mode()
def embed(release: Path, jpegs: Sequence[bytes], advance: Callable[[int], None]) -> tuple[Tensor, Floats]:
    """What a release sees in pictures: features (N, F) float32 of its first member, and p (N, 21).

    Raises: BadEvent: a picture cannot be decoded.
    """
    model = count_model.load(release, "cpu")
    card, px = model.card, model.card.input.px
    weights = load_file(release / "model.safetensors")
    net = backbones.count_net(weights, count_model.CLASSES, arch=card.arch, members=card.members, flip=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    member = backbones.fuse(net.members[0]).to(device).to(memory_format=torch.channels_last)
    features, p = [], []
    for part in (jpegs[i : i + 64] for i in range(0, len(jpegs), 64)):
        pixels = load_pixels(part, px)  # (64, 3, px, px)
        features.append(backbones.features(member, card.arch, normalise(pixels.to(device))).float().cpu())
        p.append(model.probabilities(pixels.permute(0, 2, 3, 1).contiguous().numpy()))
        advance(len(part))
    return torch.cat(features), np.concatenate(p)


def fit(
    net: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor], rows: Tensor, held: Tensor, *, seed: int,
    epochs: int = 200, batch: int = 256, lr: float = 1e-3,
) -> float:  # fmt: skip
    """Trains a head in place and leaves it at its best epoch on `held`; returns the loss there.

    Args:
        net: the head.
        loss: mean loss of the head on some rows of the training examples.
        rows, held: numbers of the examples to learn from, and to stop by.
        seed: of shuffling and dropout.
    """
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.05)

    def measured() -> float:
        net.eval()
        with torch.inference_mode():
            return float(loss(net, held))

    best, kept, since = measured(), copy.deepcopy(net.state_dict()), 0
    for _ in range(epochs):
        net.train()
        for part in torch.split(rows[torch.randperm(len(rows))], batch):
            optimizer.zero_grad(set_to_none=True)
            loss(net, part).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        now, since = measured(), since + 1
        if now < best:
            best, kept, since = now, copy.deepcopy(net.state_dict()), 0
        if since >= PATIENCE:
            break
    net.load_state_dict(kept)
    net.eval()
    return best


def save(net: nn.Module, out: Path, card: dict[str, Any]) -> None:
    """Writes `OUT/model.safetensors` and `OUT/card.json`."""
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, out / "model.safetensors")
    sha256 = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    (out / "card.json").write_text(json.dumps(card | {"sha256": sha256}, indent=1) + "\n")


def load(net: nn.Module, folder: Path) -> dict[str, Any]:
    """Fills a head with what `save` wrote, and returns its card. Raises: SetupError: the weights are not the card's."""
    card: dict[str, Any] = json.loads((folder / "card.json").read_text())
    if hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() != card["sha256"]:
        raise SetupError(f"{folder / 'model.safetensors'} is not what its card describes: train it again")
    net.load_state_dict(load_file(folder / "model.safetensors"))
    net.eval()
    return card
