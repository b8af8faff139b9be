"""The ledger agent under everything that can go wrong, against a plain statement of the law.

                    log:  e0 e1 e2 e3 e4 …        (one partition; the other halves of moves are appended by the agent)
    worker A  handle [e0 e1] ✓  [e2 e3] crash        ← dies between any two of its effects
    worker B                     [e2 e3 e4] ✓        ← takes the same records again, from the last acknowledged one
    worker A                          wakes up and finishes its writes of [e2 e3]    ← must not overwrite B's
    worker B  [e5] [e6 e7] [e8]       handed over at once: each stage takes them in this order, a failure stops the rest

Hypothesis draws the story; `truth` is the law in a dozen lines that share no code with the product.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.adapters.memory.ledger import MemoryLedger
from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.domain.events import Kind, Movement
from inventorybot.domain.ledger import Bin
from inventorybot.errors import TryLater
from inventorybot.ports import BinKey, BinWrite, Seen
from inventorybot.wire.codec import Message, Record, TimeLimits, movement_message
from streaming.agents.ledger import LedgerAgent

NOW = 1_795_262_400_000
LIMITS = TimeLimits()
STEPS = ("rows", "levels", "half of the levels", "levels without their mark", "by SKU", "levels done")


class FailingLedger(MemoryLedger):
    """A store that stops working at a chosen step, once; a crash leaves exactly what was written before it."""

    def __init__(self) -> None:
        super().__init__()
        self.fail_at: str | None = None
        self.unfinished: list[list[BinWrite]] = []

    def _fail(self, step: str) -> None:
        if self.fail_at == step:
            self.fail_at = None
            raise TryLater("cassandra", f"stopped at {step}")

    async def load(self, keys: Sequence[BinKey]) -> dict[BinKey, Bin]:
        await asyncio.sleep(0)  # others get their turn, as while a database is asked
        return await super().load(keys)

    async def write_rows(self, writes: Sequence[BinWrite]) -> list[Seen]:
        await asyncio.sleep(0)
        self._fail("rows")
        return await super().write_rows(writes)

    async def write_levels(self, writes: Sequence[BinWrite]) -> None:
        if self.fail_at is not None and self.fail_at.startswith("levels"):
            self.unfinished.append(list(writes))
        await asyncio.sleep(0)
        self._fail("levels")
        if self.fail_at == "half of the levels":
            await super().write_levels(writes[: len(writes) // 2])
            self._fail("half of the levels")
        by_sku, applied = copy.deepcopy(self.by_sku), dict(self.applied)
        await super().write_levels(writes)
        if self.fail_at == "levels without their mark":
            self.applied = applied
            self._fail("levels without their mark")
        if self.fail_at == "by SKU":
            self.by_sku = by_sku
            self._fail("by SKU")
        self._fail("levels done")


def truth(log: Sequence[Movement]) -> dict[tuple[str, str], int]:
    """Levels by (bin, SKU): first arrival of an id in a bin; by time, then by arrival; counts absolute."""
    first: dict[tuple[str, str], tuple[int, int, Movement]] = {}
    for place, e in enumerate(log):
        first.setdefault((e.bin, e.event_id), (e.occurred_at, place, e))
        if e.to_bin is not None:
            gain = Movement(
                f"{e.bin}>{e.event_id}", Kind.TRANSFER_IN, e.occurred_at, e.site, e.to_bin, e.sku, e.quantity
            )
            first.setdefault((e.to_bin, gain.event_id), (e.occurred_at, place, gain))
    levels: dict[tuple[str, str], int] = {}
    for _, _, e in sorted(first.values(), key=lambda x: x[:2]):
        slot = (e.bin, e.sku)
        levels[slot] = e.quantity if e.kind is Kind.CYCLE_COUNT else levels.get(slot, 0) + e.delta
    return levels


class LedgerMachine(RuleBasedStateMachine):
    """One partition, its workers, and the store they share."""

    @initialize()
    def begin(self) -> None:
        self.store, self.publisher, self.letters = FailingLedger(), MemoryPublisher(), MemoryDeadLetters()
        self.log: list[Record] = []
        self.published: list[Movement] = []
        self.halves = 0
        self.committed = self.position = 0
        self.runner = asyncio.Runner()
        self.agent = self._worker()

    def _worker(self) -> LedgerAgent:
        return LedgerAgent(
            self.store, self.publisher, self.letters, epoch=0, limits=LIMITS, belongs=lambda key: 0, now=lambda: NOW
        )

    def _append(self, m: Message) -> None:
        self.log.append(Record(m.topic, 0, len(self.log), m.key, m.value, m.headers, NOW))

    def _collect_halves(self) -> None:
        for m in self.publisher.messages[self.halves :]:
            if m.topic == "inventory.updates":
                self._append(m)
        self.halves = len(self.publisher.messages)

    @rule(
        kind=st.sampled_from([Kind.RECEIPT, Kind.PICK, Kind.SALE, Kind.ADJUSTMENT, Kind.CYCLE_COUNT, Kind.MOVE]),
        bin_id=st.sampled_from(["B1", "B2"]), sku=st.sampled_from(["K1", "K2"]), quantity=st.integers(1, 9),
        at=st.integers(-5, 5),
    )  # fmt: skip
    def publish(self, kind: Kind, bin_id: str, sku: str, quantity: int, at: int) -> None:
        to_bin = {"B1": "B2", "B2": "B1"}[bin_id] if kind is Kind.MOVE else None
        e = Movement(f"e{len(self.published)}", kind, NOW + at * 1000, "S1", bin_id, sku, quantity, to_bin, None, "wms")
        # a cycle count and an arrival at the very same moment have no order that both ends could know: keep them apart
        e = Movement(e.event_id, e.kind, e.occurred_at + len(self.published), *_tail(e))
        self.published.append(e)
        self._append(movement_message(e))

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def publish_again(self, data: st.DataObject) -> None:
        self._append(movement_message(data.draw(st.sampled_from(self.published))))

    @precondition(lambda self: self.position < len(self.log))
    @rule(size=st.integers(1, 6), commit=st.booleans())
    def handle(self, size: int, commit: bool) -> None:
        batch = self.log[self.position : self.position + size]
        self.runner.run(self.agent.handle(batch))
        self._collect_halves()
        self.position += len(batch)
        if commit:
            self.committed = self.position

    @precondition(lambda self: self.position < len(self.log))
    @rule(size=st.integers(1, 6), step=st.sampled_from(STEPS), dies=st.booleans())
    def fail(self, size: int, step: str, dies: bool) -> None:
        self.store.fail_at = step
        try:
            self.runner.run(self.agent.handle(self.log[self.position : self.position + size]))
        except TryLater:
            if dies:
                self.crash()
        else:
            self.position += len(self.log[self.position : self.position + size])  # nothing to write at that step
        self.store.fail_at = None
        self._collect_halves()

    @precondition(lambda self: self.position < len(self.log))
    @rule(
        sizes=st.lists(st.integers(1, 3), min_size=2, max_size=4), step=st.none() | st.sampled_from(STEPS),
        dies=st.booleans(),
    )  # fmt: skip
    def handle_some_at_once(self, sizes: list[int], step: str | None, dies: bool) -> None:
        ends = [self.position + sum(sizes[: n + 1]) for n in range(len(sizes))]
        batches = [
            self.log[end - size : end] for end, size in zip(ends, sizes, strict=True) if end - size < len(self.log)
        ]
        self.store.fail_at = step

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*(self.agent.handle(batch) for batch in batches), return_exceptions=True)

        outcomes = self.runner.run(all_of_them())
        failed = [isinstance(outcome, TryLater) for outcome in outcomes]
        assert failed == sorted(failed), "nothing that came after a failed batch may be done before it"
        assert all(outcome is None for outcome, bad in zip(outcomes, failed, strict=True) if not bad), outcomes
        self.position += sum(len(batch) for batch, bad in zip(batches, failed, strict=True) if not bad)
        self.store.fail_at = None
        if any(failed) and dies:
            self.crash()
        self._collect_halves()

    @rule()
    def crash(self) -> None:
        self.agent, self.position = self._worker(), self.committed

    @precondition(lambda self: self.store.unfinished)
    @rule()
    def a_stale_worker_finishes_its_writes(self) -> None:
        self.runner.run(MemoryLedger.write_levels(self.store, self.store.unfinished.pop(0)))

    @invariant()
    def what_is_stored_follows_from_what_was_told(self) -> None:
        for key, (applied, _) in getattr(self, "store", FailingLedger()).applied.items():
            assert applied >= 0, key

    def teardown(self) -> None:
        if not hasattr(self, "log"):
            return
        while self.position < len(self.log):
            self.handle(6, True)
        for unfinished in self.store.unfinished:
            self.runner.run(MemoryLedger.write_levels(self.store, unfinished))
        self.runner.close()
        found = {
            (key[1], sku): slot.on_hand
            for key, levels in self.store.levels.items()
            for sku, (_, slot) in levels.items()
        }
        by_sku = {
            (b, key[1]): slot.on_hand for key, levels in self.store.by_sku.items() for b, (_, slot) in levels.items()
        }
        assert found == truth(self.published)
        assert by_sku == found


def _tail(e: Movement) -> tuple[Any, ...]:
    return e.site, e.bin, e.sku, e.quantity, e.to_bin, e.reason, e.source


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
