"""The evidence store without a database, for fast tests; it passes the same contract suite as Cassandra's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from inventorybot.domain.variance import Evidence
from inventorybot.ports import BinKey, CountRow

_MAY_LACK = ("image_url", "recorded", "probability_wrong")


class MemoryEvidence:
    """`ports.EvidenceStore` in dictionaries; evidence is kept as the JSON that a database would keep."""

    def __init__(self) -> None:
        self.states: dict[BinKey, tuple[int, str]] = {}
        self.rows: dict[BinKey, dict[tuple[int, str], CountRow]] = {}

    async def load(self, keys: Sequence[BinKey]) -> dict[BinKey, Evidence]:
        """An empty `Evidence` for a bin never looked at."""
        return {key: Evidence.from_json(self.states[key][1]) if key in self.states else Evidence() for key in keys}

    async def write(self, states: Mapping[BinKey, tuple[Evidence, int]], counts: Sequence[CountRow]) -> None:
        """The higher revision wins, whoever writes last; of one picture's counts, the later arrival."""
        for row in counts:
            rows = self.rows.setdefault((row.site, row.bin), {})
            known = rows.get((row.captured_at, row.image_id))
            if known is None or known.arrived_at <= row.arrived_at:
                rows[row.captured_at, row.image_id] = _over(known, row)
        for key, (evidence, revision) in states.items():
            if key not in self.states or self.states[key][0] <= revision:
                self.states[key] = (revision, evidence.to_json())

    async def counts(self, key: BinKey, *, limit: int = 50) -> list[CountRow]:
        """Newest capture first."""
        rows = sorted(self.rows.get(key, {}).items(), key=lambda item: (-item[0][0], item[0][1]))
        return [row for _, row in rows[:limit]]


def _over(known: CountRow | None, row: CountRow) -> CountRow:
    """A row written over another: what is not known is left as it is, not erased."""
    if known is None:
        return row
    kept = {name: getattr(known, name) for name in _MAY_LACK if getattr(row, name) is None}
    return replace(row, **kept)
