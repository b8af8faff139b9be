"""A count worker changes models while pictures flow: a real Kafka, a real Cassandra, a real registry, one process.

    pictures ──► worker count ──► inventory.bin-counts          every picture once, first by v1, then v2, then v3
                     ▲ inventory.models ◄── put in service

Run: pytest tests/integration/test_model_switch.py
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from inventorybot import tether, wiring
from inventorybot.adapters.kafka import Topics
from inventorybot.adapters.kafka_log import KafkaLog
from inventorybot.adapters.registry import ModelRegistry, packaged
from inventorybot.domain.events import BinImage
from inventorybot.ports import Position
from inventorybot.settings import Settings, load
from inventorybot.wire.codec import Record, image_message
from inventorybot.wire.schemas import BinCountData
from inventorybot.wire.topics import TOPICS
from ml.vision.render import render_bin
from services.local.cassandra import Node
from services.local.checks import free_ports
from services.local.kafka import Broker
from tests.conftest import Schema

COUNTS = "inventory.bin-counts"
BINS = 40
"""As many keys: every partition sees pictures before and after a switch."""


def newer(folder: Path, version: str, nll: float) -> Path:
    """The release that ships with the product, under another version and with another figure."""
    shutil.copytree(packaged("count").path, folder)
    card = json.loads((folder / "card.json").read_text()) | {"version": version}
    card["held_out"] |= {"value": nll}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


class Line:
    """A worker that counts, robots that take one picture after the other, and a reader of what comes out."""

    def __init__(self, environment: dict[str, str], site: str, log: Path) -> None:
        self.settings, self.site, self._log = load(environment), site, log
        (self.port,) = free_ports(1)
        command = [sys.executable, "-m", "inventorybot", "worker", "count"]
        env = {**os.environ, **environment, "INVENTORYBOT_METRICS_PORT": str(self.port)}
        self.reader = KafkaLog(wiring.kafka_config(self.settings))
        self.sent: list[str] = []
        self.stopped = False
        self._seen: list[tuple[Record, BinCountData]] = []
        self._next: Position | None = None
        with log.open("wb") as output:
            self.worker: subprocess.Popen[bytes] = tether.start(command, env=env, stdout=output, stderr=output)

    async def robots(self) -> None:
        """Some 25 pictures a second, until they are told to stop."""
        pictures = [render_bin(n, np.random.default_rng([5, n])).jpeg for n in range(4)]
        async with wiring.publisher(self.settings) as out:
            while not self.stopped:
                n = len(self.sent)
                event = BinImage(
                    f"{self.site}-{n}",
                    time.time_ns() // 1_000_000,
                    self.site,
                    f"B{n % BINS}",
                    pictures[n % 4],
                    source="r",
                )
                await out.publish([image_message(event)])
                self.sent.append(event.event_id)
                await asyncio.sleep(0.04)

    async def counts(self) -> list[tuple[Record, BinCountData]]:
        """All that this site's pictures have come to, in the order of the log."""
        start, end = await self.reader.bounds(COUNTS)
        async for records in self.reader.read(COUNTS, self._next or start, end):
            for record in records:
                if (record.key or b"").startswith(f"{self.site}/".encode()):
                    self._seen.append((record, msgspec.json.decode(record.value or b"", type=BinCountData)))
        self._next = end
        return self._seen

    async def counted_by(self, version: str, at_least: int) -> bool:
        return sum(data.model.version == version for _, data in await self.counts()) >= at_least

    async def swaps(self, outcome: str) -> float:
        """The worker's own metric."""
        with suppress(httpx.TransportError):
            async with httpx.AsyncClient() as client:
                text = (await client.get(f"http://127.0.0.1:{self.port}/metrics")).text
            for line in text.splitlines():
                if line.startswith(f'inventorybot_model_swaps_total{{outcome="{outcome}"}}'):
                    return float(line.split()[-1])
        return 0.0

    async def until(self, what: str, done: Callable[[], Awaitable[bool]], timeout_s: float = 90) -> None:
        deadline = time.monotonic() + timeout_s
        while not await done():
            assert self.worker.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"not in time: {what}\n{self._log.read_text()[-3000:]}"
            await asyncio.sleep(0.2)


@pytest.fixture
async def line(
    kafka: Broker, cassandra: Node, schema: Schema, registry_url: str, tmp_path: Path, unique_name: str
) -> AsyncIterator[Line]:
    environment = {
        "INVENTORYBOT_KAFKA": kafka.bootstrap, "INVENTORYBOT_CASSANDRA_KEYSPACE": schema.keyspace,
        "INVENTORYBOT_CASSANDRA_PORT": str(cassandra.port), "INVENTORYBOT_MODELS": registry_url,
        "INVENTORYBOT_MODEL_ARTIFACTS": str(tmp_path / "releases"), "INVENTORYBOT_MODEL_POLL_S": "0.3",
        "INVENTORYBOT_DEVICE": "cpu",
    }  # fmt: skip
    settings = load(environment)
    Topics(wiring.kafka_config(settings)).create(TOPICS, settings.partitions, 1)
    made = Line(environment, unique_name, tmp_path / "worker.log")
    try:
        yield made
    finally:
        made.worker.kill()
        made.worker.wait(10)
        made.reader.close()


async def test_a_running_worker_follows_the_registry_and_counts_every_picture_exactly_once(
    line: Line, tmp_path: Path
) -> None:
    registry, settings = wiring.registry(line.settings), line.settings
    robots = asyncio.create_task(line.robots())
    await line.until("what ships with the product counts", lambda: line.counted_by("v1", 20))
    await publish(registry, "v2", newer(tmp_path / "v2", "v2", 0.9))
    assert "is better" in await wiring.put_in_service(settings, "count", "v2")
    await line.until("v2 counts", lambda: line.counted_by("v2", 20))

    await publish(registry, "v3", newer(tmp_path / "v3", "v3", 0.8))
    await asyncio.to_thread(registry.promote, "count", "v3")
    (weights,) = (tmp_path / "releases" / "count").glob("v3-*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    await wiring.announce_model(settings, "count")
    await line.until("v3 is refused", lambda: at_least(line, "refused", 1))
    already = len(line.sent)
    await line.until("v2 counts on", lambda: counts_of(line, already + 10))
    assert not await line.counted_by("v3", 1)
    await publish(registry, "v3", tmp_path / "v3")  # the same again: it repairs what was damaged
    await line.until("v3 counts", lambda: line.counted_by("v3", 20))

    assert await wiring.roll_back(settings, "count") == "v2"
    await line.until("v2 is in service again", lambda: at_least(line, "swapped", 3))
    line.stopped = True
    await robots
    await line.until("every picture is counted", lambda: counts_of(line, len(line.sent)))

    found = await line.counts()
    assert sorted(data.image_id for _, data in found) == sorted(line.sent), "every picture, and each of them once"
    assert len({dict(record.headers)["ce_id"] for record, _ in found}) == len(found)
    for partition in {record.partition for record, _ in found}:
        versions = [data.model.version for record, data in found if record.partition == partition]
        order = [version for n, version in enumerate(versions) if n == 0 or version != versions[n - 1]]
        assert order in (["v1", "v2", "v3", "v2"], ["v1", "v2", "v3"], ["v1", "v2"]), order
    assert line.worker.poll() is None, "it is the process that was started"


async def publish(registry: ModelRegistry, version: str, folder: Path) -> None:
    await asyncio.to_thread(registry.publish, "count", version, folder)


async def at_least(line: Line, outcome: str, times: int) -> bool:
    return await line.swaps(outcome) >= times


async def counts_of(line: Line, pictures: int) -> bool:
    return len(await line.counts()) >= pictures


def test_settings_of_the_platform_that_up_starts_name_a_registry_on_this_machine(tmp_path: Path) -> None:
    from services.local.up import Plan

    settings: Settings = load(Plan(tmp_path, 8700, 1).settings())
    registry = wiring.registry(settings)
    assert registry.current("count") == packaged("count")
    assert not (tmp_path / "models" / "registry.db").exists(), "its tables are made when they are needed"
