"""The scheduler: each job at its time, one at a time, what failed again, what was missed once. The clock is turned by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from inventorybot import telemetry
from inventorybot.errors import SetupError
from ml.jobs.journal import FAILED, NOT_YET, OK, Journal, Run
from ml.jobs.schedule import Scheduler
from ml.jobs.when import Entry, parse

MINUTE, HOUR = 60_000, 3_600_000
NOON = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp() * 1000)
NIGHT = NOON + 13 * HOUR  # 01:00 of the next day, a Sunday


class Fake:
    """A run that ends when it is told to, and writes its end as the real child does."""

    def __init__(self, world: World, job: str) -> None:
        self.world, self.job, self.began = world, job, world.now
        self.status: int | None = None
        self.stopped = False

    def poll(self) -> int | None:
        return self.status

    def stop(self) -> None:
        self.stopped, self.status = True, -15

    def last_words(self) -> str:
        return "its last words"

    def end(self, result: str, said: str = "") -> None:
        self.world.journal.end(self.job, Run(self.began, self.world.now, result, said))
        self.status = 0 if result == OK else 2


class World:
    """A scheduler whose runs are fakes, and a clock."""

    def __init__(self, folder: Path, text: str = "a 01:00; b 01:00", limit_ms: int = 2 * HOUR) -> None:
        self.now, self.folder, self.text, self.limit_ms = NOON, folder, text, limit_ms
        self.started: list[Fake] = []
        self.restart()

    def restart(self) -> None:
        """A new scheduler on the same folder, as after a kill."""
        self.journal = Journal(self.folder)
        entries = parse(self.text, ("a", "b"))
        self.scheduler = Scheduler(entries, self.journal, self._start, lambda: self.now, self.limit_ms, retries=2)
        self.scheduler.begin()

    def _start(self, entry: Entry, now: int) -> Fake:
        self.started.append(Fake(self, entry.job))
        return self.started[-1]

    def look(self, at: int) -> None:
        self.now = at
        self.scheduler.look()

    def ran(self) -> list[str]:
        return [run.job for run in self.started]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_nothing_runs_before_its_time_and_what_came_before_the_first_start_is_not_made_up(world: World) -> None:
    world.look(NOON + MINUTE)
    world.look(NIGHT - 1)
    assert world.ran() == []


def test_jobs_that_are_due_together_run_one_after_the_other_in_the_schedules_order(world: World) -> None:
    world.look(NIGHT)
    world.look(NIGHT + MINUTE)
    assert world.ran() == ["a"]
    world.started[0].end(OK)
    world.look(NIGHT + 2 * MINUTE)
    world.look(NIGHT + 3 * MINUTE)
    assert world.ran() == ["a", "b"]


def test_a_job_that_went_well_runs_again_on_the_next_day_only(world: World) -> None:
    world.text = "a 01:00"
    world.restart()
    world.look(NIGHT)
    world.started[0].end(OK, "done")
    for hours in range(24):
        world.look(NIGHT + hours * HOUR + 1)
    assert world.ran() == ["a"]
    world.look(NIGHT + 24 * HOUR)
    assert world.ran() == ["a", "a"]


def test_a_run_that_failed_is_tried_again_after_5_and_15_minutes_and_then_given_up(world: World) -> None:
    world.text = "a 01:00"
    world.restart()
    begun = []
    for minute in range(120):
        world.look(NIGHT + minute * MINUTE)
        if len(world.started) > len(begun):
            begun.append(minute)
            world.started[-1].end(FAILED, "no")
    assert begun == [0, 5, 20]
    assert [run.result for run in world.journal.story("a").runs] == [FAILED] * 3
    world.look(NIGHT + 24 * HOUR)
    assert len(world.started) == 4


def test_a_run_that_found_too_little_to_work_on_is_not_tried_again_before_its_next_time(world: World) -> None:
    world.text = "a 01:00"
    world.restart()
    world.look(NIGHT)
    world.started[0].end(NOT_YET, "too little")
    for minute in range(1, 120):
        world.look(NIGHT + minute * MINUTE)
    assert world.ran() == ["a"]


def test_a_run_that_was_missed_while_nothing_ran_is_made_up_for_once(world: World) -> None:
    world.text = "a 01:00"
    world.restart()
    world.now = NIGHT + 3 * 24 * HOUR + 5 * HOUR
    world.restart()
    world.look(world.now)
    assert world.ran() == ["a"]
    world.started[0].end(OK)
    world.look(world.now + MINUTE)
    world.look(world.now + 2 * MINUTE)
    assert world.ran() == ["a"]


def test_a_run_under_way_when_the_scheduler_was_killed_counts_as_failed_and_is_tried_again(world: World) -> None:
    world.text = "a 01:00"
    world.restart()
    world.look(NIGHT)
    with world.journal.running("a", NIGHT):
        pass  # the child noted its begin and died: the kernel let go of its lock
    world.restart()
    world.look(NIGHT + MINUTE)
    assert world.ran() == ["a"]
    assert world.journal.story("a").last == Run(NIGHT, NIGHT, FAILED, "it was killed, or the machine stopped")
    world.look(NIGHT + 5 * MINUTE)
    assert world.ran() == ["a", "a"]


def test_a_run_that_takes_too_long_is_ended_and_that_is_noted(world: World) -> None:
    world.look(NIGHT)
    world.look(NIGHT + 2 * HOUR)
    assert not world.started[0].stopped
    world.look(NIGHT + 2 * HOUR + 1)
    assert world.started[0].stopped
    last = world.journal.story("a").last
    assert last is not None
    assert (last.result, last.said) == (FAILED, "was ended after 120 minutes (INVENTORYBOT_JOBS_LIMIT_MINUTES)")


def test_a_child_that_dies_without_a_word_leaves_its_status_and_its_logs_last_line(world: World) -> None:
    world.look(NIGHT)
    world.started[0].status = -9
    world.look(NIGHT + MINUTE)
    last = world.journal.story("a").last
    assert last is not None
    assert last.said == "was killed by SIGKILL: its last words"


def test_a_job_that_another_one_asks_for_runs_at_once_and_only_once(world: World) -> None:
    world.look(NOON + HOUR)
    world.journal.ask("b", "demand has moved", NOON + HOUR)
    world.look(NOON + HOUR + 1)
    assert world.ran() == ["b"]
    world.started[0].end(OK)
    for minute in range(1, 60):
        world.look(NOON + HOUR + minute * MINUTE)
    assert world.ran() == ["b"]


def test_a_job_that_somebody_runs_by_hand_is_left_alone(world: World) -> None:
    with world.journal.running("a", NIGHT - MINUTE):
        world.look(NIGHT)
        assert world.ran() == ["b"]


def test_a_job_cannot_be_run_twice_at_a_time(world: World) -> None:
    with (
        world.journal.running("a", NOON),
        pytest.raises(SetupError, match="the job a runs already"),
        Journal(world.folder).running("a", NOON + 1),
    ):
        pass


def test_stopping_the_scheduler_ends_its_run_and_says_so(world: World) -> None:
    world.look(NIGHT)
    world.scheduler.stop()
    last = world.journal.story("a").last
    assert world.started[0].stopped
    assert last is not None
    assert last.said == "was ended with the scheduler"


def test_metrics_tell_runs_failures_durations_and_the_last_success_also_after_a_restart(world: World) -> None:
    world.text = "a 01:00"
    world.restart()
    failures = telemetry.JOB_RUNS.labels("a", FAILED)._value.get()
    world.look(NIGHT)
    world.started[0].status = 1
    world.look(NIGHT + MINUTE)
    world.look(NIGHT + 6 * MINUTE)
    world.now = NIGHT + 8 * MINUTE
    world.started[1].end(OK)
    world.look(NIGHT + 9 * MINUTE)
    world.restart()
    assert telemetry.JOB_RUNS.labels("a", FAILED)._value.get() == failures + 1
    assert telemetry.JOB_SECONDS.labels("a")._value.get() == 120
    assert telemetry.JOB_SUCCESS.labels("a")._value.get() == (NIGHT + 8 * MINUTE) / 1000
    assert telemetry.JOB_NEXT.labels("a")._value.get() == (NIGHT + 24 * HOUR) / 1000


def test_a_damaged_file_of_a_job_is_named(world: World) -> None:
    (world.folder / "a.json").write_text("{")
    with pytest.raises(SetupError, match=r"a\.json is damaged: delete it"):
        world.look(NIGHT)
