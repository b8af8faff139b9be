"""A small warehouse on the shipped fakes, and the API on top of it.

In: nothing. Out: `World`: its fakes, its clock, and `client()`. `Alerts` folds steps as the alert agent does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import uvicorn

from inventorybot.adapters.memory.anomalies import MemoryAnomalies
from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.adapters.memory.evidence import MemoryEvidence
from inventorybot.adapters.memory.ledger import MemoryLedger
from inventorybot.adapters.memory.log import MemoryLog
from inventorybot.adapters.memory.plans import MemoryPlans
from inventorybot.adapters.memory.restock import MemoryRestock
from inventorybot.domain.alerts import Knowledge, Step, advance
from inventorybot.domain.events import Kind, Movement
from inventorybot.domain.ledger import Bin, LedgerRow, apply
from inventorybot.errors import BadEvent, Code
from inventorybot.ports import BinWrite, LedgerEntry
from inventorybot.wire.anomalies import read_step, step_message
from inventorybot.wire.codec import TimeLimits, rfc3339
from inventorybot.wire.topics import ANOMALIES
from services.api.app import create_app
from services.api.cli import listen
from services.api.parts import Limits, Parts

NOW = 1_795_243_020_000
"""2026-11-21T06:37:00Z"""
MINUTE = 60_000
P = (0.0, 0.0, 0.05, 0.05, 0.9, *[0.0] * 16)
RECEIPT = "inventorybot.movement.receipt.v1"


class FakeBlobs:
    """Pictures by URL."""

    def __init__(self) -> None:
        self.pictures: dict[str, bytes] = {}

    async def read(self, url: str) -> bytes:
        if url not in self.pictures:
            raise BadEvent(Code.IMAGE_UNREACHABLE, "/image", f"{url} does not exist")
        return self.pictures[url]


def event(quantity: Any = 3, **changed: Any) -> dict[str, Any]:
    """A receipt of 3 units of B00EXAMPLE into BER1/P-3-A12, a minute ago."""
    head = {"specversion": "1.0", "id": "e-1", "source": "wms", "type": RECEIPT, "time": rfc3339(NOW - MINUTE)}
    data = {"site": "BER1", "bin": "P-3-A12", "sku": "B00EXAMPLE", "quantity": quantity}
    return {**head, "data": data, **changed}


@dataclass
class World:
    """The fakes behind the API. `alerts`: whether an alert agent folds what is published."""

    log: MemoryLog = field(default_factory=lambda: MemoryLog(lambda: NOW))
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    anomalies: MemoryAnomalies = field(default_factory=MemoryAnomalies)
    evidence: MemoryEvidence = field(default_factory=MemoryEvidence)
    plans: MemoryPlans = field(default_factory=MemoryPlans)
    restock: MemoryRestock = field(default_factory=lambda: MemoryRestock(lambda: NOW))
    letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    blobs: FakeBlobs = field(default_factory=FakeBlobs)
    limits: Limits = field(default_factory=lambda: Limits(fold_wait_s=1.0, check_s=1.0, heartbeat_s=0.2))
    offset: int = 0

    def parts(self) -> Parts:
        ids = iter(f"step-{n}" for n in range(1_000_000))
        checks = {"kafka": lambda: self.log.bounds(ANOMALIES.name), "cassandra": lambda: self.ledger.catalogue("site")}
        return Parts(
            self.log, self.log, self.ledger, self.anomalies, self.evidence, self.plans, self.restock, self.letters, self.blobs,
            checks, TimeLimits(), self.limits, lambda: NOW, lambda: next(ids),
        )  # fmt: skip

    def client(self) -> httpx.AsyncClient:
        """The API without a network; live streams need `serve`."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(self.parts()), False), base_url="http://api")

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[httpx.AsyncClient]:
        """The API on a free port."""
        async with serve(self.parts()) as client:
            yield client

    async def book(self, *movements: Movement) -> None:
        """Put movements into the ledger as the ledger agent would."""
        for m in movements:
            key = (m.site, m.bin)
            state = (await self.ledger.load([key])).get(key) or Bin()
            self.offset += 1
            apply(state, m, self.offset)
            row = LedgerRow(m.occurred_at, self.offset, m.sku, m.delta, m.is_count, m.event_id)
            entry = LedgerEntry(row, str(m.kind), m.source, NOW, m.to_bin, m.reason)
            write = BinWrite(key, state, self.offset, [entry], {m.sku}, {m.sku: (m.event_id, NOW)})
            await self.ledger.write_rows([write])
            await self.ledger.write_levels([write])

    async def raise_anomaly(self, anomaly_id: str = "a-1", **changed: Any) -> Step:
        """One step, published and folded."""
        knowledge = Knowledge(
            probability=0.97, recorded=6, estimate=4, looks=2, p=P, image_id="img-1", model="count@v1"
        )
        step = Step(
            f"{anomaly_id}:raised",
            anomaly_id,
            "bin-variance",
            "raised",
            NOW - MINUTE,
            "BER1",
            "A-1",
            knowledge=knowledge,
        )
        step = replace(step, **changed)
        await self.log.publish([step_message(step, "inventorybot/variance")])
        await self.fold()
        return step

    async def fold(self) -> None:
        """What the alert agent does: every step of the topic into the store."""
        end = (await self.log.bounds(ANOMALIES.name))[1]
        async for records in self.log.read(ANOMALIES.name, tuple(0 for _ in end), end):
            for record in records:
                step, revision = read_step(record), record.offset * 10 + record.partition
                known = (await self.anomalies.get([step.anomaly_id])).get(step.anomaly_id)
                if known is not None and known.revision >= revision:
                    continue
                anomaly = advance(known, step)
                if anomaly is not None:
                    await self.anomalies.write({anomaly.id: (anomaly, revision)}, [(revision, step)])

    @asynccontextmanager
    async def alert_agent(self) -> AsyncIterator[None]:
        """Folds while it runs."""

        async def follow() -> None:
            async for _ in self.log.read(ANOMALIES.name, (0, 0, 0)):
                await self.fold()

        task = asyncio.create_task(follow())
        try:
            yield
        finally:
            task.cancel()


def movement(event_id: str, kind: Kind, quantity: int, at: int, bin_id: str = "A-1", sku: str = "B00X") -> Movement:
    """A movement of BER1."""
    return Movement(event_id, kind, at, "BER1", bin_id, sku, quantity, source="wms")


@asynccontextmanager
async def serve(parts: Parts, port: int = 0) -> AsyncIterator[httpx.AsyncClient]:
    """The API on a port of 127.0.0.1 (0: a free one), until the block ends."""
    listener = listen("127.0.0.1", port)
    server = uvicorn.Server(
        uvicorn.Config(create_app(parts), log_config=None, access_log=False, timeout_graceful_shutdown=1)
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(
            base_url=address, timeout=20, transport=httpx.AsyncHTTPTransport(retries=5)
        ) as client:
            await client.get("/livez")
            yield client
    finally:
        server.should_exit = True
        await task
        listener.close()
