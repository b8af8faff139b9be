"""Injected miscounts and prediction sets, against hand calculations. Run: pytest tests/unit/vision/test_alerts.py"""

from __future__ import annotations

import numpy as np
import pytest

from inventorybot.adapters.count_model import in_set
from inventorybot.domain.counting import CountDistribution
from ml.vision.alerts import REACH, alert_view, suspicion
from ml.vision.conformal import measured, thresholds

UNIFORM = [1 / 21] * 21


def test_a_record_is_the_more_suspect_the_further_it_is_from_a_sure_count() -> None:
    p = np.full((1, 21), 0.001)
    p[0, 4] = 0.98
    row = suspicion(p, UNIFORM, np.array([4]))[0]
    assert row[REACH] < 0.01
    assert row[REACH] < row[REACH + 1] <= 1
    assert np.isnan(suspicion(p, UNIFORM, np.array([2]))[0, : REACH - 2]).all()  # a record is never below zero


def test_a_finder_that_knows_everything_finds_all_and_one_that_knows_nothing_as_many_as_it_alarms() -> None:
    n = 500
    groups = [str(i) for i in range(n)]
    knows = np.full((n, 2 * REACH + 1), 0.9)
    knows[:, REACH] = 0.1
    found = alert_view(knows, groups)
    assert [found[f"recall_{s}"]["value"] for s in ("1", "2", "3+")] == [1, 1, 1]
    assert found["precision_20"]["value"] == 1  # 10 of 500 are wrong, and 20 a thousand are looked at
    assert found["precision_100"]["value"] == pytest.approx(0.2)
    blind = np.repeat(np.random.default_rng(1).random((n, 1)), 2 * REACH + 1, axis=1)
    found = alert_view(blind, groups)
    assert found["recall_1"]["value"] == pytest.approx(0.01, abs=0.01)
    assert found["precision_100"]["value"] == pytest.approx(0.02, abs=0.01)


def test_a_finder_of_large_errors_alone_has_no_recall_of_small_ones() -> None:
    found = np.zeros((200, 2 * REACH + 1))
    found[:, [*range(REACH - 2), *range(REACH + 3, 2 * REACH + 1)]] = 0.9
    view = alert_view(found, [str(i) for i in range(200)])
    assert (view["recall_1"]["value"], view["recall_2"]["value"], view["recall_3+"]["value"]) == (0, 0, 1)


def test_the_threshold_of_four_in_five_is_what_the_second_least_of_nine_truths_was_given() -> None:
    # (9 + 1) x (1 - 0.8) = 2 truths may be missed by ten bins, so two of nine lie at or below it
    p = np.array([[x, 1 - x] for x in (0.9, 0.1, 0.5, 0.3, 0.8, 0.7, 0.2, 0.6, 0.4)])
    found = thresholds(p, np.zeros(9, int))
    assert found["0.8"] == pytest.approx(0.2)
    assert found["0.9"] == pytest.approx(0.1)
    assert "0.95" not in found  # nine bins cannot show it


def test_prediction_sets_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(21, 0.3), 4000)
    y = np.array([rng.choice(21, p=row) for row in p])
    for coverage, threshold in thresholds(p[:2000], y[:2000]).items():
        assert measured(p[2000:], y[2000:], threshold)["coverage"] == pytest.approx(float(coverage), abs=0.03)


def test_a_set_is_never_empty() -> None:
    p = CountDistribution.normalised([0, 5, 4, 1, *[0] * 17])
    assert in_set(p, 0.3) == (1, 2)
    assert in_set(p, 0.9) == (1,)
