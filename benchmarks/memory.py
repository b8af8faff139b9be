"""What each process of the whole platform takes in memory, idle, with and without the count model.

In: nothing. Out: a table. Run: `python -m benchmarks memory`.
"""

from __future__ import annotations

import time
from subprocess import Popen

from rich.console import Console
from rich.table import Table

from benchmarks.rig import metric, rss_mib, servers, wait_for
from services.local.checks import answers, free_ports

SETTLE_S = 10.0
"""After this an idle process has let go of what its start needed."""


def run(console: Console | None = None) -> dict[str, float]:
    """Measure and print; returns MiB by process."""
    console = console or Console()
    with servers() as s:
        s.keyspace("inventorybot")
        children: dict[str, Popen[bytes]] = {}
        for agent in ("ledger", "variance", "alert", "stock-watch", "count"):
            (port,) = free_ports(1)
            children[f"worker {agent}"] = child = s.spawn("inventorybot", "worker", agent, metrics_port=str(port))
            wait_for(f"the {agent} worker runs", lambda port=port: metric(port, "process_open_fds") > 0, child)  # type: ignore[misc]
        (port,) = free_ports(1)
        children["API"] = s.spawn("inventorybot", "api", api_port=str(port))
        wait_for("the API answers", lambda: answers(port), children["API"])
        time.sleep(SETTLE_S)
        assert s.broker.process is not None
        assert s.node.process is not None
        pids = {"Kafka": s.broker.process.pid, "Cassandra": s.node.process.pid} | {
            n: c.pid for n, c in children.items()
        }
        sizes = {name: rss_mib(pid) for name, pid in pids.items()}
    table = Table("process", "MiB resident")
    for name, size in sizes.items():
        table.add_row(name, f"{size:,.0f}")
    without = sum(size for name, size in sizes.items() if name != "worker count")
    table.add_row("all but the count worker", f"{without:,.0f}")
    console.print(table)
    return {**sizes, "without_model": without}
