"""A seeded warehouse with a hidden truth: replays demand as daily movements, and spoils some of its records.

In: `Demand`, a `World`, a seed. Out: `Replay`: the story that the ledger tells, and the truth that it does not know.
Sales are bounded by the stock that is there; orders follow the stock that is recorded. That is all a fault needs to do harm.
2,000 slots × 455 days take about 3 s. Run: see `replay`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

from ml.anomaly.demand import Demand
from ml.anomaly.faults import MISPLACEMENT, PHANTOM, SCAN, SHRINKAGE, UNIT, Mix, Plan, Truth, plan
from ml.anomaly.story import FLOWS, Matrix, Story, codes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WARM = 91
"""Days before anything goes wrong and before anything is scored: the longest window of most features."""

HALF_LIFE = 42
"""Days after which a day's sales weigh half in the forecast."""

LATEST = 32
"""Longest lead time, days."""


@dataclass(frozen=True, slots=True)
class World:
    """How the warehouse is run.

    Args:
        mix: how often each fault comes.
        counts_a_year: routine cycle counts of a slot, on average; fast movers are counted up to twice as often.
        slips_a_year: single units lost or gained unbooked, of a slot: noise, and no fault.
        miscount: share of counts that are off by one to three.
        lulls: how often demand falls for honest reasons; 1: as in demand.py.
    """

    mix: Mix = field(default_factory=Mix)
    counts_a_year: float = 3.0
    slips_a_year: float = 0.4
    miscount: float = 0.02
    lulls: float = 1.0


@dataclass(frozen=True, slots=True)
class Replay:
    """What the ledger says, and what is true; `warm` columns at first are history only."""

    story: Story
    truth: Truth
    warm: int


def replay(
    demand: Demand, world: World, rng: np.random.Generator, *, first_day: date = date(2025, 1, 6), warm: int = WARM
) -> Replay:
    """Plays the demand through the warehouse, day by day, all slots at once.

    Args:
        demand: (S, D) units asked for; D > `warm`.
        rng: seeded; the same seed plays the same days.
    """
    return _Warehouse(demand, world, rng, warm).run(first_day, warm)


class _Warehouse:
    """The state of all slots on one day; every vector is (S,)."""

    def __init__(self, demand: Demand, world: World, rng: np.random.Generator, warm: int) -> None:
        slots, days = demand.units.shape
        self.demand, self.world, self.rng, self.slots, self.days = demand, world, rng, slots, days
        self.level = np.maximum(demand.rate, 0.01)  # the forecast's idea of an ordinary day
        self.pack = self._packs()
        self.lead, self.cover = rng.integers(1, 8, slots), rng.uniform(5, 21, slots)
        self.safety, self.shelf = rng.uniform(1.2, 2.2, slots), rng.integers(1, 4, slots)
        self.plan: Plan = plan(demand, self.pack, world.mix, warm, rng)
        self.kind = self.plan.kind.copy()
        self.sku, self.skus = codes(demand.sku)
        self.done = np.zeros(slots, dtype=bool)
        paired = np.flatnonzero(self.plan.partner >= 0)
        self.kind[self.plan.partner[paired]] = self.plan.kind[paired]
        start = np.ceil(self.level * (self.lead + self.cover)) + self.shelf
        self.true = np.where(demand.listed[:, 0], start, 0.0)
        self.record, self.fault = self.true.copy(), np.zeros(slots)
        self.coming = np.zeros((slots, LATEST))  # a ring: what arrives on which day
        often = np.clip(self.level / np.median(self.level), 0.7, 2.0)
        self.count_rate = world.counts_a_year / 365 * often / often.mean()
        self.out: dict[str, Matrix] = {flow: np.zeros((slots, days)) for flow in (*FLOWS, "on_hand", "fault")}

    def _packs(self) -> Ints:
        """Units a case: small for slow movers, up to 24."""
        fast = np.clip(np.log1p(self.level) / 2, 0, 1)
        return np.array([1, 6, 12, 24])[np.minimum((self.rng.random(self.slots) + fast) * 2.2, 3).astype(np.int64)]

    def run(self, first_day: date, warm: int) -> Replay:
        for day in range(self.days):
            expected = self.level * self.demand.planned[:, day]
            booked = self._receive(day)
            opening = self.record + booked
            sold = self._sell(day)
            returned = np.where(sold > 0, self.rng.binomial(np.maximum(sold, 0).astype(np.int64), 0.01), 0).astype(
                np.float64
            )
            self.true += returned
            written = np.where(
                self.rng.random(self.slots) < 0.5 / 365, np.minimum(self.true, self.rng.integers(1, 4, self.slots)), 0
            )
            self.true -= written
            self._lose(day)
            self.record += booked + returned - sold - written
            counted, adjusted = self._count()
            self._learn(day, sold, opening)
            self._order(day)
            for name, value in zip(
                (*FLOWS, "on_hand", "fault"),
                (sold, booked, returned, written, adjusted, counted, self.record, expected, self.true, self.fault), strict=True,
            ):  # fmt: skip
                self.out[name][:, day] = value
        d = self.demand
        story = Story(d.site, d.sku, d.family, first_day, **{flow: self.out[flow] for flow in FLOWS})
        truth = Truth(
            d.site,
            d.sku,
            self.kind,
            self.out["on_hand"],
            self.out["fault"],
            story.recorded - self.out["on_hand"],
            d.units.mean(1),
        )
        return Replay(story, truth, warm)

    def _active(self, kind: int, day: int) -> npt.NDArray[np.bool_]:
        active: npt.NDArray[np.bool_] = (self.plan.kind == kind) & (day >= self.plan.start) & ~self.done
        return active

    def _receive(self, day: int) -> Floats:
        """Takes in what arrives, and returns what is booked for it: misplacement and unit faults strike here, once."""
        received = self.coming[:, day % LATEST].copy()
        self.coming[:, day % LATEST] = 0
        booked = received.copy()
        for slot in np.flatnonzero(self._active(MISPLACEMENT, day) & (received >= 2)):
            astray = np.ceil(received[slot] * self.plan.share[slot])
            booked[slot] -= astray
            booked[self.plan.partner[slot]] += astray
            self.done[slot] = True
        for slot in np.flatnonzero(self._active(UNIT, day) & (received >= 6)):
            factor = int(self.plan.factor[slot])
            booked[slot] = np.ceil(received[slot] / factor) if factor > 0 else received[slot] * -factor
            self.done[slot] = True
        self.fault += booked - received
        self.true += received
        return booked

    def _sell(self, day: int) -> Floats:
        """Booked sales: what customers took, some of it scanned as another SKU."""
        taken = np.minimum(self.demand.units[:, day], self.true)
        self.true -= taken
        sold: Floats = taken.copy()
        going = self._active(SCAN, day) & (day < self.plan.start + self.plan.length)
        for slot in np.flatnonzero(going & (taken > 0)):
            other = self.rng.binomial(int(taken[slot]), self.plan.share[slot])
            sold[slot] -= other
            sold[self.plan.partner[slot]] += other
        self.fault += taken - sold
        return sold

    def _lose(self, day: int) -> None:
        """Units that go and leave no booking: a lot at once, one by one, and the odd slip that is no fault."""
        lost = np.zeros(self.slots)
        lot = self._active(PHANTOM, day) & (self.true >= 2)
        lost[lot] = np.ceil(self.true[lot] * self.plan.share[lot])
        self.done[lot] = True
        slow = self._active(SHRINKAGE, day) & (day < self.plan.start + self.plan.length)
        lost[slow] = self.rng.poisson(np.maximum(0.03, self.plan.share * self.demand.rate)[slow])
        lost = np.minimum(lost, self.true)
        self.true -= lost
        self.fault += lost
        slip = (self.rng.random(self.slots) < self.world.slips_a_year / 365) * self.rng.choice([-1, 1], self.slots)
        self.true = np.maximum(0, self.true + slip)

    def _count(self) -> tuple[Floats, Floats]:
        """Cycle counts: what they found (NaN: none), and the correction booked. A count is itself wrong now and then."""
        chosen = self.rng.random(self.slots) < self.count_rate
        off = (self.rng.random(self.slots) < self.world.miscount) * self.rng.integers(-3, 4, self.slots)
        counted = np.where(chosen, np.maximum(0, self.true + off), np.nan)
        adjusted: Floats = np.where(chosen, counted - self.record, 0)
        self.record = np.where(chosen, counted, self.record)
        self.fault = np.where(chosen, 0.0, self.fault)
        return counted, adjusted

    def _learn(self, day: int, sold: Floats, opening: Floats) -> None:
        """Exponential smoothing of sales, without the days on which the record showed no stock."""
        planned = np.maximum(self.demand.planned[:, day], 0.05)
        weight = np.where((opening > 0) & self.demand.listed[:, day], 1 - 0.5 ** (1 / HALF_LIFE), 0)
        self.level = np.maximum(0.005, (1 - weight) * self.level + weight * sold / planned)

    def _order(self, day: int) -> None:
        """(s, nQ) on the recorded position; deliveries are late, short or larger than usual now and then."""
        ahead = self.demand.planned[:, day + 1 : day + 15]
        rate = self.level * (ahead.mean(1) if ahead.shape[1] else 1.0)
        span = rate * (self.lead + 1)
        point = np.maximum(self.shelf, span + self.safety * np.sqrt(span * 1.7))
        position = np.maximum(self.record, 0) + self.coming.sum(1)
        due: npt.NDArray[np.bool_] = (position <= point) & self.demand.listed[:, day]
        forward = np.where(
            self.rng.random(self.slots) < 0.02, self.rng.uniform(3, 10, self.slots), 1.0
        )  # a bargain, a campaign
        wanted = np.ceil(np.maximum(1, point + rate * self.cover * forward - position) / self.pack) * self.pack
        part = self.rng.uniform(0.05, 0.9, self.slots)
        short = np.ceil(wanted / self.pack * part) * self.pack  # whole cases, as suppliers ship
        wanted = np.where(self.rng.random(self.slots) < 0.03, short, wanted)
        late = np.where(self.rng.random(self.slots) < 0.06, self.rng.integers(2, 15, self.slots), 0)
        chosen = np.flatnonzero(due)
        np.add.at(self.coming, (chosen, ((day + self.lead + late) % LATEST)[chosen]), wanted[chosen])
        pushed = self._pushed() & self.demand.listed[:, day]
        self.coming[:, (day + 3) % LATEST] += np.where(
            pushed, np.ceil(np.maximum(1, rate * 14) / self.pack) * self.pack, 0
        )

    def _pushed(self) -> npt.NDArray[np.bool_]:
        """Deliveries that nobody ordered, booked as they are: head office sends a SKU to all sites, or one to one."""
        chosen: npt.NDArray[np.bool_] = (self.rng.random(self.skus) < 0.3 / 365)[self.sku] | (
            self.rng.random(self.slots) < 0.05 / 365
        )
        return chosen
