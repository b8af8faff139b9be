"""One warehouse, many retailers: Roundy's bounds, hand calculation, and search over the relaxed problem."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.errors import BadEvent
from ml.planning.classical.one_warehouse import OneWarehouse, Retailer

retailers = st.builds(Retailer, st.floats(0.5, 100), st.floats(3.0, 8.0), st.floats(0.1, 50))
systems = st.builds(OneWarehouse, st.floats(1, 200), st.floats(0.1, 3.0), st.lists(retailers, min_size=1, max_size=6))


def test_a_dear_warehouse_order_makes_retailers_order_more_often() -> None:
    # By hand: one retailer, K_0 = 100, h_0 = 1, K_1 = 1, h_1 = 3, demand 2: g = 2, g' = 1. Apart: T_0 = sqrt(100 / 1) = 10,
    # T_1 = sqrt(1 / 2); cost 2 sqrt(100) + 2 sqrt 2.
    best = OneWarehouse(100, 1, [Retailer(1, 3, 2)]).relaxed()
    assert (best.warehouse, best.retailers) == (pytest.approx(10), (pytest.approx(math.sqrt(0.5)),))
    assert best.cost == pytest.approx(20 + 2 * math.sqrt(2))


def test_places_that_gain_from_it_order_together() -> None:
    # By hand: K_0 = 1, K_1 = 8, g = 2, g' = 1: together T = sqrt(9 / 3), cost 2 sqrt(9 * 3); sqrt(8 / 3) < T < sqrt(8 / 2).
    best = OneWarehouse(1, 1, [Retailer(8, 3, 2)]).relaxed()
    assert (best.warehouse, best.retailers) == (pytest.approx(math.sqrt(3)), (pytest.approx(math.sqrt(3)),))
    assert best.cost == pytest.approx(2 * math.sqrt(27))


def test_powers_of_two_of_a_day() -> None:
    # By hand: 10 lies between 8 and 16, and above 8 sqrt 2 it would round up; sqrt(1 / 2) is 1/2 sqrt 2, the edge: 1/2.
    plan = OneWarehouse(100, 1, [Retailer(1, 3, 2)]).power_of_two(1.0)
    assert (plan.warehouse, plan.retailers) == (8, (0.5,))
    assert plan.cost == pytest.approx(100 / 8 + 8 + 1 / 0.5 + 2 * 0.5)


@settings(deadline=None, max_examples=60)
@given(systems)
def test_roundys_bounds_hold(system: OneWarehouse) -> None:
    """94 %: 1.0607 for any base; 98 %: 1 / (sqrt 2 ln 2) = 1.0203 for the best one."""
    bound = system.relaxed().cost
    fixed, free = system.power_of_two(1.0), system.power_of_two()
    assert bound <= free.cost * (1 + 1e-12)
    assert free.cost <= 1 / (math.sqrt(2) * math.log(2)) * bound * (1 + 1e-9)
    assert fixed.cost <= (math.sqrt(2) + 1 / math.sqrt(2)) / 2 * bound * (1 + 1e-9)
    assert free.cost <= min(system.power_of_two(2**b).cost for b in np.linspace(0, 1, 24)) * (1 + 1e-9)
    exponents = [math.log2(t / free.warehouse) for t in free.retailers]
    assert exponents == pytest.approx([round(e) for e in exponents], abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(systems)
def test_the_bound_is_the_least_relaxed_cost(system: OneWarehouse) -> None:
    best = system.relaxed()

    def least(warehouse: float) -> float:
        """By each retailer's own best interval, found by its formula."""
        total = system.fixed / warehouse
        for r in system.retailers:
            own, shared = (r.holding - system.holding) * r.demand / 2, system.holding * r.demand / 2
            t = max(warehouse, math.sqrt(r.fixed / (own + shared)))
            t = min(t, max(math.sqrt(r.fixed / own), 0)) if own else t
            total += r.fixed / t + own * t + shared * max(warehouse, t)
        return total

    costs = [least(best.warehouse * 2**b) for b in np.linspace(-6, 6, 601)]
    assert best.cost <= min(costs) * (1 + 1e-9)
    assert best.cost == pytest.approx(least(best.warehouse))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: OneWarehouse(1, 1, []), "retailers"),
        (lambda: OneWarehouse(1, 2, [Retailer(1, 1, 1)]), "retailers/0/holding"),
        (lambda: OneWarehouse(1, 1, [Retailer(1, 2, 1)]).power_of_two(0), "base"),
    ],
)
def test_a_number_out_of_range_is_named(call, name) -> None:
    with pytest.raises(BadEvent, match=name):
        call()
