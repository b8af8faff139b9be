"""Turns a raw table into a Panel, and says of every row it refuses why.

In: a frame and its Columns. Out: a Cleaned: the Panel, the refused rows with their reasons, and what was repaired.

Rules. Duplicates of (store, item, period) are summed. Negative units are returns: netted within their period, and a
period that stays below zero counts as zero. A missing period between a series' first row and the end of the table is a
zero sale, unless the table says otherwise: the whole store has no row then (and sells too often for that
to be chance), units are empty, an explicit stock-out flag or an
empty shelf, or zeros are recorded explicitly elsewhere; then it is not known. Periods before the first sale are not known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from inventorybot.errors import SetupError
from ml.demand.panel import Array, Panel, capped
from ml.demand.periods import Periods, infer
from ml.demand.table import Columns, numbers

EXPLICIT_ZEROS = 0.02
"""A table with more rows of zero units than this records zeros; what it does not hold was not observed."""
CLOSED = 0.05
"""A period without any row of a store is one of no sales only if that is at least so probable by chance."""
MAX_UNITS = 1e12
"""Above this a number of units is a barcode in the wrong column."""
MAX_CELLS = 400_000_000
"""Series times periods; 1.6 GB as float32."""
ONE = "all"
"""The name of the only store or item of a table that has no such column."""


@dataclass(frozen=True)
class Cleaned:
    """A panel, and the story of how it came to be.

    Args:
        panel: what models see.
        refused: columns row (counted from 1, without the header), store, item, period, units, reason.
        repaired: what was done, to how many rows or cells.
        outliers: columns store, item, period, units, capped_at.
    """

    panel: Panel
    refused: pd.DataFrame
    repaired: dict[str, int]
    outliers: pd.DataFrame


def clean(frame: pd.DataFrame, columns: Columns, *, kind: str | None = None, gaps: str = "auto") -> Cleaned:
    """Cleans a table.

    Args:
        frame: as read.
        columns: which column is what.
        kind: daily, weekly or monthly; None: inferred.
        gaps: what a missing period inside a series' life is: zero, missing, or auto (see above).
    Raises: SetupError: no usable row is left, or the table is too large.
    """
    if gaps not in ("auto", "zero", "missing"):
        raise SetupError(f"gaps {gaps!r} is none of auto, zero, missing")
    periods = infer(frame[columns.period], columns.period, kind)
    rows = pd.DataFrame(
        {
            "store": _names(frame, columns.store),
            "item": _names(frame, columns.item),
            "index": periods.index_of(frame[columns.period]),
            "units": numbers(frame[columns.units]),
        }
    )
    reason = _reasons(frame, columns, rows, periods)
    refused = _refused(frame, columns, reason)
    good = reason == ""
    if not bool(good.any()):
        raise SetupError(f"no usable row: the first was refused because {reason.iloc[0]}")
    rows, frame = rows[good].reset_index(drop=True), frame[good].reset_index(drop=True)
    periods = _until_last_sale(periods, rows)
    return _assemble(frame, columns, rows, periods, gaps, refused)


def _names(frame: pd.DataFrame, column: str) -> pd.Series:
    if not column:
        return pd.Series(ONE, index=frame.index, dtype="object")
    values = frame[column]
    if pd.api.types.is_float_dtype(values) and bool((values.dropna() % 1 == 0).all()):
        values = values.astype("Int64")  # an id read as a float because some are empty
    return values.astype("string").astype("object").str.strip()


def _reasons(frame: pd.DataFrame, columns: Columns, rows: pd.DataFrame, periods: Periods) -> pd.Series:
    """Why each row is refused; "" where it is not."""
    out = pd.Series("", index=frame.index, dtype="object")
    raw = frame[columns.units]
    checks = [
        (rows["store"].isna() | (rows["store"] == ""), f"{columns.store} is empty"),
        (rows["item"].isna() | (rows["item"] == ""), f"{columns.item} is empty"),
        (frame[columns.period].isna(), f"{columns.period} is empty"),
        ((rows["index"] < 0) | (rows["index"] >= periods.count), f"{columns.period} is no {periods.kind} period"),
        (raw.notna() & rows["units"].isna(), f"{columns.units} is not a number"),
        (~np.isfinite(rows["units"].fillna(0)), f"{columns.units} is infinite"),
        (rows["units"].abs() > MAX_UNITS, f"{columns.units} is beyond {MAX_UNITS:.0e}"),
    ]
    for failed, why in checks:
        out[(out == "") & failed.to_numpy(bool)] = why
    return out


def _refused(frame: pd.DataFrame, columns: Columns, reason: pd.Series) -> pd.DataFrame:
    bad = frame.index[reason != ""]
    take = {"store": columns.store, "item": columns.item, "period": columns.period, "units": columns.units}
    out = pd.DataFrame({"row": bad + 1})
    for role, column in take.items():
        out[role] = frame.loc[bad, column].astype("string").to_numpy() if column else ONE
    out["reason"] = reason[bad].to_numpy()
    return out


def _until_last_sale(periods: Periods, rows: pd.DataFrame) -> Periods:
    """The axis up to the last period with known units; what lies beyond only plans covariates."""
    known = rows["index"][rows["units"].notna()]
    if known.empty:
        raise SetupError("no row has units: there is nothing to learn from")
    return replace(periods, count=int(known.max()) + 1)


def _assemble(
    frame: pd.DataFrame, columns: Columns, rows: pd.DataFrame, periods: Periods, gaps: str, refused: pd.DataFrame
) -> Cleaned:
    keys = rows[["store", "item"]].drop_duplicates().sort_values(["store", "item"]).reset_index(drop=True)
    series = pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(rows[["store", "item"]]))
    at, t = rows["index"].to_numpy(), periods.count
    ahead = max(int(at.max()) + 1 - t, 0)
    if len(keys) * (t + ahead) > MAX_CELLS:
        raise SetupError(f"{len(keys):,} series of {t:,} periods are too many at once: split the table by store")
    grid = _Grid(series, at, (len(keys), t + ahead))
    units = rows["units"].to_numpy()
    total, known, seen = grid.total(units), grid.count(np.isfinite(units)), grid.count(np.ones(len(at), bool))
    y = np.where(known > 0, total, np.nan)[:, :t]
    repaired = {
        "rows summed into another of the same store, item and period": int((seen - 1).clip(0).sum()),
        "rows of negative units netted as returns": int((units < 0).sum()),
        "periods that stayed below zero, counted as zero": int((y < 0).sum()),
    }
    y = np.maximum(y, 0)
    covariates = _covariates(frame, columns, grid)
    censored = _censored(frame, columns, grid, y, t)
    y, filled = _fill(y, seen[:, :t] > 0, keys["store"].to_numpy(str), gaps, (rows["units"] == 0).mean())
    y[censored] = np.nan
    y, early = _before_launch(y)
    panel = Panel(
        keys["store"].to_numpy(str), keys["item"].to_numpy(str), _categories(frame, columns, rows, keys), periods,
        y.astype(np.float32), covariates,
    )  # fmt: skip
    repaired |= filled | {
        "periods out of stock, not counted as zero": int(censored.sum()),
        "zeros before the first sale": early,
    }
    return Cleaned(panel, refused, {k: v for k, v in repaired.items() if v}, outliers(panel))


@dataclass(frozen=True)
class _Grid:
    """Adds up rows by (series, period)."""

    series: np.ndarray[tuple[int], np.dtype[np.intp]]
    at: np.ndarray[tuple[int], np.dtype[np.int64]]
    shape: tuple[int, int]

    def total(
        self, values: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        flat = self.series * self.shape[1] + self.at
        weights = np.nan_to_num(values)
        cells = np.bincount(flat, weights=weights, minlength=self.shape[0] * self.shape[1])
        return cells.astype(np.float64).reshape(self.shape)

    def count(
        self, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return self.total(chosen.astype(np.float64))

    def mean(
        self, values: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        known = self.count(np.isfinite(values))
        return np.where(known > 0, self.total(values) / np.maximum(known, 1), np.nan)


def _covariates(frame: pd.DataFrame, columns: Columns, grid: _Grid) -> dict[str, Array]:
    """Price carried forward over gaps, the others as they are."""
    out: dict[str, Array] = {}
    if columns.price:
        price = numbers(frame[columns.price]).to_numpy().copy()
        price[~(price > 0) | ~np.isfinite(price)] = np.nan
        cells = grid.mean(price)
        out["price"] = pd.DataFrame(cells).ffill(axis=1).to_numpy(np.float32)
    for name in columns.covariates:
        values = numbers(frame[name]).to_numpy().copy()
        values[~np.isfinite(values)] = np.nan
        out[name.lower()] = grid.mean(values).astype(np.float32)
    return out


def _censored(
    frame: pd.DataFrame, columns: Columns, grid: _Grid, y: np.ndarray[tuple[int, int], np.dtype[np.float64]], t: int
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Cells whose sales do not tell demand: flagged as out of stock, or nothing sold from an empty shelf."""
    out = np.zeros((grid.shape[0], t), bool)
    if columns.stockout:
        flag = frame[columns.stockout].astype("string").str.lower().isin(["1", "1.0", "true", "yes", "y", "t"])
        out |= grid.count(flag.to_numpy(bool))[:, :t] > 0
    if columns.on_hand:
        level = numbers(frame[columns.on_hand]).to_numpy()
        out |= (grid.mean(level)[:, :t] <= 0) & (np.nan_to_num(y) <= 0)
    return out


def _fill(
    y: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    seen: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    store: np.ndarray[tuple[int], np.dtype[np.str_]],
    gaps: str,
    zeros: float,
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], dict[str, int]]:
    """Zero sales where a series lives and no row says anything."""
    living = np.maximum.accumulate(seen, axis=1)
    blank = living & ~seen
    if gaps == "missing" or (gaps == "auto" and zeros > EXPLICIT_ZEROS):
        return y, {"periods without a row, not known": int(blank.sum())}
    shut = np.zeros_like(blank)
    if gaps == "auto":
        names, codes = np.unique(store, return_inverse=True)
        rows = np.zeros((len(names), y.shape[1]))
        np.add.at(rows, codes, seen)
        items = np.bincount(codes)
        lived = np.maximum(np.bincount(codes, weights=living.sum(axis=1)), 1)
        chance = (1 - rows.sum(axis=1) / lived) ** items  # that all its items happen to sell nothing in one period
        shut = (rows[codes] == 0) & (chance < CLOSED)[codes][:, None]
    y[blank & ~shut] = 0.0
    return y, {
        "periods without a row, filled as zero sales": int((blank & ~shut).sum()),
        "periods in which the whole store has no row, not known": int((blank & shut).sum()),
    }


def _before_launch(
    y: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], int]:
    """Leading zeros longer than a quarter (13 periods) and than any later lull were before the launch: not known."""
    sold = y > 0
    first = np.where(sold.any(axis=1), sold.argmax(axis=1), 0)
    quiet, longest = np.zeros(len(y)), np.zeros(len(y))
    started = np.zeros(len(y), bool)
    for t in range(y.shape[1]):
        started |= sold[:, t]
        quiet = np.where(started & ~sold[:, t], quiet + 1, 0)
        longest = np.maximum(longest, quiet)
    lead = (np.arange(y.shape[1]) < first[:, None]) & np.isfinite(y)
    long = (first > 13) & (first > longest)
    lead &= long[:, None]
    y[lead] = np.nan
    return y, int(lead.sum())


def _categories(
    frame: pd.DataFrame, columns: Columns, rows: pd.DataFrame, keys: pd.DataFrame
) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    if not columns.category:
        return np.full(len(keys), "", dtype=str)
    named = pd.DataFrame({"item": rows["item"], "category": _names(frame, columns.category)}).dropna()
    of = named.drop_duplicates("item").set_index("item")["category"]
    return np.asarray(keys["item"].map(of).fillna(""), str)


def outliers(panel: Panel) -> pd.DataFrame:
    limit, over = capped(panel.units)
    s, t = np.nonzero(over)
    return pd.DataFrame(
        {
            "store": panel.store[s],
            "item": panel.item[s],
            "period": np.array(panel.periods.labels(0, panel.t))[t] if len(t) else np.array([], str),
            "units": panel.units[s, t],
            "capped_at": limit[s, t],
        }
    )
