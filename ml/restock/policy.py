"""Reorder point, order-up-to level and quantity of one item, with everything that they follow from.

In: demand ahead (`Horizon`), an item's parameters, its stock. Out: an `Arithmetic`.

An order of today arrives after the lead time L, and the next one can be placed after the review R: what is there and on its
way has to do for the demand of L + R, D(L+R). An order is due when the position is below the reorder point r, the least y with
    cycle service a     P(D(L+R) <= y) >= a
    fill rate b         E(D(L+R) - y)+ - E(D(L) - y)+ <= (1 - b) E[D(R)]
    costs               the newsvendor of D(L+R): P(D(L+R) <= y) >= p / (p + h), h = unit cost x holding rate x R
and then goes up to S = r - 1 + max(1, EOQ). What spoils within M days of its arrival is bounded by the newsvendor of
D(L+M) with the unit cost for a unit left and p for a unit short; where M <= R that is the level itself. Without a shortage
cost p is the one that makes the service level optimal: c a / (1 - a).
Source: newsvendor and base stock: ml/planning/classical/newsvendor.py; fill rate under periodic review: Johnson, Lee, Davis &
Hall 1995, Naval Res. Logist. 42, and Teunter 2009, Oper. Res. Lett. 37; EOQ: ml/planning/classical/eoq.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inventorybot.domain.restock import MAX_UNITS, Arithmetic, Criterion
from inventorybot.errors import BadEvent, Code
from ml.planning.classical.eoq import eoq
from ml.planning.classical.newsvendor import critical_ratio, newsvendor
from ml.restock.horizon import Horizon, Total

YEAR_DAYS = 365.0
MOST_DAYS = 365
"""Of lead time, review and shelf life: a longer one is a slip of the finger."""


class Ahead(Protocol):
    """Whatever can tell the demand until some day ahead."""

    def total(self, days: Mapping[float, float]) -> Total:
        """Demand until one of several days. Args: days: probability of each, summing to 1."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How an item is bought and kept, and how well it shall be served.

    Args:
        lead_days: (days, probability) from order to arrival. review_days: from one chance to order to the next.
        pack: units. min_order: units, 0: none. shelf_life_days: from arrival; None: it keeps.
        criterion; service_level: of cycles or of units, 0 < level < 1; unused where costs decide.
        unit_cost: money a unit. holding_rate: share of the unit cost a year. shortage_cost: money a unit short.
        order_cost: money an order; 0: an order costs nothing, and is placed at every review that asks for one.
        on_order: units on their way that InventoryBot does not know of.
    Raises: BadEvent: a number is out of range; the path names it.
    """

    lead_days: tuple[tuple[int, float], ...] = ((7, 1.0),)
    review_days: int = 7
    pack: int = 1
    min_order: int = 0
    shelf_life_days: int | None = None
    criterion: Criterion = Criterion.CYCLE_SERVICE
    service_level: float = 0.95
    unit_cost: float = 1.0
    holding_rate: float = 0.25
    shortage_cost: float | None = None
    order_cost: float = 0.0
    on_order: int = 0

    def __post_init__(self) -> None:
        days = [d for d, _ in self.lead_days]
        _range("lead_time", min(days, default=-1), 0, MOST_DAYS)
        _range("lead_time", max(days), 0, MOST_DAYS)
        if any(p <= 0 for _, p in self.lead_days) or abs(sum(p for _, p in self.lead_days) - 1) > 1e-6:
            raise _refuse("lead_time", "the probabilities of the lead times must be above 0 and sum to 1")
        _range("review_days", self.review_days, 1, MOST_DAYS)
        _range("pack", self.pack, 1, MAX_UNITS)
        _range("min_order", self.min_order, 0, MAX_UNITS)
        _range("on_order", self.on_order, 0, MAX_UNITS)
        if self.shelf_life_days is not None:
            _range("shelf_life_days", self.shelf_life_days, 1, 10 * MOST_DAYS)
        _range("service_level", self.service_level, 0.01, 0.9999)
        for name, least in (("unit_cost", 1e-9), ("holding_rate", 1e-9), ("order_cost", 0.0)):
            _range(name, getattr(self, name), least, 1e9)
        if self.shortage_cost is not None:
            _range("shortage_cost", self.shortage_cost, 1e-9, 1e9)
        elif self.criterion is Criterion.COSTS:
            raise _refuse("shortage_cost", "to decide by costs, a shortage cost is needed")

    @property
    def protection_days(self) -> int:
        """The longest lead time and the review."""
        return max(d for d, _ in self.lead_days) + self.review_days

    @property
    def reach_days(self) -> int:
        """The furthest day whose demand matters; a shelf life of over a year does not."""
        shelf = 0 if self.shelf_life_days is None else min(self.shelf_life_days, MOST_DAYS)
        return max(d for d, _ in self.lead_days) + max(self.review_days, shelf)

    @property
    def holding(self) -> float:
        """h: of a unit through one review, money."""
        return self.unit_cost * self.holding_rate * self.review_days / YEAR_DAYS

    @property
    def target(self) -> float:
        """The service level, or the critical ratio of the costs."""
        if self.criterion is Criterion.COSTS and self.shortage_cost is not None:
            return critical_ratio(self.holding, self.shortage_cost)
        return self.service_level

    @property
    def shortage(self) -> float:
        """p for what spoils: the shortage cost, or the one under which the service level is the best fractile."""
        if self.shortage_cost is not None:
            return self.shortage_cost
        return self.unit_cost * self.service_level / (1 - self.service_level)


@dataclass(frozen=True, slots=True)
class Levels:
    """What an order follows from, before stock is looked at. Args: reorder, up_to, cap: units; cap None: it keeps."""

    terms: Terms
    protection: Total
    lead: Total
    shelf: Total | None
    reorder: int
    up_to: int
    cap: int | None

    def quantity(self, position: int) -> tuple[int, int, tuple[str, ...]]:
        """Units needed, units to order in whole packs, and what there is to say. Args: position: units."""
        if position >= self.reorder:
            return 0, 0, ()
        raw = self.up_to - position
        terms = self.terms
        least = _packs(max(terms.min_order, 1), terms.pack)
        up = max(_packs(raw, terms.pack), least)
        if self.shelf is None:
            return raw, *_bounded(up, terms.pack)
        choices = sorted({0, up, *(q for q in (up - terms.pack, raw // terms.pack * terms.pack) if q >= least)})
        worth = shelf_cost(self.shelf, terms)
        best = min(choices, key=lambda q: worth(position + q))
        notes = () if best else (f"The least that can be ordered, {least}, would rather spoil than sell.",)
        return raw, *_bounded(best, terms.pack, notes)


def levels(horizon: Ahead, terms: Terms) -> Levels:
    """Reorder point and order-up-to level. Args: horizon: that reaches `terms.reach_days`."""
    lead = {float(d): p for d, p in terms.lead_days}
    protection = horizon.total({d + terms.review_days: p for d, p in lead.items()})
    waiting = horizon.total(lead)
    shelf, cap = None, None
    reorder = _required(protection, waiting, terms)
    if terms.shelf_life_days is not None and terms.shelf_life_days <= MOST_DAYS:
        shelf = horizon.total({d + terms.shelf_life_days: p for d, p in lead.items()})
        cap = int(newsvendor(shelf.steps, terms.unit_cost, terms.shortage).level) * shelf.step
        reorder = cap if terms.shelf_life_days <= terms.review_days else min(reorder, cap)
    lot = 1
    rate = (protection.mean - waiting.mean) / terms.review_days * YEAR_DAYS
    if terms.order_cost > 0 and rate > 0:
        lot = max(1, round(eoq(terms.order_cost, terms.unit_cost * terms.holding_rate, rate).quantity))
    up_to = reorder - 1 + lot
    if cap is not None:
        up_to = max(reorder, min(up_to, cap))
    return Levels(terms, protection, waiting, shelf, reorder, up_to if reorder > 0 else 0, cap)


def work_out(
    horizon: Horizon, terms: Terms, on_hand: int, on_order: int, *, forecast: str, forecast_at: int, dependence: float
) -> Arithmetic:
    """The whole arithmetic of one item.

    Args:
        on_hand: as recorded, units. on_order: units on their way, those of the terms not included.
        forecast, forecast_at: who made the forecast, and when (ms). dependence: the one that `horizon` was made with.
    """
    found = levels(horizon, terms)
    coming = on_order + terms.on_order
    position = max(on_hand, 0) + coming
    raw, quantity, notes = found.quantity(position)
    if on_hand < 0:
        notes += (f"The record is {on_hand}: it counts as none, and should be looked into.",)
    beyond = math.ceil(horizon.beyond)
    if beyond:
        notes += (f"Forecasts leave out {beyond} of the days; the nearest period stands for them.",)
    if found.protection.step > 1:
        notes += (f"Worked out in steps of {found.protection.step} units.",)
    return Arithmetic(
        forecast, forecast_at, terms.lead_days, terms.review_days, terms.protection_days, beyond, terms.criterion,
        round(terms.target, 6), dependence, round(found.protection.mean, 4), found.protection.quantile(terms.target),
        on_hand, coming, position, found.reorder, found.up_to, raw, quantity, terms.pack, terms.min_order,
        _chance(found.protection, position), _chance(found.protection, position + quantity),
        _chance(found.lead, position), terms.shelf_life_days, found.cap, notes,
    )  # fmt: skip


def _required(protection: Total, lead: Total, terms: Terms) -> int:
    """The least level that meets the criterion, units."""
    if terms.criterion is Criterion.CYCLE_SERVICE:
        return protection.quantile(terms.service_level)
    if terms.criterion is Criterion.COSTS:
        return int(newsvendor(protection.steps, terms.holding, terms.shortage).level) * protection.step
    return fill_level(protection, lead, terms.service_level)


def fill_level(protection: Total, lead: Total, fill_rate: float) -> int:
    """The least order-up-to level whose units short a review are at most 1 - fill rate of its mean demand, units."""
    most = (protection.steps.pmf.size - 1) * protection.step
    short = protection.short(most) - lead.short(most)
    allowed = (1 - fill_rate) * (protection.mean - lead.mean)
    return int(np.argmax(short <= allowed + 1e-9)) * protection.step


def shelf_cost(shelf: Total, terms: Terms) -> Callable[[int], float]:
    """Expected cost of units left over and units short at a level, within lead time and shelf life."""

    def cost(level: int) -> float:
        return newsvendor(shelf.steps, terms.unit_cost, terms.shortage, level=level // shelf.step).cost

    return cost


def _packs(units: int, pack: int) -> int:
    return -(-units // pack) * pack


def _bounded(quantity: int, pack: int, notes: Sequence[str] = ()) -> tuple[int, tuple[str, ...]]:
    if quantity <= MAX_UNITS:
        return quantity, tuple(notes)
    return MAX_UNITS // pack * pack, (*notes, f"It was cut to {MAX_UNITS:,} units, the most that one order may have.")


def _chance(total: Total, level: int) -> float:
    return round(total.over(level), 6)


def _range(name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise _refuse(name, f"{name} must be {least:,.10g} to {most:,.10g}, not {value:g}")


def _refuse(name: str, reason: str) -> BadEvent:
    return BadEvent(Code.OUT_OF_RANGE, f"/{name}", reason)
