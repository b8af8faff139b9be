"""What the lake remembers of itself: which days are whole, and how many movements each was made of.

In: the lake. Out: a JSON file in it, replaced in one step. It is written before anything else changes (the days from here on are no
longer whole) and after each part that is whole again: whatever happens between, the next run begins where it must.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from inventorybot.errors import SetupError, TryLater
from ml.history.lake import Lake

VERSION = 1
NAME = "_state/history.json"


@dataclass
class State:
    """Args: whole_until: every day up to it is whole; None: none is. days: day to the movements that it was made of."""

    whole_until: date | None = None
    days: dict[date, int] = field(default_factory=dict)

    @property
    def first(self) -> date | None:
        """The first day that the lake knows of."""
        return min(self.days, default=None)

    def break_from(self, day: date) -> None:
        """From this day on nothing is whole."""
        if self.whole_until is not None and self.whole_until >= day:
            self.whole_until = day - timedelta(days=1)


def load_state(lake: Lake) -> State:
    """The state; of a lake that has none, an empty one. Raises: SetupError: a newer release wrote it, or it is broken."""
    path = lake.path(NAME)
    try:
        if not lake.files.exists(path):
            return State()
        found = json.loads(lake.files.cat_file(path))
        if found["version"] > VERSION:
            raise SetupError(f"{path} was written by a newer release (version {found['version']}): upgrade")
        whole = found["whole_until"]
        days = {date.fromisoformat(day): int(rows) for day, rows in found["days"].items()}
        return State(date.fromisoformat(whole) if whole else None, days)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            f"{path} is broken ({error}): delete it, and the next build starts from the beginning"
        ) from error
    except OSError as error:
        raise TryLater("the lake", f"{path}: {error}") from error


def save_state(lake: Lake, state: State) -> None:
    """Replace the state in one step. Raises: TryLater."""
    path = lake.path(NAME)
    whole = state.whole_until.isoformat() if state.whole_until else None
    days = {day.isoformat(): rows for day, rows in sorted(state.days.items())}
    text = json.dumps({"version": VERSION, "whole_until": whole, "days": days}, indent=1)
    try:
        lake.files.makedirs(path.rpartition("/")[0], exist_ok=True)
        if "file" in lake.files.protocol:  # a store of objects replaces one in one step; a file is renamed over another
            half = f"{path}.{uuid.uuid4().hex}"
            lake.files.pipe_file(half, text.encode())
            lake.files.mv(half, path)
        else:
            lake.files.pipe_file(path, text.encode())
    except OSError as error:
        raise TryLater("the lake", f"{path}: {error}") from error


def forget_days(lake: Lake, days: Iterable[date]) -> None:
    """Have the next build make these days anew, such as those whose prices have become known."""
    state = load_state(lake)
    known = sorted(day for day in days if state.whole_until and day <= state.whole_until)
    if known:
        state.break_from(known[0])
        save_state(lake, state)
