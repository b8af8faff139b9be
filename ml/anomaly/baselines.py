"""What the detector is measured beside: a test of zero streaks, and two detectors of outliers that never saw a label.

In: features (N, F) or (S, D, F). Out: a score for each row, larger is more suspect.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest

from ml.anomaly.features import NAMES

Rows = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

EVERY = 7
"""Days between two scores of an outlier detector, which is slow: a score stands until the next."""


class Scorer(Protocol):
    """Anything that can be measured by evaluate.py."""

    def score(self, x: Rows) -> Scores:
        """(N, F) features to (N,) scores."""
        ...


class ZeroStreak:
    """Bernoulli test of the current run without sales: −log of the chance that it is luck.

    A slot that sold on a share p of its stocked days has no sale in n of them with probability (1 − p)ⁿ; p is estimated from the half
    year before the run. Days on which the record shows no stock do not count.
    """

    def score(self, x: Rows) -> Scores:
        """(N, F) to (N,): −n log(1 − p)."""
        return x[:, NAMES.index("run_bernoulli")].astype(np.float64)


class Forest:
    """Isolation Forest (Liu, Ting and Zhou 2008), scikit-learn's, on all features."""

    every = EVERY

    def __init__(self, x: Rows, seed: int) -> None:
        self._forest = IsolationForest(n_estimators=100, random_state=seed).fit(x)

    def score(self, x: Rows) -> Scores:
        """(N, F) to (N,): shorter paths score higher."""
        return np.asarray(-self._forest.score_samples(x), dtype=np.float64)


class Ecod:
    """ECOD: how far out in the tails of the empirical distribution a row lies, feature by feature.

    Args: x (N, F): rows that stand for what is ordinary.
    Source: Li, Zhao, Hu, Botta, Ionescu, Chen (2022), "ECOD: unsupervised outlier detection using empirical cumulative
        distribution functions", IEEE TKDE: O = max(O_left, O_right, O_auto), O_auto takes the tail that skewness points to.
    """

    every = EVERY

    def __init__(self, x: Rows) -> None:
        self._sorted = np.sort(x.astype(np.float64), axis=0)
        centred = x - x.mean(0)
        skew = (centred**3).mean(0) / ((centred**2).mean(0) ** 1.5 + 1e-12)
        self._left_tail = skew < 0

    def score(self, x: Rows) -> Scores:
        """(N, F) to (N,): negative log tail probabilities, summed over features."""
        n, f = self._sorted.shape
        left, right, auto = np.zeros(len(x)), np.zeros(len(x)), np.zeros(len(x))
        for j in range(f):
            known, values = self._sorted[:, j], x[:, j].astype(np.float64)
            below = np.maximum(np.searchsorted(known, values, side="right"), 1) / n  # P(X ≤ x)
            above = np.maximum(n - np.searchsorted(known, values, side="left"), 1) / n  # P(X ≥ x)
            left -= np.log(below)
            right -= np.log(above)
            auto -= np.log(below if self._left_tail[j] else above)
        return np.maximum(np.maximum(left, right), auto)
