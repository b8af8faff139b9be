"""Measures a count model: accuracy, error sizes, likelihood and calibration, with intervals, beside trivial guesses.

In: distributions p (N, 21), labels y (N,), pair groups (N,). Out: a dict for the card:
{metric: {"value", "low", "high"}}, 95 % intervals from a bootstrap over pair groups (twins are not independent).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Interval = dict[str, float]

RESAMPLES = 1000


def metrics(p: Floats, y: Ints) -> dict[str, float]:
    """Point metrics of distributions.

    Args: p (N, K), rows sum to 1; y (N,), 0..K-1.
    Returns: accuracy, within_one, mae and rmse (items, of the most probable count), nll (nats), ece (15 equal bins of
        confidence; Guo et al. 2017).
    """
    guess = p.argmax(1)
    nll = -np.log(np.clip(p[np.arange(len(y)), y], 1e-12, None)).mean()
    return {**of_guesses(guess, y), "nll": float(nll), "ece": ece(p.max(1), guess == y)}


def of_guesses(guess: Ints, y: Ints) -> dict[str, float]:
    """The metrics that need a bare count only: guess (N,), y (N,)."""
    miss = np.abs(guess - y)
    return {
        "accuracy": float((miss == 0).mean()),
        "within_one": float((miss <= 1).mean()),
        "mae": float(miss.mean()),
        "rmse": float(np.sqrt((miss.astype(np.float64) ** 2).mean())),
    }


def ece(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal bins, weighted by their share."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)  # (N,)
    gaps = [abs(float((confidence[which == b] - right[which == b]).sum())) for b in range(bins)]
    return float(sum(gaps) / len(confidence))


def intervals(p: Floats, y: Ints, groups: Sequence[str], seed: int = 0) -> dict[str, Interval]:
    """`metrics` with 95 % percentile intervals: whole pair groups are drawn with replacement, 1000 times."""
    rng = np.random.default_rng(seed)
    _, group = np.unique(np.array(groups), return_inverse=True)  # (N,)
    rows = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
    draws = []
    for _ in range(RESAMPLES):
        take = np.concatenate([rows[g] for g in rng.integers(0, len(rows), len(rows))])
        draws.append(metrics(p[take], y[take]))
    return {
        name: {
            "value": round(value, 4),
            "low": round(float(np.percentile([d[name] for d in draws], 2.5)), 4),
            "high": round(float(np.percentile([d[name] for d in draws], 97.5)), 4),
        }
        for name, value in metrics(p, y).items()
    }


def restrict(p: Floats, top: int = 5) -> Floats:
    """The distribution given that there are at most `top` items: (N, 21) -> (N, top + 1), rows sum to 1."""
    few = p[:, : top + 1]
    normalised: Floats = few / few.sum(1, keepdims=True)
    return normalised


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """The temperature with the least negative log-likelihood: logits (N, 21), y (N,). Source: Guo et al. 2017."""
    log_t = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], lr=0.5, max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits.double() / log_t.exp(), y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(log_t.detach().exp())
