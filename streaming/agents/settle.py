"""inventory.levels → inventory.anomalies: a cycle count settles a bin's variance without waiting for a picture.

In: batches of level records; those that say when their slot was last counted matter. Out: a `resolved` step for each
open bin variance whose pictures were all taken before the count. Writes nothing else: the variance agent learns of it
from the anomaly, and drops the old pictures because the ledger holds the count.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from inventorybot import telemetry
from inventorybot.domain.alerts import Knowledge, Step
from inventorybot.domain.bin_watch import settled_by
from inventorybot.domain.variance import KIND, Evidence
from inventorybot.errors import BadEvent
from inventorybot.ports import BinKey, DeadLetter, DeadLetters, EvidenceStore, Publisher
from inventorybot.wire.anomalies import step_message
from inventorybot.wire.codec import Message, Record, read, to_ms
from inventorybot.wire.schemas import LevelData

SOURCE = "inventorybot/settle"
REMEMBERED = 100_000
"""Bins whose last count is remembered, so that every later change of them costs nothing; about 15 MB."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A cycle count of a slot of a bin, as a level record tells it. Times in ms."""

    at: int
    arrived_at: int
    sku: str
    traceparent: str | None


class SettleAgent:
    """Resolves what was counted."""

    name = "settle"

    def __init__(self, evidence: EvidenceStore, publisher: Publisher, dead_letters: DeadLetters) -> None:
        self._evidence, self._publisher, self._dead_letters = evidence, publisher, dead_letters
        self._known: dict[BinKey, int] = {}

    def forget(self, partition: int) -> None:
        """What is remembered is true wherever the partition was."""

    async def handle(self, records: Sequence[Record]) -> None:
        """Look at a batch. Raises: TryLater: nothing is lost; handle the same batch again."""
        dead: list[DeadLetter] = []
        counted = self._counted(records, dead)
        states = await self._evidence.load(list(counted)) if counted else {}
        messages = [m for key, count in counted.items() if (m := _resolve(key, count, states[key])) is not None]
        await self._publisher.publish(messages)
        await self._dead_letters.put(dead)
        telemetry.ANOMALIES.labels(KIND, "resolved").inc(len(messages))
        self._known |= {key: count.at for key, count in counted.items()}
        for key in list(self._known)[: max(0, len(self._known) - REMEMBERED)]:
            del self._known[key]

    def _counted(self, records: Sequence[Record], dead: list[DeadLetter]) -> dict[BinKey, Counted]:
        """The newest count of each bin, where it is news."""
        newest: dict[BinKey, Counted] = {}
        for record in records:
            try:
                data, head = read(record, LevelData)
            except BadEvent as error:
                dead.append(DeadLetter.of(record, error))
                continue
            if data.counted_at is None:
                continue
            key, at = (data.site, data.bin), to_ms(data.counted_at)
            if at > self._known.get(key, at - 1) and (key not in newest or at > newest[key].at):
                newest[key] = Counted(at, record.timestamp, data.sku, head.traceparent)
        return newest


def _resolve(key: BinKey, count: Counted, evidence: Evidence) -> Message | None:
    why = settled_by(evidence, count.at)
    if why is None:
        return None
    anomaly = evidence.anomaly(*key)
    identity = str(uuid.uuid5(uuid.UUID(anomaly), f"counted\x1f{count.at}"))
    step = Step(identity, anomaly, KIND, "resolved", count.arrived_at, *key, knowledge=Knowledge(why=why))
    return step_message(step, SOURCE, telemetry.follow(count.traceparent))
