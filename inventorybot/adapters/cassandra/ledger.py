"""The ledger and the levels in Cassandra: what the ledger agent keeps there, and what everybody reads from it.

In: `BinWrite`s. Out: rows of ledger_by_bin, then of level_by_bin and level_by_sku (docs/adr/0001).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from inventorybot.adapters.cassandra.session import MAX_BATCH_BYTES, Database, Write, ms
from inventorybot.domain.events import Kind
from inventorybot.domain.ledger import WINDOW, Bin, Fingerprint, LedgerRow, Slot, fold, month_of, rewind
from inventorybot.ports import BinKey, BinWrite, LedgerEntry, Level, Seen
from inventorybot.wire.codec import from_ms, to_ms

SHARDS = 16
FIRST_WINS = 1 << 62
"""A catalogue row is written at FIRST_WINS − revision, so that the earliest arrival is the one that stays."""

_ROW = (
    "INSERT INTO ledger_by_bin (site, bin, month, occurred_at, event_id, sku, kind, quantity, revision, source, to_bin, "
    "reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_LEVEL = (
    "INSERT INTO level_by_bin (site, bin, sku, on_hand, revision, last_occurred_at, counted_at, below_zero_since) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_MARKED = (
    "INSERT INTO level_by_bin (site, bin, sku, on_hand, revision, last_occurred_at, counted_at, below_zero_since, applied, "
    "first_month) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_BY_SKU = "INSERT INTO level_by_sku (site, sku, bin, on_hand, revision, counted_at) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
_NAME = (
    "INSERT INTO catalogue (kind, site, shard, name, first_event_id, first_seen_at) VALUES (?, ?, ?, ?, ?, ?) "
    "USING TIMESTAMP ?"
)
_KNOWN = "SELECT name FROM catalogue WHERE kind = ? AND site = ? AND shard = ? AND name = ?"
_NAMES = "SELECT name, first_event_id, first_seen_at FROM catalogue WHERE kind = ? AND site = ? AND shard = ? AND name > ? LIMIT ?"
_BIN = "SELECT sku, on_hand, revision, last_occurred_at, counted_at, below_zero_since, applied, first_month FROM level_by_bin WHERE site = ? AND bin = ?"
_SKU = "SELECT bin, on_hand, revision, counted_at FROM level_by_sku WHERE site = ? AND sku = ?"
_IDS = "SELECT occurred_at, event_id, sku, kind, quantity, revision, to_bin FROM ledger_by_bin WHERE site = ? AND bin = ? AND month = ? LIMIT ?"
_ONE = (
    "SELECT occurred_at, event_id, sku, kind, quantity, revision, to_bin FROM ledger_by_bin "
    "WHERE site = ? AND bin = ? AND month = ? AND occurred_at = ? AND event_id = ?"
)
_SPAN = (
    "SELECT occurred_at, event_id, sku, kind, quantity, revision, source, to_bin, reason, writetime(revision) AS written "
    "FROM ledger_by_bin WHERE site = ? AND bin = ? AND month = ? AND occurred_at > ? AND occurred_at <= ?"
)


def months(first: int, last: int) -> list[int]:
    """Every yyyymm from `first` to `last`, both included, newest first."""
    start, end = divmod(first, 100), divmod(last, 100)
    numbers = range(start[0] * 12 + start[1] - 1, end[0] * 12 + end[1])
    return [n // 12 * 100 + n % 12 + 1 for n in reversed(numbers)]


def shard_of(name: str) -> int:
    """The catalogue shard of a name."""
    return zlib.crc32(name.encode()) % SHARDS


def _row(r: Any) -> LedgerRow:
    return LedgerRow(ms(r.occurred_at) or 0, r.revision, r.sku, r.quantity, r.kind == Kind.CYCLE_COUNT, r.event_id)


def _seen(r: Any) -> tuple[int, Fingerprint]:
    return r.revision, (ms(r.occurred_at) or 0, r.sku, r.quantity, r.kind, r.to_bin or "")


class CassandraLedger:
    """`ports.LedgerStore` and `ports.LevelReader` on one session."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: set[tuple[str, str, str]] = set()
        self._put = {cql: database.prepared(cql) for cql in (_ROW, _LEVEL, _MARKED, _BY_SKU, _NAME)}

    # --- the ledger agent's side

    async def load(self, keys: Sequence[BinKey]) -> dict[BinKey, Bin]:
        """Levels first, then ids: a row stored between the two reads is then seen, not missed."""
        bins = {
            key: _bin(rows) for key, rows in zip(keys, await self._db.gather([(_BIN, k) for k in keys]), strict=True)
        }
        known = [(key, state) for key, state in bins.items() if state.applied >= 0]
        newest = [month_of(max(s.last_occurred_at for s in state.slots.values())) for _, state in known]
        asked = [(_IDS, (*key, month, WINDOW)) for (key, _), month in zip(known, newest, strict=True)]
        for (_, state), month, rows in zip(known, newest, await self._db.gather(asked), strict=True):
            for r in rows:
                state.seen[r.event_id] = _seen(r)
            if len(rows) >= WINDOW:
                state.floor = min(content[0] for _, content in state.seen.values())
            elif state.first_month < month:
                state.floor = _month_start(month) - 1
        return bins

    async def find(
        self, wanted: Sequence[tuple[BinKey, int, str]]
    ) -> dict[tuple[BinKey, str], tuple[int, Fingerprint]]:
        """Point reads by primary key."""
        asked = [(_ONE, (*key, month_of(at), from_ms(at), event_id)) for key, at, event_id in wanted]
        answers = await self._db.gather(asked)
        return {
            (key, event_id): _seen(rows[0]) for (key, _, event_id), rows in zip(wanted, answers, strict=True) if rows
        }

    async def rows_after(self, key: BinKey, after: int, until: int) -> list[LedgerRow]:
        """Reads the months that the span touches."""
        return [entry.row for entry in await self._span(key, after, until)]

    async def write_rows(self, writes: Sequence[BinWrite]) -> list[Seen]:
        """Rows carry their arrival as write time: a repeat writes the same cell, and time windows mean what they say."""
        new = await self._unknown(writes)
        await self._db.write_batches(self._rows(writes))
        await self._db.write_batches(
            self._put[_NAME].bind(
                (seen.kind, seen.site, shard_of(seen.name)),
                (
                    seen.kind,
                    seen.site,
                    shard_of(seen.name),
                    seen.name,
                    seen.first_event_id,
                    seen.first_seen_at,
                    FIRST_WINS - at,
                ),
            )
            for seen, at in new
        )
        self._known.update((seen.kind, seen.site, seen.name) for seen, _ in new)
        return [seen for seen, _ in new]

    def _rows(self, writes: Iterable[BinWrite]) -> Iterable[Write]:
        bind = self._put[_ROW].bind
        for w in writes:
            site, bin_id = w.key
            for e in w.entries:
                r = e.row
                month = month_of(r.occurred_at)
                yield bind(
                    (site, bin_id, month),
                    (site, bin_id, month, r.occurred_at, r.event_id, r.sku, e.kind, r.quantity, r.revision, e.source,
                     e.to_bin, e.reason, e.arrived_at * 1000),
                )  # fmt: skip

    async def _unknown(self, writes: Iterable[BinWrite]) -> list[tuple[Seen, int]]:
        """Names of this batch that the catalogue does not have yet, with the revision that brought them."""
        names: dict[tuple[str, str, str], tuple[Seen, int]] = {}
        for w in writes:
            site, bin_id = w.key
            for sku, (event_id, at) in w.new_skus.items():
                for kind, scope, name in (("site", "", site), ("bin", site, bin_id), ("sku", site, sku)):
                    if (kind, scope, name) not in self._known:
                        names.setdefault((kind, scope, name), (Seen(kind, scope, name, event_id, at), w.applied))
        asked = [(_KNOWN, (kind, scope, shard_of(name), name)) for kind, scope, name in names]
        answers = await self._db.gather(asked)
        self._known.update(name for name, rows in zip(names, answers, strict=True) if rows)
        return [value for name, value in names.items() if name not in self._known]

    async def write_levels(self, writes: Sequence[BinWrite]) -> None:
        """A bin's levels and the revision they contain are one partition: one mutation, all or nothing.

        A bin whose levels exceed a batch is written in two steps, the revision last, which is as safe.
        """
        together: list[Write] = []
        last: list[Write] = []
        for w in writes:
            skus = [sku for sku in w.touched if sku in w.state.slots]
            if not skus:  # nothing but repeats: they will be known as such again
                continue
            *others, final = skus
            marked = self._level(w, final, marked=True)
            levels = [self._level(w, sku) for sku in others]
            (last if sum(x.size for x in levels) + marked.size > MAX_BATCH_BYTES else together).append(marked)
            together += levels
            together += [self._by_sku(w, sku) for sku in skus]
        await self._db.write_batches(together)
        await self._db.write_batches(last)

    def _level(self, w: BinWrite, sku: str, *, marked: bool = False) -> Write:
        """One level. Args: marked: with the revision that all levels of the bin contain, and its first month."""
        s = w.state.slots[sku]
        values = (*w.key, sku, s.on_hand, s.revision, s.last_occurred_at, s.counted_at, s.below_zero_since or 0)
        if marked:
            return self._put[_MARKED].bind(w.key, (*values, w.applied, w.state.first_month, w.applied))
        return self._put[_LEVEL].bind(w.key, (*values, w.applied))

    def _by_sku(self, w: BinWrite, sku: str) -> Write:
        s = w.state.slots[sku]
        site, bin_id = w.key
        return self._put[_BY_SKU].bind(
            (site, sku, "by sku"), (site, sku, bin_id, s.on_hand, s.revision, s.counted_at, w.applied)
        )

    # --- everybody else's side

    async def bin_levels(self, key: BinKey) -> list[Level]:
        """One partition."""
        state = _bin(await self._db.rows(_BIN, key))
        return [Level(*key, sku, s.on_hand, s.revision, s.counted_at) for sku, s in sorted(state.slots.items())]

    async def bin_levels_as_of(self, key: BinKey, at: int) -> dict[str, int]:
        """One partition where nothing happened since; else the rows since; else (a count lies between) the bin's story."""
        state = _bin(await self._db.rows(_BIN, key))
        if not state.slots:
            return {}
        newest = max(s.last_occurred_at for s in state.slots.values())
        later = await self.rows_after(key, at, newest) if newest > at else []
        levels = rewind(state.slots, state.applied, later, at)
        if levels is None:
            story = await self.rows_after(key, _month_start(state.first_month) - 1, at)
            levels = fold(row for row in story if row.revision <= state.applied)
        return levels

    async def sku_levels(self, site: str, sku: str) -> list[Level]:
        """One partition."""
        rows = await self._db.rows(_SKU, (site, sku))
        return [Level(site, r.bin, sku, r.on_hand, r.revision, ms(r.counted_at)) for r in rows]

    async def catalogue(self, kind: str, site: str = "", after: str = "", limit: int = 100) -> list[Seen]:
        """All shards, merged by name."""
        answers = await self._db.gather([(_NAMES, (kind, site, shard, after, limit)) for shard in range(SHARDS)])
        found = [Seen(kind, site, r.name, r.first_event_id, ms(r.first_seen_at) or 0) for rows in answers for r in rows]
        return sorted(found, key=lambda s: s.name)[:limit]

    async def history(self, key: BinKey, sku: str | None, *, since: int, until: int, limit: int) -> list[LedgerEntry]:
        """Newest first; a month a read, no further back than the bin's first."""
        state = _bin(await self._db.rows(_BIN, key))
        if not state.slots:
            return []
        start = max(since, _month_start(state.first_month) - 1)
        end = min(until, max(s.last_occurred_at for s in state.slots.values()))
        found: list[LedgerEntry] = []
        for month in months(month_of(start + 1), month_of(end)) if end > start else []:
            entries = await self._month(key, month, start, end)
            found += [e for e in entries if sku is None or e.row.sku == sku]
            if len(found) >= limit:
                break
        return found[:limit]

    async def _span(self, key: BinKey, after: int, until: int) -> list[LedgerEntry]:
        asked = months(month_of(after + 1), month_of(until)) if until > after else []
        answers = await self._db.gather([(_SPAN, (*key, m, from_ms(after), from_ms(until))) for m in asked])
        return [_entry(r) for rows in answers for r in rows]

    async def _month(self, key: BinKey, month: int, after: int, until: int) -> list[LedgerEntry]:
        return [_entry(r) for r in await self._db.rows(_SPAN, (*key, month, from_ms(after), from_ms(until)))]


def _entry(r: Any) -> LedgerEntry:
    return LedgerEntry(_row(r), r.kind, r.source, r.written // 1000, r.to_bin, r.reason)


def _bin(rows: Iterable[Any]) -> Bin:
    state = Bin()
    for r in rows:
        if r.applied is not None:
            state.applied, state.first_month = r.applied, r.first_month
        if r.sku is not None:
            state.slots[r.sku] = Slot(
                r.on_hand, r.revision, ms(r.last_occurred_at) or 0, ms(r.counted_at), r.below_zero_since or None
            )
    return state


def _month_start(month: int) -> int:
    year, number = divmod(month, 100)
    return to_ms(from_ms(0).replace(year=year, month=number))
