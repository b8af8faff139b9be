"""Forecasts in a dictionary, for tests that want speed; they pass the same contract suite as Cassandra's."""

from __future__ import annotations

from collections.abc import Sequence

from inventorybot.domain.forecast import Forecast


class MemoryForecasts:
    """`ports.ForecastStore`."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], dict[str, Forecast]] = {}

    async def write(self, forecasts: Sequence[Forecast]) -> None:
        """The one made later stays."""
        for x in forecasts:
            rows = self.rows.setdefault((x.site, x.period), {})
            if x.sku not in rows or rows[x.sku].made_at <= x.made_at:
                rows[x.sku] = x

    async def periods(self, site: str, since: int) -> list[int]:
        """Rising."""
        return sorted(period for place, period in self.rows if place == site and period >= since)

    async def of_site(self, site: str, period: int) -> list[Forecast]:
        """By SKU."""
        return [x for _, x in sorted(self.rows.get((site, period), {}).items())]

    async def of_skus(self, site: str, skus: Sequence[str], since: int) -> dict[str, list[Forecast]]:
        """By SKU, rising."""
        begins = await self.periods(site, 0)
        first = max((t for t in begins if t <= since), default=since)
        rows = [self.rows[site, t] for t in begins if t >= first]
        found = {sku: [row[sku] for row in rows if sku in row] for sku in skus}
        return {sku: told for sku, told in found.items() if told}

    async def made_at(self, site: str) -> int | None:
        """Of all periods."""
        return max(
            (x.made_at for (place, _), rows in self.rows.items() if place == site for x in rows.values()), default=None
        )
