"""Around every request: a limit on its body and on its time, one line of access log, one observation of the metric.

In: an ASGI application. Out: the same, guarded. Plain ASGI, so that streams pass through untouched. Bodies are never
logged. A response that has begun (a live stream) is not cut by the time limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inventorybot import telemetry
from inventorybot.errors import TryLater
from services.api.parts import Limits
from services.api.problems import problem, unavailable


class Guard:
    """Args: limits: of the body and of the time."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._log = telemetry.log("services.api.access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive, send, self._limits.body_bytes)
        began = time.perf_counter()
        try:
            await self._answer(request)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            telemetry.REQUESTS.labels(scope["method"], route, str(request.status)).observe(
                request.until_begun or seconds
            )
            client = scope.get("client")
            self._log.info(
                "request", method=scope["method"], path=scope["path"], route=route, status=request.status,
                ms=round(seconds * 1000, 1), bytes_in=request.received, client=client[0] if client else None,
            )  # fmt: skip

    async def _answer(self, request: _Request) -> None:
        path = request.scope["path"]
        if request.declared > self._limits.body_bytes:
            await self._too_large(request)
            return
        try:
            async with asyncio.timeout(self._limits.request_s) as timer:
                request.begun = lambda: None if timer.expired() else timer.reschedule(None)
                await self._app(request.scope, request.receive, request.send)
        except TimeoutError:
            if request.status:
                raise
            late = TryLater("the platform", f"no answer within {self._limits.request_s:g} s")
            await unavailable(late, path)(request.scope, request.receive, request.send)

    async def _too_large(self, request: _Request) -> None:
        answer = problem(
            413,
            too_large(self._limits.body_bytes),
            request.scope["path"],
            {"Connection": "close"},
            code="too-large",
            path="",
        )
        await answer(request.scope, request.receive, request.send)


def too_large(limit: int) -> str:
    """What to say to a body beyond the limit."""
    return f"the body is larger than {limit} bytes; send fewer events at a time"


class _Request:
    """One request's channel, counted."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self.scope, self._receive, self._send, self._limit = scope, receive, send, limit
        self.status = self.received = 0
        self.begun: Callable[[], None] = lambda: None
        self.until_begun, self._came = 0.0, time.perf_counter()
        length = dict(scope["headers"]).get(b"content-length", b"0")
        self.declared = int(length) if length.isdigit() else 0

    async def receive(self) -> Message:
        """Count what comes in; beyond the limit nothing more is read."""
        message = await self._receive()
        self.received += len(message.get("body", b""))
        if self.received > self._limit:
            raise HTTPException(413, too_large(self._limit), {"Connection": "close"})  # the one FastAPI lets through
        return message

    async def send(self, message: Message) -> None:
        """Note the status; a response that has begun has no time limit of ours."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.until_begun = time.perf_counter() - self._came  # the metric's time: a live stream may last for days
            self.begun()
            message = {**message, "headers": [*message.get("headers", ()), (b"x-content-type-options", b"nosniff")]}
        await self._send(message)
