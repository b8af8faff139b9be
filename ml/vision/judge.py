"""Judges a release of the count model on labelled bins: `inventorybot evaluate count`.

In: a loaded release and bins in the ABID layout. Out: one dict of metrics with intervals, beside baselines that need no
picture; the alert view; curves; the bins whose pictures contradict their records most. `report.py` draws it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from inventorybot.adapters.count_model import CountModel
from inventorybot.domain.counting import MAX_COUNT, CountDistribution
from inventorybot.errors import SetupError
from ml.vision import conformal
from ml.vision.alerts import REACH, alert_view, suspicion
from ml.vision.data import Bin
from ml.vision.evaluate import Floats, Ints, at_coverage, ece_if_honest, intervals, of_guesses, restrict

FEW = 5
"""Others report on bins of 0 to 5 items."""
CHUNK = 128
SHARES = tuple(round(s, 2) for s in np.arange(0.05, 1.001, 0.05))
SURPRISING = 12


def scored(model: CountModel, bins: Sequence[Bin], advance: Callable[[int], None]) -> tuple[list[Bin], Floats]:
    """The bins whose pictures could be counted, and their distributions (N, 21). Raises: SetupError: none could be."""
    kept: list[Bin] = []
    rows: list[tuple[float, ...]] = []
    for part in (bins[i : i + CHUNK] for i in range(0, len(bins), CHUNK)):
        for it, answer in zip(part, model.score([b.jpeg() for b in part]), strict=True):
            if isinstance(answer, CountDistribution):
                kept.append(it)
                rows.append(answer.p)
        advance(len(part))
    if not kept:
        raise SetupError("none of these bins has a picture that can be counted: look at them with `inventorybot count`")
    return kept, np.array(rows)


def judged(model: CountModel, bins: Sequence[Bin], p: Floats, train: Iterable[Bin], seed: int = 0) -> dict[str, Any]:
    """Everything that is known about a release from some bins.

    Args:
        bins: (N,) labelled.
        p: (N, 21) of `scored`.
        train: bins to take the largest class from; where there are none, the card's class prior says it.
        seed: of bootstrap and injections.
    """
    y, groups = np.array([b.label for b in bins]), [b.pair_group for b in bins]
    few = np.flatnonzero(y <= FEW)
    labels = [b.label for b in train]
    views = {"all counts": (np.arange(len(y)), p)}
    if len(few):
        views["0-5 items"] = (few, p[few])
        views["0-5 items, told at most 5"] = (few, restrict(p[few], FEW))
    recorded = np.array([b.quantity for b in bins])
    suspects = suspicion(p, model.class_prior, recorded)
    return {
        "model": f"{model.name}-{model.version}",
        "pictures": len(y),
        "metrics": {
            name: intervals(q, y[rows], [groups[i] for i in rows], seed)
            | {"ece_if_honest": ece_if_honest(q.max(1), seed)}
            for name, (rows, q) in views.items()
        },
        "baselines": _baselines(bins, y, groups, few, labels, model.class_prior, seed),
        "alerts": alert_view(suspects, groups, seed),
        "sets": {c: conformal.measured(p, y, t) for c, t in model.card.conformal.items()},
        "confusion": confusion(p.argmax(1), y).tolist(),
        "reliability": {name: reliability(q, y[rows]) for name, (rows, q) in views.items()},
        "coverage": {name: at_coverage(q.max(1), q.argmax(1) == y[rows], SHARES) for name, (rows, q) in views.items()},
        "surprising": _surprising(bins, p, suspects[:, REACH]),
    }


def confusion(guess: Ints, y: Ints) -> Ints:
    """(21, 21): bins that hold i items and are counted as j."""
    return np.bincount(y * (MAX_COUNT + 1) + guess, minlength=(MAX_COUNT + 1) ** 2).reshape(MAX_COUNT + 1, -1)


def reliability(p: Floats, y: Ints, bins: int = 10) -> list[dict[str, float]]:
    """For each tenth of confidence that occurs: mean confidence, accuracy, pictures."""
    confidence, right = p.max(1), p.argmax(1) == y
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {"confidence": float(confidence[which == b].mean()), "accuracy": float(right[which == b].mean()), "n": int((which == b).sum())}
        for b in range(bins) if (which == b).any()
    ]  # fmt: skip


def _baselines(
    bins: Sequence[Bin],
    y: Ints,
    groups: Sequence[str],
    few: Ints,
    labels: Sequence[int],
    prior: Sequence[float],
    seed: int,
) -> dict[str, Any]:
    """What needs no picture: always the largest class; the number of distinct ASINs on the record."""
    asins = np.array([min(b.asins, MAX_COUNT) for b in bins])
    found = {}
    for name, rows, top in (("all counts", np.arange(len(y)), MAX_COUNT), ("0-5 items", few, FEW)):
        if not len(rows):
            continue
        n = Counter(label for label in labels if label <= top)
        largest = n.most_common(1)[0][0] if n else int(np.argmax(prior[: top + 1]))
        part = [groups[i] for i in rows]
        for guess_name, guess in (("largest class", np.full(len(rows), largest)), ("distinct ASINs", asins[rows])):
            found[f"{name}: {guess_name}"] = intervals(guess, y[rows], part, seed, of=of_guesses)
    return found


def _surprising(bins: Sequence[Bin], p: Floats, suspects: Floats) -> list[dict[str, Any]]:
    """The bins whose records the pictures contradict most: bad records, or bad counts; a person can tell."""
    order = np.argsort(-suspects, kind="stable")[:SURPRISING]
    return [
        {"id": bins[i].id, "recorded": bins[i].quantity, "counted": int(p[i].argmax()), "confidence": float(p[i].max()),
         "suspicion": float(suspects[i]), "p": [round(float(x), 4) for x in p[i]]}
        for i in order
    ]  # fmt: skip
