"""One worked example of every event type: what the AsyncAPI document shows, and what tests hold against its schemas.

In: nothing. Out: `EXAMPLES`, by event type. All belong to one small story: a carton arrives, is put away, picked from,
photographed, counted, found short and corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from inventorybot.domain.counting import MAX_COUNT
from inventorybot.domain.events import Kind
from inventorybot.wire import schemas
from inventorybot.wire.schemas import Action, AnomalyData, ModelRef, anomaly_type, movement_type

START = 1_795_243_020_000
"""2026-11-21T06:37:00Z"""


@dataclass(frozen=True, slots=True)
class Example:
    """An event in words and in fields. Args: time: ms since the epoch."""

    name: str
    summary: str
    id: str
    source: str
    time: int
    data: Struct


def spread(peak: int, confidence: float) -> list[float]:
    """A distribution over 0 … 20 with `confidence` on one count and the rest on its neighbours."""
    p = [0.0] * (MAX_COUNT + 1)
    p[peak], p[peak - 1], p[peak + 1] = confidence, round((1 - confidence) / 2, 6), round((1 - confidence) / 2, 6)
    return p


_SLOT: dict[str, Any] = {"site": "BER1", "bin": "P-3-A12", "sku": "B00EXAMPLE"}
_PRIOR = [round(1 / (MAX_COUNT + 1), 6)] * MAX_COUNT + [round(1 - MAX_COUNT * round(1 / (MAX_COUNT + 1), 6), 6)]
_MODEL = ModelRef(name="bin-count", version="2026.11.1")
_MOVEMENTS: dict[Kind, tuple[str, dict[str, Any]]] = {
    Kind.RECEIPT: ("12 units arrive at the dock", {"bin": "DOCK-1", "quantity": 12}),
    Kind.PUT_AWAY: ("and are put into a pod's bin", {"bin": "DOCK-1", "to_bin": "P-3-A12", "quantity": 12}),
    Kind.PICK: ("2 units are picked to a pack station", {"to_bin": "PACK-2", "quantity": 2}),
    Kind.MOVE: ("3 units go to another bin", {"to_bin": "P-4-B01", "quantity": 3}),
    Kind.TRANSFER_IN: ("what the other bin of that move gains; said by InventoryBot",
                       {"bin": "P-4-B01", "quantity": 3, "reason": "from P-3-A12"}),
    Kind.ADJUSTMENT: ("1 unit was booked by mistake", {"quantity": -1, "reason": "booked twice by hand"}),
    Kind.SALE: ("1 unit is sold from the bin", {"quantity": 1}),
    Kind.RETURN: ("a customer sends 1 unit back", {"quantity": 1}),
    Kind.SHIPMENT: ("2 units leave the pack station", {"bin": "PACK-2", "quantity": 2}),
    Kind.WRITE_OFF: ("1 unit is damaged", {"quantity": 1, "reason": "water damage"}),
    Kind.CYCLE_COUNT: ("somebody counts: 4 units are there", {"quantity": 4}),
}  # fmt: skip


def _movements() -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for number, (kind, (summary, changed)) in enumerate(_MOVEMENTS.items()):
        name = movement_type(kind)
        data = schemas.MOVEMENTS[name][1](**_SLOT | changed)
        source = "inventorybot/ledger" if kind is Kind.TRANSFER_IN else "wms"
        event_id = "P-3-A12>wms-1004" if kind is Kind.TRANSFER_IN else f"wms-{1001 + number}"
        found[name] = [Example(str(kind), summary, event_id, source, START + number * 60_000, data)]
    return found


def _anomaly(action: Action) -> AnomalyData:
    slot: dict[str, Any] = {"site": "BER1", "bin": "P-3-A12"}
    base: dict[str, Any] = {
        "anomaly_id": "0d4a9f0e-6f0b-5a52-9a51-5b3ab2c3d5aa",
        "kind": "bin-variance",
        "action": action,
    }
    by_agents: dict[str, Any] = {
        "probability": 0.97, "recorded": 6, "estimate": 4, "looks": 2, "p": spread(4, 0.9), "image_id": "img-77",
        "image_at": "2:1841", "image_url": "s3://pictures/77.jpg", "model": _MODEL,
        "why": "two pictures show 4 items where the record says 6",
    }  # fmt: skip
    by_people: dict[str, dict[str, Any]] = {
        "acknowledged": {"actor": "kim"},
        "assigned": {"actor": "kim", "assignee": "jo"},
        "closed": {"actor": "jo", "reason": "record-corrected", "note": "4 units counted"},
    }
    return AnomalyData(**base, **slot, **by_people.get(action, by_agents))


def _stock_out() -> Example:
    data = AnomalyData(
        anomaly_id="7c0d5b1e-94c6-5a3e-8f0e-2b8d0a7e6f11", kind="projected-stock-out", action="raised", site="BER1",
        sku="B00EXAMPLE", probability=0.9, recorded=4, days_of_cover=1.5,
        expected_at=datetime(2026, 11, 22, 18, 37, tzinfo=UTC), model=ModelRef(name="demand", version="2026.11.1"),
        why="4 on hand; 2.7 a day are expected",
    )  # fmt: skip
    name = "projected-stock-out"
    return Example(name, "stock is expected to run out", "step-stock-out", "inventorybot/stock-watch", START, data)


def _others() -> dict[str, list[Example]]:
    at = START + 3_600_000
    bin_only: dict[str, Any] = {"site": "BER1", "bin": "P-3-A12"}
    inline = schemas.BinImageData(**bin_only, image=b"\xff\xd8\xff\xe0 a JPEG \xff\xd9", camera="cam-3")
    referenced = schemas.BinImageData(**bin_only, image_url="s3://pictures/77.jpg", camera="cam-3")
    count = schemas.BinCountData(
        **bin_only, image_id="img-77", p=spread(4, 0.9), prior=_PRIOR, count=4, confidence=0.9, model=_MODEL,
        image_url="s3://pictures/77.jpg", image_at="2:1841",
    )  # fmt: skip
    level = schemas.LevelData(
        **_SLOT, on_hand=4, revision=2_251_799_813_685_260, counted_at=datetime(2026, 11, 21, 6, 47, tzinfo=UTC)
    )
    asked = schemas.PlanRequestData(
        by="kim", why="the new hall", base="nightly-20261121",
        changes=[schemas.PlanChangeData(site="BER1", storage_m3=400.0, first_period=2)],
    )  # fmt: skip
    lost = schemas.PlanRequestData(by="kim", changes=[schemas.PlanChangeData(site="BER1", lost=True, last_period=1)])
    made = schemas.PlanData(
        plan_id="what-if-7", state="ready", by="kim", why="the new hall", base="nightly-20261121", skus=10_000, sites=12,
        made_at=datetime(2026, 11, 21, 8, 0, 5, tzinfo=UTC), start=datetime(2026, 11, 16, tzinfo=UTC), period_s=604_800,
        periods=8, value=1_204_118.2, bound=1_204_602.9, gap=0.0004025, profit=1_180_240.0, violation=0.0, seconds=3.2,
    )  # fmt: skip
    failed = schemas.PlanData(
        plan_id="what-if-8", state="failed", by="kim", reason="there is no site BER9 in the network"
    )
    order = schemas.RestockOrderData(
        recommendation_id="0b9a2d5e-6c1f-5d43-9a6e-3f1c2b7d8e90", site="BER1", sku="B00EXAMPLE", quantity=24, recommended=18,
        pack=6, by="kim", note="the fair is next week",
        why="4 on hand + 0 on order = 4; the position is below the reorder point 16: order up to 20, 20 - 4 = 16; "
        "with whole packs of 6 18.",
    )  # fmt: skip
    released = schemas.ModelReleasedData(
        name="count", version="2026.11.1", sha256="0" * 64, previous="2026.10.2",
        url="s3://models/count/2026.11.1-000000000000",
    )  # fmt: skip
    return {
        schemas.BIN_IMAGE: [
            Example("inline", "a picture of the bin, with the event", "img-76", "robot-17", at, inline),
            Example("by-reference", "a picture of the bin, in a store", "img-77", "robot-17", at + 5_000, referenced),
        ],
        schemas.BIN_COUNT: [
            Example("four", "4 items, with probability 0.9", "img-77", "inventorybot/count", at, count)
        ],
        schemas.LEVEL: [Example("after-a-count", "4 units on hand", "level-1", "inventorybot/ledger", at, level)],
        schemas.MODEL_RELEASED: [
            Example("promoted", "a new count model", "model-1", "inventorybot/models", at, released)
        ],
        schemas.PLAN_REQUESTED: [
            Example("what-if", "what if BER1 had 400 m³ more from the third period on?", "what-if-7", "wms", at, asked),
            Example("loss", "what if BER1 were lost for two periods, as things stand?", "what-if-8", "wms", at, lost),
        ],
        schemas.RESTOCK_ORDERED: [
            Example(
                "ordered",
                "24 units are to be ordered",
                "0b9a2d5e-6c1f-5d43-9a6e-3f1c2b7d8e90",
                "inventorybot/api",
                at,
                order,
            )
        ],
        schemas.PLAN_MADE: [
            Example("ready", "the plan is there", "what-if-7:ready", "inventorybot/planner", at, made),
            Example("failed", "there is no such plan", "what-if-8:failed", "inventorybot/planner", at, failed),
        ],
    }


EXAMPLES: dict[str, list[Example]] = (
    _movements()
    | _others()
    | {
        anomaly_type(action): [
            Example(
                action, f"the anomaly is {action}", f"step-{number}", "inventorybot/variance", START, _anomaly(action)
            )
        ]
        for number, action in enumerate(schemas.ACTIONS)
    }
)
EXAMPLES[anomaly_type("raised")].append(_stock_out())
"""By event type; at least one each."""
