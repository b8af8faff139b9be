"""`inventorybot jobs schedule`: runs each job at its time, one at a time, as a child process, until SIGTERM.

In: settings `jobs` (the schedule), `jobs_state` (the folder of the journal). Out: runs with a log each, the journal,
metrics; what the jobs themselves measured is served with them. This process imports nothing heavy and remembers nothing:
what is due follows from the journal and the clock, so it can be killed at any moment. Its child ends with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from inventorybot import __version__, telemetry, tether
from inventorybot.clock import now_ms
from inventorybot.errors import SetupError
from inventorybot.settings import PREFIX, Settings, load
from ml.jobs.journal import FAILED, KEPT, NOT_YET, OK, Journal, Story
from ml.jobs.when import Entry, parse

LOOK_S = 1.0
"""How late a job may begin, and its end be noticed; a look costs a few small reads."""
PAUSES_MS = (5 * 60_000, 15 * 60_000, 60 * 60_000)
"""Before a run that failed is tried again: the first, second, and every later time."""
STOP_S = 10.0
"""A job that is told to stop has this long before it is killed; it can be begun again without harm."""
TAIL = 4000
"""Bytes at a log's end in which the last words of a run that died are looked for."""

log = telemetry.log(__name__)


def schedule() -> None:
    """Run the jobs at their times (setting INVENTORYBOT_JOBS), one at a time, until SIGTERM."""
    from ml.jobs import JOBS

    settings = load()
    entries = parse(settings.jobs, JOBS)
    if not settings.jobs_state:
        raise SetupError("set INVENTORYBOT_JOBS_STATE to a folder: the schedule keeps there what ran")
    folder = Path(settings.jobs_state)
    telemetry.configure_logging(settings.log_level, process="jobs")
    telemetry.BUILD.info({"version": __version__})
    made = of_settings(settings, entries, Journal(folder))
    made.begin()
    telemetry.serve_handed_over(folder / "figures")
    telemetry.serve_metrics(settings.metrics_port)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        while not stop.wait(LOOK_S):
            made.look()
    finally:
        made.stop()


class Task(Protocol):
    """A run under way."""

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""

    def stop(self) -> None:
        """End it, and wait until it is gone."""

    def last_words(self) -> str:
        """The last line that it said."""


class Child:
    """One run as a child process, tethered to this one, with a log of its own.

    Args: job, options: of `inventorybot jobs run`. logs: folder. now: ms, for the log's name.
    """

    def __init__(self, job: str, options: Sequence[str], logs: Path, now: int) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        for old in sorted(logs.glob(f"{job}-2*.log"))[: -KEPT + 1]:
            old.unlink(missing_ok=True)
        self.log = logs / f"{job}-{datetime.fromtimestamp(now / 1000, UTC):%Y%m%dT%H%M%SZ}.log"
        env = {**os.environ, PREFIX + "METRICS_PORT": "0", "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "inventorybot", "jobs", "run", job, *options]
        with self.log.open("ab") as out:
            self.process = tether.start(command, env=env, stdout=out, stderr=out)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """SIGTERM to it and all that it started, then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)

    def last_words(self) -> str:
        """The last line of its log, with the log's place."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL))
            lines = [line.strip("│╭╰╮╯─ ") for line in file.read().decode(errors="replace").splitlines()]
        words = [line for line in lines if line]
        return f"{words[-1] if words else 'it said nothing'} (log: {self.log})"


def due(entry: Entry, story: Story, now: int, retries: int) -> int | None:
    """The moment, ms, for which a job must be run now; None: there is none.

    A moment is the last one of the schedule since it first saw the job, or when another job asked. It is done with by a run
    that began since and went well, found too little to work on, or failed for the last time.
    """
    scheduled = entry.last(now)
    moment = max(scheduled if scheduled >= story.since > 0 else 0, story.asked_at)
    if not moment or story.running:
        return None
    runs = [run for run in story.runs if run.began >= moment]
    if any(run.result in (OK, NOT_YET) for run in runs) or len(runs) > retries:
        return None
    if runs and now < (runs[-1].ended or 0) + PAUSES_MS[min(len(runs), len(PAUSES_MS)) - 1]:
        return None
    return moment


@dataclass
class Current:
    """The run under way."""

    entry: Entry
    task: Task
    began: int


class Scheduler:
    """Decides what runs, and notes how it ended. Everything happens in `look`, in the caller's thread.

    Args: start: runs a job with options. clock: ms. limit_ms: a longer run is ended. retries: after a failure.
    """

    def __init__(
        self, entries: Sequence[Entry], journal: Journal, start: Callable[[Entry, int], Task],
        clock: Callable[[], int], limit_ms: int, retries: int,
    ) -> None:  # fmt: skip
        self.entries, self.journal, self._start, self._clock = entries, journal, start, clock
        self._limit_ms, self._retries = limit_ms, retries
        self.current: Current | None = None

    def begin(self) -> None:
        """Note which jobs the schedule knows, and what the metrics say of them."""
        for entry in self.entries:
            self.journal.see(entry.job, self._clock())
            self._measure(entry, self.journal.story(entry.job))

    def look(self) -> None:
        """See to the run under way, or start the one that has waited longest."""
        now = self._clock()
        if self.current is None:
            stories = [(entry, self.journal.story(entry.job)) for entry in self.entries]
            for entry, story in stories:  # also runs by hand
                self._measure(entry, story)
            waiting = [(at, n) for n, (e, s) in enumerate(stories) if (at := due(e, s, now, self._retries)) is not None]
            if waiting:
                self._run(*stories[min(waiting)[1]], now)
        elif (status := self.current.task.poll()) is not None:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
            self._note(f"{how}: {self.current.task.last_words()}", now)
        elif now - self.current.began > self._limit_ms:
            self.current.task.stop()
            self._note(f"was ended after {self._limit_ms / 60_000:g} minutes (INVENTORYBOT_JOBS_LIMIT_MINUTES)", now)

    def stop(self) -> None:
        """End the run under way; the next start begins it again."""
        if self.current is not None:
            self.current.task.stop()
            self._note("was ended with the scheduler", self._clock())

    def _run(self, entry: Entry, story: Story, now: int) -> None:
        asked = story.asked_why if story.asked_at > entry.last(now) else ""
        log.info("job begins", job=entry.job, asked=asked)
        self.current = Current(entry, self._start(entry, now), now)

    def _note(self, how: str, now: int) -> None:
        assert self.current is not None
        entry, began = self.current.entry, self.current.began
        self.current = None
        run = self.journal.settle(entry.job, began, now, how)
        telemetry.JOB_RUNS.labels(entry.job, run.result).inc()
        tell = log.warning if run.result == FAILED else log.info
        tell("job ended", job=entry.job, result=run.result, said=run.said)

    def _measure(self, entry: Entry, story: Story) -> None:
        telemetry.JOB_SUCCESS.labels(entry.job).set(story.succeeded_at / 1000)
        telemetry.JOB_NEXT.labels(entry.job).set(entry.next(self._clock()) / 1000)
        if story.last and story.last.ended:
            telemetry.JOB_SECONDS.labels(entry.job).set((story.last.ended - story.last.began) / 1000)


def of_settings(settings: Settings, entries: Sequence[Entry], journal: Journal) -> Scheduler:
    """A scheduler whose runs are child processes."""

    def start(entry: Entry, now: int) -> Any:
        return Child(entry.job, entry.options, journal.folder / "logs", now)

    return Scheduler(
        entries, journal, start, now_ms, round(settings.jobs_limit_minutes * 60_000), settings.jobs_retries
    )
