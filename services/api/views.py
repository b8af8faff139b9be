"""The JSON of the API's answers, made from domain objects. Times are RFC 3339 UTC; quantities whole units."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from inventorybot import ports
from inventorybot.domain import alerts
from inventorybot.domain.counting import CountDistribution
from inventorybot.wire.codec import rfc3339

When = Annotated[str, Field(examples=["2026-11-21T06:36:00.000Z"], json_schema_extra={"format": "date-time"})]
P21 = Annotated[list[float], Field(description="p(0), p(1), …, p(20 or more)", min_length=21, max_length=21)]


def when(ms: int | None) -> str | None:
    """A moment, or none."""
    return None if ms is None else rfc3339(ms)


class Outcome(BaseModel):
    """What became of one event. `code`, `path` and `reason` are given where it was refused."""

    index: int = Field(description="place in the request, from 0")
    id: str | None = Field(default=None, description="the event's id, where it could be read")
    status: Literal["accepted", "refused"]
    code: str | None = Field(default=None, examples=["out-of-range"])
    path: str | None = Field(default=None, description="JSON Pointer into the event", examples=["/data/quantity"])
    reason: str | None = None


class Receipt(BaseModel):
    """What became of a request's events. An accepted one is acknowledged by Kafka: it cannot be lost any more."""

    accepted: int
    refused: int
    results: list[Outcome]


class SeenView(BaseModel):
    """A site, bin or SKU, with the event that first named it."""

    name: str
    first_event_id: str
    first_seen_at: When


class Catalogue(BaseModel):
    """A page of names. `next` is the `after` of the next page; null: this is the last."""

    items: list[SeenView]
    next: str | None


class LevelView(BaseModel):
    """Units on record in one slot. Below zero: more left than was known to be there."""

    site: str
    bin: str
    sku: str
    on_hand: int
    counted_at: When | None = Field(description="when the cycle count that anchors the level was taken")
    revision: int = Field(description="grows with every change of the slot")


class BinLevels(BaseModel):
    """What the record says of a bin."""

    site: str
    bin: str
    as_of: When | None
    on_hand: int = Field(description="units of all SKUs: what a camera sees")
    skus: dict[str, int]
    slots: list[LevelView] | None = Field(description="null where as_of was given")


class SkuLevels(BaseModel):
    """What the record says of a SKU at a site."""

    site: str
    sku: str
    on_hand: int
    bins: list[LevelView]


class SiteLevels(BaseModel):
    """A page of a site's levels, whole bins at a time."""

    items: list[LevelView]
    next: str | None


class EntryView(BaseModel):
    """One fact of the ledger. `quantity` is signed; of a cycle count it is the units found."""

    event_id: str
    kind: str
    occurred_at: When
    arrived_at: When
    sku: str
    quantity: int
    is_count: bool
    source: str
    to_bin: str | None
    reason: str | None


class History(BaseModel):
    """A stretch of a bin's history, newest first. `next` is the `until` of the next page; null: there is no more."""

    items: list[EntryView]
    next: When | None


class CountView(BaseModel):
    """What one picture showed, and what the record said when it was taken."""

    image_id: str
    captured_at: When
    p: P21
    count: int
    confidence: float
    model: str
    recorded: int | None
    probability_wrong: float | None


class Counts(BaseModel):
    """Counts of a bin, newest first."""

    items: list[CountView]


class LetterView(BaseModel):
    """Something that could not be processed, and why."""

    id: str
    topic: str
    partition: int
    offset: int
    at: When
    code: str
    path: str
    reason: str
    replayed_at: When | None


class Letters(BaseModel):
    """Dead letters, newest first."""

    items: list[LetterView]


class WholeLetter(LetterView):
    """A dead letter with the original bytes; `whole` is false once retention has removed them."""

    whole: bool
    key: str | None
    headers: dict[str, str]
    value_text: str | None = Field(description="the value, where it is UTF-8")
    value_base64: str | None


class Replayed(BaseModel):
    """Where a dead letter was sent again."""

    id: str
    topic: str
    key: str
    replayed_at: When


class StepView(BaseModel):
    """One step in an anomaly's life."""

    event_id: str
    action: str
    at: When
    probability: float | None
    recorded: int | None
    estimate: int | None
    days_of_cover: float | None
    expected_at: When | None
    why: str | None
    actor: str | None
    assignee: str | None
    reason: str | None
    note: str | None


class AnomalyView(BaseModel):
    """A disagreement between the record and the world, as it stands."""

    id: str
    kind: str
    site: str
    bin: str | None = Field(description="null: the anomaly is of the SKU at the whole site")
    sku: str | None
    status: alerts.Status
    raised_at: When
    updated_at: When
    probability: float | None = Field(
        description="that the record is wrong; projected-stock-out: that stock runs out before the horizon"
    )
    recorded: int | None = Field(
        description="units on record: of the bin or, where bin is null, of the SKU at the site"
    )
    estimate: int | None = Field(description="most probable units there, all evidence taken together")
    days_of_cover: float | None = Field(description="until what is recorded is expected to be gone, by the forecast")
    expected_at: When | None = Field(description="when the stock is expected to be gone")
    looks: int | None
    why: str | None
    model: str | None
    image_id: str | None
    has_image: bool
    assignee: str | None
    acknowledged_by: str | None
    closed_by: str | None
    close_reason: str | None
    note: str | None


class WholeAnomaly(AnomalyView):
    """An anomaly with its life so far."""

    steps: list[StepView]


class Anomalies(BaseModel):
    """A page, newest first. `next` is the `before` of the next page; null: this is the last."""

    items: list[AnomalyView]
    next: str | None


class Distribution(BaseModel):
    """What the newest picture behind an anomaly showed, beside the record."""

    anomaly_id: str
    image_id: str | None
    p: P21
    count: int
    confidence: float
    recorded: int | None
    estimate: int | None
    model: str | None


def level(x: ports.Level) -> LevelView:
    """A level as JSON."""
    return LevelView(
        site=x.site, bin=x.bin, sku=x.sku, on_hand=x.on_hand, counted_at=when(x.counted_at), revision=x.revision
    )


def entry(x: ports.LedgerEntry) -> EntryView:
    """A ledger entry as JSON."""
    row = x.row
    return EntryView(
        event_id=row.event_id, kind=x.kind, occurred_at=rfc3339(row.occurred_at), arrived_at=rfc3339(x.arrived_at),
        sku=row.sku, quantity=row.quantity, is_count=row.is_count, source=x.source, to_bin=x.to_bin, reason=x.reason,
    )  # fmt: skip


def count(x: ports.CountRow) -> CountView:
    """A count as JSON."""
    d = x.distribution
    return CountView(
        image_id=x.image_id, captured_at=rfc3339(x.captured_at), p=list(d.p), count=d.count, confidence=d.confidence,
        model=x.model, recorded=x.recorded, probability_wrong=x.probability_wrong,
    )  # fmt: skip


def _letter(x: ports.DeadLetter) -> dict[str, Any]:
    return {
        "id": x.id, "topic": x.topic, "partition": x.partition, "offset": x.offset, "at": rfc3339(x.at),
        "code": x.code, "path": x.path, "reason": x.reason, "replayed_at": when(x.replayed_at),
    }  # fmt: skip


def letter(x: ports.DeadLetter) -> LetterView:
    """A dead letter as JSON, without its bytes."""
    return LetterView(**_letter(x))


def whole_letter(x: ports.DeadLetter) -> WholeLetter:
    """A dead letter as JSON, with its bytes."""
    o = x.original
    return WholeLetter(
        **_letter(x), whole=x.whole, key=text(o.key), headers={name: text(v) or "" for name, v in o.headers},
        value_text=strict_text(o.value), value_base64=None if o.value is None else base64.b64encode(o.value).decode(),
    )  # fmt: skip


def text(value: bytes | None) -> str | None:
    """Bytes for a person; what is not UTF-8 shows as escapes."""
    return None if value is None else value.decode("utf-8", "backslashreplace")


def strict_text(value: bytes | None) -> str | None:
    """Bytes as they were, or None where they are not UTF-8."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _anomaly(x: alerts.Anomaly) -> dict[str, Any]:
    k = x.knowledge
    return {
        "id": x.id, "kind": x.kind, "site": x.site, "bin": x.bin, "sku": x.sku, "status": x.status,
        "raised_at": rfc3339(x.raised_at), "updated_at": rfc3339(x.updated_at), "probability": k.probability,
        "recorded": k.recorded, "estimate": k.estimate, "days_of_cover": k.days_of_cover,
        "expected_at": when(k.expected_at), "looks": k.looks, "why": k.why, "model": k.model,
        "image_id": k.image_id, "has_image": bool(k.image_at or k.image_url), "assignee": x.assignee,
        "acknowledged_by": x.acknowledged_by, "closed_by": x.closed_by, "close_reason": x.close_reason, "note": x.note,
    }  # fmt: skip


def anomaly(x: alerts.Anomaly) -> AnomalyView:
    """An anomaly as JSON."""
    return AnomalyView(**_anomaly(x))


def whole_anomaly(x: alerts.Anomaly, steps: list[alerts.Step]) -> WholeAnomaly:
    """An anomaly as JSON, with its life."""
    return WholeAnomaly(**_anomaly(x), steps=[step(s) for s in steps])


def step(x: alerts.Step) -> StepView:
    """A step as JSON."""
    k = x.knowledge
    return StepView(
        event_id=x.event_id, action=x.action, at=rfc3339(x.at), probability=k.probability, recorded=k.recorded,
        estimate=k.estimate, days_of_cover=k.days_of_cover, expected_at=when(k.expected_at), why=k.why, actor=x.actor,
        assignee=x.assignee, reason=x.reason, note=x.note,
    )  # fmt: skip


def distribution(x: alerts.Anomaly, p: CountDistribution) -> Distribution:
    """What the newest picture showed, as JSON."""
    k = x.knowledge
    return Distribution(
        anomaly_id=x.id, image_id=k.image_id, p=list(p.p), count=p.count, confidence=p.confidence, recorded=k.recorded,
        estimate=k.estimate, model=k.model,
    )  # fmt: skip
