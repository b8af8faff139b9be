"""What the detector is measured beside, by hand. Run: pytest tests/unit/anomaly/test_baselines.py"""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml.anomaly.baselines import Ecod, Forest, ZeroStreak
from ml.anomaly.features import features, stacked
from tests.unit.anomaly.worlds import story


def test_the_zero_streak_test_is_the_chance_of_so_many_days_without_luck() -> None:
    # it sold on 5 of the 10 days with stock before; then 4 days without: (1 − p)⁴, p = (5 + ½) / (10 + 1) on the last day it sold
    sold = [1, 0] * 4 + [0, 1] + [0] * 4
    told = story([[9.0] * 14], sold=[sold], received=[[1.0] + [0.0] * 13])
    score = ZeroStreak().score(stacked(features(told))[0, -1:])
    assert score[0] == pytest.approx(-4 * math.log(1 - 5.5 / 11), rel=1e-6)


def test_ecod_sums_the_negative_logs_of_the_tails() -> None:
    # one feature with the values 1 … 4, no skew: auto takes the right tail; 4 lies in a right tail of 1/4 and a left one of 1
    ecod = Ecod(np.array([[1.0], [2.0], [3.0], [4.0]], dtype=np.float32))
    scores = ecod.score(np.array([[4.0], [2.0], [1.0]], dtype=np.float32))
    assert scores.tolist() == pytest.approx([math.log(4), math.log(2), math.log(4)])


def test_ecod_looks_where_the_skew_points_to_and_adds_features_up() -> None:
    # skewed to the right twice over: the far value has a right tail of 1/4 in both
    rows = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [9.0, 9.0]], dtype=np.float32)
    assert Ecod(rows).score(rows)[3] == pytest.approx(2 * math.log(4))


def test_isolation_forest_finds_the_row_that_stands_apart() -> None:
    rows = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    scores = Forest(rows, seed=1).score(np.vstack([rows[:20], [[9, 9, 9]]]).astype(np.float32))
    assert scores.argmax() == 20
