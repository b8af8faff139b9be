"""docs/asyncapi.json is what the code says, the real AsyncAPI parser accepts it, and it would not accept a broken one.

Run: `pytest tests/contract/asyncapi`. The parser needs the network once, to be installed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from inventorybot.adapters.cassandra import dead_letters
from inventorybot.wire import asyncapi, codec, schemas
from inventorybot.wire.codec import Record, TimeLimits
from inventorybot.wire.examples import EXAMPLES, START
from inventorybot.wire.topics import TOPICS
from tests.contract.asyncapi import parser

Mutant = Callable[[dict[str, Any]], object]
RECEIPT = "inventorybot.movement.receipt.v1"
EVERY_EXAMPLE = [pytest.param(name, e, id=f"{name}-{e.name}") for name, found in EXAMPLES.items() for e in found]


def message_of(document: dict[str, Any], name: str = RECEIPT) -> Any:
    return document["components"]["messages"][name]


MUTANTS: dict[str, Mutant] = {
    "no version": lambda d: d.pop("asyncapi"),
    "a version that does not exist": lambda d: d.update(asyncapi="3.9.9"),
    "no info": lambda d: d.pop("info"),
    "info without a title": lambda d: d["info"].pop("title"),
    "an address that is a number": lambda d: d["channels"]["updates"].update(address=7),
    "a channel with an unknown property": lambda d: d["channels"]["updates"].update(topic="inventory.updates"),
    "a message that is not there": lambda d: d["channels"]["updates"]["messages"].update(
        x={"$ref": "#/components/messages/nothing"}
    ),
    "a payload schema that is not there": lambda d: message_of(d).update(payload={"$ref": "#/components/schemas/No"}),
    "an operation on no channel": lambda d: d["operations"]["receive-updates"].update(
        channel={"$ref": "#/channels/nowhere"}
    ),
    "an operation without a channel": lambda d: d["operations"]["receive-updates"].pop("channel"),
    "an operation that neither sends nor receives": lambda d: d["operations"]["receive-updates"].update(
        action="publish"
    ),
    "an operation with a message of another channel": lambda d: d["operations"]["receive-updates"].update(
        messages=[{"$ref": "#/channels/levels/messages/inventorybot.level.changed.v1"}]
    ),
    "a schema of no known type": lambda d: d["components"]["schemas"]["MovementData"].update(type="dictionary"),
    "a required list that is a word": lambda d: d["components"]["schemas"]["MovementData"].update(required="sku"),
    "a limit that is a word": lambda d: d["components"]["schemas"]["MovementData"]["properties"]["quantity"].update(
        minimum="one"
    ),
    "a Kafka binding with no partitions": lambda d: d["channels"]["models"]["bindings"]["kafka"].update(partitions=0),
    "a server without a protocol": lambda d: d["servers"]["kafka"].pop("protocol"),
}
"""What is broken, and how. The address may be missing by the standard (an unknown address), but not be a number."""


@pytest.fixture(scope="module")
def answers() -> dict[str, list[dict[str, str]]]:
    """The parser's errors for the real document (under "") and for every mutant, from one run."""
    documents: dict[str, Any] = {"": json.loads(asyncapi.PATH.read_text(encoding="utf-8"))}
    for name, mutate in MUTANTS.items():
        documents[name] = copy.deepcopy(documents[""])
        mutate(documents[name])
    return dict(zip(documents, parser.parse(list(documents.values())), strict=True))


def test_the_committed_document_is_what_the_code_says() -> None:
    assert asyncapi.main(["--check"]) == 0, "run `python -m inventorybot.wire.asyncapi`"


def test_the_real_parser_accepts_the_document(answers: dict[str, list[dict[str, str]]]) -> None:
    assert answers[""] == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_real_parser_rejects_a_document_with(mutant: str, answers: dict[str, list[dict[str, str]]]) -> None:
    assert answers[mutant], f"the parser accepted a document with {mutant}"


def test_every_topic_is_a_channel_and_every_event_type_a_message_of_its_own() -> None:
    document = asyncapi.document()
    assert {c["address"] for c in document["channels"].values()} == {t.name for t in TOPICS}
    assert set(document["components"]["messages"]) == set(schemas.DATA) | {asyncapi.DEAD_LETTER}
    for name, topic in schemas.TOPIC_OF.items():
        assert name in document["channels"][topic.removeprefix("inventory.")]["messages"]


def test_upstream_sends_to_what_we_receive_and_we_send_what_others_read() -> None:
    operations = {name: o["action"] for name, o in asyncapi.document()["operations"].items()}
    assert operations["receive-updates"] == "receive"
    assert operations["receive-bin-images"] == "receive"
    assert "send-bin-images" not in operations
    assert operations["send-levels"] == "send"


def test_the_only_movement_that_we_send_ourselves_is_the_arrival_of_a_transfer() -> None:
    said = asyncapi.document()["operations"]["send-updates"]["messages"]
    assert said == [{"$ref": "#/channels/updates/messages/inventorybot.movement.transfer-in.v1"}]


def test_dead_letters_are_described_with_the_headers_they_have() -> None:
    assert tuple(asyncapi.DEAD_LETTER_HEADERS) == dead_letters.OURS


@pytest.mark.parametrize(("name", "example"), EVERY_EXAMPLE)
def test_an_example_is_valid_by_its_schema_and_decodes(name: str, example: Any) -> None:
    document = asyncapi.document()
    shown = next(e for e in message_of(document, name)["examples"] if e["name"] == example.name)
    schema = document["components"]["schemas"][schemas.DATA[name].__name__]
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(shown["payload"])
    jsonschema.Draft202012Validator(document["components"]["schemas"]["CloudEventHeaders"]).validate(shown["headers"])

    key = f"{shown['payload'].get('site')}/{shown['payload'].get('bin')}".encode()
    headers = [(k, v.encode()) for k, v in shown["headers"].items()]
    record = Record(
        schemas.TOPIC_OF[name], 0, 0, key, json.dumps(shown["payload"]).encode(), headers, START + 7_200_000
    )
    if name in schemas.MOVEMENTS:
        assert codec.read_movement(record, TimeLimits())[0].event_id == example.id
    elif name == schemas.BIN_IMAGE:
        assert codec.read_image(record, TimeLimits())[0].event_id == example.id
    else:
        assert codec.read(record, schemas.DATA[name])[0] == example.data


@pytest.mark.parametrize("field", ["sku", "quantity", "site", "bin"])
def test_the_published_schema_refuses_what_the_codec_refuses(field: str) -> None:
    document = asyncapi.document()
    schema = {**document["components"]["schemas"]["MovementData"], "components": document["components"]}
    good = {"site": "BER1", "bin": "A", "sku": "S", "quantity": 1}
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(good)
    for bad in ("a\n", "", " a", 1.5, None, [], "x" * 10_000):
        assert not validator.is_valid(good | {field: bad})
    assert not validator.is_valid({k: v for k, v in good.items() if k != field})
