"""Features by hand, and that none sees the future or the truth. Run: pytest tests/unit/anomaly/test_features.py"""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml.anomaly.demand import made
from ml.anomaly.faults import Mix
from ml.anomaly.features import NAMES, features, stacked
from ml.anomaly.simulate import World, replay
from ml.anomaly.story import Story
from tests.unit.anomaly.worlds import story


def last(told: Story, name: str, slot: int = 0) -> float:
    return float(features(told)[name][slot, -1])


def test_a_feature_of_a_day_is_the_same_whatever_comes_after() -> None:
    rng = np.random.default_rng(3)
    told = replay(made(300, 300, rng), World(Mix().times(10)), rng).story
    whole, cut = stacked(features(told)), stacked(features(told.until(219)))
    assert whole.shape == (told.slots, 300, len(NAMES))
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(whole[:, :220], cut)


def test_a_run_without_sales_counts_days_with_stock_alone() -> None:
    # sold on day 0; stock shown in the mornings of days 1, 2 and 5; none on days 3 and 4
    told = story([[3, 3, 0, 0, 4, 4]], sold=[[1, 0, 0, 0, 0, 0]], expected=[[2, 2, 2, 2, 2, 2]])
    assert last(told, "run_days") == 3
    assert last(told, "run_expected") == 6  # −log of exp(−2 · 3)
    assert last(told, "run_lumpy") == pytest.approx(3 * math.log(3))  # shape 1: (1 / (1 + 2))³


def test_units_sold_beyond_the_record_add_up_until_a_count() -> None:
    told = story([[1, -2, -3]], sold=[[0, 3, 1]])
    assert last(told, "oversold") == 3  # 3 sold of 1, then 1 of −2: 2 and 1
    assert last(told, "below_zero") == 3
    counted = story([[1, -2, 5]], sold=[[0, 3, 1]], counted=[[np.nan, np.nan, 5]])
    assert last(counted, "oversold") == 0


def test_a_receipt_of_a_twelfth_stands_out_against_the_usual_ones() -> None:
    days = 40
    received = np.zeros((1, days))
    received[0, [5, 15, 25]], received[0, 35] = 24, 2
    told = story(np.full((1, days), 30.0).tolist(), received=received.tolist())
    assert last(told, "receipt_small") == pytest.approx(-math.log(2.5 / 24.5), rel=1e-6)
    assert last(told, "receipt_case") == pytest.approx(-math.log(2.1 / 24.1), rel=1e-6)
    assert last(told, "receipt_large") == pytest.approx(0, abs=1e-6)


def test_a_shortfall_counts_as_paired_only_as_far_as_another_sku_of_the_family_has_too_much() -> None:
    days = 30
    sold = [[0.0] * days, [2.0] * days, [1.0] * days]  # one expected of each
    alone = story([[9.0] * days] * 2, sold=[sold[0], sold[2]])
    pair = story([[9.0] * days] * 3, sold=sold)
    assert last(alone, "pair") == 0
    deviation = 28 / math.sqrt(29)
    assert last(pair, "pair", 0) == pytest.approx(-deviation)
    assert last(pair, "pair", 1) == pytest.approx(deviation)
    assert last(pair, "pair", 2) == 0


def test_sales_that_end_only_when_a_receipt_comes_are_remembered_until_a_count() -> None:
    # record shows 8 for four days, nothing sells; then a receipt, and it sells again
    told = story([[8, 8, 8, 8, 8, 12, 11]], received=[[0, 0, 0, 0, 0, 6, 0]], sold=[[1, 0, 0, 0, 0, 2, 1]])
    assert last(told, "resumed") == 4
    assert last(told, "resumed_stock") == 8
    assert last(told, "resumed_often") == 1
