"""Demand of several periods from their forecasts: sums, dependence, parts of periods, uncertain lead times."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inventorybot.errors import BadEvent
from ml.restock.curves import WEIGHTS, atoms, whole
from ml.restock.horizon import Horizon, Total, conditional, thinned

QUANTILES = np.array([2.0, 4.0, 6.0, 9.0, 15.0])
MEAN = 7.0


def weeks(n: int, begun: float = 0.0) -> np.ndarray:
    return np.arange(n + 1) * 7.0 - begun


def horizon(n: int = 6, reach: float = 42.0, dependence: float = 0.0, begun: float = 0.0) -> Horizon:
    return Horizon(weeks(n, begun), np.full(n, MEAN), np.tile(QUANTILES, (n, 1)), reach, dependence)


def variance(total: Total) -> float:
    return total.steps.variance


def one_period() -> np.ndarray:
    return whole(atoms(np.array([MEAN]), QUANTILES[None]), 1, 120)[0]


def test_a_distribution_keeps_the_quantiles_and_the_mean_of_its_forecast() -> None:
    week = horizon().total({7.0: 1.0})
    assert [week.quantile(level) for level in (0.05, 0.25, 0.5, 0.75, 0.95)] == [2, 4, 6, 9, 15]
    assert week.mean == pytest.approx(MEAN, abs=1e-9)
    assert WEIGHTS.sum() == pytest.approx(1, abs=1e-12)


@given(
    st.lists(st.floats(0, 50), min_size=5, max_size=5).map(sorted),
    st.floats(0.2, 3.0),
)
@example([0.0, 0.0, 0.0, 0.0, 2.2e-313], 1.0)
def test_any_forecast_makes_a_rising_quantile_function_that_is_never_below_zero(q: list[float], factor: float) -> None:
    x = atoms(np.array([factor * (q[2] + 0.01)]), np.array([q]))[0]
    assert (x >= 0).all()
    assert (np.diff(x) >= -1e-9).all()


def test_a_demand_that_is_certain_stays_certain() -> None:
    sure = Horizon(weeks(3), np.full(3, 5.0), np.full((3, 5), 5.0), 21)
    total = sure.total({21.0: 1.0})
    assert total.steps.pmf[15] == pytest.approx(1, abs=1e-9)


def test_the_rarest_demand_is_kept_where_all_quantiles_are_zero() -> None:
    rare = Horizon(weeks(4), np.full(4, 0.03), np.zeros((4, 5)), 28).total({28.0: 1.0})
    assert rare.mean == pytest.approx(0.12, abs=1e-9)
    assert 0.9 < rare.steps.pmf[0] < 1


def test_independent_periods_are_convolved_exactly() -> None:
    by_hand = np.convolve(np.convolve(one_period(), one_period()), one_period())
    found = horizon().total({21.0: 1.0}).steps.pmf
    assert np.abs(found - by_hand[: found.size] / by_hand.sum()).max() < 1e-12


def test_an_uncertain_lead_time_adds_the_variance_that_the_textbook_says() -> None:
    """Var = E[L] s^2 + m^2 Var[L]: 1 or 3 weeks, each with probability 1/2, so E[L] = 2 and Var[L] = 1."""
    week, both = horizon().total({7.0: 1.0}), horizon().total({7.0: 0.5, 21.0: 0.5})
    assert both.mean == pytest.approx(2 * MEAN, abs=1e-9)
    assert variance(both) == pytest.approx(2 * variance(week) + MEAN**2, rel=1e-9)


def test_dependence_keeps_each_period_and_widens_their_sum() -> None:
    spreads = []
    for r in (0.0, 0.2, 0.5, 0.7):
        ahead = horizon(dependence=r)
        week, month = ahead.total({7.0: 1.0}), ahead.total({28.0: 1.0})
        assert np.abs(week.steps.cdf(20) - horizon().total({7.0: 1.0}).steps.cdf(20)).max() < 5e-4
        assert month.mean == pytest.approx(4 * MEAN, abs=1e-4)
        spreads.append(variance(month))
    assert spreads == sorted(spreads)
    assert spreads[0] < spreads[1]


def test_dependence_is_that_of_a_normal_copula() -> None:
    """Two periods drawn by the copula itself, 400,000 times."""
    rng, r = np.random.default_rng(7), 0.4
    z, e = rng.standard_normal((400_000, 1)), rng.standard_normal((400_000, 2))
    level = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in (np.sqrt(r) * z + np.sqrt(1 - r) * e).ravel()])
    drawn = np.searchsorted(np.cumsum(one_period()), level).reshape(-1, 2).sum(axis=1)
    total = horizon(dependence=r).total({14.0: 1.0})
    assert variance(total) == pytest.approx(drawn.var(), rel=0.02)
    assert total.quantile(0.95) == pytest.approx(np.quantile(drawn, 0.95), abs=1)


def test_conditional_distributions_average_to_the_period() -> None:
    pmf = one_period()[None]
    weights, given_factor = conditional(pmf, 0.5)
    assert np.abs(weights @ given_factor[0] - pmf[0]).max() < 1e-4
    assert (given_factor > -1e-12).all()


def test_a_part_of_a_poisson_demand_is_poisson() -> None:
    """Feller 1968, XII.2: each unit kept with probability 1/4, Poisson 8 becomes Poisson 2."""
    eight, two = (np.array([math.exp(-m) * m**k / math.factorial(k) for k in range(60)]) for m in (8.0, 2.0))
    assert np.abs(thinned(eight[None], 0.25)[0] - two).max() < 1e-10


def test_a_part_of_a_large_demand_keeps_its_mean() -> None:
    pmf = np.zeros((1, 3000))
    pmf[0, [100, 2999]] = 0.5
    part = thinned(pmf, 0.3)[0]
    assert (part @ np.arange(part.size), part.sum()) == (pytest.approx(0.3 * 1549.5), pytest.approx(1))


def test_the_days_of_a_week_that_are_over_do_not_count() -> None:
    ahead = horizon(begun=3.0)
    assert ahead.total({4.0: 1.0}).mean == pytest.approx(4 / 7 * MEAN, abs=1e-5)
    assert ahead.total({5.0: 1.0}).mean == pytest.approx(5 / 7 * MEAN, abs=1e-5)
    assert ahead.total({0.0: 1.0}).mean == 0


def test_days_without_a_forecast_take_the_nearest_period_and_are_told() -> None:
    late = Horizon(weeks(3, -2.0), np.full(3, MEAN), np.tile(QUANTILES, (3, 1)), 28)
    assert late.beyond == pytest.approx(2 + 5)
    assert late.total({28.0: 1.0}).mean == pytest.approx(4 * MEAN, abs=1e-6)
    assert horizon().beyond == 0


@pytest.mark.parametrize(("n", "reach"), [(0, 7.0), (1, 15.0)])
def test_too_few_forecasts_are_refused(n: int, reach: float) -> None:
    with pytest.raises(BadEvent, match=r"forecast"):
        Horizon(weeks(n), np.full(n, MEAN), np.tile(QUANTILES, (n, 1)), reach)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 30), st.floats(0, 0.7))
def test_a_large_mover_is_worked_out_in_steps_with_its_mean(scale: int, r: float) -> None:
    big = Horizon(weeks(4), np.full(4, 700.0 * scale), np.tile(100.0 * scale * QUANTILES, (4, 1)), 28, r)
    total = big.total({28.0: 1.0})
    assert total.mean == pytest.approx(2800 * scale, rel=1e-4)
    assert total.over(total.quantile(0.95)) <= 0.05 + 1e-9
    assert total.steps.pmf.size <= 5000
