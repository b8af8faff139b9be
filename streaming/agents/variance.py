"""inventory.bin-counts + the record as of capture → inventory.anomalies: where the record of a bin is probably wrong.

In: batches of count records. Out: steps of anomalies, then the evidence they were drawn from. The steps are published
first: after a crash in between, the same batch finds the evidence as it was, says the same again under the same ids,
and recognises an anomaly of its own that it had not noted (domain/bin_watch.py `reconcile`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from inventorybot import telemetry
from inventorybot.domain import bin_watch
from inventorybot.domain.alerts import Knowledge, Step
from inventorybot.domain.bin_watch import Opinion, Rules
from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.events import Kind
from inventorybot.domain.ledger import revision
from inventorybot.domain.variance import KIND, BinRecord, Change, Evidence, Look
from inventorybot.errors import BadEvent
from inventorybot.ports import (
    AnomalyStore,
    BinKey,
    CountRow,
    DeadLetter,
    DeadLetters,
    EvidenceStore,
    LevelReader,
    Publisher,
)
from inventorybot.wire.anomalies import model_text, step_message
from inventorybot.wire.codec import Message, Record, check_key, read, to_ms
from inventorybot.wire.schemas import BinCountData

SOURCE = "inventorybot/variance"
HISTORY = 500
"""Ledger rows of a bin that are read to follow its record; in a busier bin the older looks are let go."""
AT_ONCE = 64
"""Bins judged at once: two or three reads each, which is what one session answers without queueing."""
ALWAYS = 253_402_300_799_000
"""The end of the year 9999, ms: a correction counts however late it says it was."""
_CORRECTS = frozenset({Kind.CYCLE_COUNT, Kind.ADJUSTMENT})

log = telemetry.log(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One good record of a batch. `at` is its revision; `arrived_at` the count's, `image_arrived` the picture's, ms."""

    at: int
    look: Look
    p: CountDistribution
    data: BinCountData
    traceparent: str | None
    arrived_at: int
    image_arrived: int | None


@dataclass(slots=True)
class Findings:
    """What the batch leads to in one bin. `raised`: when the pictures that raised an anomaly had arrived, ms."""

    evidence: Evidence
    messages: list[Message] = field(default_factory=list)
    rows: list[CountRow] = field(default_factory=list)
    raised: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)


class VarianceAgent:
    """Judges bins.

    Args:
        epoch: incarnation of inventory.bin-counts (adapters.cassandra.schema.epoch_of).
        now: the wall clock, ms.
    """

    name = "variance"

    def __init__(
        self, levels: LevelReader, evidence: EvidenceStore, anomalies: AnomalyStore, publisher: Publisher,
        dead_letters: DeadLetters, *, rules: Rules, epoch: int, now: Callable[[], int],
    ) -> None:  # fmt: skip
        self._levels, self._evidence, self._anomalies = levels, evidence, anomalies
        self._publisher, self._dead_letters = publisher, dead_letters
        self._rules, self._epoch, self._now = rules, epoch, now

    def forget(self, partition: int) -> None:
        """Nothing is kept of a partition."""

    async def handle(self, records: Sequence[Record]) -> None:
        """Judge a batch. Raises: TryLater: nothing is lost; handle the same batch again."""
        dead: list[DeadLetter] = []
        groups = self._decode(records, dead)
        states = await self._reconciled(await self._evidence.load(list(groups)))
        gate = asyncio.Semaphore(AT_ONCE)

        async def judge(key: BinKey) -> Findings:
            async with gate:
                return await self._judge(key, groups[key], states[key])

        found = dict(zip(groups, await asyncio.gather(*map(judge, groups)), strict=True))
        await asyncio.gather(
            self._publisher.publish([m for f in found.values() for m in f.messages]), self._dead_letters.put(dead)
        )
        await self._evidence.write(
            {key: (f.evidence, f.evidence.applied) for key, f in found.items()},
            [row for f in found.values() for row in f.rows],
        )
        self._tell(found.values(), dead)

    def _decode(self, records: Sequence[Record], dead: list[DeadLetter]) -> dict[BinKey, list[Arrival]]:
        groups: dict[BinKey, list[Arrival]] = {}
        for record in records:
            try:
                data, head = read(record, BinCountData)
                check_key(record.key, data.site, data.bin)
                p = CountDistribution(tuple(data.p))
                look = Look.of(head.time, data.image_id, p, data.prior)
            except BadEvent as error:
                dead.append(DeadLetter.of(record, error))
                continue
            image_arrived = None if data.image_arrived is None else to_ms(data.image_arrived)
            at = revision(self._epoch, record.offset)
            arrival = Arrival(at, look, p, data, head.traceparent, record.timestamp, image_arrived)
            groups.setdefault((data.site, data.bin), []).append(arrival)
        return groups

    async def _reconciled(self, states: dict[BinKey, Evidence]) -> dict[BinKey, Evidence]:
        """Evidence that knows which anomalies people have closed, and which were raised just before a crash."""
        states, asked = dict(states), list(states)
        while asked:
            names = {key: states[key].anomaly(*key) for key in asked}
            found = await self._anomalies.get(names.values())
            learnt = {key: bin_watch.reconcile(states[key], found.get(names[key])) for key in asked}
            asked = [key for key in asked if learnt[key].serial != states[key].serial]  # is the next one there too?
            states |= learnt
        return states

    async def _judge(self, key: BinKey, arrivals: Sequence[Arrival], state: Evidence) -> Findings:
        found = Findings(state)
        fresh = [a for a in arrivals if a.at > state.applied]
        found.outcomes["replayed"] += len(arrivals) - len(fresh)
        if not fresh:
            return found
        record = await self._record(key, min(state.since(a.look) for a in fresh))
        for a in fresh:
            known = any(look.image_id == a.look.image_id for look in found.evidence.looks)
            name = found.evidence.anomaly(*key)
            found.evidence, opinion = bin_watch.consider(found.evidence, a.look, a.at, record, self._rules)
            found.outcomes["counted" if opinion.counted else "duplicate" if known else "superseded"] += 1
            if not known:
                found.rows.append(_row(key, a, record, opinion))
            if opinion.verdict is not None:
                step = _step(name, key, a, opinion)
                found.messages.append(step_message(step, SOURCE, telemetry.follow(a.traceparent)))
                telemetry.ANOMALIES.labels(KIND, opinion.verdict).inc()
                log.info(opinion.verdict, anomaly=name, site=key[0], bin=key[1], why=opinion.why)
            if opinion.verdict == "raised" and a.image_arrived is not None:
                found.raised.append(a.image_arrived)
        return found

    async def _record(self, key: BinKey, since: int) -> BinRecord:
        """The record of a bin from a moment on; from later on where too much has happened since."""
        entries = await self._levels.history(key, None, since=since, until=ALWAYS, limit=HISTORY)
        start = since if len(entries) < HISTORY else min(e.row.occurred_at for e in entries)
        levels = await self._levels.bin_levels_as_of(key, start)
        changes = [Change(e.row, e.kind in _CORRECTS) for e in entries if e.row.occurred_at > start]
        return BinRecord(start, levels, changes)

    def _tell(self, found: Iterable[Findings], dead: Sequence[DeadLetter]) -> None:
        now = self._now()
        for findings in found:
            for outcome, count in findings.outcomes.items():
                telemetry.EVENTS.labels("inventory.bin-counts", outcome).inc(count)
            for arrived in findings.raised:
                telemetry.ALERTED.observe(max(0, now - arrived) / 1000)
        for letter in dead:
            telemetry.DEAD.labels(letter.topic, letter.code).inc()


def _row(key: BinKey, a: Arrival, record: BinRecord, opinion: Opinion) -> CountRow:
    recorded = record.units(a.look.captured_at) if a.look.captured_at >= record.start else None
    probability = opinion.variance.probability if opinion.counted and opinion.variance else None
    return CountRow(
        *key, a.look.captured_at, a.look.image_id, a.p, tuple(a.data.prior), model_text(a.data.model),
        a.data.image_at, a.data.image_url, a.arrived_at, recorded, probability,
    )  # fmt: skip


def _step(anomaly: str, key: BinKey, a: Arrival, opinion: Opinion) -> Step:
    """The step to announce; its id follows from the anomaly and the picture, so saying it again is the same step."""
    now = opinion.variance
    belief = {} if now is None else {"recorded": now.recorded, "estimate": now.estimate, "looks": now.looks}
    knowledge = Knowledge(
        probability=None if now is None else now.probability, p=a.p.p, image_id=a.look.image_id,
        image_at=a.data.image_at, image_url=a.data.image_url, model=model_text(a.data.model), why=opinion.why, **belief,
    )  # fmt: skip
    identity = str(uuid.uuid5(uuid.UUID(anomaly), f"{opinion.verdict}\x1f{a.look.image_id}"))
    return Step(identity, anomaly, KIND, str(opinion.verdict), a.arrived_at, *key, knowledge=knowledge)
