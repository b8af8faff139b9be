"""An approved restock recommendation as the ERP hears of it: domain/restock.py on one side, inventory.restock-orders on the other.

In: a `Recommendation` that is approved. Out: the record to publish. Its id and its time are the recommendation's and the
approval's: published again it is the same event, and whoever reads it orders once.
"""

from __future__ import annotations

import msgspec

from inventorybot.domain.restock import Recommendation, sentence
from inventorybot.errors import BadEvent, Code
from inventorybot.wire import schemas
from inventorybot.wire.codec import Envelope, Message, message
from inventorybot.wire.schemas import RestockOrderData

SOURCE = "inventorybot/restock"
"""The same whoever publishes: it is the same fact."""


def order_message(approved: Recommendation, traceparent: str | None = None) -> Message:
    """The record of an order. Raises: BadEvent: it was never approved, or a field is outside its limits."""
    step = approved.step("approved")
    if step is None:
        raise BadEvent(Code.CONTRADICTION, "", "only an approved recommendation is ordered")
    fields = {
        "recommendation_id": approved.id, "site": approved.site, "sku": approved.sku, "quantity": step.quantity,
        "recommended": approved.arithmetic.quantity, "pack": approved.arithmetic.pack, "by": step.by, "note": step.note,
        "why": sentence(approved.arithmetic),
    }  # fmt: skip
    try:
        data = msgspec.convert(fields, RestockOrderData)
    except msgspec.ValidationError as error:
        raise BadEvent(Code.OUT_OF_RANGE, "/data", str(error)) from None
    head = Envelope(approved.id, SOURCE, schemas.RESTOCK_ORDERED, step.at, traceparent)
    return message(head, f"{approved.site}/{approved.sku}", data)
