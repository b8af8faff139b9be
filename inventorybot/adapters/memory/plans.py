"""Plans in dictionaries, for tests that want speed; they pass the same contract suite as Cassandra's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from inventorybot.domain.alerts import place
from inventorybot.domain.network_plan import RANK, Flow, PlanState, PlanSummary, SitePrice

Result = tuple[int, list[SitePrice], list[Flow], dict[str, bytes]]


class MemoryPlans:
    """`ports.PlanStore`."""

    def __init__(self) -> None:
        self.plans: dict[str, PlanSummary] = {}
        self.results: dict[str, Result] = {}

    async def put(self, plan: PlanSummary) -> None:
        """It never goes back."""
        known = self.plans.get(plan.id)
        if known is None or RANK[known.state] <= RANK[plan.state]:
            self.plans[plan.id] = plan

    async def put_result(
        self, plan_id: str, at: int, prices: Sequence[SitePrice], flows: Sequence[Flow], pictures: Mapping[str, bytes]
    ) -> None:
        """The later one stays."""
        if plan_id not in self.results or self.results[plan_id][0] <= at:
            self.results[plan_id] = (at, list(prices), list(flows), dict(pictures))

    async def get(self, plan_id: str) -> PlanSummary | None:
        """By id."""
        return self.plans.get(plan_id)

    async def prices(self, plan_id: str) -> list[SitePrice]:
        """By site and period."""
        return sorted(self._result(plan_id)[1], key=lambda p: (p.site, p.period))

    async def flows(self, plan_id: str, period: int) -> list[Flow]:
        """By the sites."""
        found = (f for f in self._result(plan_id)[2] if f.period == period)
        return sorted(found, key=lambda f: (f.from_site, f.to_site))

    async def picture(self, plan_id: str, name: str) -> bytes | None:
        """By name."""
        return self._result(plan_id)[3].get(name)

    async def list(
        self, *, state: PlanState | None = None, limit: int = 100, before: str | None = None
    ) -> AsyncIterator[PlanSummary]:
        """Newest first."""
        start = place(before) if before is not None else None
        for plan in sorted(self.plans.values(), key=_place, reverse=True):
            if limit > 0 and state in (None, plan.state) and (start is None or _place(plan) < start):
                limit -= 1
                yield plan

    def _result(self, plan_id: str) -> Result:
        return self.results.get(plan_id, (0, [], [], {}))


def _place(plan: PlanSummary) -> tuple[int, str]:
    return plan.request.asked_at, plan.id
