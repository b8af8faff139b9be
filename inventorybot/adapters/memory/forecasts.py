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
