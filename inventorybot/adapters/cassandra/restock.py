"""Restock recommendations in Cassandra: each SKU's by day (restock), and the lists that lead there.

In: recommendations and people's steps. Out: the same, by id, by site and SKU, or newest first. What is worked out is
written at FIRST_WINS - its moment in µs: of one day the first stays, however often a job runs. Steps are written by
lightweight transactions alone, on a version that a SKU's days share: of two people at once one is told to look again.
An index is written before what it leads to; a row that an index names and that is not there (yet) is passed over.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from inventorybot.adapters.cassandra.bulk import write_bulk
from inventorybot.adapters.cassandra.session import Database, Request, ms
from inventorybot.domain.restock import ItemHistory, Recommendation, State, Step, place

SHARDS = 16
"""Partitions of a site's day: 100,000 SKUs to be ordered at once make 6,000 rows each."""
FIRST_WINS = 1 << 62
CHUNK = 200
"""Rows of a list that are read at once: 300 kB."""
NEWEST = 64
"""Of one SKU as many are read to decide upon one: two months of days; older ones have long lapsed."""
_SCOPE = "all"
_LAST_DAY = 99_991_231

_PUT = "INSERT INTO restock (site, sku, day, body) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
_PUT_ID = "INSERT INTO restock_id (id, site, sku, day) VALUES (?, ?, ?, ?)"
_PUT_LISTED = "INSERT INTO restock_by_day (site, day, shard, sku) VALUES (?, ?, ?, ?)"
_PUT_DAY = "INSERT INTO restock_day (scope, day, site) VALUES (?, ?, ?)"
_PUT_UNDER_WAY = "INSERT INTO restock_under_way (site, sku, day) VALUES (?, ?, ?)"
_END_UNDER_WAY = "DELETE FROM restock_under_way WHERE site = ? AND sku = ? AND day = ?"
_STEP = "UPDATE restock SET steps = ?, version = ? WHERE site = ? AND sku = ? AND day = ? IF version = ?"
_SENT = "UPDATE restock SET sent_at = ? WHERE site = ? AND sku = ? AND day = ?"
_COLUMNS = "site, sku, day, version, body, steps, sent_at"
_HISTORY = f"SELECT {_COLUMNS} FROM restock WHERE site = ? AND sku = ? LIMIT {NEWEST}"  # noqa: S608  # our own names
_ONE = f"SELECT {_COLUMNS} FROM restock WHERE site = ? AND sku = ? AND day = ?"  # noqa: S608
_NEWEST_DAY = "SELECT day FROM restock WHERE site = ? AND sku = ? LIMIT 1"
_ID = "SELECT site, sku, day FROM restock_id WHERE id = ?"
_DAYS = "SELECT day, site FROM restock_day WHERE scope = ? AND day <= ?"
_SKUS = "SELECT sku FROM restock_by_day WHERE site = ? AND day = ? AND shard = ? AND sku > ? LIMIT ?"
_UNDER_WAY = "SELECT sku, day FROM restock_under_way WHERE site = ?"
_BODY = msgspec.json.Decoder(Recommendation)
_STEPS = msgspec.json.Decoder(tuple[Step, ...])
Key = tuple[str, str, int]
"""(site, SKU, day)"""


class CassandraRestock:
    """`ports.RestockStore` on one session. Args: now: the wall clock, ms: what has lapsed."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._db, self._now = database, now

    async def put(self, made: Sequence[Recommendation]) -> int:
        """The lists first."""
        keys = [(r.site, r.sku, r.day) for r in made]
        known = {_key(r) for r in await self._rows(keys)}
        days = {(r.day, r.site) for r in made}
        await write_bulk(self._db, _PUT_DAY, (((_SCOPE,), (_SCOPE, day, site)) for day, site in days))
        places = ((r, zlib.crc32(r.sku.encode()) % SHARDS) for r in made)
        await write_bulk(
            self._db, _PUT_LISTED, (((r.site, r.day, shard), (r.site, r.day, shard, r.sku)) for r, shard in places)
        )
        await write_bulk(self._db, _PUT_ID, (((r.id,), (r.id, r.site, r.sku, r.day)) for r in made))
        bodies = (((r.site, r.sku), (r.site, r.sku, r.day, _body(r), FIRST_WINS - r.made_at * 1000)) for r in made)
        await write_bulk(self._db, _PUT, bodies)
        return sum(key not in known for key in keys)

    async def find(self, recommendation_id: str) -> Recommendation | None:
        """Two point reads, and a look for a newer one."""
        rows = await self._db.rows(_ID, (recommendation_id,))
        found = await self._standing([(r.site, r.sku, r.day) for r in rows])
        return found[0] if found else None

    async def history(self, site: str, sku: str) -> ItemHistory:
        """One partition."""
        rows = await self._db.rows(_HISTORY, (site, sku))
        made = [_recommendation(r) for r in rows if r.body is not None]
        newest = made[0].day if made else 0
        standing = (replace(r, newer=newest if newest > r.day else None) for r in made)
        return ItemHistory((rows[0].version or 0) if rows else 0, tuple(standing))

    async def step(self, after: Recommendation, version: int) -> bool:
        """What may become approved is put among those under way first: none that is approved is ever missing there."""
        key = (after.site, after.sku, after.day)
        action = after.steps[-1].action
        if action == "approved":
            await self._db.write([(_PUT_UNDER_WAY, key)])
        steps = msgspec.json.encode(after.steps).decode()
        rows = await self._db.rows(_STEP, (steps, version + 1, *key, version or None))
        if rows and rows[0].applied and action == "received":
            await self._db.write([(_END_UNDER_WAY, key)])
        return bool(rows and rows[0].applied)

    async def mark_sent(self, of: Recommendation, at: int) -> None:
        """A note: the time of a later repeat does no harm."""
        await self._db.write([(_SENT, (at, of.site, of.sku, of.day))])

    async def under_way(self, site: str) -> list[Recommendation]:
        """One partition of names, and a read of each."""
        rows = await self._db.rows(_UNDER_WAY, (site,))
        found = await self._standing([(site, r.sku, r.day) for r in rows])
        return [r for r in found if r.state(self._now()) is State.APPROVED]

    async def _rows(self, keys: Sequence[Key]) -> list[Any]:
        """Those that are there."""
        answers: list[list[Any]] = []
        for low in range(0, len(keys), CHUNK):
            answers += await self._db.gather([(_ONE, key) for key in keys[low : low + CHUNK]])
        return [r for rows in answers for r in rows if r.body is not None]

    async def _standing(self, keys: Iterable[Key]) -> list[Recommendation]:
        """As they stand, each with the day of a newer one."""
        rows = await self._rows(list(keys))
        asked: list[Request] = [(_NEWEST_DAY, (r.site, r.sku)) for r in rows]
        answers = await self._db.gather(asked)
        newest = (days[0].day for days in answers)
        return [
            replace(_recommendation(r), newer=day if day > r.day else None) for r, day in zip(rows, newest, strict=True)
        ]

    async def list(
        self, *, site: str | None = None, state: State | None = None, limit: int = 100, before: str | None = None
    ) -> AsyncIterator[Recommendation]:
        """Day by day and site by site, until there are enough."""
        day, first, after = place(before) if before is not None else (_LAST_DAY, "", "")
        if limit <= 0:
            return
        for bucket in await self._db.rows(_DAYS, (_SCOPE, day)):
            if site not in (None, bucket.site) or (bucket.day == day and bucket.site < first):
                continue
            start = after if (bucket.day, bucket.site) == (day, first) else ""
            async for found in self._of_day(bucket.site, bucket.day, start):
                if state in (None, found.state(self._now())):
                    yield found
                    limit -= 1
                    if limit <= 0:
                        return

    async def _of_day(self, site: str, day: int, after: str) -> AsyncIterator[Recommendation]:
        """A site's of a day, by SKU."""
        while True:
            answers = await self._db.gather([(_SKUS, (site, day, s, after, CHUNK)) for s in range(SHARDS)])
            skus = sorted(r.sku for rows in answers for r in rows)[:CHUNK]
            for found in await self._standing([(site, sku, day) for sku in skus]):
                yield found
            if len(skus) < CHUNK:
                return
            after = skus[-1]


def _key(r: Any) -> Key:
    return r.site, r.sku, r.day


def _body(r: Recommendation) -> str:
    return msgspec.json.encode(replace(r, steps=(), sent_at=None, newer=None)).decode()


def _recommendation(r: Any) -> Recommendation:
    steps = _STEPS.decode(r.steps) if r.steps else ()
    return replace(_BODY.decode(r.body), steps=steps, sent_at=ms(r.sent_at))
