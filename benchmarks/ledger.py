"""How fast one ledger worker is: beside the same writes without Faust, and beside what people write first.

In: nothing. Out: a table. Run: `python -m benchmarks ledger [--updates N]`. Everything shares this machine's cores with
the broker and the database, as on a small site; one run, one log, a keyspace each.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from subprocess import Popen

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.rig import Servers, buckets, cpu_s, end, metric, publish, quantile, servers, wait_for
from benchmarks.workload import Shape, stream
from inventorybot.wire.codec import Message
from services.local.checks import free_ports

OBVIOUS_SHARE = 10
"""The obvious agent gets a tenth of the stream, else the run would take minutes more."""
BEFORE_MS = 1_200_000
"""The log that waits lies this far back, else the steady loads after it would be late: an event is a millisecond there."""
LATE_MS = 60_000
"""How late the late ones of a load are at the most."""
HALF_LOAD = 4_000
"""Half of the 8,000 updates a second that a worker has to take."""
RATES = (1_000, 2_000, 3_000, HALF_LOAD)
WARM_S, STEADY_S = 20, 30
"""The servers' compilers need half a minute of load to be done; what comes then is measured, without a pause between."""
VISIBLE = "inventorybot_event_visible_seconds"


@dataclass(frozen=True, slots=True)
class Speed:
    """Updates a second, and CPU seconds for 10,000 updates of worker, broker and database."""

    per_second: float
    cpu: tuple[float, float, float]


def run(updates: int = 100_000, console: Console | None = None) -> dict[str, float]:
    """Measure and print; returns the figures by name."""
    console = console or Console()
    with servers() as s:
        base = list(stream(Shape(updates), seed=1, start=int(time.time() * 1000) - updates - BEFORE_MS))
        console.print(f"publishing {len(base):,} updates of 2,000 bins: 5 % repeats, 5 % late, 0.1 % poison …")
        publish(s.settings(), base)
        _timed(s, "benchmarks.plain_loop", "warm", len(base))  # else whoever comes last has the warmest servers
        obvious = _timed(s, "benchmarks.obvious_agent", "obvious", len(base) // OBVIOUS_SHARE)
        ceiling = _timed(s, "benchmarks.plain_loop", "ceiling", len(base))
        ours, latencies = _worker(s, base, console)
    table = Table("contender", "updates/s", "of the ceiling", "CPU s / 10k: worker", "broker", "Cassandra")
    for name, speed in (
        ("plain loop (ceiling)", ceiling),
        ("inventorybot", ours),
        ("obvious agent", obvious),
    ):
        cells = (
            f"{speed.per_second:,.0f}",
            f"{speed.per_second / ceiling.per_second:.0%}",
            *(f"{c:.2f}" for c in speed.cpu),
        )
        table.add_row(name, *cells)
    console.print(table)
    console.print(f"{ours.per_second / obvious.per_second:.1f}× the obvious agent")
    steady = Table("updates/s", "publish → visible: p50 ms", "p90 ms", "p99 ms")
    for rate, found in latencies.items():
        steady.add_row(f"{rate:,}", *(f"{q * 1000:.0f}" for q in found))
    console.print(steady)
    return {
        "updates_per_second": ours.per_second, "of_ceiling": ours.per_second / ceiling.per_second,
        "of_obvious": ours.per_second / obvious.per_second, "p50_s": latencies[HALF_LOAD][0], "p99_s": latencies[HALF_LOAD][2],
    }  # fmt: skip


def _pids(s: Servers, child: Popen[bytes]) -> list[int]:
    assert s.broker.process is not None
    assert s.node.process is not None
    return [child.pid, s.broker.process.pid, s.node.process.pid]


def _timed(s: Servers, module: str, keyspace: str, total: int) -> Speed:
    """A contender that times itself and says `COUNT SECONDS` as the last line of its log."""
    s.keyspace(keyspace)
    child = s.spawn(module, str(total), cassandra_keyspace=keyspace)
    pids = _pids(s, child)
    before = [cpu_s(p) for p in pids]
    last = before
    while child.poll() is None:
        last = [cpu_s(p) for p in pids] if child.poll() is None else last
        time.sleep(0.05)
    lines = (s.folder / f"process-{len(s.children) - 1}.log").read_text().strip().splitlines()
    try:
        count, seconds = lines[-1].split()
        speed = int(count) / float(seconds)
    except (ValueError, IndexError):
        raise RuntimeError(f"{module} ended with {child.returncode}: {' '.join(lines[-5:])}") from None
    return Speed(speed, _cpu(before, last, total))


def _cpu(before: list[float], after: list[float], updates: int) -> tuple[float, float, float]:
    worker, broker, cassandra = ((b - a) * 10_000 / updates for a, b in zip(before, after, strict=True))
    return worker, broker, cassandra


def _worker(s: Servers, base: list[Message], console: Console) -> tuple[Speed, dict[int, list[float]]]:
    """The real worker: first everything that waits in the log, then steady loads; p50, p90 and p99 of each, s."""
    s.keyspace("ours")
    (port,) = free_ports(1)
    at = int(time.time() * 1000) - BEFORE_MS + LATE_MS  # when the next load happened: after everything before it
    child = s.spawn("inventorybot", "worker", "ledger", cassandra_keyspace="ours", metrics_port=str(port))
    pids = _pids(s, child)

    def handled() -> float:
        return metric(port, "inventorybot_batch_events_sum", agent="ledger")

    def steady(rate: int) -> list[float]:
        nonlocal at
        before = handled()
        more = list(stream(Shape(rate * (WARM_S + STEADY_S)), seed=at, start=at))
        at += len(more) + LATE_MS
        with ThreadPoolExecutor(1) as background:
            load = background.submit(publish, s.settings(), more, per_second=rate)
            time.sleep(WARM_S)
            first = buckets(port, VISIBLE)
            load.result()
        wait_for("the steady load was handled", lambda: handled() >= before + len(more), child)
        last = buckets(port, VISIBLE)
        return [quantile(first, last, q) for q in (0.5, 0.9, 0.99)]

    wait_for("the worker began", lambda: handled() > 0, child)
    before, began, start = [cpu_s(p) for p in pids], time.monotonic(), handled()
    wait_for("the log was handled", lambda: handled() >= len(base), child)
    seconds, done = time.monotonic() - began, handled()
    speed = Speed((done - start) / seconds, _cpu(before, [cpu_s(p) for p in pids], int(done - start)))
    settled = -1.0
    while settled != (settled := handled()):
        time.sleep(1.0)
    found = {}
    with Progress(console=console, transient=True) as progress:
        for rate in progress.track(RATES, description="steady loads"):
            found[rate] = steady(rate)
    end(child)
    return speed, found
