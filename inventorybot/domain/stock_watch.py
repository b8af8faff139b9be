"""From stock and outlook to alert: projected stock-outs and excess, one open anomaly a SKU at a site and kind.

In: units on hand of a SKU at a site, its `Outlook`, what was said before (`Watch`). Out: the next `Watch`, and what to say,
if anything. Pure. The arithmetic in words, with an example: docs/stock-watch.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from inventorybot.domain.alerts import Anomaly, Knowledge, Status, anomaly_id, spot_of
from inventorybot.domain.days import DAY_MS
from inventorybot.domain.forecast import Forecast
from inventorybot.domain.outlook import MOST_DAYS, Outlook, probability_of

STOCK_OUT, EXCESS = "projected-stock-out", "excess-stock"
KINDS = (STOCK_OUT, EXCESS)
WANTED = 0.5
"""Units expected before the horizon below which an empty shelf is nobody's trouble."""
NEWS_PROBABILITY, NEWS_DAYS, NEWS_SHARE = 0.1, 1.0, 0.2
"""What tells a manager something new: a tenth of probability; a day, and a fifth of the time left, to the expected date."""
PAUSE_MS = 3_600_000
"""Between two updates of one anomaly; only that nothing is left is told at once, and once."""
STALE_MS = 600_000
"""The horizon moves with time: what was read off an outlook is good for ten minutes."""

Verdict = Literal["raised", "updated", "resolved"]


@dataclass(frozen=True, slots=True)
class WatchRules:
    """When to speak.

    Args:
        horizon_days: how far ahead a stock-out matters: what replenishment takes.
        probability: of a stock-out before the horizon from which it is raised.
        excess_days: cover from which stock is excess. excess_units: and at least so many units more than those days need.
    """

    horizon_days: float
    probability: float
    excess_days: float
    excess_units: int

    @property
    def settled_below(self) -> float:
        """Half the threshold: a belief that wavers about it does not open and shut an anomaly."""
        return self.probability / 2


@dataclass(frozen=True, slots=True)
class Said:
    """What was last said of the open anomaly. Args: at: when, ms. updates: how often it was updated. out: whether "gone"."""

    probability: float | None
    days: float
    at: int
    updates: int = 0
    out: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of a SKU at a site and a kind.

    Args:
        serial: how many of its anomalies have ended; names the next one.
        said: what the open one last said; None: none is open.
        quiet_until: after a person closed one: until then, or until the cause has gone, none is raised, ms.
        version: grows with every change (µs of the wall clock, or more): the newest is kept, whoever writes last.
    """

    serial: int = 0
    said: Said | None = None
    quiet_until: int = 0
    version: int = 0

    def anomaly(self, kind: str, site: str, sku: str) -> str:
        """Id of the open anomaly or, where none is open, of the next: whoever judges it gives it the same."""
        return anomaly_id(kind, site, spot_of(None, sku), str(self.serial))

    def changed(self, after: Watch, now: int) -> Watch:
        """`after` with a version above this one's. Args: now: ms."""
        return replace(after, version=max(now * 1000, self.version + 1))


@dataclass(slots=True)
class Sight:
    """An outlook as it is seen at a moment: what every judgement within the next minutes needs. Made by `Sight.of`."""

    outlook: Outlook
    at: int
    expected: float
    quantiles: tuple[float, ...]
    enough: float

    @classmethod
    def of(cls, outlook: Outlook, rules: WatchRules, now: int) -> Sight:
        """Demand up to the horizon, and the units that are enough for all of `excess_days`."""
        expected, quantiles = outlook.demand(now, now + round(rules.horizon_days * DAY_MS))
        enough, _ = outlook.demand(now, now + round(rules.excess_days * DAY_MS))
        return cls(outlook, now, expected, quantiles, enough)

    def fresh(self, rules: WatchRules, now: int) -> Sight:
        """This one, or one of now where too much time has passed."""
        return self if 0 <= now - self.at < STALE_MS else Sight.of(self.outlook, rules, now)

    def probability(self, units: int) -> float:
        """That stock runs out before the horizon: 1 where there is none and somebody is expected to want it."""
        if units <= 0:
            return min(1.0, self.expected / WANTED)
        return probability_of(units, self.quantiles)

    def calls(self, kind: str, units: int, rules: WatchRules) -> bool:
        """Whether there is cause to raise an anomaly of a kind."""
        if kind == STOCK_OUT:
            return self.probability(units) >= rules.probability and (units > 0 or self.expected >= WANTED)
        return units - self.enough >= rules.excess_units

    def settles(self, kind: str, units: int, rules: WatchRules) -> bool:
        """Whether the cause of an open anomaly has gone, by a good margin."""
        if kind == STOCK_OUT:
            return self.probability(units) < rules.settled_below
        return units - self.enough < rules.excess_units / 2


def outlook_of(forecasts: Sequence[Forecast]) -> Outlook | None:
    """The outlook of a SKU's forecasts; None: there are none, so no opinion."""
    return Outlook.of(forecasts) if forecasts else None


def consider(
    watch: Watch, kind: str, units: int, sight: Sight | None, rules: WatchRules, now: int
) -> tuple[Watch, Verdict | None, Knowledge]:
    """Hold stock against its outlook.

    Args:
        units: on hand of the SKU at the site, all bins; below 0: more left than was known to be there.
        sight: None: nothing is forecast, which ends an open anomaly and raises none.
        now: ms.
    Returns: the watch after it (the same object where nothing is to be kept), what to say (None: nothing), and with it.
    """
    if watch.said is None:
        if sight is None or not sight.calls(kind, units, rules):
            cleared = watch.quiet_until and (sight is None or sight.settles(kind, units, rules))
            return (watch.changed(replace(watch, quiet_until=0), now) if cleared else watch), None, Knowledge()
        if now < watch.quiet_until:
            return watch, None, Knowledge()
        known = tell(kind, units, sight, rules, now)
        return watch.changed(replace(watch, said=_said(known, now), quiet_until=0), now), "raised", known
    if sight is None or sight.settles(kind, units, rules):
        known = (
            Knowledge(why="Nothing is forecast of it any more.")
            if sight is None
            else settled(kind, units, sight, rules, now)
        )
        return watch.changed(replace(watch, serial=watch.serial + 1, said=None), now), "resolved", known
    out = units <= 0 and not watch.said.out
    if not out and now - watch.said.at < PAUSE_MS:
        return watch, None, Knowledge()
    known = tell(kind, units, sight, rules, now)
    if not out and not _is_news(watch.said, known, now):
        return watch, None, Knowledge()
    said = replace(_said(known, now), updates=watch.said.updates + 1, out=watch.said.out or units <= 0)
    return watch.changed(replace(watch, said=said), now), "updated", known


def reconcile(watch: Watch, kind: str, anomaly: Anomaly | None, rules: WatchRules, now: int) -> Watch:
    """A watch that knows what became of its open anomaly. Args: anomaly: as the alert agent has it; None: not (yet)."""
    if watch.said is None or anomaly is None or anomaly.live:
        return watch
    days = rules.horizon_days if kind == STOCK_OUT else rules.excess_days
    quiet = 0 if anomaly.status is not Status.CLOSED else anomaly.updated_at + round(days * DAY_MS)
    return watch.changed(replace(watch, serial=watch.serial + 1, said=None, quiet_until=quiet), now)


def adopt(watch: Watch, anomaly: Anomaly, now: int) -> Watch:
    """A watch whose anomaly is open, though it had forgotten it: its writer died, or lost a race."""
    known = anomaly.knowledge
    said = Said(known.probability, known.days_of_cover or 0.0, anomaly.updated_at, 0, (known.recorded or 0) <= 0)
    return watch if watch.said else watch.changed(replace(watch, said=said), now)


def tell(kind: str, units: int, sight: Sight, rules: WatchRules, now: int) -> Knowledge:
    """What is known now, with a sentence for a manager."""
    days = sight.outlook.days_of_cover(units, now)
    at = now + round(days * DAY_MS)
    probability = round(sight.probability(units), 4) if kind == STOCK_OUT else None
    return Knowledge(
        probability=probability, recorded=units, model=sight.outlook.model, days_of_cover=round(days, 2),
        expected_at=at if days < MOST_DAYS else None, why=_why(kind, units, sight, rules, days, at),
    )  # fmt: skip


def settled(kind: str, units: int, sight: Sight, rules: WatchRules, now: int) -> Knowledge:
    """Why the cause has gone."""
    known = tell(kind, units, sight, rules, now)
    if kind == EXCESS:
        return replace(
            known, why=f"{units} on hand, {_units(sight.enough)} expected in {rules.excess_days:g} days: no excess."
        )
    chance = _percent(known.probability or 0.0)
    head = f"{units} on hand, {_units(sight.expected)} expected in the next {rules.horizon_days:g} days"
    return replace(known, why=f"{head}: it runs out before then with {chance} probability.")


def _why(kind: str, units: int, sight: Sight, rules: WatchRules, days: float, at: int) -> str:
    if kind == EXCESS:
        lasts = f"{days:.0f} days" if days < MOST_DAYS else "ten years or more"
        more = _units(units - sight.enough)
        return (
            f"{units} on hand last {lasts} by the forecast: {more} more than the {_units(sight.enough)} "
            f"of the next {rules.excess_days:g} days."
        )
    head = f"{units} on hand, {_units(sight.expected)} expected in the next {rules.horizon_days:g} days"
    if units <= 0:
        return f"{head}: stock has run out."
    gone = datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC") if days < MOST_DAYS else "no set day"
    return f"{head}: it runs out before then with {_percent(sight.probability(units))} probability, expected on {gone}."


def _said(known: Knowledge, now: int) -> Said:
    return Said(known.probability, known.days_of_cover or 0.0, now, 0, (known.recorded or 0) <= 0)


def _is_news(said: Said, known: Knowledge, now: int) -> bool:
    """Whether what is known differs enough from what was last said."""
    days = known.days_of_cover or 0.0
    moved = abs((known.probability or 0.0) - (said.probability or 0.0)) >= NEWS_PROBABILITY
    shift = abs(
        (now - said.at) / DAY_MS + days - said.days
    )  # of the day it is expected on: time alone does not move it
    shifted = shift >= max(NEWS_DAYS, NEWS_SHARE * days)
    return moved or shifted


def _units(units: float) -> str:
    return f"{units:.0f}" if units >= 10 else f"{units:.1f}"


def _percent(probability: float) -> str:
    """Never 0 % or 100 %: a forecast does not prove."""
    whole = round(100 * probability)
    return "less than 1 %" if whole < 1 else "more than 99 %" if whole > 99 else f"{whole} %"
