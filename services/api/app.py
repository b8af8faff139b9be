"""The application: routes, limits, problems and its OpenAPI document, on whatever parts it is given.

In: `Parts` (real adapters from cli.py, fakes from tests). Out: an ASGI application.
Try: python -c "import json, services.api.app as a; print(json.dumps(a.document()))"
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from fastapi import FastAPI

from inventorybot import __version__
from inventorybot.wire.topics import ANOMALIES
from services.api import anomalies, dead_letters, events, health, levels, plans, problems, restock, stream
from services.api.guard import Guard
from services.api.hub import Hub
from services.api.parts import Parts
from services.api.problems import Problem
from services.api.schema import COMPONENTS

DESCRIPTION = """Publish stock events; read levels, history, anomalies and dead letters; follow anomalies live;
read network plans and ask what would be if; decide on restock recommendations.

Every error is an RFC 9457 problem. A refused event has a stable `code` and a JSON Pointer `path`, the same as over Kafka
and on the command line. 503 comes with Retry-After: send the same again, it does no harm. There is no authentication
yet: the API listens on 127.0.0.1 unless told otherwise."""
TAGS = [
    {"name": "events", "description": "what happened to stock, from upstream systems"},
    {"name": "levels", "description": "what the record says, now and at any moment"},
    {"name": "anomalies", "description": "where the record and the world disagree"},
    {"name": "plans", "description": "what to buy and where to put it, and what room is worth at each site"},
    {"name": "restock", "description": "what to order, with its arithmetic, for people to approve"},
    {"name": "dead letters", "description": "what could not be processed, and why"},
    {"name": "operation", "description": "probes and metrics"},
]


def create_app(parts: Parts) -> FastAPI:
    """The application on these parts. Its live streams work while its lifespan runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(app.state.hub.run(), name="hub")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    app = FastAPI(
        title="InventoryBot", version=__version__, description=DESCRIPTION, openapi_tags=TAGS, lifespan=lifespan,
        docs_url=None, redoc_url=None,  # both would load scripts from a CDN
    )  # fmt: skip
    app.state.parts = parts
    app.state.hub = Hub(parts.log, ANOMALIES.name, parts.limits.stream_queue)
    app.state.streams = 0
    for module in (
        events,
        levels,
        stream,
        anomalies,
        plans,
        restock,
        dead_letters,
        health,
    ):  # the stream before /v1/anomalies/{id}
        app.include_router(module.router)
    problems.install(app)
    app.add_middleware(Guard, limits=parts.limits)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        found = generate()
        ours = {"Problem": Problem.model_json_schema()} | COMPONENTS
        found["components"]["schemas"] = ours | found["components"]["schemas"] | ours
        return found

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document
    return app


def document() -> dict[str, Any]:
    """The OpenAPI document alone; it needs no parts."""
    return create_app(cast("Parts", _NoParts())).openapi()


class _NoParts:
    """Stands in where only the routes' signatures are read."""

    log = None
    limits = Parts.__dataclass_fields__["limits"].default
