"""Keep the parts of the platform running: start in order, restart what dies, stop in reverse order.

In: parts (servers and programs), in tiers. Out: running children, and one line about everything that happens to them.
Nothing here knows what the parts do. Everything runs in the caller's (main) thread, because of the tether.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from inventorybot import tether
from inventorybot.errors import SetupError
from services.local.server import tail

BACK_OFF_S = (0.5, 1, 2, 4, 8, 15, 30)  # a part that dies at once again and again must not take the whole CPU
HEALTHY_S = 60.0  # a part that ran for so long had started well: its next death counts as the first
LOG_LIMIT = 8_000_000  # bytes; with one older file each, the logs of ten parts stay below 200 MB
POLL_S = 0.1  # how soon an end is noticed while many are stopped together
KILLED_S = 5.0  # SIGKILL takes effect at once; only a process stuck in a dead disk is not gone after this


class Part(Protocol):
    """What the supervisor needs of a thing that runs."""

    name: str

    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def explain(self) -> str: ...
    def ask_to_stop(self) -> None: ...
    def kill(self) -> None: ...


class Program:
    """A Python program of ours as a tethered child, its output in a log file.

    Args:
        name: what people call it, and its log file.
        arguments: of `python -m inventorybot`.
        env: the whole environment.
        log: where its output goes, appended.
    """

    def __init__(self, name: str, arguments: Sequence[str], env: dict[str, str], log: Path) -> None:
        self.name, self.arguments, self.env, self.log = name, tuple(arguments), env, log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it and return at once."""
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", "inventorybot", *self.arguments]
            env = {
                **self.env,
                "TERM": "dumb",
                "PYTHONUNBUFFERED": "1",
            }  # a log wants no colours, and every line at once
            self.process = tether.start(command, env=env, stdout=out, stderr=out)

    def explain(self) -> str:
        """One sentence on how it ended."""
        code = self.process.returncode if self.process else None
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with {code}"
        lines = [line.strip("│╭╰╮╯─ ") for line in tail(self.log, 4000).splitlines()]  # without typer's frames
        words = [line for line in lines if line]
        last = f": {words[-1][:160]}" if words and code and code > 0 else ""
        return f"{self.name} {how}{last} (log: {self.log})"

    def ask_to_stop(self) -> None:
        """SIGTERM: finish what is in hand, then end."""
        if self.process is not None and self.running:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(KILLED_S)

    def limit_log(self) -> None:
        """Keep the log below its limit: copy it away and empty it (the child goes on appending to the same file)."""
        if self.log.is_file() and self.log.stat().st_size > LOG_LIMIT:
            shutil.copyfile(self.log, self.log.with_name(self.log.name + ".1"))
            with self.log.open("r+b") as file:
                file.truncate(0)


@dataclass
class _State:
    """What the supervisor remembers of a part."""

    part: Part
    started: float = 0.0
    deaths: int = 0
    again_at: float | None = None  # when to start it again; None while it runs


@dataclass
class Supervisor:
    """Parts in tiers; a later tier needs the earlier ones.

    Args:
        say: told one sentence about each death, restart and stop.
        clock: seconds that only go up.
    """

    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    tiers: list[list[_State]] = field(default_factory=list)

    def start(self, parts: Sequence[Part]) -> None:
        """Start the parts of one more tier.

        Raises: SetupError: one cannot be started.
        """
        tier: list[_State] = []
        self.tiers.append(tier)
        for part in parts:
            state = _State(part)
            tier.append(state)
            part.start()
            state.started = self.clock()

    def watch(self) -> None:
        """Look at every part once: note deaths, start again what is due, keep logs short."""
        now = self.clock()
        for tier in self.tiers:
            for state in tier:
                if isinstance(state.part, Program):
                    state.part.limit_log()
                if state.again_at is None and not state.part.running:
                    self._note_death(state, now)
                elif state.again_at is not None and now >= state.again_at:
                    self._start_again(state, now)

    def _note_death(self, state: _State, now: float) -> None:
        state.deaths = 1 if now - state.started > HEALTHY_S else state.deaths + 1
        wait = BACK_OFF_S[min(state.deaths, len(BACK_OFF_S)) - 1]
        state.again_at = now + wait
        self.say(f"{state.part.explain()}; starting it again in {wait:g} s")

    def _start_again(self, state: _State, now: float) -> None:
        state.again_at, state.started = None, now
        try:
            state.part.start()
        except (SetupError, OSError) as error:  # e.g. the disk is still full: the next look notes it as a death
            self.say(f"{state.part.name} cannot start: {error}")
            state.again_at = now + BACK_OFF_S[-1]
        else:
            self.say(f"{state.part.name} was started again")

    def given_up(self, tries: int) -> Part | None:
        """A part that has died at least so many times in a row, if there is one."""
        states = [state for tier in self.tiers for state in tier]
        return next((state.part for state in states if state.deaths >= tries), None)

    def stop(self, limit_s: float) -> bool:
        """Stop everything, the last tier first; returns whether all ended by themselves.

        Args: limit_s: for each tier together; what has not ended by then is killed, which loses nothing but time.
        """
        orderly = True
        for tier in reversed(self.tiers):
            parts = [state.part for state in tier if state.part.running]
            for part in parts:
                part.ask_to_stop()
            deadline = self.clock() + limit_s
            while parts and self.clock() < deadline:
                for part in [part for part in parts if not part.running]:
                    self.say(f"{part.name} stopped")
                    parts.remove(part)
                time.sleep(POLL_S if parts else 0)
            for part in parts:
                part.kill()
                self.say(f"{part.name} did not stop within {limit_s:g} s and was killed")
                orderly = False
        return orderly

    def kill(self) -> None:
        """End everything at once."""
        for tier in reversed(self.tiers):
            for state in tier:
                state.part.kill()
