"""Metrics against values worked out by hand. Run: pytest tests/unit/vision/test_evaluate.py"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ml.vision.evaluate import (
    at_coverage,
    ece,
    ece_if_honest,
    fit_temperature,
    intervals,
    macro_f1,
    metrics,
    of_guesses,
    restrict,
)


def test_counts_that_miss_by_0_1_and_3() -> None:
    found = of_guesses(np.array([2, 3, 7]), np.array([2, 4, 4]))  # misses 0, 1, 3
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["within_one"] == pytest.approx(2 / 3)
    assert found["mae"] == pytest.approx(4 / 3)
    assert found["rmse"] == pytest.approx(math.sqrt(10 / 3))


def test_macro_f1_is_the_mean_over_counts_that_occur() -> None:
    # truth 0 0 1, guesses 0 1 2: F1 of 0: 2 x 1 / (1 + 2); of 1: 0; of 2: 0
    assert macro_f1(np.array([0, 1, 2]), np.array([0, 0, 1])) == pytest.approx((2 / 3) / 3)


def test_at_half_coverage_only_the_surest_half_counts() -> None:
    right = np.array([True, False, True, False])
    assert at_coverage(np.array([0.9, 0.2, 0.8, 0.4]), right, (0.5, 1.0)) == [1.0, 0.5]


def test_likelihood_is_the_mean_log_of_what_the_truth_was_given() -> None:
    p = np.array([[0.5, 0.5, 0.0], [0.1, 0.8, 0.1]])
    assert metrics(p, np.array([0, 1]))["nll"] == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_share() -> None:
    # two bins: 0.9 confident and right 1 of 2: gap 0.4; 0.5 confident and right 2 of 2: gap 0.5; half of the pictures each
    right = np.array([True, False, True, True])
    assert ece(np.array([0.9, 0.9, 0.5, 0.5]), right) == pytest.approx(0.5 * 0.4 + 0.5 * 0.5)


def test_the_calibration_error_of_an_honest_model_is_above_0_on_few_pictures_and_vanishes_on_many() -> None:
    rng = np.random.default_rng(2)
    few, many = (ece_if_honest(rng.uniform(0.2, 0.9, n)) for n in (200, 20_000))
    assert few["low"] > 0.02
    assert many["high"] < 0.02
    confidence = rng.uniform(0.2, 0.9, 200)
    said, by_chance = (ece(confidence, rng.random(200) < share) for share in (confidence, confidence / 2))
    assert said < ece_if_honest(confidence)["high"] < by_chance


def test_a_distribution_told_that_there_are_at_most_1_is_renormalised() -> None:
    assert restrict(np.array([[0.1, 0.3, 0.6]]), top=1).tolist() == [[pytest.approx(0.25), pytest.approx(0.75)]]


def test_the_temperature_of_a_model_that_is_twice_too_sure_is_2() -> None:
    draw = torch.Generator().manual_seed(1)
    honest = torch.randn(20_000, 5, generator=draw, dtype=torch.float64)
    y = torch.multinomial(honest.softmax(1), 1, generator=draw).squeeze(1)
    assert fit_temperature(honest * 2, y) == pytest.approx(2.0, rel=0.05)


def test_an_interval_holds_its_value_and_is_wider_where_pictures_come_in_pairs() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat(rng.integers(0, 2, 100), 2)
    p = np.where(np.repeat(rng.random(100) < 0.7, 2)[:, None], np.eye(2)[y], np.eye(2)[1 - y])
    alone = intervals(p, y, [str(i) for i in range(200)])["accuracy"]
    paired = intervals(p, y, [str(i // 2) for i in range(200)])["accuracy"]
    assert alone["low"] < alone["value"] < alone["high"]
    assert paired["high"] - paired["low"] > 1.2 * (alone["high"] - alone["low"])
