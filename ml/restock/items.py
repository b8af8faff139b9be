"""The table of item parameters: how each item is bought, kept and served, Parquet or CSV.

In: a table with any of COLUMNS; site and sku may be `*` for all, and of several rows that fit an item the closest counts:
its own, its SKU's at all sites, its site's, the one for all. A cell left empty takes the row's default (docs/restock.md).
Out: `Items`, which tells an item's terms; and of each row that was refused its number, column and reason. An item whose own
row was refused gets no recommendation: a default in its place would be a guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inventorybot.domain.forecast import MAX_NAME
from inventorybot.domain.restock import Criterion
from inventorybot.errors import BadEvent, Code, SetupError
from ml.restock.policy import Terms

EVERY = "*"
WHOLE = ("review_days", "pack", "min_order", "shelf_life_days", "on_order")
NUMBERS = ("service_level", "unit_cost", "holding_rate", "shortage_cost", "order_cost")
COLUMNS = ("site", "sku", "lead_time", "criterion", *WHOLE, *NUMBERS)
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that was refused. Args: row: its number, from 1. column: the one at fault."""

    row: int
    column: str
    code: str
    reason: str


@dataclass(frozen=True)
class Items:
    """Terms by (site, SKU). Args: default: for items that no row speaks of. refused: items whose own row was."""

    default: Terms
    terms: dict[Key, Terms] = field(default_factory=dict)
    refused: dict[Key, str] = field(default_factory=dict)

    def of(self, site: str, sku: str) -> Terms:
        """An item's terms. Raises: BadEvent: the row that speaks of it was refused."""
        for key in ((site, sku), (EVERY, sku), (site, EVERY), (EVERY, EVERY)):
            if key in self.refused:
                raise BadEvent(
                    Code.CONTRADICTION, "/items", f"its row in the table of items was refused: {self.refused[key]}"
                )
            if key in self.terms:
                return self.terms[key]
        return self.default


def read_items(path: Path, default: Terms) -> tuple[Items, list[Refusal]]:
    """Reads a table. Raises: SetupError: it is no table, or lacks site or sku, or has a column that is none."""
    from ml.demand.table import read_table

    if not path.is_file():
        raise SetupError(f"{path} is no file: name a Parquet or CSV table of item parameters")
    frame = read_table(path)
    names = [str(c) for c in frame.columns]
    for name in ("site", "sku"):
        if name not in names:
            raise SetupError(f"{path} lacks the column {name}; a table of items has {', '.join(COLUMNS)}")
    if strange := [n for n in names if n not in COLUMNS]:
        raise SetupError(f"{path} has the column {strange[0]}, which is none of {', '.join(COLUMNS)}")
    rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    return from_rows(({str(k): v for k, v in row.items()} for row in rows), default)


def from_rows(rows: Iterator[dict[str, Any]], default: Terms) -> tuple[Items, list[Refusal]]:
    """Terms of every good row, and why the others were refused."""
    items, refusals = Items(default), []
    for number, cells in enumerate(rows, 1):
        key = None
        try:
            key = (_name("site", cells), _name("sku", cells))
            if key in items.terms or key in items.refused:
                raise BadEvent(Code.CONTRADICTION, "/sku", "an earlier row is of the same site and SKU")
            items.terms[key] = terms_of(cells, default)
        except BadEvent as error:
            if key is not None and key not in items.terms:
                items.refused.setdefault(key, error.reason)
            refusals.append(Refusal(number, error.path.removeprefix("/"), str(error.code), error.reason))
    return items, refusals


def terms_of(cells: dict[str, Any], default: Terms) -> Terms:
    """A row's terms. Raises: BadEvent: the path names the column."""
    changed: dict[str, Any] = {}
    for name in (*WHOLE, *NUMBERS):
        if not _empty(cells.get(name)):
            changed[name] = _number(name, cells[name])
    if not _empty(cells.get("lead_time")):
        changed["lead_days"] = parse_lead_time(cells["lead_time"])
    if not _empty(cells.get("criterion")):
        changed["criterion"] = _criterion(cells["criterion"])
    elif "shortage_cost" in changed and "service_level" not in changed:
        changed["criterion"] = Criterion.COSTS
    elif "service_level" in changed and default.criterion is Criterion.COSTS:
        changed["criterion"] = Criterion.CYCLE_SERVICE
    return replace(default, **changed)


def parse_lead_time(value: Any) -> tuple[tuple[int, float], ...]:
    """`7`, or days and their weights: `5:0.2 7:0.6 10:0.2`; weights are scaled to sum to 1. Raises: BadEvent."""
    try:
        parts = [part.partition(":") for part in str(value).replace(",", " ").replace(";", " ").split()]
        found = [(int(float(day)), float(weight) if colon else 1.0) for day, colon, weight in parts]
        whole = all(float(day) == int(float(day)) for day, _, _ in parts)
        good = whole and found and all(math.isfinite(w) and w > 0 for _, w in found)
        if not good or len({d for d, _ in found}) < len(found) or (len(found) > 1 and not all(c for _, c, _ in parts)):
            raise ValueError
    except (ValueError, OverflowError):
        said = f"lead_time must be whole days, such as 7, or days and their weights, such as 5:0.2 7:0.6 10:0.2, not {value!r}"
        raise BadEvent(Code.WRONG_TYPE, "/lead_time", said) from None
    total = sum(w for _, w in found)
    return tuple(sorted((day, weight / total) for day, weight in found))


def _criterion(value: Any) -> Criterion:
    try:
        return Criterion(str(value).strip())
    except ValueError:
        said = f"criterion must be {', '.join(Criterion)}, not {value!r}"
        raise BadEvent(Code.OUT_OF_RANGE, "/criterion", said) from None


def _number(name: str, value: Any) -> float | int:
    kind = "a whole number" if name in WHOLE else "a number"
    try:
        found = float(value)
        if name in WHOLE and found != int(found):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise BadEvent(Code.WRONG_TYPE, f"/{name}", f"{name} must be {kind}, not {value!r}") from None
    return int(found) if name in WHOLE else found


def _name(field_name: str, cells: dict[str, Any]) -> str:
    value = cells.get(field_name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of numbers with a gap comes as 17.0
    text = "" if _empty(value) else str(value)
    limit = MAX_NAME[field_name]
    if not 1 <= len(text) <= limit or text != text.strip() or not text.isprintable():
        said = f"{field_name} must have 1 to {limit} printable characters, or be {EVERY} for all"
        raise BadEvent(Code.MISSING_FIELD if not text else Code.OUT_OF_RANGE, f"/{field_name}", said)
    return text


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
