"""Servers and processes to measure, started for one benchmark and ended with it; and what they cost.

In: a folder. Out: a broker and a Cassandra node on free ports, CPU seconds and memory by process id.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import psutil
from prometheus_client.parser import text_string_to_metric_families

from inventorybot import tether, wiring
from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.kafka import Topics
from inventorybot.settings import Settings, load
from inventorybot.wire.codec import Message
from inventorybot.wire.topics import TOPICS
from services.local.cassandra import Node
from services.local.checks import free_ports
from services.local.kafka import Broker

AS_SERVERS = ("-XX:TieredStopAtLevel=4",)
"""The embedded parts start with Java's quick compiler only, to be ready sooner. Servers that stay up have the full one, as here."""
NODE_JVM = (
    *AS_SERVERS, "-Xms2g", "-Xmx2g", "-XX:-UseSerialGC", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=30",
    "-Dcassandra.config.allow_system_properties=true",
    *(f"-Dcassandra.settings.{name}" for name in (
        "memtable_heap_space=512MiB", "memtable_offheap_space=512MiB", "commitlog_total_space=2GiB",
    )),
)  # fmt: skip
"""And a server's memory: the embedded one has to fit a laptop, and flushes and compacts every few seconds of 4,000 updates/s.
The collector does not stop everything for a quarter of a second: of 24 s at that rate the serial one takes 0.25 at once."""
TIMEOUT_S = 900.0
"""Of one measurement: the slowest contender handles 900 updates a second."""


@dataclass(slots=True)
class Servers:
    """A broker, a node, and settings that point at them."""

    folder: Path
    broker: Broker
    node: Node
    children: list[Popen[bytes]] = field(default_factory=list)

    def env(self, **more: str) -> dict[str, str]:
        """The environment of a process that belongs to them."""
        own = {"INVENTORYBOT_KAFKA": self.broker.bootstrap, "INVENTORYBOT_CASSANDRA_PORT": str(self.node.port)}
        return own | {f"INVENTORYBOT_{k.upper()}": v for k, v in more.items()}

    def settings(self, **more: str) -> Settings:
        """The same, for this process."""
        return load(self.env(**more))

    def keyspace(self, name: str) -> None:
        """An empty keyspace with all tables."""
        database = wiring.database(self.settings(), keyspace=False)
        migrate(database, name, datacenter="datacenter1", replication=1)
        database.close()

    def spawn(self, *module: str, **more: str) -> Popen[bytes]:
        """`python -m module…` with these settings; its output goes to a log in the folder."""
        env = {**os.environ, **self.env(**more)}
        with (self.folder / f"process-{len(self.children)}.log").open("wb") as log:
            child = tether.start([sys.executable, "-m", *module], env=env, stdout=log, stderr=log)
        self.children.append(child)
        return child


@contextmanager
def servers() -> Iterator[Servers]:
    """Everything started, topics made; everything ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="inventorybot-bench-") as name:
        folder = Path(name)
        kafka, controller, cql, storage, tls = free_ports(5)
        made = Servers(
            folder,
            Broker(folder / "kafka", kafka, controller, jvm_options=AS_SERVERS),
            Node(folder / "cassandra", cql, storage, tls, jvm_options=NODE_JVM),
        )
        try:
            made.broker.start()
            made.node.start()
            made.broker.wait_ready()
            made.node.wait_ready()
            Topics(wiring.kafka_config(made.settings())).create(TOPICS, made.settings().partitions, 1)
            yield made
        finally:
            for child in made.children:
                end(child)
            made.node.kill()
            made.broker.kill()


def end(child: Popen[bytes]) -> None:
    """Stop a process for good."""
    if child.poll() is None:
        child.kill()
        child.wait(10)


def publish(settings: Settings, messages: Sequence[Message], per_second: float | None = None) -> None:
    """Publish all; at a steady rate where one is given."""

    async def go() -> None:
        chunk = 2000 if per_second is None else max(1, int(per_second / 100))
        async with wiring.publisher(settings, 60) as publisher:
            began = time.monotonic()
            for i in range(0, len(messages), chunk):
                await publisher.publish(messages[i : i + chunk])
                if per_second is not None:
                    await asyncio.sleep(max(0.0, began + (i + chunk) / per_second - time.monotonic()))

    asyncio.run(go())


def wait_for(what: str, done: Callable[[], bool], child: Popen[bytes] | None = None, every_s: float = 0.05) -> None:
    """Poll until it is so. Raises: RuntimeError: it did not happen, or the process that should do it ended."""
    deadline = time.monotonic() + TIMEOUT_S
    while not done():
        if child is not None and child.poll() is not None:
            raise RuntimeError(f"the process ended with {child.returncode} before {what}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {TIMEOUT_S:.0f} s: {what}")
        time.sleep(every_s)


def metric(port: int, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels; 0 while the process does not answer yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0.0
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name)
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def buckets(port: int, name: str) -> dict[float, float]:
    """Cumulative counts of a histogram by upper bound."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    samples = (
        s for family in text_string_to_metric_families(text) for s in family.samples if s.name == f"{name}_bucket"
    )
    return {float(s.labels["le"]): s.value for s in samples}


def quantile(before: dict[float, float], after: dict[float, float], q: float) -> float:
    """A quantile of what was observed between two readings, linear within a bucket (as Prometheus does it)."""
    counts = {le: after[le] - before.get(le, 0.0) for le in sorted(after)}
    wanted = q * max(counts.values())
    low, below = 0.0, 0.0
    for le, cumulative in counts.items():
        if cumulative >= wanted:
            return (
                low
                if cumulative == below or le == float("inf")
                else low + (le - low) * (wanted - below) / (cumulative - below)
            )
        low, below = le, cumulative
    return low


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, its threads included."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def rss_mib(pid: int) -> float:
    """Resident memory of a process and its children, MiB."""
    process = psutil.Process(pid)
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 1_048_576
