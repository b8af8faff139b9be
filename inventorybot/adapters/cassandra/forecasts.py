"""Forecasts in Cassandra: forecast_by_site (a row a site, period and SKU), forecast_period (which periods there are),
forecast_made (when the newest of a site were made).

In: forecasts. Out: the same, a site and a period at a time, as a plan reads them. The write time is when a forecast was
made, in µs: an older one never overwrites a newer one.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from inventorybot.adapters.cassandra.bulk import write_bulk
from inventorybot.adapters.cassandra.session import Database, ms
from inventorybot.domain.days import DAY_MS
from inventorybot.domain.forecast import NAMES, Forecast

SHARDS = 16
"""Partitions of a site's period: 100,000 SKUs make 6,000 rows, 1 MB, each."""
ASKED_AT_ONCE = 100
"""SKUs in one query: as many rows of one partition."""
_LONGEST_MS = 31 * DAY_MS
"""A month: the longest a period is; the one that holds a moment began no earlier than this before it."""

_COLUMNS = f"sku, mean, {', '.join(NAMES)}, model, made_at"
_PUT = (
    f"INSERT INTO forecast_by_site (site, period, shard, {_COLUMNS}) "  # noqa: S608  # names of our own columns
    f"VALUES (?, ?, ?{', ?' * (len(NAMES) + 4)}) USING TIMESTAMP ?"
)
_PUT_PERIOD = "INSERT INTO forecast_period (site, period) VALUES (?, ?) USING TIMESTAMP ?"
_PUT_MADE = "INSERT INTO forecast_made (site, made_at) VALUES (?, ?) USING TIMESTAMP ?"
_PERIODS = "SELECT period FROM forecast_period WHERE site = ? AND period >= ?"
_MADE = "SELECT made_at FROM forecast_made WHERE site = ?"
_OF_SKUS = f"SELECT {_COLUMNS} FROM forecast_by_site WHERE site = ? AND period = ? AND shard = ? AND sku IN ?"  # noqa: S608
_OF_SITE = f"SELECT {_COLUMNS} FROM forecast_by_site WHERE site = ? AND period = ? AND shard = ?"  # noqa: S608


class CassandraForecasts:
    """`ports.ForecastStore` on one session."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def write(self, forecasts: Sequence[Forecast]) -> None:
        """Rows first: a period that is listed has all of them."""
        rows = [((x.site, x.period, zlib.crc32(x.sku.encode()) % SHARDS), x) for x in forecasts]
        rows.sort(key=lambda row: row[0])
        values = ((at, (*at, x.sku, x.mean, *x.quantiles, x.model, x.made_at, x.made_at * 1000)) for at, x in rows)
        await write_bulk(self._db, _PUT, values)
        periods = {(x.site, x.period): x.made_at for x in forecasts}
        await write_bulk(self._db, _PUT_PERIOD, (((site,), (site, t, at * 1000)) for (site, t), at in periods.items()))
        made = {x.site: x.made_at for x in sorted(forecasts, key=lambda x: x.made_at)}
        await self._db.write([(_PUT_MADE, (site, at, at * 1000)) for site, at in made.items()])

    async def periods(self, site: str, since: int) -> list[int]:
        """One partition."""
        return [ms(r.period) or 0 for r in await self._db.rows(_PERIODS, (site, since))]

    async def of_site(self, site: str, period: int) -> list[Forecast]:
        """All shards at once."""
        answers = await self._db.gather([(_OF_SITE, (site, period, shard)) for shard in range(SHARDS)])
        return sorted((_forecast(site, period, r) for rows in answers for r in rows), key=lambda x: x.sku)

    async def of_skus(self, site: str, skus: Sequence[str], since: int) -> dict[str, list[Forecast]]:
        """A row a SKU and period; many SKUs in one query, all queries of a period at once."""
        begins = await self.periods(site, since - _LONGEST_MS)
        first = max((t for t in begins if t <= since), default=since)
        names: dict[int, list[str]] = defaultdict(list)
        for sku in dict.fromkeys(skus):
            names[zlib.crc32(sku.encode()) % SHARDS].append(sku)
        parts = [(s, n[i : i + ASKED_AT_ONCE]) for s, n in names.items() for i in range(0, len(n), ASKED_AT_ONCE)]
        found: dict[str, list[Forecast]] = defaultdict(list)
        for period in (t for t in begins if t >= first):
            for rows in await self._db.gather([(_OF_SKUS, (site, period, shard, part)) for shard, part in parts]):
                for r in rows:
                    found[r.sku].append(_forecast(site, period, r))
        return dict(found)

    async def made_at(self, site: str) -> int | None:
        """One row."""
        rows = await self._db.rows(_MADE, (site,))
        return ms(rows[0].made_at) if rows else None


def _forecast(site: str, period: int, r: Any) -> Forecast:
    return Forecast(site, r.sku, period, r.mean, tuple(getattr(r, n) for n in NAMES), r.model, ms(r.made_at) or 0)
