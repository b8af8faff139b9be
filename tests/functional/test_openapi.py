"""The API keeps what its OpenAPI document promises, and the document is a valid one.

In: the application on fakes with a little stock, anomalies and dead letters. schemathesis makes the requests, good and
bad, from the document. The live stream never ends, so it is tested in tests/unit/api/test_stream.py instead.
"""

from __future__ import annotations

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks

from inventorybot.domain.events import Kind
from inventorybot.domain.network_plan import PlanChange, PlanFigures, PlanRequest, PlanState, PlanSummary, SitePrice
from inventorybot.errors import BadEvent, Code
from inventorybot.ports import DeadLetter
from inventorybot.wire.codec import Record
from services.api.app import create_app, document
from tests.api_world import MINUTE, NOW, World, movement
from tests.unit.restock.makers import recommendation

CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            # a batch of which some events are bad is answered 207; a body of another type 415; a picture that left 410
            "negative_data_rejection": {"expected-statuses": [207, 400, 404, 405, 409, 410, 413, 415, 422]},
        }
    }
)
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


async def _stocked() -> World:
    world = World()
    await world.book(
        movement("m-1", Kind.RECEIPT, 5, NOW - 10 * MINUTE), movement("m-2", Kind.PICK, 2, NOW - 5 * MINUTE),
        movement("m-3", Kind.RECEIPT, 1, NOW - 4 * MINUTE, sku="kit/7 grün"),
    )  # fmt: skip
    await world.raise_anomaly("a-1")
    figures = PlanFigures(NOW, NOW, 86_400_000, 2, 10, 1, 99.0, 100.0, 0.01, 90.0, 0.0, 1.5)
    plan = PlanSummary(
        PlanRequest("nightly", NOW, "the night", None, (PlanChange("BER1", lost=True),)), PlanState.READY, None, figures
    )
    await world.plans.put_result(
        "nightly", NOW, [SitePrice("BER1", 0, 1.0, 2.0)], [], {"prices": b"<svg/>", "flows": b"<svg/>"}
    )
    await world.plans.put(plan)
    await world.restock.put([recommendation(at=NOW)])
    bad = Record("inventory.updates", 0, 17, b"BER1/A-1", b"{", [("ce_id", b"e")], NOW)
    await world.letters.put([DeadLetter.of(bad, BadEvent(Code.NOT_JSON, "/data", "the data is not JSON"))])
    return world


app = create_app(asyncio.run(_stocked()).parts())
schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=CONFIG)


@schema.exclude(path="/v1/anomalies/stream").parametrize()
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_its_document_says(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS)


def test_the_document_is_valid_openapi_3_1() -> None:
    found = document()
    validate(found)
    assert found["openapi"].startswith("3.1")


def test_every_operation_has_an_id_a_summary_and_documented_problems() -> None:
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            assert operation["operationId"], (method, path)
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            if path.startswith("/v1"):
                for status in ("422", "503"):
                    assert list(operation["responses"][status]["content"]) == ["application/problem+json"], (
                        method,
                        path,
                    )


@pytest.mark.parametrize("kind", ["receipt", "move", "cycle-count", "adjustment"])
def test_every_type_of_event_is_described_with_its_limits(kind: str) -> None:
    schemas = document()["components"]["schemas"]
    event = schemas[f"Event.movement.{kind}"]
    data = schemas[event["properties"]["data"]["$ref"].rpartition("/")[2]]
    assert event["properties"]["type"] == {"const": f"inventorybot.movement.{kind}.v1"}
    assert data["properties"]["quantity"]["maximum"] == 1_000_000
