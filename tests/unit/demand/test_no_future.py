"""Nothing that forecasts sees anything after its origin. Run: pytest tests/unit/demand/test_no_future.py"""

from __future__ import annotations

import numpy as np
import pytest

from ml.demand import statistical
from ml.demand.features import Features, Rows, ahead_rows, draw_rows
from ml.demand.forecaster import origins
from ml.demand.trees import Trees, TreesConfig
from tests.unit.demand.makers import panel, poisson

SMALL = TreesConfig(rounds=10, rows=2000)


def test_features_of_an_origin_do_not_change_when_everything_from_it_on_does() -> None:
    units, price = poisson(6, 130), np.random.default_rng(2).uniform(1, 2, (6, 130))
    later, dearer = units.copy(), price.copy()
    later[:, 100:] = 1e6
    dearer[:, 100:] = 99
    rows = ahead_rows(6, 100, 13)
    before, scale = Features(panel(units, price=price)).matrix(rows)
    after, scale_after = Features(panel(later, price=dearer)).matrix(rows)
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(scale, scale_after)


def test_features_do_change_with_the_last_period_before_the_origin() -> None:
    units = poisson(2, 40)
    other = units.copy()
    other[:, 29] += 5
    rows = ahead_rows(2, 30, 1)
    assert (Features(panel(units)).matrix(rows)[0] != Features(panel(other)).matrix(rows)[0]).any()


def test_a_lag_is_the_period_it_says_over_the_mean_of_the_last_half_year() -> None:
    units = np.full((1, 60), 4.0)
    units[0, 49], units[0, 48], units[0, 0] = 8.0, 6.0, 12.0
    features = Features(panel(units))
    x, scale = features.matrix(Rows(np.array([0]), np.array([50]), np.array([3])))
    named = dict(zip(features.names, x[0], strict=True))
    mean = (24 * 4 + 8 + 6) / 26
    assert scale[0] == pytest.approx(mean)
    assert (named["lag1"], named["lag2"]) == (pytest.approx(8 / mean), pytest.approx(6 / mean))
    # three steps after origin 50 is period 52, whose year-ago is period 0
    assert named["year_ago"] == pytest.approx(12 / mean)


def test_targets_to_learn_from_lie_within_the_history_and_are_known() -> None:
    units = poisson(5, 30)
    units[:, 10] = np.nan
    rows = draw_rows(panel(units), 8, 5000, np.random.default_rng(1))
    assert rows.target.max() < 30
    assert (rows.target != 10).all()
    assert (rows.target >= rows.origin).all()


@pytest.mark.parametrize("name", [*statistical.FAST, *statistical.SLOW, "trees"])
def test_a_forecast_from_an_origin_is_the_same_whatever_came_after(name: str) -> None:
    units = poisson(3, 70)
    later = units.copy()
    later[:, 60:] *= 100

    def say(values: np.ndarray) -> np.ndarray:
        past = panel(values).until(60)
        return Trees.fit(past, 4, SMALL).predict(past, 4) if name == "trees" else statistical.forecast(name, past, 4)

    np.testing.assert_array_equal(say(units), say(later))


def test_stretches_held_back_lie_within_the_history_and_leave_a_third_of_it() -> None:
    assert origins(171, 13, 3) == ([158, 145, 132], 13)
    at, scored = origins(13, 13, 3)
    assert (at, scored) == ([10, 9, 8], 3)
    assert origins(4, 6, 3) == ([3], 1)
