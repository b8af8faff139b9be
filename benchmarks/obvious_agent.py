"""What people write first: a Faust agent that keeps levels in a table and awaits one insert an event.

In: inventory.updates. Out: one ledger row and one level row an event; no guard against repeats of any kind.
Run by benchmarks/ledger.py: `python -m benchmarks.obvious_agent N`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

import faust

from inventorybot import wiring
from inventorybot.adapters.cassandra.ledger import bucket_of, week_of
from inventorybot.settings import load

TOTAL = int(sys.argv[1])
SIGN = {"pick": -1, "sale": -1, "shipment": -1, "move": -1, "put-away": -1, "write-off": -1}


def build() -> faust.App:
    """The application, as Faust's own guide would have it."""
    settings = load()
    session = wiring.database(settings).session
    row = session.prepare(
        "INSERT INTO ledger_by_bin (site, bucket, week, bin, occurred_at, event_id, sku, kind, quantity) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    level = session.prepare("INSERT INTO level_by_bin (site, bucket, bin, sku, on_hand) VALUES (?, ?, ?, ?, ?)")
    app = faust.App(
        "bench-obvious", broker=f"kafka://{settings.kafka}", store="memory://", web_enabled=False, topic_partitions=6,
        datadir=tempfile.mkdtemp(), consumer_auto_offset_reset="earliest", topic_disable_leader=True,
    )  # fmt: skip
    updates = app.topic(
        "inventory.updates", key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )
    levels = app.Table("levels", default=int, partitions=settings.partitions)
    state = {"handled": 0, "began": 0.0}

    @app.agent(updates)
    async def ledger(stream: Any) -> None:
        async for event in stream.events():
            state["began"] = state["began"] or time.monotonic()
            with suppress(ValueError, KeyError, TypeError, AttributeError):  # what people write first loses bad events
                await handle(event)
            state["handled"] += 1
            if state["handled"] >= TOTAL:
                os.write(
                    1, f"\n{TOTAL} {time.monotonic() - state['began']:.3f}\n".encode()
                )  # Faust takes print for itself
                os._exit(0)

    async def handle(event: Any) -> None:
        data, head = json.loads(event.value), {k: v.decode() for k, v in event.headers.items()}
        kind = head["ce_type"].split(".")[2]
        key = f"{data['site']}/{data['bin']}/{data['sku']}"
        levels[key] = data["quantity"] if kind == "cycle-count" else levels[key] + SIGN.get(kind, 1) * data["quantity"]
        at = datetime.fromisoformat(head["ce_time"])
        place = (data["site"], bucket_of(data["bin"]))
        week = week_of(round(at.timestamp() * 1000))
        values = (*place, week, data["bin"], at, head["ce_id"], data["sku"], kind, data["quantity"])
        await _done(session.execute_async(row, values))
        await _done(session.execute_async(level, (*place, data["bin"], data["sku"], levels[key])))

    return app


async def _done(response: Any) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    response.add_callbacks(
        lambda rows: loop.call_soon_threadsafe(future.set_result, rows),
        lambda error: loop.call_soon_threadsafe(future.set_exception, error),
    )
    await future


if __name__ == "__main__":
    faust.Worker(build(), loglevel="error", quiet=True).execute_from_commandline()
