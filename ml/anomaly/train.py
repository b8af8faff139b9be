"""Trains the detector on simulated warehouses, and trains it on with what cycle counts really found.

In: seeds (and, if given, real sales); or a story with cycle counts in it. Out: a `Detector`.
In a simulation every day's truth is known, and the detector is trained on it before any real count. In the ledger a label exists only
where somebody counted; `outcomes` finds them, `retrain` learns from them and refuses to get worse.

Run: inventorybot train anomaly --out runs/anomaly [--sales SALES.parquet]
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd

import inventorybot
from inventorybot.errors import SetupError
from ml.anomaly import demand as demands
from ml.anomaly.evaluate import curve, measure, scored
from ml.anomaly.faults import Mix
from ml.anomaly.features import NAMES, features, stacked
from ml.anomaly.model import Detector, calibrate, scale
from ml.anomaly.simulate import WARM, Replay, World, replay
from ml.anomaly.story import Story

Rows = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Slots = npt.NDArray[np.int64]

AIM = 0.85
"""Precision that the threshold is set for on the calibration warehouses: some of it is lost on others."""

LIMITS = [
    "Pre-trained on simulated warehouses: until counts of the business itself have taught it, its probabilities are those of the simulation.",
    "A record that is wrong while its stock never runs out, and whose receipts look as always, shows nothing: about four in ten are not found.",
    "Slow movers (less than one sale in five days) need months of silence before silence says anything.",
    "Stock that the record does not know (too few on record) shows only once more is sold than the record had.",
]

FEWEST = 30
"""Wrong records among the outcomes below which `retrain` only calibrates: fewer would teach trees one accident."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides the detector, besides real sales; kept on its card."""

    seed: int = 1000
    replays: int = 32  # warehouses to learn from, each of its own seed, pace and habits
    checks: int = 4  # warehouses to calibrate and set the threshold on, with rare faults as in life
    series: int = 2000
    days: int = 365
    often: float = 5.0  # faults are this much more frequent than in life where we learn, so that there are examples
    kept: float = 0.015  # share of slot-days without a fault that are learnt from, weighted up again
    kept_wrong: float = 0.12
    rounds: int = 300
    leaves: int = 24
    rate: float = 0.05
    least: int = 60  # rows in a leaf

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of all replays that were learnt from or calibrated on; nothing may be measured on them."""
        return tuple(range(self.seed, self.seed + self.replays + self.checks))


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows to learn from: x (N, F), wrong (N,), units (N,) signed recorded − true (NaN: nobody knows), weight (N,)."""

    x: Rows
    wrong: Flags
    units: Vector
    weight: Vector = field(default_factory=lambda: np.ones(0))

    def __len__(self) -> int:
        return len(self.wrong)

    def at(self, rows: npt.NDArray[np.int64]) -> Examples:
        """Some of them."""
        return Examples(self.x[rows], self.wrong[rows], self.units[rows], self.weight[rows])


def worlds(config: TrainConfig, number: int) -> tuple[World, float]:
    """(how the warehouse is run, pace of its demand) of a training replay: no two habits alike, so that none is learnt."""
    rng = np.random.default_rng([config.seed, number])
    world = World(
        Mix().times(config.often), counts_a_year=float(rng.choice([1, 2, 3, 6])), slips_a_year=float(rng.choice([0.2, 0.4, 0.8])),
        lulls=float(rng.choice([0.7, 1, 1.5])),
    )  # fmt: skip
    return world, float([1, 1, 3, 10][number % 4])


def play(
    seed: int, series: int, days: int, world: World, *, pace: float = 1.0, sales: pd.DataFrame | None = None
) -> Replay:
    """One warehouse of a seed: demand made, or drawn from real sales, and replayed after `WARM` days of history."""
    rng = np.random.default_rng(seed)
    if sales is not None:
        demand = demands.from_sales(sales, series, days + WARM, rng)
    else:
        demand = demands.made(series, days + WARM, rng, lulls=world.lulls, pace=pace)
    return replay(demand, world, rng)


def examples(played: Replay, kept: float, kept_wrong: float, rng: np.random.Generator) -> Examples:
    """A draw of slot-days of a simulated warehouse, with their truth.

    Args: kept, kept_wrong: share of days with a right and with a materially wrong record that are drawn; weights undo it.
    """
    error = played.story.recorded - played.truth.on_hand  # of whatever cause: a count does not ask
    wrong = np.abs(error) >= played.truth.material[:, None]
    chance = np.where(wrong, kept_wrong, kept)
    chosen = rng.random(wrong.shape) < chance
    chosen[:, : played.warm] = False
    x = stacked(features(played.story))[chosen]
    return Examples(x, wrong[chosen], error[chosen], 1 / chance[chosen])


def joined(parts: list[Examples]) -> Examples:
    """Several draws as one."""
    return Examples(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "wrong", "units", "weight")))


def fit(found: Examples, config: TrainConfig, base: Detector | None = None, rounds: int = 0) -> Detector:
    """Boosts trees on examples, from the start or on top of a detector; uncalibrated."""
    common = {
        "learning_rate": config.rate, "num_leaves": config.leaves, "min_data_in_leaf": config.least, "verbosity": -1, "seed": config.seed,
        "feature_fraction": 0.6, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 5.0, "deterministic": True,
        "force_row_wise": True, "max_bin": 127,
    }  # fmt: skip
    n = rounds or config.rounds
    suspect = lgb.train(
        common | {"objective": "binary"},
        lgb.Dataset(found.x, found.wrong.astype(np.float64), weight=found.weight, feature_name=list(NAMES), free_raw_data=False),
        n, init_model=base.suspect if base else None,
    )  # fmt: skip
    bad = np.flatnonzero(found.wrong & np.isfinite(found.units))
    share = found.units[bad] / scale(found.x[bad])
    units = lgb.train(
        common | {"objective": "l1", "min_data_in_leaf": min(config.least, max(5, len(bad) // 20))},
        lgb.Dataset(found.x[bad], share, feature_name=list(NAMES), free_raw_data=False),
        max(20, n // 2), init_model=base.units if base else None,
    )  # fmt: skip
    return Detector(suspect, units)


def train(
    config: TrainConfig, sales: pd.DataFrame | None = None, say: Callable[[str], None] = lambda _: None
) -> tuple[Detector, list[Replay]]:
    """Learns from simulated warehouses and calibrates on others.

    Args:
        sales: real sales (demand.from_sales); every second warehouse is then fed with them. None: all demand is made.
        say: takes a line of progress.
    Returns: the detector (threshold not yet set), and the warehouses it was calibrated on.
    """
    parts = []
    for number in range(config.replays):
        world, pace = worlds(config, number)
        real = sales if number % 2 else None
        played = play(config.seed + number, config.series, config.days, world, pace=pace, sales=real)
        parts.append(examples(played, config.kept, config.kept_wrong, np.random.default_rng([config.seed, number, 1])))
        say(f"warehouse {number + 1} of {config.replays}: {parts[-1].wrong.sum()} wrong of {len(parts[-1])} examples")
    found = joined(parts)
    detector = fit(found, config)
    say(f"{config.rounds} trees on {len(found)} examples")
    return settle(detector, config, sales, say)


def settle(
    detector: Detector,
    config: TrainConfig,
    sales: pd.DataFrame | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Detector, list[Replay]]:
    """Calibrates a detector, whatever its trees were trained on, on warehouses with faults as rare as in life.

    Args: sales: real sales, which these warehouses then sell; None: demand is made, at two paces.
    Returns: the detector (threshold not yet set), and the warehouses.
    """
    first, checks = config.seed + config.replays, []
    for n in range(config.checks):
        checks.append(play(first + n, config.series, config.days, World(), pace=(1.0, 10.0)[n % 2], sales=sales))
        say(f"calibration warehouse {n + 1} of {config.checks}")
    held = joined([examples(c, 0.1, 1.0, np.random.default_rng([config.seed, n, 2])) for n, c in enumerate(checks)])
    say("calibrating")
    slope, shift = calibrate(detector.raw(held.x), held.wrong, held.weight)
    seeds = sorted({*detector.card.get("seeds", ()), *config.seeds})
    card: dict[str, Any] = {"config": asdict(config), "seeds": seeds, "own_sales": sales is not None}
    return replace(detector, slope=slope, shift=shift, card=card), checks


def release(detector: Detector, checks: list[Replay], out: Path, *, version: str, created: datetime) -> dict[str, Any]:
    """Sets the threshold on the calibration warehouses and writes the release; returns its card.

    The threshold is the lowest with a precision of `AIM` there (the best F1 where none has it). Held-out figure: average precision over
    slot-weeks of the calibration warehouses, which no tree has seen.
    """
    scores = scored({"detector": detector}, checks)["detector"]
    found = curve(scores, checks)
    good = [i for i, p in enumerate(found["precision"]) if p >= AIM]
    best = max(good or range(len(found["f1"])), key=lambda i: found["recall" if good else "f1"][i])
    threshold = found["threshold"][best]
    figures = measure(scores, checks, threshold).figures
    card = detector.card | {
        "name": "suspect", "version": version, "created": created.isoformat(timespec="seconds"), "code_version": inventorybot.__version__,
        "task": "probability that the record of a slot is materially wrong, and by how many units, from the ledger's daily story",
        "limits": LIMITS,
        "metrics": {name: round(it["value"], 4) for name, it in figures.items() if math.isfinite(it["value"])},
        "held_out": {"metric": "average precision", "value": round(figures["average_precision"]["value"], 4), "better": "higher"},
    }  # fmt: skip
    return replace(detector, threshold=threshold, card=card).save(out)


def labelled(story: Story, warm: int = WARM, closed: pd.DataFrame | None = None) -> tuple[Slots, Slots, Flags, Vector]:
    """What cycle counts found, and people who closed a suspect record: (slot, day, wrong, units), (N,) each, in order of days.

    A count tells of the evening before it; units are the error that it corrected. Material, as everywhere: two units, or the sales
    expected on an average day where that is more.

    Args:
        warm: days at first of which nothing is taken.
        closed: site, sku, day, ended, wrong: suspect records that people closed, with the days of their raising and closing. Taken
            where no count in between tells more; their units are NaN.
    """
    day, slot = np.nonzero(np.isfinite(story.counted).T)  # by day, so that the newest come last
    late = day >= max(1, warm)
    slot, day = slot[late], day[late]
    error = -story.adjusted[slot, day]  # the record was too high where the correction is negative
    wrong = np.abs(error) >= np.maximum(2.0, story.expected.mean(1)[slot])
    if closed is None or closed.empty:
        return slot, day, wrong, error
    row = {name: i for i, name in enumerate(zip(story.site.tolist(), story.sku.tolist(), strict=True))}
    told = [
        (row[site, sku], (when - story.first_day).days, (ended - story.first_day).days, bool(yes))
        for site, sku, when, ended, yes in closed[["site", "sku", "day", "ended", "wrong"]].itertuples(index=False)
        if (site, sku) in row
    ]
    told = [
        t
        for t in told
        if max(1, warm) <= t[1] < story.days and not np.isfinite(story.counted[t[0], t[1] : t[2] + 1]).any()
    ]
    slot, day = np.r_[slot, [t[0] for t in told]], np.r_[day, [t[1] for t in told]]
    wrong, error = np.r_[wrong, [t[3] for t in told]], np.r_[error, np.full(len(told), np.nan)]
    order = np.argsort(day, kind="stable")
    return slot[order].astype(np.int64), day[order].astype(np.int64), wrong[order].astype(bool), error[order]


def outcomes(story: Story, warm: int = WARM) -> Examples:
    """`labelled` cycle counts, with the features of the evening before each."""
    slot, day, wrong, units = labelled(story, warm)
    return Examples(stacked(features(story))[slot, day - 1], wrong, units, np.ones(len(slot)))


def _hash(found: Examples) -> str:
    """SHA-256 of rows and what was found: whether two figures are of the same data."""
    return hashlib.sha256(found.x.tobytes() + found.wrong.tobytes()).hexdigest()


def log_loss(p: Vector, wrong: Flags) -> float:
    """Mean negative log-likelihood of what was found, nats."""
    sure = np.clip(np.where(wrong, p, 1 - p), 1e-9, 1)
    return float(-np.log(sure).mean())


COUNTS = 40
"""Outcomes that it takes to learn from."""

HELD_WRONG = 5
"""Wrong records among the outcomes held back that it takes to say which of two detectors is better."""


def retrain(
    detector: Detector, found: Examples, rounds: int = 60, config: TrainConfig | None = None
) -> tuple[Detector, str]:
    """Learns on from confirmed outcomes of cycle counts; keeps the old detector where the new one is no better.

    The newest quarter of the outcomes is held back to compare. With fewer than `FEWEST` wrong records only the calibration is fitted anew.

    Args: found: outcomes in order of time (`outcomes`); rounds: trees to add.
    Returns: the detector to use from now on, and the sentence that says why.
    Raises: SetupError: fewer than COUNTS outcomes, or fewer than HELD_WRONG wrong records among those held back.
    """
    if len(found) < COUNTS:
        raise SetupError(f"{len(found)} cycle counts are too few to learn from: {COUNTS} are needed")
    config = config or TrainConfig()
    old, new = found.at(np.arange(0, len(found) * 3 // 4)), found.at(np.arange(len(found) * 3 // 4, len(found)))
    if new.wrong.sum() < HELD_WRONG:
        raise SetupError(
            f"of the newest {len(new)} cycle counts, which are held back to compare, {int(new.wrong.sum())} found a wrong record: "
            f"{HELD_WRONG} are needed to say which detector is better"
        )
    grown = detector
    if old.wrong.sum() >= FEWEST:
        fold = np.arange(len(old)) % 3
        held = [
            fit(old.at(np.flatnonzero(fold != k)), replace(config, least=15, rate=0.03), detector, rounds)
            for k in range(3)
        ]
        raw = np.empty(len(old))
        for k in range(3):
            raw[fold == k] = held[k].raw(old.x[fold == k])
        slope, shift = calibrate(raw, old.wrong)
        grown = replace(
            fit(old, replace(config, least=15, rate=0.03), detector, rounds), slope=slope, shift=shift, threshold=detector.threshold,
            card=detector.card,
        )  # fmt: skip
    else:
        slope, shift = calibrate(detector.raw(old.x), old.wrong)
        grown = replace(detector, slope=slope, shift=shift)
    before, after = (log_loss(d.score(new.x), new.wrong) for d in (detector, grown))
    verdict = (
        f"log loss on the newest {len(new)} counts ({int(new.wrong.sum())} wrong): {after:.4f}, before {before:.4f}"
    )
    if after >= before:
        return detector, f"kept the detector in service: {verdict}"
    card = grown.card | {
        "retrained": {
            "outcomes": len(found),
            "wrong": int(found.wrong.sum()),
            "after": after,
            "before": before,
            "data": _hash(new),
        }
    }
    return replace(grown, card=card), f"retrained: {verdict}"
