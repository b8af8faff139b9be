"""The accounts of the back-test: figures of every policy, and paired differences with intervals.

In: a `Result`. Out: numbers by policy and figure. Intervals: series are drawn with replacement (bootstrap), the same ones for
both policies. Source: Efron & Tibshirani 1993, An introduction to the bootstrap, chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ml.restock.backtest import POLICIES, Result
from ml.restock.policy import YEAR_DAYS
from ml.restock.simulate import SUMS

DRAWS = 2000

FIGURES = {
    "fill rate": "share of units served at once",
    "stock-outs": "share of periods and series in which units were lost",
    "stock held": "units at a period's end, all series",
    "orders": "number a period, all series",
    "thrown away": "units a period, all series",
    "cost": "holding, shortage, orders, what is thrown away; money a period, all series",
}


def figures(result: Result, sums: Mapping[str, NDArray[np.floating | np.integer]]) -> dict[str, NDArray[np.float64]]:
    """Figures of one policy. Args: sums: by name, (…,), summed over the series drawn."""
    s, terms = {k: np.asarray(v, np.float64) for k, v in sums.items()}, result.setting.terms
    periods = result.scored
    held = terms.unit_cost * terms.holding_rate * result.period_days / YEAR_DAYS * s["held"]
    cost = (
        held + result.setting.shortage_cost * s["lost"] + terms.order_cost * s["orders"] + terms.unit_cost * s["wasted"]
    )
    return {
        "fill rate": 1 - s["lost"] / np.maximum(s["demand"], 1),
        "stock-outs": s["out"] / s["periods"],
        "stock held": s["held"] / periods,
        "orders": s["orders"] / periods,
        "thrown away": s["wasted"] / periods,
        "cost": cost / periods,
    }


def table(result: Result, target: float) -> dict[str, dict[str, float]]:
    """Figures by policy at a target."""
    out = {}
    for name in POLICIES:
        sums = {k: v.sum() for k, v in result.sums[name, target].items()}
        out[name] = {k: float(v) for k, v in figures(result, sums).items()}
    return out


def differences(result: Result, target: float) -> dict[str, dict[str, tuple[float, float, float]]]:
    """The forecast's policy less each fixed one, with a 95 % interval: figure to (difference, low, high), by policy."""
    n = result.series
    draws = np.random.default_rng(result.setting.seed).multinomial(n, np.full(n, 1 / n), DRAWS)
    resampled = {
        name: figures(result, {k: draws @ result.sums[name, target][k] for k in SUMS}) for name in POLICIES
    }  # fmt: skip
    plain = table(result, target)
    out: dict[str, dict[str, tuple[float, float, float]]] = {}
    for other in POLICIES[1:]:
        gaps = {k: resampled["forecast"][k] - resampled[other][k] for k in FIGURES}
        out[other] = {}
        for name, gap in gaps.items():
            low, high = np.quantile(gap, (0.025, 0.975))
            out[other][name] = (plain["forecast"][name] - plain[other][name], float(low), float(high))
    return out


def equal_stock(result: Result, target: float) -> dict[str, float]:
    """Stock that the forecast's policy needs for the fill rate of each fixed one, as a share of what that one holds.

    Read off the line between the tried targets of the forecast's policy; NaN: the fill rate lies outside them.
    """
    rows = [table(result, tried) for tried in result.setting.targets]
    fill, held = np.array(sorted((r["forecast"]["fill rate"], r["forecast"]["stock held"]) for r in rows)).T
    out = {}
    for name in POLICIES[1:]:
        other = table(result, target)[name]
        inside = fill[0] <= other["fill rate"] <= fill[-1]
        share = float(np.interp(other["fill rate"], fill, held)) / max(other["stock held"], 1e-9)
        out[name] = share if inside else float("nan")
    return out
