"""The JSON of restock recommendations. Times are RFC 3339 UTC; quantities whole units."""

from __future__ import annotations

from pydantic import BaseModel, Field

from inventorybot.domain import restock
from inventorybot.domain.restock import sentence
from inventorybot.wire.codec import rfc3339
from services.api.views import When, when


class LeadTime(BaseModel):
    """A lead time and how probable it is."""

    days: int
    probability: float


class ArithmeticView(BaseModel):
    """How a quantity was come by."""

    forecast: str = Field(description="who said what will be asked for")
    forecast_at: When
    lead_times: list[LeadTime]
    review_days: int = Field(description="until the next chance to order")
    protection_days: int = Field(description="longest lead time and review together")
    beyond_days: int = Field(description="of these and the shelf life, how many no forecast reaches")
    criterion: restock.Criterion = Field(description="what the reorder point is set by")
    target: float = Field(description="service level, or the critical ratio of the costs")
    dependence: float = Field(description="between the demands of the periods, 0 to 1")
    demand_mean: float = Field(description="demand of lead time and review, units")
    demand_at_target: int = Field(description="... and its quantile at the target")
    on_hand: int = Field(description="as recorded; below 0 counts as none")
    on_order: int
    position: int = Field(description="on hand and on order")
    reorder_point: int = Field(description="below it an order is due")
    order_up_to: int
    raw: int = Field(description="order_up_to - position, where an order is due")
    quantity: int = Field(description="after packs, minimum order and shelf life")
    pack: int
    min_order: int
    stock_out_without: float = Field(description="probability that lead time and review ask for more than the position")
    stock_out_with: float = Field(description="... than position and quantity")
    stock_out_before: float = Field(description="... that the lead time alone asks for more than the position")
    shelf_life_days: int | None
    sells_in_shelf_life: int | None = Field(description="a unit above this level is likelier to spoil than it is worth")
    notes: list[str]


class StepView(BaseModel):
    """What a person did; `quantity` as it is after it."""

    action: str
    by: str
    at: When
    quantity: int
    note: str | None


class RecommendationView(BaseModel):
    """What to order of a SKU for a site."""

    id: str
    site: str
    sku: str
    day: str = Field(
        description="the day it is for, UTC", json_schema_extra={"format": "date"}, examples=["2026-11-21"]
    )
    state: restock.State
    quantity: int = Field(description="units to order, as people have left it")
    made_at: When
    expires_at: When = Field(description="undecided, it lapses then")
    newer: str | None = Field(description="day of the one that has taken its place")
    sent_at: When | None = Field(description="when the ERP's event was acknowledged")
    why: str = Field(description="the arithmetic in words")
    arithmetic: ArithmeticView
    steps: list[StepView] = Field(description="what people did, oldest first")


class Recommendations(BaseModel):
    """A page, newest day first. `next` is the `before` of the next page; null: this is the last."""

    items: list[RecommendationView]
    next: str | None


def recommendation(x: restock.Recommendation, now: int) -> RecommendationView:
    """A recommendation as JSON. Args: now: ms: whether it has lapsed."""
    a = x.arithmetic
    same = {n: getattr(a, n) for n in ArithmeticView.model_fields if n not in ("forecast_at", "lead_times", "notes")}
    leads = [LeadTime(days=days, probability=p) for days, p in a.lead_days]
    steps = [StepView(action=s.action, by=s.by, at=rfc3339(s.at), quantity=s.quantity, note=s.note) for s in x.steps]
    return RecommendationView(
        id=x.id, site=x.site, sku=x.sku, day=_date(x.day), state=x.state(now), quantity=x.quantity,
        made_at=rfc3339(x.made_at), expires_at=rfc3339(x.expires_at), newer=_date(x.newer) if x.newer else None,
        sent_at=when(x.sent_at), why=sentence(a), steps=steps,
        arithmetic=ArithmeticView(
            forecast_at=rfc3339(a.forecast_at), lead_times=leads, notes=list(a.notes), **same
        ),
    )  # fmt: skip


def _date(day: int) -> str:
    text = str(day)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"
