"""POST /v1/events: one event or many, each accepted (acknowledged by Kafka) or refused with its reason.

In: CloudEvents in structured JSON (application/cloudevents+json, application/cloudevents-batch+json, application/json).
Out: 202 all accepted, 207 some, 422 none; 503 where Kafka does not acknowledge, and then none counts as accepted. The
same event sent twice is one fact: send again whatever was not accepted.
Try: curl -d '{"specversion":"1.0",…}' -H 'content-type: application/cloudevents+json' 127.0.0.1:8700/v1/events
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from inventorybot import telemetry
from inventorybot.errors import BadEvent, Code
from inventorybot.wire import codec
from inventorybot.wire.codec import Message
from services.api import views
from services.api.parts import Has, Parts
from services.api.problems import Refuse, problem, responses
from services.api.schema import EVENT_BODY

router = APIRouter(prefix="/v1", tags=["events"])
ONE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
SHOWN = 100
"""Refusals that a 422 lists; `refused` tells how many there were."""


@router.post(
    "/events",
    operation_id="publishEvents",
    summary="Publish one or many events",
    status_code=202,
    response_model=views.Receipt,
    responses={207: {"model": views.Receipt, "description": "some were refused"}, **responses(413, 415)},
    openapi_extra={"requestBody": EVENT_BODY},
)
async def publish(request: Request, parts: Has) -> JSONResponse:
    """Each event is checked as the agents will check it. Accepted means acknowledged by every in-sync Kafka replica."""
    documents = _documents(request.headers.get("content-type", ""), await request.body())
    if len(documents) > parts.limits.events:
        detail = f"{len(documents)} events in one request; at most {parts.limits.events} are taken"
        raise Refuse(413, detail, code=str(Code.TOO_LARGE), path="")
    outcomes, messages = _check(documents, request.headers.get("traceparent"), parts)
    await parts.publisher.publish(messages)
    for message in messages:
        telemetry.EVENTS.labels(message.topic, "published").inc()
    refused = [o for o in outcomes if o.status == "refused"]
    if refused and not messages:
        return _all_refused(refused, len(documents), request.url.path)
    receipt = views.Receipt(accepted=len(messages), refused=len(refused), results=outcomes)
    return JSONResponse(receipt.model_dump(exclude_none=True), 207 if refused else 202)


def _documents(content_type: str, body: bytes) -> list[Any]:
    """The events of a body, not yet checked. Raises: Refuse, BadEvent."""
    media = content_type.partition(";")[0].strip().lower()
    if media not in (ONE, BATCH, JSON):
        raise Refuse(
            415,
            f"send {ONE}, {BATCH} or {JSON}, not {media[:80]!r}",
            headers={"Accept-Post": f"{ONE}, {BATCH}, {JSON}"},
        )
    found = codec.document(body)
    many = found if isinstance(found, list) else None
    if (many is not None) != (media == BATCH) and media != JSON:
        want = "an array of events" if media == BATCH else "one event, a JSON object"
        raise BadEvent(Code.WRONG_TYPE, "", f"{media} is {want}")
    return [found] if many is None else many


def _check(documents: list[Any], trace: str | None, parts: Parts) -> tuple[list[views.Outcome], list[Message]]:
    now = parts.clock()
    outcomes, messages = [], []
    for index, document in enumerate(documents):
        event_id = document.get("id") if isinstance(document, dict) else None
        shown = event_id[: codec.MAX_ID] if isinstance(event_id, str) else None
        try:
            if trace and isinstance(document, dict):
                document.setdefault("traceparent", trace)
            messages.append(codec.structured(document, now, parts.times))
            outcomes.append(views.Outcome(index=index, id=shown, status="accepted"))
        except BadEvent as error:
            telemetry.EVENTS.labels("rest", "refused").inc()
            outcomes.append(
                views.Outcome(
                    index=index, id=shown, status="refused", code=str(error.code), path=error.path, reason=error.reason
                )
            )
    return outcomes, messages


def _all_refused(refused: list[views.Outcome], total: int, instance: str) -> JSONResponse:
    first = refused[0]
    detail = (
        first.reason or "" if total == 1 else f"none of the {total} events can be accepted; the first: {first.reason}"
    )
    errors = [o.model_dump(exclude_none=True) for o in refused[:SHOWN]]
    return problem(422, detail, instance, code=first.code, path=first.path, errors=errors, refused=len(refused))
