"""A worker with one of its three guards taken out: `python -m tests.e2e.broken GUARD worker ledger`.

Shows that the crash test can fail: `make sabotage` rides each of these and demands that `verify` finds the damage.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from inventorybot import __main__ as command_line
from inventorybot.adapters.cassandra import session
from inventorybot.domain import ledger
from streaming.agents.ledger import LedgerAgent


def no_dedup() -> None:
    """Every arrival is new."""
    honest = ledger.apply

    def apply(state: Any, event: Any, at: int, history: Any = ()) -> Any:
        state.seen.clear()
        return honest(state, event, at, history)

    ledger.apply = apply


def no_fence() -> None:
    """Levels are written at the wall clock, not at their revision: whoever writes last wins."""
    honest = session.Prepared.row

    def row(self: Any, values: Any) -> Any:
        if isinstance(values[-1], int) and values[-1] > ledger.revision(0, 0):
            values = (*values[:-1], time.time_ns() // 1000 + 10**15)
        return honest(self, values)

    session.Prepared.row = row  # type: ignore[method-assign]


def no_invalidation() -> None:
    """What is cached of a partition is believed for ever."""
    LedgerAgent.forget = lambda self, partition: None  # type: ignore[method-assign]


if __name__ == "__main__":
    {"dedup": no_dedup, "fence": no_fence, "invalidation": no_invalidation}[sys.argv.pop(1)]()
    command_line.main()
