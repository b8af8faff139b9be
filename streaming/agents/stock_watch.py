"""inventory.levels + the newest forecasts → inventory.anomalies: what will run out, and of what there is far too much.

In: batches of level records, of which only the SKU matters: what is on hand of it is read anew, all bins together; and, with
no record at all, newer forecasts and the day that has passed (`beside`). Out: steps of anomalies, and what was said (`Watch`).

The bins of a SKU lie in several partitions, so two workers may judge it at once (docs/adr/0014). They agree on the ids; each
notes what it says before it reads the stock once more, so the one that comes last sees both, and has the last word.
"""

from __future__ import annotations

import asyncio
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inventorybot import telemetry
from inventorybot.domain import stock_watch
from inventorybot.domain.alerts import LIVE, Anomaly, Knowledge, Step
from inventorybot.domain.days import DAY_MS
from inventorybot.domain.stock_watch import KINDS, Sight, Watch, WatchRules
from inventorybot.errors import BadEvent, TryLater
from inventorybot.ports import (
    AnomalyStore,
    DeadLetter,
    DeadLetters,
    ForecastStore,
    LevelReader,
    Publisher,
    StockWatchStore,
)
from inventorybot.wire.anomalies import step_message
from inventorybot.wire.codec import Record, read
from inventorybot.wire.schemas import LevelData

SOURCE = "inventorybot/stock-watch"
LEAD_S = 1.0
"""The ledger tells of levels while it writes them: what was just told can be read a little later."""
CHUNK = 500
"""SKUs that a sweep looks at in one go: some 7,000 forecast rows, a tenth of a second."""
REST = 3.0
"""A sweep rests three times as long as it works: it takes a quarter of a core at the most, and nobody waits for it."""
SETTLED_MS = 300_000
"""Forecasts are written for minutes: a sweep that began sooner after they were made is made once more."""
MOST_SIGHTS = 30_000
"""SKUs whose outlook is remembered; some 2 kB each."""
MOST_TOLD = 10_000
"""Anomalies that are known to have been announced; a forgotten one is announced again, which changes nothing."""
WAIT_S = 1.0
"""Between looks for partitions, while this worker has none."""

log = telemetry.log(__name__)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a SKU is looked at. Args: at: ms."""

    at: int
    traceparent: str | None = None


@dataclass(slots=True)
class Findings:
    """What a look at some SKUs of a site leads to. `announce`: what is stored first, then published; the others inversely."""

    steps: list[tuple[Step, str | None]] = field(default_factory=list)
    announce: dict[tuple[str, str], Watch] = field(default_factory=dict)
    after: dict[tuple[str, str], Watch] = field(default_factory=dict)
    judged: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The last sweep of a site: the forecasts it saw, when, and for which partitions."""

    made_at: int | None
    at: int
    owned: frozenset[int]

    def is_due(self, made_at: int | None, owned: frozenset[int], now: int) -> bool:
        """Whether something has changed since, or a day has passed."""
        unsettled = made_at is not None and self.at < made_at + SETTLED_MS <= now
        return made_at != self.made_at or unsettled or now - self.at >= DAY_MS or not owned <= self.owned


class StockWatchAgent:
    """Holds stock against forecasts.

    Args:
        partitions: of inventory.levels: whoever owns one of them sweeps as large a share of the SKUs.
        now: the wall clock, ms. poll_s: between looks for newer forecasts. lead_s: from news of levels to reading them.
    """

    name = "stock-watch"

    def __init__(
        self, levels: LevelReader, forecasts: ForecastStore, watches: StockWatchStore, anomalies: AnomalyStore,
        publisher: Publisher, dead_letters: DeadLetters, *, rules: WatchRules, partitions: int, now: Callable[[], int],
        poll_s: float, lead_s: float = LEAD_S,
    ) -> None:  # fmt: skip
        self._levels, self._forecasts, self._watches, self._anomalies = levels, forecasts, watches, anomalies
        self._publisher, self._dead_letters = publisher, dead_letters
        self._rules, self._partitions, self._now, self._poll_s = rules, partitions, now, poll_s
        self._sights: dict[tuple[str, str], Sight | None] = {}
        self._told: dict[str, None] = {}
        self._swept: dict[str, Sweep] = {}
        self._turn, self._lead_s = asyncio.Lock(), lead_s

    def forget(self, partition: int) -> None:
        """What is remembered is true wherever the partition was."""

    async def handle(self, records: Sequence[Record]) -> None:
        """Look at the SKUs of a batch, each once. Raises: TryLater: nothing is lost; handle the same batch again."""
        dead: list[DeadLetter] = []
        sites = _skus(records, dead)
        age_s = (self._now() - max((r.timestamp for r in records), default=0)) / 1000  # a backlog has waited enough
        await asyncio.sleep(min(max(self._lead_s - age_s, 0.0), self._lead_s))
        for site, causes in sites.items():
            await self._look(site, causes)
            telemetry.STOCK_LOOKS.labels("event").inc(len(causes))
        await self._dead_letters.put(dead)
        for letter in dead:
            telemetry.DEAD.labels(letter.topic, letter.code).inc()

    async def beside(self, owned: Callable[[], Collection[int]]) -> None:
        """Sweep when there are newer forecasts and once a day, until it is cancelled. Args: owned: partitions held now."""
        while True:
            held = frozenset(owned())
            if held:
                try:
                    await self.sweep(held)
                except TryLater as error:  # the next look is soon enough
                    telemetry.RETRIES.labels(error.part).inc()
                    log.warning("sweep waits", part=error.part, reason=error.reason)
            await asyncio.sleep(self._poll_s if held else min(WAIT_S, self._poll_s))

    async def sweep(self, owned: frozenset[int]) -> None:
        """Look at this worker's share of the SKUs of every site where something has changed. Raises: TryLater."""
        for site in [seen.name for seen in await self._levels.catalogue("site", limit=100_000)]:
            now, made_at = self._now(), await self._forecasts.made_at(site)
            last = self._swept.get(site)
            if last is not None and not last.is_due(made_at, owned, now):
                continue
            async with self._turn:
                self._sights = {key: sight for key, sight in self._sights.items() if key[0] != site}
            began = time.monotonic()
            skus = [sku for sku in await self._levels.site_stock(site) if self._mine(sku, owned)]
            strays = await self._strays(site, owned)
            skus = list(dict.fromkeys([*strays, *skus]))
            for i in range(0, len(skus), CHUNK):
                await self._look(site, dict.fromkeys(skus[i : i + CHUNK], Cause(now)), sweep=True)
                await asyncio.sleep(REST * (time.monotonic() - began))
                began = time.monotonic()
            telemetry.STOCK_LOOKS.labels("sweep").inc(len(skus))
            self._swept[site] = Sweep(made_at, now, owned)
            log.info("swept", site=site, skus=len(skus), open=len(strays))

    def _mine(self, sku: str, owned: Collection[int]) -> bool:
        return zlib.crc32(sku.encode()) % self._partitions in owned

    async def _strays(self, site: str, owned: Collection[int]) -> list[str]:
        """SKUs with a live anomaly. One that nobody remembers is taken up again, or ended where another follows it."""
        live: list[Anomaly] = []
        for status in LIVE:
            found = self._anomalies.list(site=site, status=str(status), limit=1_000_000)
            live += [a async for a in found if a.kind in KINDS and a.sku is not None and self._mine(a.sku, owned)]
        skus = list(dict.fromkeys(a.sku for a in live if a.sku is not None))
        async with self._turn:
            states, found_now = await self._watches.load(site, skus), Findings()
            for a in live:
                key, now = (a.sku or "", a.kind), self._now()
                watch = states.get(key, Watch())
                if a.id != watch.anomaly(a.kind, site, key[0]):
                    known = Knowledge(why="It was judged anew under another anomaly.")
                    found_now.steps.append((_step(a.id, a.kind, "resolved", site, key[0], Cause(now), known), None))
                elif watch.said is None:
                    found_now.announce[key] = stock_watch.adopt(watch, a, now)
            await self._tell(site, found_now)
        return skus

    async def _look(self, site: str, causes: Mapping[str, Cause], *, sweep: bool = False) -> None:
        """Judge SKUs and, where something was said, see whether their stock is still what it was said of."""
        mine: dict[tuple[str, str], Watch] = {}
        async with self._turn:
            while causes:
                found = await self._judge(site, causes, mine, sweep)
                await self._tell(site, found)
                mine |= found.announce | found.after
                now = await self._levels.sku_stock(site, list(found.judged)) if found.judged else {}
                causes = {sku: causes[sku] for sku, units in found.judged.items() if now.get(sku, 0) != units}

    async def _judge(
        self, site: str, causes: Mapping[str, Cause], mine: Mapping[tuple[str, str], Watch], sweep: bool
    ) -> Findings:
        """What there is to say. The store is asked what became of anomalies by a sweep, and before one is spoken of."""
        skus = list(causes)
        units, states = await asyncio.gather(self._levels.sku_stock(site, skus), self._watches.load(site, skus))
        states = {**states, **mine}
        sights, now = await self._seen(site, skus), self._now()
        pending: list[tuple[str, str, Watch]] = []
        for sku in skus:
            sight, on_hand = sights[sku], units.get(sku, 0)
            for kind in KINDS:
                watch = states.get((sku, kind))
                if watch is None and (sight is None or not sight.calls(kind, on_hand, self._rules)):
                    continue
                if watch is None or sweep or not self._is_quiet(watch, (site, sku, kind), on_hand, sight, now):
                    pending.append((sku, kind, watch or Watch()))
        opened = [w.anomaly(kind, site, sku) for sku, kind, w in pending if w.said is not None]
        stored = await self._anomalies.get(opened) if opened else {}
        self._told |= dict.fromkeys(stored)
        found = Findings()
        for sku, kind, watch in pending:
            of = (site, sku, kind)
            self._consider(found, of, watch, units.get(sku, 0), sights[sku], stored, causes[sku], now)
        return found

    def _is_quiet(self, watch: Watch, of: tuple[str, str, str], units: int, sight: Sight | None, now: int) -> bool:
        """Whether an anomaly is open, known to have been announced, and nothing new is to be said of it."""
        site, sku, kind = of
        if watch.said is None or watch.anomaly(kind, site, sku) not in self._told:
            return False
        return stock_watch.consider(watch, kind, units, sight, self._rules, now)[1] is None

    def _consider(
        self, found: Findings, of: tuple[str, str, str], before: Watch, units: int, sight: Sight | None,
        stored: Mapping[str, Anomaly], cause: Cause, now: int,
    ) -> None:  # fmt: skip
        site, sku, kind = of
        name = before.anomaly(kind, site, sku)
        watch = stock_watch.reconcile(before, kind, stored.get(name), self._rules, now)
        after, verdict, known = stock_watch.consider(watch, kind, units, sight, self._rules, now)
        lost = watch.said is not None and name not in stored and name not in self._told
        if lost and verdict != "resolved" and sight is not None:  # noted, and then we crashed before it was published
            verdict, known = "raised", stock_watch.tell(kind, units, sight, self._rules, now)
        if verdict is not None:
            updates = after.said.updates if after.said else 0
            name = watch.anomaly(kind, site, sku)
            found.steps.append((_step(name, kind, verdict, site, sku, cause, known, updates), cause.traceparent))
            found.judged[sku] = units
            log.info(verdict, anomaly=name, kind=kind, site=site, sku=sku, why=known.why)
        if after is not before:
            (found.announce if verdict == "raised" else found.after)[sku, kind] = after

    async def _tell(self, site: str, found: Findings) -> None:
        """Note what is raised, publish, note the rest: whatever a crash leaves, the next look finds and mends it."""
        if found.announce:
            await self._watches.write(site, found.announce)
        if found.steps:
            messages = [step_message(s, SOURCE, telemetry.follow(trace)) for s, trace in found.steps]
            await self._publisher.publish(messages)
        if found.after:
            await self._watches.write(site, found.after)
        for step, _ in found.steps:
            telemetry.ANOMALIES.labels(step.kind, step.action).inc()
            self._told[step.anomaly_id] = None
        _trim(self._told, MOST_TOLD)

    async def _seen(self, site: str, skus: Iterable[str]) -> dict[str, Sight | None]:
        """What is expected of each SKU; None: nothing is forecast of it."""
        now, found, unknown = self._now(), dict[str, Sight | None](), []
        for sku in skus:
            key = (site, sku)
            if key not in self._sights:
                unknown.append(sku)
            elif (sight := self._sights[key]) is None:
                found[sku] = None
            else:
                found[sku] = self._sights[key] = sight.fresh(self._rules, now)
        told = await self._forecasts.of_skus(site, unknown, now) if unknown else {}
        for sku in unknown:
            outlook = stock_watch.outlook_of(told.get(sku, ()))
            found[sku] = self._sights[site, sku] = None if outlook is None else Sight.of(outlook, self._rules, now)
        _trim(self._sights, MOST_SIGHTS)
        return found


def _skus(records: Sequence[Record], dead: list[DeadLetter]) -> dict[str, dict[str, Cause]]:
    """The SKUs of each site that records are about, each with the newest of its records: the others need no reading."""
    sites: dict[str, dict[str, Cause]] = {}
    known: set[tuple[bytes, bytes]] = set()
    for record in reversed(records):
        site, _, rest = (record.key or b"").partition(b"/")
        spot = (site, rest.partition(b"/")[2])
        if spot in known:
            continue
        try:
            data, head = read(record, LevelData)
        except BadEvent as error:
            dead.append(DeadLetter.of(record, error))
            continue
        known.add(spot)
        sites.setdefault(data.site, {}).setdefault(data.sku, Cause(record.timestamp, head.traceparent))
    return sites


def _step(
    anomaly: str, kind: str, verdict: str, site: str, sku: str, cause: Cause, known: Knowledge, updates: int = 0
) -> Step:
    """The step to announce; its id follows from the anomaly and the verdict, so saying it again is the same step."""
    name = f"{verdict}\x1f{updates}" if verdict == "updated" else verdict
    identity = str(uuid.uuid5(uuid.UUID(anomaly), name))
    return Step(identity, anomaly, kind, verdict, cause.at, site, None, sku, knowledge=known)


def _trim(known: dict[Any, Any], most: int) -> None:
    """Forget what was learnt first."""
    for key in list(known)[: max(0, len(known) - most)]:
        del known[key]
