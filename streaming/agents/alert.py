"""inventory.anomalies → anomalies as they stand, and their lives, in Cassandra: what the API lists and shows.

In: batches of steps. Out: the anomalies after them. A person's step that cannot follow (the anomaly has ended, or never
was) goes to the dead letters, before the batch is stored: the store's revision says that everything up to it was done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from inventorybot import telemetry
from inventorybot.domain.alerts import Anomaly, Step, advance
from inventorybot.domain.ledger import revision
from inventorybot.errors import BadEvent
from inventorybot.ports import AnomalyStore, DeadLetter, DeadLetters
from inventorybot.wire.anomalies import check_step_key, read_step
from inventorybot.wire.codec import Record


class AlertAgent:
    """Folds steps into anomalies.

    Args:
        epoch: incarnation of inventory.anomalies (adapters.cassandra.schema.epoch_of).
    """

    name = "alert"

    def __init__(self, store: AnomalyStore, dead_letters: DeadLetters, *, epoch: int) -> None:
        self._store, self._dead_letters, self._epoch = store, dead_letters, epoch

    def forget(self, partition: int) -> None:
        """Nothing is kept of a partition."""

    async def handle(self, records: Sequence[Record]) -> None:
        """Fold a batch. Raises: TryLater: nothing is lost; handle the same batch again."""
        dead: list[DeadLetter] = []
        arrived: list[tuple[Record, Step]] = []
        for record in records:
            try:
                step = read_step(record)
                check_step_key(record, step)
                arrived.append((record, step))
            except BadEvent as error:
                dead.append(DeadLetter.of(record, error))
        states = await self._store.get([step.anomaly_id for _, step in arrived])
        changed: dict[str, tuple[Anomaly, int]] = {}
        steps: list[tuple[int, Step]] = []
        outcomes: Counter[str] = Counter()
        for record, step in arrived:
            at, before = revision(self._epoch, record.offset), states.get(step.anomaly_id)
            try:
                after = before if before is not None and at <= before.revision else advance(before, step)
            except BadEvent as error:
                dead.append(DeadLetter.of(record, error))
                continue
            if after is None or after is before:
                outcomes["unchanged"] += 1
                continue
            outcomes[step.action] += 1
            states[step.anomaly_id] = replace(after, revision=at)
            changed[step.anomaly_id] = (states[step.anomaly_id], at)
            steps.append((at, step))
        await self._dead_letters.put(dead)
        await self._store.write(changed, steps)
        for outcome, count in outcomes.items():
            telemetry.EVENTS.labels("inventory.anomalies", outcome).inc(count)
        for letter in dead:
            telemetry.DEAD.labels(letter.topic, letter.code).inc()
