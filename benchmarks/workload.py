"""A stream of stock updates such as a busy site makes: seeded, with repeats, late ones and poison in stated shares.

In: sizes and shares. Out: Kafka messages in publishing order. Used by the ledger benchmark and the crash tests.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from inventorybot.domain.events import Kind, Movement
from inventorybot.wire.codec import Message, movement_message

POISON = (b"{", b'{"site":"S1"}', b'{"site":"S1","bin":"B0","sku":"K1","quantity":1.5}', b"\xff\xfe", b"[]", b"")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the stream looks like. Shares are of all records."""

    updates: int
    bins: int = 2000
    skus_a_bin: int = 4
    duplicates: float = 0.05
    late: float = 0.05
    poison: float = 0.001
    moves: float = 0.05
    counts: float = 0.01


def stream(shape: Shape, *, seed: int, start: int) -> Iterator[Message]:
    """The records, in the order to publish them.

    Args:
        start: when the first event occurred, ms since the epoch; one event a millisecond follows.
    """
    rng = random.Random(seed)
    sent: list[Message] = []
    stocked: set[tuple[str, str]] = set()
    for n in range(shape.updates):
        if sent and rng.random() < shape.duplicates:
            yield sent[rng.randrange(max(0, len(sent) - 5000), len(sent))]
            continue
        message = movement_message(_movement(shape, rng, n, start, stocked))
        if rng.random() < shape.poison:
            message = Message(message.topic, message.key, rng.choice(POISON), message.headers)
        else:
            sent.append(message)
        yield message


def _movement(shape: Shape, rng: random.Random, n: int, start: int, stocked: set[tuple[str, str]]) -> Movement:
    """One movement; the first of a slot is a receipt, so that few levels fall below zero, as at a real site."""
    at = start + n - (rng.randrange(1, 60_000) if rng.random() < shape.late else 0)
    site, number = "S1", rng.randrange(shape.bins)
    bin_id, sku = f"B{number:05d}", f"SKU-{(number * 7 + rng.randrange(shape.skus_a_bin)) % 5000:05d}"
    event_id, draw = f"{rng.getrandbits(32):08x}-{n}", rng.random()
    if (bin_id, sku) not in stocked:
        stocked.add((bin_id, sku))
        return Movement(event_id, Kind.RECEIPT, at, site, bin_id, sku, rng.randrange(100, 400), None, None, "wms")
    if draw < shape.moves:
        to_bin = f"B{(number + 1 + rng.randrange(shape.bins - 1)) % shape.bins:05d}"
        return Movement(event_id, Kind.MOVE, at, site, bin_id, sku, rng.randrange(1, 4), to_bin, None, "wms")
    if draw < shape.moves + shape.counts:
        return Movement(event_id, Kind.CYCLE_COUNT, at, site, bin_id, sku, rng.randrange(100, 400), None, None, "staff")
    kind = rng.choice((Kind.RECEIPT, Kind.RECEIPT, Kind.PICK, Kind.SALE, Kind.SHIPMENT, Kind.RETURN))
    quantity = rng.randrange(5, 30) if kind is Kind.RECEIPT else rng.randrange(1, 4)
    return Movement(event_id, kind, at, site, bin_id, sku, quantity, None, None, "wms")
