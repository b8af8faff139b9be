"""The variance and alert agents on the shipped fakes, with a topic between them: what a test says is what happens.

In: movements, pictures, people's steps; crashes where the test wants them. Out: the anomalies as a manager sees them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from inventorybot.adapters.memory.anomalies import MemoryAnomalies
from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.adapters.memory.evidence import MemoryEvidence
from inventorybot.adapters.memory.ledger import MemoryLedger
from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.domain.alerts import Anomaly, Step
from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.days import month_of
from inventorybot.domain.events import Kind, Movement
from inventorybot.domain.ledger import Outcome, apply, revision
from inventorybot.domain.variance import Evidence
from inventorybot.ports import BinKey, BinWrite, CountRow, LedgerEntry
from inventorybot.wire import schemas
from inventorybot.wire.anomalies import step_message
from inventorybot.wire.codec import Envelope, Message, Record, from_ms, message
from inventorybot.wire.schemas import BinCountData, ModelRef
from streaming.agents.alert import AlertAgent
from streaming.agents.variance import VarianceAgent
from tests.unit.variance.looks import EVEN, RULES

NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
MINUTE = 60_000
KEY: BinKey = ("S1", "B1")


class Crash(BaseException):
    """The process dies here."""


class FragileEvidence(MemoryEvidence):
    """Dies instead of storing, while `dies` is set."""

    dies = False

    async def write(self, states: Mapping[BinKey, tuple[Evidence, int]], counts: Sequence[CountRow]) -> None:
        if self.dies:
            raise Crash
        await super().write(states, counts)


def as_records(topic: str, messages: Sequence[Message], first: int = 0, at: int = NOON) -> list[Record]:
    """Messages as they lie in partition 0 of a topic, from an offset on, arrived one ms after the other."""
    return [
        Record(topic, 0, first + n, m.key, m.value, tuple(m.headers), at + n)
        for n, m in enumerate(messages)
        if m.topic == topic
    ]


def count_of(at: int, p: CountDistribution, image: str = "", key: BinKey = KEY) -> Message:
    """The count of a picture taken at a moment, ms."""
    data = BinCountData(
        site=key[0], bin=key[1], image_id=image or f"i{at}", p=list(p.p), prior=list(EVEN), count=p.count,
        confidence=p.confidence, model=ModelRef("count", "v1"), image_at="0:7", image_arrived=from_ms(at + 20),
    )  # fmt: skip
    return message(Envelope(f"c{at}", "test", schemas.BIN_COUNT, at), "/".join(key), data)


@dataclass
class Stage:
    """Both agents, their stores, and the topic of anomalies between them."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    evidence: FragileEvidence = field(default_factory=FragileEvidence)
    anomalies: MemoryAnomalies = field(default_factory=MemoryAnomalies)
    topic: MemoryPublisher = field(default_factory=MemoryPublisher)
    dead: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    folded: int = 0
    moves: int = 0

    def __post_init__(self) -> None:
        self.variance = VarianceAgent(
            self.ledger, self.evidence, self.anomalies, self.topic, self.dead, rules=RULES, epoch=0,
            now=lambda: NOON + 60 * MINUTE,
        )  # fmt: skip
        self.alert = AlertAgent(self.anomalies, self.dead, epoch=0)

    async def move(self, kind: Kind, quantity: int, at: int, key: BinKey = KEY, sku: str = "K1") -> None:
        """One movement, through the ledger's law into the ledger's store."""
        self.moves += 1
        event, place = Movement(f"m{self.moves}", kind, at, *key, sku, quantity), revision(0, self.moves)
        state = (await self.ledger.load([key]))[key]
        history = await self.ledger.rows_after(key, at, 1 << 62)
        assert apply(state, event, place, history) is not Outcome.DUPLICATE
        state.first_month = min(state.first_month or 999999, month_of(at))
        entries = [LedgerEntry(row, kind, "test", at) for row in state.batch]
        write = BinWrite(key, state, place, entries, {sku}, {})
        await self.ledger.write_rows([write])
        await self.ledger.write_levels([write])

    async def count(self, records: Sequence[Record], *, crash: bool = False) -> None:
        """The variance agent handles a batch; with `crash`, it dies after it has published and before it has stored."""
        self.evidence.dies = crash
        try:
            await self.variance.handle(records)
        except Crash:
            pass
        finally:
            self.evidence.dies = False

    async def fold(self) -> None:
        """The alert agent catches up."""
        new = self.topic.messages[self.folded :]
        await self.alert.handle(as_records("inventory.anomalies", new, self.folded, NOON))
        self.folded += len(new)

    async def person(self, action: str, anomaly: str, at: int, key: BinKey = KEY) -> None:
        """Somebody takes a step; the alert agent hears of it."""
        step = Step(f"p{at}", anomaly, "bin-variance", action, at, *key, actor="ana", assignee="ben", reason="other")
        await self.topic.publish([step_message(step, "test")])
        await self.fold()

    def said(self) -> list[str]:
        """The actions announced so far."""
        return [schemas_action(m) for m in self.topic.messages]

    def live(self, key: BinKey = KEY) -> list[Anomaly]:
        """What asks for work, in a bin."""
        return [a for a in self.anomalies.states.values() if a.live and (a.site, a.bin) == key]


def schemas_action(m: Message) -> str:
    """raised, updated, …"""
    return str(msgspec.json.decode(m.value)["action"])
