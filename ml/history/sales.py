"""Sales that a business already has, as days of the lake: read from anywhere, cleaned, with a reason for every row refused.

In: a file or folder (CSV, Parquet; local, s3:// or any URL of fsspec), or a table behind JDBC. Out: the lake's dataset `sales`,
columns as `daily` (what such a table does not know is empty), and what was refused or repaired.
Cleaning is that of the demand forecasts (ml/demand/cleaning.py): duplicates summed, returns netted, closed days not zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from inventorybot.errors import SetupError, TryLater
from ml.demand.cleaning import Cleaned, clean
from ml.demand.table import find_columns, read_table
from ml.history.lake import SCHEMAS, Lake, read

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

KEYS = ["site", "sku", "day"]


@dataclass(frozen=True)
class Imported:
    """Args: rows: of `sales` that were written; first, last: their days."""

    rows: int
    first: date
    last: date
    cleaned: Cleaned


def read_source(source: str, storage: dict[str, Any] | None = None) -> pd.DataFrame:
    """The table at a path or URL as it stands.

    Args: storage: options of fsspec's file system, such as endpoint_url for S3.
    Raises: SetupError: there is none, or it cannot be read. TryLater: the store does not answer.
    """
    if "://" not in source:
        return read_table(Path(source))
    try:
        files, path = fsspec.url_to_fs(source, **(storage or {}))
        with TemporaryDirectory() as folder:
            copy = Path(folder) / path.rstrip("/").rsplit("/", 1)[-1]
            files.get_file(path, str(copy))
            return read_table(copy)
    except FileNotFoundError as error:
        raise SetupError(f"there is no {source}") from error
    except (ValueError, ImportError) as error:
        raise SetupError(f"{source} cannot be opened: {error}") from error
    except OSError as error:
        raise TryLater("the store of the sales", f"{source}: {error}") from error


def read_jdbc(spark: SparkSession, url: str, query: str, driver: str = "") -> pd.DataFrame:
    """The rows of a query, read through Spark.

    Args: driver: the class of the JDBC driver, where its jar does not say.
    Raises: SetupError: no such driver, or the database refuses.
    """
    options = {"url": url, "query": query} | ({"driver": driver} if driver else {})
    try:
        frame: pd.DataFrame = spark.read.format("jdbc").options(**options).load().toPandas()
    except Exception as error:  # each driver has its own, behind py4j's and pyspark's
        lines = [line for line in str(error).splitlines() if line.strip()]
        cause = next((x for x in reversed(lines) if x.startswith("Caused by: ")), lines[0]).removeprefix("Caused by: ")
        raise SetupError(f"{url.split('?')[0].split(';')[0]} was not read: {cause[:300]}") from error
    return frame.rename(columns=str.lower)


def import_sales(
    frame: pd.DataFrame,
    lake: Lake,
    named: dict[str, str] | None = None,
    advance: Callable[[int, int], None] = lambda *_: None,
) -> Imported:
    """Clean a table of daily sales, and merge it into `sales`: of a site, SKU and day the newest import stays.

    Args:
        named: role to column, as `find_columns` takes it.
        advance: hears of days written, of how many.
    Raises: SetupError: no usable row, or the table is not by day. TryLater: the store does not answer.
    """
    cleaned = clean(frame, find_columns(frame, named))
    rows = rows_of(cleaned)
    parts = list(rows.groupby("day", sort=True))
    for done, (day, part) in enumerate(parts):
        advance(done, len(parts))
        _merge(lake, day.date(), part)
    advance(len(parts), len(parts))
    return Imported(len(rows), parts[0][0].date(), parts[-1][0].date(), cleaned)


def rows_of(cleaned: Cleaned) -> pd.DataFrame:
    """Rows of `sales`: every known day. Raises: SetupError: the periods are no days."""
    panel = cleaned.panel
    if panel.periods.kind != "daily" or not panel.periods.dated:
        raise SetupError(
            f"the table is {panel.periods.kind}, and the lake keeps days: forecast from it with `inventorybot forecast --sales`"
        )
    series, at = np.nonzero(np.isfinite(panel.units))
    if not len(series):
        raise SetupError("no day of any series is known")
    price = panel.covariates.get("price")
    days = panel.periods.dates(0, panel.t)
    return pd.DataFrame(
        {
            "site": panel.store[series], "sku": panel.item[series], "day": days[at],
            "sold": np.rint(panel.units[series, at]).astype(np.int64),
            "price": price[series, at].astype(np.float64) if price is not None else np.nan, "censored": False,
        }
    )  # fmt: skip


def _merge(lake: Lake, day: date, part: pd.DataFrame) -> None:
    """Replace the file of a day by one with these rows and those of others."""
    schema = pa.schema([field for field in SCHEMAS["sales"] if field.name != "day"])
    before = read(lake, "sales", day, day, list(part.columns))[list(part.columns)]
    rows = pd.concat([part, before], ignore_index=True) if len(before) else part
    rows = rows.drop_duplicates(KEYS).sort_values(KEYS)
    table = pa.Table.from_pandas(rows.reindex(columns=schema.names), schema=schema, preserve_index=False)
    folder = lake.path("sales", day)
    try:
        lake.files.makedirs(folder, exist_ok=True)
        with lake.files.open(f"{folder}/sales.parquet", "wb") as file:
            pq.write_table(table, file)
    except OSError as error:
        raise TryLater("the lake", f"{folder}: {error}") from error
