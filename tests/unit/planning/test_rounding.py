"""Whole packs, smallest orders, fixed costs and cycles: cases worked out by hand, limits on made problems.

Run: pytest tests/unit/planning/test_rounding.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ml.planning.generate import Sizes, generate
from ml.planning.problem import Problem
from ml.planning.rounding import Rounded, in_cycles, order_cycles, round_plan
from ml.planning.segments import build
from ml.planning.solve import Prices, solve

INF = float("inf")


def hand(storage: float = 10.0) -> Problem:
    """One site, one SKU of 1 m³, slices of 4 units worth 10, 6 and 2."""
    return Problem(
        value_MKN=torch.tensor([[[10.0], [6.0], [2.0]]]),
        width_MKN=torch.full((1, 3, 1), 4.0),
        sold_K=torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64),
        volume_N=torch.ones(1, dtype=torch.float64),
        surplus_N=torch.tensor([-1.0], dtype=torch.float64),
        lane_M=torch.zeros(1, dtype=torch.float64),
        storage_M=torch.tensor([storage], dtype=torch.float64),
        flow_M=torch.tensor([INF], dtype=torch.float64),
        supply_N=torch.tensor([INF]),
        held_MN=torch.zeros(1, 1),
        held_sold_MN=torch.zeros(1, 1),
        offered_MN=torch.full((1, 1), 6.0),
    )


def rounded(**options: Any) -> Rounded:
    """The best plan, 10 units worth 4 * 10 + 4 * 6 + 2 * 2 = 68 at a price of 2 a m³, rounded."""
    prices = Prices(torch.tensor([2.0]).double(), torch.zeros(1).double(), torch.zeros(1).double())
    options = {"pack_N": [1], "min_order_N": [0], "order_cost_N": [0]} | options
    return round_plan(hand(), torch.tensor([[10.0]]), prices, 68.0, **options)


def test_packs_of_three_leave_one_unit_out_and_cost_2_of_68() -> None:
    found = rounded(pack_N=[3])
    assert found.units_MN.tolist() == [[9.0]]
    assert found.worth.value == pytest.approx(66.0)
    assert found.loss == pytest.approx(2 / 68)


def test_a_smallest_order_that_does_not_fit_is_left_out() -> None:
    found = rounded(min_order_N=[12])
    assert (found.units_MN.tolist(), found.loss) == ([[0.0]], pytest.approx(1.0))


def test_a_smallest_order_that_fits_and_pays_is_raised_to() -> None:
    prices = Prices(torch.zeros(1).double(), torch.zeros(1).double(), torch.zeros(1).double())
    small = round_plan(
        hand(storage=100.0), torch.tensor([[8.0]]), prices, 72.0, pack_N=[4], min_order_N=[15], order_cost_N=[0]
    )  # 12 units fill the slices; 4 more are surplus at -1
    assert (small.units_MN.tolist(), small.worth.value) == ([[16.0]], pytest.approx(72.0 - 4.0))


def test_an_order_that_earns_less_than_its_fixed_cost_is_left_out() -> None:
    paid, dropped = rounded(order_cost_N=[5.0]), rounded(order_cost_N=[70.0])
    assert (paid.units_MN.tolist(), paid.loss) == ([[10.0]], pytest.approx(5 / 68))
    assert (dropped.units_MN.tolist(), dropped.order_costs) == ([[0.0]], 0.0)


@pytest.mark.parametrize("tight", [0.5, 1.0])
def test_whole_plans_keep_every_limit_and_lose_little(tight: float) -> None:
    instance = generate(Sizes(300, 5, tight=tight, stocked=True), 4)
    problem = build(instance)
    best = solve(problem)
    options = {"pack_N": instance.pack_size, "min_order_N": instance.min_order, "order_cost_N": instance.order_cost}
    found = round_plan(problem, best.units_MN, best.prices, best.bound, **options)
    total = found.units_MN.sum(0).numpy()
    assert found.worth.violations.worst <= 1e-9
    assert bool((found.units_MN.numpy() % instance.pack_size == 0).all())
    assert bool(((total == 0) | (total >= instance.min_order)).all())
    assert best.gap <= found.loss < 0.1


def test_single_units_lose_almost_nothing() -> None:
    instance = generate(Sizes(500, 5), 4)
    problem = build(instance)
    best = solve(problem)
    ones, none = np.ones(500), np.zeros(500)
    found = round_plan(
        problem, best.units_MN, best.prices, best.bound, pack_N=ones, min_order_N=none, order_cost_N=none
    )
    assert best.gap <= found.loss < 0.005


def test_a_cycle_weighs_orders_against_holding() -> None:
    # a period costs 8 / n + (n - 1) / 2: 8, 4.5, 3.5, 4.5 for n = 1, 2, 4, 8; without fixed cost every period
    found = order_cycles(np.array([1.0, 1.0]), np.array([8.0, 0.0]), np.array([1.0, 1.0]))
    assert found.tolist() == [4.0, 1.0]


def test_a_cycles_needs_are_bought_at_its_start_if_there_is_room() -> None:
    bought = np.array([[2.0, 2.0, 2.0, 2.0]])
    there = in_cycles(bought, np.array([2.0]), np.array([2.0, 0.0, 2.0, 0.0]), np.array([1.0]))
    full = in_cycles(bought, np.array([2.0]), np.array([1.0, 9.0, 9.0, 9.0]), np.array([1.0]))
    assert there.tolist() == [[4.0, 0.0, 4.0, 0.0]]
    assert full.tolist() == [[2.0, 2.0, 2.0, 2.0]]
