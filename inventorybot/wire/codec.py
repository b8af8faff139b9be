"""CloudEvents 1.0 in and out: Kafka's binary mode (`ce_…` headers, JSON data), the structured JSON of REST and files.

In: records and documents from anyone. Out: facts of domain/events.py, or BadEvent with a code and a JSON Pointer into
the structured form (`/time`, `/data/quantity`) — the same for the same fault, whichever way the event came.
Source: CloudEvents 1.0.2 and its Kafka protocol binding; RFC 3339; RFC 6901.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from inventorybot.domain.days import DAY_MS
from inventorybot.domain.events import BinImage, Kind, Movement
from inventorybot.errors import BadEvent, Code
from inventorybot.wire import schemas
from inventorybot.wire.decoding import decode, show
from inventorybot.wire.schemas import BinImageData

MAX_UPDATE_BYTES = 16_384
MAX_IMAGE_EVENT_BYTES = 1_300_000
"""900 kB of JPEG are 1.2 MB in base64."""
MAX_ID = 128
MAX_TRANSFER_ID = 64 + 1 + MAX_ID
"""A transfer-in is called `from-bin>id of the transfer`."""
MAX_SOURCE = 256
"""Characters of source, type and time."""
TRACEPARENT = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
"""W3C Trace Context, version 00."""

_TRANSFER_IN = schemas.movement_type(Kind.TRANSFER_IN)

Headers = Sequence[tuple[str, bytes]]
T = TypeVar("T", bound=Struct)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_DATE = Annotated[datetime, Meta(tz=True)]
_ID_FAULT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ATTRIBUTES = {f"ce_{name}": name for name in ("specversion", "id", "source", "type", "time")}


class Record(Struct, frozen=True, gc=False):
    """One record as it lies in Kafka. `timestamp` is the broker's, ms since the epoch."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


class Message(Struct, frozen=True, gc=False):
    """One record to be written."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


class Envelope(Struct, frozen=True, gc=False):
    """The CloudEvents attributes we use. `time` in ms since the epoch, UTC."""

    id: str
    source: str
    type: str
    time: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How far an event's time may lie from its arrival, ms."""

    future_ms: int = 300_000
    age_ms: int = 400 * DAY_MS


def to_ms(when: datetime) -> int:
    """Milliseconds since the epoch of a time with a zone; finer parts are cut off."""
    return (when - _EPOCH) // _MS


def from_ms(ms: int) -> datetime:
    """The UTC time of milliseconds since the epoch."""
    return _EPOCH + ms * _MS


def rfc3339(ms: int) -> str:
    """2026-11-21T06:36:00.000Z"""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """2026-11-21T06:36:00: many events share one."""
    return from_ms(seconds * 1000).isoformat()[:19]


# --- reading


def envelope_of(headers: Headers) -> Envelope:
    """The attributes of a record in binary mode. Headers that are not ours are let pass unread.

    Raises: BadEvent: an attribute is missing, out of its limits, or there twice with two values.
    """
    found: dict[str, str] = {}
    for header, value in headers or ():
        name = _ATTRIBUTES.get(header)
        if name is None:
            if header == "ce_traceparent" and value:
                found["traceparent"] = value.decode("ascii", "replace")
            continue
        try:
            text = value.decode()
        except (UnicodeDecodeError, AttributeError):  # AttributeError: Kafka knows headers without a value
            raise BadEvent(
                Code.WRONG_TYPE, f"/{name}", f"the attribute {name} (header {header}) is not UTF-8"
            ) from None
        if found.setdefault(name, text) != text:
            raise BadEvent(Code.CONTRADICTION, f"/{name}", f"the attribute {name} is there twice, with two values")
    return envelope(found)


def envelope(found: dict[str, Any]) -> Envelope:
    """The attributes of an event from a mapping without the `ce_` prefix. Raises: BadEvent."""
    version = found.get("specversion")
    if version is None:
        raise BadEvent(Code.NOT_CLOUDEVENT, "/specversion", "not a CloudEvent: the attribute specversion is missing")
    if version != "1.0":
        raise BadEvent(Code.NOT_CLOUDEVENT, "/specversion", f'specversion must be the text "1.0", not {show(version)}')
    event_id, source, name, time = (_attribute(found, a) for a in ("id", "source", "type", "time"))
    trace = found.get("traceparent")
    valid_trace = trace if isinstance(trace, str) and TRACEPARENT.match(trace) else None
    return Envelope(event_id, source, name, parse_time(time), valid_trace)


def _attribute(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if value is None:
        raise BadEvent(Code.MISSING_FIELD, f"/{name}", f"the attribute {name} is missing")
    if not isinstance(value, str):
        raise BadEvent(Code.WRONG_TYPE, f"/{name}", f"the attribute {name} must be a string, not {show(value)}")
    limit = MAX_SOURCE if name != "id" else MAX_TRANSFER_ID if found.get("type") == _TRANSFER_IN else MAX_ID
    if not 1 <= len(value) <= limit:
        said = f"the attribute {name} has {len(value)} characters; 1 to {limit} are allowed"
        raise BadEvent(Code.OUT_OF_RANGE, f"/{name}", said)
    if not value.isprintable():  # the quick question first: nearly every value is plain
        if _SURROGATE.search(value):
            raise BadEvent(Code.WRONG_TYPE, f"/{name}", f"the attribute {name} cannot be written as UTF-8")
        if _ID_FAULT.search(value):
            raise BadEvent(Code.OUT_OF_RANGE, f"/{name}", f"the attribute {name} holds a control character")
    return value


def parse_time(text: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 time. Raises: BadEvent: it is not one, or has no zone."""
    try:
        return to_ms(msgspec.convert(text, _DATE))
    except (msgspec.ValidationError, OverflowError):
        said = f"time must be RFC 3339 with a zone, such as 2026-11-21T06:36:00Z, not {show(text)}"
        raise BadEvent(Code.BAD_TIME, "/time", said) from None


def check_time(time: int, arrived: int, limits: TimeLimits) -> None:
    """Refuse a time that only a wrong clock can have produced. All in ms. Raises: BadEvent."""
    if time > arrived + limits.future_ms:
        said = f"time {_show_ms(time)} lies more than {limits.future_ms // 1000} s after its arrival"
        raise BadEvent(Code.BAD_TIME, "/time", said)
    if time < arrived - limits.age_ms:
        said = f"time {_show_ms(time)} lies more than {limits.age_ms // DAY_MS} days before its arrival"
        raise BadEvent(Code.BAD_TIME, "/time", said)


def read_movement(record: Record, limits: TimeLimits) -> tuple[Movement, Envelope]:
    """A record of inventory.updates. Raises: BadEvent."""
    value = _sized(record.value, MAX_UPDATE_BYTES)
    head = envelope_of(record.headers)
    event = movement(head, value)
    check_key(record.key, event.site, event.bin)
    if event.kind is not Kind.TRANSFER_IN:  # its first half was accepted: refusing the second would half-apply it
        check_time(head.time, record.timestamp, limits)
    return event, head


def read_image(record: Record, limits: TimeLimits) -> tuple[BinImage, Envelope]:
    """A record of inventory.bin-images. Raises: BadEvent."""
    value = _sized(record.value, MAX_IMAGE_EVENT_BYTES)
    head = envelope_of(record.headers)
    event = bin_image(head, value)
    check_key(record.key, event.site, event.bin)
    check_time(head.time, record.timestamp, limits)
    return event, head


def read(record: Record, data: type[T]) -> tuple[T, Envelope]:
    """A record that InventoryBot itself wrote, of a known type of data. Raises: BadEvent."""
    head = envelope_of(record.headers)
    return decode(_sized(record.value, MAX_IMAGE_EVENT_BYTES), data), head


def movement(head: Envelope, data: bytes) -> Movement:
    """A movement from its attributes and JSON data. Raises: BadEvent."""
    known = schemas.MOVEMENTS.get(head.type)
    if known is None:
        raise unknown_type(head.type, schemas.MOVEMENTS)
    kind, shape = known
    d: Any = decode(data, shape)
    to_bin = getattr(d, "to_bin", None)
    if to_bin is not None and to_bin == d.bin:
        raise BadEvent(Code.CONTRADICTION, "/data/to_bin", "to_bin is the bin that the units come from")
    if kind is Kind.ADJUSTMENT and d.quantity == 0:
        raise BadEvent(Code.CONTRADICTION, "/data/quantity", "an adjustment by 0 units changes nothing")
    return Movement(head.id, kind, head.time, d.site, d.bin, d.sku, d.quantity, to_bin, d.reason, head.source)


def bin_image(head: Envelope, data: bytes) -> BinImage:
    """A bin image from its attributes and JSON data. Raises: BadEvent."""
    if head.type != schemas.BIN_IMAGE:
        raise unknown_type(head.type, (schemas.BIN_IMAGE,))
    d = decode(data, BinImageData)
    if (d.image is None) == (d.image_url is None):
        raise BadEvent(Code.CONTRADICTION, "/data/image", "exactly one of image and image_url must be given")
    if d.image is not None and not d.image:
        raise BadEvent(Code.IMAGE_EMPTY, "/data/image", "the image has no bytes")
    return BinImage(head.id, head.time, d.site, d.bin, d.image, d.image_url, d.camera, head.source)


def check_key(key: bytes | None, site: str, bin_id: str) -> None:
    """A record must lie in the partition of its bin. Raises: BadEvent: its key is not site/bin of its data."""
    want = f"{site}/{bin_id}"
    if key is None or key != want.encode():
        raise BadEvent(Code.BAD_KEY, "", f"the key must be site/bin of the data, {want!r}, not {show(key)}")


def unknown_type(name: str, known: Iterable[str]) -> BadEvent:
    """The refusal of an event type; says which version is spoken where only the version differs."""
    stem = name.rpartition(".")[0]
    same = [k for k in known if k.rpartition(".")[0] == stem]
    hint = f"; this release speaks {same[0]}" if same else ""
    return BadEvent(Code.UNKNOWN_TYPE, "/type", f"there is no event type {show(name)} here{hint}")


def _sized(value: bytes | None, limit: int) -> bytes:
    if value is None:
        raise BadEvent(Code.NOT_JSON, "/data", "the record has no value")
    if len(value) > limit:
        raise BadEvent(Code.TOO_LARGE, "/data", f"the data has {len(value)} bytes; {limit} are allowed")
    return value


def _show_ms(ms: int) -> str:
    try:
        return rfc3339(ms)
    except OverflowError:
        return f"{ms} ms"


# --- the structured form, of REST and of files


def document(text: bytes) -> object:
    """The JSON value in some bytes, for `structured`. Raises: BadEvent: they are not JSON in UTF-8."""
    try:
        return msgspec.json.decode(text)
    except msgspec.ValidationError:
        raise BadEvent(Code.OUT_OF_RANGE, "", "a number in it is larger than a double can hold") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent(Code.NOT_JSON, "", f"this is not JSON: {error}") from None


def structured(document: object, arrived: int, limits: TimeLimits) -> Message:
    """A CloudEvent in structured JSON, checked as the agents will check it, as the record to publish.

    Args:
        document: one decoded JSON value: {"specversion": "1.0", "id", "source", "type", "time", "data": {…}}.
        arrived: now, ms since the epoch.
    Raises: BadEvent: what is wrong and where.
    """
    if not isinstance(document, dict):
        raise BadEvent(Code.NOT_CLOUDEVENT, "", "an event must be a JSON object")
    head = envelope(document)
    if head.type not in schemas.PUBLISHABLE:
        raise unknown_type(head.type, schemas.PUBLISHABLE)
    if "data" not in document:
        raise BadEvent(Code.MISSING_FIELD, "/data", "the field data is missing")
    try:
        data = msgspec.json.encode(document["data"])
    except (UnicodeEncodeError, RecursionError, OverflowError, TypeError) as error:
        raise BadEvent(Code.NOT_JSON, "/data", f"the data is not JSON: {error}") from None
    image = head.type == schemas.BIN_IMAGE
    _sized(data, MAX_IMAGE_EVENT_BYTES if image else MAX_UPDATE_BYTES)
    event: Movement | BinImage = bin_image(head, data) if image else movement(head, data)
    check_time(head.time, arrived, limits)
    return Message(schemas.TOPIC_OF[head.type], f"{event.site}/{event.bin}".encode(), data, _headers(head))


# --- writing


def message(head: Envelope, key: str, data: Struct) -> Message:
    """The record of an event, for the topic its type belongs to."""
    return Message(schemas.TOPIC_OF[head.type], key.encode(), msgspec.json.encode(data), _headers(head))


def movement_message(event: Movement, traceparent: str | None = None) -> Message:
    """The record of a movement."""
    fields = {"site": event.site, "bin": event.bin, "sku": event.sku, "quantity": event.quantity}
    extra = {k: v for k, v in (("to_bin", event.to_bin), ("reason", event.reason)) if v is not None}
    data = msgspec.convert(fields | extra, schemas.MOVEMENTS[schemas.movement_type(event.kind)][1])
    head = Envelope(event.event_id, event.source, schemas.movement_type(event.kind), event.occurred_at, traceparent)
    return message(head, f"{event.site}/{event.bin}", data)


def image_message(event: BinImage, traceparent: str | None = None) -> Message:
    """The record of a bin image."""
    data = BinImageData(
        site=event.site, bin=event.bin, image=event.image, image_url=event.image_url, camera=event.camera
    )
    head = Envelope(event.event_id, event.source, schemas.BIN_IMAGE, event.captured_at, traceparent)
    return message(head, f"{event.site}/{event.bin}", data)


@lru_cache(maxsize=1024)
def _bytes(text: str) -> bytes:
    """A type or a source, of which there are few, in UTF-8."""
    return text.encode()


def _headers(head: Envelope) -> list[tuple[str, bytes]]:
    pairs = [
        ("ce_specversion", b"1.0"),
        ("ce_id", head.id.encode()),
        ("ce_source", _bytes(head.source)),
        ("ce_type", _bytes(head.type)),
        ("ce_time", rfc3339(head.time).encode()),
        ("content-type", b"application/json"),
    ]
    if head.traceparent:
        pairs.append(("ce_traceparent", head.traceparent.encode()))
    return pairs
