"""Chooses what forecasts each segment: one model, or a mean of several.

In: forecasts of all candidates at earlier origins, and what happened. Out: weights by segment.
Source: greedy selection with replacement, Caruana et al. 2004, ICML.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inventorybot.domain.demand import Segment
from ml.demand.panel import Array

Weights = dict[str, float]
ROUNDS = 6
"""Members drawn, with replacement: weights are multiples of a sixth."""
WORTH = 0.999
"""A further member, or a segment's own mixture, has to bring the loss below this share of what it was."""
ENOUGH = 30
"""Series below which a segment takes the mixture of all."""
RARE = (Segment.INTERMITTENT.value, Segment.LUMPY.value)
EVERY = "all"


def losses(actual: Array, forecast: Array, rare: NDArray[np.bool_], scale: Array) -> NDArray[np.float64]:
    """Loss of each series: its absolute error; for rare demand its squared error over its scale.

    The median of rare demand is often zero, which says nothing; squared error asks for the mean.

    Args: actual, forecast: (N, H), units; rare: (N,); scale: (N,), units. Returns: (N,).
    """
    gap = np.where(np.isfinite(actual), forecast - actual, 0.0).astype(np.float64)
    return np.asarray(np.where(rare, (gap**2).sum(axis=1) / scale, np.abs(gap).sum(axis=1)), np.float64)


def greedy(actual: Array, candidates: dict[str, Array], rare: NDArray[np.bool_], scale: Array) -> Weights:
    """The mean of candidates, drawn with replacement, that has the least loss. Args: as of `losses`; candidates: (N, H)."""
    chosen: list[str] = []
    best = np.inf
    total = np.zeros_like(actual)
    for _ in range(ROUNDS):
        tried = {
            name: float(losses(actual, np.asarray((total + f) / (len(chosen) + 1), np.float32), rare, scale).sum())
            for name, f in candidates.items()
        }
        name = min(tried, key=lambda n: tried[n])
        if tried[name] >= best * (WORTH if len(set(chosen) | {name}) > len(set(chosen)) else 1.0):
            break
        best = tried[name]
        chosen.append(name)
        total = total + candidates[name]
    return {name: chosen.count(name) / len(chosen) for name in dict.fromkeys(chosen)}


def choose(
    actual: list[Array], candidates: list[dict[str, Array]], segment: list[NDArray[np.str_]], scale: list[Array]
) -> dict[str, Weights]:
    """Weights of each segment, and of "all" for segments too small or no better on their own.

    Args: one entry an origin: actual (N, H), candidates (N, H) by name, segment (N,), scale (N,).
    """
    y, names, size = np.concatenate(actual), np.concatenate(segment), np.concatenate(scale)
    shared = set.intersection(*(set(c) for c in candidates))
    joined = {n: np.concatenate([c[n] for c in candidates]) for n in candidates[0] if n in shared}
    rare = np.isin(names, RARE)
    out = {EVERY: greedy(y, joined, rare, size)}
    for name in np.unique(names):
        inside = names == name
        if name == Segment.SILENT.value or inside.sum() < ENOUGH * len(actual):
            continue
        part = {n: f[inside] for n, f in joined.items()}
        own = greedy(y[inside], part, rare[inside], size[inside])
        common = losses(y[inside], mixed(part, out[EVERY]), rare[inside], size[inside]).sum()
        if losses(y[inside], mixed(part, own), rare[inside], size[inside]).sum() < WORTH * common:
            out[str(name)] = own
    return out


def mixed(candidates: dict[str, Array], weights: Weights) -> Array:
    """The weighted mean of some forecasts; (N, H)."""
    return np.asarray(sum(w * candidates[n] for n, w in weights.items()), np.float32)


def by_segment(candidates: dict[str, Array], choice: dict[str, Weights], segment: NDArray[np.str_]) -> Array:
    """Each series' forecast by its segment's mixture; (N, H)."""
    out = mixed(candidates, choice[EVERY])
    for name, weights in choice.items():
        inside = segment == name
        if inside.any():
            out[inside] = mixed({n: candidates[n][inside] for n in weights}, weights)
    return out
