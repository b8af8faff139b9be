"""What `inventorybot up` shows: steps with spinners on a terminal, plain lines anywhere else.

In: a rich console. Out: text on it. Used by up.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Steps:
    """A list of steps, each waiting, under way or done. Use as a context manager."""

    def __init__(self, console: Console, names: tuple[str, ...]) -> None:
        self.console = console
        self._begun: dict[str, float] = {}
        self._ended: set[str] = set()
        columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}
        if console.is_terminal:
            self._tasks = {name: self._progress.add_task(name, total=1, start=False) for name in names}

    def __enter__(self) -> Self:
        if self._tasks:
            self._progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._tasks:
            self._progress.stop()

    def begin(self, name: str) -> None:
        """A step is under way."""
        self._begun[name] = time.monotonic()
        if name in self._tasks:
            self._progress.start_task(self._tasks[name])

    def end(self, name: str) -> None:
        """A step is done; saying so twice is harmless."""
        if name in self._ended:
            return
        self._ended.add(name)
        if name in self._tasks:
            self._progress.update(self._tasks[name], completed=1)
        else:
            self.console.print(f"{name}: ready in {time.monotonic() - self._begun[name]:.1f} s")

    @contextmanager
    def doing(self, name: str) -> Iterator[None]:
        """A step from here to the end of the block."""
        self.begin(name)
        yield
        self.end(name)


class Display:
    """Where `up` says things."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, sentence: str) -> None:
        """One line, with the time of day."""
        now = datetime.now().astimezone()
        self.console.print(f"{now:%H:%M:%S} {sentence}", highlight=False, markup=False, soft_wrap=True)

    def steps(self, *names: str) -> Steps:
        """A list of steps to go through."""
        return Steps(self.console, names)

    def status(self, sentence: str) -> None:
        """How things stand now; on a terminal only, where somebody watches. The last one is written over."""
        if self.console.is_terminal:
            self.console.print(f"[dim]{escape(sentence)}[/dim]", end="\r", highlight=False)


def where_to_look(console: Console, port: int, folder: Path) -> None:
    """The addresses and commands that show what the platform does."""
    api = f"http://127.0.0.1:{port}"
    rows = [
        ("API, with every request to try", f"{api}/docs"),
        ("alerts as they come", f"curl -N {api}/v1/anomalies/stream"),
        ("what room is worth at each site", f"{api}/v1/plans/newest/prices.svg"),
        ("the independent check", "inventorybot verify"),
        ("what was refused, and why", "inventorybot dead-letters list"),
        ("metrics", f"{api}/metrics, and of each worker from port {port + 10}"),
        ("logs", str(folder / "logs")),
    ]
    if port != 8700:  # the settings' defaults point at 8700 and those that follow from it
        rows.insert(0, ("first, in another terminal", f". {folder / 'env.sh'}"))
    console.print()
    for what, where in rows:
        console.print(f"  {what:<32}{where}", highlight=False, markup=False, soft_wrap=True)
    console.print("\n  Ctrl-C stops everything; the data stays, and the next `up` goes on from it.\n", highlight=False)
