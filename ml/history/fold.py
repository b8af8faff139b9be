"""What each day left behind, for many slots at once: levels at its end, and the daily row of each SKU at a site.

In: movements of some days, the levels before the first of them. Out: rows of the lake's datasets levels and daily. Plain numpy
and pandas; Spark runs the same function on its parts (spark_fold.py).
The law is the ledger's (docs/adr/0003-ledger-law.md): facts in order of (occurred_at, revision), a cycle count absolute at its
time, below zero kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from inventorybot.domain.events import Kind

DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1).toordinal()

SLOT = ["site", "bin", "sku"]
PLACE = ["site", "sku"]
FLOWS = ("sold", "received", "returned", "written_off", "adjusted")
LEVELS = [*SLOT, "on_hand", "day"]
DAILY = [*PLACE, *FLOWS, "counted", "recorded", "in_stock", "censored", "day"]
CORRECTIONS = [*SLOT, "at", "found", "recorded", "day"]

FLOW_OF: dict[str, str] = {
    Kind.SALE: "sold",
    Kind.SHIPMENT: "sold",
    Kind.PICK: "sold",  # only without to_bin: with one it moves units within the site, without it left the record for good
    Kind.RECEIPT: "received",
    Kind.RETURN: "returned",
    Kind.WRITE_OFF: "written_off",
    Kind.ADJUSTMENT: "adjusted",
    Kind.CYCLE_COUNT: "adjusted",  # what it corrected
}
"""Where a movement is added up in the daily row; the others move units within a site."""
_TAKEN = ("sold", "written_off")
"""Flows that are told as units ≥ 0 though they are taken from the slot."""

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Folded:
    """Rows of the lake; `day` is days since the epoch.

    Args:
        levels: LEVELS; slots that are not empty at a day's end, and those that moved on it.
        daily: DAILY; every SKU of a site, each day since it was first seen.
        corrections: CORRECTIONS; what each cycle count found and what was on record then, at µs since the epoch.
    """

    levels: pd.DataFrame
    daily: pd.DataFrame
    corrections: pd.DataFrame


@dataclass(frozen=True, slots=True)
class _Line:
    """Everything that touched the slots, sorted by slot and time; N rows, of S slots at P places (a SKU at a site).

    Args:
        names: (S) rows of SLOT. places: (P) rows of PLACE. place_of: (S) the place of each slot.
        slot_N, at_N (µs), quantity_N, change_N (units the level moved by), after_N (the level then).
        counts_N: a cycle count. opens_N: no movement, but the level before the first day.
        flow_N: index into FLOWS; −1: none.
    """

    names: pd.DataFrame
    places: pd.DataFrame
    place_of: Ints
    slot_N: Ints
    at_N: Ints
    change_N: Ints
    after_N: Ints
    counts_N: Flags
    opens_N: Flags
    flow_N: Ints


def day_number(day: date) -> int:
    """Days since the epoch."""
    return day.toordinal() - _EPOCH


def day_of(number: int) -> date:
    """The date of days since the epoch."""
    return date.fromordinal(number + _EPOCH)


def fold_days(moves: pd.DataFrame, opening: pd.DataFrame, first: int, last: int) -> Folded:
    """Fold the movements of some days.

    Args:
        moves: site, bin, sku, kind, quantity (signed; of a cycle count the units found), to_bin, at (µs since the epoch),
            revision: every movement that occurred on the days, in any order, an event id once a bin.
        opening: site, bin, sku, on_hand: the level before day `first` of every slot of every SKU that was seen before. A SKU
            of which nothing is left may be told by a row with an empty bin and 0 units.
        first, last: days since the epoch, both included.
    """
    line = _line(moves, opening, first)
    return Folded(_level_rows(line, first, last), _daily_rows(line, first, last), _corrections(line))


def _line(moves: pd.DataFrame, opening: pd.DataFrame, first: int) -> _Line:
    both = pd.concat([moves[SLOT], opening[SLOT]], ignore_index=True)
    names = both.drop_duplicates().sort_values(SLOT, ignore_index=True)
    slot = pd.MultiIndex.from_frame(names).get_indexer(pd.MultiIndex.from_frame(both)).astype(np.int64)
    places = names[PLACE].drop_duplicates().sort_values(PLACE, ignore_index=True)
    place_of = pd.MultiIndex.from_frame(places).get_indexer(pd.MultiIndex.from_frame(names[PLACE])).astype(np.int64)
    old = len(opening)
    at = np.concatenate([_ints(moves["at"]), np.full(old, first * DAY_US - 1)])
    rank = np.concatenate([_ints(moves["revision"]), np.full(old, -1)])
    order = np.lexsort((rank, at, slot))
    quantity = np.concatenate([_ints(moves["quantity"]), _ints(opening["on_hand"])])[order]
    counts = np.concatenate([(moves["kind"] == Kind.CYCLE_COUNT).to_numpy(bool), np.zeros(old, bool)])[order]
    opens = np.concatenate([np.zeros(len(moves), bool), np.ones(old, bool)])[order]
    flow = np.concatenate([_flows(moves), np.full(old, -1)])[order]
    after, change = _levels(slot[order], quantity, counts | opens)
    return _Line(names, places, place_of, slot[order], at[order], change, after, counts, opens, flow)


def _ints(column: pd.Series) -> Ints:
    return np.asarray(column.to_numpy(dtype=np.int64))


def _flows(moves: pd.DataFrame) -> Ints:
    """Index into FLOWS of each movement; −1 where it only moves units within the site."""
    index = moves["kind"].map({str(kind): FLOWS.index(flow) for kind, flow in FLOW_OF.items()}).fillna(-1)
    inside = (moves["kind"] == Kind.PICK) & moves["to_bin"].notna()
    return np.where(inside.to_numpy(bool), -1, index.to_numpy(np.int64))


def _levels(slot_N: Ints, quantity_N: Ints, absolute_N: Flags) -> tuple[Ints, Ints]:
    """The level after each row, and what the row moved it by: the newest absolute row, and the sum since."""
    here = np.arange(len(slot_N))
    begins = np.append(True, slot_N[1:] != slot_N[:-1])[: len(slot_N)]
    added = np.cumsum(np.where(absolute_N, 0, quantity_N))
    anchor = np.maximum.accumulate(np.where(absolute_N | begins, here, 0)) if len(here) else here
    after = quantity_N[anchor] + added - added[anchor]
    before = np.where(begins, 0, np.append(0, after[:-1])[: len(after)])
    return after, after - before


def _level_rows(line: _Line, first: int, last: int) -> pd.DataFrame:
    days, slots = last - first + 1, len(line.names)
    day_N = line.at_N // DAY_US - first + 1  # 0: before the first day
    key_N = line.slot_N * (days + 1) + day_N
    grid = (np.arange(slots)[:, None] * (days + 1) + np.arange(1, days + 1)).ravel()  # (S × D)
    newest = np.searchsorted(key_N, grid, side="right") - 1
    known = (newest >= 0) & (line.slot_N[newest] == grid // (days + 1)) if len(key_N) else np.zeros(len(grid), bool)
    on_hand = np.where(known, line.after_N[newest], 0) if len(key_N) else np.zeros(len(grid), np.int64)
    moved = np.isin(grid, key_N[~line.opens_N])
    chosen = np.flatnonzero((on_hand != 0) | moved)
    rows = line.names.iloc[grid[chosen] // (days + 1)].reset_index(drop=True)
    return rows.assign(on_hand=on_hand[chosen], day=first - 1 + grid[chosen] % (days + 1))[LEVELS]


def _daily_rows(line: _Line, first: int, last: int) -> pd.DataFrame:
    days, places = last - first + 1, len(line.places)
    place_N = line.place_of[line.slot_N]
    seen = np.full(places, (last + 1) * DAY_US)  # when each place was first seen, within these days
    np.minimum.at(seen, place_N, np.maximum(line.at_N, first * DAY_US))
    cell_N = place_N * days + np.clip(line.at_N // DAY_US - first, 0, days - 1)
    rows = {name: _flow(line, cell_N, index, places * days) for index, name in enumerate(FLOWS)}
    counted, recorded, stocked = _path(line, place_N, first, days)
    began = np.maximum(seen[:, None], (first + np.arange(days)) * DAY_US)  # (P, D)
    told = (first + 1 + np.arange(days)) * DAY_US - began
    frame = line.places.iloc[np.repeat(np.arange(places), days)].reset_index(drop=True)
    share = stocked / np.maximum(told.ravel(), 1)
    frame = frame.assign(**rows, counted=counted, recorded=recorded, in_stock=share, censored=share < 1)
    frame["day"] = np.tile(first + np.arange(days), places)
    return frame[told.ravel() > 0].reset_index(drop=True)[DAILY]


def _corrections(line: _Line) -> pd.DataFrame:
    counts = np.flatnonzero(line.counts_N)
    rows = line.names.iloc[line.slot_N[counts]].reset_index(drop=True)
    at, found = line.at_N[counts], line.after_N[counts]
    return rows.assign(at=at, found=found, recorded=found - line.change_N[counts], day=at // DAY_US)[CORRECTIONS]


def _flow(line: _Line, cell_N: Ints, index: int, cells: int) -> Ints:
    chosen = line.flow_N == index
    total = np.zeros(cells, np.int64)
    np.add.at(total, cell_N[chosen], line.change_N[chosen])
    return -total if FLOWS[index] in _TAKEN else total


def _path(line: _Line, place_N: Ints, first: int, days: int) -> tuple[pd.Series, Ints, Ints]:
    """Of each place and day (P × D): units right after the last cycle count, units at its end, µs with units on record.

    What is on record at a place is the sum over its bins; where only some were counted, the others stand as recorded.
    """
    places = len(line.places)
    midnights = np.tile((first + np.arange(days)) * DAY_US, places)
    place = np.concatenate([place_N, np.repeat(np.arange(places), days)])
    at = np.concatenate([line.at_N, midnights])
    change = np.concatenate([line.change_N, np.zeros(len(midnights), np.int64)])
    counts = np.concatenate([line.counts_N, np.zeros(len(midnights), bool)])
    order = np.lexsort((at, place))  # stable: within a slot, rows of one moment stay in order of arrival
    place, at, change, counts = place[order], at[order], change[order], counts[order]
    total = np.cumsum(change)
    begins = np.append(True, place[1:] != place[:-1])[: len(place)]
    units = total - np.repeat((total - change)[begins], np.diff(np.append(np.flatnonzero(begins), len(place))))
    until = np.append(at[1:], 0)
    ends = np.append(begins[1:], True)[: len(place)]
    until = np.where(ends, (first + days) * DAY_US, until)
    inside = at >= first * DAY_US
    cell = place * days + np.clip(at // DAY_US - first, 0, days - 1)
    stocked = np.zeros(places * days, np.int64)
    np.add.at(stocked, cell[inside], np.where(units > 0, until - at, 0)[inside])
    recorded = np.zeros(places * days, np.int64)
    recorded[cell] = units  # the last of a cell stays
    counted = pd.Series(pd.NA, index=range(places * days), dtype="Int64")
    last = pd.Series(units[counts], index=cell[counts]).groupby(level=0).last()
    counted[last.index] = last.to_numpy()
    return counted, recorded, stocked
