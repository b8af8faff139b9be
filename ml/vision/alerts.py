"""The count model as a finder of wrong records: miscounts are put into true records, and the product's own law looks.

In: distributions, the class prior they are calibrated under, recorded quantities, pair groups. Out: recall by size of
the miscount at 1 % false alarms, and precision among the first 20, 50 and 100 alerts a thousand bins, with intervals.
The recorded quantity of the data set stands for the truth, so its own errors count as false alarms here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.variance import BinRecord, Look, MiscountPrior, judge
from ml.vision.evaluate import Floats, Interval, Ints, interval, resamples

RATE = 0.02
"""Share of bins that get a miscount."""
REACH = 5
"""The largest miscount that is put in."""
FALSE_ALARMS = 0.01
ALERTS = (20, 50, 100)
SIZES = ("1", "2", "3+")
ROUNDS = 200
"""Rounds of injection that are pooled: one alone holds some twenty miscounts."""


def suspicion(p: Floats, class_prior: Sequence[float], recorded: Ints) -> Floats:
    """P(record wrong) of each bin under each error of the record: p (N, 21), recorded (N,) -> (N, 2 REACH + 1).

    Column REACH is the true record; nan where the record would be below zero. One look a bin, `domain.variance.judge`.
    """
    prior, out = MiscountPrior(RATE), np.full((len(p), 2 * REACH + 1), np.nan)
    for i, row in enumerate(p):
        look = Look.of(1, "", CountDistribution.normalised(row.tolist()), class_prior)
        for error in range(-REACH, REACH + 1):
            if (units := int(recorded[i]) + error) >= 0:
                record = BinRecord(0, {"": units})
                out[i, REACH + error] = judge([look], record, prior, look_weight=1.0).probability
    return out


def alert_view(found: Floats, groups: Sequence[str], seed: int = 0) -> dict[str, Interval]:
    """Recall and precision, see the head of the file.

    Args:
        found: of `suspicion`.
        groups: pair group of each bin.
        seed: of the injections and of the bootstrap.
    Returns: recall_1, recall_2, recall_3+, precision_20, precision_50, precision_100.
    """
    rng = np.random.default_rng(seed)
    values = _pooled(found, rng, ROUNDS)
    draws = [_pooled(found[take], rng, ROUNDS // 10) for take in resamples(groups, rng, ROUNDS)]
    return {name: interval(value, [d[name] for d in draws]) for name, value in values.items()}


def _pooled(found: Floats, rng: np.random.Generator, rounds: int) -> dict[str, float]:
    caught, put_in, hits = np.zeros(len(SIZES)), np.zeros(len(SIZES)), dict.fromkeys(ALERTS, 0.0)
    limit = np.quantile(found[:, REACH], 1 - FALSE_ALARMS, method="higher")
    for scores, size in _injected(found, rng, rounds):
        for i in range(len(SIZES)):
            caught[i] += (scores[size == i + 1] > limit).sum()
            put_in[i] += (size == i + 1).sum()
        order = np.argsort(-scores, kind="stable")
        for n in ALERTS:
            hits[n] += (size[order[: max(1, round(n / 1000 * len(scores)))]] > 0).mean() / rounds
    recalls = {f"recall_{name}": float(c / max(1, n)) for name, c, n in zip(SIZES, caught, put_in, strict=True)}
    return recalls | {f"precision_{n}": float(share) for n, share in hits.items()}


def _injected(found: Floats, rng: np.random.Generator, rounds: int) -> Iterator[tuple[Floats, Ints]]:
    """Scores (N,) and sizes (N,) of some rounds: 0 for a true record, 1 and 2 for ±1 and ±2, 3 for ±3 to ±5.

    The three sizes are equally likely, and so are the signs, unless the record would fall below zero.
    """
    n = len(found)
    for _ in range(rounds):
        wrong = rng.choice(n, max(1, round(RATE * n)), replace=False)
        kind = rng.integers(1, len(SIZES) + 1, len(wrong))
        units = np.where(kind == len(SIZES), rng.integers(len(SIZES), REACH + 1, len(wrong)), kind)
        error = units * rng.choice((-1, 1), len(wrong))
        error = np.where(np.isnan(found[wrong, REACH + error]), -error, error)
        scores, size = found[:, REACH].copy(), np.zeros(n, np.int64)
        scores[wrong], size[wrong] = found[wrong, REACH + error], kind
        yield scores, size
