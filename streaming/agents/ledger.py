"""inventory.updates → the ledger and the levels in Cassandra → inventory.levels; the other halves of transfers.

In: batches of records, each partition in order. Out: everything that follows from them, durable, when `handle` returns.
Order of effects (docs/adr/0001): rows, other halves and alerts first; then the levels, which say that those were made;
and their news. A crash anywhere is healed by handling the same records again.
Batches overlap (docs/adr/0008): while the levels of one are written, the rows of the next are, and the one after it is
worked out; each stage takes them in the order of the log.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import msgspec

from inventorybot import telemetry
from inventorybot.domain import alerts, ledger
from inventorybot.domain.days import month_of
from inventorybot.domain.events import Movement
from inventorybot.domain.ledger import Bin, Crossing, LedgerRow, Outcome, Slot
from inventorybot.errors import BadEvent, Code
from inventorybot.ports import BinKey, BinWrite, DeadLetter, DeadLetters, LedgerEntry, LedgerStore, Publisher, Seen
from inventorybot.wire import schemas
from inventorybot.wire.codec import (
    Envelope,
    Message,
    Record,
    TimeLimits,
    from_ms,
    message,
    movement_message,
    read_movement,
    rfc3339,
)
from inventorybot.wire.schemas import AnomalyData, LevelData
from streaming.stages import Stages

SOURCE = "inventorybot/ledger"
SAMPLE = 16
"""Every 16th event's latency is observed: a histogram costs more than applying the event."""
MAX_BINS = 20_000
"""Bins kept in memory a worker, least recently used out first; one takes about 10 kB with a full window of ids."""

log = telemetry.log(__name__)


@dataclass(slots=True)
class Arrival:
    """One good record of a batch. `at` is its revision."""

    at: int
    event: Movement
    head: Envelope
    record: Record


@dataclass(slots=True)
class Effects:
    """What a batch leads to besides rows and levels."""

    first: list[Message] = field(default_factory=list)
    levels: list[Message] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)


class LedgerAgent:
    """Applies updates exactly once each.

    Args:
        epoch: the topic's incarnation (adapters.cassandra.schema.epoch_of).
        belongs: the partition that a key belongs to; records elsewhere are refused, else a bin would have two writers.
        now: the wall clock, ms.
    """

    name = "ledger"
    overlap = 3
    acyclic = True

    def __init__(
        self, store: LedgerStore, publisher: Publisher, dead_letters: DeadLetters, *, epoch: int, limits: TimeLimits,
        belongs: Callable[[bytes], int], now: Callable[[], int],
    ) -> None:  # fmt: skip
        self._store, self._publisher, self._dead_letters = store, publisher, dead_letters
        self._epoch, self._limits, self._belongs, self._now = epoch, limits, belongs, now
        self._bins: dict[int, dict[BinKey, Bin]] = {}
        self._stages = Stages(3)

    def forget(self, partition: int) -> None:
        """Drop what is known of a partition's bins: somebody else may have written them since."""
        self._bins.pop(partition, None)

    async def handle(self, records: Sequence[Record]) -> None:
        """Apply a batch; the next may be handed over before this one is done.

        Raises: TryLater: nothing is lost; handle the same batch again, and after it those that were handed over later,
            which fail as well.
        """
        effects = Effects()
        partitions = {r.partition for r in records}
        try:
            async with self._stages.passage() as passage:
                states, writes = await self._work_out(records, effects)
                await passage.next()
                new, _, _ = await asyncio.gather(
                    self._store.write_rows(writes),
                    self._publisher.publish(effects.first),
                    self._dead_letters.put(effects.dead),
                )
                await passage.next()
                await asyncio.gather(self._store.write_levels(writes), self._publisher.publish(effects.levels))
                for w in writes:
                    ledger.stored(states[w.key], w.applied)
        except BaseException:
            for partition in partitions:  # memory is ahead of the store: start again from the store
                self.forget(partition)
            raise
        self._tell(records, effects, new)

    async def _work_out(self, records: Sequence[Record], effects: Effects) -> tuple[dict[BinKey, Bin], list[BinWrite]]:
        """The batch applied in memory: the bins it touched, and what there is to write of each."""
        self._evict()
        groups = self._decode(records, effects)
        bins = await self._states(groups)
        histories = await self._complete(groups, bins)
        return bins, [
            self._apply(key, group, bins[key], histories.get(key, ()), effects) for key, group in groups.items()
        ]

    def _decode(self, records: Sequence[Record], effects: Effects) -> dict[BinKey, list[Arrival]]:
        groups: dict[BinKey, list[Arrival]] = {}
        for record in records:
            try:
                event, head = read_movement(record, self._limits)
                key = (event.site, event.bin)
                group = groups.get(key)
                if group is None:
                    self._check_place(record, key)
                    group = groups[key] = []
                group.append(Arrival(ledger.revision(self._epoch, record.offset), event, head, record))
            except BadEvent as error:
                effects.dead.append(DeadLetter.of(record, error))
        return groups

    def _check_place(self, record: Record, key: BinKey) -> None:
        if key in self._bins.get(record.partition, ()):
            return
        home = self._belongs(record.key or b"")
        if home != record.partition:
            raise BadEvent(
                Code.BAD_KEY, "",
                f"the record lies in partition {record.partition}, its key belongs in {home}: use the murmur2 partitioner",
            )  # fmt: skip

    async def _states(self, groups: dict[BinKey, list[Arrival]]) -> dict[BinKey, Bin]:
        found: dict[BinKey, Bin] = {}
        missing: list[BinKey] = []
        for key, group in groups.items():
            cache = self._bins.setdefault(group[0].record.partition, {})
            state = cache.pop(key, None)
            if state is None:
                missing.append(key)
            else:
                found[key] = cache[key] = state  # put back last: the order of the dictionary is that of use
        for key, state in (await self._store.load(missing)).items() if missing else ():
            found[key] = self._bins.setdefault(groups[key][0].record.partition, {})[key] = state
        return found

    async def _complete(
        self, groups: dict[BinKey, list[Arrival]], bins: dict[BinKey, Bin]
    ) -> dict[BinKey, list[LedgerRow]]:
        """Look up the ids that lie before a bin's window; returns, for late cycle counts, what happened after them."""
        wanted = [
            (key, a.event.occurred_at, a.event.event_id)
            for key, group in groups.items()
            if bins[key].floor is not None
            for a in group
            if bins[key].needs_lookup(a.event, a.at)
        ]
        for (key, event_id), known in (await self._store.find(wanted) if wanted else {}).items():
            bins[key].seen[event_id] = known
        histories: dict[BinKey, list[LedgerRow]] = {}
        for key, group in groups.items():
            late = [a.event.occurred_at for a in group if a.event.is_count and bins[key].needs_history(a.event, a.at)]
            if late:
                newest = max(slot.last_occurred_at for slot in bins[key].slots.values())
                histories[key] = await self._store.rows_after(key, min(late), newest)
        return histories

    def _apply(
        self, key: BinKey, group: list[Arrival], state: Bin, history: Sequence[LedgerRow], effects: Effects
    ) -> BinWrite:
        write = BinWrite(key, Bin(), max(state.applied, group[-1].at))
        for a in group:
            event = a.event
            new_here = event.sku not in state.slots
            outcome = ledger.apply(state, event, a.at, history)
            effects.outcomes[outcome] += 1
            if outcome is Outcome.REPLAYED:
                write.touched.add(event.sku)
            elif outcome is Outcome.CONFLICT:
                said = (
                    f"the id {event.event_id} was used before in this bin, for another fact; a new fact needs a new id"
                )
                effects.dead.append(DeadLetter.of(a.record, BadEvent(Code.ID_REUSED, "/id", said)))
            elif outcome is not Outcome.DUPLICATE:
                self._note(write, state, a, effects)
                if new_here:
                    write.new_skus.setdefault(event.sku, (event.event_id, a.record.timestamp))
        effects.first += [self._below_zero(key, c) for c in state.crossings]
        state.crossings.clear()
        self._freeze(write, state)
        newest = group[-1]
        effects.levels += level_messages(key, write.state.slots, newest.event.occurred_at, newest.head.traceparent)
        return write

    def _freeze(self, write: BinWrite, state: Bin) -> None:
        """The touched levels as they are now: the bin goes on changing while they are written."""
        write.state.first_month = state.first_month
        for sku in write.touched:
            slot = state.slots.get(sku)
            if slot is not None:
                write.state.slots[sku] = slot.copy()

    def _note(self, write: BinWrite, state: Bin, a: Arrival, effects: Effects) -> None:
        event = a.event
        row = state.batch[-1]
        write.entries.append(LedgerEntry(row, event.kind, event.source, a.record.timestamp, event.to_bin, event.reason))
        write.touched.add(event.sku)
        month = month_of(event.occurred_at)
        state.first_month = min(state.first_month or month, month)
        other = event.arrival()
        if other is not None:
            effects.first.append(movement_message(other, telemetry.follow(a.head.traceparent)))

    def _below_zero(self, key: BinKey, c: Crossing) -> Message:
        site, bin_id = key
        action: schemas.Action = "raised" if c.below else "resolved"
        identity = alerts.anomaly_id("negative-on-hand", site, f"{bin_id}/{c.sku}", str(c.since))
        why = (
            f"The record of {c.sku} in {bin_id} fell to {c.on_hand}: more left the bin than it was known to hold."
            if c.below
            else f"The record of {c.sku} in {bin_id} is back at {c.on_hand}."
        )
        data = AnomalyData(
            anomaly_id=identity, kind="negative-on-hand", action=action, site=site, bin=bin_id, sku=c.sku,
            probability=1.0 if c.below else 0.0, recorded=c.on_hand, why=why,
        )  # fmt: skip
        if c.below:
            telemetry.BELOW_ZERO.inc()
        telemetry.ANOMALIES.labels("negative-on-hand", action).inc()
        head = Envelope(f"{identity}:{action}", SOURCE, schemas.anomaly_type(action), c.occurred_at)
        return message(head, f"{site}/{bin_id}", data)

    def _evict(self) -> None:
        """Forget the bins longest unused; not those of batches under way, whose levels are not stored yet."""
        excess = sum(map(len, self._bins.values())) - MAX_BINS
        if excess > 0:
            largest = max(self._bins.values(), key=len)
            idle = [key for key, state in largest.items() if not state.batch]
            for key in idle[:excess]:
                del largest[key]

    def _tell(self, records: Sequence[Record], effects: Effects, new: Sequence[Seen]) -> None:
        now = self._now()
        for outcome, count in effects.outcomes.items():
            telemetry.EVENTS.labels("inventory.updates", outcome).inc(count)
        for letter in effects.dead:
            telemetry.DEAD.labels(letter.topic, letter.code).inc()
        for record in records[::SAMPLE]:
            telemetry.VISIBLE.observe(max(0, now - record.timestamp) / 1000)
        for kind, names in groupby(sorted(new, key=lambda seen: seen.kind), key=lambda seen: seen.kind):
            found = list(names)
            telemetry.FIRST_SEEN.labels(kind).inc(len(found))
            log.info("first seen", kind=kind, number=len(found), site=found[0].site, for_example=found[0].name)


def level_messages(key: BinKey, slots: Mapping[str, Slot], occurred_at: int, trace: str | None) -> list[Message]:
    """The news of a bin's levels."""
    site, bin_id = key
    place, time = f"{site}/{bin_id}/", rfc3339(occurred_at).encode()
    made = []
    for sku, slot in slots.items():
        counted = None if slot.counted_at is None else from_ms(slot.counted_at)
        data = LevelData(
            site=site, bin=bin_id, sku=sku, on_hand=slot.on_hand, revision=slot.revision, counted_at=counted
        )
        headers = [*_LEVEL_HEADERS, ("ce_id", b"%x" % slot.revision), ("ce_time", time)]
        if trace:
            headers.append(("ce_traceparent", telemetry.follow(trace).encode()))
        made.append(Message(_LEVELS, (place + sku).encode(), msgspec.json.encode(data), headers))
    return made


_LEVELS = schemas.TOPIC_OF[schemas.LEVEL]
_LEVEL_HEADERS = (
    ("ce_specversion", b"1.0"),
    ("ce_source", SOURCE.encode()),
    ("ce_type", schemas.LEVEL.encode()),
    ("content-type", b"application/json"),
)
"""What is the same in every one of them."""
