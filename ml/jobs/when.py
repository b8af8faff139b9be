"""When a job is due: a schedule as text, and the moments that follow from it. Pure: the time is an argument.

In: "build-history 01:00; retrain-demand sun 02:00; forecast 03:00 --horizon 8". Out: `Entry`s, and for each the last and
the next moment. Times are UTC, moments ms since the epoch.

    schedule = entry {";" entry}        entry = JOB [DAYS] HH:MM {OPTION}        DAYS = day {"," day}, mon … sun
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from inventorybot.errors import SetupError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_SHAPE = 'an entry is a job, days if not every day, and a time (UTC), such as "retrain-demand sun 02:00"'


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a schedule.

    Args:
        job: its name. minute: of the day, UTC, 0 to 1439.
        days: of the week, Monday is 0; all seven where none was named.
        options: of the job, as typed.
    """

    job: str
    minute: int
    days: frozenset[int] = frozenset(range(7))
    options: tuple[str, ...] = ()

    def last(self, now: int) -> int:
        """The latest of its moments that is not after `now`, ms."""
        return self._search(now, -1)

    def next(self, now: int) -> int:
        """The first of its moments after `now`, ms."""
        return self._search(now, 1)

    def text(self) -> str:
        """As a person would write it."""
        days = "" if len(self.days) == 7 else ",".join(DAYS[day] for day in sorted(self.days)) + " "
        return f"{days}{self.minute // 60:02d}:{self.minute % 60:02d}"

    def _search(self, now: int, step: int) -> int:
        moment = datetime.fromtimestamp(now / 1000, UTC)
        day = moment.replace(hour=self.minute // 60, minute=self.minute % 60, second=0, microsecond=0)
        for _ in range(9):  # a week, and the day itself on either side
            at = round(day.timestamp() * 1000)
            if day.weekday() in self.days and (at <= now if step < 0 else at > now):
                return at
            day += timedelta(days=step)
        raise AssertionError("a week has seven days")


def parse(text: str, jobs: Collection[str]) -> list[Entry]:
    """The entries of a schedule, in its order; none for an empty text.

    Args: jobs: the names that there are.
    Raises: SetupError: an entry cannot be understood, names no job, or a job is there twice; says which and what would be right.
    """
    entries: list[Entry] = []
    for part in text.split(";"):
        if not part.strip():
            continue
        entry = _entry(part.strip(), jobs)
        if any(entry.job == other.job for other in entries):
            raise SetupError(
                f"the schedule names the job {entry.job} twice: give it several days in one entry, mon,thu"
            )
        entries.append(entry)
    return entries


def _entry(text: str, jobs: Collection[str]) -> Entry:
    try:
        name, *words = shlex.split(text)
    except ValueError as error:
        raise SetupError(f"the schedule's entry {text!r} cannot be read: {error}") from None
    if name not in jobs:
        near = difflib.get_close_matches(name, jobs, n=1)
        raise SetupError(
            f"the schedule's entry {text!r} names no job{f'; did you mean {near[0]}?' if near else '.'} "
            f"There are: {', '.join(sorted(jobs))}"
        )
    days = frozenset(range(7))
    if words and not _TIME.fullmatch(words[0]):
        days = _days(words.pop(0), text)
    found = _TIME.fullmatch(words[0]) if words else None
    if found is None:
        raise SetupError(f"the schedule's entry {text!r} has no time HH:MM, 00:00 to 23:59: {_SHAPE}")
    return Entry(name, int(found[1]) * 60 + int(found[2]), days, tuple(words[1:]))


def _days(word: str, text: str) -> frozenset[int]:
    names = word.lower().split(",")
    for name in names:
        if name not in DAYS:
            raise SetupError(
                f"the schedule's entry {text!r}: {name!r} is no day ({', '.join(DAYS)}) and no time: {_SHAPE}"
            )
    return frozenset(DAYS.index(name) for name in names)
