"""The ledger stores without a database, for tests that want speed; they pass the same contract suite as Cassandra's."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from inventorybot.domain.ledger import Bin, Fingerprint, LedgerRow, Slot, fold
from inventorybot.ports import BinKey, BinWrite, LedgerEntry, Level, Seen


class MemoryLedger:
    """`ports.LedgerStore` and `ports.LevelReader` in dictionaries; keeps write times, so that fencing can be tested."""

    def __init__(self) -> None:
        self.rows: dict[BinKey, dict[tuple[int, str], LedgerEntry]] = {}
        self.levels: dict[BinKey, dict[str, tuple[int, Slot]]] = {}
        self.by_sku: dict[tuple[str, str], dict[str, tuple[int, Slot]]] = {}
        self.applied: dict[BinKey, tuple[int, int]] = {}
        self.names: dict[tuple[str, str, str], Seen] = {}

    async def load(self, keys: Sequence[BinKey]) -> dict[BinKey, Bin]:
        """Loads every id, so `floor` is None: the window is Cassandra's concern, not the law's."""
        found = {}
        for key in keys:
            applied, first_month = self.applied.get(key, (-1, 0))
            slots = {sku: copy.copy(slot) for sku, (_, slot) in self.levels.get(key, {}).items()}
            seen = {e.row.event_id: _seen(e) for e in self.rows.get(key, {}).values()}
            found[key] = Bin(slots, applied, first_month, seen if applied >= 0 else {})
        return found

    async def find(
        self, wanted: Sequence[tuple[BinKey, int, str]]
    ) -> dict[tuple[BinKey, str], tuple[int, Fingerprint]]:
        """By (occurred_at, event id), as the table is keyed."""
        hits = ((key, i, self.rows.get(key, {}).get((at, i))) for key, at, i in wanted)
        return {(key, i): _seen(entry) for key, i, entry in hits if entry is not None}

    async def rows_after(self, key: BinKey, after: int, until: int) -> list[LedgerRow]:
        """Any order."""
        return [e.row for e in self.rows.get(key, {}).values() if after < e.row.occurred_at <= until]

    async def write_rows(self, writes: Sequence[BinWrite]) -> list[Seen]:
        """An id at a time is one row, however often it is written."""
        new = []
        for w in writes:
            for e in w.entries:
                self.rows.setdefault(w.key, {})[e.row.occurred_at, e.row.event_id] = e
            site, bin_id = w.key
            for sku, (event_id, at) in w.new_skus.items():
                for name in (("site", "", site), ("bin", site, bin_id), ("sku", site, sku)):
                    if name not in self.names:
                        self.names[name] = Seen(*name, event_id, at)
                        new.append(self.names[name])
        return new

    async def write_levels(self, writes: Sequence[BinWrite]) -> None:
        """The higher revision wins, whoever writes last."""
        for w in writes:
            for sku in w.touched & w.state.slots.keys():
                slot = copy.copy(w.state.slots[sku])
                _newest(self.levels.setdefault(w.key, {}), sku, w.applied, slot)
                _newest(self.by_sku.setdefault((w.key[0], sku), {}), w.key[1], w.applied, slot)
            if w.applied >= self.applied.get(w.key, (-1, 0))[0]:
                self.applied[w.key] = (w.applied, w.state.first_month)

    async def bin_levels(self, key: BinKey) -> list[Level]:
        """By SKU."""
        return [
            Level(*key, sku, s.on_hand, s.revision, s.counted_at)
            for sku, (_, s) in sorted(self.levels.get(key, {}).items())
        ]

    async def bin_levels_as_of(self, key: BinKey, at: int) -> dict[str, int]:
        """The law, stated plainly."""
        applied = self.applied.get(key, (-1, 0))[0]
        levels = fold((e.row for e in self.rows.get(key, {}).values() if e.row.revision <= applied), at)
        return {sku: levels.get(sku, 0) for sku in self.levels.get(key, {})} | levels if key in self.levels else {}

    async def sku_levels(self, site: str, sku: str) -> list[Level]:
        """By bin."""
        found = sorted(self.by_sku.get((site, sku), {}).items())
        return [Level(site, b, sku, s.on_hand, s.revision, s.counted_at) for b, (_, s) in found]

    async def site_stock(self, site: str) -> dict[str, int]:
        """Summed over bins."""
        found = {sku: bins for (where, sku), bins in self.by_sku.items() if where == site}
        return {sku: sum(slot.on_hand for _, slot in bins.values()) for sku, bins in sorted(found.items())}

    async def sku_stock(self, site: str, skus: Sequence[str]) -> dict[str, int]:
        """Summed over bins."""
        found = {sku: self.by_sku.get((site, sku), {}) for sku in skus}
        return {sku: sum(slot.on_hand for _, slot in bins.values()) for sku, bins in found.items() if bins}

    async def catalogue(self, kind: str, site: str = "", after: str = "", limit: int = 100) -> list[Seen]:
        """By name."""
        found = sorted(
            (s for s in self.names.values() if (s.kind, s.site) == (kind, site) and s.name > after),
            key=lambda s: s.name,
        )
        return found[:limit]

    async def history(self, key: BinKey, sku: str | None, *, since: int, until: int, limit: int) -> list[LedgerEntry]:
        """Newest first."""
        found = [
            e for e in self.rows.get(key, {}).values()
            if since < e.row.occurred_at <= until and sku in (None, e.row.sku)
        ]  # fmt: skip
        return sorted(found, key=lambda e: (-e.row.occurred_at, e.row.event_id))[:limit]


def _newest(table: dict[str, tuple[int, Slot]], name: str, at: int, slot: Slot) -> None:
    if name not in table or table[name][0] <= at:
        table[name] = (at, slot)


def _seen(e: LedgerEntry) -> tuple[int, Fingerprint]:
    return e.row.revision, (e.row.occurred_at, e.row.sku, e.row.quantity, e.kind, e.to_bin or "")
