"""What ran, how it ended, and what is asked for: one JSON file a job in a folder, replaced in one step.

    FOLDER/NAME.json           {"since": ms, "asked": {"at", "why"} | null, "runs": [{"began", "ended", "result", "said"}]}
    FOLDER/NAME.lock           held by the kernel for whoever runs the job: whoever dies lets go of it
    FOLDER/logs/NAME-….log     one a scheduled run        FOLDER/figures/NAME.prom   metrics of the last run

In: a folder. Out: `Story`s. Whoever runs a job writes here: the scheduler's child as well as a person at a terminal.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

from inventorybot.errors import SetupError

OK, FAILED, NOT_YET = "ok", "failed", "not yet"
"""How a run ends. Not yet: there is not enough to work on; nothing is wrong, and trying again at once would not help."""
KEPT = 20
"""Runs that a job's file remembers, and logs that are kept."""
SAID = 600
"""Characters of the sentence that is kept with a run."""
LOOKS, LOOK_S = 5, 0.02
"""How often a held lock is tried, and the pause between: a look takes microseconds, a run minutes."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Args: began, ended: ms; ended None: it runs, or died. result: OK, FAILED, NOT_YET. said: one sentence."""

    began: int
    ended: int | None = None
    result: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of a job.

    Args:
        since: when its schedule first saw it, ms; 0: never.
        asked_at, asked_why: when another job last asked for it, ms (0: never), and why.
        runs: oldest first.
        running: somebody runs it now.
    """

    since: int = 0
    asked_at: int = 0
    asked_why: str = ""
    runs: tuple[Run, ...] = field(default=())
    running: bool = False

    @property
    def last(self) -> Run | None:
        """The newest run."""
        return self.runs[-1] if self.runs else None

    @property
    def succeeded_at(self) -> int:
        """When the newest run that went well ended, ms; 0: none did."""
        return max((run.ended or 0 for run in self.runs if run.result == OK), default=0)


class Journal:
    """The folder. Raises (every method): SetupError: it cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def story(self, job: str) -> Story:
        """What is known of a job; a run that neither ended nor is going on counts as failed."""
        story = self._read(job)
        if story.last is None or story.last.ended is not None:
            return story
        return replace(story, running=True) if self._held(job) else _buried(story)

    def see(self, job: str, now: int) -> None:
        """Note that the schedule knows a job; its moments before that are not made up for."""
        if not (story := self._read(job)).since:
            self._write(job, replace(story, since=now))

    def ask(self, job: str, why: str, now: int) -> None:
        """Ask for a run of a job as soon as can be."""
        self._write(job, replace(self._read(job), asked_at=now, asked_why=why[:SAID]))

    @contextmanager
    def running(self, job: str, began: int) -> Iterator[None]:
        """Hold a job for this process, and note that it runs. Raises: SetupError: somebody runs it already."""
        with self._lock(job) as lock:
            if not _taken(lock):
                raise SetupError(
                    f"the job {job} runs already (process {lock.read().strip() or 'unknown'}): wait for its end"
                )
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self._write(job, _with(_buried(self._read(job)), Run(began)))
            yield

    def end(self, job: str, run: Run) -> None:
        """Note how a run ended; the run of the same begin is replaced, else it is added."""
        self._write(job, _with(self._read(job), replace(run, said=run.said[:SAID])))

    def settle(self, job: str, began: int, now: int, how: str) -> Run:
        """How the run that somebody else began at or after `began` and that is over came out.

        Args: how: what is noted where it did not say so itself.
        """
        run = self._read(job).last
        if run is None or run.began < began:
            run = Run(began)
        if run.ended is None:
            run = replace(run, ended=now, result=FAILED, said=how[:SAID])
            self.end(job, run)
        return run

    def _path(self, job: str, ending: str) -> Path:
        return self.folder / f"{job}.{ending}"

    def _lock(self, job: str) -> IO[str]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            held = self._path(job, "lock").open("a+")
        except OSError as error:
            raise self._broken(error) from error
        held.seek(0)
        return held

    def _held(self, job: str) -> bool:
        with self._lock(job) as probe:
            try:
                fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _read(self, job: str) -> Story:
        path = self._path(job, "json")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return Story(**{**found, "runs": tuple(Run(**run) for run in found["runs"])})
        except FileNotFoundError:
            return Story()
        except OSError as error:
            raise self._broken(error) from error
        except (ValueError, TypeError, KeyError) as error:
            raise SetupError(f"{path} is damaged: delete it; what the job did before is then forgotten") from error

    def _write(self, job: str, story: Story) -> None:
        values = asdict(story)
        del values["running"]
        path, part = self._path(job, "json"), self._path(job, f"json.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise self._broken(error) from error

    def _broken(self, error: OSError) -> SetupError:
        return SetupError(
            f"the jobs' folder {self.folder} cannot be used ({error.strerror}): see INVENTORYBOT_JOBS_STATE"
        )


def _with(story: Story, run: Run) -> Story:
    others = [known for known in story.runs if known.began != run.began]
    return replace(story, runs=tuple([*others, run][-KEPT:]))


def _buried(story: Story) -> Story:
    """With the newest run ended, if it did not end by itself."""
    if story.last is None or story.last.ended is not None:
        return story
    dead = replace(story.last, ended=story.last.began, result=FAILED, said="it was killed, or the machine stopped")
    return _with(story, dead)


def _taken(lock: IO[str]) -> bool:
    """Whether the lock is ours now; who only looks whether it is held holds it for a moment too."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOOK_S)
    return False
