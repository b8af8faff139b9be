"""Newsvendor, base stock and demand: examples of Snyder & Shen (2019), chapter 4, as stockpyl prints them, and brute force."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.errors import BadEvent
from ml.planning.classical import newsvendor as nv
from ml.planning.classical.demand import Demand, geometric, parse, poisson


def test_example_4_3_normal_demand() -> None:
    best = nv.newsvendor_normal(50, 8, holding=0.18, penalty=0.70)
    assert best.level == pytest.approx(56.60395592743389)
    assert best.cost == pytest.approx(1.9976051931766445)
    assert nv.newsvendor_normal(50, 8, 0.18, 0.70, level=60).cost == pytest.approx(2.156131552870387)


def test_example_4_2_prices_give_the_same_problem() -> None:
    # Sell at 1, buy at 0.30, salvage 0.12: overage 0.18, underage 0.70; profit 0.70 * 50 - 1.9976 = 33.0024.
    holding, penalty = nv.costs_from_prices(price=1, purchase=0.30, salvage=0.12)
    assert (holding, penalty) == (pytest.approx(0.18), pytest.approx(0.70))
    assert nv.critical_ratio(holding, penalty) == pytest.approx(0.7954545)
    assert 0.70 * 50 - nv.newsvendor_normal(50, 8, holding, penalty).cost == pytest.approx(33.002394806823354)


def test_poisson_demand() -> None:
    best = nv.newsvendor(poisson(50), 0.18, 0.70)
    assert (best.level, best.cost) == (56, pytest.approx(1.797235211809178))
    best = nv.newsvendor(poisson(6), 1, 4)
    assert (best.level, best.cost) == (8, pytest.approx(3.5701069457709416))
    assert nv.newsvendor(poisson(6), 1, 4, level=5).cost == pytest.approx(6.590296024616343)


def test_problem_4_8b_lognormal_demand() -> None:
    best = nv.newsvendor_continuous(
        lambda u: math.exp(6 + 0.3 * NormalDist().inv_cdf(u)), math.exp(6 + 0.3**2 / 2), 1, 0.1765
    )
    assert best.level == pytest.approx(295.6266448071368)
    assert best.cost == pytest.approx(29.44254351324322, rel=1e-6)


def test_any_continuous_demand_agrees_with_the_normal_formula() -> None:
    exact = nv.newsvendor_normal(50, 8, 0.18, 0.70)
    assert nv.newsvendor_continuous(NormalDist(50, 8).inv_cdf, 50, 0.18, 0.70).cost == pytest.approx(exact.cost)


def test_base_stock_covers_lead_time_and_review() -> None:
    # Poisson over L + 1 = 2 periods of mean 3 is Poisson of mean 6: the example above.
    best = nv.base_stock(poisson(3), lead_time=1, holding=1, penalty=4)
    assert (best.level, best.cost) == (8, pytest.approx(3.5701069457709416))
    # Snyder & Shen (2019), example 4.4 restates example 4.3 period by period; L = 3 doubles the deviation.
    best = nv.base_stock_normal(50, 8, 3, 0.18, 0.70)
    assert best.level == pytest.approx(200 + 2 * 6.60395592743389)
    assert best.cost == pytest.approx(2 * 1.9976051931766445)


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda p: sum(p) > 0.1),
    st.floats(0.1, 9),
    st.floats(0.1, 9),
)
def test_the_level_is_the_cheapest_of_all(weights: list[float], holding: float, penalty: float) -> None:
    p = np.array(weights) / sum(weights)

    def cost(level: int) -> float:
        return sum(q * (holding * max(level - d, 0) + penalty * max(d - level, 0)) for d, q in enumerate(p))

    best = nv.newsvendor(Demand(p), holding, penalty)
    assert best.cost == pytest.approx(cost(int(best.level)))
    assert best.cost <= min(cost(level) for level in range(len(p) + 1)) + 1e-9


def test_geometric_demand_starts_at_zero() -> None:
    demand = geometric(5.0)
    assert demand.pmf[:3] == pytest.approx([1 / 6, 5 / 36, 25 / 216])
    assert demand.mean == pytest.approx(5)
    assert demand.variance == pytest.approx(30)  # q / (1 - q)^2 with q = 5/6


def test_poisson_demand_has_its_moments_and_sums() -> None:
    assert (poisson(7.5).mean, poisson(7.5).variance) == (pytest.approx(7.5), pytest.approx(7.5))
    three = poisson(2).over(3)
    assert three.pmf[:4] == pytest.approx([math.exp(-6) * 6**k / math.factorial(k) for k in range(4)])
    assert poisson(2).over(0).pmf.tolist() == [1.0]


def test_what_a_stock_leaves() -> None:
    demand = Demand(np.array([0.5, 0.3, 0.2]))
    assert demand.leaves(2) == pytest.approx(np.array([[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]))
    assert demand.left_over(3) == pytest.approx([0, 0.5, 1.3, 2.3])
    assert [demand.quantile(u) for u in (0.0, 0.5, 0.51, 0.8, 1.0)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    "text", ["poisson", "poisson:-1", "poisson:x", "normal:5", "pmf:0.5,0.4", "pmf:1.5,-0.5", "geometric:1e9"]
)
def test_a_demand_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadEvent, match="demand"):
        parse(text)


def test_demand_is_parsed() -> None:
    assert parse("poisson:5").name == "poisson:5"
    assert parse("geometric:5").mean == pytest.approx(5)
    assert parse("pmf:0.25,0.75").mean == pytest.approx(0.75)


def test_salvage_above_the_purchase_price_is_refused() -> None:
    with pytest.raises(BadEvent, match="purchase"):
        nv.costs_from_prices(price=1, purchase=0.3, salvage=0.4)
