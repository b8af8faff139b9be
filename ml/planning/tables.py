"""The tables of a planning problem: their columns, and how one is read, checked and written.

In: a folder of Parquet files, `NAME.parquet`. Out: checked columns as numpy arrays. Every fault is told by table, column,
row and reason. `TABLES` is the documentation that docs/planning.md prints. Tests: tests/unit/planning/test_tables.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inventorybot.errors import SetupError

Array = npt.NDArray[Any]
SUPPLIER = "supplier"
"""The name in `lanes.from_site` that stands for every vendor."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it means and which values it may hold.

    Args:
        doc: one sentence with the unit.
        kind: "text", "number" or "integer".
        low, high: bounds that are allowed themselves, unless `above` (then `low` is not).
        missing: what a null, or a missing column, stands for; None: it must be there.
    """

    doc: str
    kind: str = "number"
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    missing: float | None = None


def _text(doc: str) -> Column:
    return Column(doc, "text")


_SKU, _SITE, _REGION = _text("name of the SKU"), _text("name of the site"), _text("name of the region")
_PERIOD = Column("number of the period, from 0", "integer", 0)

TABLES: dict[str, dict[str, Column]] = {
    "skus": {
        "sku": _SKU,
        "volume_m3": Column("space of one unit, m³", low=0, above=True),
        "unit_cost": Column("paid to the vendor for one unit, money", low=0),
        "price": Column("earned by one unit sold, money", low=0),
        "holding_cost": Column("of one unit on hand at the end of a period, money", low=0, missing=0),
        "salvage": Column("worth of one unit left at the end of the last period, money", missing=0),
        "shortage_cost": Column("lost goodwill for one unit not served, money", low=0, missing=0),
        "pack_size": Column("units are bought in multiples of this", "integer", 1, missing=1),
        "min_order": Column("fewest units of an order, units", low=0, missing=0),
        "order_cost": Column("fixed cost of one order to the vendor, money", low=0, missing=0),
    },
    "sites": {
        "site": _SITE,
        "name": _text("what people call it"),
        "layer": Column("1 is next to the suppliers", "integer", 1),
        "latitude": Column("degrees north", low=-90, high=90),
        "longitude": Column("degrees east", low=-180, high=180),
        "cutoff_hour": Column("an order before this hour leaves the same day", "integer", 0, 24),
    },
    "capacity": {
        "site": _SITE,
        "period": _PERIOD,
        "storage_m3": Column("space, m³; null: no limit", low=0, missing=math.inf),
        "inbound_units": Column("units that can be received in the period; null: no limit", low=0, missing=math.inf),
    },
    "regions": {
        "region": _REGION,
        "latitude": Column("degrees north", low=-90, high=90),
        "longitude": Column("degrees east", low=-180, high=180),
    },
    "speeds": {
        "speed": _text("name of the delivery promise"),
        "promise_hours": Column("hours from order to door that are promised", low=0, above=True),
        "value": Column("extra worth of one unit when the promise is kept, money"),
    },
    "region_speeds": {
        "region": _REGION,
        "speed": _text("name of the delivery promise"),
        "share": Column("share of the region's orders with this promise; they sum to 1 in a region", low=0, high=1),
    },
    "order_hours": {
        "hour": Column("hour of the day", "integer", 0, 23),
        "share": Column("share of the orders that come in this hour; they sum to 1", low=0, high=1),
    },
    "delivery": {
        "site": _SITE,
        "region": _REGION,
        "hours": Column("hours from cut-off to door", low=0),
        "cost": Column("last mile of one unit, money", low=0),
    },
    "lanes": {
        "from_site": _text(f'name of the site, or "{SUPPLIER}"'),
        "to_site": _SITE,
        "cost": Column("of moving one unit, money", low=0),
    },
    "lane_lead_times": {
        "from_site": _text(f'name of the site, or "{SUPPLIER}"'),
        "to_site": _SITE,
        "periods": Column("periods from dispatch to arrival", "integer", 0),
        "probability": Column("of this lead time; they sum to 1 on a lane", low=0, high=1),
    },
    "supply": {
        "sku": _SKU,
        "period": _PERIOD,
        "units": Column("units the vendor can send; no row or null: no limit", low=0, missing=math.inf),
    },
    "demand": {
        "sku": _SKU,
        "region": _REGION,
        "period": _PERIOD,
        "mean": Column("expected demand, units; no row: none. Quantile columns follow: q05 is the 5 % one", low=0),
    },
    "stock": {
        "sku": _SKU,
        "site": _SITE,
        "units": Column("units on hand before the first period", low=0),
    },
}
OPTIONAL = frozenset({"stock", "supply", "lane_lead_times"})


def quantile_column(level: float) -> str:
    """The column of a quantile level: 0.05 is q05, 0.5 is q50, 0.995 is q995."""
    return "q" + f"{level:.6f}"[2:].rstrip("0").ljust(2, "0")


def quantile_levels(names: Iterable[str]) -> list[tuple[float, str]]:
    """Quantile columns among the names, rising by level."""
    return sorted((float("0." + n[1:]), n) for n in names if n[:1] == "q" and n[1:].isdigit() and float(n[1:]) > 0)


class Table:
    """One table of a folder, checked column by column.

    Raises: SetupError: it is missing, not Parquet, or lacks a column.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name, path = name, folder / f"{name}.parquet"
        try:
            self.data = pq.read_table(path, read_dictionary=["sku", "region", "site"])
        except FileNotFoundError:
            if name not in OPTIONAL:
                raise SetupError(
                    f"{path} is missing: a planning problem needs the tables {', '.join(TABLES)}"
                ) from None
            self.data = pa.table({c: pa.array([], pa.string()) for c in TABLES[name]})
        except (pa.ArrowInvalid, OSError) as error:
            raise SetupError(f"{path} cannot be read as Parquet: {error}") from error
        for column, meaning in TABLES[name].items():
            if column not in self.data.column_names and meaning.missing is None:
                raise SetupError(f"table {name} lacks column {column} ({meaning.doc})")

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def refuse(self, column: str, row: int, reason: str) -> SetupError:
        """The error for one cell; rows count from 0."""
        return SetupError(f"table {self.name}, column {column}, row {row}: {reason}")

    def first(self, column: str, bad: Array, reason: str) -> None:
        """Raises: SetupError: any row is bad; names the first and shows its value."""
        if bad.any():
            row = int(bad.argmax())
            raise self.refuse(column, row, f"{self.data[column][row].as_py()!r} {reason}")

    def numbers(self, column: str, meaning: Column | None = None) -> Array:
        """A column of numbers, float64 or int64 (rows,), within its limits.

        Raises: SetupError: not a number, or outside the limits.
        """
        meaning = meaning or TABLES[self.name][column]
        if column not in self.data.column_names:
            return np.full(len(self), meaning.missing)
        data = self.data[column]
        if len(self) and not (pa.types.is_integer(data.type) or pa.types.is_floating(data.type)):
            raise self.refuse(column, 0, f"is of type {data.type}, a number is wanted")
        values: Array = np.array(data.cast(pa.float64()).to_numpy()) if len(self) else np.zeros(0)
        null = np.asarray(data.is_null().to_numpy()) if data.null_count else np.zeros(len(self), bool)
        if meaning.missing is None:
            self.first(column, null, "is not a number")
        elif null.any():
            values = np.where(null, meaning.missing, values)
        self.first(column, np.isnan(values), "is not a number")
        self.first(column, np.isinf(values) & ~null, "is not finite")
        low = values <= meaning.low if meaning.above else values < meaning.low
        self.first(column, low, f"must be {'above' if meaning.above else 'at least'} {meaning.low:g}")
        self.first(column, (values > meaning.high) & ~null, f"must be at most {meaning.high:g}")
        if meaning.kind == "integer":
            self.first(column, values != np.floor(values), "must be a whole number")
            return values.astype(np.int64)
        return values

    def names(self, column: str) -> Array:
        """A column of names, str (rows,), none empty. Raises: SetupError: one is empty or not text."""
        data = self.data[column]
        kind = data.type.value_type if pa.types.is_dictionary(data.type) else data.type
        if len(self) and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise self.refuse(column, 0, f"is of type {data.type}, text is wanted")
        values: Array = np.asarray(data.to_numpy(), dtype=np.str_) if not data.null_count else np.array([], np.str_)
        self.first(column, np.asarray(data.is_null().to_numpy(), bool), "is empty")
        self.first(column, np.char.str_len(values) == 0 if len(values) else np.zeros(0, bool), "is empty")
        return values

    def unique_names(self, column: str) -> Array:
        """Names that identify a row each. Raises: SetupError: one is there twice, or there is none."""
        values = self.names(column)
        if not len(values):
            raise SetupError(f"table {self.name} is empty")
        self._unique(column, np.unique(values, return_inverse=True)[1])
        return values

    def index(self, column: str, known: Array, also: Sequence[str] = ()) -> Array:
        """Position of each name among the known ones, int64 (rows,); `also` come first, as -1, -2, …

        Raises: SetupError: a name is not known.
        """
        data = self.data[column].combine_chunks()
        if not len(self):
            return np.zeros(0, np.int64)
        if not pa.types.is_dictionary(data.type):
            data = data.dictionary_encode()
        if isinstance(data, pa.ChunkedArray):
            data = data.unify_dictionaries().combine_chunks()
        self.first(column, np.asarray(data.is_null().to_numpy(zero_copy_only=False), bool), "is empty")
        found = pc.index_in(data.dictionary.cast(pa.string()), pa.array([*also, *known.tolist()], pa.string()))
        positions = found.fill_null(len(known) + len(also)).to_numpy().astype(np.int64)
        rows: Array = positions[data.indices.to_numpy()] - len(also)
        self.first(column, rows == len(known), "is not the name of a row in its own table")
        return rows

    def unique(self, columns: str, *keys: Array) -> None:
        """Raises: SetupError: two rows have the same key (int64 arrays, one a key column)."""
        flat = np.zeros(len(self), np.int64)
        for key in keys:
            flat = flat * (int(key.max(initial=0)) + 2) + key + 1
        self._unique(columns, flat)

    def _unique(self, columns: str, flat: Array) -> None:
        if len(flat) < 2 or bool((np.diff(flat) > 0).all()):  # written in order: no need to sort
            return
        order = np.argsort(flat, kind="stable")
        twice = np.flatnonzero(flat[order][1:] == flat[order][:-1])
        if len(twice):
            row = int(order[twice + 1].min())
            raise self.refuse(columns, row, "the same key stands in an earlier row")


def write_table(folder: Path, name: str, columns: dict[str, Any]) -> None:
    """Write one table; columns in the order of `TABLES`, arrays or Arrow arrays of one length."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"{name}.parquet", compression="zstd")


def named(codes: Array, names: Array) -> pa.DictionaryArray:
    """A column of names from positions (rows,) and the names themselves: small on disk and quick to read."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names.tolist(), pa.string()))
