"""The parameters of requests, with the limits of the wire: what no event may hold, no path needs to find.

In: path and query parameters. Out: checked values; a parameter that does not exist is refused, not ignored (`limt=5`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from inventorybot.domain.alerts import Status
from inventorybot.domain.network_plan import PlanState
from inventorybot.errors import Code
from inventorybot.wire import schemas
from inventorybot.wire.codec import to_ms


def _limits(shape: Any) -> Any:
    """A wire type's limits, in pydantic's names. Its regex engine needs no `(?!\\n)`: there `$` is the end, no less."""
    meta = get_args(shape)[1]
    pattern = (meta.pattern or "").replace(r"(?!\n)", "") or None
    found = {"min_length": meta.min_length, "max_length": meta.max_length, "pattern": pattern}
    return {name: value for name, value in found.items() if value is not None}


SiteName = Annotated[str, Field(**_limits(schemas.Site))]
SkuName = Annotated[str, Field(**_limits(schemas.Sku))]
Site = Annotated[str, Path(description="site", examples=["BER1"], **_limits(schemas.Site))]
Bin = Annotated[str, Path(description="bin", examples=["P-3-A12"], **_limits(schemas.BinId))]
Sku = Annotated[
    str, Path(description="stock-keeping unit; may hold slashes", examples=["B00EXAMPLE"], **_limits(schemas.Sku))
]
LetterId = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9._-]{1,249}:\d{1,9}:\d{1,18}$", examples=["inventory.updates:0:17"])
]
PlanId = Annotated[
    str, Path(description='plan; "newest": the newest that is ready', examples=["newest"], **_limits(schemas.PlanId))
]
PlanName = Annotated[str, Field(**_limits(schemas.PlanId))]
AnomalyId = Annotated[str, Path(min_length=1, max_length=256, pattern=r"^[^/\x00-\x1f\x7f]+$")]
Person = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$", examples=["kim"])
]
NoteText = Annotated[
    str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$", description="why, in words")
]
Time = Annotated[
    AwareDatetime,
    Field(
        ge=datetime(1970, 1, 2, tzinfo=UTC),  # a day within the range, so that no zone's offset leads out of it
        le=datetime(9999, 12, 30, tzinfo=UTC),
        description="RFC 3339, with a zone",
        examples=["2026-11-21T06:36:00Z"],
    ),
]


def ms(when: datetime) -> int:
    """Milliseconds since the epoch."""
    return to_ms(when)


class Strict(BaseModel):
    """What a request may say, and nothing else."""

    model_config = ConfigDict(extra="forbid")


class Page(Strict):
    """A page of names."""

    limit: int = Field(default=100, ge=1, le=1000, description="the most items to return")
    after: str = Field(
        default="", max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$", description="`next` of the page before"
    )


class BinPage(Strict):
    """A page of levels: whole bins, so that no bin is torn."""

    limit: int = Field(default=50, ge=1, le=200, description="the most bins to return; each with all its slots")
    after: str = Field(
        default="", max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$", description="`next` of the page before"
    )


class AsOf(Strict):
    """A moment in the past."""

    as_of: Time | None = Field(
        default=None, description="the record as of this moment, given all that has arrived by now"
    )


class Span(Strict):
    """A stretch of a bin's history."""

    sku: SkuName | None = Field(default=None, description="one slot only")
    since: Time | None = Field(default=None, description="after this moment; default: 30 days before `until`")
    until: Time | None = Field(default=None, description="up to this moment; default: now")
    limit: int = Field(default=100, ge=1, le=1000)


class Limit(Strict):
    """How many."""

    limit: int = Field(default=50, ge=1, le=500)


class LetterFilter(Strict):
    """Which dead letters."""

    code: Code | None = Field(default=None, description="refused for this reason")
    topic: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,249}$", description="from this topic")
    limit: int = Field(default=100, ge=1, le=1000)


class AnomalyFilter(Strict):
    """Which anomalies."""

    site: SiteName | None = None
    status: Status | None = None
    kind: schemas.AnomalyKind | None = None
    assignee: Person | None = None
    limit: int = Field(default=100, ge=1, le=500)
    before: str | None = Field(
        default=None, pattern=r"^\d{1,15}\.[^\x00-\x1f\x7f]{1,256}$", description="`next` of the page before"
    )


class PlanFilter(Strict):
    """Which plans."""

    state: PlanState | None = None
    limit: int = Field(default=100, ge=1, le=500)
    before: str | None = Field(
        default=None, pattern=r"^\d{1,15}\.[A-Za-z0-9._-]{1,64}$", description="`next` of the page before"
    )


class PriceFilter(Strict):
    """Which prices of a plan."""

    site: SiteName | None = None
    period: int | None = Field(default=None, ge=0, le=9999, description="period of the plan, from 0")
    at: Time | None = Field(default=None, description="the period that holds this moment")


class FlowFilter(Strict):
    """Which flows of a plan."""

    site: SiteName | None = Field(default=None, description="from or to this site")
    period: int = Field(default=0, ge=0, le=9999, description="period of the plan, from 0")


class Changed(Strict):
    """What is otherwise at one site, from `first_period` to `last_period` (left out: to the end)."""

    site: SiteName = Field(examples=["BER1"])
    storage_m3: float = Field(default=0, ge=-1e9, le=1e9, description="room added, m³; below 0: taken away")
    inbound_units: float = Field(default=0, ge=-1e9, le=1e9, description="units more that can be taken in a period")
    lost: bool = Field(default=False, description="the site holds and takes in nothing")
    first_period: int = Field(default=0, ge=0, le=9999)
    last_period: int | None = Field(default=None, ge=0, le=9999)


class AskPlan(Strict):
    """What is planned, and what is otherwise in it."""

    id: PlanName | None = Field(default=None, description="your own, to ask again with no harm; left out: one is made")
    by: Person
    why: NoteText | None = None
    base: PlanName | None = Field(
        default=None,
        description="plan whose network, demand and stock are used; left out with changes: the newest that is ready; "
        "left out without, or null: those of the moment",
    )
    changes: list[Changed] = Field(default=[], max_length=100)


class StreamFilter(Strict):
    """Which steps, and from where."""

    site: SiteName | None = None
    kind: schemas.AnomalyKind | None = None
    start: Literal["end", "beginning"] = Field(
        default="end", alias="from", description="without Last-Event-ID: only what comes, or everything still kept"
    )


class Acknowledge(Strict):
    """A person has seen it."""

    actor: Person
    note: NoteText | None = None


class Assign(Strict):
    """A person shall deal with it."""

    actor: Person
    assignee: Person
    note: NoteText | None = None


class Close(Strict):
    """A person has dealt with it."""

    actor: Person
    reason: schemas.CloseReason
    note: NoteText | None = None


class Replay(Strict):
    """What to send instead of the original, if anything."""

    data: Any = Field(default=None, description="the corrected `data`; left out: as it was")
    attributes: dict[str, str] | None = Field(
        default=None, description="corrected CloudEvents attributes", examples=[{"time": "2026-11-21T06:36:00Z"}]
    )
    key: str | None = Field(default=None, max_length=256, description="the right key; left out: site/bin of the data")
