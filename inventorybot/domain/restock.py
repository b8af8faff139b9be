"""A restock recommendation as people see it: its arithmetic, what they decide about it, and what is on order because of it.

In: figures that ml/restock has worked out, and people's steps. Out: pure values; a step that cannot follow is refused.
Quantities are whole units, money in the business's currency, times ms since the epoch, UTC; a day is yyyymmdd, UTC.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from inventorybot.domain.days import DAY_MS
from inventorybot.errors import BadEvent, Code

MAX_UNITS = 1_000_000
MOST_TIMES = 10
"""A person may order up to this many times the level that was worked out: more is a slip of the finger."""
_NAMESPACE = uuid.UUID("b1d1a0a4-5d0f-5f0e-8f0c-2f5a7c0f6e21")


class State(StrEnum):
    """Proposed asks for a decision. Lapsed: a newer one has taken its place, or its time is over, undecided."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    DISMISSED = "dismissed"
    RECEIVED = "received"
    LAPSED = "lapsed"


class Criterion(StrEnum):
    """What the reorder point is set by."""

    CYCLE_SERVICE = "cycle-service"
    FILL_RATE = "fill-rate"
    COSTS = "costs"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a quantity was come by.

    Args:
        forecast: who said what will be asked for. forecast_at: when it was made, ms.
        lead_days: (days, probability) of every lead time. review_days: until the next chance to order.
        protection_days: longest lead time and review together. beyond_days: of these, how many no forecast reaches.
        criterion, target: what the reorder point is set by, 0 < target < 1; for costs the critical ratio.
        dependence: correlation of the periods' demands (normal copula), 0 to 1.
        demand_mean: of lead time and review, units. demand_at_target: its quantile at the target.
        on_hand: as recorded; below 0 counts as none. on_order: approved or told, not yet received.
        position: what is there and on its way.
        reorder_point: below it an order is due. order_up_to: the level that an order aims at.
        shelf_life_days: None: it keeps. sells_in_shelf_life: the level above which a unit more is likelier to be thrown away.
        raw: order_up_to - position, where an order is due, else 0. quantity: after packs, minimum and shelf life.
        stock_out_without, stock_out_with: probability that lead time and review ask for more than there is, without and with it.
        stock_out_before: ... that the lead time alone does: no order of today can help.
        notes: what a person should know besides.
    """

    forecast: str
    forecast_at: int
    lead_days: tuple[tuple[int, float], ...]
    review_days: int
    protection_days: int
    beyond_days: int
    criterion: Criterion
    target: float
    dependence: float
    demand_mean: float
    demand_at_target: int
    on_hand: int
    on_order: int
    position: int
    reorder_point: int
    order_up_to: int
    raw: int
    quantity: int
    pack: int
    min_order: int
    stock_out_without: float
    stock_out_with: float
    stock_out_before: float
    shelf_life_days: int | None = None
    sells_in_shelf_life: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What a person did. Args: action: changed, approved, dismissed or received. quantity: as it is after the step."""

    action: str
    by: str
    at: int
    quantity: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to order of a SKU for a site, found on a day.

    Args:
        expires_at: when the next review is due; undecided, it lapses then.
        steps: what people did, oldest first.
        sent_at: when the ERP's event was acknowledged; None: not yet, or nothing to send.
        newer: day of a newer one of the same site and SKU; the store fills it in.
    """

    site: str
    sku: str
    day: int
    made_at: int
    expires_at: int
    arithmetic: Arithmetic
    steps: tuple[Step, ...] = ()
    sent_at: int | None = None
    newer: int | None = None

    @property
    def id(self) -> str:
        """The same for the same site, SKU and day, whoever works it out."""
        return recommendation_id(self.site, self.sku, self.day)

    @property
    def quantity(self) -> int:
        """Units to order, as people have left it."""
        return self.steps[-1].quantity if self.steps else self.arithmetic.quantity

    @property
    def cursor(self) -> str:
        """Its place in a list, newest day first."""
        return f"{self.day}.{self.site}/{self.sku}"

    def state(self, now: int) -> State:
        """How it stands at a moment, ms."""
        last = next((s for s in reversed(self.steps) if s.action != "changed"), None)
        if last is not None:
            return State(last.action)
        return State.LAPSED if self.newer is not None or now >= self.expires_at else State.PROPOSED

    def step(self, action: str) -> Step | None:
        """The last step of a kind."""
        return next((s for s in reversed(self.steps) if s.action == action), None)

    def due_at(self) -> int | None:
        """Until when an approved order counts as on its way, ms: its longest lead time and one review; None: not approved."""
        approved = self.step("approved")
        return None if approved is None else approved.at + self.arithmetic.protection_days * DAY_MS


@dataclass(frozen=True, slots=True)
class ItemHistory:
    """The newest recommendations of one site and SKU, newest first. Args: version: grows with every step; 0: none yet."""

    version: int
    recommendations: tuple[Recommendation, ...]

    def get(self, day: int) -> Recommendation | None:
        """The one of a day."""
        return next((r for r in self.recommendations if r.day == day), None)


def recommendation_id(site: str, sku: str, day: int) -> str:
    """A name-based UUID (RFC 9562, version 5) of site, SKU and day."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join((site, sku, str(day)))))


def place(cursor: str) -> tuple[int, str, str]:
    """(day, site, SKU) of a cursor. Raises: BadEvent: it is not one."""
    day, dot, rest = cursor.partition(".")
    site, slash, sku = rest.partition("/")
    if not (dot and slash and site and sku and day.isascii() and day.isdigit() and len(day) == 8):
        raise BadEvent(
            Code.OUT_OF_RANGE, "/before", "before must be the cursor of a recommendation that a list returned"
        )
    return int(day), site, sku


def on_order(approved: Iterable[Recommendation], now: int) -> dict[str, int]:
    """Units on their way by SKU, of approved orders of one site that are neither received nor overdue."""
    found: dict[str, int] = {}
    for r in approved:
        due = r.due_at()
        if r.state(now) is State.APPROVED and due is not None and now < due:
            found[r.sku] = found.get(r.sku, 0) + r.quantity
    return found


# --- what people do; each returns the recommendation after it, the same object where it changes nothing


def change(of: ItemHistory, day: int, quantity: int, by: str, at: int, note: str | None = None) -> Recommendation:
    """Another quantity; it still has to be approved. Raises: BadEvent: out of limits, or no longer undecided."""
    found = _undecided(of, day, at, "changed")
    a = found.arithmetic
    if quantity == found.quantity:
        return found
    most = min(MAX_UNITS, max(MOST_TIMES * max(a.order_up_to, a.quantity), a.min_order, a.pack))
    if not a.min_order <= quantity <= most:
        said = f"quantity must be {a.min_order} (the minimum order) to {most}, not {quantity}"
        raise BadEvent(Code.OUT_OF_RANGE, "/quantity", said)
    if quantity % a.pack:
        said = f"quantity must be whole packs of {a.pack}, not {quantity}"
        raise BadEvent(Code.OUT_OF_RANGE, "/quantity", said)
    return replace(found, steps=(*found.steps, Step("changed", by, at, quantity, note)))


def approve(of: ItemHistory, day: int, by: str, at: int, note: str | None = None) -> Recommendation:
    """Order it. Raises: BadEvent: lapsed, dismissed, or another order has been approved since it was worked out."""
    found = _known(of, day)
    if found.state(at) in (State.APPROVED, State.RECEIVED):
        return found
    found = _undecided(of, day, at, "approved")
    for other in of.recommendations:
        step = other.step("approved")
        if step is not None and step.at >= found.made_at:
            said = f"{step.quantity} units were approved by {step.by} after this was worked out; the next run takes them into account"
            raise BadEvent(Code.CONTRADICTION, "", said)
    return replace(found, steps=(*found.steps, Step("approved", by, at, found.quantity, note)))


def dismiss(of: ItemHistory, day: int, by: str, at: int, note: str) -> Recommendation:
    """Do not order it. Raises: BadEvent: it is approved, or has lapsed."""
    found = _known(of, day)
    if found.state(at) is State.DISMISSED:
        return found
    found = _undecided(of, day, at, "dismissed")
    return replace(found, steps=(*found.steps, Step("dismissed", by, at, found.quantity, note)))


def receive(of: ItemHistory, day: int, by: str, at: int, note: str | None = None) -> Recommendation:
    """The goods are in: they no longer count as on order. Raises: BadEvent: it was never approved."""
    found = _known(of, day)
    state = found.state(at)
    if state is State.RECEIVED:
        return found
    if state is not State.APPROVED:
        raise BadEvent(Code.CONTRADICTION, "", f"it is {state}; only what was approved can be received")
    return replace(found, steps=(*found.steps, Step("received", by, at, found.quantity, note)))


def _known(of: ItemHistory, day: int) -> Recommendation:
    found = of.get(day)
    if found is None:
        raise BadEvent(Code.CONTRADICTION, "", "it is too old to be decided upon; a newer one has taken its place")
    return found


def _undecided(of: ItemHistory, day: int, at: int, action: str) -> Recommendation:
    found = _known(of, day)
    state = found.state(at)
    if state is State.PROPOSED:
        return found
    if state is State.LAPSED:
        why = f"that of {found.newer} has taken its place" if found.newer else "stock and forecasts have moved on"
        raise BadEvent(Code.CONTRADICTION, "", f"it has lapsed and cannot be {action}: {why}")
    step = found.steps[-1]
    raise BadEvent(Code.CONTRADICTION, "", f"it was {step.action} by {step.by} and cannot be {action} any more")


# --- words


def sentence(a: Arithmetic) -> str:
    """The arithmetic in words and figures that can be checked by hand."""
    days = [d for d, p in a.lead_days if p > 0]
    lead = _days(days[0]) if days[0] == days[-1] else f"{days[0]} to {_days(days[-1])}"
    spoils = a.shelf_life_days is not None and a.shelf_life_days <= a.review_days
    aim = (
        f"and what comes keeps {_days(a.shelf_life_days or 0)}: {a.reorder_point} are worth having"
        if spoils
        else {
            Criterion.CYCLE_SERVICE: f"with probability {a.target:.4g} at most {a.demand_at_target}",
            Criterion.FILL_RATE: f"and a stock of {a.reorder_point} meets a share of {a.target:.4g} of it at once",
            Criterion.COSTS: f"with probability {a.target:.4g}, the critical ratio of the costs, at most {a.demand_at_target}",
        }[a.criterion]
    )
    parts = [
        f"{max(a.on_hand, 0)} on hand + {a.on_order} on order = {a.position}",
        f"demand of {lead} of lead time and {a.review_days} of review is {a.demand_mean:.1f} on average, {aim}",
    ]
    if a.raw == 0:
        parts.append(f"the position is not below the reorder point {a.reorder_point}: no order")
    else:
        due = f"the position is below the reorder point {a.reorder_point}: order up to {a.order_up_to}"
        parts.append(f"{due}, {a.order_up_to} - {a.position} = {a.raw}")
        parts.append(_rounded(a))
    ends = f"Stock runs out in that time with probability {a.stock_out_without:.1%}"
    ends += f" without, {a.stock_out_with:.1%} with the order" if a.quantity else ""
    late = f"; before an order of today could arrive, with {a.stock_out_before:.1%}"
    return "; ".join(parts) + f". {ends}{late}." + "".join(f" {note}" for note in a.notes)


def _days(count: int) -> str:
    return f"{count} day{'s' if count != 1 else ''}"


def _rounded(a: Arithmetic) -> str:
    terms = [f"whole packs of {a.pack}"] if a.pack > 1 else []
    terms += [f"a minimum of {a.min_order}"] if a.min_order > 1 else []
    if a.sells_in_shelf_life is not None:
        terms.append(
            f"a shelf life of {_days(a.shelf_life_days or 0)}, in which {a.sells_in_shelf_life} are worth having"
        )
    if not terms:
        return f"so {a.quantity}"
    return f"with {' and '.join(terms)} {a.quantity}"
