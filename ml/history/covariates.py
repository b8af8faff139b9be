"""What may explain demand from outside: prices, promotions, holidays, weather; one table for all.

In: rows site, sku, day, name, value (docs/history.md). Out: the lake's dataset `covariates`; every refused row with its reason.
An empty site means every site, an empty SKU every SKU. Of one site, SKU, day and name the newest import stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from inventorybot.errors import SetupError, TryLater
from ml.demand.periods import parse_dates
from ml.history.lake import SCHEMAS, Lake, read

COLUMNS = ("site", "sku", "day", "name", "value")
FILE = "covariates.parquet"
_KEYS = ["name", "site", "sku", "day"]


@dataclass(frozen=True)
class Checked:
    """Args: rows: good ones, COLUMNS. refused: row (from 1, without the header) and reason."""

    rows: pd.DataFrame
    refused: pd.DataFrame


def check(frame: pd.DataFrame) -> Checked:
    """Sort good rows from bad ones.

    Args: frame: columns day, name, value and, where not every row is for all, site and sku.
    Raises: SetupError: one of the first three is missing.
    """
    frame = frame.rename(columns=lambda c: str(c).strip().lower())
    missing = [name for name in COLUMNS[2:] if name not in frame.columns]
    if missing:
        raise SetupError(f"the table lacks the column {missing[0]}: covariates have {', '.join(COLUMNS)}")
    value, day = pd.to_numeric(frame["value"], errors="coerce"), parse_dates(frame["day"])
    name = frame["name"].astype("string").str.strip().str.lower()
    reason = pd.Series("", index=frame.index, dtype="object")
    checks = (
        (name.isna() | (name == ""), "name is empty"),
        (frame["value"].isna(), "value is empty"),
        (value.isna() | ~np.isfinite(value.fillna(0)), "value is not a number"),
        (frame["day"].isna(), "day is empty"),
        (day.isna(), "day is not a day such as 2026-11-20"),
        ((name == "price") & (value < 0), "a price is below 0"),
    )
    for failed, why in checks:
        reason[(reason == "") & failed.fillna(True).to_numpy(bool)] = why
    good = (reason == "").to_numpy(bool)
    rows = pd.DataFrame(
        {"site": _names(frame, "site"), "sku": _names(frame, "sku"), "day": day, "name": name, "value": value}
    )
    refused = pd.DataFrame({"row": frame.index[~good] + 1, "reason": reason[~good].to_numpy()})
    return Checked(rows[good].reset_index(drop=True), refused)


def _names(frame: pd.DataFrame, column: str) -> pd.Series:
    if column not in frame.columns:
        return pd.Series(None, index=frame.index, dtype="object")
    values = frame[column].astype("string").str.strip().astype("object")
    return values.where(values.notna() & (values != ""), None)


def store(lake: Lake, rows: pd.DataFrame) -> list[date]:
    """Merge good rows into the lake; returns the days whose prices are now others. Raises: TryLater."""
    before = read(lake, "covariates")[list(COLUMNS)]
    both = pd.concat([part for part in (rows[list(COLUMNS)], before) if len(part)] or [before], ignore_index=True)
    both["day"] = pd.to_datetime(both["day"])
    merged = both.drop_duplicates(_KEYS).sort_values(_KEYS, ignore_index=True)
    table = pa.Table.from_pandas(merged, schema=SCHEMAS["covariates"], preserve_index=False)
    folder = lake.path("covariates")
    try:
        lake.files.makedirs(folder, exist_ok=True)
        with lake.files.open(f"{folder}/{FILE}", "wb") as file:
            pq.write_table(table, file)
    except OSError as error:
        raise TryLater("the lake", f"{folder}: {error}") from error
    return price_days(rows.itertuples())


def price_days(rows: Iterable[object]) -> list[date]:
    """The days of the rows that are prices, each once."""
    return sorted({row.day.date() for row in rows if row.name == "price"})  # type: ignore[attr-defined]
