"""Reads one record of inventory.updates with the standard library alone: no code is shared with the ledger agent.

In: headers, key and value as Kafka has them. Out: a `Fact`, or the words that say why it is none.
The rules are those of docs/events.md, written a second time on purpose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from sys import intern

TAKES = frozenset({"put-away", "pick", "move", "sale", "shipment", "write-off"})
GIVES = frozenset({"receipt", "return", "transfer-in"})
SIGNED = "adjustment"
COUNTS = "cycle-count"
KINDS = TAKES | GIVES | {SIGNED, COUNTS}
MUST_GO_ON = frozenset({"put-away", "move"})
_TYPE = re.compile(r"inventorybot\.movement\.([a-z-]+)\.v1")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_OURS = frozenset({"ce_specversion", "ce_id", "ce_type", "ce_time"})
_FRACTION = re.compile(r"\.(\d+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LIMIT = 1_000_000


@dataclass(slots=True)
class Fact:
    """One movement as its record tells it. `units`: signed, or for a count the units found. Times in ms.

    `arrival` grows with the place in the log; `row` says whether the ledger holds it, exactly as it is.
    """

    event_id: str
    kind: str
    occurred_at: int
    site: str
    bin: str
    sku: str
    units: int
    to_bin: str | None
    partition: int = 0
    offset: int = 0
    arrival: int = 0
    row: bool = False

    @property
    def content(self) -> tuple[int, str, int, str]:
        """What a repeat of it must share."""
        return self.occurred_at, self.sku, self.units, self.kind


def milliseconds(text: str) -> int:
    """Of an RFC 3339 time, since the epoch; finer digits are rounded to microseconds, then cut. Raises: ValueError."""
    fraction = _FRACTION.search(text)
    whole = datetime.fromisoformat(_FRACTION.sub("", text, count=1).upper())
    if whole.tzinfo is None:
        raise ValueError("no zone")
    micros = (whole - _EPOCH) // _MICROSECOND
    if fraction:
        digits = (fraction[1] + "0000000")[:7]
        micros += (int(digits) + 5) // 10
    return micros // 1000


def read(headers: Iterable[tuple[str, bytes | None]] | None, key: bytes | None, value: bytes | None) -> Fact | str:
    """A fact, or why the record is none."""
    try:
        found = {name: (text or b"").decode() for name, text in headers or () if name in _OURS}
        data = json.loads(value or b"")
        kind = _TYPE.fullmatch(found["ce_type"])
        if kind is None or kind[1] not in KINDS or found["ce_specversion"] != "1.0":
            return "an unknown type or version"
        occurred_at = milliseconds(found["ce_time"])
        site, bin_id, sku, quantity, to_bin = (data.get(n) for n in ("site", "bin", "sku", "quantity", "to_bin"))
    except (KeyError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        return f"unreadable: {type(error).__name__}"
    wrong = _wrong(kind[1], site, bin_id, sku, quantity, to_bin)
    if wrong or not found.get("ce_id"):
        return wrong or "no id"
    if key != f"{site}/{bin_id}".encode(errors="replace"):
        return "a key that is not site/bin"
    if not sku.isprintable() and _SURROGATE.search(sku):
        return "a name that cannot be written as UTF-8"
    units = -quantity if kind[1] in TAKES else quantity
    names = (intern(site), intern(bin_id), intern(sku))
    return Fact(found["ce_id"], intern(kind[1]), occurred_at, *names, units, intern(to_bin) if to_bin else None)


def _wrong(kind: str, site: object, bin_id: object, sku: object, quantity: object, to_bin: object) -> str:
    if not all(isinstance(name, str) and name for name in (site, bin_id, sku)):
        return "a name that is missing, empty or no text"
    if type(quantity) is not int:
        return "units that are no whole number"
    if not (-LIMIT if kind == SIGNED else 0 if kind == COUNTS else 1) <= quantity <= LIMIT:
        return "units out of range"
    if kind == SIGNED and quantity == 0:
        return "an adjustment by nothing"
    if (to_bin is None and kind in MUST_GO_ON) or (
        to_bin is not None and (not isinstance(to_bin, str) or to_bin == bin_id)
    ):
        return "a transfer to nowhere"
    return ""
