"""When the check begins: once the ledger has handled everything, or once it is plain that it keeps up.

Run: `pytest tests/unit/verify/test_settle.py`.
"""

from __future__ import annotations

from typing import Any

from rich.progress import Progress

from services.verify.cli import _settled


class Told:
    """A log of one partition that tells, at each asking, the next end and the next committed offset."""

    def __init__(self, ends: list[int], committed: list[int]) -> None:
        self._ends, self._committed = ends, committed

    def bounds(self) -> dict[int, tuple[int, int]]:
        return {0: (0, self._ends.pop(0) if len(self._ends) > 1 else self._ends[0])}

    def committed(self, group: str) -> dict[int, int]:
        assert group == "inventorybot-ledger"
        return {0: self._committed.pop(0) if len(self._committed) > 1 else self._committed[0]}


def settled(log: Any, settle_s: float) -> tuple[Any, int]:
    return _settled(log, Progress(disable=True), settle_s)


def test_it_begins_when_the_ledger_has_handled_all() -> None:
    assert settled(Told([10], [4, 10]), 5) == ({0: (0, 10)}, 0)


def test_an_empty_topic_that_nobody_ever_read_is_settled() -> None:
    assert settled(Told([0], [0]), 0) == ({0: (0, 0)}, 0)


def test_a_ledger_that_stands_still_is_behind() -> None:
    assert settled(Told([10], [4]), 0.1) == ({0: (0, 10)}, 6)


def test_where_events_keep_coming_it_looks_at_what_the_ledger_has_handled() -> None:
    """It came at 10; by now the topic is at 30 and the ledger at 25: it keeps up, and 0 to 25 can be judged."""
    assert settled(Told([10, 30], [25]), 0) == ({0: (0, 25)}, 0)


def test_a_ledger_that_has_not_got_past_what_was_there_when_it_came_is_behind() -> None:
    assert settled(Told([10, 30], [9]), 0) == ({0: (0, 30)}, 21)
