"""Pictures and records to judge by, as short as a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from inventorybot.domain.bin_watch import Rules
from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.ledger import LedgerRow
from inventorybot.domain.variance import BinRecord, Change, Costs, Look, MiscountPrior

EVEN = tuple([1 / 21] * 21)
"""A model calibrated where every count is as common as any other."""

RULES = Rules(MiscountPrior(0.02), Costs(recount=1.5, missed_error=5.0), look_weight=0.5)


def shows(**p: float) -> CountDistribution:
    """shows(n3=0.9, n4=0.1): the distribution of a picture."""
    return CountDistribution.normalised([p.get(f"n{k}", 0.0) for k in range(21)])


def sure(n: int) -> CountDistribution:
    """A picture that says n with 0.9, and the neighbours with the rest."""
    weights = [0.0] * 21
    for k, w in ((n, 0.9), (n - 1, 0.06), (n + 1, 0.04)):
        weights[min(max(k, 0), 20)] += w
    return CountDistribution.normalised(weights)


THREE = shows(n2=0.06, n3=0.9, n4=0.04)
"""The picture of the worked example in docs/adr/0004."""


def look(at: int, p: CountDistribution, name: str = "") -> Look:
    """A picture taken at `at` ms."""
    return Look.of(at, name or f"i{at}", p, EVEN)


def says(units: int, *changes: Change, start: int = 0) -> BinRecord:
    """A record of so many units, and what changed it since."""
    return BinRecord(start, {"X": units}, changes)


def moved(at: int, units: int) -> Change:
    """A movement."""
    return Change(LedgerRow(at, at, "X", units, False, f"e{at}"))


def counted(at: int, units: int) -> Change:
    """A cycle count."""
    return Change(LedgerRow(at, at, "X", units, True, f"e{at}"), corrects=True)


def adjusted(at: int, units: int) -> Change:
    """An adjustment."""
    return Change(LedgerRow(at, at, "X", units, False, f"e{at}"), corrects=True)


def same(p: CountDistribution, times: Sequence[int]) -> list[Look]:
    """Pictures that say the same."""
    return [look(at, p) for at in times]
