"""How probable it is that the record of a bin is wrong, given what the camera counted.

In: looks (count distributions), the bin's record through their time, a prior over miscounts. Out: a posterior.
Pure and order-free: the same looks and the same record give the same belief, in whatever order they arrived.
Derivation and a worked example: docs/adr/0004-variance-as-a-posterior.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from inventorybot.domain.alerts import anomaly_id
from inventorybot.domain.counting import MAX_COUNT, CountDistribution
from inventorybot.domain.ledger import LedgerRow
from inventorybot.errors import BadEvent, Code

Vector = npt.NDArray[np.float64]

REACH = 20
"""Miscounts m = true − recorded are told apart from −20 to 20 units: what a count of 0 to 20+ can show."""

STATES = 2 * REACH + 3
"""[far too few, m = −20 … 20, far too many]: the two ends pool every larger miscount."""

RIGHT = REACH + 1
"""The index of m = 0."""

DECAY = 0.5
"""Each further unit of error is half as likely: slips of one or two units (a mis-scan, a double pick) prevail."""

FAR_SHARE = 0.1
"""Of wrong records, the share that is off by more than 20: a carton in the wrong bin, a pallet read as an each."""

UNRELATED = 0.01
"""Share of pictures that say nothing of the bin (another bin, a glare): bounds what any one picture can claim."""

FADE = 0.02
"""What one movement takes from the belief: it may add an error, or mend one, as often as records are wrong at all."""

KIND = "bin-variance"

FORM = 1
"""Of stored evidence; a reader refuses a form it does not know."""

NEVER = -(1 << 62)
"""Before all times."""

MAX_LOOKS = 6
"""Looks that are remembered: they weigh 3.5 whole ones at look_weight 0.5, and more would claim more than pictures that
share their occlusion can. Should units vanish unrecorded, six looks put the old ones out of mind."""


@dataclass(frozen=True, slots=True)
class Look:
    """One picture of a bin, as evidence.

    Args:
        captured_at: ms since the epoch, UTC.
        support: log-likelihood of each count 0 … 20+, against a picture that says nothing (0: no opinion), 3 decimals.
    """

    captured_at: int
    image_id: str
    support: tuple[float, ...]

    @classmethod
    def of(cls, captured_at: int, image_id: str, count: CountDistribution, class_prior: Sequence[float]) -> Look:
        """Bayes' rule backwards: a calibrated count, with the frequencies it was calibrated under taken out.

        Args:
            class_prior: 21 frequencies of the counts that the model was calibrated on; one of 0 gives no opinion.
        Raises: BadEvent: `class_prior` is not a distribution.
        """
        try:
            known = CountDistribution(tuple(class_prior)).p
        except BadEvent as fault:
            raise BadEvent(Code.OUT_OF_RANGE, "/data/prior", fault.reason.replace("/p", "/data/prior", 1)) from None
        ratios = (p / q if q > 0 else 1.0 for p, q in zip(count.p, known, strict=True))
        return cls(captured_at, image_id, tuple(round(math.log((1 - UNRELATED) * r + UNRELATED), 3) for r in ratios))


@dataclass(frozen=True, slots=True)
class Change:
    """A ledger row of the bin; `corrects` where it mends the record itself: a cycle count or an adjustment."""

    row: LedgerRow
    corrects: bool = False


@dataclass(frozen=True)
class BinRecord:
    """What the record of a bin said from a moment on, given every event that has arrived by now.

    Args:
        start: ms; nothing is known from before.
        levels: units by SKU at `start`.
        changes: the bin's ledger rows that occurred after `start`, in any order.
    """

    start: int
    levels: Mapping[str, int]
    changes: Sequence[Change] = ()

    @cached_property
    def _ordered(self) -> list[Change]:
        return sorted(self.changes, key=lambda c: (c.row.occurred_at, c.row.revision))

    @cached_property
    def corrected_at(self) -> int | None:
        """When a cycle count or an adjustment last mended the record; None: not since `start`."""
        return max((c.row.occurred_at for c in self.changes if c.corrects), default=None)

    def units(self, at: int) -> int:
        """Units of all SKUs on record at a moment, ms, not before `start`."""
        levels = dict(self.levels)
        for change in self._ordered:
            row = change.row
            if row.occurred_at > at:
                break
            levels[row.sku] = row.quantity if row.is_count else levels.get(row.sku, 0) + row.quantity
        return sum(levels.values())

    def movements(self, after: int, until: int) -> int:
        """How many changes occurred in (after, until]."""
        return sum(after < c.row.occurred_at <= until for c in self._ordered)


@dataclass(frozen=True)
class MiscountPrior:
    """How records go wrong, before looking: both ways alike, by m units with probability halving from unit to unit.

    Args:
        rate: probability that the record of a bin is wrong.
    """

    rate: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"a miscount rate lies between 0 and 1, not at {self.rate}")

    @cached_property
    def belief(self) -> Vector:
        """The probability of each state, (STATES,); sums to 1."""
        near = DECAY ** np.arange(REACH)  # |m| = 1 … 20
        near *= self.rate * (1 - FAR_SHARE) / 2 / near.sum()
        far = self.rate * FAR_SHARE / 2
        return np.concatenate([[far], near[::-1], [1 - self.rate], near, [far]])


@dataclass(frozen=True, slots=True)
class Costs:
    """What being wrong costs, in one currency. Raises: ValueError: no alert could ever pay for itself."""

    recount: float
    missed_error: float

    def __post_init__(self) -> None:
        if not 0 < self.recount < self.missed_error:
            raise ValueError("a recount must cost more than nothing and less than a missed error")

    @property
    def threshold(self) -> float:
        """A recount pays where P(wrong) × missed error > recount: the probability above which we alert."""
        return self.recount / self.missed_error

    @property
    def resolve_below(self) -> float:
        """Half the threshold: a belief that wavers about the threshold does not open and shut an anomaly."""
        return self.threshold / 2


@dataclass(frozen=True, slots=True)
class Said:
    """What was last announced of the open anomaly, and how often; `at` is the capture it was drawn from, ms."""

    probability: float
    recorded: int
    estimate: int
    at: int
    updates: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is remembered of a bin.

    Args:
        applied: revision of the newest count that it contains; -1: none.
        looks: the newest pictures since the record was last corrected, by capture; at most MAX_LOOKS.
        floor: pictures taken at or before it count no more (corrected or closed since, or pushed out by newer ones).
        serial: how many anomalies of this bin have ended; names the next one.
        said: what the open anomaly last said; None: none is open.
    """

    applied: int = -1
    looks: tuple[Look, ...] = ()
    floor: int = NEVER
    serial: int = 0
    said: Said | None = None

    def anomaly(self, site: str, bin_id: str) -> str:
        """Id of the open anomaly or, where none is open, of the next: known in advance, so found after a crash."""
        return anomaly_id(KIND, site, bin_id, str(self.serial))

    def ended(self) -> Evidence:
        """After its anomaly was resolved: the pictures stay, the anomaly does not."""
        return replace(self, serial=self.serial + 1, said=None)

    def closed(self, at: int) -> Evidence:
        """After a person closed its anomaly at a moment, ms: what was seen before has been dealt with."""
        return self.ended()._forget(at)

    def _forget(self, at: int) -> Evidence:
        kept = tuple(look for look in self.looks if look.captured_at > at)
        return replace(self, looks=kept, floor=max(self.floor, at))

    def within(self, record: BinRecord) -> Evidence:
        """Without the pictures taken up to the record's last correction, or before what is known of it begins."""
        kept = (
            self
            if record.corrected_at is None or record.corrected_at <= self.floor
            else self._forget(record.corrected_at)
        )
        if all(look.captured_at >= record.start for look in kept.looks):
            return kept
        return replace(kept, looks=tuple(look for look in kept.looks if look.captured_at >= record.start))

    def with_look(self, look: Look) -> Evidence:
        """With one more picture; the same where it is known, or taken too early to count."""
        if look.captured_at <= self.floor or any(known.image_id == look.image_id for known in self.looks):
            return self
        looks = sorted((*self.looks, look), key=lambda each: (each.captured_at, each.image_id))
        dropped = [each.captured_at for each in looks[:-MAX_LOOKS]]
        return replace(self, looks=tuple(looks[-MAX_LOOKS:]), floor=max([self.floor, *dropped]))

    def since(self, look: Look) -> int:
        """The moment, ms, from which the bin's record is needed to judge this picture along with those remembered."""
        return min([look.captured_at, *(known.captured_at for known in self.looks)])

    def to_json(self) -> str:
        """As stored: about 200 bytes a look."""
        said = self.said
        return json.dumps(
            {
                "v": FORM, "applied": self.applied, "floor": self.floor, "serial": self.serial,
                "looks": [[look.captured_at, look.image_id, look.support] for look in self.looks],
                "said": said and [said.probability, said.recorded, said.estimate, said.at, said.updates],
            },
            separators=(",", ":"), ensure_ascii=False,
        )  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Evidence:
        """What `to_json` wrote. Raises: ValueError: a form this release does not know."""
        form = json.loads(text)
        if form["v"] != FORM:
            raise ValueError(f"evidence of form {form['v']}; this release knows form {FORM}")
        looks = tuple(Look(at, image_id, tuple(support)) for at, image_id, support in form["looks"])
        said = Said(*form["said"]) if form["said"] else None
        return cls(form["applied"], looks, form["floor"], form["serial"], said)


@dataclass(frozen=True, slots=True)
class Variance:
    """What the looks say of the record.

    Args:
        probability: that the record is wrong: 1 − P(m = 0).
        recorded: units on record when the newest look was taken.
        estimate: the most probable units in the bin then.
        looks, since: how many pictures say so, and when the first of them was taken, ms.
        belief: probability of each miscount state, (STATES,).
    """

    probability: float
    recorded: int
    estimate: int
    looks: int
    since: int
    belief: tuple[float, ...]


def judge(looks: Sequence[Look], record: BinRecord, prior: MiscountPrior, look_weight: float) -> Variance:
    """Posterior over the miscount of a bin, given all looks since its record was last corrected.

    Args:
        looks: at least one, in any order, none before `record.start`.
        look_weight: in (0, 1]; of looks at an unchanged bin the strongest counts whole, every other this much.
    Source: Bayes' rule; forgetting as in a hidden Markov model's predict step; tempered likelihoods as in
        Bissiri, Holmes and Walker (2016), "A general framework for updating belief distributions", JRSS B 78(5).
    """
    ordered = sorted(looks, key=lambda look: (look.captured_at, look.image_id))
    belief, run, before = prior.belief, [ordered[0]], None
    for run in _unchanged(ordered, record):
        if before is not None:
            kept = (1 - FADE) ** record.movements(before, run[0].captured_at)
            belief = kept * belief + (1 - kept) * prior.belief
        belief = _update(belief, run, record.units(run[0].captured_at), look_weight)
        before = run[-1].captured_at
    recorded = record.units(run[-1].captured_at)
    probability = float(np.clip(1 - belief[RIGHT], 0.0, 1.0))
    return Variance(
        probability,
        recorded,
        _estimate(belief, run, recorded),
        len(ordered),
        ordered[0].captured_at,
        tuple(belief.tolist()),
    )


def _unchanged(ordered: Sequence[Look], record: BinRecord) -> Iterator[list[Look]]:
    """Runs of looks with no movement of the bin between them."""
    run: list[Look] = []
    for look in ordered:
        if run and record.movements(run[-1].captured_at, look.captured_at):
            yield run
            run = []
        run.append(look)
    yield run


def _update(belief: Vector, run: Sequence[Look], recorded: int, look_weight: float) -> Vector:
    """One Bayes step with a run of looks: of each state's likelihoods the strongest counts whole, the others less."""
    said = np.array([_likelihood(look.support, recorded) for look in reversed(run)])  # (looks, STATES), newest first
    possible = ~np.isneginf(said).any(axis=0)
    said = np.where(possible, said, 0.0)
    strongest = np.take_along_axis(said, np.abs(said).argmax(axis=0)[np.newaxis], axis=0)[0]  # of equals, the newest
    total = np.where(possible, look_weight * said.sum(axis=0) + (1 - look_weight) * strongest, -np.inf)
    weighted: Vector = belief * np.exp(total - total.max())
    normalised: Vector = weighted / weighted.sum()
    return normalised


def _likelihood(support: Sequence[float], recorded: int) -> Vector:
    """Log-likelihood of one picture under each miscount, (STATES,); −inf where fewer than no items would be there."""
    said = np.array(support)
    held = recorded + np.arange(-REACH, REACH + 1)  # units truly there
    near = np.where(held < 0, -np.inf, said[np.clip(held, 0, MAX_COUNT)])
    few, many = _far(recorded)
    far = [float(np.log(np.exp(said[span]).mean())) if span else -math.inf for span in (list(few), list(many))]
    return np.concatenate([[far[0]], near, [far[1]]])


def _far(recorded: int) -> tuple[range, range]:
    """The counts that a record off by more than 20 leaves possible: below, above. Above is never empty."""
    below = range(min(recorded - REACH, MAX_COUNT + 1))
    above = range(min(max(recorded + REACH + 1, 0), MAX_COUNT), MAX_COUNT + 1)
    return below, above


def _estimate(belief: Vector, run: Sequence[Look], recorded: int) -> int:
    """The most probable units in the bin; where the record is far off, what the last looks say among what is left."""
    best = int(belief.argmax())
    if 0 < best < STATES - 1:
        return recorded + best - RIGHT
    said = np.sum([look.support for look in run], axis=0)
    span = _far(recorded)[0 if best == 0 else 1]
    count = max(span, key=lambda k: float(said[k]))
    return max(count, recorded + REACH + 1) if best and count == MAX_COUNT else count
