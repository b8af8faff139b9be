"""GET /v1/anomalies/stream: every step of every anomaly as it happens, as Server-Sent Events.

In: inventory.anomalies, through hub.py. Out: one event a step, its data a CloudEvent in structured JSON. The event id is
the next offset of every partition ("12.0.7"), so `Last-Event-ID` goes on exactly where it was, also at another API
process or after a restart; it is sent at once and with every heartbeat, so that a filtered stream does not fall behind.
Further events: `gap` (retention was faster; goes on from the oldest), `dropped` and `unavailable` (the last of a
stream; come again). Source: WHATWG HTML, 9.2 Server-sent events. Try: curl -N 127.0.0.1:8700/v1/anomalies/stream
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from inventorybot import telemetry
from inventorybot.errors import BadEvent, TryLater
from inventorybot.ports import Position
from inventorybot.wire import codec
from inventorybot.wire.anomalies import read_step
from inventorybot.wire.codec import Record
from services.api.hub import Dropped, Hub, after
from services.api.params import StreamFilter
from services.api.parts import Has
from services.api.problems import RETRY_AFTER_S, Refuse, responses

router = APIRouter(prefix="/v1/anomalies", tags=["anomalies"])
RETRY_MS = 1000
"""What clients are told to wait before they come back."""
SEND_TIMEOUT_S = 30
"""A client that takes nothing for so long is gone, whatever its connection says."""
_ID = re.compile(r"\d{1,18}(\.\d{1,18}){0,1023}", re.ASCII)


@router.get(
    "/stream", operation_id="streamAnomalies", summary="Live stream of anomalies", response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Server-Sent Events"},
        **responses(400),
    },
)  # fmt: skip
async def stream(
    request: Request,
    parts: Has,
    query: Annotated[StreamFilter, Query()],
    last_event_id: Annotated[str | None, Header(description="the id of the last event had; goes on behind it")] = None,
) -> Response:
    """Every step from now on, or on from Last-Event-ID; `from=beginning` for all that is kept."""
    hub: Hub = request.app.state.hub
    if request.app.state.streams >= parts.limits.streams:
        detail = f"{parts.limits.streams} live streams are open, as many as this process serves"
        raise Refuse(503, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
    now = await hub.ready(parts.limits.check_s)
    oldest, newest = (bound[: len(now)] for bound in await parts.log.bounds(hub.topic))  # those the hub knows of
    if last_event_id is not None:
        start = parse(last_event_id, len(now))
    else:
        start = oldest if query.start == "beginning" else now
    kept = tuple(
        low if not low <= at <= max(high, here) else at
        for at, low, high, here in zip(start, oldest, newest, now, strict=True)
    )
    events = _Stream(hub, query, kept, gap=last_event_id is not None and kept != start)
    return EventSourceResponse(
        _counted(request, events.run(parts.limits.heartbeat_s)), ping=0, send_timeout=SEND_TIMEOUT_S, sep="\n"
    )


def parse(event_id: str, partitions: int) -> Position:
    """A place from an event id; a partition that came later is read from its beginning. Raises: Refuse."""
    found = tuple(map(int, event_id.split("."))) if _ID.fullmatch(event_id) else ()
    if not 1 <= len(found) <= partitions:
        detail = f"Last-Event-ID must be an id of this stream, {partitions} numbers and dots, such as {'.'.join('0' * partitions)}"
        raise Refuse(400, detail)
    return found + (0,) * (partitions - len(found))


class _Stream:
    """One subscriber's events. `gap`: retention has removed some since it was last here."""

    def __init__(self, hub: Hub, query: StreamFilter, start: Position, gap: bool) -> None:
        self._hub, self._query, self._place, self._gap = hub, query, start, gap

    async def run(self, heartbeat_s: float) -> AsyncGenerator[ServerSentEvent, None]:
        """Events until the subscriber leaves or must."""
        if self._gap:
            yield self._note("gap", "some steps are older than the log; going on from the oldest that is kept")
        else:
            yield ServerSentEvent(comment="welcome", id=self._id(), retry=RETRY_MS)
        try:
            async with aclosing(self._hub.follow(self._place, heartbeat_s)) as records:
                async for record in records:
                    if record is None:
                        yield ServerSentEvent(comment="heartbeat", id=self._id())
                        continue
                    self._place = after(self._place, record)
                    event = self._event(record)
                    if event is not None:
                        yield event
        except Dropped as why:
            yield self._note("dropped", f"{why}; come again with Last-Event-ID, nothing is lost")
        except TryLater as error:
            yield self._note("unavailable", f"{error}; come again with Last-Event-ID, nothing is lost")

    def _event(self, record: Record) -> ServerSentEvent | None:
        try:
            step, head = read_step(record), codec.envelope_of(record.headers)
        except BadEvent as error:
            telemetry.log(__name__).warning("not a step", offset=record.offset, reason=str(error))
            return None
        if self._query.site not in (None, step.site) or self._query.kind not in (None, step.kind):
            return None
        document = {
            "specversion": "1.0", "id": head.id, "source": head.source, "type": head.type,
            "time": codec.rfc3339(head.time), "data": msgspec.Raw(record.value or b"null"),
        }  # fmt: skip
        return ServerSentEvent(msgspec.json.encode(document).decode(), event=step.action, id=self._id())

    def _note(self, event: str, detail: str) -> ServerSentEvent:
        return ServerSentEvent(
            msgspec.json.encode({"detail": detail}).decode(), event=event, id=self._id(), retry=RETRY_MS
        )

    def _id(self) -> str:
        return ".".join(map(str, self._place))


async def _counted(
    request: Request, events: AsyncGenerator[ServerSentEvent, None]
) -> AsyncGenerator[ServerSentEvent, None]:
    state = request.app.state
    state.streams += 1
    telemetry.SUBSCRIBERS.inc()
    try:
        async with aclosing(events) as running:
            async for event in running:
                yield event
    finally:
        state.streams -= 1
        telemetry.SUBSCRIBERS.dec()
