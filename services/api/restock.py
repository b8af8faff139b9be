"""Restock recommendations: list them, see their arithmetic, change, approve or dismiss them, say that goods are in.

In: ports.RestockStore, and steps that people take. Out: JSON; an order on inventory.restock-orders for what is approved.
The decision is stored first, on condition that nobody decided meanwhile, then the order is published and marked as sent.
A crash in between leaves it unsent: the same approval again, or the next run of the job, publishes it, under the same
event id (docs/adr/0013-restock.md). Try: GET /v1/restock?site=BER1&state=proposed
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request

from inventorybot import telemetry
from inventorybot.domain import restock
from inventorybot.domain.restock import ItemHistory, Recommendation, State
from inventorybot.errors import BadEvent, Code, TryLater
from inventorybot.wire.codec import TRACEPARENT
from inventorybot.wire.restock import order_message
from services.api import restock_views as views
from services.api.parts import Has, Parts
from services.api.problems import Refuse, responses
from services.api.restock_params import Approve, ChangeQuantity, Dismiss, Receive, RecommendationId, RestockFilter

router = APIRouter(prefix="/v1/restock", tags=["restock"])
ATTEMPTS = 3
"""Two people who decide on days of one SKU at once: the second looks again, and then knows what it may do."""
ACTED = responses(404, 409, 413, 415)
Act = Callable[[ItemHistory, int], Recommendation]


@router.get("", operation_id="listRestock", summary="List recommendations", responses=responses())
async def recommendations(parts: Has, query: Annotated[RestockFilter, Query()]) -> views.Recommendations:
    """Those of the last year, newest day first, then by site and SKU."""
    listed = parts.restock.list(site=query.site, state=query.state, limit=query.limit + 1, before=query.before)
    found = [x async for x in listed]
    now = parts.clock()
    more = found[query.limit - 1].cursor if len(found) > query.limit else None
    return views.Recommendations(items=[views.recommendation(x, now) for x in found[: query.limit]], next=more)


@router.get("/{id}", operation_id="getRestock", summary="One, with its arithmetic", responses=responses(404))
async def recommendation(parts: Has, id: RecommendationId) -> views.RecommendationView:
    """Everything that the quantity follows from, in figures and in words, and what people did."""
    return views.recommendation(await _one(parts, id), parts.clock())


@router.post("/{id}/change", operation_id="changeRestock", summary="Change the quantity", responses=ACTED)
async def change(parts: Has, id: RecommendationId, body: ChangeQuantity) -> views.RecommendationView:
    """Another quantity: whole packs, at least the minimum order. It still has to be approved."""
    return await _act(
        parts, id, lambda of, day: restock.change(of, day, body.quantity, body.actor, parts.clock(), body.note)
    )


@router.post("/{id}/approve", operation_id="approveRestock", summary="Approve: order it", responses=ACTED)
async def approve(request: Request, parts: Has, id: RecommendationId, body: Approve) -> views.RecommendationView:
    """The ERP is told by an event on inventory.restock-orders. Approving again changes nothing and orders nothing more."""
    await _act(parts, id, lambda of, day: restock.approve(of, day, body.actor, parts.clock(), body.note))
    found = await _one(parts, id)
    if found.sent_at is None and found.state(parts.clock()) is State.APPROVED:
        trace = request.headers.get("traceparent", "")
        await parts.publisher.publish([order_message(found, trace if TRACEPARENT.match(trace) else None)])
        await parts.restock.mark_sent(found, parts.clock())
        found = await _one(parts, id)
    return views.recommendation(found, parts.clock())


@router.post("/{id}/dismiss", operation_id="dismissRestock", summary="Dismiss", responses=ACTED)
async def dismiss(parts: Has, id: RecommendationId, body: Dismiss) -> views.RecommendationView:
    """Do not order it, and say why."""
    return await _act(parts, id, lambda of, day: restock.dismiss(of, day, body.actor, parts.clock(), body.reason))


@router.post("/{id}/receive", operation_id="receiveRestock", summary="The goods are in", responses=ACTED)
async def receive(parts: Has, id: RecommendationId, body: Receive) -> views.RecommendationView:
    """It no longer counts as on order. The stock itself comes with the receipt's movement, as always."""
    return await _act(parts, id, lambda of, day: restock.receive(of, day, body.actor, parts.clock(), body.note))


async def _one(parts: Parts, recommendation_id: str) -> Recommendation:
    found = await parts.restock.find(recommendation_id)
    if found is None:
        raise Refuse(404, f"there is no recommendation {recommendation_id}; they are kept for a year")
    return found


async def _act(parts: Parts, recommendation_id: str, act: Act) -> views.RecommendationView:
    """Take a person's step, where it can still be taken."""
    found = await _one(parts, recommendation_id)
    for _ in range(ATTEMPTS):
        history = await parts.restock.history(found.site, found.sku)
        try:
            after = act(history, found.day)
        except BadEvent as error:
            status = 409 if error.code == Code.CONTRADICTION else 422
            raise Refuse(status, error.reason, code=str(error.code), path=error.path) from error
        known = history.get(found.day)
        if known is not None and known.steps == after.steps:
            return views.recommendation(known, parts.clock())  # it is so already: a repeat
        if await parts.restock.step(after, history.version):
            telemetry.RESTOCK.labels(after.steps[-1].action).inc()
            return views.recommendation(after, parts.clock())
    raise TryLater("the platform", "others decide about this SKU at this moment")
