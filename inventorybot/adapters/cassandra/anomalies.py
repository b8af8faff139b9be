"""Anomalies in Cassandra: each with its life, the list of all by month, and the list of those that ask for work.

In: anomalies and steps with their revisions. Out: the same, by id or newest first. The lists are written before the
anomaly itself: its revision says that they were, so a crash in between is healed by handling the steps again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import msgspec

from inventorybot.adapters.cassandra.session import Database, Request
from inventorybot.domain.alerts import LIVE, Anomaly, Step, place
from inventorybot.domain.days import month_of

CHUNK = 200
"""Rows of a list that are read at once: about 200 kB."""

_LATEST = (253_402_300_799_000, "")
"""The end of the year 9999: before it lies every anomaly."""

_SCOPE = "all"
_GET = "SELECT id, revision, state FROM anomaly WHERE id = ? LIMIT 1"
_STEPS = "SELECT step FROM anomaly WHERE id = ?"
_BUCKETS = "SELECT month, site FROM anomaly_bucket WHERE scope = ?"
_PUT = "INSERT INTO anomaly (id, revision, state) VALUES (?, ?, ?) USING TIMESTAMP ?"
_PUT_STEP = "INSERT INTO anomaly (id, step_revision, step) VALUES (?, ?, ?) USING TIMESTAMP ?"
_PUT_LISTED = (
    "INSERT INTO anomaly_by_month (site, month, raised_at, id, revision, state) "
    "VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_PUT_LIVE = "INSERT INTO anomaly_live (site, raised_at, id, revision, state) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
_END_LIVE = "DELETE FROM anomaly_live USING TIMESTAMP ? WHERE site = ? AND raised_at = ? AND id = ?"
_PUT_BUCKET = "INSERT INTO anomaly_bucket (scope, month, site) VALUES (?, ?, ?)"
_LISTED = (
    "SELECT raised_at, id, revision, state FROM anomaly_by_month "
    "WHERE site = ? AND month = ? AND (raised_at, id) < (?, ?) LIMIT ?"
)
_LIVING = "SELECT raised_at, id, revision, state FROM anomaly_live WHERE site = ? AND (raised_at, id) < (?, ?) LIMIT ?"
_ANOMALY = msgspec.json.Decoder(Anomaly)
_STEP = msgspec.json.Decoder(Step)


class CassandraAnomalies:
    """`ports.AnomalyStore` on one session."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def get(self, anomaly_ids: Iterable[str]) -> dict[str, Anomaly]:
        """A partition each, all at once."""
        answers = await self._db.gather([(_GET, (name,)) for name in dict.fromkeys(anomaly_ids)])
        return {r.id: _anomaly(r.state, r.revision) for rows in answers for r in rows if r.state is not None}

    async def write(self, changed: Mapping[str, tuple[Anomaly, int]], steps: Sequence[tuple[int, Step]]) -> None:
        """The write time of everything is its revision, so that an older one never overwrites a newer one."""
        lists: list[Request] = []
        states: list[Request] = []
        for a, at in changed.values():
            state, month = msgspec.json.encode(a).decode(), month_of(a.raised_at)
            lists.append((_PUT_BUCKET, (_SCOPE, month, a.site)))
            lists.append((_PUT_LISTED, (a.site, month, a.raised_at, a.id, at, state, at)))
            if a.live:
                lists.append((_PUT_LIVE, (a.site, a.raised_at, a.id, at, state, at)))
            else:
                lists.append((_END_LIVE, (at, a.site, a.raised_at, a.id)))
            states.append((_PUT, (a.id, at, state, at)))
        lives = [(_PUT_STEP, (s.anomaly_id, at, msgspec.json.encode(s).decode(), at)) for at, s in steps]
        await self._db.write([*lists, *lives])
        await self._db.write(states)

    async def steps(self, anomaly_id: str) -> list[Step]:
        """One partition. A step that was published twice is told once."""
        told: dict[str, Step] = {}
        for r in await self._db.rows(_STEPS, (anomaly_id,)):
            if r.step is not None:
                step = _STEP.decode(r.step)
                told.setdefault(step.event_id, step)
        return list(told.values())

    async def list(
        self, *, site: str | None = None, status: str | None = None, kind: str | None = None,
        assignee: str | None = None, limit: int = 100, before: str | None = None,
    ) -> AsyncIterator[Anomaly]:  # fmt: skip
        """Newest first: month by month, the sites merged. What asks for work comes from a list of its own."""
        start = place(before) if before is not None else _LATEST
        async for anomaly in self._newest(site, status in LIVE, start):
            if limit <= 0:
                return
            if anomaly.matches(site=site, status=status, kind=kind, assignee=assignee):
                limit -= 1
                yield anomaly

    async def _newest(self, site: str | None, live: bool, start: tuple[int, str]) -> AsyncIterator[Anomaly]:
        buckets = [(r.month, r.site) for r in await self._db.rows(_BUCKETS, (_SCOPE,)) if site in (None, r.site)]
        if live:
            async for anomaly in _merged([_Pages(self._db, _LIVING, (s,), start) for s in {s for _, s in buckets}]):
                yield anomaly
            return
        newest = month_of(start[0])
        for month, group in groupby((b for b in buckets if b[0] <= newest), key=lambda b: b[0]):
            async for anomaly in _merged([_Pages(self._db, _LISTED, (s, month), start) for _, s in group]):
                yield anomaly


class _Pages:
    """The anomalies of one partition, newest first, a chunk at a time."""

    def __init__(self, database: Database, cql: str, partition: tuple[str | int, ...], start: tuple[int, str]) -> None:
        self._db, self._cql, self._partition, self._from = database, cql, partition, start
        self._more = True
        self.rows: deque[Anomaly] = deque()

    async def fill(self) -> bool:
        """Whether there is another one, read if need be."""
        if not self.rows and self._more:
            found = await self._db.rows(self._cql, (*self._partition, *self._from, CHUNK))
            self.rows.extend(_anomaly(r.state, r.revision) for r in found)
            self._more = len(found) == CHUNK
            if self.rows:
                self._from = (self.rows[-1].raised_at, self.rows[-1].id)
        return bool(self.rows)


async def _merged(pages: Sequence[_Pages]) -> AsyncIterator[Anomaly]:
    """Several partitions as one list."""
    filled = await asyncio.gather(*(page.fill() for page in pages))
    left = [page for page, some in zip(pages, filled, strict=True) if some]
    while left:
        newest = max(left, key=lambda page: (page.rows[0].raised_at, page.rows[0].id))
        yield newest.rows.popleft()
        if not await newest.fill():
            left.remove(newest)


def _anomaly(state: str, revision: int) -> Anomaly:
    return replace(_ANOMALY.decode(state), revision=revision)
