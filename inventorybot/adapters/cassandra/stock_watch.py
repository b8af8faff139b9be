"""What was last said of stock against forecast, in Cassandra: stock_watch (a row a SKU of a site and kind of anomaly).

In: `Watch`es with their versions. Out: the same. The write time is the version: an older one never overwrites a newer one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from inventorybot.adapters.cassandra.ledger import ASKED_AT_ONCE, bucket_of
from inventorybot.adapters.cassandra.session import Database
from inventorybot.domain.stock_watch import Watch

_LOAD = "SELECT sku, kind, state FROM stock_watch WHERE site = ? AND bucket = ? AND sku IN ?"
_PUT = "INSERT INTO stock_watch (site, bucket, sku, kind, state) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
_WATCH = msgspec.json.Decoder(Watch)


class CassandraStockWatch:
    """`ports.StockWatchStore` on one session."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def load(self, site: str, skus: Sequence[str]) -> dict[tuple[str, str], Watch]:
        """A slice a SKU, many in one query."""
        names: dict[int, list[str]] = defaultdict(list)
        for sku in dict.fromkeys(skus):
            names[bucket_of(sku)].append(sku)
        parts = [(b, n[i : i + ASKED_AT_ONCE]) for b, n in names.items() for i in range(0, len(n), ASKED_AT_ONCE)]
        answers = await self._db.gather([(_LOAD, (site, bucket, part)) for bucket, part in parts])
        return {(r.sku, r.kind): _WATCH.decode(r.state) for rows in answers for r in rows}

    async def write(self, site: str, watches: Mapping[tuple[str, str], Watch]) -> None:
        """All at once."""
        rows = [
            (site, bucket_of(sku), sku, kind, msgspec.json.encode(watch).decode(), watch.version)
            for (sku, kind), watch in watches.items()
        ]
        await self._db.write([(_PUT, row) for row in rows])
