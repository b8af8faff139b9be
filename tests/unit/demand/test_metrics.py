"""Each figure of the comparison table against a calculation by hand. Run: pytest tests/unit/demand/test_metrics.py"""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml.demand import metrics

# y = 1, 2, 3, 6 (mean 3); f = 2, 2, 2, 4: errors f - y = 1, 0, -1, -2
Y, F = np.array([1.0, 2, 3, 6]), np.array([2.0, 2, 2, 4])


@pytest.mark.parametrize(
    ("of", "by_hand"),
    [
        (metrics.mae, (1 + 0 + 1 + 2) / 4),
        (metrics.rmse, math.sqrt((1 + 0 + 1 + 4) / 4)),
        (metrics.wape, 4 / 12),
        (metrics.bias, (1 + 0 - 1 - 2) / 12),
        (metrics.mape, (1 / 1 + 0 + 1 / 3 + 2 / 6) / 4),
        (metrics.rae, 4 / (2 + 1 + 0 + 3)),
        (metrics.rrse, math.sqrt(6 / (4 + 1 + 0 + 9))),
        (metrics.r2, 1 - 6 / 14),
        # deviations of y: -2, -1, 0, 3; of f (mean 2.5): -.5, -.5, -.5, 1.5; products 1 + .5 + 0 + 4.5 = 6; squares 14 and 3
        (metrics.correlation, 6 / math.sqrt(14 * 3)),
    ],
)
def test_a_figure_is_what_its_definition_gives_by_hand(of: object, by_hand: float) -> None:
    assert of(Y, F) == pytest.approx(by_hand)  # type: ignore[operator]


def test_pinball_loss_charges_what_lies_above_by_the_level_and_below_by_the_rest() -> None:
    # level 0.9: y 10 over q 8 costs 0.9 * 2 = 1.8; y 5 under q 8 costs 0.1 * 3 = 0.3
    assert metrics.pinball(np.array([10.0, 5.0]), np.array([[8.0], [8.0]]), (0.9,)) == pytest.approx((1.8 + 0.3) / 2)


def test_coverage_counts_the_ends_of_the_interval() -> None:
    y = np.array([1.0, 2.0, 3.0, 9.0])
    assert metrics.coverage(y, np.full(4, 1.0), np.full(4, 3.0)) == 0.75


def test_what_is_not_known_is_left_out() -> None:
    assert metrics.mae(np.array([1.0, np.nan]), np.array([3.0, 100.0])) == 2.0


def test_a_share_of_nothing_is_not_a_number_rather_than_an_error() -> None:
    nothing = np.zeros(3)
    assert math.isnan(metrics.wape(nothing, F[:3]))
    assert math.isnan(metrics.mape(nothing, F[:3]))
    assert math.isnan(metrics.r2(nothing, F[:3]))
