"""(s, S) and (r, Q): tables of Zheng & Federgruen (1991), examples of Snyder & Shen (2019), and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.errors import BadEvent
from ml.planning.classical import reorder_quantity as rq
from ml.planning.classical import reorder_up_to as su
from ml.planning.classical.demand import Demand, poisson

# Zheng & Federgruen (1991), table I: Poisson demand, no lead time, K = 64, h = 1, p = 9. Mean, s, S, cost.
TABLE_I = [
    (10, 6, 40, 35.022),
    (15, 10, 49, 42.698),
    (20, 14, 62, 49.173),
    (25, 19, 56, 54.262),
    (30, 23, 66, 57.819),
    (40, 33, 87, 64.512),
    (50, 42, 108, 70.975),
    (60, 52, 129, 77.306),
    (65, 56, 75, 78.518),
    (75, 67, 86, 79.554),
]


@pytest.mark.parametrize(("mean", "reorder", "up_to", "cost"), TABLE_I)
def test_table_i_of_zheng_and_federgruen(mean: int, reorder: int, up_to: int, cost: float) -> None:
    best = su.optimise(poisson(mean), fixed=64, holding=1, penalty=9)
    assert (best.reorder, best.up_to) == (reorder, up_to)
    assert best.cost == pytest.approx(cost, abs=6e-4)


def test_example_4_7_of_snyder_and_shen() -> None:
    best = su.optimise(poisson(6), fixed=5, holding=1, penalty=4)
    assert (best.reorder, best.up_to, best.cost) == (4, 10, pytest.approx(8.034111561471642))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda p: sum(p[1:]) > 0.2),
    st.floats(0.5, 20),
    st.floats(0.2, 2),
    st.floats(0.2, 10),
    st.integers(0, 2),
)
def test_no_other_pair_costs_less(p: list[float], fixed: float, holding: float, penalty: float, lead_time: int) -> None:
    demand = Demand(np.array(p) / sum(p))
    best = su.optimise(demand, fixed, holding, penalty, lead_time=lead_time)
    others = [
        su.cost_of(s, s + span, demand, fixed, holding, penalty, lead_time=lead_time)
        for s in range(int(best.reorder) - 4, int(best.reorder) + 5)
        for span in range(1, int(best.up_to - best.reorder) + 6)
    ]
    assert best.cost <= min(others) + 1e-9


def test_the_cost_of_a_pair_is_that_of_its_markov_chain() -> None:
    # By hand: demand 0 or 1 evenly, (s, S) = (0, 2): positions 2 and 1 alike often, an order every 4 periods.
    # G(2) = 2 - 0.5, G(1) = 0.5: average (1.5 + 0.5) / 2 + K / 4.
    assert su.cost_of(0, 2, Demand(np.array([0.5, 0.5])), fixed=4, holding=1, penalty=7) == pytest.approx(2.0)


def test_power_approximation_of_example_4_8() -> None:
    # Published s = 40.1946; Q / mean < 1.5, so S falls to the newsvendor's 56.6040 (Ehrhardt & Mosier's rule; example 4.3).
    plan = su.power_approximation(50, 8, fixed=2.5, holding=0.18, penalty=0.70)
    assert plan.reorder == pytest.approx(40.19461695647407)
    assert plan.up_to == pytest.approx(56.60395592743389)


@pytest.mark.parametrize("mean", [10, 15, 20])
def test_power_approximation_is_close_where_an_order_lasts_three_periods(mean: int) -> None:
    plan = su.power_approximation(mean, mean**0.5, fixed=64, holding=1, penalty=9)
    cost = su.cost_of(round(plan.reorder), round(plan.up_to), poisson(mean), 64, 1, 9)
    assert cost <= 1.002 * su.optimise(poisson(mean), 64, 1, 9).cost


def test_example_5_8_poisson_demand() -> None:
    best = rq.optimise_poisson(rate=1.5, lead_time=2, fixed=100, holding=20, penalty=150)
    assert (best.reorder, best.quantity, best.cost) == (3, 5, pytest.approx(107.92358063314975))
    assert rq.cost_poisson(3, 5, 1.5, 2, 100, 20, 150) == pytest.approx(107.92358063314975)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 8), st.floats(0.2, 3), st.floats(1, 50), st.floats(0.5, 5), st.floats(1, 40))
def test_no_neighbour_of_the_poisson_optimum_costs_less(
    rate: float, lead_time: float, fixed: float, holding: float, penalty: float
) -> None:
    best = rq.optimise_poisson(rate, lead_time, fixed, holding, penalty)
    for reorder in (best.reorder - 1, best.reorder, best.reorder + 1):
        for quantity in (best.quantity - 1, best.quantity, best.quantity + 1):
            if quantity >= 1:
                other = rq.cost_poisson(int(reorder), int(quantity), rate, lead_time, fixed, holding, penalty)
                assert best.cost <= other + 1e-9


EXAMPLE_5_1 = rq.NormalLot(rate=1300, deviation=150, lead_time=1 / 12, fixed=8, holding=0.225, penalty=7.5)


def test_example_5_1_exactly() -> None:
    assert EXAMPLE_5_1.cost(126.8, 328.5) == pytest.approx(78.07116250928294)
    assert EXAMPLE_5_1.reorder_for(300) == pytest.approx(129.4272799263067, abs=1e-4)
    best = EXAMPLE_5_1.optimise()
    assert best.reorder == pytest.approx(126.8670634479628, abs=1e-3)
    assert best.quantity == pytest.approx(328.4491421980451, abs=1e-3)


def test_example_5_1_approximately() -> None:
    plan = EXAMPLE_5_1.expected_level()
    assert (plan.reorder, plan.quantity) == (pytest.approx(213.97044213580244), pytest.approx(318.5901810768729))
    assert plan.cost == pytest.approx(95.45114022285196)
    plan = EXAMPLE_5_1.from_backorder_eoq()
    assert plan.reorder == pytest.approx(128.63781442427097, abs=1e-4)
    assert plan.quantity == pytest.approx(308.5737801203754)
    plan = EXAMPLE_5_1.from_eoq()
    assert (plan.reorder, plan.quantity) == (pytest.approx(190.3369965715624), pytest.approx(304.0467800264368))


def test_the_closed_cost_is_the_integral_of_its_rate() -> None:
    lot, low, quantity = EXAMPLE_5_1, 100.0, 250.0
    points = low + quantity * (np.arange(20_000) + 0.5) / 20_000
    mean = float(np.mean([lot.level_cost(float(y)) for y in points]))
    assert lot.cost(low, quantity) == pytest.approx(8 * 1300 / quantity + mean, rel=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.floats(5, 500), st.floats(0.05, 0.5), st.floats(0.1, 2), st.floats(1, 200), st.floats(0.5, 20))
def test_zhengs_bound_on_the_deterministic_quantity(
    rate: float, variation: float, lead_time: float, fixed: float, penalty: float
) -> None:
    """Zheng (1992): Q of the EOQ with backorders, with its best r, costs at most 1/8 more than the optimum."""
    lot = rq.NormalLot(rate, variation * rate, lead_time, fixed, 1.0, penalty)
    best = lot.optimise()
    assert best.cost <= lot.from_backorder_eoq().cost + 1e-9
    assert lot.from_backorder_eoq().cost <= 1.125 * best.cost


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: su.cost_of(5, 5, poisson(2), 1, 1, 1), "up_to"),
        (lambda: su.optimise(Demand(np.ones(1)), 1, 1, 1), "demand"),
        (lambda: rq.optimise_poisson(1, 0, 1, 1, 1), "lead_time"),
        (lambda: rq.NormalLot(1, 1, 1, 1, 1, -1), "penalty"),
        (lambda: rq.NormalLot(1, 1, 1, 100, 10, 0.1).expected_level(), "penalty"),
    ],
)
def test_a_number_out_of_range_is_named(call, name) -> None:
    with pytest.raises(BadEvent, match=name):
        call()
