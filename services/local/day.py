"""One day in a small warehouse, made up from a seed: what its systems would have published.

In: a seed, the day's end. Out: `Day`, records in the order in which they are published, and what is odd about some.
Pure: no clock, no I/O. Used by demo.py; its stock adds up, so that every level can be checked by hand.

    06:00 receipts at the dock, put away into 60 bins; through the day picks, sales, moves, shipments, returns,
    write-offs and adjustments; in the evening every tenth bin is counted.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from inventorybot.domain.events import Kind, Movement
from inventorybot.domain.forecast import Forecast
from inventorybot.wire.codec import Message, movement_message

SOURCE = "demo/wms"
DOCK, PACK = "DOCK-1", "PACK-1"
BINS = [f"P-{pod}-{shelf}{place}" for pod in range(1, 6) for shelf in "ABCD" for place in (1, 2, 3)]
SKUS = [f"SKU-{number:04d}" for number in range(1, 41)]
HOURS = 12
HOUR_MS = 3_600_000
WEEK_MS, FIRST_MONDAY_MS = 7 * 24 * HOUR_MS, 4 * 24 * HOUR_MS  # the epoch was a Thursday
DAYS_A_WEEK, SPREAD = 1.5, (0.5, 0.8, 1.0, 1.2, 1.6)  # of the made-up forecast: days like this one, and its quantiles
DUPLICATES, LATE = 0.03, 0.03  # shares of events that upstream says twice, or only after others that came later


@dataclass(frozen=True, slots=True)
class Day:
    """Args: messages: in the order of publishing. poison: how many of them can never be processed. sold: units, by SKU."""

    messages: list[Message]
    duplicates: int
    late: int
    poison: int
    sold: Mapping[str, int]


@dataclass
class _Warehouse:
    """What lies where while the day is made up, and what has been told of it."""

    site: str
    rng: random.Random
    run: str
    begins: int
    on_hand: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    told: list[Movement] = field(default_factory=list)

    def happen(self, kind: Kind, hour: float, bin_id: str, sku: str, quantity: int, **more: str | None) -> None:
        """One event that the stock allows."""
        at = self.begins + round(hour * HOUR_MS)
        event_id = f"demo-{self.run}-{len(self.told):05d}"
        event = Movement(event_id, kind, at, self.site, bin_id, sku, quantity, source=SOURCE, **more)
        self.told.append(event)
        slot = (bin_id, sku)
        self.on_hand[slot] = quantity if event.is_count else self.on_hand[slot] + event.delta
        if arrival := event.arrival():
            self.on_hand[(arrival.bin, sku)] += arrival.quantity

    def some_slot(self, least: int) -> tuple[str, str] | None:
        """A slot of the shelves with at least so many units."""
        for _ in range(20):
            slot = (self.rng.choice(BINS), self.rng.choice(SKUS))
            if self.on_hand.get(slot, 0) >= least:
                return slot
        rich = [slot for slot, units in self.on_hand.items() if units >= least and slot[0] in BINS]
        return self.rng.choice(rich) if rich else None


def make_day(seed: int, ends_at: int, events: int = 3000, site: str = "DEMO1") -> Day:
    """Make up a day.

    Args:
        seed: the same seed and end make the same day.
        ends_at: the last event's time at most, ms since the epoch, UTC.
        events: about how many; at least 300.
        site: where.
    """
    house = _Warehouse(site, random.Random(seed), f"{ends_at // 1000:x}", ends_at - HOURS * HOUR_MS)
    _morning(house)
    _shift(house, events - len(house.told) - len(BINS) // 10)
    _evening(house)
    messages, duplicates, late = _as_published(house)
    poison = _poison(house.site, house.run, ends_at)
    step = len(messages) // (len(poison) + 1)
    for number, message in enumerate(poison, 1):
        messages.insert(number * step, message)
    sold: dict[str, int] = defaultdict(int)
    for event in house.told:
        if event.kind in (Kind.SALE, Kind.SHIPMENT):
            sold[event.sku] += event.quantity
    return Day(messages, duplicates, late, len(poison), sold)


def made_up_forecasts(day: Day, now: int, site: str = "DEMO1") -> list[Forecast]:
    """Eight weeks from this one on, each a day and a half like this day, so that some of what is there will not last."""
    monday = now - (now - FIRST_MONDAY_MS) % WEEK_MS
    return [
        Forecast(site, sku, monday + week * WEEK_MS, DAYS_A_WEEK * units,
                 tuple(DAYS_A_WEEK * units * share for share in SPREAD), "made-up", now)
        for sku, units in sorted(day.sold.items())
        for week in range(8)
    ]  # fmt: skip


def _morning(house: _Warehouse) -> None:
    """Receipts at the dock, and their put-away: one or two SKUs a bin."""
    for index, bin_id in enumerate(BINS):
        for sku in house.rng.sample(SKUS, 1 + index % 2):
            units = house.rng.randint(20, 60)
            house.happen(Kind.RECEIPT, index / len(BINS), DOCK, sku, units)
            house.happen(Kind.PUT_AWAY, 1 + index / len(BINS), DOCK, sku, units, to_bin=bin_id)
    house.told.sort(key=lambda event: event.occurred_at)


def _shift(house: _Warehouse, events: int) -> None:
    """What happens while the shift works; each only where the stock allows it."""
    kinds = [Kind.PICK, Kind.SALE, Kind.MOVE, Kind.SHIPMENT, Kind.RETURN, Kind.ADJUSTMENT, Kind.WRITE_OFF, Kind.RECEIPT]
    for number in range(events):
        hour = 2 + 9 * number / events
        kind = house.rng.choices(kinds, weights=[40, 15, 8, 15, 5, 2, 1, 14])[0]
        packed = [sku for sku in SKUS if house.on_hand.get((PACK, sku), 0) > 0]
        slot = house.some_slot(2)
        if kind is Kind.SHIPMENT and packed:
            sku = house.rng.choice(packed)
            house.happen(kind, hour, PACK, sku, house.rng.randint(1, house.on_hand[(PACK, sku)]))
        elif slot is None or kind in (Kind.RECEIPT, Kind.SHIPMENT):
            bin_id, sku = house.rng.choice(BINS), house.rng.choice(SKUS)
            house.happen(Kind.RECEIPT, hour, bin_id, sku, house.rng.randint(2, 12))
        elif kind is Kind.MOVE:
            house.happen(kind, hour, *slot, 1, to_bin=house.rng.choice([b for b in BINS if b != slot[0]]))
        elif kind is Kind.PICK:
            house.happen(kind, hour, *slot, house.rng.randint(1, 2), to_bin=PACK)
        elif kind is Kind.ADJUSTMENT:
            house.happen(kind, hour, *slot, house.rng.choice([-1, 1]), reason="found while tidying")
        else:
            reason = "damaged" if kind is Kind.WRITE_OFF else None
            house.happen(kind, hour, *slot, 1, reason=reason)


def _evening(house: _Warehouse) -> None:
    """Every tenth bin is counted; most records are right."""
    for number, bin_id in enumerate(BINS[::10]):
        for (where, sku), units in sorted(house.on_hand.items()):
            if where == bin_id and units > 0:
                found = units - 1 if number == 2 else units
                house.happen(Kind.CYCLE_COUNT, 11.5 + number / 20, bin_id, sku, found)
                break


def _as_published(house: _Warehouse) -> tuple[list[Message], int, int]:
    """The day's events as a network delivers them: some twice, some late.

    Only sales are late: nothing that follows depends on them, so that no level falls below zero on the way.
    """
    rng, order, duplicates, late = house.rng, [], 0, 0
    for position, event in enumerate(house.told):
        place = float(position)
        if event.kind is Kind.SALE and rng.random() < LATE * 6:  # a sixth of the events are sales
            place, late = place + rng.randint(5, 100), late + 1
        order.append((place, event))
        if rng.random() < DUPLICATES:
            order.append((place + rng.randint(1, 200), event))
            duplicates += 1
    order.sort(key=lambda item: item[0])
    return [movement_message(event) for _, event in order], duplicates, late


def _poison(site: str, run: str, now: int) -> list[Message]:
    """Records that can never be processed, one of each common sort."""
    bin_id = BINS[0]
    good = movement_message(Movement(f"demo-{run}-bad", Kind.RECEIPT, now, site, bin_id, SKUS[0], 1, source=SOURCE))
    future = movement_message(
        Movement(
            f"demo-{run}-bad-time", Kind.RECEIPT, now + 100 * 24 * HOUR_MS, site, bin_id, SKUS[0], 1, source=SOURCE
        )
    )
    unknown = [(name, b"inventorybot.movement.teleport.v1" if name == "ce_type" else v) for name, v in good.headers]
    return [
        replace(good, value=b"<receipt qty='1'/>"),
        replace(good, value=good.value.replace(b'"quantity":1', b'"quantity":1.5')),
        replace(good, headers=unknown),
        replace(good, key=b"DEMO1/elsewhere"),
        future,
    ]
