"""The supervisor: what dies is started again, later each time; what must stop, stops last tier first.

The parts here are real processes (`sleep`, `false`), the clock is turned by hand.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from inventorybot import tether
from services.local.supervisor import BACK_OFF_S, HEALTHY_S, Supervisor


class Child:
    """A part that runs one command."""

    def __init__(self, name: str, *command: str) -> None:
        self.name, self.command = name, command
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self.process, self.starts = tether.start(self.command), self.starts + 1

    def explain(self) -> str:
        return f"{self.name} ended"

    def ask_to_stop(self) -> None:
        if self.process:
            self.process.terminate()

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def wait(self) -> None:
        assert self.process is not None
        self.process.wait(30)


class World:
    """A supervisor, what it said, and a clock that we turn."""

    def __init__(self) -> None:
        self.now, self.said = 1000.0, list[str]()
        self.supervisor = Supervisor(self.said.append, clock=lambda: self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.supervisor.watch()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.supervisor.kill()


def test_a_part_that_dies_is_started_again_after_a_moment_and_it_is_said(world: World) -> None:
    part = Child("ledger-1", "sleep", "600")
    world.supervisor.start([part])
    part.kill()
    world.pass_time(0)
    assert world.said == ["ledger-1 ended; starting it again in 0.5 s"]
    assert not part.running
    world.pass_time(BACK_OFF_S[0])
    assert part.running
    assert world.said[-1] == "ledger-1 was started again"


def test_a_part_that_dies_at_once_again_and_again_waits_longer_each_time(world: World) -> None:
    part = Child("count", "false")
    world.supervisor.start([part])
    waits = []
    for _ in range(len(BACK_OFF_S) + 1):
        part.wait()
        world.pass_time(0)
        waits.append(float(world.said[-1].split()[-2]))
        world.pass_time(waits[-1])
    assert waits == [0.5, 1, 2, 4, 8, 15, 30, 30]


def test_a_part_that_ran_well_for_a_while_is_started_again_soon(world: World) -> None:
    part = Child("count", "false")
    world.supervisor.start([part])
    for _ in range(3):
        part.wait()
        world.pass_time(0)
        world.pass_time(BACK_OFF_S[-1])
    part.wait()
    world.pass_time(HEALTHY_S + 1)
    assert world.said[-1].endswith("in 0.5 s")


def test_later_tiers_stop_first() -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append)
    supervisor.start([Child("kafka", "sleep", "600")])
    supervisor.start([Child("worker", "sleep", "600")])
    assert supervisor.stop(30)
    assert said == ["worker stopped", "kafka stopped"]


def test_a_part_that_will_not_stop_is_killed_after_the_limit_and_it_is_said() -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append)
    stubborn = Child("api", "bash", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    supervisor.start([stubborn])
    deadline = time.monotonic() + 30
    while not ignores_term(stubborn):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not supervisor.stop(0.5)
    assert said == ["api did not stop within 0.5 s and was killed"]
    assert not stubborn.running


def ignores_term(child: Child) -> bool:
    """Whether the child has set its trap: the kernel shows the signals that a process ignores."""
    assert child.process is not None
    with open(f"/proc/{child.process.pid}/status") as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn"))
    return bool(mask & (1 << (15 - 1)))
