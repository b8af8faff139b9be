"""The lake's daily table as a story: days before a slot was first seen are filled in, and what was to be expected is worked out.

In: rows site, sku, day, sold, received, returned, written_off, adjusted, counted, recorded, perhaps family. Out: `Story`.
`expected` is made here and not read: the stored forecasts are those of the days to come, and a forecast of a past day must be one that
knew nothing of it. It is the simulator's own rule, exponential smoothing of what was sold on days with stock, so that the detector
meets the expectations it was taught with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd

from inventorybot.errors import SetupError
from ml.anomaly.story import FLOWS, KEYS, Flags, Matrix, Story, from_frame

BOOKED = tuple(flow for flow in FLOWS if flow not in ("counted", "expected"))
"""Columns in units that have a number every day."""

NEEDED = ("site", "sku", "day", *BOOKED, "counted")
"""Columns of the daily table that a story is made of."""

HALF_LIFE = 42
"""Days after which a day's sales weigh half in the expectation; the simulator's too."""

LEAST = 0.005
"""Units a day that are expected of a slot that never sells."""

RECENT, PROVEN = 182, 56
"""Days that the fewest sales are looked for in, and stretches with stock that it takes."""

WEEKS = 8
"""Weeks that the habit of a weekday is learnt from."""


def expected(sold: Matrix, stocked: Flags, rhythm: Matrix) -> Matrix:
    """Sales to be expected of each day, made of the days before it alone.

    Args:
        sold: (S, D) units. stocked: (S, D) whether the record showed stock for the day's sales; other days say nothing.
        rhythm: (S, D) or (1, D) how a day of the site compares with an ordinary one, foreseen (`weekdays`).
    Returns: (S, D) units. An average of all days at first, of which older ones weigh less later.
    """
    slots, days = sold.shape
    out, level, seen = np.empty((slots, days)), np.zeros(slots), np.zeros(slots)
    newest = 1 - 0.5 ** (1 / HALF_LIFE)
    for day in range(days):
        usual = np.maximum(np.broadcast_to(rhythm, sold.shape)[:, day], 0.05)
        out[:, day] = np.maximum(LEAST, level) * usual
        weight = np.where(stocked[:, day], np.maximum(newest, 1 / (seen + 2)), 0.0)
        level = (1 - weight) * level + weight * sold[:, day] / usual
        seen += stocked[:, day]
    return out


def weekdays(sold: Matrix) -> Matrix:
    """How much a site sells on such a weekday against an average day, foreseen from the eight weeks before.

    Args: sold: (G, D) units of whole sites.
    Returns: (G, D), 1: an ordinary day, as are the first two weeks; an unproven weekday is held to be half ordinary.
    """
    groups, days = sold.shape
    out = np.ones((groups, days))
    for day in range(14, days):
        past = sold[:, max(0, day - 7 * WEEKS) : day]
        same = sold[:, [d for d in range(day - 7, max(0, day - 7 * WEEKS) - 1, -7) if d >= 0]]
        average = past.mean(1)
        factor = (same.sum(1) + average) / np.maximum(average * (same.shape[1] + 1), 1e-9)
        out[:, day] = np.where(average > 0, np.clip(factor, 0.1, 5.0), 1.0)
    return out


def shown(received: Matrix, recorded: Matrix) -> Flags:
    """(S, D) whether the record showed stock for the day's sales: the evening before, and what came."""
    before = np.concatenate([np.zeros((len(recorded), 1)), recorded[:, :-1]], axis=1)
    return before + received > 0


def known_to_lake(story: Story) -> Story:
    """A simulated story as `find-suspects` would know it without an item table: `expected` worked out, each SKU its own family."""
    sites, which = np.unique(story.site, return_inverse=True)
    totals = np.zeros((len(sites), story.days))
    np.add.at(totals, which, story.sold)
    made = expected(story.sold, shown(story.received, story.recorded), weekdays(totals)[which])
    return replace(story, family=story.sku, expected=made)


def sold_in(story: Story, lengths: Sequence[int]) -> tuple[Matrix, Matrix]:
    """The most and the fewest units that each slot sold in any stretch of so many days: (S, L) each.

    The fewest are of stretches with stock on every day, in the half year before; NaN where there are fewer than PROVEN of them.
    """
    stocked = shown(story.received, story.recorded)
    most, least = np.zeros((story.slots, len(lengths))), np.full((story.slots, len(lengths)), np.nan)
    for column, n in enumerate(lengths):
        if n > story.days:
            continue
        sold, whole = (_moving(x, n) for x in (story.sold, stocked.astype(np.float64)))
        most[:, column] = sold.max(1)
        late, full = sold[:, -RECENT:], whole[:, -RECENT:] == n
        fewest = np.where(full, late, np.inf).min(1)
        least[:, column] = np.where(full.sum(1) >= PROVEN, fewest, np.nan)
    return most, least


def _moving(x: Matrix, n: int) -> Matrix:
    """(S, D) to (S, D − n + 1): sums of n days."""
    sums = np.pad(np.cumsum(x, axis=1), ((0, 0), (1, 0)))
    return sums[:, n:] - sums[:, :-n]


def story_of(frame: pd.DataFrame, since: date, until: date, rhythms: Mapping[str, Matrix] | None = None) -> Story:
    """The story of some slots from their daily rows.

    Args:
        frame: NEEDED and perhaps family (then whole families); a slot's first days may be missing, no others.
        since, until: the days of the story, both inclusive; rows of others are left out.
        rhythms: site to (D,) of `weekdays`; None: made of these rows, which are then whole sites.
    Raises: SetupError: a column is missing, a number is none, or a slot lacks a day after its first.
    """
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise SetupError(
            f"the daily table lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )
    days = pd.date_range(since, until)
    rows = frame.assign(day=pd.to_datetime(frame["day"]), family=frame.get("family", frame["sku"]), expected=0.0)
    rows = rows[(rows["day"] >= days[0]) & (rows["day"] <= days[-1])][[*KEYS, *FLOWS]]
    rows = rows.assign(counted=rows["counted"].to_numpy(dtype=np.float64, na_value=np.nan))
    if rows.empty:
        raise SetupError(f"the daily table has no row from {since} to {until}: run build-history for these days")
    told = from_frame(pd.concat([rows, _before(rows, days)], ignore_index=True))
    sites, which = np.unique(told.site, return_inverse=True)
    if rhythms is None:
        totals = np.zeros((len(sites), told.days))
        np.add.at(totals, which, told.sold)
        rhythm = weekdays(totals)
    else:
        rhythm = np.stack([np.asarray(rhythms[site], dtype=np.float64) for site in sites.tolist()])
    return replace(told, expected=expected(told.sold, shown(told.received, told.recorded), rhythm[which]))


def _before(rows: pd.DataFrame, days: pd.DatetimeIndex) -> pd.DataFrame:
    """Rows of the days before each slot was first seen: nothing booked, nothing there, nobody counted."""
    first = rows.groupby(["site", "sku"], sort=False, observed=True).agg(family=("family", "first"), day=("day", "min"))
    slots = first.reset_index()
    gap = ((slots["day"] - days[0]) // pd.Timedelta(days=1)).to_numpy()
    out = slots.loc[slots.index.repeat(gap), ["site", "sku", "family"]].reset_index(drop=True)
    steps = np.concatenate([np.arange(n) for n in gap]) if gap.sum() else np.zeros(0, dtype=np.int64)
    nothing = dict.fromkeys((*BOOKED, "expected"), 0.0)
    return out.assign(day=days[0] + pd.to_timedelta(steps, unit="D"), **nothing)
