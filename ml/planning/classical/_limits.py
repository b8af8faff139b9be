"""The checks that every model of this folder makes of its numbers.

In: a name and a number. Out: nothing, or a BadEvent that names the number and its range.
"""

from __future__ import annotations

import math

from inventorybot.errors import BadEvent, Code


def refuse(name: str, reason: str) -> BadEvent:
    """The error for a number out of range; `name` is the argument's."""
    return BadEvent(Code.OUT_OF_RANGE, f"/{name}", reason)


def positive(**numbers: float) -> None:
    """Every number is finite and above 0. Raises: BadEvent."""
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0):
            raise refuse(name, f"{number:g} is not a finite number above 0")


def not_negative(**numbers: float) -> None:
    """Every number is finite and at least 0. Raises: BadEvent."""
    for name, number in numbers.items():
        if not (math.isfinite(number) and number >= 0):
            raise refuse(name, f"{number:g} is not a finite number of at least 0")
