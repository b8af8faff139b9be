"""How facts become levels, exactly: once each, in the order they happened, whatever order they arrive in.

In: movements with the place in the log where each arrived (`revision`). Out: what each did, and the new levels.
The law (docs/adr/0003-ledger-law.md): a slot's level is the units found by its latest cycle count, plus every movement
that occurred after that count (all of them where there is none); ties go by arrival. An event id counts once a bin.
A level below zero is kept, not refused: the goods did move, so it is the record that was wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from inventorybot.domain.events import Movement

EPOCH_BITS = 40
EPOCH_BASE = 2048
"""Lifts every revision above the wall clock in microseconds, so that it can serve as Cassandra's write time."""

WINDOW = 256
"""Ids of a bin that are kept in memory at the least; an older one is looked up in the ledger by (time, id)."""


Fingerprint = tuple[int, str, int, str, str]
"""(occurred_at, SKU, signed units, kind, destination or ""): what two facts with one id must share to be the same fact."""


def revision(epoch: int, offset: int) -> int:
    """The place of an event in its bin's history: grows with the topic's epoch (0, 1, …), then with the offset."""
    return (EPOCH_BASE + epoch << EPOCH_BITS) + offset


class Outcome(StrEnum):
    """What one arrival did to the ledger."""

    APPLIED = "applied"
    SUPERSEDED = "superseded"  # recorded, but a later cycle count already tells the level
    DUPLICATE = "duplicate"  # this fact had arrived before
    CONFLICT = "conflict"  # its id had arrived before with another content
    REPLAYED = "replayed"  # this very arrival had been applied before; its effects are repeated, not added


class LedgerRow(NamedTuple):
    """One fact as the ledger keeps it.

    Args:
        quantity: signed units added to the slot; for a cycle count the units found.
    """

    occurred_at: int
    revision: int
    sku: str
    quantity: int
    is_count: bool
    event_id: str = ""


@dataclass(slots=True)
class Slot:
    """The level of one SKU in one bin; times in ms.

    Args:
        revision: the arrival that last touched the slot.
        counted_at: when the cycle count that anchors the level was taken.
        below_zero_since: the arrival that took the level below zero, while it is there.
    """

    on_hand: int = 0
    revision: int = 0
    last_occurred_at: int = -(1 << 62)
    counted_at: int | None = None
    below_zero_since: int | None = None

    def copy(self) -> Slot:
        """The level as it is now."""
        return Slot(self.on_hand, self.revision, self.last_occurred_at, self.counted_at, self.below_zero_since)


@dataclass(frozen=True, slots=True)
class Crossing:
    """A level passed zero: the record went below (`below`), or came back, with the arrival that began it."""

    sku: str
    since: int
    on_hand: int
    below: bool
    occurred_at: int
    event_id: str


@dataclass(slots=True)
class Bin:
    """Everything one worker must know of a bin to apply the next event to it.

    Args:
        applied: the highest revision that the stored levels contain; -1 for a bin never seen.
        seen: event id -> (revision, fingerprint) of facts in the ledger; all those newer than `floor`.
        floor: an unknown id that occurred at or before this must be looked up in the ledger; None: `seen` is complete.
        batch: rows applied and not yet stored. crossings: levels that passed zero since somebody last took note.
    """

    slots: dict[str, Slot] = field(default_factory=dict)
    applied: int = -1
    first_month: int = 0
    seen: dict[str, tuple[int, Fingerprint]] = field(default_factory=dict)
    floor: int | None = None
    batch: list[LedgerRow] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)

    def needs_lookup(self, event: Movement, at: int) -> bool:
        """Whether only the stored ledger can tell if this id is new."""
        return (
            self.floor is not None
            and at > self.applied
            and event.occurred_at <= self.floor
            and event.event_id not in self.seen
        )

    def needs_history(self, event: Movement, at: int) -> bool:
        """Whether this is a cycle count older than movements that the level already contains."""
        if not event.is_count or at <= self.applied:
            return False
        slot = self.slots.get(event.sku)
        return slot is not None and event.occurred_at < slot.last_occurred_at


def fingerprint(event: Movement) -> Fingerprint:
    """What tells a repeat of a fact from another fact under the same id."""
    return event.occurred_at, event.sku, event.delta, str(event.kind), event.to_bin or ""


def apply(state: Bin, event: Movement, at: int, history: Sequence[LedgerRow] = ()) -> Outcome:
    """Apply one arrival to a bin, in place.

    Args:
        at: revision of the arrival; within a bin, arrivals come in rising order (repeats of earlier ones allowed).
        history: where `state.needs_history(event, at)`, the stored rows of the bin that occurred after the event.
    """
    if at <= state.applied:
        return Outcome.REPLAYED
    known = state.seen.get(event.event_id)
    if known is not None and known[0] != at:
        return Outcome.DUPLICATE if known[1] == fingerprint(event) else Outcome.CONFLICT
    state.seen[event.event_id] = (at, fingerprint(event))
    row = LedgerRow(event.occurred_at, at, event.sku, event.delta, event.is_count, event.event_id)
    slot = state.slots.get(event.sku)
    if slot is None:
        slot = state.slots[event.sku] = Slot()
    elif at <= slot.revision:  # the level was stored, and then no time was left to store that the whole bin was
        return Outcome.REPLAYED
    outcome = _place(slot, row, [*history, *state.batch] if row.is_count else ())
    state.batch.append(row)
    if (slot.on_hand < 0) != (slot.below_zero_since is not None):
        below = slot.on_hand < 0
        since = at if slot.below_zero_since is None else slot.below_zero_since
        state.crossings.append(Crossing(event.sku, since, slot.on_hand, below, event.occurred_at, event.event_id))
        slot.below_zero_since = at if below else None
    slot.revision = at
    slot.last_occurred_at = max(slot.last_occurred_at, row.occurred_at)
    return outcome


def _place(slot: Slot, row: LedgerRow, earlier: Iterable[LedgerRow]) -> Outcome:
    """Put one new row where it belongs in the slot's time line; `earlier` are rows that arrived before it."""
    if slot.counted_at is not None and row.occurred_at < slot.counted_at:
        return Outcome.SUPERSEDED
    if not row.is_count:
        slot.on_hand += row.quantity
        return Outcome.APPLIED
    after = {
        r.event_id: r.quantity
        for r in earlier
        if r.sku == row.sku and not r.is_count and r.occurred_at > row.occurred_at and r.revision < row.revision
    }
    slot.on_hand = row.quantity + sum(after.values())
    slot.counted_at = row.occurred_at
    return Outcome.APPLIED


def stored(state: Bin, at: int, window: int = WINDOW) -> None:
    """Note that everything up to revision `at` is stored, and forget the oldest ids beyond twice the window.

    What arrived after `at` may not be in the ledger yet, where an id would be looked up: it is kept.
    """
    state.applied = max(state.applied, at)
    state.batch = [row for row in state.batch if row.revision > at]
    if len(state.seen) > 2 * window:
        newest = sorted(state.seen.items(), key=lambda item: item[1][1][0], reverse=True)
        state.floor = max(newest[window][1][1][0], state.floor if state.floor is not None else -(1 << 62))
        state.seen = dict(newest[:window]) | {i: known for i, known in newest[window:] if known[0] > at}


def fold(rows: Iterable[LedgerRow], until: int | None = None) -> dict[str, int]:
    """Levels by SKU from facts alone, in any order of rows; the slow and plain statement of the law.

    Args:
        until: only facts that occurred at or before this moment, ms; None: all.
    """
    levels: dict[str, int] = {}
    for row in sorted(rows, key=lambda r: (r.occurred_at, r.revision)):
        if until is not None and row.occurred_at > until:
            break
        levels[row.sku] = row.quantity if row.is_count else levels.get(row.sku, 0) + row.quantity
    return levels


def rewind(slots: dict[str, Slot], applied: int, later: Iterable[LedgerRow], until: int) -> dict[str, int] | None:
    """Levels by SKU as of a moment, from today's levels and the rows since: short where `fold` is long.

    Args:
        slots, applied: the stored levels of the bin and the revision they contain.
        later: every ledger row of the bin that occurred after `until`; rows not yet in the levels are ignored.
    Returns: None where a cycle count lies after `until`: what was there before it only `fold` can tell.
    """
    if any(s.counted_at is not None and s.counted_at > until for s in slots.values()):
        return None
    levels = {sku: slot.on_hand for sku, slot in slots.items()}
    for row in later:
        if row.revision <= applied and row.occurred_at > until:
            levels[row.sku] = levels.get(row.sku, 0) - row.quantity
    return levels
