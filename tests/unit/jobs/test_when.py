"""A schedule as text, and the moments that follow from it. Expected moments are read off a calendar of November 2026."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from inventorybot.errors import SetupError
from inventorybot.settings import Settings
from ml.jobs import JOBS
from ml.jobs.when import Entry, parse

NAMES = ("build-history", "retrain-demand", "forecast")


def at(text: str) -> int:
    """ms of a moment, UTC; 2026-11-21 is a Saturday."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def one(text: str) -> Entry:
    return parse(text, NAMES)[0]


def test_a_schedule_is_jobs_with_days_times_and_options() -> None:
    found = parse("build-history 01:00; retrain-demand sun,Wed 02:30 --horizon 4;forecast 23:59;", NAMES)
    assert found == [
        Entry("build-history", 60),
        Entry("retrain-demand", 150, frozenset({2, 6}), ("--horizon", "4")),
        Entry("forecast", 1439),
    ]
    assert [entry.text() for entry in found] == ["01:00", "wed,sun 02:30", "23:59"]


def test_an_empty_schedule_has_no_entries() -> None:
    assert parse(" ; ", NAMES) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("forecst 01:00", "did you mean forecast?"),
        ("nonsense 01:00", "There are: build-history, forecast, retrain-demand"),
        ("forecast", "has no time HH:MM"),
        ("forecast 24:00", "'24:00' is no day (mon, tue"),
        ("forecast 1:00", "'1:00' is no day"),
        ("forecast sunday 01:00", "'sunday' is no day"),
        ("forecast sun", "has no time HH:MM"),
        ("forecast 01:00; forecast 02:00", "names the job forecast twice"),
        ('forecast 01:00 "--spark', "cannot be read: No closing quotation"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused_with_what_would_be_right(text: str, words: str) -> None:
    with pytest.raises(SetupError) as refused:
        parse(text, NAMES)
    assert words in str(refused.value)


def test_a_daily_job_is_due_every_day_at_its_time() -> None:
    entry = one("forecast 03:00")
    assert entry.last(at("2026-11-21 03:00")) == at("2026-11-21 03:00")
    assert entry.last(at("2026-11-21 02:59")) == at("2026-11-20 03:00")
    assert entry.next(at("2026-11-21 03:00")) == at("2026-11-22 03:00")
    assert entry.next(at("2026-11-21 02:59")) == at("2026-11-21 03:00")


def test_a_weekly_job_is_due_on_its_day_alone() -> None:
    entry = one("forecast sun 03:00")
    assert entry.last(at("2026-11-22 02:00")) == at("2026-11-15 03:00")
    assert entry.next(at("2026-11-22 03:00")) == at("2026-11-29 03:00")
    assert entry.next(at("2026-11-22 02:00")) == at("2026-11-22 03:00")


def test_the_default_schedule_can_be_followed() -> None:
    assert parse(Settings.model_fields["jobs"].default, JOBS)
