"""What OpenAPI says about events: the same schemas that check them (wire/schemas.py), so the two cannot drift apart.

In: the wire's types and worked examples. Out: the request body of POST /v1/events, and the component schemas it names.
"""

from __future__ import annotations

from typing import Any

import msgspec

from inventorybot.wire import schemas
from inventorybot.wire.codec import MAX_ID, rfc3339
from inventorybot.wire.examples import EXAMPLES

TYPES = sorted(schemas.PUBLISHABLE)
_REF = "#/components/schemas/{name}"


def _title(name: str) -> str:
    return "Event." + name.removeprefix("inventorybot.").removesuffix(".v1")


def _components() -> dict[str, Any]:
    refs, found = msgspec.json.schema_components([schemas.DATA[t] for t in TYPES], ref_template=_REF)
    text = {"type": "string", "minLength": 1, "maxLength": 256}
    for name, data in zip(TYPES, refs, strict=True):
        found[_title(name)] = {
            "type": "object",
            "title": _title(name),
            "required": ["specversion", "id", "source", "type", "time", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": {**text, "maxLength": MAX_ID, "description": "the same id on the same bin is the same fact"},
                "source": {**text, "description": "who says so", "examples": ["wms"]},
                "type": {"const": name},
                "time": {
                    "type": "string",
                    "format": "date-time",
                    "description": "when it happened, RFC 3339 with a zone",
                },
                "traceparent": {"type": "string", "description": "W3C Trace Context"},
                "data": data,
            },
        }
    mapping = {name: _REF.format(name=_title(name)) for name in TYPES}
    one_of = [{"$ref": ref} for ref in mapping.values()]
    found["Event"] = {"oneOf": one_of, "discriminator": {"propertyName": "type", "mapping": mapping}}
    return found


def _example(name: str) -> dict[str, Any]:
    example = EXAMPLES[name][0]
    head = {
        "specversion": "1.0",
        "id": example.id,
        "source": example.source,
        "type": name,
        "time": rfc3339(example.time),
    }
    return {**head, "data": msgspec.to_builtins(example.data)}


COMPONENTS = _components()
"""To be merged into the document's components."""

_EVENT = {"$ref": _REF.format(name="Event")}
_MANY = {"type": "array", "items": _EVENT, "maxItems": 1000}
_RECEIPT, _PICK = _example("inventorybot.movement.receipt.v1"), _example("inventorybot.movement.pick.v1")

EVENT_BODY: dict[str, Any] = {
    "required": True,
    "description": "One CloudEvent in structured JSON, or up to 1,000 of them; at most 8 MiB.",
    "content": {
        "application/cloudevents+json": {"schema": _EVENT, "example": _RECEIPT},
        "application/cloudevents-batch+json": {"schema": _MANY, "example": [_RECEIPT, _PICK]},
        "application/json": {"schema": {"anyOf": [_EVENT, _MANY]}, "example": [_RECEIPT]},
    },
}
