"""What was last said of stock against forecast, in a dictionary: it passes the same contract suite as Cassandra's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inventorybot.domain.stock_watch import Watch


class MemoryStockWatch:
    """`ports.StockWatchStore`."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str, str], Watch] = {}

    async def load(self, site: str, skus: Sequence[str]) -> dict[tuple[str, str], Watch]:
        """By SKU and kind."""
        wanted = set(skus)
        return {(sku, kind): w for (where, sku, kind), w in self.states.items() if where == site and sku in wanted}

    async def write(self, site: str, watches: Mapping[tuple[str, str], Watch]) -> None:
        """The higher version stays."""
        for (sku, kind), watch in watches.items():
            known = self.states.get((site, sku, kind))
            if known is None or known.version <= watch.version:
                self.states[site, sku, kind] = watch
