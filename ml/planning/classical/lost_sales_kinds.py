"""The kinds of policy for lost sales, by the names the command line gives them; imports nothing, so that --help is quick."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """`best` is the optimum where it can be computed, else the cheapest of the others."""

    BEST = "best"
    OPTIMAL = "optimal"
    BASE_STOCK = "base-stock"
    CAPPED = "capped"
    MYOPIC = "myopic"
