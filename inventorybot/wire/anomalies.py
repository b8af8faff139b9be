"""Steps in the lives of anomalies, in and out of Kafka: domain/alerts.py on one side, inventory.anomalies on the other.

In: a `Step`, or a record of the topic. Out: the record to publish, or the `Step` (BadEvent where it is none).
"""

from __future__ import annotations

from typing import get_args

import msgspec

from inventorybot.domain.alerts import Knowledge, Step, check_spot, spot_of
from inventorybot.errors import BadEvent, Code
from inventorybot.wire import schemas
from inventorybot.wire.codec import Envelope, Message, Record, check_key, message, read, rfc3339, to_ms
from inventorybot.wire.schemas import AnomalyData, ModelRef

_KNOWN = tuple(name for name in Knowledge.__dataclass_fields__ if name not in ("p", "model", "expected_at"))
_SAID = ("sku", "actor", "assignee", "reason", "note")


def model_text(model: ModelRef) -> str:
    """count@v1: a model and its release in one word."""
    return f"{model.name}@{model.version}" if model.name else model.version


def model_ref(text: str) -> ModelRef:
    """What `model_text` wrote."""
    name, _, version = text.rpartition("@")
    return ModelRef(name, version)


def check_step_key(record: Record, step: Step) -> None:
    """A step must lie in the partition of its anomaly. Raises: BadEvent: the key is not site/bin, or site//SKU."""
    check_key(record.key, step.site, spot_of(step.bin, step.sku))


def step_message(step: Step, source: str, traceparent: str | None = None) -> Message:
    """The record of a step, keyed site/bin, or site//SKU where the anomaly is of a SKU at the whole site.

    Raises: BadEvent: a field is missing or outside its limits, so no reader would take it.
    """
    check_spot(step.kind, step.bin, step.sku)
    knowledge = step.knowledge
    fields = {
        "anomaly_id": step.anomaly_id, "kind": step.kind, "action": step.action, "site": step.site, "bin": step.bin,
        **{name: getattr(step, name) for name in _SAID},
        **{name: getattr(knowledge, name) for name in _KNOWN},
        "p": None if knowledge.p is None else list(knowledge.p),
        "model": None if knowledge.model is None else msgspec.to_builtins(model_ref(knowledge.model)),
        "expected_at": None if knowledge.expected_at is None else rfc3339(knowledge.expected_at),
    }  # fmt: skip
    try:
        data = msgspec.convert(fields, AnomalyData)
    except msgspec.ValidationError as error:
        raise BadEvent(Code.OUT_OF_RANGE, "/data", str(error)) from None
    head = Envelope(step.event_id, source, schemas.anomaly_type(step.action), step.at, traceparent)
    return message(head, f"{step.site}/{spot_of(step.bin, step.sku)}", data)


def read_step(record: Record) -> Step:
    """The step that a record of inventory.anomalies tells. Raises: BadEvent."""
    data, head = read(record, AnomalyData)
    if data.action not in get_args(schemas.Action) or head.type != schemas.anomaly_type(data.action):
        raise BadEvent(Code.CONTRADICTION, "/type", f"an event that says {data.action} has the type {head.type}")
    check_spot(data.kind, data.bin, data.sku)
    knowledge = Knowledge(
        **{name: getattr(data, name) for name in _KNOWN},
        p=None if data.p is None else tuple(data.p),
        model=None if data.model is None else model_text(data.model),
        expected_at=None if data.expected_at is None else to_ms(data.expected_at),
    )
    return Step(
        head.id, data.anomaly_id, data.kind, data.action, head.time, data.site, data.bin, knowledge=knowledge,
        **{name: getattr(data, name) for name in _SAID},
    )  # fmt: skip
