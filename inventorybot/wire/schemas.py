"""The `data` of every event type, with the limits that make it valid. The AsyncAPI document is generated from here.

Times inside data are RFC 3339, UTC; quantities are whole units. A field may be added only as optional, and a meaning
never changes under a version: tests/contract holds every released schema against this file.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from inventorybot.domain.counting import MAX_COUNT
from inventorybot.domain.events import Kind

MAX_UNITS = 1_000_000
MAX_INLINE_IMAGE = 900_000
"""Bytes of an inline JPEG; a bin camera's picture has about 58 kB."""
_NO_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_END = r"$(?!\n)"
"""The end of a text, in Python as in JSON Schema: Python's $ alone lets a last line feed pass."""
_NAME = rf"^[^\s/{_NO_CONTROL}]([^/{_NO_CONTROL}]*[^\s/{_NO_CONTROL}])?{_END}"
_SKU = rf"^[^\s{_NO_CONTROL}]([^{_NO_CONTROL}]*[^\s{_NO_CONTROL}])?{_END}"
_TEXT = rf"^[^{_NO_CONTROL}]*{_END}"
_URL = rf"^(file|s3)://[^{_NO_CONTROL}]+{_END}"

Site = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NAME, description="site, no slash", examples=["BER1"])]
BinId = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=_NAME, description="bin, no slash", examples=["P-3-A12"])
]
Sku = Annotated[
    str, Meta(min_length=1, max_length=128, pattern=_SKU, description="stock-keeping unit", examples=["B00EXAMPLE"])
]
Units = Annotated[int, Meta(ge=1, le=MAX_UNITS, description="whole units, each item", examples=[3])]
Change = Annotated[
    int,
    Meta(ge=-MAX_UNITS, le=MAX_UNITS, description="signed whole units, not 0", examples=[-1],
         extra_json_schema={"not": {"const": 0}}),
]  # fmt: skip
Found = Annotated[int, Meta(ge=0, le=MAX_UNITS, description="whole units found, absolute", examples=[4])]
Note = Annotated[str, Meta(max_length=500, pattern=_TEXT, description="why, in words")]
Probability = Annotated[float, Meta(ge=0, le=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Distribution = Annotated[list[Probability], Meta(min_length=MAX_COUNT + 1, max_length=MAX_COUNT + 1)]
Identifier = Annotated[str, Meta(min_length=1, max_length=256, pattern=_TEXT)]


class Incoming(Struct, frozen=True, forbid_unknown_fields=True):
    """What all events from outside share: the bin they are about."""

    site: Site
    bin: BinId


class MovementData(Incoming, frozen=True, kw_only=True):
    """Units that entered or left one slot: receipt, sale, return, shipment, write-off."""

    sku: Sku
    quantity: Units
    reason: Note | None = None


class TransferData(Incoming, frozen=True, kw_only=True):
    """Units that went from `bin` to `to_bin` of the same site: put-away, move."""

    sku: Sku
    quantity: Units
    to_bin: BinId
    reason: Note | None = None


class PickData(Incoming, frozen=True, kw_only=True):
    """Units taken for an order; `to_bin` where they are put down in a bin that is itself on record."""

    sku: Sku
    quantity: Units
    to_bin: BinId | None = None
    reason: Note | None = None


class AdjustmentData(Incoming, frozen=True, kw_only=True):
    """A correction by a signed number of units."""

    sku: Sku
    quantity: Change
    reason: Note | None = None


class CycleCountData(Incoming, frozen=True, kw_only=True):
    """The units found by counting: absolute, true at the event's time."""

    sku: Sku
    quantity: Found
    reason: Note | None = None


class BinImageData(Incoming, frozen=True, kw_only=True):
    """One picture of a bin; exactly one of `image` and `image_url`."""

    image: Annotated[bytes, Meta(max_length=MAX_INLINE_IMAGE, description="JPEG, base64")] | None = None
    image_url: Annotated[str, Meta(max_length=2048, pattern=_URL, description="file:// or s3://")] | None = None
    camera: Annotated[str, Meta(max_length=64, pattern=_TEXT)] | None = None


class ModelRef(Struct, frozen=True):
    """Which release of a model said so."""

    name: str
    version: str


class BinCountData(Struct, frozen=True, kw_only=True):
    """How many items one picture shows. The event's time is the capture's.

    `p[k]` is the probability of k items (the last: 20 or more), calibrated where the counts are spread as `prior`:
    p/prior is the picture's likelihood.
    """

    site: Site
    bin: BinId
    image_id: Identifier
    p: Distribution
    prior: Distribution
    count: int
    confidence: Probability
    model: ModelRef
    image_url: str | None = None
    image_at: Annotated[str, Meta(description="partition:offset of the picture in inventory.bin-images")]
    image_arrived: Annotated[datetime | None, Meta(description="when the picture arrived in Kafka")] = None


class LevelData(Struct, frozen=True, kw_only=True):
    """The level of a slot. Of two events of one slot, the one with the higher `revision` is the newer."""

    site: Site
    bin: BinId
    sku: Sku
    on_hand: int
    revision: int
    counted_at: datetime | None = None


AnomalyKind = Literal[
    "bin-variance", "negative-on-hand", "projected-stock-out", "excess-stock", "suspect-record", "implausible-forecast"
]
Action = Literal["raised", "updated", "resolved", "acknowledged", "assigned", "closed"]
CloseReason = Literal["record-corrected", "record-right", "duplicate", "other"]


class AnomalyData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step in the life of an anomaly. Agents raise, update and resolve; people acknowledge, assign and close.

    Raised and updated carry what is known now: the probability that the record is wrong (projected-stock-out: that stock
    runs out before the horizon), the record, the evidence. bin-variance and negative-on-hand are about a bin; the other
    kinds are about a SKU at the whole site: they have no bin, and `recorded` is the sum of its slots.
    """

    anomaly_id: Identifier
    kind: AnomalyKind
    action: Action
    site: Site
    bin: BinId | None = None
    sku: Sku | None = None
    probability: Probability | None = None
    recorded: int | None = None
    estimate: Annotated[int | None, Meta(description="most probable units there, all evidence taken together")] = None
    days_of_cover: Annotated[
        NotNegative | None, Meta(description="days until what is recorded is expected to be gone, by the forecast")
    ] = None
    expected_at: Annotated[datetime | None, Meta(description="when the stock is expected to be gone")] = None
    looks: int | None = None
    p: Distribution | None = None
    image_id: str | None = None
    image_at: str | None = None
    image_url: str | None = None
    model: ModelRef | None = None
    why: Annotated[str, Meta(max_length=1000)] | None = None
    actor: Annotated[str, Meta(max_length=128, pattern=_TEXT)] | None = None
    assignee: Annotated[str, Meta(max_length=128, pattern=_TEXT)] | None = None
    reason: CloseReason | None = None
    note: Note | None = None


class ModelReleasedData(Struct, frozen=True, kw_only=True):
    """A release became the one in service."""

    name: str
    version: str
    sha256: Annotated[
        str, Meta(description="of card.json, which names the hash of every other file; empty without `url`")
    ]
    previous: Annotated[
        str | UnsetType, Meta(description="in service before; left out: what ships with the product")
    ] = UNSET
    url: Annotated[str | UnsetType, Meta(description="where its files lie; left out: it ships with the product")] = (
        UNSET
    )


PlanId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=rf"^[A-Za-z0-9][A-Za-z0-9._-]*{_END}",
        description="plan",
        examples=["nightly-20261121"],
    ),
]
Period = Annotated[int, Meta(ge=0, le=9999, description="period of the plan, from 0")]
Person = Annotated[str, Meta(min_length=1, max_length=128, pattern=_TEXT, examples=["kim"])]
More = Annotated[float, Meta(ge=-1e9, le=1e9, description="added a period; below 0: taken away")]


class PlanChangeData(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What is otherwise at one site, from `first_period` to `last_period` (left out: to the end)."""

    site: Site
    storage_m3: More = 0.0
    inbound_units: More = 0.0
    lost: Annotated[bool, Meta(description="the site holds and takes in nothing")] = False
    first_period: Period = 0
    last_period: Period | None = None


class PlanRequestData(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A plan is asked for, called by the event's id: of the network as it stands, or of what a base plan saw; changed or not."""

    by: Person
    why: Note | None = None
    base: PlanId | None = None
    changes: Annotated[list[PlanChangeData], Meta(max_length=100)] = msgspec.field(default_factory=list)


class PlanData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a plan came out. Ready: its figures (value, bound, gap …). Failed: the reason."""

    plan_id: PlanId
    state: Literal["ready", "failed"]
    by: str
    why: str | None = None
    base: str | None = None
    reason: str | None = None
    made_at: datetime | None = None
    start: Annotated[datetime | None, Meta(description="begin of the first period")] = None
    period_s: Annotated[int | None, Meta(description="length of a period, seconds")] = None
    periods: int | None = None
    skus: int | None = None
    sites: int | None = None
    value: Annotated[float | None, Meta(description="what the plan earns beyond doing nothing")] = None
    bound: Annotated[float | None, Meta(description="proven: no plan earns more beyond doing nothing")] = None
    gap: Annotated[float | None, Meta(description="(bound - value) / |value|")] = None
    profit: Annotated[float | None, Meta(description="expected, all told")] = None
    violation: Annotated[float | None, Meta(description="the most by which a limit is passed, m³ or units")] = None
    seconds: float | None = None


class RestockOrderData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A restock recommendation was approved: units that the ERP shall order. One event id is one order, however often it arrives."""

    recommendation_id: Identifier
    site: Site
    sku: Sku
    quantity: Annotated[int, Meta(ge=1, le=MAX_UNITS, description="whole units to order")]
    recommended: Annotated[int, Meta(ge=1, description="units that were recommended, before a person changed them")]
    pack: Annotated[int, Meta(ge=1, description="units a pack; quantity is whole packs")]
    by: Person
    note: Note | None = None
    why: Annotated[str, Meta(max_length=4000, description="the arithmetic, in words")]


MOVEMENT = "inventorybot.movement."
BIN_IMAGE = "inventorybot.bin-image.captured.v1"
BIN_COUNT = "inventorybot.bin-count.estimated.v1"
LEVEL = "inventorybot.level.changed.v1"
ANOMALY = "inventorybot.anomaly."
MODEL_RELEASED = "inventorybot.model.released.v1"
PLAN_REQUESTED = "inventorybot.plan.requested.v1"
PLAN_MADE = "inventorybot.plan.made.v1"
RESTOCK_ORDERED = "inventorybot.restock.ordered.v1"


def movement_type(kind: Kind) -> str:
    """The event type of a kind of movement."""
    return f"{MOVEMENT}{kind}.v1"


def anomaly_type(action: str) -> str:
    """The event type of a step in an anomaly's life."""
    return f"{ANOMALY}{action}.v1"


_DATA_OF_KIND: dict[Kind, type[Struct]] = dict.fromkeys(Kind, MovementData) | {
    Kind.PUT_AWAY: TransferData,
    Kind.MOVE: TransferData,
    Kind.PICK: PickData,
    Kind.ADJUSTMENT: AdjustmentData,
    Kind.CYCLE_COUNT: CycleCountData,
}

MOVEMENTS: dict[str, tuple[Kind, type[Struct]]] = {movement_type(k): (k, d) for k, d in _DATA_OF_KIND.items()}
"""Every event type of inventory.updates, with its kind and its data."""

ACTIONS: tuple[Action, ...] = ("raised", "updated", "resolved", "acknowledged", "assigned", "closed")

DATA: dict[str, type[Struct]] = (
    {name: data for name, (_, data) in MOVEMENTS.items()}
    | {BIN_IMAGE: BinImageData, BIN_COUNT: BinCountData, LEVEL: LevelData, MODEL_RELEASED: ModelReleasedData}
    | {anomaly_type(a): AnomalyData for a in ACTIONS}
    | {PLAN_REQUESTED: PlanRequestData, PLAN_MADE: PlanData, RESTOCK_ORDERED: RestockOrderData}
)
"""Every event type there is, with its data."""

TOPIC_OF: dict[str, str] = (
    dict.fromkeys(MOVEMENTS, "inventory.updates")
    | {BIN_IMAGE: "inventory.bin-images", BIN_COUNT: "inventory.bin-counts", LEVEL: "inventory.levels"}
    | {MODEL_RELEASED: "inventory.models", PLAN_REQUESTED: "inventory.plan-requests", PLAN_MADE: "inventory.plans"}
    | {anomaly_type(a): "inventory.anomalies" for a in ACTIONS}
    | {RESTOCK_ORDERED: "inventory.restock-orders"}
)

PUBLISHABLE = frozenset(MOVEMENTS) - {movement_type(Kind.TRANSFER_IN)} | {BIN_IMAGE}
"""The stock events that upstream systems may publish, over Kafka or REST."""

HEARD = PUBLISHABLE | {PLAN_REQUESTED}
"""All that upstream systems may publish; the others are said by InventoryBot itself."""
