"""EOQ and its variations: examples of Snyder & Shen (2019), Fundamentals of Supply Chain Theory, chapter 3, as its library
stockpyl prints them, and hand calculation.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.errors import BadEvent
from ml.planning.classical import eoq

amounts = st.floats(0.01, 1e4)


def test_example_3_1_of_snyder_and_shen() -> None:
    plan = eoq.eoq(fixed=8, holding=0.225, demand=1300)
    assert plan.quantity == pytest.approx(304.0467800264368)
    assert plan.cost == pytest.approx(68.41052550594829)


def test_example_3_8_customers_wait() -> None:
    plan = eoq.eoq_with_backorders(fixed=8, holding=0.225, penalty=5, demand=1300)
    assert plan.quantity == pytest.approx(310.81255515896464)
    assert plan.backordered == pytest.approx(0.0430622009569378)
    assert plan.cost == pytest.approx(66.92136355097325)


def test_a_finite_production_rate_makes_lots_larger() -> None:
    plan = eoq.epq(fixed=8, holding=0.225, demand=1300, production=1700)
    assert plan.quantity == pytest.approx(626.8084945889684)
    assert plan.cost == pytest.approx(33.183979125298336)


def test_all_units_discount_is_worth_a_larger_order() -> None:
    # By hand: 500 units at 450: 450,000 + 200 * 1000 / 500 + 0.2 * 450 * 500 / 2 = 472,900.
    plan = eoq.eoq_all_units(200, 0.2, 1000, [0, 200, 500], [500, 475, 450])
    assert (plan.quantity, plan.cost) == (500, pytest.approx(472_900))


def test_all_units_discount_is_not_worth_any_order() -> None:
    # By hand: own quantity at 10 is sqrt(2 * 1 * 100 / 10) = 4.472, cost 1000 + 44.72; 1000 units at 9.9 cost 990 + 0.1 + 4950.
    plan = eoq.eoq_all_units(1, 1.0, 100, [0, 1000], [10, 9.9])
    assert plan.quantity == pytest.approx(4.47213595)
    assert plan.cost == pytest.approx(1044.7213595)


def test_incremental_discount() -> None:
    # By hand: F = 300 * 10 + 600 * 10 = 9000; Q = sqrt(2 * 9150 * 2400 / 20); 80 * 2400 + sqrt(2 * 9150 * 2400 * 20) + 0.25 * 9000 / 2.
    plan = eoq.eoq_incremental(150, 0.25, 2400, [0, 300, 600], [100, 90, 80])
    assert plan.quantity == pytest.approx(1481.8906842274164)
    assert plan.cost == pytest.approx(222762.8136845483)


@settings(deadline=None)
@given(fixed=amounts, holding=amounts, demand=amounts, other=st.floats(0.05, 20))
def test_no_other_quantity_costs_less(fixed: float, holding: float, demand: float, other: float) -> None:
    plan = eoq.eoq(fixed, holding, demand)
    assert eoq.cost_of(plan.quantity, fixed, holding, demand) == pytest.approx(plan.cost)
    assert eoq.cost_of(plan.quantity * other, fixed, holding, demand) >= plan.cost * (1 - 1e-12)


@settings(deadline=None)
@given(fixed=amounts, holding=amounts, demand=amounts, penalty=amounts)
def test_letting_customers_wait_never_costs_more(fixed: float, holding: float, demand: float, penalty: float) -> None:
    waiting = eoq.eoq_with_backorders(fixed, holding, penalty, demand)
    assert waiting.cost <= eoq.eoq(fixed, holding, demand).cost


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: eoq.eoq(0, 1, 1), "fixed"),
        (lambda: eoq.eoq(1, float("nan"), 1), "holding"),
        (lambda: eoq.epq(1, 1, 5, 5), "production"),
        (lambda: eoq.eoq_all_units(1, 1, 1, [1, 2], [3, 2]), "breakpoints"),
        (lambda: eoq.eoq_all_units(1, 1, 1, [0, 2], [2, 3]), "prices"),
        (lambda: eoq.eoq_incremental(1, 1, 1, [0, 3, 2], [3, 2, 1]), "breakpoints"),
    ],
)
def test_a_number_out_of_range_is_named(call, name) -> None:
    with pytest.raises(BadEvent, match=name):
        call()
