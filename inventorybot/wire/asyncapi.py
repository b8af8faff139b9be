"""The AsyncAPI 3.0 document of everything InventoryBot says and hears over Kafka, generated from the contract itself.

In: wire/topics.py, wire/schemas.py, wire/examples.py. Out: docs/asyncapi.json.
Run: `python -m inventorybot.wire.asyncapi` writes it, `--check` fails where the committed one is out of date.
Operations are told from InventoryBot's side: it receives what upstream systems send. Source: AsyncAPI 3.0.0, its Kafka
bindings 0.5.0, CloudEvents 1.0.2's Kafka protocol binding (binary mode).
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from inventorybot import __version__
from inventorybot.domain.alerts import OF_A_BIN, OF_A_SKU
from inventorybot.generated import write_or_check
from inventorybot.wire import schemas
from inventorybot.wire.codec import MAX_ID, MAX_SOURCE, MAX_TRANSFER_ID, rfc3339
from inventorybot.wire.examples import EXAMPLES, Example
from inventorybot.wire.topics import DEAD_LETTERS, TOPICS, UPDATES, Topic

Json = dict[str, Any]
PATH = Path(__file__).parents[2] / "docs" / "asyncapi.json"
BINDING = "0.5.0"
OUTSIDE = frozenset({"upstream systems", "robots", "subscribers"})
"""The parties of topics.py that are not InventoryBot."""
_KEYS = {
    "site/bin": "^[^/]+/[^/]+$",
    "site/bin/SKU": "^[^/]+/[^/]+/.+$",
    "site/bin or site//SKU": "^[^/]+/([^/]+|/.+)$",
    "model name": "^.+$",
    "plan": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
    "site/SKU": "^[^/]+/.+$",
    "as the original's": "",
}
_ONE_IMAGE = [
    {"required": ["image"], "properties": {"image": {"type": "string"}}},
    {"required": ["image_url"], "properties": {"image_url": {"type": "string"}}},
]
_SPOT = [
    {"if": {"properties": {"kind": {"enum": sorted(kinds)}}}, "then": rule}
    for kinds, rule in (
        (OF_A_BIN, {"required": ["bin"], "properties": {"bin": {"type": "string"}}}),
        (OF_A_SKU, {"required": ["sku"], "properties": {"sku": {"type": "string"}, "bin": {"type": "null"}}}),
    )
]
"""What an anomaly of each kind must name."""
TRANSFER_IN = "inventorybot.movement.transfer-in.v1"
DEAD_LETTER = "dead-letter"
DEAD_LETTER_HEADERS: dict[str, str] = {
    "dl_topic": "the topic that the record lay in",
    "dl_partition": "its partition",
    "dl_offset": "its offset",
    "dl_at": "when it arrived there, ms since the epoch",
    "dl_code": "why it was refused: a code of docs/events.md",
    "dl_path": "JSON Pointer to the field at fault; empty: the whole event",
    "dl_reason": "why, in one sentence",
    "dl_null": "what was null in the original: key, value, or both; a replay must tell null from empty",
}


def data_schemas(ref_template: str = "#/components/schemas/{name}") -> dict[str, Json]:
    """The JSON Schema of every event's data, by the name of its class; what msgspec cannot say is added."""
    shapes = sorted(set(schemas.DATA.values()), key=lambda shape: shape.__name__)
    _, found = msgspec.json.schema_components(shapes, ref_template=ref_template)
    for schema in found.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    found["BinImageData"]["oneOf"] = _ONE_IMAGE
    found["AnomalyData"]["allOf"] = _SPOT
    return found


def document() -> Json:
    """The whole AsyncAPI document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "InventoryBot events",
            "version": __version__,
            "description": "Stock movements, pictures of bins and plan requests in; levels, counts, anomalies and plans out. "
            "CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the value is the data.",
            "license": {"name": "Apache-2.0"},
            "tags": [{"name": "inventory"}],
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "The brokers, as INVENTORYBOT_KAFKA names them.",
                "variables": {"bootstrap": {"default": "127.0.0.1:8701", "description": "host:port of a broker"}},
            }
        },
        "channels": {_id(topic): _channel(topic) for topic in TOPICS},
        "operations": {name: operation for topic in TOPICS for name, operation in _operations(topic).items()},
        "components": {
            "messages": {name: _message(name) for name in sorted(schemas.DATA)} | {DEAD_LETTER: _dead_letter()},
            "schemas": data_schemas() | {"CloudEventHeaders": _headers()},
        },
    }


def types_of(topic: Topic) -> list[str]:
    """The event types that a topic carries (for the dead letters: the one message there is)."""
    return (
        [DEAD_LETTER]
        if topic is DEAD_LETTERS
        else sorted(t for t, name in schemas.TOPIC_OF.items() if name == topic.name)
    )


def _id(topic: Topic) -> str:
    return topic.name.removeprefix("inventory.")


def _channel(topic: Topic) -> Json:
    config = topic.config()
    kafka: Json = {
        "topic": topic.name,
        "topicConfiguration": {
            "cleanup.policy": [config["cleanup.policy"]],
            "retention.ms": int(config["retention.ms"]),
            "max.message.bytes": int(config["max.message.bytes"]),
        },
        "bindingVersion": BINDING,
    }
    if topic.partitions:
        kafka["partitions"] = topic.partitions
    many = "" if topic.partitions else " As many partitions as the setting INVENTORYBOT_PARTITIONS says."
    return {
        "address": topic.name,
        "title": topic.says,
        "description": f"Keyed by {topic.key}: one partition sees the events of one key in order.{many} "
        f"Written by: {', '.join(topic.writers)}. Read by: {', '.join(topic.readers)}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in types_of(topic)},
        "bindings": {"kafka": kafka},
    }


def _operations(topic: Topic) -> dict[str, Json]:
    channel = f"#/channels/{_id(topic)}"
    readers, writers = set(topic.readers) - OUTSIDE, set(topic.writers) - OUTSIDE
    said = [TRANSFER_IN] if topic is UPDATES else types_of(topic)
    found: dict[str, Json] = {}
    if readers:
        found[f"receive-{_id(topic)}"] = {
            "action": "receive",
            "summary": f"InventoryBot ({', '.join(sorted(readers))}) reads {topic.says}.",
            "channel": {"$ref": channel},
            "messages": [{"$ref": f"{channel}/messages/{name}"} for name in types_of(topic)],
        }
    if writers:
        found[f"send-{_id(topic)}"] = {
            "action": "send",
            "summary": f"InventoryBot ({', '.join(sorted(writers))}) writes {topic.says}.",
            "channel": {"$ref": channel},
            "messages": [{"$ref": f"{channel}/messages/{name}"} for name in said],
        }
    return found


def _message(name: str) -> Json:
    shape = schemas.DATA[name]
    topic = next(t for t in TOPICS if t.name == schemas.TOPIC_OF[name])
    return {
        "name": name,
        "title": name.removeprefix("inventorybot."),
        "summary": inspect.cleandoc(shape.__doc__ or "").split("\n")[0],
        "contentType": "application/json",
        "headers": {
            "allOf": [
                {"$ref": "#/components/schemas/CloudEventHeaders"},
                {"type": "object", "properties": {"ce_type": {"const": name}}},
            ]
        },
        "payload": {"$ref": f"#/components/schemas/{shape.__name__}"},
        "bindings": {"kafka": {"key": _key(topic), "bindingVersion": BINDING}},
        "examples": [_example(name, example) for example in EXAMPLES[name]],
    }


def _key(topic: Topic) -> Json:
    return {"type": "string", "description": topic.key} | ({"pattern": _KEYS[topic.key]} if _KEYS[topic.key] else {})


def _example(name: str, example: Example) -> Json:
    return {
        "name": example.name,
        "summary": example.summary,
        "headers": {
            "ce_specversion": "1.0",
            "ce_id": example.id,
            "ce_source": example.source,
            "ce_type": name,
            "ce_time": rfc3339(example.time),
            "content-type": "application/json",
        },
        "payload": json.loads(msgspec.json.encode(example.data)),
    }


def _headers() -> Json:
    """The CloudEvents attributes as Kafka headers."""
    return {
        "type": "object",
        "description": "CloudEvents 1.0 attributes in binary mode, as UTF-8; other headers are let pass unread.",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"],
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": {
                "type": "string", "minLength": 1, "maxLength": MAX_TRANSFER_ID,
                "description": f"the publisher's, at most {MAX_ID} characters (a transfer-in's is from-bin>id): "
                "one id on one bin is one fact, however often it arrives",
            },
            "ce_source": {"type": "string", "minLength": 1, "maxLength": MAX_SOURCE, "description": "who says so"},
            "ce_type": {"type": "string", "description": "the event type, with its version"},
            "ce_time": {"type": "string", "format": "date-time", "description": "when it happened: RFC 3339"},
            "ce_traceparent": {"type": "string", "description": "W3C Trace Context, version 00"},
            "content-type": {"type": "string", "const": "application/json"},
        },
    }  # fmt: skip


def _dead_letter() -> Json:
    names = DEAD_LETTER_HEADERS
    return {
        "name": DEAD_LETTER,
        "title": "a record that can never be processed",
        "summary": "The original key, value and headers, and in dl_ headers where it lay and why it was refused.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "required": list(names),
            "properties": {name: {"type": "string", "description": says} for name, says in names.items()},
        },
        "payload": {"description": "the original bytes, whatever they are"},
        "bindings": {"kafka": {"key": _key(DEAD_LETTERS), "bindingVersion": BINDING}},
    }


def rendered() -> str:
    """The document as the committed file holds it."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the document, or with --check compare it; 1 where it is out of date."""
    return write_or_check(PATH, rendered(), "python -m inventorybot.wire.asyncapi", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
