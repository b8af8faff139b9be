"""Restock recommendations in dictionaries, for tests that want speed; they pass the same contract suite as Cassandra's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from inventorybot.domain.restock import ItemHistory, Recommendation, State, place

NEWEST = 64
"""As many as Cassandra reads of one SKU."""


class MemoryRestock:
    """`ports.RestockStore`. Args: now: the wall clock, ms: what has lapsed."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.made: dict[tuple[str, str], dict[int, Recommendation]] = {}
        self.versions: dict[tuple[str, str], int] = {}

    async def put(self, made: Sequence[Recommendation]) -> int:
        """The first of a day stays."""
        new = 0
        for r in made:
            days = self.made.setdefault((r.site, r.sku), {})
            if r.day not in days or days[r.day].made_at > r.made_at:
                new += r.day not in days
                days[r.day] = replace(r, steps=days[r.day].steps if r.day in days else ())
        return new

    async def find(self, recommendation_id: str) -> Recommendation | None:
        """By id."""
        found = (r for days in self.made.values() for r in days.values() if r.id == recommendation_id)
        return next((self._standing(r) for r in found), None)

    async def history(self, site: str, sku: str) -> ItemHistory:
        """Newest first."""
        days = self.made.get((site, sku), {})
        newest = [self._standing(days[day]) for day in sorted(days, reverse=True)]
        return ItemHistory(self.versions.get((site, sku), 0), tuple(newest[:NEWEST]))

    async def step(self, after: Recommendation, version: int) -> bool:
        """Compare and set."""
        key = (after.site, after.sku)
        if self.versions.get(key, 0) != version:
            return False
        self.versions[key] = version + 1
        self.made[key][after.day] = replace(self.made[key][after.day], steps=after.steps)
        return True

    async def mark_sent(self, of: Recommendation, at: int) -> None:
        """The first time stays."""
        known = self.made[of.site, of.sku][of.day]
        self.made[of.site, of.sku][of.day] = replace(known, sent_at=at if known.sent_at is None else known.sent_at)

    async def under_way(self, site: str) -> list[Recommendation]:
        """By SKU and day."""
        found = [r for (where, _), days in self.made.items() if where == site for r in days.values()]
        approved = [r for r in found if r.state(self._now()) is State.APPROVED]
        return sorted((self._standing(r) for r in approved), key=lambda r: (r.sku, r.day))

    async def list(
        self, *, site: str | None = None, state: State | None = None, limit: int = 100, before: str | None = None
    ) -> AsyncIterator[Recommendation]:
        """Newest day first."""
        start = _order(*place(before)) if before is not None else None
        every = (r for days in self.made.values() for r in days.values())
        for r in map(self._standing, sorted(every, key=lambda r: _order(r.day, r.site, r.sku))):
            fits = site in (None, r.site) and state in (None, r.state(self._now()))
            if limit > 0 and fits and (start is None or _order(r.day, r.site, r.sku) > start):
                limit -= 1
                yield r

    def _standing(self, r: Recommendation) -> Recommendation:
        newest = max(self.made[r.site, r.sku])
        return replace(r, newer=newest if newest > r.day else None)


def _order(day: int, site: str, sku: str) -> tuple[int, str, str]:
    return -day, site, sku
