"""Every class of bad input, as data: one table for Kafka, REST and the command line, so that all refuse alike.

In: nothing. Out: `REFUSED`, each `Case` with the code, the JSON Pointer and a word that the reason must hold, and
`ACCEPTED`, odd but right. `case.record(now)` is its Kafka form, `case.document(now)` the bytes of its structured form
(for REST bodies and lines of files), `case.forms` which of the two can express it. Times are ms since the epoch.
Run: `pytest tests/unit/wire`; other suites import it: `from tests.badinput import REFUSED`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inventorybot.errors import Code
from inventorybot.wire.codec import Record, rfc3339

NOW = 1_795_243_020_000
"""2026-11-21T06:37:00Z"""
GONE = object()
"""In `attributes` and `data`: leave this one out."""
OWN_KEY = b"\0as the data says"
RECEIPT = "inventorybot.movement.receipt.v1"
BOTH = frozenset({"kafka", "structured"})
KAFKA = frozenset({"kafka"})
STRUCTURED = frozenset({"structured"})
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Case:
    """One bad event: a good receipt with something changed.

    Args:
        name: what is wrong, in words.
        says: a word that the reason must hold: the field's name, where a field is at fault.
        attributes, data: CloudEvents attributes and data fields to set, or to leave out (`GONE`).
        raw: the data's JSON text as it is, instead of `data`.
        whole: the structured document as it is.
        shift_ms: the event's time relative to now.
        key: the record's key; `OWN_KEY`: site/bin of the data.
        headers: more headers for the record.
        structured_path: where the path differs because in structured form the data is a part of one JSON text.
    """

    name: str
    code: Code | None = None
    path: str = ""
    says: str = ""
    type: str = RECEIPT
    attributes: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    whole: bytes | None = None
    shift_ms: int = -60_000
    key: bytes | None = OWN_KEY
    headers: Sequence[tuple[str, Any]] = ()
    structured_path: str | None = None
    forms: frozenset[str] = BOTH

    @property
    def path_structured(self) -> str:
        """The JSON Pointer that REST and the command line must give."""
        return self.path if self.structured_path is None else self.structured_path

    def _attributes(self, now: int) -> dict[str, Any]:
        good = {
            "specversion": "1.0",
            "id": "e-1",
            "source": "wms",
            "type": self.type,
            "time": rfc3339(now + self.shift_ms),
        }
        return {k: v for k, v in (good | dict(self.attributes)).items() if v is not GONE}

    def _data(self) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.type.startswith("inventorybot.bin-image"):
            good: dict[str, Any] = {"site": "BER1", "bin": "P-3-A12", "image_url": "s3://pictures/1.jpg"}
        else:
            good = {"site": "BER1", "bin": "P-3-A12", "sku": "B00EXAMPLE", "quantity": 3}
        return json.dumps({k: v for k, v in (good | dict(self.data)).items() if v is not GONE}).encode()

    def record(self, now: int = NOW, offset: int = 0) -> Record:
        """The case in Kafka's binary mode, as it arrived at `now`."""
        pairs = [(f"ce_{k}", v if isinstance(v, bytes) else str(v).encode()) for k, v in self._attributes(now).items()]
        key = self.key
        if key == OWN_KEY:
            site, bin_id = self.data.get("site", "BER1"), self.data.get("bin", "P-3-A12")
            key = f"{site}/{bin_id}".encode(errors="replace")
        topic = "inventory.bin-images" if "bin-image" in self.type else "inventory.updates"
        return Record(topic, 0, offset, key, self._data(), [*pairs, *self.headers], now)

    def document(self, now: int = NOW) -> bytes:
        """The case as one structured JSON text; surrogates stay escaped."""
        if self.whole is not None:
            return self.whole
        head = json.dumps(self._attributes(now)).encode()
        return head[:-1] + b', "data": ' + self._data() + b"}"


def _quantity(text: str) -> bytes:
    return b'{"site":"BER1","bin":"P-3-A12","sku":"B00EXAMPLE","quantity":' + text.encode() + b"}"


TOO_MUCH_NOT_JSON: dict[str, Any] = {"code": Code.NOT_JSON, "path": "/data", "says": "JSON", "structured_path": ""}
LONG = "x" * 10_000

NOT_JSON = [
    Case("the data is not JSON", raw=b"quantity: 3", **TOO_MUCH_NOT_JSON),
    Case("the data ends half-way", raw=b'{"site":"BER1","bin":', **TOO_MUCH_NOT_JSON),
    Case("there is no data at all", raw=b"", **TOO_MUCH_NOT_JSON),
    Case("invalid UTF-8 in a field", raw=_quantity("3").replace(b"B00", b"\xff\xfe"), **TOO_MUCH_NOT_JSON),
    Case("a lone surrogate in a field", data={"sku": "\ud800"}, **TOO_MUCH_NOT_JSON),
    Case("NaN is not JSON", raw=_quantity("NaN"), **TOO_MUCH_NOT_JSON),
    Case("a whole that is not an object", Code.NOT_CLOUDEVENT, "", "object", whole=b"[1, 2]", forms=STRUCTURED),
    Case("a whole of deep nesting", Code.NOT_JSON, "", "JSON", whole=b"[" * 100_000, forms=STRUCTURED),
]

ENVELOPE = [
    Case("no specversion", Code.NOT_CLOUDEVENT, "/specversion", "specversion", attributes={"specversion": GONE}),
    Case("another specversion", Code.NOT_CLOUDEVENT, "/specversion", "specversion", attributes={"specversion": "0.3"}),
    Case("a number as specversion", Code.NOT_CLOUDEVENT, "/specversion", "specversion",
         attributes={"specversion": 1.0}, forms=STRUCTURED),
    *(Case(f"no {name}", Code.MISSING_FIELD, f"/{name}", name, attributes={name: GONE})
      for name in ("id", "source", "type", "time")),
    Case("no data", Code.MISSING_FIELD, "/data", "data", forms=STRUCTURED,
         whole=b'{"specversion":"1.0","id":"e","source":"wms","type":"inventorybot.movement.receipt.v1",'
               b'"time":"2026-11-21T06:36:00Z"}'),
    Case("a number as id", Code.WRONG_TYPE, "/id", "id", attributes={"id": 7}, forms=STRUCTURED),
    Case("a huge number as id", Code.WRONG_TYPE, "/id", "id", attributes={"id": 10**4000}, forms=STRUCTURED),
    Case("a deep list as id", Code.WRONG_TYPE, "/id", "id", attributes={"id": [[[[[[[[1]]]]]]]]}, forms=STRUCTURED),
    Case("an empty id", Code.OUT_OF_RANGE, "/id", "id", attributes={"id": ""}),
    Case("an id of 10,000 characters", Code.OUT_OF_RANGE, "/id", "id", attributes={"id": LONG}),
    Case("a source of 10,000 characters", Code.OUT_OF_RANGE, "/source", "source", attributes={"source": LONG}),
    Case("a control character in the id", Code.OUT_OF_RANGE, "/id", "id", attributes={"id": "a\x00b"}),
    Case("a line feed at the end of the id", Code.OUT_OF_RANGE, "/id", "id", attributes={"id": "a\n"}),
    Case("a lone surrogate in the id", Code.NOT_JSON, "", "JSON", attributes={"id": "\udcff"}, forms=STRUCTURED),
    Case("invalid UTF-8 in the id", Code.WRONG_TYPE, "/id", "id", attributes={"id": b"\xff"}, forms=KAFKA),
    Case("surrogates in the id as bytes", Code.WRONG_TYPE, "/id", "id", attributes={"id": b"\xed\xa0\x80"},
         forms=KAFKA),
    Case("an id header without a value", Code.WRONG_TYPE, "/id", "id", attributes={"id": GONE},
         headers=[("ce_id", None)], forms=KAFKA),
    Case("two ids", Code.CONTRADICTION, "/id", "id", headers=[("ce_id", b"e-2")], forms=KAFKA),
    Case("two types", Code.CONTRADICTION, "/type", "type",
         headers=[("ce_type", b"inventorybot.movement.sale.v1")], forms=KAFKA),
    Case("an unknown type", Code.UNKNOWN_TYPE, "/type", "type", type="inventorybot.movement.teleport.v1"),
    Case("an unknown version", Code.UNKNOWN_TYPE, "/type", "receipt.v1", type="inventorybot.movement.receipt.v2"),
    Case("another product's type", Code.UNKNOWN_TYPE, "/type", "type", type="com.example.order.created"),
    Case("a type that only InventoryBot says", Code.UNKNOWN_TYPE, "/type", "type",
         type="inventorybot.level.changed.v1"),
    Case("a type of 10,000 characters", Code.OUT_OF_RANGE, "/type", "type", type=LONG),
]  # fmt: skip

TIMES = [
    Case("a time of a day ahead", Code.BAD_TIME, "/time", "time", shift_ms=DAY_MS),
    Case("a time of two years ago", Code.BAD_TIME, "/time", "time", shift_ms=-730 * DAY_MS),
    *(Case(f"the time {text}", Code.BAD_TIME, "/time", "time", attributes={"time": text})
      for text in ("yesterday", "2026-11-21", "2026-11-21T06:36:00", "1795243020", "2026-13-01T00:00:00Z",
                   "2026-11-21T25:00:00Z",
                   "0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z")),
    Case("a number as time", Code.WRONG_TYPE, "/time", "time", attributes={"time": 1795243020}, forms=STRUCTURED),
]  # fmt: skip

FIELDS = [
    *(Case(f"no {name}", Code.MISSING_FIELD, f"/data/{name}", name, data={name: GONE}, key=b"BER1/P-3-A12")
      for name in ("site", "bin", "sku", "quantity")),
    Case("a field too many", Code.UNKNOWN_FIELD, "/data/colour", "colour", data={"colour": "red"}),
    Case("a field whose name needs escapes", Code.UNKNOWN_FIELD, "/data/a~1b~0c", "a/b~c", data={"a/b~c": 1}),
    Case("a field whose name looks like a path", Code.UNKNOWN_FIELD, "/data/x` - at `$.sku", "sku",
         data={"x` - at `$.sku": 1}),
    *(Case(f"data that is {what}", Code.WRONG_TYPE, "/data", "data", raw=raw)
      for what, raw in (("a list", b"[]"), ("null", b"null"), ("a text", b'"3"'), ("a number", b"3"))),
    *(Case(f"{name} that is {what}", Code.WRONG_TYPE, f"/data/{name}", name, data={name: value}, key=b"BER1/P-3-A12")
      for name in ("site", "bin", "sku") for what, value in (("a number", 7), ("null", None), ("a list", ["a"]))),
    Case("a number as reason", Code.WRONG_TYPE, "/data/reason", "reason", data={"reason": 7}),
    *(Case(f"an empty {name}", Code.OUT_OF_RANGE, f"/data/{name}", name, data={name: ""})
      for name in ("site", "bin", "sku")),
    *(Case(f"a {name} of 10,000 characters", Code.OUT_OF_RANGE, f"/data/{name}", name, data={name: LONG})
      for name in ("site", "bin", "sku", "reason")),
    *(Case(f"a control character in {name}", Code.OUT_OF_RANGE, f"/data/{name}", name, data={name: "a\x1bb"})
      for name in ("site", "bin", "sku", "reason")),
    *(Case(f"a line feed at the end of {name}", Code.OUT_OF_RANGE, f"/data/{name}", name, data={name: "a\n"})
      for name in ("site", "bin", "sku", "reason")),
    *(Case(f"a slash in {name}", Code.OUT_OF_RANGE, f"/data/{name}", name, data={name: "a/b"})
      for name in ("site", "bin")),
    *(Case(f"a space at an end of {name}", Code.OUT_OF_RANGE, f"/data/{name}", name, data={name: "a "})
      for name in ("site", "bin", "sku")),
    Case("deep nesting where a text belongs", Code.WRONG_TYPE, "/data/sku", "sku",
         raw=b'{"site":"BER1","bin":"P-3-A12","sku":' + b"[" * 400 + b"]" * 400 + b',"quantity":3}'),
]  # fmt: skip

UNITS = [
    *(Case(f"{text} units", Code.WRONG_TYPE, "/data/quantity", "quantity", raw=_quantity(text))
      for text in ("1.5", "2.0", "1e2", '"3"', "true", "null", "[3]")),
    *(Case(f"{text} units", Code.OUT_OF_RANGE, "/data/quantity", "quantity", raw=_quantity(text))
      for text in ("0", "-0", "-3", "1000001", "9223372036854775808", "1" + "0" * 200)),
    Case("a number no double can hold", Code.OUT_OF_RANGE, "/data/quantity", "quantity", raw=_quantity("1e400"),
         structured_path=""),
    Case("a cycle count below zero", Code.OUT_OF_RANGE, "/data/quantity", "quantity",
         type="inventorybot.movement.cycle-count.v1", data={"quantity": -1}),
    Case("an adjustment beyond the limit", Code.OUT_OF_RANGE, "/data/quantity", "quantity",
         type="inventorybot.movement.adjustment.v1", data={"quantity": -1_000_001}),
]  # fmt: skip

SELF_CONTRADICTING = [
    Case("an adjustment by nothing", Code.CONTRADICTION, "/data/quantity", "adjustment",
         type="inventorybot.movement.adjustment.v1", data={"quantity": 0}),
    *(Case(f"a {kind} into the bin it leaves", Code.CONTRADICTION, "/data/to_bin", "to_bin",
           type=f"inventorybot.movement.{kind}.v1", data={"to_bin": "P-3-A12"})
      for kind in ("move", "put-away", "pick")),
    Case("a move to nowhere", Code.MISSING_FIELD, "/data/to_bin", "to_bin", type="inventorybot.movement.move.v1"),
    Case("a receipt that goes on to another bin", Code.UNKNOWN_FIELD, "/data/to_bin", "to_bin", data={"to_bin": "P-4"}),
    Case("an image both inline and by reference", Code.CONTRADICTION, "/data/image", "image",
         type="inventorybot.bin-image.captured.v1", data={"image": "AAAA"}),
    Case("an image neither inline nor by reference", Code.CONTRADICTION, "/data/image", "image",
         type="inventorybot.bin-image.captured.v1", data={"image_url": GONE}),
]  # fmt: skip

IMAGES = [
    Case("an image without bytes", Code.IMAGE_EMPTY, "/data/image", "image", type="inventorybot.bin-image.captured.v1",
         data={"image": "", "image_url": GONE}),
    Case("an image that is not base64", Code.WRONG_TYPE, "/data/image", "image",
         type="inventorybot.bin-image.captured.v1", data={"image": "!!", "image_url": GONE}),
    *(Case(f"an image at {url!r}", Code.OUT_OF_RANGE, "/data/image_url", "image_url",
           type="inventorybot.bin-image.captured.v1", data={"image_url": url})
      for url in ("http://example.com/1.jpg", "s3://", "s3://a\x00b", "pictures/1.jpg", "s3://" + LONG)),
]  # fmt: skip

TOO_LARGE = [
    Case("a message over the size limit", Code.TOO_LARGE, "/data", "16384", data={"reason": "x" * 20_000}),
    Case("deep nesting over the size limit", Code.TOO_LARGE, "/data", "16384", raw=b"[" * 100_000,
         forms=KAFKA),
    Case("an image event over the size limit", Code.TOO_LARGE, "/data", "1300000",
         type="inventorybot.bin-image.captured.v1", data={"image": "A" * 1_400_000, "image_url": GONE}),
]  # fmt: skip

KEYS = [
    Case(f"the key {key!r}", Code.BAD_KEY, "", "key", key=key, forms=KAFKA)
    for key in (None, b"", b"BER1", b"BER1/P-3-A13", b"BER1/P-3-A12/", b"ber1/P-3-A12", b"\xff\xfe", b"x" * 10_000)
]

REFUSED: list[Case] = NOT_JSON + ENVELOPE + TIMES + FIELDS + UNITS + SELF_CONTRADICTING + IMAGES + TOO_LARGE + KEYS

ACCEPTED: list[Case] = [
    Case("a site, a bin and a SKU never seen", data={"site": "NEW9", "bin": "never-seen", "sku": "B00UNKNOWN"}),
    Case("names in other scripts", data={"site": "東京", "bin": "Réserve 3", "sku": "артикул/7"}),
    Case("the longest names", attributes={"id": "i" * 128}, data={"site": "s" * 64, "bin": "b" * 64, "sku": "k" * 128}),
    Case("the most units", data={"quantity": 1_000_000}),
    Case("a cycle count of nothing", type="inventorybot.movement.cycle-count.v1", data={"quantity": 0}),
    Case("an adjustment downwards", type="inventorybot.movement.adjustment.v1", data={"quantity": -2}),
    Case("a time in another zone", attributes={"time": "2026-11-21T12:06:00+05:30"}),
    Case("a reason that is null", data={"reason": None}),
    Case("an extension that is not ours", attributes={"partitionkey": "x"}),
    Case("a trace that is not a trace", attributes={"traceparent": "nonsense"}),
    Case("the same id twice over", headers=[("ce_id", b"e-1")], forms=KAFKA),
    Case(
        "headers that are not ours", headers=[("x-robot", b"\xff"), ("empty", None), ("ce_note", b"\xff")], forms=KAFKA
    ),
    Case("an image by reference", type="inventorybot.bin-image.captured.v1"),
]
