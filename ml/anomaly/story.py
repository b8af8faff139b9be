"""The ledger's own story, a day a row: what any business knows of its slots. Nothing here knows the truth.

In: a table site, sku, day, sold, received, … (one row a slot and day). Out: `Story`, the same as matrices (slot, day), and back.
The lake's daily table and the simulator write the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from inventorybot.errors import SetupError

Matrix = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]

FLOWS = ("sold", "received", "returned", "written_off", "adjusted", "counted", "recorded", "expected")
"""Columns in units. `counted` is empty where nobody counted; every other is a number every day."""

KEYS = ("site", "sku", "family", "day")


@dataclass(frozen=True, slots=True)
class Story:
    """Slots (S) × days (D) of one period; every matrix is (S, D), in units (each item).

    Args:
        site, sku, family: (S,) names; a family holds the SKUs that are mistaken for one another (a category will do).
        first_day: the day of column 0.
        sold, received, returned, written_off: units booked that day, ≥ 0.
        adjusted: signed correction of the record that day, a cycle count's included.
        counted: what a cycle count found; NaN where there was none.
        recorded: units on the record at the day's end; may be negative.
        expected: sales forecast for the day, made before it.
    """

    site: Names
    sku: Names
    family: Names
    first_day: date
    sold: Matrix
    received: Matrix
    returned: Matrix
    written_off: Matrix
    adjusted: Matrix
    counted: Matrix
    recorded: Matrix
    expected: Matrix

    @property
    def slots(self) -> int:
        """S."""
        return int(self.recorded.shape[0])

    @property
    def days(self) -> int:
        """D."""
        return int(self.recorded.shape[1])

    def day(self, column: int) -> date:
        """The date of a column."""
        return date.fromordinal(self.first_day.toordinal() + column)

    def until(self, column: int) -> Story:
        """The story as it was known at the end of a day: columns 0 … `column`."""
        cut = {f.name: getattr(self, f.name)[:, : column + 1] for f in fields(self) if f.name in FLOWS}
        return Story(self.site, self.sku, self.family, self.first_day, **cut)

    def to_frame(self) -> pd.DataFrame:
        """One row a slot and day: KEYS and FLOWS; `counted` is NaN where nobody counted."""
        days = pd.date_range(self.first_day, periods=self.days, name="day")
        columns = {key: np.repeat(getattr(self, key), self.days) for key in KEYS[:3]}
        columns |= {"day": np.tile(days.to_numpy(), self.slots)}
        return pd.DataFrame(columns | {flow: getattr(self, flow).ravel() for flow in FLOWS})


def from_frame(frame: pd.DataFrame) -> Story:
    """The story that a daily table tells.

    Args:
        frame: columns KEYS and FLOWS; `family` may be missing (then all SKUs are one family). Any order of rows.
    Raises: SetupError: a column is missing, a number is no number, or a slot lacks a day or has it twice.
    """
    missing = [name for name in (*KEYS, *FLOWS) if name not in frame.columns and name != "family"]
    if missing:
        raise SetupError(
            f"the daily table lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )
    if not len(frame):
        raise SetupError("the daily table is empty: give at least one slot and day")
    table = frame.assign(family=frame.get("family", ""), day=pd.to_datetime(frame["day"]))
    table = table.sort_values(["site", "sku", "day"], kind="stable", ignore_index=True)
    slots = table.groupby(["site", "sku"], observed=True, sort=False)["day"].agg(["size", "nunique", "min", "max"])
    first, last = table["day"].min(), table["day"].max()
    days = (last - first).days + 1
    _whole(slots, days, first, last)
    shape = (len(slots), days)
    values = {flow: _numbers(table, flow).reshape(shape) for flow in FLOWS}
    names = {key: table[key].astype(str).to_numpy(dtype=np.str_).reshape(shape)[:, 0] for key in KEYS[:3]}
    return Story(first_day=first.date(), **names, **values)


def _whole(slots: pd.DataFrame, days: int, first: pd.Timestamp, last: pd.Timestamp) -> None:
    wrong = slots[(slots["size"] != days) | (slots["nunique"] != days)]
    if len(wrong):
        site, sku = wrong.index[0]
        raise SetupError(
            f"slot {site}/{sku} has {wrong['size'].iloc[0]} rows for {days} days ({first:%Y-%m-%d} to {last:%Y-%m-%d}): "
            "give every slot one row a day"
        )


def _numbers(table: pd.DataFrame, flow: str) -> Matrix:
    values = pd.to_numeric(table[flow], errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values) & (table["counted"].notna().to_numpy() if flow == "counted" else True)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise SetupError(
            f"column {flow} holds {table[flow].iloc[at]!r} for {table['site'].iloc[at]}/{table['sku'].iloc[at]} on "
            f"{table['day'].iloc[at]:%Y-%m-%d}: give a number of units"
        )
    return np.asarray(values)


def codes(names: Sequence[str] | Names) -> tuple[npt.NDArray[np.int64], int]:
    """Names as numbers 0 … K−1, and K."""
    found, inverse = np.unique(np.asarray(names), return_inverse=True)
    return inverse.astype(np.int64), len(found)
