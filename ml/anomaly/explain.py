"""Why a record is suspect, in words: which features, which days, how many units, and what it would take to be sure.

In: a detector and a story. Out: `Suspect`s, most suspect first. Contributions are TreeSHAP's: with the base they add up to the log-odds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from ml.anomaly.absurd import Doubt, absurd
from ml.anomaly.features import NAMES, TEXT, features, stacked
from ml.anomaly.model import Detector
from ml.anomaly.story import Story

Ints = npt.NDArray[np.int64]

REASONS = 5
DAYS = 6
"""Features and days that a person is told; more are not read."""

LONGEST = 1000
"""Characters of `Suspect.told`: what an anomaly's `why` may have."""

LOOK_BACK = 91
"""Days in which the days that mattered are looked for."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One feature: its value, what it says, and the log-odds it added."""

    feature: str
    text: str
    value: float
    added: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A day that mattered: what the ledger booked, and by how much the log-odds rose that day."""

    day: date
    what: str
    rise: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """A record that is probably wrong on a day.

    Args:
        probability: that it is materially wrong, calibrated.
        units: estimated units on the record too many (too few: negative).
        doubts: why what the model or the forecast says of the slot cannot be true; not empty: look at the model first.
    """

    site: str
    sku: str
    day: date
    probability: float
    recorded: float
    units: float
    reasons: tuple[Reason, ...]
    turns: tuple[Turn, ...]
    doubts: tuple[Doubt, ...] = ()

    @property
    def on_hand(self) -> float:
        """Estimated units really there, ≥ 0."""
        return max(0.0, self.recorded - self.units)

    def sentence(self) -> str:
        """One line for a list of suspects."""
        side = "more" if self.units >= 0 else "fewer"
        return (
            f"{self.site}/{self.sku}: {self.probability:.0%} that the record of {self.recorded:g} is wrong, by about {abs(self.units):.0f} "
            f"{side} than are there; {self.reasons[0].text if self.reasons else 'no single reason stands out'}"
        )

    def told(self) -> str:
        """All of it in at most LONGEST characters: by how much, which features, which days."""
        side = "more" if self.units >= 0 else "fewer"
        parts = [
            f"{self.probability:.0%} that the record of {self.recorded:g} is wrong, by about {abs(self.units):.0f} {side} than are there."
        ]
        reasons = "; ".join(f"{r.text}: {r.value:.3g}" for r in self.reasons)
        parts += [f"Why: {reasons}."] if reasons else []
        parts += [f"{t.day}: {t.what}." for t in self.turns]
        text = " ".join(parts)
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def suspects(detector: Detector, story: Story, column: int | None = None, top: int | None = None) -> list[Suspect]:
    """The suspect records of a day, most suspect first.

    Args:
        column: the day; None: the last.
        top: at most so many, whatever their probability; None: all from the detector's threshold on.
    """
    at = story.days - 1 if column is None else column
    known = story.until(at)
    x = stacked(features(known))
    p = detector.score(x[:, at])
    order = np.argsort(-p, kind="stable")
    chosen = order[:top] if top is not None else order[p[order] >= detector.threshold]
    return list(explained(detector, known, x, chosen.astype(np.int64), p, at))


def explained(
    detector: Detector, story: Story, x: npt.NDArray[np.float32], slots: Ints, p: npt.NDArray[np.float64], at: int
) -> Iterator[Suspect]:
    """Some slots on a day, in words.

    Args: x (S, D, F) features of the story; slots (N,) rows of it; p (S,) probabilities of the day; at: its column.
    """
    if not len(slots):
        return
    units, added = detector.units_wrong(x[slots, at]), detector.contributions(x[slots, at])
    for row, slot in enumerate(slots):
        best = [i for i in np.argsort(-added[row, :-1])[:REASONS] if added[row, i] > 0]
        reasons = tuple(Reason(NAMES[i], TEXT[NAMES[i]], float(x[slot, at, i]), float(added[row, i])) for i in best)
        yield Suspect(
            str(story.site[slot]), str(story.sku[slot]), story.day(at), float(p[slot]), float(story.recorded[slot, at]),
            float(units[row]), reasons, turns(detector, story, x[slot], int(slot), at),
            absurd(
                forecast=[float(story.expected[slot, at])], on_hand=round(max(0.0, float(story.recorded[slot, at])) - float(units[row]), 2),
                probability=float(p[slot]), most_sold=float(story.sold[slot, : at + 1].max()),
            ),
        )  # fmt: skip


def turns(detector: Detector, story: Story, x: npt.NDArray[np.float32], slot: int, at: int) -> tuple[Turn, ...]:
    """The days on which the suspicion rose most, and the last sale and count, in order of time.

    Args: x: (D, F) features of the slot.
    """
    first = max(0, at - LOOK_BACK)
    log_odds = detector.slope * detector.raw(x[first : at + 1])
    rise = np.diff(log_odds, prepend=log_odds[0])
    days = {int(first + i) for i in np.argsort(-rise)[: DAYS - 2] if rise[i] > 0.2}
    for booked in (story.sold[slot, : at + 1] > 0, np.isfinite(story.counted[slot, : at + 1])):
        days |= set(np.flatnonzero(booked)[-1:].tolist())
    return tuple(
        Turn(story.day(d), happened(story, slot, d), float(rise[d - first]) if d >= first else 0.0)
        for d in sorted(days)
    )


def happened(story: Story, slot: int, day: int) -> str:
    """What the ledger booked for a slot on a day, in words."""
    parts = []
    for flow, words in (
        ("received", "received {:g}"),
        ("sold", "sold {:g}"),
        ("returned", "{:g} returned"),
        ("written_off", "wrote off {:g}"),
    ):
        if (units := getattr(story, flow)[slot, day]) > 0:
            parts.append(words.format(units))
    if np.isfinite(story.counted[slot, day]):
        parts.append(f"counted {story.counted[slot, day]:g} (corrected by {story.adjusted[slot, day]:+g})")
    elif story.adjusted[slot, day]:
        parts.append(f"adjusted by {story.adjusted[slot, day]:+g}")
    booked = ", ".join(parts) or "nothing booked"
    return f"{booked}; {story.expected[slot, day]:.1f} sales expected, {story.recorded[slot, day]:g} on record"
