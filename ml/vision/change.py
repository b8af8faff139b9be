"""The change model: two looks at one bin -> the distribution of the difference, -10 or less ... 10 or more items.

In: features and count distributions of both pictures (`heads.embed`). Out: q(d), (N, 21), index 10 standing for no change.
It starts as the difference of two independent counts, which it must beat, and learns from before/after pairs. It is
antisymmetric by construction: looking the other way round turns the distribution round.

Run: inventorybot train change --bins BINS.zip --out runs/change
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ml.vision.data import Bin
from ml.vision.evaluate import Floats, Ints, intervals
from ml.vision.heads import fit, residual
from ml.vision.train import kept_back

REACH = 10
CLASSES = 2 * REACH + 1


def difference(before: Tensor, after: Tensor) -> Tensor:
    """Distribution of after - before if the two counts were independent: (N, 21) twice -> (N, 21), the ends pooled."""
    n = before.shape[1]
    d = torch.arange(n)[None, :] - torch.arange(n)[:, None]  # [i, j]: j - i
    joint = before[:, :, None] * after[:, None, :]  # (N, 21, 21)
    out = torch.zeros(len(before), CLASSES, dtype=before.dtype)
    return out.index_add_(1, d.clamp(-REACH, REACH).flatten() + REACH, joint.flatten(1))


class ChangeNet(nn.Module):
    """Args: width: of the features of one picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU())
        self.compare = residual(3 * 64, CLASSES)
        self.trust = nn.Parameter(torch.ones(()))  # in the two counts

    def forward(self, a: Tensor, b: Tensor, p_a: Tensor, p_b: Tensor) -> Tensor:
        """Features (N, F) and p (N, 21) of the picture before and the one after -> log q (N, 21)."""
        x, y = self.shared(a), self.shared(b)
        there = self.compare(torch.cat([x, y, y - x], 1))
        back = self.compare(torch.cat([y, x, x - y], 1)).flip(1)
        apart = difference(p_a, p_b).clamp_min(1e-6).log()
        out: Tensor = (self.trust * apart + there + back).log_softmax(1)
        return out


def pairs_of(bins: Sequence[Bin]) -> Ints:
    """Row numbers (P, 2) of before and after: neighbours of one pair group, each bin in one pair at most."""
    pairs: list[tuple[int, int]] = []
    for i in range(1, len(bins)):
        if bins[i].pair_group == bins[i - 1].pair_group and not (pairs and pairs[-1][1] == i - 1):
            pairs.append((i - 1, i))
    return np.array(pairs, np.int64).reshape(-1, 2)


def train_change(
    bins: Sequence[Bin], features: Tensor, p: Floats, *, seed: int = 1
) -> tuple[ChangeNet, dict[str, Any]]:
    """Learns from the training pairs, stops by those that are kept back, and is judged on the validation pairs.

    Args: bins (N,) sorted by id; features (N, F); p (N, 21) of `heads.embed`.
    Returns: the model, and {"pairs", "change", "two counts", "usual"}: metrics with intervals, change beside the difference
        of two counts, and beside how often each difference is found in training, whatever the pictures show.
    """
    pairs = pairs_of(bins)
    labels = np.array([b.quantity or 0 for b in bins])
    target = torch.from_numpy(np.clip(labels[pairs[:, 1]] - labels[pairs[:, 0]], -REACH, REACH) + REACH)
    of_pair = [bins[i] for i in pairs[:, 0]]
    held = np.array([kept_back(b.pair_group, 0.15) for b in of_pair])
    train, val = (np.array([b.split == s for b in of_pair]) for s in ("train", "val"))
    a, b = torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1])
    seen = torch.from_numpy(p).float()
    torch.manual_seed(seed)
    net = ChangeNet(features.shape[1])

    def logs(net: nn.Module, rows: Tensor) -> Tensor:
        out: Tensor = net(features[a[rows]], features[b[rows]], seen[a[rows]], seen[b[rows]])
        return out

    def loss(net: nn.Module, rows: Tensor) -> Tensor:
        return nn.functional.nll_loss(logs(net, rows), target[rows])

    parts = [torch.from_numpy(np.flatnonzero(which)) for which in (train & ~held, train & held, val)]
    fit(net, loss, parts[0], parts[1], seed=seed)
    y, groups = target[parts[2]].numpy(), [of_pair[i].pair_group for i in parts[2].tolist()]
    with torch.inference_mode():
        ours = logs(net, parts[2]).exp().double().numpy()
    plain = difference(*(torch.from_numpy(p)[pairs[parts[2].numpy(), side]] for side in (0, 1))).numpy()
    often = torch.bincount(target[parts[0]], minlength=CLASSES).double() + 0.5
    usual = np.tile((often / often.sum()).numpy(), (len(y), 1))
    told = (("change", ours), ("two counts", plain), ("usual", usual))
    found = {name: intervals(q, y, groups) for name, q in told} if len(y) else {}
    return net, {"pairs": {n: len(r) for n, r in zip(("train", "held", "val"), parts, strict=True)}} | found
