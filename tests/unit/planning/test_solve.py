"""One period: answers worked out by hand, answers of HiGHS, and bounds that hold whatever the prices.

Run: pytest tests/unit/planning/test_solve.py
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.errors import SetupError
from ml.planning.dual import Dual
from ml.planning.generate import Sizes, generate
from ml.planning.problem import Problem, evaluate, fill, pick_devices
from ml.planning.program import of_problem
from ml.planning.segments import build
from ml.planning.solve import solve
from tests.unit.planning.lp_check import optimum

INF = float("inf")


def hand(storage: float = INF, flow: float = INF, supply: float = INF) -> Problem:
    """One site, two SKUs of 1 and 2 m³, slices of 4 units worth 10, 6, 2 and 14, 8, 2."""
    value = torch.tensor([[[10.0, 14.0], [6.0, 8.0], [2.0, 2.0]]])
    return Problem(
        value_MKN=value,
        width_MKN=torch.full((1, 3, 2), 4.0),
        sold_K=torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64),
        volume_N=torch.tensor([1.0, 2.0], dtype=torch.float64),
        surplus_N=torch.tensor([-1.0, -1.5], dtype=torch.float64),
        lane_M=torch.tensor([0.5], dtype=torch.float64),
        storage_M=torch.tensor([storage], dtype=torch.float64),
        flow_M=torch.tensor([flow], dtype=torch.float64),
        supply_N=torch.tensor([supply, INF]),
        held_MN=torch.zeros(1, 2),
        held_sold_MN=torch.zeros(1, 2),
        offered_MN=torch.full((1, 2), 6.0),
    )


@pytest.mark.parametrize(
    ("limits", "best", "why"),
    [
        ({}, 168.0, "4 * (10 + 6 + 2 + 14 + 8 + 2)"),
        ({"storage": 10.0}, 82.0, "by worth a m³: 4 at 10, then 3 of 2 m³ at 14"),
        ({"storage": 16.0}, 120.0, "10 a m³, 7 a m³, then 6 a m³: 40 + 56 + 24"),
        ({"flow": 6.0}, 76.0, "by worth a unit: 4 at 14, 2 at 10"),
        ({"supply": 3.0}, 126.0, "3 at 10, and all 96 of the other"),
        ({"storage": 8.0, "flow": 5.0}, 62.0, "x of the first, 5 - x of the second, x + 2 (5 - x) <= 8: x = 2"),
    ],
)
def test_a_plan_worked_out_by_hand(limits: dict[str, float], best: float, why: str) -> None:
    found = solve(hand(**limits), gap=1e-6)
    assert found.worth.value == pytest.approx(best, rel=2e-6), why
    assert found.bound == pytest.approx(best, rel=2e-6)
    assert found.worth.violations.worst == 0.0


def test_the_price_of_space_is_what_one_more_cubic_metre_earns() -> None:
    found = solve(hand(storage=10.0), gap=1e-7)
    assert found.prices.storage_M.item() == pytest.approx(7.0, rel=1e-3)  # half a unit worth 14
    assert found.prices.supply_N.tolist() == [0.0, 0.0]


def test_the_price_of_a_vendors_supply_is_what_one_more_unit_earns() -> None:
    found = solve(hand(supply=3.0), gap=1e-7)
    assert found.prices.supply_N[0].item() == pytest.approx(10.0, rel=1e-3)


@settings(max_examples=12, deadline=None)
@given(skus=st.integers(1, 25), sites=st.integers(1, 4), seed=st.integers(0, 10_000), tight=st.floats(0.05, 2.0))
def test_the_bound_is_above_and_the_plan_below_the_optimum_of_highs(
    skus: int, sites: int, seed: int, tight: float
) -> None:
    problem = build(generate(Sizes(skus, sites, tight=tight, scarce=0.4), seed))
    best, found = optimum(of_problem(problem)), solve(problem, gap=1e-4)
    assert found.worth.value <= best * (1 + 1e-9) + 1e-9
    assert found.bound >= best * (1 - 1e-9) - 1e-9
    assert found.gap <= 1e-4
    assert found.worth.violations.worst <= 1e-9


@settings(max_examples=25, deadline=None)
@given(prices=st.lists(st.floats(0, 500), min_size=6, max_size=6), nu=st.floats(0, 50), seed=st.integers(0, 3))
def test_any_prices_give_a_bound(prices: list[float], nu: float, seed: int) -> None:
    problem = build(generate(Sizes(8, 3, scarce=0.5), seed))
    best = optimum(of_problem(problem))
    dual = Dual(problem, supply_price_N=torch.full((8,), nu, dtype=torch.float64))
    assert dual.bound(torch.tensor(prices, dtype=torch.float64)) >= best * (1 - 1e-9)


def test_slope_and_curvature_are_those_of_the_smoothed_dual() -> None:
    problem = build(generate(Sizes(60, 3, scarce=0.5), seed=4))
    dual = Dual(problem)
    at = torch.tensor([30.0, 20.0, 40.0, 0.5, 0.2, 0.4], dtype=torch.float64)
    here, step = dual.at(at, 0.3), 5e-3
    for p in range(6):
        move = torch.zeros(6, dtype=torch.float64)
        move[p] = step * float(at[p])
        up, down = dual.at(at + move, 0.3), dual.at(at - move, 0.3)
        assert (up.value - down.value) / (2 * float(move[p])) == pytest.approx(float(here.slope[p]), rel=5e-3, abs=0.02)
        bent = (up.slope - down.slope) / (2 * move[p])
        assert torch.allclose(bent, here.curve[p], rtol=0.1, atol=0.02 * float(here.curve[p].abs().max()))


def test_a_smaller_gap_is_reached_when_asked_for() -> None:
    problem = build(generate(Sizes(300, 5), seed=7))
    assert solve(problem, gap=1e-6).gap <= 1e-6


def test_a_warm_start_takes_fewer_evaluations_and_reaches_the_same_gap() -> None:
    problem = build(generate(Sizes(8_000, 4), seed=5))
    cold = solve(problem)
    changed = replace(problem, storage_M=problem.storage_M * 0.99)
    warm = solve(changed, warm=cold.prices)
    assert warm.gap <= 1e-4
    assert warm.samples == 0
    assert warm.evaluations <= 12
    assert warm.worth.value < cold.worth.value  # less space is worth less


def test_the_same_problem_gives_the_same_plan_bit_by_bit_on_any_number_of_threads() -> None:
    problem = build(generate(Sizes(9_000, 4), seed=6))
    first, second = solve(problem, threads=1), solve(problem, threads=2)
    assert torch.equal(first.y_MKN, second.y_MKN)
    assert first.bound == second.bound


def test_prices_of_another_network_are_refused() -> None:
    prices = solve(hand(storage=10.0)).prices
    with pytest.raises(SetupError, match="other sites or SKUs"):
        solve(build(generate(Sizes(5, 3), seed=1)), warm=prices)


def test_a_gap_of_nothing_is_refused() -> None:
    with pytest.raises(SetupError, match="gap must be above 0"):
        solve(hand(), gap=0.0)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(SetupError, match="'tpu' is not to be had here"):
        pick_devices("tpu")


def test_units_fill_the_best_slices_first_and_the_rest_has_its_surplus_value() -> None:
    units = torch.tensor([[6.0, 14.0]])
    assert fill(hand(), units)[0].T.tolist() == [[4.0, 2.0, 0.0], [4.0, 4.0, 4.0]]
    #  40 + 12, and 4 * (14 + 8 + 2) + 2 beyond all slices at -1.5 - 0.5
    assert evaluate(hand(), units).value == pytest.approx(52.0 + 96.0 - 4.0)


def test_a_plan_that_breaks_limits_is_told_by_how_much() -> None:
    worth = evaluate(hand(storage=10.0, flow=6.0, supply=3.0), torch.tensor([[4.0, 5.0]]))
    assert (worth.violations.storage, worth.violations.flow, worth.violations.supply) == (4.0, 3.0, 1.0)


def test_a_plan_of_another_shape_or_below_zero_is_refused() -> None:
    with pytest.raises(SetupError, match="must have 1 sites and 2 SKUs"):
        evaluate(hand(), torch.zeros(2, 2))
    with pytest.raises(SetupError, match="negative"):
        evaluate(hand(), torch.tensor([[-1.0, 0.0]]))
