"""Anomalies: list them, look behind them, acknowledge, assign and close them.

In: ports.AnomalyStore, and steps that people take. Out: JSON, and steps on inventory.anomalies. A step is published,
never written to the store from here: the alert agent folds it, and so every subscriber learns of it. The answer waits
for the fold a little (200, with the anomaly as it then stands), else says that it is on its way (202).
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from inventorybot import telemetry
from inventorybot.domain.alerts import Anomaly, Step, advance
from inventorybot.domain.counting import CountDistribution
from inventorybot.errors import BadEvent, Code
from inventorybot.wire import codec
from inventorybot.wire.anomalies import step_message
from inventorybot.wire.codec import TRACEPARENT
from inventorybot.wire.topics import BIN_IMAGES
from services.api import views
from services.api.params import Acknowledge, AnomalyFilter, AnomalyId, Assign, Close
from services.api.parts import Has, Parts
from services.api.problems import Refuse, responses

router = APIRouter(prefix="/v1/anomalies", tags=["anomalies"])
SOURCE = "inventorybot/api"
POLL_S = 0.05
"""Between looks for the fold, which takes tens of ms and happens in another process: there is no event to wait for."""
ACTED = {
    202: {"model": views.WholeAnomaly, "description": "published; not yet folded: ask again"},
    **responses(404, 409, 413, 415),
}


@router.get("", operation_id="listAnomalies", summary="List anomalies", responses=responses())
async def anomalies(parts: Has, query: Annotated[AnomalyFilter, Query()]) -> views.Anomalies:
    """Newest first."""
    status = None if query.status is None else str(query.status)
    listed = parts.anomalies.list(
        site=query.site,
        status=status,
        kind=query.kind,
        assignee=query.assignee,
        limit=query.limit + 1,
        before=query.before,
    )
    found = [x async for x in listed]
    items = [views.anomaly(x) for x in found[: query.limit]]
    return views.Anomalies(items=items, next=found[query.limit - 1].cursor if len(found) > query.limit else None)


@router.get("/{id}", operation_id="getAnomaly", summary="One anomaly, with its life", responses=responses(404))
async def anomaly(parts: Has, id: AnomalyId) -> views.WholeAnomaly:
    """As it stands, and the steps that led there, oldest first."""
    found = await _one(parts, id)
    return views.whole_anomaly(found, await parts.anomalies.steps(id))


@router.post(
    "/{id}/acknowledge", operation_id="acknowledgeAnomaly", summary="Acknowledge", responses=ACTED,
    response_model=views.WholeAnomaly,
)  # fmt: skip
async def acknowledge(request: Request, parts: Has, id: AnomalyId, body: Acknowledge) -> Response:
    """A person has seen it."""
    return await _act(request, parts, id, "acknowledged", actor=body.actor, note=body.note)


@router.post(
    "/{id}/assign", operation_id="assignAnomaly", summary="Assign", responses=ACTED, response_model=views.WholeAnomaly
)
async def assign(request: Request, parts: Has, id: AnomalyId, body: Assign) -> Response:
    """A person shall deal with it."""
    return await _act(request, parts, id, "assigned", actor=body.actor, note=body.note, assignee=body.assignee)


@router.post(
    "/{id}/close", operation_id="closeAnomaly", summary="Close", responses=ACTED, response_model=views.WholeAnomaly
)
async def close(request: Request, parts: Has, id: AnomalyId, body: Close) -> Response:
    """A person has dealt with it, and says how."""
    return await _act(request, parts, id, "closed", actor=body.actor, note=body.note, reason=body.reason)


@router.get(
    "/{id}/image", operation_id="anomalyImage", summary="The picture behind an anomaly", response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **responses(404, 410, 502),
    },
)  # fmt: skip
async def image(parts: Has, id: AnomalyId) -> Response:
    """The JPEG, from Kafka or from where the event said it lies; 410 once retention has removed it."""
    knowledge = (await _one(parts, id)).knowledge
    if not knowledge.image_at and not knowledge.image_url:
        raise Refuse(404, f"no picture stands behind the anomaly {id}")
    data, url = await _inline(parts, knowledge.image_at)
    url = url or knowledge.image_url
    if data is None and url is not None:
        try:
            data = await parts.blobs.read(url)
        except BadEvent as error:
            raise Refuse(502, error.reason, code=str(error.code), path="/data/image_url") from error
    if data is None:
        raise Refuse(410, "retention has removed the picture; its count is kept: see …/distribution")
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


@router.get(
    "/{id}/distribution",
    operation_id="anomalyDistribution",
    summary="The count behind an anomaly",
    responses=responses(404),
)
async def distribution(parts: Has, id: AnomalyId) -> views.Distribution:
    """What the newest picture showed, as a probability of every number of items, beside the record."""
    found = await _one(parts, id)
    if found.knowledge.p is not None:
        return views.distribution(found, CountDistribution(found.knowledge.p))
    key, pictured = (found.site, found.bin or ""), found.bin is not None and found.knowledge.image_id is not None
    rows = await parts.evidence.counts(key) if pictured else []
    row = next((r for r in rows if r.image_id == found.knowledge.image_id), None)
    if row is None:
        raise Refuse(404, f"no picture stands behind the anomaly {id}")
    return views.distribution(found, row.distribution)


async def _one(parts: Parts, anomaly_id: str) -> Anomaly:
    found = (await parts.anomalies.get([anomaly_id])).get(anomaly_id)
    if found is None:
        raise Refuse(404, f"there is no anomaly {anomaly_id}")
    return found


async def _inline(parts: Parts, image_at: str | None) -> tuple[bytes | None, str | None]:
    """The picture, or where it lies, from the event at "partition:offset" of inventory.bin-images."""
    partition, _, offset = (image_at or "").partition(":")
    if not partition.isdigit() or not offset.isdigit():
        return None, None
    record = await parts.log.at(BIN_IMAGES.name, int(partition), int(offset))
    if record is None or record.value is None:
        return None, None
    event = codec.bin_image(codec.envelope_of(record.headers), record.value)
    return event.image, event.image_url


async def _act(
    request: Request, parts: Parts, anomaly_id: str, action: str, *, actor: str, note: str | None,
    assignee: str | None = None, reason: str | None = None,
) -> JSONResponse:  # fmt: skip
    """Publish a person's step, and wait a little until it shows."""
    found = await _one(parts, anomaly_id)
    step = Step(
        parts.new_id(), anomaly_id, found.kind, action, parts.clock(), found.site, found.bin, found.sku,
        actor=actor, assignee=assignee, reason=reason, note=note,
    )  # fmt: skip
    try:
        after = advance(found, step)
        if after is found:
            return await _answer(parts, found, 200)  # it is so already: a repeat
        trace = request.headers.get("traceparent", "")
        message = step_message(step, SOURCE, trace if TRACEPARENT.match(trace) else None)
    except BadEvent as error:
        status = 409 if error.code == Code.CONTRADICTION else 422
        raise Refuse(status, error.reason, code=str(error.code), path=error.path) from error
    await parts.publisher.publish([message])
    telemetry.ANOMALIES.labels(found.kind, action).inc()
    try:
        async with asyncio.timeout(parts.limits.fold_wait_s):
            while all(s.event_id != step.event_id for s in await parts.anomalies.steps(anomaly_id)):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return await _answer(parts, after or found, 202)
    return await _answer(parts, await _one(parts, anomaly_id), 200)


async def _answer(parts: Parts, found: Anomaly, status: int) -> JSONResponse:
    view = views.whole_anomaly(found, await parts.anomalies.steps(found.id))
    return JSONResponse(view.model_dump(mode="json"), status)
