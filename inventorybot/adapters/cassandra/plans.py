"""Network plans in Cassandra: how each stands (plan, plan_by_month), its prices, flows and pictures.

In: plans and results. Out: the same, by id or newest first. The write time of a state is when the plan was asked for, in
µs, and its rank: a plan never goes back, whoever writes last. The write time of a result is when it was solved; what an
earlier attempt left is deleted as of just before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from inventorybot.adapters.cassandra.bulk import write_bulk
from inventorybot.adapters.cassandra.session import Database, Request
from inventorybot.domain.alerts import place
from inventorybot.domain.days import DAY_MS, month_of
from inventorybot.domain.network_plan import RANK, Flow, PlanState, PlanSummary, SitePrice

_MONTH_MS = 28 * DAY_MS
"""No month is shorter: steps of this size miss none."""
_MONTHS = 15
"""Steps that reach beyond the year that plans are kept, from a month ahead: upstream's clocks may run fast."""
_GET = "SELECT state FROM plan WHERE id = ?"
_PUT = "INSERT INTO plan (id, state) VALUES (?, ?) USING TIMESTAMP ?"
_PUT_LISTED = "INSERT INTO plan_by_month (month, asked_at, id, state) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
_LISTED = "SELECT state FROM plan_by_month WHERE month = ? AND (asked_at, id) < (?, ?)"
_PRICES = "SELECT site, period, storage, flow FROM plan_price WHERE id = ?"
_PUT_PRICE = "INSERT INTO plan_price (id, site, period, storage, flow) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
_END_PRICES = "DELETE FROM plan_price USING TIMESTAMP ? WHERE id = ?"
_FLOWS = "SELECT from_site, to_site, units, m3 FROM plan_flow WHERE id = ? AND period = ?"
_PUT_FLOW = (
    "INSERT INTO plan_flow (id, period, from_site, to_site, units, m3) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
_END_FLOWS = "DELETE FROM plan_flow USING TIMESTAMP ? WHERE id = ? AND period = ?"
_PICTURE = "SELECT svg FROM plan_picture WHERE id = ? AND name = ?"
_PUT_PICTURE = "INSERT INTO plan_picture (id, name, svg) VALUES (?, ?, ?) USING TIMESTAMP ?"
_PLAN = msgspec.json.Decoder(PlanSummary)
_LATEST = (253_402_300_799_000, "")
"""The end of the year 9999: before it lies every plan."""


class CassandraPlans:
    """`ports.PlanStore` on one session. Args: now: the wall clock, ms: which months may hold plans."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._db, self._now = database, now

    async def put(self, plan: PlanSummary) -> None:
        """The list first: a plan that can be had by its id is listed."""
        asked, state = plan.request.asked_at, msgspec.json.encode(plan).decode()
        written = asked * 1000 + RANK[plan.state]
        await self._db.write([(_PUT_LISTED, (month_of(asked), asked, plan.id, state, written))])
        await self._db.write([(_PUT, (plan.id, state, written))])

    async def put_result(
        self, plan_id: str, at: int, prices: Sequence[SitePrice], flows: Sequence[Flow], pictures: Mapping[str, bytes]
    ) -> None:
        """Deletions are a microsecond older than what takes their place."""
        written = at * 1000
        before = written - 1
        ends: list[Request] = [(_END_FLOWS, (before, plan_id, period)) for period in sorted({p.period for p in prices})]
        await self._db.write([(_END_PRICES, (before, plan_id)), *ends])
        worth = (((plan_id,), (plan_id, p.site, p.period, p.storage, p.flow, written)) for p in prices)
        await write_bulk(self._db, _PUT_PRICE, worth)
        moved = sorted(flows, key=lambda f: f.period)
        rows = (
            ((plan_id, f.period), (plan_id, f.period, f.from_site, f.to_site, f.units, f.m3, written)) for f in moved
        )
        await write_bulk(self._db, _PUT_FLOW, rows)
        await self._db.write([(_PUT_PICTURE, (plan_id, name, svg, written)) for name, svg in pictures.items()])

    async def get(self, plan_id: str) -> PlanSummary | None:
        """One row."""
        rows = await self._db.rows(_GET, (plan_id,))
        return _PLAN.decode(rows[0].state) if rows else None

    async def prices(self, plan_id: str) -> list[SitePrice]:
        """One partition."""
        return [SitePrice(r.site, r.period, r.storage, r.flow) for r in await self._db.rows(_PRICES, (plan_id,))]

    async def flows(self, plan_id: str, period: int) -> list[Flow]:
        """One partition."""
        found = await self._db.rows(_FLOWS, (plan_id, period))
        return [Flow(r.from_site, r.to_site, period, r.units, r.m3) for r in found]

    async def picture(self, plan_id: str, name: str) -> bytes | None:
        """One row."""
        rows = await self._db.rows(_PICTURE, (plan_id, name))
        return rows[0].svg if rows else None

    async def list(
        self, *, state: PlanState | None = None, limit: int = 100, before: str | None = None
    ) -> AsyncIterator[PlanSummary]:
        """Month by month, until there are enough."""
        start = place(before) if before is not None else _LATEST
        months = {month_of(min(self._now(), start[0]) - (n - 1) * _MONTH_MS) for n in range(_MONTHS)}
        for month in sorted(months, reverse=True):
            for row in await self._db.rows(_LISTED, (month, *start)) if limit > 0 else ():
                plan = _PLAN.decode(row.state)
                if limit > 0 and state in (None, plan.state):
                    limit -= 1
                    yield plan
