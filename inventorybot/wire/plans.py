"""Network plans in and out of Kafka: domain/network_plan.py on one side, inventory.plan-requests and .plans on the other.

In: a `PlanRequest` or a `PlanSummary`, or a record of inventory.plan-requests. Out: the record to publish, or the request
(BadEvent where it is none, with a code and a JSON Pointer).
"""

from __future__ import annotations

import re

import msgspec

from inventorybot.domain.network_plan import PlanChange, PlanRequest, PlanState, PlanSummary
from inventorybot.errors import BadEvent, Code
from inventorybot.wire import codec, schemas
from inventorybot.wire.codec import Envelope, Message, Record, TimeLimits
from inventorybot.wire.schemas import PlanData, PlanRequestData

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NEWEST = "newest"
"""Stands for the newest plan that is ready, so no plan is called so. A plan's id is also a folder's name: never `..`."""


def read_request(record: Record, limits: TimeLimits) -> tuple[PlanRequest, Envelope]:
    """A record of inventory.plan-requests. Raises: BadEvent."""
    head = codec.envelope_of(record.headers)
    if head.type != schemas.PLAN_REQUESTED:
        raise codec.unknown_type(head.type, (schemas.PLAN_REQUESTED,))
    data, _ = codec.read(record, PlanRequestData)
    changes = tuple(PlanChange(**msgspec.structs.asdict(change)) for change in data.changes)
    request = PlanRequest(head.id, head.time, data.by, data.why, changes, data.base)
    check(request)
    if record.key != request.id.encode():
        raise BadEvent(Code.BAD_KEY, "", f"the key must be the event's id, {request.id!r}, not {record.key!r}")
    codec.check_time(head.time, record.timestamp, limits)
    return request, head


def check(request: PlanRequest) -> None:
    """What every planner asks of a request, whichever way it came. Raises: BadEvent."""
    if not _ID.fullmatch(request.id) or request.id == NEWEST:
        said = "a plan's id has 1 to 64 letters, digits, '.', '_' and '-', begins with one of the former, and is not 'newest'"
        raise BadEvent(Code.OUT_OF_RANGE, "/id", said)
    request.check()


def request_message(request: PlanRequest, source: str, traceparent: str | None = None) -> Message:
    """The record of a request. Raises: BadEvent: a field is outside its limits, so no planner would take it."""
    check(request)
    try:
        data = msgspec.convert(
            {
                "by": request.by, "why": request.why, "base": request.base,
                "changes": [msgspec.to_builtins(change) for change in request.changes],
            },
            PlanRequestData,
        )  # fmt: skip
    except msgspec.ValidationError as error:
        raise BadEvent(Code.OUT_OF_RANGE, "/data", str(error)) from None
    head = Envelope(request.id, source, schemas.PLAN_REQUESTED, request.asked_at, traceparent)
    return codec.message(head, request.id, data)


def plan_message(plan: PlanSummary, source: str, at: int, traceparent: str | None = None) -> Message:
    """The record that tells how a plan ended. Args: at: now, ms."""
    figures = {} if plan.figures is None else msgspec.to_builtins(plan.figures)
    for name in ("made_at", "start"):
        figures |= {name: codec.from_ms(figures[name])} if figures else {}
    figures |= {"period_s": figures.pop("period_ms") // 1000} if figures else {}
    asked, state = plan.request, "ready" if plan.state is PlanState.READY else "failed"
    said = {"plan_id": plan.id, "state": state, "by": asked.by, "why": asked.why, "base": asked.base}
    data = msgspec.convert({**said, "reason": plan.reason, **figures}, PlanData)
    head = Envelope(f"{plan.id}:{state}", source, schemas.PLAN_MADE, at, traceparent)
    return codec.message(head, plan.id, data)
