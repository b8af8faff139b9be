"""What is known of bins from pictures, in Cassandra: evidence_by_bin (a row a bin) and count_by_bin (a row a picture).

In: states with the revision of the count they contain, count rows. Out: the same. Counts are written before states:
a state says that its counts are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cassandra.query import UNSET_VALUE

from inventorybot.adapters.cassandra.ledger import months
from inventorybot.adapters.cassandra.session import Database, ms
from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.days import DAY_MS, month_of
from inventorybot.domain.variance import Evidence
from inventorybot.ports import BinKey, CountRow

_REACH_MS = 400 * DAY_MS
"""Rows live for a year after they arrive, and a picture may have been a month old then."""

_STATE = "SELECT state FROM evidence_by_bin WHERE site = ? AND bin = ?"
_PUT_STATE = "INSERT INTO evidence_by_bin (site, bin, applied, state) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
_PUT_COUNT = (
    "INSERT INTO count_by_bin (site, bin, month, captured_at, image_id, p, prior, model, image_at, image_url, "
    "recorded, probability_wrong) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_COUNTS = (
    "SELECT captured_at, image_id, p, prior, model, image_at, image_url, recorded, probability_wrong, "
    "writetime(model) AS written FROM count_by_bin WHERE site = ? AND bin = ? AND month = ? LIMIT ?"
)


class CassandraEvidence:
    """`ports.EvidenceStore` on one session. Args: now: the wall clock, ms: which months may hold counts."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._db, self._now = database, now

    async def load(self, keys: Sequence[BinKey]) -> dict[BinKey, Evidence]:
        """A row a bin, all at once."""
        answers = await self._db.gather([(_STATE, key) for key in keys])
        return {
            key: Evidence.from_json(rows[0].state) if rows else Evidence()
            for key, rows in zip(keys, answers, strict=True)
        }

    async def write(self, states: Mapping[BinKey, tuple[Evidence, int]], counts: Sequence[CountRow]) -> None:
        """Counts first. The write time of a state is its revision; of a count, its arrival in µs."""
        await self._db.write([(_PUT_COUNT, _values(row)) for row in counts])
        await self._db.write([(_PUT_STATE, (*key, at, e.to_json(), at)) for key, (e, at) in states.items()])

    async def counts(self, key: BinKey, *, limit: int = 50) -> list[CountRow]:
        """Every month that may still hold one, at once."""
        now = self._now()
        asked = months(month_of(now - _REACH_MS), month_of(now + DAY_MS))  # robots' clocks may run ahead
        answers = await self._db.gather([(_COUNTS, (*key, month, limit)) for month in asked])
        return [_count(key, row) for rows in answers for row in rows][:limit]


def _values(row: CountRow) -> tuple[Any, ...]:
    """What is not known is left as it is, not erased."""
    values = (
        row.site, row.bin, month_of(row.captured_at), row.captured_at, row.image_id, row.distribution.p, row.prior,
        row.model, row.image_at, row.image_url, row.recorded, row.probability_wrong, row.arrived_at * 1000,
    )  # fmt: skip
    return tuple(UNSET_VALUE if value is None else value for value in values)


def _count(key: BinKey, r: Any) -> CountRow:
    return CountRow(
        *key, ms(r.captured_at) or 0, r.image_id, CountDistribution(tuple(r.p)), tuple(r.prior), r.model, r.image_at,
        r.image_url, r.written // 1000, r.recorded, r.probability_wrong,
    )  # fmt: skip
