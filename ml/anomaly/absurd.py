"""Predictions that cannot be true: a model may be wrong, it may not be absurd. Pure; the standard library alone.

In: what a model said of a slot, and what is known of the slot. Out: every reason for not believing it; none: go on.
A prediction that is absurd is not acted on: it raises an alert about the model instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

FAR = 10.0
"""How far from anything seen: a forecast of more than ten times anything ever sold in as many days: promotions reach four, the odd bulk buyer fifteen in one day."""


class Absurdity(StrEnum):
    """Why a prediction cannot be true; stable, machine-readable."""

    NO_NUMBER = "no-number"
    NEGATIVE = "negative"
    OVER_CAPACITY = "over-capacity"
    FAR_FROM_SEEN = "far-from-seen"
    FAR_BELOW_SEEN = "far-below-seen"
    NOT_ASCENDING = "not-ascending"
    NO_PROBABILITY = "no-probability"


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason not to believe a prediction. `reason`: one sentence for a person, with the figures."""

    kind: Absurdity
    reason: str


def absurd(
    *,
    forecast: Sequence[float] = (),
    on_hand: float | None = None,
    probability: float | None = None,
    most_sold: float | None = None,
    least_sold: float | None = None,
    capacity: float | None = None,
) -> tuple[Doubt, ...]:
    """Everything about a prediction that cannot be true.

    Args:
        forecast: units of a period; one number, or quantiles from low to high.
        on_hand: units estimated to be really there.
        probability: that the record is wrong.
        most_sold: the most units the slot ever sold in a period as long; None or 0: nothing is known.
        least_sold: the fewest it sold in any period as long with stock on every day; None or 0: nothing is known.
        capacity: units that the slot can hold; None: not known.
    Returns: one doubt for each rule that is broken, in a fixed order.

    >>> [d.kind.value for d in absurd(forecast=[-1.0], most_sold=5)]
    ['negative']
    """
    numbers = {"forecast": list(forecast), "stock": [] if on_hand is None else [on_hand]}
    doubts = [_of_numbers(name, values, capacity) for name, values in numbers.items() if values]
    found = [doubt for some in doubts for doubt in some]
    real = [v for v in forecast if math.isfinite(v)]
    if most_sold and real and max(real) > FAR * most_sold:
        found.append(Doubt(
            Absurdity.FAR_FROM_SEEN,
            f"a forecast of {max(real):g} is more than {FAR:g} times {most_sold:g}, the most that was ever sold in as many days",
        ))  # fmt: skip
    if least_sold and real and max(real) < least_sold / FAR:
        found.append(Doubt(
            Absurdity.FAR_BELOW_SEEN,
            f"a forecast of {max(real):g} is less than a tenth of {least_sold:g}, the fewest that were sold in as many days with stock",
        ))  # fmt: skip
    if any(b < a for a, b in pairwise(real)):
        found.append(Doubt(Absurdity.NOT_ASCENDING, "the quantiles of the forecast do not ascend"))
    if probability is not None and not 0 <= probability <= 1:
        found.append(Doubt(Absurdity.NO_PROBABILITY, f"{probability:g} is no probability: it does not lie in 0 to 1"))
    return tuple(found)


def _of_numbers(name: str, values: list[float], capacity: float | None) -> list[Doubt]:
    found = []
    if any(not math.isfinite(v) for v in values):
        found.append(Doubt(Absurdity.NO_NUMBER, f"the {name} holds something that is no finite number"))
    real = [v for v in values if math.isfinite(v)]
    if real and min(real) < 0:
        found.append(Doubt(Absurdity.NEGATIVE, f"a {name} of {min(real):g} units is below zero"))
    if name == "stock" and capacity is not None and real and max(real) > capacity:
        found.append(
            Doubt(Absurdity.OVER_CAPACITY, f"a stock of {max(real):g} units is over the capacity of {capacity:g}")
        )
    return found
