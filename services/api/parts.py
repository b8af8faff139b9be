"""What the routes need from the outside world: ports, a clock, ids and limits. Tests put fakes here.

In: adapters. Out: `Parts`, which `create_app` gives to every request through `parts_of`.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from inventorybot.clock import now_ms
from inventorybot.ports import (
    AnomalyStore,
    Blobs,
    DeadLetters,
    EvidenceStore,
    LevelReader,
    LogReader,
    PlanStore,
    Publisher,
    RestockStore,
)
from inventorybot.wire.codec import TimeLimits


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. Each value's reason stands beside it."""

    body_bytes: int = 8 * 1024 * 1024
    """Six inline images of the largest size, or 1,000 movements of 8 kB; held in memory while it is checked."""
    events: int = 1000
    """A producer's batch; larger ones gain no speed and lengthen what must be sent again after a failure."""
    request_s: float = 30.0
    """Above the adapters' own time-outs (10 s), so that theirs, which say more, come first."""
    fold_wait_s: float = 2.0
    """The alert agent folds a step in tens of ms; past this the caller had better ask again."""
    streams: int = 256
    """Live streams at once; each holds a connection and at most `stream_queue` events."""
    stream_queue: int = 1000
    """Events that a slow subscriber may lag behind before it is told to come again."""
    heartbeat_s: float = 15.0
    """Below the usual 60 s after which proxies cut an idle connection."""
    check_s: float = 2.0
    """Of each part in /readyz: a probe that itself times out tells less."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Args: clock: now, ms. new_id: ids of steps that people take. checks: what /readyz asks, by the part's name."""

    publisher: Publisher
    log: LogReader
    levels: LevelReader
    anomalies: AnomalyStore
    evidence: EvidenceStore
    plans: PlanStore
    restock: RestockStore
    dead_letters: DeadLetters
    blobs: Blobs
    checks: Mapping[str, Callable[[], Awaitable[object]]]
    times: TimeLimits
    limits: Limits = Limits()
    clock: Callable[[], int] = field(default=now_ms)
    new_id: Callable[[], str] = field(default=lambda: str(uuid.uuid4()))


def parts_of(request: Request) -> Parts:
    """The parts of the application that answers this request."""
    parts: Parts = request.app.state.parts
    return parts


Has = Annotated[Parts, Depends(parts_of)]
"""The annotation by which a route asks for the parts."""
