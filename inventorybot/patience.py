"""Trying until it works: what an agent does when a part that it needs does not answer.

In: a coroutine function that raises TryLater. Out: its result, however long that takes; metrics and log say that it waits.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from inventorybot import telemetry
from inventorybot.errors import TryLater

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0

log = telemetry.log(__name__)


async def until_it_works(agent: str, attempt: Callable[[], Awaitable[None]], retry_limit_s: float) -> None:
    """Attempt without end. The pauses grow, with jitter, so that workers do not knock in step.

    Args:
        agent: whose name metrics and log carry.
        retry_limit_s: after so long without success the agent counts as paused, and an alert fires.
    """
    began, pause, paused = time.monotonic(), FIRST_PAUSE_S, telemetry.PAUSED.labels(agent)
    while True:
        try:
            await attempt()
            break
        except TryLater as error:
            telemetry.RETRIES.labels(error.part).inc()
            waited = time.monotonic() - began
            if waited > retry_limit_s:
                paused.set(1)
            log.warning("waiting", agent=agent, part=error.part, reason=error.reason, waited_s=round(waited, 1))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE_S)
    paused.set(0)
