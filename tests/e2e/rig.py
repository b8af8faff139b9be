"""A whole platform for one test: a broker, a Cassandra node and workers of its own, all of which it may kill.

In: a folder. Out: processes on free ports, tethered to the test run; the workers' logs in the folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inventorybot import tether, wiring
from inventorybot.errors import TryLater
from inventorybot.settings import Settings, load
from inventorybot.wire.codec import Message
from services.local.cassandra import Node
from services.local.checks import free_ports
from services.local.kafka import Broker

GROUP_SESSION_S = 6.0
"""The shortest that Kafka allows: a killed worker's partitions move after it."""


def until(what: str, done: Callable[[], bool], timeout_s: float = 120.0) -> None:
    """Poll to a deadline; say what did not happen."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.1)


class Platform:
    """Servers and workers. `worker` returns the process: kill, stop or pause it by its pid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kafka, controller, cql, storage, tls = free_ports(5)
        self.broker = Broker(folder / "kafka", kafka, controller)
        self.node = Node(folder / "cassandra", cql, storage, tls)
        self.env = {
            **os.environ,
            "INVENTORYBOT_KAFKA": self.broker.bootstrap,
            "INVENTORYBOT_CASSANDRA_PORT": str(cql),
            "INVENTORYBOT_BROKER_SESSION_TIMEOUT_S": str(GROUP_SESSION_S),
            "INVENTORYBOT_BATCH_EVENTS": "256",  # many small batches: many places to be killed in
        }
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def settings(self) -> Settings:
        """What a process of this platform sees."""
        return load({k: v for k, v in self.env.items() if k.startswith("INVENTORYBOT_")})

    def start(self) -> None:
        """Servers, topics and tables."""
        self.broker.start()
        self.node.start()
        self.broker.wait_ready()
        self.node.wait_ready()
        self.run("migrate")

    def run(self, *arguments: str, check: bool = True, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """One command of the product, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "inventorybot", *arguments], env=self.env, check=check, capture_output=True, text=True,
            timeout=timeout_s,
        )  # fmt: skip

    def worker(
        self, agent: str, *, metrics_port: int = 0, module: tuple[str, ...] = ("inventorybot",)
    ) -> subprocess.Popen[bytes]:
        """One more worker of an agent. Args: module: what `python -m` runs."""
        env = {**self.env, "INVENTORYBOT_METRICS_PORT": str(metrics_port)}
        with (self.folder / f"worker-{len(self.workers)}-{agent}.log").open("wb") as log:
            process = tether.start([sys.executable, "-m", *module, "worker", agent], env=env, stdout=log, stderr=log)
        self.workers.append(process)
        return process

    def verify(self) -> dict[str, Any]:
        """The independent check's report, once the ledger has caught up."""
        done = self.run("verify", "--json", check=False)
        if not done.stdout.strip():
            raise AssertionError(f"verify printed nothing (exit {done.returncode}): {done.stderr[-2000:]}")
        report: dict[str, Any] = json.loads(done.stdout)
        report["exit"] = done.returncode
        return report

    def rows(self) -> int:
        """Rows that the ledger holds now; -1 while Cassandra is away."""
        try:
            database = wiring.database(self.settings, wait_s=0)
        except TryLater:
            return -1
        try:
            return sum(1 for _ in database.execute("SELECT revision FROM ledger_by_bin"))
        except TryLater:
            return -1
        finally:
            database.close()

    def stop(self) -> None:
        """End everything, by pid."""
        for process in self.workers:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self.node.kill()
        self.broker.kill()


class Upstream(threading.Thread):
    """Publishes at a steady rate as an upstream system does: what is not acknowledged is sent again."""

    def __init__(self, settings: Settings, messages: list[Message], per_second: int) -> None:
        super().__init__(name="upstream", daemon=True)
        self._settings, self._messages, self._per_second = settings, messages, per_second
        self.sent = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._publish())
        except BaseException as error:  # noqa: BLE001  # the test's main thread asks for it
            self.error = error

    async def _publish(self) -> None:
        chunk = max(1, self._per_second // 10)
        async with wiring.publisher(self._settings, timeout_s=5) as publisher:
            for i in range(0, len(self._messages), chunk):
                due = time.monotonic() + chunk / self._per_second
                while True:
                    try:
                        await publisher.publish(self._messages[i : i + chunk])
                        break
                    except TryLater:
                        await asyncio.sleep(0.2)
                self.sent = i + chunk
                await asyncio.sleep(max(0.0, due - time.monotonic()))


@contextmanager
def platform(folder: Path) -> Iterator[Platform]:
    """A running platform; ended whatever happens."""
    made = Platform(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
