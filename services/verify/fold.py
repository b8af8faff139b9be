"""What the ledger should hold by the law, held against what it holds. Pure: places, rows and levels in, findings out.

The law, once more in other words: per slot, in the order (occurred_at, arrival), a cycle count sets the level and any
other movement adds to it; an id counts once a bin, at its first arrival; a transfer's other half is a record of its own.

In, in this order: dead letters, records, ledger rows, levels (`Check`'s methods). Out: `Check.findings`.
Memory: about 550 bytes a record, 0.55 GB for a million; `Share` splits the bins over several passes.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.verify.events import COUNTS, Fact

OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1
EPOCH_BASE = 2048
Place = tuple[int, int]
Slot = tuple[str, str, str]
Half = tuple[str, str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of ledger_by_bin. Times in ms."""

    site: str
    bin: str
    occurred_at: int
    event_id: str
    sku: str
    kind: str
    quantity: int
    revision: int
    to_bin: str | None = None

    @property
    def offset(self) -> int:
        """Where its record lay."""
        return self.revision & OFFSET_MASK

    @property
    def epoch(self) -> int:
        """In which incarnation of the topic."""
        return (self.revision >> OFFSET_BITS) - EPOCH_BASE

    @property
    def content(self) -> tuple[int, str, int, str]:
        """What it must share with its record."""
        return self.occurred_at, self.sku, self.quantity, self.kind


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `kind`: lost, double-counted, differing or half-applied."""

    kind: str
    site: str
    bin: str
    what: str
    sku: str = ""
    event_id: str = ""
    place: Place | None = None
    expected: int | None = None
    found: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Share:
    """The part of all bins that one pass looks at. Args: number: from 0; of: how many passes there are."""

    number: int = 0
    of: int = 1

    def holds(self, site: str, bin_id: str) -> bool:
        """Whether a bin belongs to this pass."""
        return self.of == 1 or zlib.crc32(f"{site}/{bin_id}".encode()) % self.of == self.number


@dataclass(slots=True)
class Transfers:
    """Both halves of every transfer, kept across passes: each half out needs one in."""

    out: dict[Half, str] = field(default_factory=dict)
    into: set[Half] = field(default_factory=set)
    late: set[Half] = field(default_factory=set)

    def note(
        self, event_id: str, kind: str, at: int, site: str, bin_id: str, sku: str, units: int, to: str | None
    ) -> None:
        """One applied movement; those that are no half of a transfer are passed over."""
        if kind == "transfer-in":
            self.into.add((site, bin_id, event_id, sku, abs(units), at))
        elif to is not None:
            self.out[site, to, f"{bin_id}>{event_id}", sku, abs(units), at] = bin_id

    def came_late(self, fact: Fact) -> None:
        """A record beyond the end of what is looked at: it may be the other half of one within."""
        if fact.kind == "transfer-in":
            self.late.add((fact.site, fact.bin, fact.event_id, fact.sku, fact.units, fact.occurred_at))

    def findings(self) -> Iterator[Finding]:
        """Halves without their other half."""
        for half in sorted(self.out.keys() - self.into - self.late):
            site, to_bin, event_id, sku, units, _ = half
            what = f"{units} units left {self.out[half]} and never came to {to_bin}"
            yield Finding("half-applied", site, to_bin, what, sku, event_id)
        for site, bin_id, event_id, sku, units, _ in sorted(self.into - self.out.keys()):
            what = f"{units} units came from a transfer that is not there"
            yield Finding("half-applied", site, bin_id, what, sku, event_id)


class Check:
    """One pass over everything.

    Args:
        old_epochs: incarnations of the topic whose records are gone; their rows are taken as they are.
        forgotten_before: ms; dead letters of records older than this are no longer kept, so that a record which is
            plainly bad need not have one.
        limits: how far before and after its arrival an event may have occurred, ms.
    """

    def __init__(
        self, share: Share = Share(), transfers: Transfers | None = None, *, old_epochs: frozenset[int] = frozenset(),
        forgotten_before: int = 0, limits: tuple[int, int] = (400 * 86_400_000, 300_000),
    ) -> None:  # fmt: skip
        self._share, self.transfers = share, transfers or Transfers()
        self._old, self._forgotten_before, self._limits = old_epochs, forgotten_before, limits
        self._dead: dict[Place, tuple[str, int]] = {}
        self._facts: dict[tuple[str, str], dict[str, Fact]] = defaultdict(dict)
        self._strays: dict[tuple[str, str], list[Row]] = defaultdict(list)
        self._base: dict[tuple[str, str], list[Row]] = defaultdict(list)
        self._levels: dict[Slot, dict[str, int]] = defaultdict(dict)
        self._clock: dict[int, int] = {}
        self._aside: set[tuple[str, str]] = set()
        self._found: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def dead(self, place: Place, code: str, arrived: int) -> None:
        """A dead letter. `arrived`: of its original, ms, which tells it from a letter of an earlier topic."""
        self._dead[place] = (code, arrived)

    def record(self, place: Place, arrived: int, fact: Fact | str) -> None:
        """One record of the topic, in the order of its partition."""
        partition, offset = place
        if not (self._share.number == 0 if isinstance(fact, str) else self._share.holds(fact.site, fact.bin)):
            return
        self.counts["records"] += 1
        letter = self._dead.get(place)
        if letter is not None and letter[1] == arrived:
            self.counts["dead letters"] += 1
            self.reasons[letter[0]] += 1
            return
        old = arrived < self._forgotten_before
        if isinstance(fact, str):
            self._unhandled(place, old, "", "", fact)
            return
        known = self._facts[fact.site, fact.bin].get(fact.event_id)
        if known is not None and known.content == fact.content:
            self.counts["duplicates"] += 1
        elif known is not None:
            self._unhandled(
                place, old, fact.site, fact.bin, f"its id {fact.event_id} was used before, for another fact"
            )
        elif not arrived - self._limits[0] <= fact.occurred_at <= arrived + self._limits[1] and old:
            self.counts["forgotten"] += 1
        else:
            clock = self._clock[partition] = max(arrived, self._clock.get(partition, 0))
            fact.partition, fact.offset, fact.arrival = partition, offset, clock << OFFSET_BITS | offset
            self._facts[fact.site, fact.bin][fact.event_id] = fact

    def _unhandled(self, place: Place, old: bool, site: str, bin_id: str, why: str) -> None:
        if old:
            self.counts["forgotten"] += 1
        else:
            what = f"record {place[0]}:{place[1]} is not applied and not in the dead letters ({why})"
            self._found.append(Finding("lost", site, bin_id, what, place=place))

    def set_aside(self, fact: Fact) -> None:
        """A record that came while its bin was looked at: the bin is not judged."""
        if self._share.holds(fact.site, fact.bin):
            self._aside.add((fact.site, fact.bin))
        self.transfers.came_late(fact)

    def row(self, row: Row) -> None:
        """One row of the ledger."""
        key = (row.site, row.bin)
        if not self._share.holds(*key):
            return
        self.counts["ledger rows"] += 1
        fact = self._facts.get(key, {}).get(row.event_id)
        if row.epoch in self._old:
            if fact is not None:  # told again after the topic was made anew
                del self._facts[key][row.event_id]
                if fact.content == row.content:
                    self.counts["duplicates"] += 1
                else:
                    why = f"its id {row.event_id} was used in an earlier topic, for another fact"
                    self._unhandled((fact.partition, fact.offset), False, *key, why)
            self._base[key].append(row)
            self.counts["rows of earlier topics"] += 1
        elif fact is not None and fact.content == row.content and fact.offset == row.offset and not fact.row:
            fact.row = True
        else:
            self._strays[key].append(row)

    def level(self, table: str, site: str, bin_id: str, sku: str, on_hand: int) -> None:
        """One level. Args: table: level_by_bin or level_by_sku."""
        if self._share.holds(site, bin_id):
            self._levels[site, bin_id, sku][table] = on_hand

    def findings(self) -> list[Finding]:
        """Everything that is not as it should be, but for the transfers (see `Transfers.findings`)."""
        found = [f for f in self._found if (f.site, f.bin) not in self._aside]
        expected: dict[Slot, int] = {}
        ledger: dict[Slot, int] = {}
        for key in sorted(self._facts.keys() | self._base.keys() | self._strays.keys()):
            facts = self._facts.get(key, {})
            self.counts["facts"] += len(facts)
            for f in facts.values():
                self.transfers.note(f.event_id, f.kind, f.occurred_at, f.site, f.bin, f.sku, f.units, f.to_bin)
            base = [(r.occurred_at, 0, r.revision, r.sku, r.quantity, r.kind) for r in self._base.get(key, ())]
            for r in self._base.get(key, ()):
                self.transfers.note(r.event_id, r.kind, r.occurred_at, r.site, r.bin, r.sku, r.quantity, r.to_bin)
            strays = self._strays.get(key, [])
            if key in self._aside:
                continue
            found += self._rows(facts, strays)
            told = [(f.occurred_at, 1, f.arrival, f.sku, f.units, f.kind) for f in facts.values()]
            kept = [(f.occurred_at, 1, f.arrival, f.sku, f.units, f.kind) for f in facts.values() if f.row]
            kept += [(r.occurred_at, 1, r.revision, r.sku, r.quantity, r.kind) for r in strays]
            expected |= {(*key, sku): n for sku, n in levels(base + told).items()}
            ledger |= {(*key, sku): n for sku, n in levels(base + kept).items()}
        self.counts["slots"] += len(expected)
        self.counts["bins set aside"] += len(self._aside)
        return found + list(self._differing(expected, ledger))

    def _rows(self, facts: dict[str, Fact], strays: Iterable[Row]) -> Iterator[Finding]:
        stray_ids = defaultdict(list)
        for row in strays:
            stray_ids[row.event_id].append(row)
        for fact in facts.values():
            place = (fact.partition, fact.offset)
            if not fact.row and fact.event_id not in stray_ids:
                what = f"record {place[0]}:{place[1]} has no row in the ledger"
                yield Finding("lost", fact.site, fact.bin, what, fact.sku, fact.event_id, place)
        for row in strays:
            known = facts.get(row.event_id)
            if known is None:
                what = "the ledger has a row that no record accounts for"
            elif known.row:
                what = "the ledger has a second row for one event"
            elif known.content != row.content:
                what = f"the ledger's row says {row.content}, its record {known.content}"
            else:
                what = f"the row is of offset {row.offset}; the first arrival was {known.partition}:{known.offset}"
            yield Finding("double-counted", row.site, row.bin, what, row.sku, row.event_id)

    def _differing(self, expected: dict[Slot, int], ledger: dict[Slot, int]) -> Iterator[Finding]:
        for slot in sorted(expected.keys() | ledger.keys() | self._levels.keys()):
            if slot[:2] in self._aside:
                continue
            want, have = expected.get(slot), self._levels.get(slot, {})
            found = {"ledger": ledger.get(slot), "level_by_bin": have.get("level_by_bin")}
            found["level_by_sku"] = have.get("level_by_sku")
            if any(n != want for n in found.values()):
                said = ", ".join(f"{table} {n}" for table, n in found.items() if n != want)
                what = f"the topic says {want}; {said}"
                yield Finding("differing", slot[0], slot[1], what, slot[2], expected=want, found=found)


def levels(story: Iterable[tuple[int, int, int, str, int, str]]) -> dict[str, int]:
    """Levels by SKU. Args: story: (occurred_at, 0 of an earlier topic or 1, arrival, SKU, units, kind), in any order."""
    found: dict[str, int] = {}
    for _, _, _, sku, units, kind in sorted(story):
        found[sku] = units if kind == COUNTS else found.get(sku, 0) + units
    return found
