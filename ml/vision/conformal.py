"""Prediction sets with stated coverage: "the count is 3, 4 or 5", right in 90 % of bins.

In: calibrated distributions and true counts of bins that the model has not seen. Out: for each stated coverage the
threshold that the card keeps. A set holds the counts of at least that probability (`count_model.in_set`).

Source: split conformal prediction with the least ambiguous sets of Sadinle, Lei & Wasserman 2019 (arXiv:1609.00451):
for exchangeable bins a set holds the truth with at least the stated probability, over calibration and new bin together.
"""

from __future__ import annotations

import math

import numpy as np

from ml.vision.evaluate import Floats, Ints

COVERAGES = (0.8, 0.9, 0.95)


def thresholds(p: Floats, y: Ints) -> dict[str, float]:
    """The threshold of each stated coverage: p (N, 21), y (N,). Empty where N is too small to state any."""
    truth = np.sort(p[np.arange(len(y)), y])  # (N,) ascending: what the true counts were given
    found = {}
    for coverage in COVERAGES:
        missed = math.floor(
            (len(y) + 1) * (1 - coverage) + 1e-9
        )  # how many truths may lie below the threshold, plus one
        if missed >= 1:
            found[str(coverage)] = float(truth[missed - 1])
    return found


def measured(p: Floats, y: Ints, threshold: float) -> dict[str, float]:
    """How often the sets of a threshold hold the truth, and how many counts they hold on average."""
    sets = (p >= threshold) | (p == p.max(1, keepdims=True))  # (N, 21)
    return {"coverage": float(sets[np.arange(len(y)), y].mean()), "size": float(sets.sum(1).mean())}
