"""The record-agreement model: does this picture agree with this record? P(the record is wrong).

In: features and count distribution of the picture; the recorded quantity and what the record knows of its items (sizes
and weights). Out: a probability. It is a second model beside the count model, whose evidence stays independent of the
record: it starts as what the count alone says of the record, and learns what the items add, from miscounts put into true
records. It says whether that pays: `alert_view` of both.

Run: inventorybot train agreement --bins BINS.zip --out runs/agreement
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ml.vision.alerts import RATE, REACH, alert_view, suspicion
from ml.vision.data import Bin, Line
from ml.vision.evaluate import Floats
from ml.vision.heads import fit, residual
from ml.vision.train import kept_back

EVEN = math.log((1 - RATE) / RATE)
"""Log-odds between the rate of wrong records in service and that in training, where half are wrong."""

FACTS = 9
"""Columns of `record_facts`."""
TYPICAL_VOLUME, TYPICAL_WEIGHT = 60.0, 0.7
"""Stand for what is not on record, cubic inches and pounds; two columns say how much is missing."""


def record_facts(lines: Sequence[Line], quantities: Sequence[int]) -> list[float]:
    """What a record says of a bin, (FACTS,): amounts as log(1 + x). Args: quantities: of the lines, as (mis)recorded."""
    n, total = len(lines), sum(quantities)
    volumes = [line.volume or TYPICAL_VOLUME for line in lines]
    weights = [line.weight or TYPICAL_WEIGHT for line in lines]
    volume = sum(v * q for v, q in zip(volumes, quantities, strict=True))
    weight = sum(w * q for w, q in zip(weights, quantities, strict=True))
    amounts = [total, n, max(quantities, default=0), volume, weight, max(volumes, default=0.0), volume / max(1, total)]
    missing = [
        sum(x is None for x in column) / max(1, n) for column in ([i.volume for i in lines], [i.weight for i in lines])
    ]
    return [*np.log1p(amounts).tolist(), *missing]


def facts_of(bins: Sequence[Bin], seed: int) -> Floats:
    """Facts of every record under every error -REACH..REACH, (N, 2 REACH + 1, FACTS); nan where no line can bear it."""
    rng = np.random.default_rng(seed)
    out = np.full((len(bins), 2 * REACH + 1, FACTS), np.nan)
    for i, it in enumerate(bins):
        for error in range(-REACH, REACH + 1):
            can = [j for j, line in enumerate(it.lines) if line.quantity + error >= 0]
            if error and not can:
                continue
            quantities = [line.quantity for line in it.lines]
            if error:
                quantities[int(rng.choice(can))] += error
            out[i, REACH + error] = record_facts(it.lines, quantities)
    return out


class AgreementNet(nn.Module):
    """Args: width: of a picture's features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seen = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 32), nn.GELU())
        self.judge = residual(32 + 21 + FACTS, 1)

    def forward(self, features: Tensor, p: Tensor, facts: Tensor, suspect: Tensor) -> Tensor:
        """Log-odds (N,) that the record is wrong: features (N, F), p (N, 21), facts (N, FACTS), suspect (N,) of the count."""
        said = torch.cat([self.seen(features), p.clamp_min(1e-4).log(), facts], 1)
        out: Tensor = torch.logit(suspect, 1e-6) + self.judge(said).squeeze(1)
        return out


def train_agreement(
    bins: Sequence[Bin], features: Tensor, p: Floats, class_prior: Sequence[float], *, seed: int = 1
) -> tuple[AgreementNet, dict[str, Any]]:
    """Learns on training bins, stops by those that are kept back, and is judged on the validation bins.

    Args: bins (N,) labelled; features (N, F), p (N, 21) of `heads.embed`; class_prior (21,) of the count model's card.
    Returns: the model, and {"bins", "agreement", "count alone"}: alert views, the model beside the image alone.
    """
    recorded = np.array([b.quantity or 0 for b in bins])
    suspects = suspicion(p, class_prior, recorded)  # (N, E)
    facts = facts_of(bins, seed)  # (N, E, FACTS)
    suspects[np.isnan(facts[:, :, 0])] = np.nan
    errors = np.arange(-REACH, REACH + 1)
    # as often as miscounts are put in: thirds of ±1, ±2, ±3 to ±5; a true record weighs as much as all its errors
    weight = np.where(errors == 0, 1.0, np.where(np.abs(errors) < 3, 1 / 6, 1 / 18))
    seen, columns = torch.from_numpy(p).float(), len(errors)
    flat = [
        torch.from_numpy(x).float() for x in (facts.reshape(-1, FACTS), suspects.ravel(), np.tile(weight, len(bins)))
    ]
    wrong = torch.from_numpy(np.tile(errors != 0, len(bins))).float()
    torch.manual_seed(seed)
    net = AgreementNet(features.shape[1])

    def odds(net: nn.Module, rows: Tensor) -> Tensor:
        out: Tensor = net(features[rows // columns], seen[rows // columns], flat[0][rows], flat[1][rows])
        return out

    def loss(net: nn.Module, rows: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(odds(net, rows) + EVEN, wrong[rows], flat[2][rows])

    held = np.array([kept_back(b.pair_group, 0.15) for b in bins])
    train, val = (np.array([b.split == s for b in bins]) for s in ("train", "val"))
    there = ~np.isnan(suspects)
    parts = [
        torch.from_numpy(np.flatnonzero((which[:, None] & there).ravel())) for which in (train & ~held, train & held)
    ]
    fit(net, loss, parts[0], parts[1], seed=seed, lr=2e-3)
    found: dict[str, Any] = {
        "bins": {"train": int((train & ~held).sum()), "held": int((train & held).sum()), "val": int(val.sum())}
    }
    if val.any():
        scores = np.full(suspects.shape, np.nan)
        rows = np.flatnonzero((val[:, None] & there).ravel())
        with torch.inference_mode():
            scores.ravel()[rows] = odds(net, torch.from_numpy(rows)).sigmoid().numpy()
        groups = [b.pair_group for b, v in zip(bins, val, strict=True) if v]
        found |= {"agreement": alert_view(scores[val], groups), "count alone": alert_view(suspects[val], groups)}
    return net, found
