"""`inventorybot up` as a person uses it: it starts, goes on after a stop, heals what dies, and leaves nothing behind.

In: the jars that `make setup` fetched. Run: `pytest tests/integration/test_up.py` (two minutes: it starts everything).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from services.local.checks import HOST, answers

DEADLINE_S = 180.0  # a start takes 20 to 30 s here; a busy machine is allowed much more
SPAN = 20  # ports that one `up` uses, from the API's on

pytestmark = pytest.mark.timeout(600)  # two starts and two stops, each within its deadline


def until(what: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Poll until it holds."""
    end = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.1)


def free_span() -> int:
    """The first of SPAN ports that are all free."""
    for first in range(20_000 + os.getpid() % 5_000, 60_000, SPAN):
        if all(bindable(port) for port in range(first, first + SPAN)):
            return first
    raise AssertionError("no span of free ports")


def bindable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


class Platform:
    """One `inventorybot up` as a child, on a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.out = folder, port, folder.with_suffix(".out")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "inventorybot",
            "up",
            "--no-demo",
            "--data",
            str(self.folder),
            "--port",
            str(self.port),
        ]
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    @property
    def said(self) -> str:
        return self.out.read_text(errors="replace")

    def wait_for(self, words: str) -> None:
        def there() -> bool:
            assert self.process is not None
            assert self.process.poll() is None or words in self.said, self.said
            return words in self.said

        until(there)

    def children(self) -> dict[str, psutil.Process]:
        """The running children by what they run."""
        assert self.process is not None
        found = {}
        for child in psutil.Process(self.process.pid).children():
            line = " ".join(child.cmdline())
            found[line.rsplit("inventorybot ", 1)[-1] if "java" not in child.name() else line.split()[-1]] = child
        return found

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE_S)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    made = Platform(tmp_path / "data", free_span())
    yield made
    made.end()


def test_it_heals_what_dies_stops_in_order_and_goes_on_from_its_folder(platform: Platform) -> None:
    platform.start()
    platform.wait_for("Ctrl-C stops everything")
    assert answers(platform.port)

    another = subprocess.run(
        [sys.executable, "-m", "inventorybot", "up", "--data", str(platform.folder)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert another.returncode == 2
    assert "is in use by another `inventorybot up`" in another.stderr

    platform.children()["worker ledger"].kill()
    platform.wait_for("ledger-1 was killed by SIGKILL (log: ")
    platform.wait_for("ledger-1 was started again")
    next(child for name, child in platform.children().items() if "server.properties" in name).kill()
    platform.wait_for("kafka was started again")
    until(lambda: answers(platform.port + 1))

    assert platform.process is not None
    children = list(platform.children().values())
    platform.process.send_signal(signal.SIGTERM)
    assert platform.process.wait(DEADLINE_S) == 0
    assert all(gone(child) for child in children)
    said = platform.said
    assert said.index("api stopped") < said.index("cassandra stopped")

    platform.start()
    platform.wait_for("Ctrl-C stops everything")


def test_when_it_is_killed_nothing_of_it_is_left(platform: Platform) -> None:
    platform.start()
    platform.wait_for("Ctrl-C stops everything")
    children = list(platform.children().values())
    assert len(children) == 10, "Kafka, Cassandra, five agents, the planner, the schedule of jobs, the API"
    assert platform.process is not None
    platform.process.kill()
    platform.process.wait()
    for child in children:
        until(lambda child=child: gone(child))  # type: ignore[misc]
