"""The whole evaluation: which warehouses, which methods, which settings.

In: a detector, sizes, a seed, perhaps real sales. Out: setting to method to `Measured`; the first setting has all methods.
Thresholds come from calibration warehouses made of the detector's own training seeds; what is measured is of other seeds, or refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from inventorybot.errors import SetupError
from ml.anomaly.baselines import Ecod, Forest, Scorer, ZeroStreak
from ml.anomaly.daily import known_to_lake
from ml.anomaly.evaluate import Measured, best_threshold, measure, scored
from ml.anomaly.faults import Mix
from ml.anomaly.features import features, stacked
from ml.anomaly.model import Detector
from ml.anomaly.simulate import Replay, World
from ml.anomaly.train import play

Say = Callable[[str], None]

HARDER = {
    "Slow movers: the median slot sells one in two days": World(),
    "Counted once a year, not three times": World(counts_a_year=1.0),
    "Faults a third as frequent": World(mix=Mix().times(1 / 3)),
    "Honest lulls twice as frequent": World(lulls=2.0),
}
"""Settings that ask more than the usual one; the detector keeps its threshold."""

PACES = (1.0, 3.0, 10.0)
"""Of the warehouses in turn, where demand is made: the median slot sells one unit in two days, three in two, five a day."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What to measure on.

    Args:
        series, days, replays: slots and days of each warehouse, and how many warehouses.
        seed: of the first; the others follow.
        harder: whether the harder settings are measured too.
        from_daily: expectations and families as the job on the lake has them, not as the simulated business has.
    """

    series: int = 2000
    days: int = 365
    replays: int = 3
    seed: int = 77_000
    harder: bool = True
    from_daily: bool = False


def run(
    detector: Detector, trial: Trial, sales: pd.DataFrame | None = None, say: Say = lambda _: None
) -> tuple[dict[str, dict[str, Measured]], list[Replay]]:
    """Measures the detector beside the simpler methods. Returns: the figures, and the replays of the first setting.

    Raises: SetupError: a seed was trained on; a warehouse too small for any fault; sales that do not fit.
    """
    seeds = {s + later for s in range(trial.seed, trial.seed + trial.replays) for later in (0, 500)}
    if used := sorted(seeds & set(detector.card.get("seeds", ()))):
        raise SetupError(f"seed {used[0]} was trained on: choose another --seed")
    checks = [
        play(s, min(1500, trial.series), min(365, trial.days), World(), pace=(1.0, 10.0)[n])
        for n, s in enumerate(detector.card.get("seeds", [1, 2])[-2:])
    ]
    checks = [_seen(trial, check) for check in checks]
    say("calibration warehouses replayed")
    scorers = methods(detector, checks[0], trial.seed)
    known = scored({n: s for n, s in scorers.items() if n != "detector"}, checks, say)
    thresholds = {"detector": detector.threshold} | {n: best_threshold(s, checks) for n, s in known.items()}
    replays = _warehouses(trial, trial.seed, World(), PACES, sales)
    if not any(len(r.truth.episodes()) for r in replays):
        raise SetupError(f"{trial.series} series and {trial.days} days hold no fault at all: ask for more of either")
    settings = {"As in life" if sales is None else "On the sales given": _measured(scorers, thresholds, replays, say)}
    for name, world in (HARDER if trial.harder else {}).items():
        say(name)
        slow = name.startswith("Slow")
        if slow and sales is not None:
            continue  # real sales have the pace they have
        played = _warehouses(trial, trial.seed + 500, world, PACES[:1] if slow else PACES, sales)
        few = {n: scorers[n] for n in ("detector", "zero streak")}
        settings[name] = {n: replace(m, scores=[]) for n, m in _measured(few, thresholds, played, say).items()}
    return settings, replays


def _warehouses(
    trial: Trial, seed: int, world: World, paces: tuple[float, ...], sales: pd.DataFrame | None
) -> list[Replay]:
    return [
        _seen(trial, play(seed + n, trial.series, trial.days, world, pace=paces[n % len(paces)], sales=sales))
        for n in range(trial.replays)
    ]


def _seen(trial: Trial, played: Replay) -> Replay:
    return replace(played, story=known_to_lake(played.story)) if trial.from_daily else played


def methods(detector: Detector, ordinary: Replay, seed: int) -> dict[str, Scorer]:
    """The detector and what it is measured beside; the outlier detectors learn what is ordinary from one warehouse."""
    x = stacked(features(ordinary.story))[:, ordinary.warm :: 7].reshape(-1, len(detector.suspect.feature_name()))
    rows = x[np.random.default_rng(seed).permutation(len(x))[:20_000]]
    return {
        "detector": detector,
        "zero streak": ZeroStreak(),
        "isolation forest": Forest(rows, seed),
        "ECOD": Ecod(rows),
    }


def _measured(
    scorers: dict[str, Scorer], thresholds: dict[str, float], replays: list[Replay], say: Say
) -> dict[str, Measured]:
    scores = scored(scorers, replays, say)
    return {name: measure(scores[name], replays, thresholds[name]) for name in scorers}
