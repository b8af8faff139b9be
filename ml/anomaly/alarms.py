"""From scores to alarms, and from alarms to what they were worth: the scoring that docs/suspect-records.md defines.

In: scores (S, D), a threshold, the truth of a replay. Out: a `Tally`: alarms right and wrong, episodes found, and how late.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.anomaly.faults import CAUSES, OTHER
from ml.anomaly.simulate import Replay
from ml.anomaly.story import Flags, Matrix, codes

Ints = npt.NDArray[np.int64]

STEADY = 3
"""Evenings in a row on which a score must reach the threshold: one evening's surprise is often undone by the next sale."""

QUIET = 28
"""Days for which a score must lie below the threshold before the same slot raises another alarm."""

SHORTEST = 28
"""Days an error must be material for the headline recall: what a routine count mends sooner needs no alarm. Recall of all is told beside it."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a detector's alarms were worth, by cluster (a family of a site: faults come in pairs there).

    Args:
        right, wrong: (C,) alarms on wrong records, the first of each episode; and all alarms on right records.
        found, episodes: (C, K) asked episodes that were alarmed, and all, by cause (CAUSES).
        found_all, all: the same of all material episodes, however short.
        delays: days from an episode's first wrong day to its alarm, (found,).
        units: units wrong on the day of the alarm, absolute, (found,).
        causes: index into CAUSES of the same episodes, (found,).
        slot_years: years of slots watched.
    """

    right: Ints
    wrong: Ints
    found: Ints
    episodes: Ints
    found_all: Ints
    all: Ints
    delays: Ints
    units: npt.NDArray[np.float64]
    causes: Ints
    slot_years: float


def alarms(flagged: Flags, warm: int, quiet: int = QUIET) -> tuple[Ints, Ints]:
    """(slots, days) of the alarms that flags make, none before `warm`.

    A slot alarms on the `STEADY`th evening in a row on which it is flagged, and not again before `quiet` days without.
    """
    flagged = flagged.copy()
    flagged[:, :warm] = False
    steady = flagged.copy()
    for back in range(1, STEADY):
        steady[:, back:] &= flagged[:, :-back]
        steady[:, :back] = False
    last = np.full(flagged.shape[0], -quiet)
    slots, days = [], []
    for day in range(warm, flagged.shape[1]):
        now = np.flatnonzero(steady[:, day] & (day - last >= quiet))
        last[steady[:, day]] = day
        slots.append(now)
        days.append(np.full(len(now), day))
    return (np.concatenate(slots), np.concatenate(days)) if slots else (np.array([], dtype=np.int64),) * 2


def clusters(played: Replay) -> tuple[Ints, int]:
    """(S,) the cluster of each slot, and how many there are."""
    return codes(np.char.add(np.char.add(played.story.site, "\x1f"), played.story.family))


def episodes_of(played: Replay) -> pd.DataFrame:
    """The episodes of a replay, with their number; `asked`: those that a detector is expected to find."""
    found = played.truth.episodes().reset_index(names="number")
    return found.assign(asked=found["material"] >= SHORTEST)


def tally(raised: tuple[Ints, Ints], played: Replay, episodes: pd.DataFrame | None = None) -> Tally:
    """Judges the alarms of one replay.

    Args:
        raised: (slots, days), as `alarms` gives them.
        episodes: of `episodes_of`, where they are known already.
    """
    slot, day = raised
    known = episodes_of(played) if episodes is None else episodes
    cluster, n = clusters(played)
    at = _episode_at(slot, day, known)
    hit = at >= 0
    order = np.lexsort((day, at))
    first = order[np.r_[True, np.diff(at[order]) != 0]] if len(order) else order
    first = first[at[first] >= 0]  # one alarm an episode: the first
    row = at[first]
    cause = known["cause"].map({k: i for i, k in enumerate(CAUSES)}).to_numpy(dtype=np.int64)
    where, units = cluster[known["slot"].to_numpy()], np.abs(played.truth.error[slot, day])
    asked, material = np.flatnonzero(known["asked"]), np.flatnonzero(known["material"] > 0)
    timed = first[np.isin(row, asked) & (known["cause"].to_numpy() != OTHER)[row]]
    return Tally(
        np.bincount(cluster[slot[first]], minlength=n), np.bincount(cluster[slot[~hit]], minlength=n),
        _table(where, cause, np.intersect1d(row, asked), n), _table(where, cause, asked, n),
        _table(where, cause, np.intersect1d(row, material), n), _table(where, cause, material, n),
        day[timed] - known["start"].to_numpy()[at[timed]], units[timed], cause[at[timed]],
        played.story.slots * (played.story.days - played.warm) / 365,
    )  # fmt: skip


def _table(where: Ints, cause: Ints, rows: Ints, n: int) -> Ints:
    """(C, K) how many of some episodes lie in each cluster, by cause."""
    out = np.zeros((n, len(CAUSES)), dtype=np.int64)
    np.add.at(out, (where[rows], cause[rows]), 1)
    return out


def _episode_at(slot: Ints, day: Ints, known: pd.DataFrame) -> Ints:
    """The row of the episode that lies on each (slot, day); −1: none."""
    out = np.full(len(slot), -1)
    spans: dict[int, list[tuple[int, int, int]]] = {}
    for row, (s, a, b) in enumerate(zip(known["slot"], known["start"], known["end"], strict=True)):
        spans.setdefault(int(s), []).append((int(a), int(b), row))
    for i, (s, d) in enumerate(zip(slot, day, strict=True)):
        for a, b, row in spans.get(int(s), ()):
            if a <= d <= b:
                out[i] = row
    return out


def together(parts: list[Tally]) -> Tally:
    """Several replays as one; their clusters stay apart."""
    joined = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in ("right", "wrong", "found", "episodes", "found_all", "all", "delays", "units", "causes")
    }
    return Tally(slot_years=sum(p.slot_years for p in parts), **joined)


def daily_counts(scores: Matrix, played: Replay, a_day: int, quiet: int = QUIET) -> tuple[int, int]:
    """(right, all) if the `a_day` most suspect records were counted each day.

    A slot counted by this or by routine is left alone for `quiet` days; an episode, once found, is over: it is not counted again.
    """
    slots, days = scores.shape
    rest = np.zeros(slots)
    wrong = (np.abs(played.truth.fault) >= 1) | (np.abs(played.truth.error) >= played.truth.material[:, None])
    right = total = 0
    known = np.zeros(slots, dtype=bool)  # found, and still wrong in a replay that does not know it
    for day in range(played.warm, days):
        rest[np.isfinite(played.story.counted[:, day])] = day + quiet
        known &= wrong[:, day]
        open_to = np.where((rest <= day) & ~known, scores[:, day], -np.inf)
        best = np.argpartition(-open_to, a_day)[:a_day] if a_day < slots else np.arange(slots)
        best = best[np.isfinite(open_to[best])]
        hit = wrong[best, day]
        right, total = right + int(hit.sum()), total + len(best)
        known[best[hit]] = True
        rest[best] = day + quiet
    return right, total
