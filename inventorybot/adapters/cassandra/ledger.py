"""The ledger and the levels in Cassandra: what the ledger agent keeps there, and what everybody reads from it.

In: `BinWrite`s. Out: rows of ledger_by_bin, then of level_by_bin and level_by_sku (docs/adr/0001).
Many bins share a partition, so that a whole batch is a few mutations (docs/adr/0008); a bin is a slice of one.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from inventorybot.adapters.cassandra.session import MAX_BATCH_BYTES, Database, Write, ms, packed, partition_of
from inventorybot.domain.days import WEEK_MS
from inventorybot.domain.events import Kind
from inventorybot.domain.ledger import WINDOW, Bin, Fingerprint, LedgerRow, Slot, fold, rewind
from inventorybot.ports import BinKey, BinWrite, LedgerEntry, Level, Seen
from inventorybot.wire.codec import from_ms, to_ms

BUCKETS = 16
"""Partitions of a site in each table (of the ledger: for every week). Part of the keys: it can never change."""
SPAN_WEEKS = 8
"""Weeks of a history that are read at once."""
FIRST_WINS = 1 << 62
"""A catalogue row is written at FIRST_WINS − revision, so that the earliest arrival is the one that stays."""
ASKED_AT_ONCE = 100
"""Names in one query: as many slices of one partition."""

_ROW = (
    "INSERT INTO ledger_by_bin (site, bucket, week, bin, occurred_at, event_id, sku, kind, quantity, revision, source, "
    "to_bin, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_LEVEL = (
    "INSERT INTO level_by_bin (site, bucket, bin, sku, on_hand, revision, last_occurred_at, counted_at, below_zero_since, "
    "applied, first_month) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_BY_SKU = (
    "INSERT INTO level_by_sku (site, bucket, sku, bin, on_hand, revision, counted_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "USING TIMESTAMP ?"
)
_NAME = (
    "INSERT INTO catalogue (kind, site, shard, name, first_event_id, first_seen_at) VALUES (?, ?, ?, ?, ?, ?) "
    "USING TIMESTAMP ?"
)
_KNOWN = "SELECT name FROM catalogue WHERE kind = ? AND site = ? AND shard = ? AND name IN ?"
_NAMES = "SELECT name, first_event_id, first_seen_at FROM catalogue WHERE kind = ? AND site = ? AND shard = ? AND name > ? LIMIT ?"
_BINS = (
    "SELECT bin, sku, on_hand, revision, last_occurred_at, counted_at, below_zero_since, applied, first_month "
    "FROM level_by_bin WHERE site = ? AND bucket = ? AND bin IN ?"
)
_SKU = "SELECT bin, on_hand, revision, counted_at FROM level_by_sku WHERE site = ? AND bucket = ? AND sku = ?"
_STOCK = (
    "SELECT sku, sum(on_hand) AS on_hand FROM level_by_sku WHERE site = ? AND bucket = ? GROUP BY site, bucket, sku"
)
_STOCK_OF = "SELECT sku, on_hand FROM level_by_sku WHERE site = ? AND bucket = ? AND sku IN ?"
_FACT = "occurred_at, event_id, sku, kind, quantity, revision, to_bin"
_PLACE = "FROM ledger_by_bin WHERE site = ? AND bucket = ? AND week = ? AND bin = ?"
_IDS = f"SELECT {_FACT} {_PLACE} LIMIT ?"  # our own names, here and below
_ONE = f"SELECT {_FACT} {_PLACE} AND occurred_at = ? AND event_id = ?"
_SPAN = (
    f"SELECT {_FACT}, source, reason, writetime(revision) AS written {_PLACE} AND occurred_at > ? AND occurred_at <= ?"
)


def week_of(at: int) -> int:
    """Weeks since the epoch (they begin on Thursdays, UTC) of a time in ms: the part of the ledger that a fact lies in."""
    return at // WEEK_MS


@lru_cache(maxsize=1 << 16)
def bucket_of(name: str) -> int:
    """Which of a site's partitions a bin or a SKU lies in; also the catalogue's shard of a name."""
    return zlib.crc32(name.encode()) % BUCKETS


def months(first: int, last: int) -> list[int]:
    """Every yyyymm from `first` to `last`, both included, newest first."""
    start, end = divmod(first, 100), divmod(last, 100)
    numbers = range(start[0] * 12 + start[1] - 1, end[0] * 12 + end[1])
    return [n // 12 * 100 + n % 12 + 1 for n in reversed(numbers)]


def _row(r: Any) -> LedgerRow:
    return LedgerRow(ms(r.occurred_at) or 0, r.revision, r.sku, r.quantity, r.kind == Kind.CYCLE_COUNT, r.event_id)


def _seen(r: Any) -> tuple[int, Fingerprint]:
    return r.revision, (ms(r.occurred_at) or 0, r.sku, r.quantity, r.kind, r.to_bin or "")


class CassandraLedger:
    """`ports.LedgerStore` and `ports.LevelReader` on one session."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: set[tuple[str, str, str]] = set()
        self._put = {cql: database.prepared(cql) for cql in (_ROW, _LEVEL, _BY_SKU, _NAME)}

    # --- the ledger agent's side

    async def load(self, keys: Sequence[BinKey]) -> dict[BinKey, Bin]:
        """Levels first, then ids: a row stored between the two reads is then seen, not missed."""
        bins = await self._bins(keys)
        known = [(key, state) for key, state in bins.items() if state.applied >= 0]
        newest = [week_of(max(s.last_occurred_at for s in state.slots.values())) for _, state in known]
        asked = [(_IDS, (*_place(key, week), WINDOW)) for (key, _), week in zip(known, newest, strict=True)]
        for (_, state), week, rows in zip(known, newest, await self._db.gather(asked), strict=True):
            for r in rows:
                state.seen[r.event_id] = _seen(r)
            if len(rows) >= WINDOW:
                state.floor = min(content[0] for _, content in state.seen.values())
            elif _month_start(state.first_month) < week * WEEK_MS:
                state.floor = week * WEEK_MS - 1
        return bins

    async def _bins(self, keys: Sequence[BinKey]) -> dict[BinKey, Bin]:
        """The levels of bins: a query for every hundred of one partition."""
        bins = {key: Bin() for key in keys}
        names: dict[tuple[str, int], list[str]] = defaultdict(list)
        for site, bin_id in bins:
            names[site, bucket_of(bin_id)].append(bin_id)
        asked = [(place, part) for place, all_names in names.items() for part in _parts(all_names)]
        answers = await self._db.gather([(_BINS, (*place, part)) for place, part in asked])
        for ((site, _), _), rows in zip(asked, answers, strict=True):
            for r in rows:
                _add(bins[site, r.bin], r)
        return bins

    async def find(
        self, wanted: Sequence[tuple[BinKey, int, str]]
    ) -> dict[tuple[BinKey, str], tuple[int, Fingerprint]]:
        """Point reads by primary key."""
        asked = [(_ONE, (*_place(key, week_of(at)), from_ms(at), event_id)) for key, at, event_id in wanted]
        answers = await self._db.gather(asked)
        return {
            (key, event_id): _seen(rows[0]) for (key, _, event_id), rows in zip(wanted, answers, strict=True) if rows
        }

    async def rows_after(self, key: BinKey, after: int, until: int) -> list[LedgerRow]:
        """Reads the weeks that the span touches, all at once."""
        return [entry.row for entry in await self._span(key, after, until)]

    async def write_rows(self, writes: Sequence[BinWrite]) -> list[Seen]:
        """Rows carry their arrival as write time: a repeat writes the same cell, and time windows mean what they say."""
        new = await self._unknown(writes)
        await self._db.write_batches(write for w in writes for write in self._rows(w))
        bind = self._put[_NAME].bind
        await self._db.write_batches(
            bind(place, (*place, seen.name, seen.first_event_id, seen.first_seen_at, FIRST_WINS - at))
            for seen, at in new
            for place in [(seen.kind, seen.site, bucket_of(seen.name))]
        )
        self._known.update((seen.kind, seen.site, seen.name) for seen, _ in new)
        return [seen for seen, _ in new]

    def _rows(self, w: BinWrite) -> Iterable[Write]:
        """Each on its own: a bin's rows need not be applied together."""
        row = self._put[_ROW].row
        site, bin_id = w.key
        bucket = bucket_of(bin_id)
        site_name, bin_name = packed(site), packed(bin_id)
        for e in w.entries:
            r = e.row
            week = r.occurred_at // WEEK_MS
            yield Write(
                _partition(site, bucket, week),
                (row((site_name, bucket, week, bin_name, r.occurred_at, r.event_id, packed(r.sku), packed(e.kind),
                      r.quantity, r.revision, packed(e.source), e.to_bin, e.reason, e.arrived_at * 1000)),),
            )  # fmt: skip

    async def _unknown(self, writes: Iterable[BinWrite]) -> list[tuple[Seen, int]]:
        """Names of this batch that the catalogue does not have yet, with the revision that brought them."""
        found: dict[tuple[str, str, str], tuple[Seen, int]] = {}
        for w in writes:
            site, bin_id = w.key
            for sku, (event_id, at) in w.new_skus.items():
                for what in (("site", "", site), ("bin", site, bin_id), ("sku", site, sku)):
                    if what not in self._known:
                        found.setdefault(what, (Seen(*what, event_id, at), w.applied))
        names: dict[tuple[str, str, int], list[str]] = defaultdict(list)
        for kind, site, name in found:
            names[kind, site, bucket_of(name)].append(name)
        asked = [(place, part) for place, all_names in names.items() for part in _parts(all_names)]
        answers = await self._db.gather([(_KNOWN, (*place, part)) for place, part in asked])
        for ((kind, site, _), _), rows in zip(asked, answers, strict=True):
            self._known.update((kind, site, r.name) for r in rows)
        return [seen for what, seen in found.items() if what not in self._known]

    async def write_levels(self, writes: Sequence[BinWrite]) -> None:
        """A bin's levels and the revision they contain go in one mutation, all or nothing.

        A bin whose levels exceed a batch is written in two steps, the revision last, which is as safe.
        """
        together: list[Write] = []
        last: list[Write] = []
        for w in writes:
            skus = [sku for sku in w.touched if sku in w.state.slots]
            if not skus:  # nothing but repeats: they will be known as such again
                continue
            levels = [self._level(w, sku, marked=n == len(skus)) for n, sku in enumerate(skus, 1)]
            home = _partition(w.key[0], bucket_of(w.key[1]))
            if sum(map(len, levels)) <= MAX_BATCH_BYTES:
                together.append(Write(home, levels))
            else:
                together += [Write(home, (level,)) for level in levels[:-1]]
                last.append(Write(home, levels[-1:]))
            together += [self._by_sku(w, sku) for sku in skus]
        await self._db.write_batches(together)
        await self._db.write_batches(last)

    def _level(self, w: BinWrite, sku: str, *, marked: bool) -> bytes:
        """One level. Args: marked: with the revision that all levels of the bin contain, and its first month."""
        s = w.state.slots[sku]
        site, bin_id = w.key
        mark = (w.applied, w.state.first_month) if marked else (None, None)
        return self._put[_LEVEL].row(
            (packed(site), bucket_of(bin_id), packed(bin_id), packed(sku), s.on_hand, s.revision, s.last_occurred_at, s.counted_at,
             s.below_zero_since or 0, *mark, w.applied)
        )  # fmt: skip

    def _by_sku(self, w: BinWrite, sku: str) -> Write:
        s = w.state.slots[sku]
        site, bin_id = w.key
        bucket = bucket_of(sku)
        row = self._put[_BY_SKU].row(
            (packed(site), bucket, packed(sku), packed(bin_id), s.on_hand, s.revision, s.counted_at, w.applied)
        )
        return Write(_partition(site, bucket), (row,))

    # --- everybody else's side

    async def bin_levels(self, key: BinKey) -> list[Level]:
        """One slice."""
        state = (await self._bins([key]))[key]
        return [Level(*key, sku, s.on_hand, s.revision, s.counted_at) for sku, s in sorted(state.slots.items())]

    async def bin_levels_as_of(self, key: BinKey, at: int) -> dict[str, int]:
        """One slice where nothing happened since; else the rows since; else (a count lies between) the bin's story."""
        state = (await self._bins([key]))[key]
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
        """One slice."""
        rows = await self._db.rows(_SKU, (site, bucket_of(sku), sku))
        return [Level(site, r.bin, sku, r.on_hand, r.revision, ms(r.counted_at)) for r in rows]

    async def site_stock(self, site: str) -> dict[str, int]:
        """All buckets at once; Cassandra adds the bins up."""
        answers = await self._db.gather([(_STOCK, (site, bucket)) for bucket in range(BUCKETS)])
        return dict(sorted((r.sku, r.on_hand) for rows in answers for r in rows))

    async def sku_stock(self, site: str, skus: Sequence[str]) -> dict[str, int]:
        """A slice a SKU, many in one query."""
        names: dict[int, list[str]] = defaultdict(list)
        for sku in dict.fromkeys(skus):
            names[bucket_of(sku)].append(sku)
        parts = [
            (b, group[i : i + ASKED_AT_ONCE]) for b, group in names.items() for i in range(0, len(group), ASKED_AT_ONCE)
        ]
        found: dict[str, int] = {}
        for rows in await self._db.gather([(_STOCK_OF, (site, bucket, part)) for bucket, part in parts]):
            for sku, units in rows:
                found[sku] = found.get(sku, 0) + units
        return found

    async def catalogue(self, kind: str, site: str = "", after: str = "", limit: int = 100) -> list[Seen]:
        """All shards, merged by name."""
        answers = await self._db.gather([(_NAMES, (kind, site, shard, after, limit)) for shard in range(BUCKETS)])
        found = [Seen(kind, site, r.name, r.first_event_id, ms(r.first_seen_at) or 0) for rows in answers for r in rows]
        return sorted(found, key=lambda s: s.name)[:limit]

    async def history(self, key: BinKey, sku: str | None, *, since: int, until: int, limit: int) -> list[LedgerEntry]:
        """Newest first; some weeks a read, no further back than the bin's first month."""
        state = (await self._bins([key]))[key]
        if not state.slots:
            return []
        start = max(since, _month_start(state.first_month) - 1)
        end = min(until, max(s.last_occurred_at for s in state.slots.values()))
        found: list[LedgerEntry] = []
        while start < end and len(found) < limit:
            low = max(start, (week_of(end) - SPAN_WEEKS + 1) * WEEK_MS - 1)
            found += [e for e in await self._span(key, low, end) if sku is None or e.row.sku == sku]
            end = low
        return found[:limit]

    async def _span(self, key: BinKey, after: int, until: int) -> list[LedgerEntry]:
        """Rows that occurred in (after, until], newest first."""
        weeks = reversed(range(week_of(after + 1), week_of(until) + 1))
        asked = [(_SPAN, (*_place(key, week), from_ms(after), from_ms(until))) for week in weeks]
        return [_entry(r) for rows in await self._db.gather(asked) for r in rows]


def _place(key: BinKey, week: int) -> tuple[str, int, int, str]:
    """Where the facts of a bin's week lie."""
    site, bin_id = key
    return site, bucket_of(bin_id), week, bin_id


_partition = lru_cache(maxsize=4096)(partition_of)


def _parts(names: list[str]) -> list[list[str]]:
    return [names[i : i + ASKED_AT_ONCE] for i in range(0, len(names), ASKED_AT_ONCE)]


def _entry(r: Any) -> LedgerEntry:
    return LedgerEntry(_row(r), r.kind, r.source, r.written // 1000, r.to_bin, r.reason)


def _add(state: Bin, r: Any) -> None:
    """One level of a bin; of the revisions that its levels carry the highest counts."""
    if r.applied is not None and r.applied > state.applied:
        state.applied, state.first_month = r.applied, r.first_month
    state.slots[r.sku] = Slot(
        r.on_hand, r.revision, ms(r.last_occurred_at) or 0, ms(r.counted_at), r.below_zero_since or None
    )


def _month_start(month: int) -> int:
    year, number = divmod(month, 100)
    return to_ms(from_ms(0).replace(year=year, month=number))
