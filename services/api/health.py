"""/livez: this process answers. /readyz: so do the parts it needs, each named. /metrics: for Prometheus.

In: `Parts.checks`. Out: 200, or 503 with what each part said. A part that is away makes the API not ready, never dead:
a restart would not bring the part back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from inventorybot.errors import InventoryBotError
from services.api.parts import Has
from services.api.problems import RETRY_AFTER_S, problem, response

router = APIRouter(tags=["operation"])


class PartState(BaseModel):
    """What one part said. `ms`: how long it took to say so."""

    ok: bool
    ms: float
    said: str | None = None


class Ready(BaseModel):
    """Every part answers."""

    status: Annotated[str, Field(examples=["ready"])]
    parts: dict[str, PartState]


@router.get("/livez", operation_id="livez", summary="Is the process alive?", response_class=PlainTextResponse)
async def livez() -> str:
    """Always, while the event loop turns."""
    return "alive"


@router.get(
    "/readyz", operation_id="readyz", summary="Can it serve?", response_model=Ready,
    responses={503: response("a part does not answer")},
)  # fmt: skip
async def readyz(request: Request, parts: Has) -> JSONResponse:
    """Asks Kafka and Cassandra, with a short time-out each."""
    names = list(parts.checks)
    found = await asyncio.gather(*(_ask(parts.checks[n], parts.limits.check_s) for n in names))
    states = dict(zip(names, (state.model_dump(exclude_none=True) for state in found), strict=True))
    away = [name for name, state in zip(names, found, strict=True) if not state.ok]
    if not away:
        return JSONResponse({"status": "ready", "parts": states})
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return problem(503, f"not ready: {', '.join(away)}", request.url.path, headers, parts=states)


@router.get("/metrics", operation_id="metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics() -> Response:
    """Everything that telemetry.py declares."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _ask(check: Callable[[], Awaitable[object]], timeout_s: float) -> PartState:
    began = time.perf_counter()
    said = None
    try:
        async with asyncio.timeout(timeout_s):
            await check()
    except TimeoutError:
        said = f"no answer within {timeout_s:g} s"
    except InventoryBotError as error:
        said = str(error)
    return PartState(ok=said is None, ms=round((time.perf_counter() - began) * 1000, 1), said=said)
