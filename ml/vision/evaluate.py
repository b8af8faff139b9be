"""Measures a count model: accuracy, error sizes, likelihood and calibration, with intervals, beside trivial guesses.

In: distributions p (N, 21), labels y (N,), pair groups (N,). Out: a dict for the card:
{metric: {"value", "low", "high"}}, 95 % intervals from a bootstrap over pair groups (twins are not independent).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

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
    Returns: accuracy, macro_f1, within_one, mae and rmse (items, of the most probable count), nll (nats), ece (15 equal
        bins of confidence; Guo et al. 2017), half_coverage (accuracy on the half of the pictures it is surest of).
    """
    guess = p.argmax(1)
    surest = at_coverage(p.max(1), guess == y, (0.5,))[0]
    return {
        **of_guesses(guess, y), "nll": float(surprisal(p, y).mean()), "ece": ece(p.max(1), guess == y), "half_coverage": surest
    }  # fmt: skip


def surprisal(p: Floats, y: Ints) -> Floats:
    """Negative log-likelihood of each label, nats: p (N, K), y (N,) -> (N,)."""
    found: Floats = -np.log(np.clip(p[np.arange(len(y)), y], 1e-12, None))
    return found


def of_guesses(guess: Ints, y: Ints) -> dict[str, float]:
    """The metrics that need a bare count only: guess (N,), y (N,)."""
    miss = np.abs(guess - y)
    return {
        "accuracy": float((miss == 0).mean()),
        "macro_f1": macro_f1(guess, y),
        "within_one": float((miss <= 1).mean()),
        "mae": float(miss.mean()),
        "rmse": float(np.sqrt((miss.astype(np.float64) ** 2).mean())),
    }


def macro_f1(guess: Ints, y: Ints) -> float:
    """Mean over the counts that occur, in truth or as a guess, of 2 TP / (2 TP + FP + FN)."""
    top = int(max(guess.max(), y.max())) + 1
    hits = np.bincount(y[guess == y], minlength=top)
    both = np.bincount(guess, minlength=top) + np.bincount(y, minlength=top)
    return float((2 * hits[both > 0] / both[both > 0]).mean())


def at_coverage(confidence: Floats, right: npt.NDArray[np.bool_], shares: Sequence[float]) -> list[float]:
    """Accuracy where only the surest share of the pictures is answered: confidence (N,), right (N,), shares in (0, 1]."""
    order = np.argsort(-confidence, kind="stable")
    running = right[order].cumsum() / np.arange(1, len(right) + 1)
    return [float(running[max(0, round(share * len(right)) - 1)]) for share in shares]


def ece(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal bins, weighted by their share."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)  # (N,)
    gaps = [abs(float((confidence[which == b] - right[which == b]).sum())) for b in range(bins)]
    return float(sum(gaps) / len(confidence))


def ece_if_honest(confidence: Floats, seed: int = 0) -> Interval:
    """The `ece` of a model that is right exactly as often as it says: above 0, for pictures are few. 1000 draws."""
    rng = np.random.default_rng(seed)
    draws = [ece(confidence, rng.random(len(confidence)) < confidence) for _ in range(RESAMPLES)]
    return interval(float(np.mean(draws)), draws)


def intervals(
    p: npt.NDArray[Any], y: Ints, groups: Sequence[str], seed: int = 0, *,
    of: Callable[[npt.NDArray[Any], Ints], dict[str, float]] = metrics,
) -> dict[str, Interval]:  # fmt: skip
    """Metrics with 95 % percentile intervals: whole pair groups are drawn with replacement, 1000 times.

    Args: p (N, K) or guesses (N,), whichever `of` takes; y (N,); groups (N,).
    """
    rng = np.random.default_rng(seed)
    draws = [of(p[take], y[take]) for take in resamples(groups, rng, RESAMPLES)]
    return {name: interval(value, [d[name] for d in draws]) for name, value in of(p, y).items()}


def resamples(groups: Sequence[str], rng: np.random.Generator, times: int) -> Iterator[Ints]:
    """Row numbers of bootstrap samples that keep or drop whole groups."""
    _, group = np.unique(np.array(groups), return_inverse=True)  # (N,)
    order = np.argsort(group, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    for _ in range(times):
        yield np.concatenate([rows[g] for g in rng.integers(0, len(rows), len(rows))])


def interval(value: float, draws: Sequence[float]) -> Interval:
    """A value with the 2.5 % and 97.5 % percentiles of its bootstrap draws."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


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
