"""The lake: where its datasets lie, what their columns are, and how to read them without Spark.

In: the URL of a folder (any that fsspec knows). Out: frames, paths. Each dataset is a folder of Parquet files partitioned
`day=YYYY-MM-DD` (covariates: one folder). Times are UTC, quantities whole units of one item. docs/history.md has the tables.
Try: `python -c "from ml.history.lake import Lake, read_daily; print(read_daily(Lake('.data/lake')))"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from inventorybot.errors import SetupError, TryLater

_TEXT, _UNITS, _TIME, _DAY = pa.string(), pa.int64(), pa.timestamp("us", tz="UTC"), pa.date32()
_SHARE = pa.float64()


def _table(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([*columns.items(), ("day", _DAY)])


SCHEMAS: dict[str, pa.Schema] = {
    "movements": _table(
        event_id=_TEXT, site=_TEXT, bin=_TEXT, sku=_TEXT, kind=_TEXT, quantity=_UNITS, to_bin=_TEXT, source=_TEXT,
        reason=_TEXT, occurred_at=_TIME, arrived_at=_TIME, revision=_UNITS,
    ),
    "daily": _table(
        site=_TEXT, sku=_TEXT, sold=_UNITS, received=_UNITS, returned=_UNITS, written_off=_UNITS, adjusted=_UNITS,
        counted=_UNITS, recorded=_UNITS, in_stock=_SHARE, censored=pa.bool_(), price=_SHARE,
    ),
    "levels": _table(site=_TEXT, bin=_TEXT, sku=_TEXT, on_hand=_UNITS),
    "sales": _table(
        site=_TEXT, sku=_TEXT, sold=_UNITS, received=_UNITS, returned=_UNITS, written_off=_UNITS, adjusted=_UNITS,
        counted=_UNITS, recorded=_UNITS, in_stock=_SHARE, censored=pa.bool_(), price=_SHARE,
    ),
    "corrections": _table(
        site=_TEXT, bin=_TEXT, sku=_TEXT, counted_at=_TIME, found=_UNITS, recorded=_UNITS,
    ),
    "counts": _table(
        image_id=_TEXT, site=_TEXT, bin=_TEXT, captured_at=_TIME, count=_UNITS, confidence=_SHARE, recorded=_UNITS,
        probability_wrong=_SHARE, model=_TEXT,
    ),
    "anomalies": _table(
        id=_TEXT, kind=_TEXT, site=_TEXT, bin=_TEXT, sku=_TEXT, raised_at=_TIME, ended_at=_TIME, status=_TEXT,
        probability=_SHARE, recorded=_UNITS, estimate=_UNITS, close_reason=_TEXT, outcome=_TEXT,
    ),
    "covariates": _table(site=_TEXT, sku=_TEXT, name=_TEXT, value=_SHARE),
}  # fmt: skip
"""Column types of every dataset; `day` is the partition, a column of the file only in covariates. docs/history.md says what each means."""

DEMAND = ("site", "sku", "day", "sold", "censored", "price")
"""Columns of `read_demand`."""
WHOLE = frozenset({"covariates"})
"""Datasets that are not partitioned."""


@dataclass(frozen=True)
class Lake:
    """A lake at a URL: a folder, or anything that fsspec can write (s3://bucket/lake).

    Raises: SetupError: no URL.
    """

    url: str

    def __post_init__(self) -> None:
        if not self.url:
            raise SetupError("there is no lake: set INVENTORYBOT_LAKE to a folder or an URL, or give --lake")

    @cached_property
    def _place(self) -> tuple[Any, str]:
        try:
            files, root = fsspec.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise SetupError(f"the lake {self.url} cannot be opened: {error}") from error
        return files, str(root).rstrip("/")

    @property
    def files(self) -> Any:
        """The fsspec file system of the lake."""
        return self._place[0]

    def path(self, dataset: str, day: date | None = None) -> str:
        """The folder of a dataset, or of a day of it, as `files` takes it."""
        folder = f"{self._place[1]}/{dataset}"
        return folder if day is None else f"{folder}/day={day.isoformat()}"

    def spark_path(self, dataset: str) -> str:
        """The same folder as Spark takes it: s3a:// for s3://, an absolute file:// for a local one."""
        scheme, separator, rest = self.url.partition("://")
        if not separator:
            return f"{Path(self.url).absolute().as_uri()}/{dataset}"
        return f"{'s3a' if scheme == 's3' else scheme}://{rest.rstrip('/')}/{dataset}"

    def has(self, dataset: str, day: date | None = None) -> bool:
        """Whether there is such a dataset, or such a day of it. Raises: TryLater: the store does not answer."""
        with _answering(self.url):
            self.files.invalidate_cache()  # another process writes it
            return bool(self.files.isdir(self.path(dataset, day)))

    def days(self, dataset: str) -> list[date]:
        """The days that a dataset has, in order; none where there is no such dataset yet. Raises: TryLater."""
        if not self.has(dataset):
            return []
        with _answering(self.url):
            names = [
                str(name).rstrip("/").rsplit("/", 1)[-1] for name in self.files.ls(self.path(dataset), detail=False)
            ]
        return sorted(date.fromisoformat(name[4:]) for name in names if name.startswith("day="))


def read(
    lake: Lake, dataset: str, since: date | None = None, until: date | None = None, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Rows of a dataset, `day` as a column of midnights (datetime64, no zone).

    Args:
        since, until: first and last day, both included; None: all.
        columns: None: all.
    Returns: sorted by day only; empty, with all columns, where the lake has nothing.
    Raises: SetupError: there is no such dataset, or its files have other columns. TryLater: the store does not answer.
    """
    schema = SCHEMAS.get(dataset)
    if schema is None:
        raise SetupError(f"the lake has no dataset {dataset!r}: it has {', '.join(SCHEMAS)}")
    wanted = [name for name in schema.names if columns is None or name in {*columns, "day"}]
    with _answering(lake.url):
        table = _whole(lake, dataset) if dataset in WHOLE else _partitions(lake, dataset, since, until, wanted)
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise SetupError(f"{lake.path(dataset)} lacks the column {missing[0]}: it was not written by build-history")
    frame = table.select(wanted).cast(pa.schema([schema.field(n) for n in wanted])).to_pandas()
    frame["day"] = pd.to_datetime(frame["day"])
    return frame


def _partitions(lake: Lake, dataset: str, since: date | None, until: date | None, columns: Sequence[str]) -> pa.Table:
    schema = SCHEMAS[dataset]
    days = [d for d in lake.days(dataset) if (since is None or d >= since) and (until is None or d <= until)]
    tables = []
    for day in days:
        files = sorted(f for f in lake.files.ls(lake.path(dataset, day), detail=False) if str(f).endswith(".parquet"))
        for file in files:
            part = pq.read_table(file, filesystem=lake.files, partitioning=None)
            part = part.append_column("day", pa.array([day] * len(part), _DAY))
            tables.append(part.select([c for c in columns if c in part.column_names]))
    empty = pa.schema([schema.field(name) for name in columns]).empty_table()
    return pa.concat_tables(tables, promote_options="permissive") if tables else empty


def _whole(lake: Lake, dataset: str) -> pa.Table:
    if not lake.has(dataset):
        return SCHEMAS[dataset].empty_table()
    return ds.dataset(lake.path(dataset), filesystem=lake.files, format="parquet", schema=SCHEMAS[dataset]).to_table()


def read_daily(lake: Lake, since: date | None = None, until: date | None = None) -> pd.DataFrame:
    """The daily table: a row for every slot (site, SKU) and day since it was first seen, sorted by site, SKU and day.

    Args:
        since, until: first and last day, both included; None: all.
    Returns: columns of SCHEMAS["daily"]; units as int64, but counted as Int64 (empty where nobody counted).
    Raises: SetupError, TryLater: as `read`.
    """
    frame = read(lake, "daily", since, until)
    units = {f.name: "Int64" if f.name == "counted" else "int64" for f in SCHEMAS["daily"] if f.type == _UNITS}
    return frame.astype(units | {"censored": bool}).sort_values(["site", "sku", "day"], ignore_index=True)


def read_demand(lake: Lake, since: date | None = None, until: date | None = None) -> pd.DataFrame:
    """What was sold: the daily rows, and before or beside them the imported sales of sites and SKUs that have none that day.

    Args, Raises: as `read_daily`.
    Returns: columns DEMAND, sorted by site, SKU and day.
    """
    own, imported = (read(lake, name, since, until, DEMAND)[list(DEMAND)] for name in ("daily", "sales"))
    both = pd.concat([part for part in (own, imported) if len(part)] or [own], ignore_index=True)
    return both.drop_duplicates(["site", "sku", "day"]).sort_values(["site", "sku", "day"], ignore_index=True)


@contextmanager
def _answering(url: str) -> Iterator[None]:
    """What the store says when it fails, in one sentence."""
    try:
        yield
    except pa.ArrowInvalid as error:
        raise SetupError(f"the lake {url} holds a file that is no Parquet: {error}") from error
    except OSError as error:
        raise TryLater("the lake", f"{url}: {error}") from error
