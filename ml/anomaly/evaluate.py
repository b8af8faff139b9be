"""Measures detectors of suspect records on warehouses they have never seen, with intervals.

In: replays of seeds that were not trained on; scorers. Out: for each a dict of figures {value, low, high} and curves for the report.
Every method's threshold is the one with the best F1 on the same calibration warehouses; the measured ones set nothing.

Run: inventorybot evaluate anomaly --out runs/anomaly-evaluation
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from ml.anomaly.alarms import Tally, alarms, daily_counts, episodes_of, tally, together
from ml.anomaly.baselines import Scorer
from ml.anomaly.faults import CAUSES, KINDS
from ml.anomaly.features import features, stacked
from ml.anomaly.simulate import Replay
from ml.anomaly.story import Matrix

Floats = npt.NDArray[np.float64]
Interval = dict[str, float]
Progress = Callable[[str], None]

RESAMPLES = 1000

FAULTS = len(KINDS)
"""Columns of a tally that recall is asked of: injected faults, not the odd miscount."""

STEPS = 70
"""Thresholds tried: quantiles of the scores, closer together towards the top."""

A_DAY = (0.2, 0.5, 1.0, 2.0)
"""Cycle counts a day for a thousand slots."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One method on one set of replays.

    Args:
        threshold: the one it was measured at.
        figures: metric to {value, low, high}; 95 % intervals from a bootstrap over families of a site.
        by_cause: cause to {episodes, found, recall, all, recall_all, days, units}.
        curve: precision, recall and threshold, one a step.
        tally: behind the figures.
        scores: (S, D) of each replay, for stories.
    """

    threshold: float
    figures: dict[str, Interval]
    by_cause: dict[str, dict[str, float]]
    curve: dict[str, list[float]]
    tally: Tally
    scores: list[Matrix] = field(repr=False, default_factory=list)


def scored(
    scorers: dict[str, Scorer], replays: list[Replay], say: Progress = lambda _: None
) -> dict[str, list[Matrix]]:
    """(S, D) scores of every method on every replay; features are made once a replay."""
    out: dict[str, list[Matrix]] = {name: [] for name in scorers}
    for number, played in enumerate(replays):
        x = stacked(features(played.story))
        for name, scorer in scorers.items():
            say(f"{name} on warehouse {number + 1} of {len(replays)}")
            scores = np.full(x.shape[:2], -np.inf)
            every = getattr(scorer, "every", 1)
            asked = x[:, played.warm :: every]
            found = scorer.score(asked.reshape(-1, x.shape[2])).reshape(asked.shape[:2])
            scores[:, played.warm :] = np.repeat(found, every, axis=1)[:, : x.shape[1] - played.warm]
            out[name].append(scores)
    return out


def steps(scores: list[Matrix], replays: list[Replay]) -> Floats:
    """Thresholds to try, ascending: from the top tenth down to the top ten-thousandth of the scores."""
    values = np.concatenate([s[:, r.warm :: 7].ravel() for s, r in zip(scores, replays, strict=True)])
    return np.unique(np.quantile(values, 1 - np.geomspace(0.1, 1e-4, STEPS)))


def rates(t: Tally) -> tuple[float, float, float]:
    """(precision, recall, F1) of a tally; precision without any alarm is 1."""
    return _rates(t.right.sum(), t.wrong.sum(), t.found[:, :FAULTS].sum(), t.episodes[:, :FAULTS].sum())


def _rates(right: float, wrong: float, found: float, episodes: float) -> tuple[float, float, float]:
    precision = right / (right + wrong) if right + wrong else 1.0
    recall = found / episodes if episodes else 0.0
    return (
        float(precision),
        float(recall),
        float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0,
    )


def curve(scores: list[Matrix], replays: list[Replay]) -> dict[str, list[float]]:
    """Precision, recall and F1 at every threshold of `steps`."""
    known = [episodes_of(r) for r in replays]
    out: dict[str, list[float]] = {"threshold": [], "precision": [], "recall": [], "f1": []}
    for at in steps(scores, replays):
        t = together([tally(alarms(s >= at, r.warm), r, k) for s, r, k in zip(scores, replays, known, strict=True)])
        for name, value in zip(out, (float(at), *rates(t)), strict=True):
            out[name].append(value)
    return out


def best_threshold(scores: list[Matrix], replays: list[Replay]) -> float:
    """The threshold with the greatest F1; of equals the highest."""
    found = curve(scores, replays)
    best = max(range(len(found["f1"])), key=lambda i: (found["f1"][i], found["threshold"][i]))
    return found["threshold"][best]


def measure(scores: list[Matrix], replays: list[Replay], threshold: float, seed: int = 0) -> Measured:
    """Every figure of one method at one threshold."""
    t = together([tally(alarms(s >= threshold, r.warm), r) for s, r in zip(scores, replays, strict=True)])
    figures = intervals(t, seed) | _ranking(scores, replays, seed)
    for a_day in A_DAY:
        right, total = np.sum(
            [
                daily_counts(s, r, max(1, round(a_day * r.story.slots / 1000)))
                for s, r in zip(scores, replays, strict=True)
            ],
            axis=0,
        )
        figures[f"precision_at_{a_day:g}"] = _plain(right / max(1, total))
    figures["recall_of_all"] = _plain(float(t.found_all[:, :FAULTS].sum() / max(1, t.all[:, :FAULTS].sum())))
    figures["false_alarms_a_slot_year"] = _plain(float(t.wrong.sum()) / t.slot_years)
    for name, values in (("days", t.delays), ("units", t.units)):
        figures[f"median_{name}_to_detection"] = _median(values, seed)
    return Measured(threshold, figures, _by_cause(t), curve(scores, replays), t, scores)


def _plain(value: float) -> Interval:
    return {"value": float(value), "low": float("nan"), "high": float("nan")}


def _interval(value: float, draws: Floats) -> Interval:
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _median(values: npt.NDArray[Any], seed: int) -> Interval:
    if not len(values):
        return _plain(float("nan"))
    rng = np.random.default_rng(seed)
    draws = np.median(rng.choice(values, (RESAMPLES, len(values))), axis=1)
    return _interval(float(np.median(values)), draws)


def intervals(t: Tally, seed: int = 0) -> dict[str, Interval]:
    """Precision, recall and F1, each {value, low, high}: whole families of a site are drawn with replacement, 1000 times."""
    rng = np.random.default_rng(seed)
    columns = np.stack([t.right, t.wrong, t.found[:, :FAULTS].sum(1), t.episodes[:, :FAULTS].sum(1)], 1)  # (C, 4)
    kept = columns[columns.any(1)]  # clusters without alarm or episode change no draw's sums
    drawn = rng.multinomial(len(columns), np.full(len(columns), 1 / len(columns)), RESAMPLES)[:, : len(kept)]
    draws = np.array([_rates(*(row @ kept)) for row in drawn])
    return {
        name: _interval(value, draws[:, i])
        for i, (name, value) in enumerate(zip(("precision", "recall", "f1"), rates(t), strict=True))
    }


def _ranking(scores: list[Matrix], replays: list[Replay], seed: int) -> dict[str, Interval]:
    """AUC-ROC and average precision over slot-weeks; weeks with an error too small to matter are left out."""
    parts: list[tuple[Any, ...]] = []
    for s, r in zip(scores, replays, strict=True):
        size = np.abs(r.truth.error[:, r.warm :: 7])
        wrong, right = size >= r.truth.material[:, None], size < 1
        parts.append((s[:, r.warm :: 7], wrong, wrong | right))
    rng, draws = np.random.default_rng(seed), []
    value = _auc_ap([p[0] for p in parts], [p[1] for p in parts], [p[2] for p in parts])
    for _ in range(20):  # whole slots are drawn; 20 draws, as one takes a second on 10,000 slots
        drawn = [[m[rows] for m in p] for p in parts for rows in [rng.integers(0, len(p[0]), len(p[0]))]]
        draws.append(_auc_ap([d[0] for d in drawn], [d[1] for d in drawn], [d[2] for d in drawn]))
    spread = np.std(np.array(draws), axis=0)
    return {
        name: {"value": v, "low": v - 1.96 * float(d), "high": min(1.0, v + 1.96 * float(d))}
        for name, v, d in zip(("auc_roc", "average_precision"), value, spread, strict=True)
    }


def _auc_ap(scores: list[Matrix], wrong: list[Any], used: list[Any]) -> tuple[float, float]:
    y = np.concatenate([w[u] for w, u in zip(wrong, used, strict=True)])
    s = np.concatenate([x[u] for x, u in zip(scores, used, strict=True)])
    if not y.any() or y.all():
        return float("nan"), float("nan")
    return float(roc_auc_score(y, s)), float(average_precision_score(y, s))


def _by_cause(t: Tally) -> dict[str, dict[str, float]]:
    out = {}
    for i, cause in enumerate(CAUSES):
        mine, asked, found = t.causes == i, int(t.episodes[:, i].sum()), int(t.found[:, i].sum())
        every, found_all = int(t.all[:, i].sum()), int(t.found_all[:, i].sum())
        out[cause] = {
            "episodes": asked, "found": found, "recall": found / asked if asked else float("nan"),
            "all": every, "recall_all": found_all / every if every else float("nan"),
            "days": float(np.median(t.delays[mine])) if mine.any() else float("nan"),
            "units": float(np.median(t.units[mine])) if mine.any() else float("nan"),
        }  # fmt: skip
    return out
