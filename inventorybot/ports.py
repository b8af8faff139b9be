"""What agents, routes and jobs need from the outside world, and no more. Adapters implement these; so do the fakes.

Every method may raise TryLater. Times are ms since the epoch, UTC; revisions are `domain.ledger.revision` numbers.
tests/contract runs one suite over the real adapter and over the fake of each port.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from inventorybot.domain.alerts import Anomaly, Step
from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.forecast import Forecast
from inventorybot.domain.ledger import Bin, Fingerprint, LedgerRow
from inventorybot.domain.network_plan import Flow, PlanState, PlanSummary, SitePrice
from inventorybot.domain.restock import ItemHistory, Recommendation
from inventorybot.domain.restock import State as RestockState
from inventorybot.domain.stock_watch import Watch
from inventorybot.domain.variance import Evidence
from inventorybot.errors import BadEvent
from inventorybot.wire.codec import Message, Record

BinKey = tuple[str, str]
"""(site, bin)"""


class Publisher(Protocol):
    """Writes records; returns when every one is acknowledged by all in-sync replicas."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Raises: TryLater: at least one was not acknowledged in time; publishing all again does no harm."""


Position = tuple[int, ...]
"""A place in every partition of a topic: for each, by number, the offset of the next record to read."""


class LogReader(Protocol):
    """Reads the log itself: one record by its place, or a stretch of a topic from any place on."""

    async def at(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record that lies there; None: retention has removed it, or nothing was ever there."""

    async def bounds(self, topic: str) -> tuple[Position, Position]:
        """The oldest record kept of each partition, and the next to come."""

    def read(
        self, topic: str, start: Position, until: Position | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Records from `start` on, in batches, in order within a partition.

        Args:
            start: where retention has removed it, the oldest record kept comes next.
            until: end before these; None: wait for what comes, for ever, also while no broker answers.
        """


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An input that can never work, where it lay, and why.

    Args:
        topic, partition, offset: its place, which is also its identity.
        at: when it arrived there, ms.
        original: key, value and headers as they were.
        replayed_at: when somebody last sent it again; None: never.
        whole: False where `original` has no bytes: in a list, and once retention has removed them.
    """

    topic: str
    partition: int
    offset: int
    at: int
    code: str
    path: str
    reason: str
    original: Record
    replayed_at: int | None = None
    whole: bool = True

    @property
    def id(self) -> str:
        """topic:partition:offset"""
        return f"{self.topic}:{self.partition}:{self.offset}"

    @classmethod
    def of(cls, record: Record, error: BadEvent) -> DeadLetter:
        """The dead letter of a record that was refused."""
        return cls(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            str(error.code),
            error.path,
            error.reason,
            record,
        )


class DeadLetters(Protocol):
    """Keeps what could not be processed: the bytes in inventory.dead-letters, an index to find them by."""

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep them; a repeat of one changes nothing."""

    def list(self, *, code: str | None = None, topic: str | None = None, limit: int = 100) -> AsyncIterator[DeadLetter]:
        """Newest first, without the original bytes."""

    async def get(self, letter_id: str) -> DeadLetter | None:
        """By `DeadLetter.id`, with the original bytes where they are still kept."""

    async def mark_replayed(self, letter_id: str, at: int) -> None:
        """Note that it was sent again."""


class LedgerEntry(Struct, frozen=True, gc=False):
    """A ledger row as people read it. `arrived_at`: the broker's time of its arrival, ms."""

    row: LedgerRow
    kind: str
    source: str
    arrived_at: int
    to_bin: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class BinWrite:
    """What one batch changed in one bin.

    Args:
        entries: new ledger rows.
        touched: SKUs whose level must be written (again).
        new_skus: SKUs never before seen in this bin, with the event that named them and its arrival, ms.
        applied: the revision that the levels contain once this is written.
    """

    key: BinKey
    state: Bin
    applied: int
    entries: list[LedgerEntry] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    new_skus: dict[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that appeared in an event for the first time: a site, a bin or a SKU. Upstream may be ahead of us."""

    kind: str
    site: str
    name: str
    first_event_id: str
    first_seen_at: int


class LedgerStore(Protocol):
    """The ledger agent's own state. Two phases: rows before levels, so that a crash between them loses nothing."""

    async def load(self, keys: Sequence[BinKey]) -> dict[BinKey, Bin]:
        """State of bins; one never seen is an empty `Bin`."""

    async def find(
        self, wanted: Sequence[tuple[BinKey, int, str]]
    ) -> dict[tuple[BinKey, str], tuple[int, Fingerprint]]:
        """Revision and content by (bin, event id) of those of (bin, occurred_at, event id) that are stored."""

    async def rows_after(self, key: BinKey, after: int, until: int) -> list[LedgerRow]:
        """Stored rows of a bin that occurred in (after, until]."""

    async def write_rows(self, writes: Sequence[BinWrite]) -> list[Seen]:
        """Phase one: the facts. Returns the sites, bins and SKUs that were never seen before, now in the catalogue."""

    async def write_levels(self, writes: Sequence[BinWrite]) -> None:
        """Phase two: the levels that follow from them. An older revision never overwrites a newer one."""


@dataclass(frozen=True, slots=True)
class Level:
    """The level of one slot as it is read."""

    site: str
    bin: str
    sku: str
    on_hand: int
    revision: int
    counted_at: int | None = None


class LevelReader(Protocol):
    """Levels and history for people and for the variance agent."""

    async def bin_levels(self, key: BinKey) -> list[Level]:
        """Every slot of a bin, by SKU."""

    async def bin_levels_as_of(self, key: BinKey, at: int) -> dict[str, int]:
        """Units by SKU that the record held at a moment, given every event that has arrived by now."""

    async def sku_levels(self, site: str, sku: str) -> list[Level]:
        """Every slot of a SKU at a site, by bin."""

    async def site_stock(self, site: str) -> dict[str, int]:
        """Units on record of every SKU that a site has ever had, all bins together; a sum may be 0 or below."""

    async def sku_stock(self, site: str, skus: Sequence[str]) -> dict[str, int]:
        """Units of SKUs at a site, all bins together; those that never were in a bin are left out."""

    async def catalogue(self, kind: str, site: str = "", after: str = "", limit: int = 100) -> list[Seen]:
        """kind "site", "bin" or "sku" (of a site), by name, from the first after `after`."""

    async def history(self, key: BinKey, sku: str | None, *, since: int, until: int, limit: int) -> list[LedgerEntry]:
        """Ledger rows of a bin (or one slot of it) in (since, until], newest first."""


@dataclass(frozen=True, slots=True)
class CountRow:
    """One picture's count, with what the record said when it was taken."""

    site: str
    bin: str
    captured_at: int
    image_id: str
    distribution: CountDistribution
    prior: tuple[float, ...]
    model: str
    image_at: str
    image_url: str | None
    arrived_at: int
    recorded: int | None = None
    probability_wrong: float | None = None


class EvidenceStore(Protocol):
    """The variance agent's state of each bin, and the counts it was drawn from."""

    async def load(self, keys: Sequence[BinKey]) -> dict[BinKey, Evidence]:
        """State of bins; one never looked at is an empty `Evidence`."""

    async def write(self, states: Mapping[BinKey, tuple[Evidence, int]], counts: Sequence[CountRow]) -> None:
        """Store states, each as of a revision of inventory.bin-counts (an older never overwrites), and the counts."""

    async def counts(self, key: BinKey, *, limit: int = 50) -> list[CountRow]:
        """The counts of a bin, newest first."""


class AnomalyStore(Protocol):
    """Anomalies as inventory.anomalies tells them, folded by the alert agent."""

    async def get(self, anomaly_ids: Iterable[str]) -> dict[str, Anomaly]:
        """Those that exist, by id."""

    async def write(self, changed: Mapping[str, tuple[Anomaly, int]], steps: Sequence[tuple[int, Step]]) -> None:
        """Store anomalies and the steps that led there, each with its revision (an older never overwrites)."""

    async def steps(self, anomaly_id: str) -> list[Step]:
        """Its life so far, oldest first."""

    def list(
        self, *, site: str | None = None, status: str | None = None, kind: str | None = None,
        assignee: str | None = None, limit: int = 100, before: str | None = None,
    ) -> AsyncIterator[Anomaly]:  # fmt: skip
        """Newest first; `before` is the cursor of the last one had."""


class ForecastStore(Protocol):
    """Forecasts of demand, as the newest model told them."""

    async def write(self, forecasts: Sequence[Forecast]) -> None:
        """Store them; of one site, SKU and period the one made later stays."""

    async def periods(self, site: str, since: int) -> list[int]:
        """Begins of the periods from `since` on that have a forecast of the site, ms, rising."""

    async def of_site(self, site: str, period: int) -> list[Forecast]:
        """What a site will be asked for in a period, by SKU."""

    async def of_skus(self, site: str, skus: Sequence[str], since: int) -> dict[str, list[Forecast]]:
        """Forecasts of SKUs for the period that holds `since`, ms, and all later ones; those without any are left out.

        A site's periods follow one calendar (days, weeks, months): that period is the last that begins at `since` or before.
        """

    async def made_at(self, site: str) -> int | None:
        """When the newest forecasts of a site were made, ms; None: there are none."""


class StockWatchStore(Protocol):
    """What the stock-watch agent last said of each SKU at a site, by kind of anomaly."""

    async def load(self, site: str, skus: Sequence[str]) -> dict[tuple[str, str], Watch]:
        """By (SKU, kind); of those on which nothing was ever said there is none."""

    async def write(self, site: str, watches: Mapping[tuple[str, str], Watch]) -> None:
        """Store them; one of a lower `version` never overwrites a higher one."""


class PlanStore(Protocol):
    """Network plans: how each stands, and what came out of it."""

    async def put(self, plan: PlanSummary) -> None:
        """Store how a plan stands; it never goes back (`network_plan.RANK`), whoever writes last."""

    async def put_result(
        self, plan_id: str, at: int, prices: Sequence[SitePrice], flows: Sequence[Flow], pictures: Mapping[str, bytes]
    ) -> None:
        """Store what came out, before the plan is said to be ready. A later result replaces an earlier one as a whole.

        Args: at: when it was solved, ms. pictures: SVG by name.
        """

    async def get(self, plan_id: str) -> PlanSummary | None:
        """How a plan stands; None: nobody has asked for it."""

    async def prices(self, plan_id: str) -> list[SitePrice]:
        """By site and period; none while it is not ready."""

    async def flows(self, plan_id: str, period: int) -> list[Flow]:
        """Of one period, by the sites they go from and to."""

    async def picture(self, plan_id: str, name: str) -> bytes | None:
        """An SVG; None: there is none of that name."""

    def list(
        self, *, state: PlanState | None = None, limit: int = 100, before: str | None = None
    ) -> AsyncIterator[PlanSummary]:
        """Those of the last year, asked for last first; `before` is the cursor of the last one had."""


class RestockStore(Protocol):
    """Restock recommendations, what people decided about them, and which orders are on their way."""

    async def put(self, made: Sequence[Recommendation]) -> int:
        """Store new ones. Of one site, SKU and day the one made first stays as it is; steps are never touched.

        Returns: how many were not there yet.
        """

    async def find(self, recommendation_id: str) -> Recommendation | None:
        """By id, as it stands."""

    async def history(self, site: str, sku: str) -> ItemHistory:
        """The newest recommendations of a site and SKU, newest first, as they stand, and their version."""

    async def step(self, after: Recommendation, version: int) -> bool:
        """Store the steps of one, if no step of its site and SKU was stored since `version` was read; else False."""

    async def mark_sent(self, of: Recommendation, at: int) -> None:
        """Note that the ERP's event of an approved one is acknowledged."""

    async def under_way(self, site: str) -> list[Recommendation]:
        """Those of a site that are approved and not received, by SKU and day."""

    def list(
        self, *, site: str | None = None, state: RestockState | None = None, limit: int = 100, before: str | None = None
    ) -> AsyncIterator[Recommendation]:
        """Those of the last year, newest day first, then by site and SKU; `before` is the cursor of the last one had."""


class CountModel(Protocol):
    """One release of the count model, loaded. `class_prior`: the class frequencies that its output is calibrated under."""

    name: str
    version: str
    class_prior: tuple[float, ...]

    def score(self, jpegs: Sequence[bytes]) -> list[CountDistribution | BadEvent]:
        """One answer an image, in order; a bad image never fails its neighbours. Blocks: call it from a thread."""


class Blobs(Protocol):
    """Reads referenced images."""

    async def read(self, url: str) -> bytes:
        """Raises: BadEvent: image-unreachable after bounded retries, image-too-large, or a place that is not allowed."""
