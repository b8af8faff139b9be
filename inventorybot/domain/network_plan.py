"""A network plan as people see it: who asked for it and what is changed in it, how it stands, its prices and flows.

In: requests. Out: pure values. Volumes in m³, quantities in units, money in the network's currency, times in ms since
the epoch, UTC; periods are numbered from 0, the first of the plan's horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from inventorybot.errors import BadEvent, Code


class PlanState(StrEnum):
    """How far a plan is. It only moves forwards: queued, solving, then ready or failed for good."""

    QUEUED = "queued"
    SOLVING = "solving"
    READY = "ready"
    FAILED = "failed"


RANK = {PlanState.QUEUED: 0, PlanState.SOLVING: 1, PlanState.FAILED: 2, PlanState.READY: 2}
"""Of two states of one plan, the one of the higher rank is the newer."""


@dataclass(frozen=True, slots=True)
class PlanChange:
    """What is otherwise at one site, from a first to a last period (None: to the end of the horizon).

    Args:
        storage_m3, inbound_units: added a period to what the site can hold and take in; below 0: taken away.
        lost: the site holds and takes in nothing.
    """

    site: str
    storage_m3: float = 0.0
    inbound_units: float = 0.0
    lost: bool = False
    first_period: int = 0
    last_period: int | None = None

    def holds(self, period: int) -> bool:
        """Whether it holds in a period."""
        return self.first_period <= period and (self.last_period is None or period <= self.last_period)

    def fault(self) -> str | None:
        """Why it cannot be meant; None: it can."""
        if self.last_period is not None and self.last_period < self.first_period:
            return f"last_period {self.last_period} lies before first_period {self.first_period}"
        if self.lost and (self.storage_m3 or self.inbound_units):
            return "a site that is lost cannot be given storage or inbound flow as well"
        if not (self.lost or self.storage_m3 or self.inbound_units):
            return "nothing is changed: say storage_m3, inbound_units or lost"
        return None


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A plan is asked for.

    Args:
        id: the plan's; one id is one plan, however often it is asked for.
        by, why: who asks, and what for.
        base: plan on whose network, demand and stock this one is made; None: on those of the moment.
    """

    id: str
    asked_at: int
    by: str
    why: str | None = None
    changes: tuple[PlanChange, ...] = ()
    base: str | None = None

    def check(self) -> None:
        """Raises: BadEvent: it contradicts itself."""
        if self.base == self.id:
            raise BadEvent(Code.CONTRADICTION, "/data/base", "a plan cannot be its own base")
        for number, change in enumerate(self.changes):
            if said := change.fault():
                raise BadEvent(Code.CONTRADICTION, f"/data/changes/{number}", said)

    def same(self, other: PlanRequest) -> bool:
        """Whether both ask for the same plan; who asks, why and when may differ."""
        return (self.id, self.base, self.changes) == (other.id, other.base, other.changes)


@dataclass(frozen=True, slots=True)
class Horizon:
    """When the periods of a plan are. Args: start: begin of the first, ms. period_ms: length of each."""

    start: int
    period_ms: int


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """What came out.

    Args:
        made_at: when it was solved. start: the first period's begin. period_ms: length of a period.
        value: what the plan earns beyond doing nothing. bound: proven: no plan earns more. gap: (bound − value)/|value|.
        profit: expected, all told.
        violation: the most by which a limit is passed, m³ or units.
        seconds: of solving, reading and writing not included.
    """

    made_at: int
    start: int
    period_ms: int
    periods: int
    skus: int
    sites: int
    value: float
    bound: float
    gap: float
    profit: float
    violation: float
    seconds: float

    def period_at(self, at: int) -> int | None:
        """The period that holds a moment; None: it lies outside the horizon."""
        period = (at - self.start) // self.period_ms
        return period if 0 <= period < self.periods else None


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """A plan as it stands. `figures` are there when it is ready, `reason` when it has failed."""

    request: PlanRequest
    state: PlanState
    reason: str | None = None
    figures: PlanFigures | None = None

    @property
    def id(self) -> str:
        """The plan's."""
        return self.request.id

    @property
    def cursor(self) -> str:
        """Its place in a list, newest first."""
        return f"{self.request.asked_at}.{self.id}"


@dataclass(frozen=True, slots=True)
class SitePrice:
    """What one more unit of a limit is worth in a period: `storage` of a m³ of room, `flow` of a unit taken in."""

    site: str
    period: int
    storage: float
    flow: float


@dataclass(frozen=True, slots=True)
class Flow:
    """What goes from a site (or "supplier") to a site in a period, all SKUs together."""

    from_site: str
    to_site: str
    period: int
    units: float
    m3: float


def capacity(
    changes: Sequence[PlanChange], site: str, period: int, storage_m3: float, inbound_units: float
) -> tuple[float, float]:
    """(m³, units) that a site can hold and take in during a period once all changes hold; never below 0."""
    here = [c for c in changes if c.site == site and c.holds(period)]
    if any(c.lost for c in here):
        return 0.0, 0.0
    storage = storage_m3 + sum(c.storage_m3 for c in here)
    inbound = inbound_units + sum(c.inbound_units for c in here)
    return max(storage, 0.0), max(inbound, 0.0)
