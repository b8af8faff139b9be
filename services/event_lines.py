"""Events in files: JSON lines, or CSV rows turned into the same structured CloudEvents.

In: a binary stream. Out: one `Line` an event, or the reason why the line holds none. Memory does not grow with the file.

A CSV row without an id gets one made from its content (uuid5), so that a file published twice, or exported again with
more rows before or after, tells no fact twice. Two equal rows in one file are two facts: the second is told apart by
counting, over the last WINDOW rows. Rows need a time: "now" would differ each time the file is published.
"""

from __future__ import annotations

import csv
import itertools
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Any

from inventorybot.domain.events import Kind
from inventorybot.errors import BadEvent, Code, SetupError
from inventorybot.wire import codec, schemas

MAX_LINE = 1_310_000
"""Bytes: an image event of the largest size, and its attributes."""
MAX_CELL = 16_384
"""Characters: no field of an event may be longer; an unclosed quote ends here instead of eating the file."""
WINDOW = 100_000
"""Rows without an id that are remembered, about 12 MB, to tell equal rows apart."""
ATTRIBUTES = ("id", "time")
DATA = ("site", "bin", "sku", "quantity", "to_bin", "reason", "image_url")
COLUMNS = ("type", *ATTRIBUTES, *DATA)
REQUIRED = ("type", "time", "site", "bin")
_NAMESPACE = uuid.UUID("2b6b2f57-3b0c-5a53-9a35-9d5a8f6a9c11")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


class Form(StrEnum):
    """How events are written in a file."""

    AUTO = "auto"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Line:
    """One event of a file. Args: number: of its (last) line, from 1. event: the document, or why there is none."""

    number: int
    event: Any


def read_lines(
    stream: IO[bytes], form: Form, suffix: str, source: str, advance: Callable[[int], None] = lambda _: None
) -> Iterator[Line]:
    """Every event of a stream. Args: suffix: of the file's name. advance: told the bytes read. Raises: SetupError."""
    lines = _Lines(stream, advance)
    first = next(lines, None)
    if first is None:
        return iter(())
    whole = itertools.chain([first], lines)
    if form is Form.AUTO:
        by_name = {".csv": Form.CSV, ".jsonl": Form.JSONL, ".ndjson": Form.JSONL, ".json": Form.JSONL}
        looks = Form.JSONL if first.lstrip().startswith((b"{", b"[")) else Form.CSV
        form = by_name.get(suffix, looks)
    return _csv(whole, lines, source) if form is Form.CSV else _json(whole, lines)


class _Lines:
    """Lines of at most MAX_LINE bytes; of a longer one only the beginning, and `too_long` tells."""

    def __init__(self, stream: IO[bytes], advance: Callable[[int], None]) -> None:
        self._stream, self._advance = stream, advance
        self.number, self.too_long = 0, False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self._stream.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self._advance(len(line))
        self.number += 1
        self.too_long = len(line) > MAX_LINE
        rest = line
        while self.too_long and not rest.endswith(b"\n") and (rest := self._stream.readline(MAX_LINE)):
            self._advance(len(rest))
        return line.removeprefix(b"\xef\xbb\xbf") if self.number == 1 else line  # a byte-order mark of Excel's


def _json(lines: Iterator[bytes], state: _Lines) -> Iterator[Line]:
    for line in lines:
        if state.too_long:
            yield Line(state.number, _too_long())
        elif line.strip():
            try:
                yield Line(state.number, codec.document(line))
            except BadEvent as error:
                yield Line(state.number, error)


def _csv(lines: Iterator[bytes], state: _Lines, source: str) -> Iterator[Line]:
    faults: list[BadEvent] = []
    csv.field_size_limit(MAX_CELL)
    rows = csv.reader(_decoded(lines, state, faults), strict=True)
    header: list[str] | None = None
    names = _Names()
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            faults.append(BadEvent(Code.NOT_CLOUDEVENT, "", f"the line is not CSV: {error}"))
            row = []
        yield from (Line(state.number, fault) for fault in faults)
        faults.clear()
        if row is None:
            return
        cells = [cell.strip() for cell in row]
        if header is None:
            header = _header(cells)
        elif any(cells):
            yield Line(state.number, _event(header, cells, source, names))


def _decoded(lines: Iterator[bytes], state: _Lines, faults: list[BadEvent]) -> Iterator[str]:
    for line in lines:
        if state.too_long:
            faults.append(_too_long())
            yield "\n"
            continue
        try:
            yield line.decode()
        except UnicodeDecodeError:
            faults.append(BadEvent(Code.NOT_CLOUDEVENT, "", "the line is not UTF-8"))
            yield "\n"


def _header(cells: list[str]) -> list[str]:
    found = [cell.lower() for cell in cells]
    unknown = [name for name in found if name not in COLUMNS]
    missing = [name for name in REQUIRED if name not in found]
    twice = len(set(found)) < len(found)
    if unknown or missing or twice:
        what = f"unknown {unknown[:5]}" if unknown else f"missing {missing}" if missing else "one is given twice"
        raise SetupError(f"the first line of a CSV file names its columns, of {', '.join(COLUMNS)}; {what}")
    return found


class _Names:
    """Ids for rows that have none."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def of(self, content: str) -> str:
        """The same for the same content; another for each time it comes again."""
        base = uuid.uuid5(_NAMESPACE, content)
        count = self._seen.pop(base.bytes, 0)
        self._seen[base.bytes] = count + 1
        if len(self._seen) > WINDOW:
            self._seen.popitem(last=False)
        return str(uuid.uuid5(base, str(count)) if count else base)


def _event(header: list[str], cells: list[str], source: str, names: _Names) -> Any:
    if len(cells) != len(header):
        reason = f"the line has {len(cells)} cells; the first line names {len(header)} columns"
        return BadEvent(Code.NOT_CLOUDEVENT, "", reason)
    row = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    document: dict[str, Any] = {"specversion": "1.0", "source": source}
    if "type" in row:
        document["type"] = _type(row["type"])
    if "time" in row:
        document["time"] = row["time"]
    content = "\x1f".join(f"{name}={row.get(name, '')}" for name in COLUMNS if name != "id")
    document["id"] = row.get("id") or names.of(content)
    document["data"] = {name: _value(name, row[name]) for name in DATA if name in row}
    return document


def _type(text: str) -> str:
    if text in ("bin-image", "image"):
        return schemas.BIN_IMAGE
    return schemas.movement_type(Kind(text)) if text in Kind._value2member_map_ else text


def _value(name: str, text: str) -> Any:
    return int(text) if name == "quantity" and _WHOLE.fullmatch(text) else text


def _too_long() -> BadEvent:
    return BadEvent(Code.TOO_LARGE, "", f"the line has more than {MAX_LINE} bytes")
