"""Nothing lost, nothing counted twice, whatever dies.

updates  ──────────────────────────────────────────────────────────────────────►  20,000: 5 % repeats, 5 % late, 0.1 % poison
worker A ████✗ SIGKILL
worker B      ███████████████████████│ SIGSTOP │············ SIGCONT, comes back late
broker                ✗ SIGKILL, restarted
Cassandra                      ✗ SIGKILL, restarted
worker C                                  ██████████│ SIGTERM in the middle of a batch
worker D                                              ████████████████████████████►
verify                                                                              ✓ folds the log by itself
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.workload import Shape, stream
from tests.e2e.rig import Platform, Upstream, platform, until

UPDATES = 20_000
PER_SECOND = 800


def ride(p: Platform, module: tuple[str, ...] = ("inventorybot",)) -> dict[str, Any]:
    """Play the story above on a platform; returns what `verify` finds at its end."""
    shape = Shape(UPDATES, bins=300)
    messages = list(stream(shape, seed=7, start=int(time.time() * 1000) - UPDATES))
    upstream = Upstream(p.settings, messages, PER_SECOND)
    a = p.worker("ledger", module=module)
    upstream.start()
    until("worker A has written", lambda: p.rows() > 1000)
    a.kill()
    b = p.worker("ledger", module=module)
    until("worker B goes on", lambda: p.rows() > 3000)
    p.broker.kill()
    p.broker.start()
    p.broker.wait_ready()
    until("worker B goes on after the broker", lambda: p.rows() > 6000)
    p.node.kill()
    p.node.start()
    p.node.wait_ready()
    until("worker B goes on after Cassandra", lambda: p.rows() > 9000)
    os.kill(b.pid, signal.SIGSTOP)
    c = p.worker("ledger", module=module)
    until("worker C took the partitions over", lambda: p.rows() > 11_500)
    os.kill(b.pid, signal.SIGCONT)
    until("both work", lambda: p.rows() > 13_000)
    c.terminate()
    c.wait(30)
    p.worker("ledger", module=module)
    upstream.join(180)
    assert upstream.error is None
    assert upstream.sent >= UPDATES
    return p.verify()


@pytest.mark.timeout(600)
def test_no_update_is_lost_or_counted_twice_whatever_is_killed(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        report = ride(p)
    print(report)
    assert report["exit"] == 0, report
    assert report["lost"] == report["double_counted"] == report["half_applied"] == report["differing"] == 0
    assert report["counts"]["duplicates"] > UPDATES * 0.04
    assert sum(report["dead_letters"].values()) > 0
