"""How records go wrong, and the hidden truth of it.

In: a mix of faults, a seed. Out: a `Plan` (which slot, which fault, when, how much) that the simulator carries out, and the `Truth`:
what really was on the shelf, and by how many units the record was wrong because of a fault.

    phantom        units vanish at once and nobody books it: theft of a lot, a loss, damage
    shrinkage      units vanish one by one over months
    misplacement   a delivery of one SKU is booked on another: one record too low, the other too high
    scan           for weeks a share of one SKU's sales is booked on another: one record too high, the other too low
    unit           a delivery of q cases booked as q each, or q each booked as q cases: wrong by the factor of the case
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.anomaly.demand import Demand
from ml.anomaly.story import Matrix, Names

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

KINDS = ("phantom", "shrinkage", "misplacement", "scan", "unit")
PHANTOM, SHRINKAGE, MISPLACEMENT, SCAN, UNIT = range(5)

OTHER = "other"
"""Cause of an error that no fault made: a miscount, slips that add up. Right to find, but nobody is asked to."""

CAUSES = (*KINDS, OTHER)


@dataclass(frozen=True, slots=True)
class Mix:
    """How often each fault befalls a slot, a year: rare, as in a well-run warehouse. A slot has one fault at most."""

    phantom: float = 0.012
    shrinkage: float = 0.008
    misplacement: float = 0.006
    scan: float = 0.006
    unit: float = 0.006

    def times(self, factor: float) -> Mix:
        """The same mix, more or less often."""
        return Mix(*(factor * getattr(self, kind) for kind in KINDS))


@dataclass(frozen=True, slots=True)
class Plan:
    """What will befall each slot; all (S,).

    Args:
        kind: index into KINDS; −1: nothing.
        start: the first day on which it can happen; it waits for stock or a delivery.
        length: days that shrinkage or mis-scanning goes on.
        share: of units lost, misplaced or mis-scanned; of daily demand, for shrinkage.
        partner: the slot that gets what this one lacks (misplacement, scan), else −1.
        factor: units a case; negative: each booked as cases.
    """

    kind: Ints
    start: Ints
    length: Ints
    share: Floats
    partner: Ints
    factor: Ints


def plan(demand: Demand, pack: Ints, mix: Mix, warm: int, rng: np.random.Generator) -> Plan:
    """Draws the faults of one run.

    Args:
        pack: (S,) units a case as delivered; unit faults befall cases of six and more only.
        warm: days at first without faults.
    """
    slots, days = demand.units.shape
    kind, partner = np.full(slots, -1), np.full(slots, -1)
    taken = np.zeros(slots, dtype=bool)
    years = (days - warm) / 365
    tempting = _tempting(demand, rng)
    for code, name in enumerate(KINDS):
        able = np.flatnonzero(~taken & ((pack >= 6) | (code != UNIT)))
        n = min(rng.poisson(getattr(mix, name) * years * slots), len(able))
        odds = tempting[able] / tempting[able].sum() if code == SHRINKAGE else None
        for slot in rng.choice(able, n, replace=False, p=odds):
            if taken[slot]:
                continue
            if code in (MISPLACEMENT, SCAN):
                other = _partner(demand, slot, taken, rng)
                if other < 0:
                    continue
                partner[slot], taken[other] = other, True
            kind[slot], taken[slot] = code, True
    lot = rng.random(slots)
    share = np.select(
        [kind == PHANTOM, kind == SHRINKAGE],
        [np.where(lot < 0.5, 1.0, rng.uniform(0.4, 1.0, slots)), rng.uniform(0.1, 0.4, slots)],
        np.where(lot < 0.4, 1.0, rng.uniform(0.3, 1.0, slots)),
    )
    return Plan(
        kind.astype(np.int64), np.asarray(rng.integers(warm, days, slots)),
        np.where(kind == SHRINKAGE, rng.integers(60, 180, slots), rng.integers(14, 90, slots)),
        share, partner.astype(np.int64), np.where(rng.random(slots) < 0.5, pack, -pack),
    )  # fmt: skip


def _tempting(demand: Demand, rng: np.random.Generator) -> Floats:
    """(S,) How much more than others a SKU is stolen, at every site: a few are stolen most."""
    sku, inverse = np.unique(demand.sku, return_inverse=True)
    return np.asarray(rng.gamma(0.5, 2.0, len(sku))[inverse] + 1e-3)


def _partner(demand: Demand, slot: int, taken: npt.NDArray[np.bool_], rng: np.random.Generator) -> int:
    """Another SKU of the site that nothing befalls: of the same family in seven cases of ten. −1: there is none."""
    free = (demand.site == demand.site[slot]) & ~taken
    free[slot] = False
    akin = np.flatnonzero(free & (demand.family == demand.family[slot]))
    others = akin if len(akin) and rng.random() < 0.7 else np.flatnonzero(free)
    return int(rng.choice(others)) if len(others) else -1


@dataclass(frozen=True, slots=True)
class Truth:
    """What no record says. Matrices are (S, D), at the day's end.

    Args:
        site, sku: (S,) names.
        kind: (S,) index into KINDS of the fault of a slot, of its partner's for the other of a pair; −1: none.
        on_hand: units really there, ≥ 0.
        fault: units that a fault has put on the record too many (too few: negative) since its last count.
        error: recorded − on_hand, of whatever cause.
        demand: (S,) units asked for on an average day.
    """

    site: Names
    sku: Names
    kind: Ints
    on_hand: Matrix
    fault: Matrix
    error: Matrix
    demand: Floats

    @property
    def material(self) -> Floats:
        """(S,) From how many units on an error matters: two, or an average day's demand where that is more."""
        return np.maximum(2.0, self.demand)

    def episodes(self) -> pd.DataFrame:
        """Stretches of days on which a record was wrong, a row each: by a unit through a fault, or materially otherwise.

        Returns: slot (row of the matrices), cause (of CAUSES), site, sku, start, end (columns, both inclusive), days, units
            (the largest error in it, signed: recorded − true), material (days of it on which the error was material).
        """
        fault = np.abs(self.fault) >= 1
        other = (np.abs(self.error) >= self.material[:, None]) & ~fault
        return pd.concat(
            [self._stretches(fault, self.fault, False), self._stretches(other, self.error, True)], ignore_index=True
        )

    def _stretches(self, wrong: npt.NDArray[np.bool_], units: Matrix, other: bool) -> pd.DataFrame:
        edge = np.diff(np.pad(wrong, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        slot, start = np.nonzero(edge == 1)
        _, end = np.nonzero(edge == -1)
        worst = np.array([_largest(units[s, a:b]) for s, a, b in zip(slot, start, end, strict=True)], dtype=np.float64)
        matters = [
            int((np.abs(units[s, a:b]) >= self.material[s]).sum()) for s, a, b in zip(slot, start, end, strict=True)
        ]
        cause = np.full(len(slot), OTHER) if other else np.array(KINDS)[self.kind[slot]]
        return pd.DataFrame(
            {"slot": slot, "cause": cause, "site": self.site[slot], "sku": self.sku[slot], "start": start, "end": end - 1,
             "days": end - start, "units": worst, "material": np.array(matters, dtype=np.int64)}
        )  # fmt: skip

    def wrong_days(self) -> pd.DataFrame:
        """Units wrong by day, a row a slot and day on which a fault's are not 0: site, sku, kind, column, units."""
        slot, day = np.nonzero(self.fault)
        return pd.DataFrame(
            {"site": self.site[slot], "sku": self.sku[slot], "kind": np.array(KINDS)[self.kind[slot]], "column": day,
             "units": self.fault[slot, day]}
        )  # fmt: skip


def _largest(units: Floats) -> float:
    return float(units[np.abs(units).argmax()])
