"""The anomaly store without a database, for tests that want speed; it passes the same contract suite as Cassandra's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace

from inventorybot.domain.alerts import Anomaly, Step, place


class MemoryAnomalies:
    """`ports.AnomalyStore` in dictionaries."""

    def __init__(self) -> None:
        self.states: dict[str, Anomaly] = {}
        self.lives: dict[str, dict[int, Step]] = {}

    async def get(self, anomaly_ids: Iterable[str]) -> dict[str, Anomaly]:
        """Those that exist."""
        return {name: self.states[name] for name in anomaly_ids if name in self.states}

    async def write(self, changed: Mapping[str, tuple[Anomaly, int]], steps: Sequence[tuple[int, Step]]) -> None:
        """The higher revision wins, whoever writes last."""
        for revision, step in steps:
            self.lives.setdefault(step.anomaly_id, {})[revision] = step
        for name, (anomaly, revision) in changed.items():
            if name not in self.states or self.states[name].revision <= revision:
                self.states[name] = replace(anomaly, revision=revision)

    async def steps(self, anomaly_id: str) -> list[Step]:
        """A step that was published twice is told once."""
        told: dict[str, Step] = {}
        for _, step in sorted(self.lives.get(anomaly_id, {}).items()):
            told.setdefault(step.event_id, step)
        return list(told.values())

    async def list(
        self, *, site: str | None = None, status: str | None = None, kind: str | None = None,
        assignee: str | None = None, limit: int = 100, before: str | None = None,
    ) -> AsyncIterator[Anomaly]:  # fmt: skip
        """Newest first."""
        start = place(before) if before is not None else None
        for anomaly in sorted(self.states.values(), key=lambda a: (a.raised_at, a.id), reverse=True):
            if start is not None and (anomaly.raised_at, anomaly.id) >= start:
                continue
            if limit > 0 and anomaly.matches(site=site, status=status, kind=kind, assignee=assignee):
                limit -= 1
                yield anomaly
