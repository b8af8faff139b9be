"""Network plans: how they stand, what room is worth at each site, what goes where; and what would be if.

In: ports.PlanStore, and requests that people make. Out: JSON and SVG. A request is published on inventory.plan-requests
and answered with 202; the planner makes the plan, and GET /v1/plans/{id} tells how far it is.
Try: GET /v1/plans/newest/prices?site=BER1
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from inventorybot.domain.network_plan import PlanChange, PlanFigures, PlanRequest, PlanState, PlanSummary
from inventorybot.errors import BadEvent, Code
from inventorybot.wire.codec import TRACEPARENT, rfc3339
from inventorybot.wire.plans import NEWEST, request_message
from services.api import plan_views as views
from services.api.params import AskPlan, FlowFilter, PlanFilter, PlanId, PriceFilter, ms
from services.api.parts import Has, Parts
from services.api.problems import Refuse, responses

router = APIRouter(prefix="/v1/plans", tags=["plans"])
SOURCE = "inventorybot/api"
SVG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}, "description": "the picture"},
    **responses(404, 409),
}
_SVG_HEADERS = {
    "Cache-Control": "private, max-age=60",  # "newest" becomes another plan
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",  # a picture runs no scripts
}


@router.get("", operation_id="listPlans", summary="List network plans", responses=responses())
async def plans(parts: Has, query: Annotated[PlanFilter, Query()]) -> views.Plans:
    """Those of the last year, newest first."""
    found = [x async for x in parts.plans.list(state=query.state, limit=query.limit + 1, before=query.before)]
    more = found[query.limit - 1].cursor if len(found) > query.limit else None
    return views.Plans(items=[views.plan(x) for x in found[: query.limit]], next=more)


@router.post(
    "", operation_id="askPlan", summary="Ask for a plan: what if?", status_code=202, response_model=views.PlanView,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "where to see how far it is"}}},
        **responses(409, 413, 415),
    },
)  # fmt: skip
async def ask(request: Request, parts: Has, body: AskPlan) -> JSONResponse:
    """A plan of the network as it stands, or of what an earlier plan saw with something changed."""
    asked = await _request(parts, body)
    known = await parts.plans.get(asked.id)
    if known is not None and not known.request.same(asked):
        raise Refuse(409, f"the plan {asked.id} was asked for otherwise before", code=str(Code.ID_REUSED), path="/id")
    if known is None:
        trace = request.headers.get("traceparent", "")
        try:
            message = request_message(asked, SOURCE, trace if TRACEPARENT.match(trace) else None)
        except BadEvent as error:
            raise BadEvent(error.code, error.path.removeprefix("/data"), error.reason) from error
        await parts.publisher.publish([message])
        known = PlanSummary(asked, PlanState.QUEUED)
        await parts.plans.put(known)
    headers = {"Location": f"{router.prefix}/{asked.id}"}
    return JSONResponse(views.plan(known).model_dump(mode="json"), 202, headers)


@router.get("/{id}", operation_id="getPlan", summary="How a plan stands", responses=responses(404))
async def plan(parts: Has, id: PlanId) -> views.PlanView:
    """Queued, solving, ready with its figures, or failed with the reason."""
    return views.plan(await _one(parts, id))


@router.get("/{id}/prices", operation_id="planPrices", summary="What room is worth", responses=responses(404, 409))
async def prices(parts: Has, id: PlanId, query: Annotated[PriceFilter, Query()]) -> views.Prices:
    """What one more cubic metre, and one more unit taken in, would be worth at each site in each period."""
    found, figures = await _ready(parts, id)
    period = query.period
    if query.at is not None:
        at = figures.period_at(ms(query.at))
        if at is None or period not in (None, at):
            end = rfc3339(figures.start + figures.periods * figures.period_ms)
            detail = f"at must lie in the plan, from {rfc3339(figures.start)} to {end}, and in the period asked for"
            raise Refuse(422, detail, code=str(Code.OUT_OF_RANGE), errors=[{"parameter": "at", "detail": detail}])
        period = at
    wanted = (
        p for p in await parts.plans.prices(found.id) if query.site in (None, p.site) and period in (None, p.period)
    )
    return views.Prices(plan=found.id, items=[views.price(p, figures) for p in wanted])


@router.get("/{id}/flows", operation_id="planFlows", summary="What goes where", responses=responses(404, 409))
async def flows(parts: Has, id: PlanId, query: Annotated[FlowFilter, Query()]) -> views.Flows:
    """From the supplier and between sites, in one period."""
    found, figures = await _ready(parts, id)
    if query.period >= figures.periods:
        detail = f"period must be one of the plan's, 0 to {figures.periods - 1}"
        raise Refuse(422, detail, code=str(Code.OUT_OF_RANGE), errors=[{"parameter": "period", "detail": detail}])
    listed = await parts.plans.flows(found.id, query.period)
    items = [views.flow(f) for f in listed if query.site in (None, f.from_site, f.to_site)]
    starts_at = views.starts_at(figures, query.period)
    return views.Flows(plan=found.id, period=query.period, starts_at=starts_at, items=items)


@router.get(
    "/{id}/prices.svg", operation_id="planPricesPicture", summary="Prices as a picture", response_class=Response,
    responses=SVG,
)  # fmt: skip
async def prices_svg(parts: Has, id: PlanId) -> Response:
    """What a cubic metre is worth at each site over time."""
    return await _picture(parts, id, "prices")


@router.get(
    "/{id}/flows.svg", operation_id="planFlowsPicture", summary="Flows as a picture", response_class=Response,
    responses=SVG,
)  # fmt: skip
async def flows_svg(parts: Has, id: PlanId) -> Response:
    """What goes from where to where over the whole horizon."""
    return await _picture(parts, id, "flows")


async def _request(parts: Parts, body: AskPlan) -> PlanRequest:
    """What is asked for, its base looked up. Raises: Refuse: the base, or a site in it, is not there."""
    changes = tuple(PlanChange(**change.model_dump()) for change in body.changes)
    asked = PlanRequest(body.id or parts.new_id(), parts.clock(), body.by, body.why, changes, body.base)
    if "base" not in body.model_fields_set and changes:
        newest = [x async for x in parts.plans.list(state=PlanState.READY, limit=1)]
        asked = replace(asked, base=newest[0].id if newest else None)
    if asked.base is None:
        return asked
    if await parts.plans.get(asked.base) is None:
        raise Refuse(422, f"there is no plan {asked.base}", code=str(Code.OUT_OF_RANGE), path="/base")
    sites = {p.site for p in await parts.plans.prices(asked.base)}
    for number, change in enumerate(changes if sites else ()):
        if change.site not in sites:
            detail = f"there is no site {change.site} in the plan {asked.base}"
            raise Refuse(422, detail, code=str(Code.OUT_OF_RANGE), path=f"/changes/{number}/site")
    return asked


async def _one(parts: Parts, plan_id: str) -> PlanSummary:
    if plan_id == NEWEST:
        newest = [x async for x in parts.plans.list(state=PlanState.READY, limit=1)]
        if not newest:
            raise Refuse(404, "no plan is ready yet")
        return newest[0]
    found = await parts.plans.get(plan_id)
    if found is None:
        raise Refuse(404, f"there is no plan {plan_id}; plans are kept for a year")
    return found


async def _ready(parts: Parts, plan_id: str) -> tuple[PlanSummary, PlanFigures]:
    found = await _one(parts, plan_id)
    if found.figures is None:
        why = f": {found.reason}" if found.reason else ""
        raise Refuse(409, f"the plan {plan_id} is {found.state}{why}; it has no result to show")
    return found, found.figures


async def _picture(parts: Parts, plan_id: str, name: str) -> Response:
    found, _ = await _ready(parts, plan_id)
    svg = await parts.plans.picture(found.id, name)
    if svg is None:
        raise Refuse(404, f"the plan {found.id} has no such picture")
    return Response(svg, media_type="image/svg+xml", headers=_SVG_HEADERS)
