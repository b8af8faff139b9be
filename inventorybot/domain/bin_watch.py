"""From belief to alert: one open anomaly a bin, raised once, updated when something new is to be said, resolved.

In: what is remembered of a bin (`Evidence`), one more count, the bin's record. Out: the next `Evidence`, and the step
to announce, if any. Pure: the caller asks for the record and publishes the step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from inventorybot.domain.alerts import Anomaly, Status
from inventorybot.domain.variance import (
    NEVER,
    BinRecord,
    Costs,
    Evidence,
    Look,
    MiscountPrior,
    Said,
    Variance,
    judge,
)

NEWS = 0.1
"""A probability that moved by less tells a manager nothing new."""

FIRST_PAUSE_MS = 1_000
LONGEST_PAUSE_MS = 600_000
"""Each update of an anomaly waits twice as long as the one before, up to ten minutes: a flood of pictures is not one
of updates, and the second picture, which matters most, is heard at once."""

Verdict = Literal["raised", "updated", "resolved"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What errors cost, how common they are, and what a further look is worth."""

    prior: MiscountPrior
    costs: Costs
    look_weight: float

    def __post_init__(self) -> None:
        if not 0 < self.look_weight <= 1:
            raise ValueError(f"look_weight lies above 0 and at most at 1, not at {self.look_weight}")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one more count led to.

    Args:
        counted: whether the picture became part of the evidence (False: a repeat, or taken before a correction).
        variance: the belief now; None where a correction left nothing to judge by.
        verdict: the step to announce; None: nothing new.
        why: for announced steps, one sentence for a manager.
    """

    counted: bool
    variance: Variance | None = None
    verdict: Verdict | None = None
    why: str = ""


def consider(
    evidence: Evidence, look: Look, revision: int, record: BinRecord, rules: Rules
) -> tuple[Evidence, Opinion]:
    """Take one count into account. A count at or below `evidence.applied` is a replay and changes nothing.

    Args:
        revision: place of the count in its topic (domain/ledger.py).
        record: the bin's record since `evidence.since(look)`; later, for a bin too busy for that: earlier looks go.
    """
    if revision <= evidence.applied:
        return evidence, Opinion(False)
    before = replace(evidence, applied=revision).within(record)
    after = before.with_look(look) if look.captured_at >= record.start else before
    if not after.looks:
        return _settled(after, record)
    variance = judge(after.looks, record, rules.prior, rules.look_weight)
    return _announce(after, variance, after is not before, rules.costs)


def reconcile(evidence: Evidence, anomaly: Anomaly | None) -> Evidence:
    """Evidence that knows what became of its anomaly elsewhere.

    Args:
        anomaly: the one that `evidence.anomaly` names, as the alert agent has it; None: it does not exist (yet).
    Returns: the same where there is nothing to learn; with a higher `serial` where that anomaly has ended.
    """
    if anomaly is None:
        return evidence
    if anomaly.status is Status.CLOSED:
        return evidence.closed(anomaly.updated_at)
    if not anomaly.live:
        return evidence.ended()
    if evidence.said is None:  # announced, and then we crashed before we had noted it
        known = anomaly.knowledge
        return replace(evidence, said=Said(known.probability or 0.0, known.recorded or 0, known.estimate or 0, NEVER))
    return evidence


def settled_by(evidence: Evidence, counted_at: int) -> str | None:
    """Why a cycle count taken at a moment, ms, settles the open anomaly; None: none is open, or a picture is newer."""
    if evidence.said is None or any(look.captured_at > counted_at for look in evidence.looks):
        return None
    return _spent(counted_at)


def _settled(evidence: Evidence, record: BinRecord) -> tuple[Evidence, Opinion]:
    """A correction after every picture: the prior again, so nothing to keep open."""
    if evidence.said is None:
        return evidence, Opinion(False)
    return evidence.ended(), Opinion(False, None, "resolved", _spent(record.corrected_at))


def _spent(at: int | None) -> str:
    how = "changed many times" if at is None else f"counted or corrected at {_clock(at)}"
    return f"The bin was {how}; what pictures said before no longer applies."


def _announce(evidence: Evidence, now: Variance, counted: bool, costs: Costs) -> tuple[Evidence, Opinion]:
    """Raise above the threshold, resolve below half of it, and in between speak only when there is news."""
    said, at = evidence.said, evidence.looks[-1].captured_at
    fresh = Said(now.probability, now.recorded, now.estimate, at)
    if said is None:
        if now.probability <= costs.threshold:
            return evidence, Opinion(counted, now)
        return replace(evidence, said=fresh), Opinion(counted, now, "raised", sentence(now, costs))
    if now.probability < costs.resolve_below:
        return evidence.ended(), Opinion(counted, now, "resolved", sentence(now, costs))
    if not _is_news(said, fresh):
        return evidence, Opinion(counted, now)
    again = replace(fresh, updates=said.updates + 1)
    return replace(evidence, said=again), Opinion(counted, now, "updated", sentence(now, costs))


def _is_news(said: Said, now: Said) -> bool:
    """Whether what is known differs enough from what was last said, and that was long enough ago."""
    moved = abs(now.probability - said.probability) >= NEWS
    differs = moved or (now.recorded, now.estimate) != (said.recorded, said.estimate)
    pause = min(FIRST_PAUSE_MS << min(said.updates - 1, 32), LONGEST_PAUSE_MS) if said.updates else 0
    return differs and now.at - said.at >= pause


def sentence(variance: Variance, costs: Costs) -> str:
    """Why we think so, for a manager.

    Example: "The record says 4; 3 pictures since 10:02 UTC say 3. The record is wrong with 84 % probability; from 30 %
    on, a recount costs less than a missed error."
    """
    one = variance.looks == 1
    seen = (
        f"the picture of {_clock(variance.since)}"
        if one
        else f"{variance.looks} pictures since {_clock(variance.since)}"
    )
    if variance.estimate == variance.recorded:
        say = "fits it best" if one else "fit it best"
    else:
        say = f"{'says' if one else 'say'} {variance.estimate}"
    if variance.recorded < 0:
        return f"The record says {variance.recorded}, which no bin can hold; {seen} {say}. It is certainly wrong."
    head = f"The record says {variance.recorded}; {seen} {say}."
    if variance.probability < costs.resolve_below:
        return f"{head} The record is wrong with only {_percent(variance.probability)} probability."
    return (
        f"{head} The record is wrong with {_percent(variance.probability)} probability; from "
        f"{_percent(costs.threshold)} on, a recount costs less than a missed error."
    )


def _clock(at: int | None) -> str:
    return datetime.fromtimestamp((at or 0) / 1000, UTC).strftime("%H:%M UTC")


def _percent(probability: float) -> str:
    """Never 0 % or 100 %: evidence does not prove."""
    whole = round(100 * probability)
    return "less than 1 %" if whole < 1 else "more than 99 %" if whole > 99 else f"{whole} %"
