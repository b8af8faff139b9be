"""The JSON of network plans. Times are RFC 3339 UTC; volumes m³, quantities units, money in the network's currency."""

from __future__ import annotations

from pydantic import BaseModel, Field

from inventorybot.domain import network_plan
from inventorybot.domain.network_plan import PlanFigures, PlanSummary
from inventorybot.wire.codec import rfc3339
from services.api.params import Changed
from services.api.views import When


class Figures(BaseModel):
    """What came out of a plan."""

    made_at: When
    start: When = Field(description="begin of the first period")
    period_s: int = Field(description="length of a period, seconds")
    periods: int
    skus: int
    sites: int
    value: float = Field(description="what the plan earns beyond doing nothing")
    bound: float = Field(description="proven: no plan earns more beyond doing nothing")
    gap: float = Field(description="(bound - value) / |value|")
    profit: float = Field(description="expected, all told")
    violation: float = Field(description="the most by which a limit is passed, m³ or units")
    seconds: float = Field(description="time to solve it")


class PlanView(BaseModel):
    """A network plan as it stands: what was asked for, and its figures once it is ready."""

    id: str
    state: network_plan.PlanState
    asked_at: When
    by: str
    why: str | None
    base: str | None
    changes: list[Changed]
    reason: str | None = Field(description="why it failed")
    figures: Figures | None


class Plans(BaseModel):
    """A page, newest first. `next` is the `before` of the next page; null: this is the last."""

    items: list[PlanView]
    next: str | None


class PriceView(BaseModel):
    """What a site's limits are worth in a period: how much more the plan would earn with one unit more of each."""

    site: str
    period: int
    starts_at: When
    storage: float = Field(description="of one m³ of room")
    flow: float = Field(description="of one unit more that can be taken in")


class Prices(BaseModel):
    """Prices of a plan, by site and period."""

    plan: str
    items: list[PriceView]


class FlowView(BaseModel):
    """What goes from one site (or the supplier) to another in the period, all SKUs together."""

    from_site: str
    to_site: str
    units: float
    m3: float


class Flows(BaseModel):
    """Flows of one period of a plan."""

    plan: str
    period: int
    starts_at: When
    items: list[FlowView]


def plan(x: PlanSummary) -> PlanView:
    """A plan as JSON."""
    asked = x.request
    changes = [Changed(**{name: getattr(c, name) for name in Changed.model_fields}) for c in asked.changes]
    return PlanView(
        id=x.id, state=x.state, asked_at=rfc3339(asked.asked_at), by=asked.by, why=asked.why, base=asked.base,
        changes=changes, reason=x.reason, figures=None if x.figures is None else _figures(x.figures),
    )  # fmt: skip


def _figures(x: PlanFigures) -> Figures:
    same = {name: getattr(x, name) for name in Figures.model_fields if name not in ("made_at", "start", "period_s")}
    return Figures(made_at=rfc3339(x.made_at), start=rfc3339(x.start), period_s=x.period_ms // 1000, **same)


def price(x: network_plan.SitePrice, of: PlanFigures) -> PriceView:
    """A price as JSON."""
    return PriceView(
        site=x.site, period=x.period, starts_at=starts_at(of, x.period), storage=x.storage, flow=x.flow
    )  # fmt: skip


def flow(x: network_plan.Flow) -> FlowView:
    """A flow as JSON."""
    return FlowView(from_site=x.from_site, to_site=x.to_site, units=x.units, m3=x.m3)


def starts_at(of: PlanFigures, period: int) -> str:
    """The begin of a period."""
    return rfc3339(of.start + period * of.period_ms)
