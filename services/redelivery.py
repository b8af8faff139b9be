"""Sends a dead letter again, after checking that it would be taken this time.

In: a `DeadLetter`, and what to correct in it. Out: the record, published to the topic it came from, under the key that
its data ask for. What is still wrong with it is told as BadEvent, with the same codes and paths as anywhere else.
Shared by `inventorybot dead-letters replay` and POST /v1/dead-letters/{id}/replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from inventorybot.errors import BadEvent, Code
from inventorybot.ports import DeadLetter, DeadLetters, Publisher
from inventorybot.wire import codec, plans, schemas
from inventorybot.wire.codec import Message, Record, TimeLimits
from inventorybot.wire.topics import BIN_IMAGES, PLAN_REQUESTS, UPDATES

ATTRIBUTES = ("specversion", "id", "source", "type", "time", "traceparent")


@dataclass(frozen=True, slots=True)
class Correction:
    """What to change. Args: value: the corrected data, JSON; None: as it was. attributes: without `ce_`. key: None: site/bin."""

    value: bytes | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None

    @classmethod
    def of_document(cls, document: Any, key: str | None = None) -> Correction:
        """From a file: a whole CloudEvent in structured JSON, or only its data."""
        if isinstance(document, dict) and "specversion" in document:
            attributes = {n: document[n] for n in ATTRIBUTES if isinstance(document.get(n), str)}
            return cls(msgspec.json.encode(document.get("data")), attributes, key)
        return cls(msgspec.json.encode(document), key=key)


def corrected(letter: DeadLetter, change: Correction, limits: TimeLimits, now: int) -> Message:
    """The record to send. Args: now: ms. Raises: BadEvent: what is (still) wrong."""
    if not letter.whole:
        raise BadEvent(
            Code.CONTRADICTION, "", "retention has removed the original bytes; only their description is left"
        )
    unknown = next((name for name in change.attributes if name not in ATTRIBUTES), None)
    if unknown is not None:
        raise BadEvent(Code.UNKNOWN_FIELD, "/attributes", f"there is no attribute {unknown[:64]!r} to correct")
    own = {f"ce_{name}": text.encode() for name, text in change.attributes.items()}
    headers = [(n, v) for n, v in letter.original.headers if n not in own] + list(own.items())
    value = letter.original.value if change.value is None else change.value
    record = replace(letter.original, headers=headers, value=value, timestamp=now)
    head = codec.envelope_of(headers)
    key = _key_of(record)
    if change.key is not None and change.key != key:
        raise BadEvent(Code.BAD_KEY, "", f"the key must be site/bin of the data, {key!r}, not {change.key!r}")
    record = replace(record, key=key.encode())
    _check(record, limits)
    if letter.code == Code.ID_REUSED and head.id == codec.envelope_of(letter.original.headers).id:
        raise BadEvent(Code.ID_REUSED, "/id", "another fact already has this id; give this one an id of its own")
    return Message(letter.topic, key.encode(), record.value or b"", headers)


async def redeliver(
    letter: DeadLetter, change: Correction, *, publisher: Publisher, letters: DeadLetters, limits: TimeLimits, now: int
) -> Message:
    """Check, publish, and note that it was sent again. Raises: BadEvent, TryLater (then nothing is noted)."""
    message = corrected(letter, change, limits, now)
    await publisher.publish([message])
    await letters.mark_replayed(letter.id, now)
    return message


def _key_of(record: Record) -> str:
    """site/bin, as the data say (a plan request: its id); what is wrong is told by `_check` better than here."""
    if record.topic == PLAN_REQUESTS.name:
        return codec.envelope_of(record.headers).id
    try:
        data = msgspec.json.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent(Code.NOT_JSON, "/data", f"the data is not JSON: {error}") from None
    if isinstance(data, dict) and isinstance(data.get("site"), str) and isinstance(data.get("bin"), str):
        key = f"{data['site']}/{data['bin']}"
        return f"{key}/{data['sku']}" if record.topic == "inventory.levels" else key
    return (record.key or b"").decode("utf-8", "replace")


def _check(record: Record, limits: TimeLimits) -> None:
    """As the agent that reads the topic will. Raises: BadEvent."""
    if record.topic == UPDATES.name:
        codec.read_movement(record, limits)
        return
    if record.topic == BIN_IMAGES.name:
        codec.read_image(record, limits)
        return
    if record.topic == PLAN_REQUESTS.name:
        plans.read_request(record, limits)
        return
    kind = codec.envelope_of(record.headers).type
    if kind not in schemas.DATA or schemas.TOPIC_OF[kind] != record.topic:
        raise codec.unknown_type(kind, (t for t in schemas.DATA if schemas.TOPIC_OF[t] == record.topic))
    codec.read(record, schemas.DATA[kind])
