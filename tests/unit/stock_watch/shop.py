"""The stock-watch and alert agents on the shipped fakes: a shop whose stock and forecasts a test sets, on a clock of its own.

In: stock, forecasts, crashes where the test wants them. Out: the anomalies as a manager sees them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from inventorybot.adapters.memory.anomalies import MemoryAnomalies
from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.adapters.memory.forecasts import MemoryForecasts
from inventorybot.adapters.memory.ledger import MemoryLedger
from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.adapters.memory.stock_watch import MemoryStockWatch
from inventorybot.domain.alerts import Anomaly, Step
from inventorybot.domain.events import Kind, Movement
from inventorybot.domain.ledger import apply, revision
from inventorybot.domain.stock_watch import Watch, WatchRules
from inventorybot.ports import BinWrite
from inventorybot.wire import schemas
from inventorybot.wire.anomalies import step_message
from inventorybot.wire.codec import Envelope, Message, Record, message
from inventorybot.wire.schemas import LevelData
from streaming.agents.alert import AlertAgent
from streaming.agents.stock_watch import StockWatchAgent
from tests.unit.agents.stage import Crash, as_records
from tests.unit.stock_watch.test_outlook import MONDAY, week

RULES = WatchRules(horizon_days=7, probability=0.5, excess_days=14, excess_units=10)


class Broker(MemoryPublisher):
    """Dies instead of publishing while `dies` is set; `before` is awaited once, before the next records are taken."""

    dies = False
    before: Callable[[], Awaitable[None]] | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        if self.dies and messages:
            raise Crash
        if self.before is not None and messages:
            first, self.before = self.before, None
            await first()
        await super().publish(messages)


class Watches(MemoryStockWatch):
    """Dies instead of noting what was said, while `dies` is set."""

    dies = False

    async def write(self, site: str, watches: Mapping[tuple[str, str], Watch]) -> None:
        if self.dies:
            raise Crash
        await super().write(site, watches)


@dataclass
class Shop:
    """Two workers (`watch`, and `other` for the other partitions), the stores, and the topic of anomalies."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    forecasts: MemoryForecasts = field(default_factory=MemoryForecasts)
    watches: Watches = field(default_factory=Watches)
    anomalies: MemoryAnomalies = field(default_factory=MemoryAnomalies)
    topic: Broker = field(default_factory=Broker)
    dead: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    now: int = MONDAY
    folded: int = 0
    moves: int = 0

    def __post_init__(self) -> None:
        self.watch, self.other = self.worker(), self.worker()
        self.alert = AlertAgent(self.anomalies, self.dead, epoch=0)

    def worker(self, **changed: Any) -> StockWatchAgent:
        """One more worker, just started."""
        parts: dict[str, Any] = {
            "rules": RULES,
            "partitions": 2,
            "now": lambda: self.now,
            "poll_s": 60.0,
            "lead_s": 0.0,
        }
        return StockWatchAgent(
            self.ledger, self.forecasts, self.watches, self.anomalies, self.topic, self.dead, **(parts | changed)
        )

    async def forecast(self, *skus: str, mean: float = 7.0, made_at: int = MONDAY - 1, weeks: int = 1) -> None:
        """One a day, by default, for some weeks from Monday on."""
        told = [week(n, mean, tuple(mean * q / 7 for q in (1, 4, 6, 9, 14))) for n in range(weeks)]
        await self.forecasts.write([replace(x, sku=sku, made_at=made_at) for x in told for sku in skus])

    async def stock(self, units: int, sku: str = "K1", bin_id: str = "B1") -> list[Record]:
        """Somebody counts: so many units are in a bin. Returns the record of the level."""
        self.moves += 1
        place, key = revision(0, self.moves), ("S1", bin_id)
        event = Movement(f"m{self.moves}", Kind.CYCLE_COUNT, MONDAY + self.moves, *key, sku, units)
        state = (await self.ledger.load([key]))[key]
        apply(state, event, place)
        write = BinWrite(key, state, place, [], {sku}, {sku: (f"m{self.moves}", MONDAY)})
        await self.ledger.write_rows([write])
        await self.ledger.write_levels([write])
        data = LevelData(site="S1", bin=bin_id, sku=sku, on_hand=units, revision=place)
        told = message(Envelope(f"{place}", "test", schemas.LEVEL, self.now), f"S1/{bin_id}/{sku}", data)
        return as_records("inventory.levels", [told], self.moves, self.now)

    async def see(self, *stock: int, sku: str = "K1") -> None:
        """Stock changes, and the watch and the alert agent hear of it."""
        for units in stock:
            await self.watch.handle(await self.stock(units, sku))
            await self.fold()

    async def fold(self) -> None:
        """The alert agent catches up."""
        new = self.topic.messages[self.folded :]
        await self.alert.handle(as_records("inventory.anomalies", new, self.folded, self.now))
        self.folded += len(new)

    async def close(self, anomaly: Anomaly) -> None:
        """A person closes it."""
        step = Step(
            f"p{self.now}", anomaly.id, anomaly.kind, "closed", self.now, anomaly.site, None, anomaly.sku, actor="ana",
            reason="other",
        )  # fmt: skip
        await self.topic.publish([step_message(step, "test")])
        await self.fold()

    def said(self) -> list[str]:
        """The actions announced so far."""
        return [str(msgspec.json.decode(m.value)["action"]) for m in self.topic.messages]

    def live(self) -> list[Anomaly]:
        """What asks for work."""
        return [a for a in self.anomalies.states.values() if a.live]
