"""What a camera says about a bin: a distribution over the number of items, never a bare number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inventorybot.errors import BadEvent, Code

MAX_COUNT = 20
"""The last class of a distribution is "20 or more": public bin images hold too few fuller bins to tell them apart."""

SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class CountDistribution:
    """p(0), p(1), …, p(20 or more) of the number of items in one picture of a bin, calibrated.

    Args:
        p: 21 probabilities; each in [0, 1]; they sum to 1 within 1e-6.
    Raises: BadEvent: `p` is not such a distribution.
    """

    p: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.p) != MAX_COUNT + 1:
            raise BadEvent(Code.OUT_OF_RANGE, "/p", f"/p has {len(self.p)} entries; a count needs {MAX_COUNT + 1}")
        if not all(math.isfinite(x) and 0.0 <= x <= 1.0 for x in self.p):
            raise BadEvent(Code.OUT_OF_RANGE, "/p", "/p holds a value outside [0, 1]")
        if abs(math.fsum(self.p) - 1.0) > SUM_TOLERANCE:
            raise BadEvent(Code.OUT_OF_RANGE, "/p", f"/p sums to {math.fsum(self.p):.6f}, not to 1")

    @classmethod
    def normalised(cls, weights: Sequence[float]) -> CountDistribution:
        """The distribution proportional to `weights` (21 values >= 0, not all 0); absorbs rounding of floats."""
        total = math.fsum(weights)
        return cls(tuple(w / total for w in weights))

    @property
    def count(self) -> int:
        """The most probable number of items (20 stands for 20 or more)."""
        return max(range(len(self.p)), key=self.p.__getitem__)

    @property
    def confidence(self) -> float:
        """The probability of `count`."""
        return max(self.p)
