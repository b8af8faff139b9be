"""Calendar, price, promotion and weather from one table, put beside the sales of a Panel.

In: rows site (empty: all), sku (empty: all), day, name, value: the lake's covariates (docs/demand.md). Out: the Panel with a
covariate a name, planned days ahead included.

The row that says most about a series counts: one of its site and SKU before one of its SKU, that before one of its site, that
before one of all. A period's value is the mean of its known days, so of a flag it is the share of days. A name that is only ever
listed with the value 1 is a calendar: days that it does not list are 0.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from inventorybot.errors import SetupError
from ml.demand.panel import Array, Panel
from ml.demand.periods import parse_dates
from ml.demand.table import read_table

COLUMNS = ("site", "sku", "day", "name", "value")
RESERVED = ("all", "store", "item")
"""Names that features of groups of series have."""
CHUNK = 50_000_000
"""Cells (series x days) at a time: 200 MB."""


def checked(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with their types: site and sku are text or None, day a date, name in small letters, value a number.

    Raises: SetupError: a column is missing, or a row has no day, name or finite value; the first such row is named.
    """
    lower = {str(c).lower(): c for c in table.columns}
    missing = [c for c in COLUMNS if c not in lower]
    if missing:
        raise SetupError(f"the covariates lack the column {missing[0]}: they have {', '.join(map(str, table.columns))}")
    out = pd.DataFrame({c: table[lower[c]] for c in COLUMNS}).reset_index(drop=True)
    for column in ("site", "sku"):
        text = out[column].astype("string").str.strip()
        out[column] = text.where(text.fillna("") != "", None).astype("object")
    out["day"] = parse_dates(out["day"]) if len(out) else pd.to_datetime(out["day"])
    out["name"] = out["name"].astype("string").str.strip().str.lower()
    out["value"] = pd.to_numeric(out["value"], errors="coerce").astype(np.float64)
    name = out["name"].fillna("")
    for wrong, why in (
        (out["day"].isna(), "day is no date"),
        (name == "", "name is empty"),
        (name.isin(RESERVED), "name is one of " + ", ".join(RESERVED)),
        (~np.isfinite(out["value"]), "value is not a number"),
    ):
        if bool(wrong.any()):
            raise SetupError(f"row {int(np.flatnonzero(wrong)[0]) + 1} of the covariates: {why}")
    return out


def read(path: Path) -> pd.DataFrame:
    """A Parquet or CSV file of covariates, checked. Raises: SetupError: as `checked`, or it cannot be read."""
    return checked(read_table(path))


def calendars(table: pd.DataFrame) -> dict[str, bool]:
    """Each name of a table, and whether it only lists its days, with the value 1."""
    return {str(name): bool((values == 1).all()) for name, values in table.groupby("name")["value"]}


def join(panel: Panel, table: pd.DataFrame, ahead: int, names: dict[str, bool] | None = None) -> Panel:
    """The panel with the table's covariates, and what is planned for `ahead` periods behind its end.

    Args: table: as `checked` returns it; a covariate that the panel has as well is used where the table says nothing.
        names: `calendars` of the whole table where this is only a part of it.
    Raises: SetupError: the panel's periods are only numbered.
    """
    names = calendars(table) if names is None else names
    if not names:
        return panel
    begins = panel.periods.dates(0, panel.t + ahead + 1)
    days = np.asarray((begins - begins[0]).days, np.int64)
    at = (table["day"] - begins[0]).dt.days.to_numpy()
    table = table.assign(at=at)[(at >= 0) & (at < days[-1])]
    out = dict(panel.covariates)
    for name, calendar in sorted(names.items()):
        values = _spread(panel, table[table["name"] == name], days, calendar)
        before = out.get(name)
        if before is not None:
            n = min(before.shape[1], values.shape[1])
            values[:, :n] = np.where(np.isfinite(values[:, :n]), values[:, :n], before[:, :n])
        out[name] = values
    return replace(panel, covariates=out)


def _spread(panel: Panel, rows: pd.DataFrame, days: NDArray[np.int64], calendar: bool) -> Array:
    """(N, T + ahead) of one name."""
    n_days = int(days[-1])
    layers = _layers(panel, rows, n_days)
    out = np.empty((panel.n, len(days) - 1), np.float32)
    step = max(1, CHUNK // n_days)
    for low in range(0, panel.n, step):
        part = np.full((min(step, panel.n - low), n_days), 0.0 if calendar else np.nan, np.float32)
        for values, codes in layers:
            own = codes[low : low + step]
            found = np.where((own >= 0)[:, None], values[own], np.nan)
            part = np.where(np.isfinite(found), found, part)
        known = np.isfinite(part)
        total = np.add.reduceat(np.where(known, part, 0), days[:-1], axis=1)
        n = np.add.reduceat(known, days[:-1], axis=1, dtype=np.int64)
        out[low : low + step] = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    return out


def _layers(panel: Panel, rows: pd.DataFrame, n_days: int) -> list[tuple[Array, NDArray[np.int64]]]:
    """From what is said of all to what is said of one series: values (G, days) and each series' row in them, -1 where none."""
    of_site, of_sku = rows["site"].notna(), rows["sku"].notna()
    series = pd.DataFrame({"site": panel.store.astype(str), "sku": panel.item.astype(str)})
    out = []
    for chosen, keys in (
        (~of_site & ~of_sku, []),
        (of_site & ~of_sku, ["site"]),
        (~of_site & of_sku, ["sku"]),
        (of_site & of_sku, ["site", "sku"]),
    ):
        some = rows[chosen]
        if some.empty:
            continue
        if keys:
            index = pd.MultiIndex.from_frame(some[keys].astype(str).drop_duplicates())
            row = index.get_indexer(pd.MultiIndex.from_frame(some[keys].astype(str)))
            codes = index.get_indexer(pd.MultiIndex.from_frame(series[keys]))
        else:
            index, row, codes = [()], np.zeros(len(some), np.int64), np.zeros(panel.n, np.int64)
        values = np.full((len(index), n_days), np.nan, np.float32)
        values[row, some["at"].to_numpy(np.int64)] = some["value"].to_numpy(np.float32)
        out.append((values, np.asarray(codes, np.int64)))
    return out
