"""The facts that upstream systems and robots tell us, once they are known to be well-formed.

A slot is (site, bin, SKU). Quantities are whole units of one item. Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What happened to stock. The sign is of the slot the event names; see docs/events.md for each in words."""

    RECEIPT = "receipt"
    PUT_AWAY = "put-away"
    PICK = "pick"
    MOVE = "move"
    TRANSFER_IN = "transfer-in"
    ADJUSTMENT = "adjustment"
    SALE = "sale"
    RETURN = "return"
    SHIPMENT = "shipment"
    WRITE_OFF = "write-off"
    CYCLE_COUNT = "cycle-count"


INBOUND = frozenset({Kind.RECEIPT, Kind.RETURN, Kind.TRANSFER_IN})
OUTBOUND = frozenset({Kind.PUT_AWAY, Kind.PICK, Kind.MOVE, Kind.SALE, Kind.SHIPMENT, Kind.WRITE_OFF})
TRANSFERS = frozenset({Kind.PUT_AWAY, Kind.MOVE})
"""Kinds that must name `to_bin`; a pick may (a pack station), and then it is a transfer too."""


class Movement(NamedTuple):
    """One change, or one absolute count, of the units on record in a slot.

    Args:
        event_id: the publisher's id; the same id on the same bin is the same fact, however often it arrives.
        occurred_at: when it happened, ms since the epoch, UTC.
        quantity: units; > 0, but of either sign and not 0 for an adjustment, and >= 0 and absolute for a cycle count.
        to_bin: the bin of the same site that a transfer ends in.
    """

    event_id: str
    kind: Kind
    occurred_at: int
    site: str
    bin: str
    sku: str
    quantity: int
    to_bin: str | None = None
    reason: str | None = None
    source: str = ""

    @property
    def is_count(self) -> bool:
        """Whether `quantity` is absolute."""
        return self.kind is Kind.CYCLE_COUNT

    @property
    def delta(self) -> int:
        """Units added to the slot (negative: taken); for a cycle count, the units found."""
        return -self.quantity if self.kind in OUTBOUND else self.quantity

    def arrival(self) -> Movement | None:
        """The other half of a transfer: what the destination bin gains, under an id that nothing else in that bin can have."""
        if self.to_bin is None:
            return None
        return Movement(
            f"{self.bin}>{self.event_id}", Kind.TRANSFER_IN, self.occurred_at, self.site, self.to_bin, self.sku,
            self.quantity, None, f"from {self.bin}", self.source,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BinImage:
    """One picture of one bin, inline or by reference (exactly one of the two).

    Args:
        image: the encoded JPEG, at most 900 kB.
        image_url: file:// or s3:// reference to it.
    """

    event_id: str
    captured_at: int
    site: str
    bin: str
    image: bytes | None = None
    image_url: str | None = None
    camera: str | None = None
    source: str = ""
