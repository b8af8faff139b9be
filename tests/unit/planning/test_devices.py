"""SKUs over several devices: the same plan however they are shared out, and nothing that only works on a CPU.

No GPU is needed: several CPU devices share the work like GPUs, and a pretended one refuses what CUDA refuses.
Run: pytest tests/unit/planning/test_devices.py
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inventorybot.errors import SetupError
from ml.planning.dual import Dual, spread_over
from ml.planning.generate import Sizes, generate
from ml.planning.multiperiod import build_network
from ml.planning.multiperiod_solve import solve_network
from ml.planning.problem import Problem, pick_devices
from ml.planning.recover import recover
from ml.planning.segments import build
from ml.planning.solve import Solution, solve
from tests.unit.planning.pretend_device import OnCuda, pretend_cuda

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def large() -> Problem:
    """Above what is solved in float64: 8,003 SKUs do not divide by three evenly, nor by two."""
    return build(generate(Sizes(8_003, 6, scarce=0.3), seed=11))


@pytest.mark.parametrize(
    ("shares", "gap", "close"),
    [(2, 1e-4, 1e-8), (3, 1e-4, 1e-8), (3, 1.5e-5, 1e-9)],  # the last is in float64; float32 rounds the cut to fit
)
def test_one_device_and_several_find_the_same_plan(large: Problem, shares: int, gap: float, close: float) -> None:
    one, several = solve(large, gap), solve(large, gap, devices=[CPU] * shares)
    assert len(several.y) == shares
    assert several.bound == pytest.approx(one.bound, rel=close)
    assert several.worth.value == pytest.approx(one.worth.value, rel=close)
    assert several.worth.violations.worst <= 1e-9
    assert several.gap <= gap
    assert several.y_MKN.shape == one.y_MKN.shape
    assert torch.allclose(several.units_MN, one.units_MN, rtol=1e-4, atol=1e-3)


def test_devices_beyond_the_number_of_skus_have_nothing_to_do() -> None:
    problem = build(generate(Sizes(2, 3), seed=3))
    one, several = solve(problem), solve(problem, devices=[CPU] * 5)
    assert len(several.y) == 2
    assert several.bound == pytest.approx(one.bound, rel=1e-9)
    assert several.worth.value == pytest.approx(one.worth.value, rel=1e-9)


def test_skus_are_shared_out_evenly_and_in_order() -> None:
    shares = [part for part, _ in spread_over(10, [CPU] * 3)]
    assert shares == [slice(0, 3), slice(3, 6), slice(6, 10)]
    assert [part for part, _ in spread_over(1, [CPU] * 3)] == [slice(0, 1)]


def test_a_warm_start_goes_to_the_devices_that_hold_its_skus(large: Problem) -> None:
    cold = solve(large)
    changed = replace(large, storage_M=large.storage_M * 0.99)
    warm = solve(changed, warm=cold.prices, devices=[CPU] * 3)
    assert warm.gap <= 1e-4
    assert warm.evaluations <= 12


def test_a_supply_price_of_earlier_scarcity_is_forgotten_where_there_is_enough_now() -> None:
    scarce = build(generate(Sizes(200, 3, scarce=0.9), seed=2))
    prices = solve(scarce).prices
    assert float(prices.supply_N.max()) > 0
    plenty = replace(scarce, supply_N=torch.full_like(scarce.supply_N, torch.inf))
    found = solve(plenty, warm=prices)
    assert found.gap <= 1e-4
    assert float(found.prices.supply_N.max()) == 0.0


def test_one_period_is_worked_out_where_tensors_of_two_devices_do_not_meet() -> None:
    problem = build(generate(Sizes(150, 2, scarce=0.5), seed=5))
    prices = solve(problem, gap=1e-3).prices
    at = torch.cat([prices.storage_M, prices.flow_M])
    here = Dual(problem, 1, prices.supply_N)
    with pretend_cuda() as cuda:
        there = Dual(problem, 1, prices.supply_N, devices=[cuda])
        point = there.at(at, 0.02)
        bound = there.bound(at)
        y, worth = recover(there, at, 0.02)
        assert isinstance(y[0], OnCuda)
        found = Solution(y, worth, prices, bound, 0.02, 1, 0, 0.0)
        units, sold = found.units_MN, found.sold_MN(problem.sold_K)
    wanted = here.at(at, 0.02)
    assert point.value == pytest.approx(wanted.value, rel=1e-12)
    assert torch.allclose(point.slope, wanted.slope, rtol=1e-9)
    assert torch.allclose(point.curve, wanted.curve, rtol=1e-9)
    assert bound == pytest.approx(here.bound(at), rel=1e-12)
    own, own_worth = recover(here, at, 0.02)
    assert worth.value == pytest.approx(own_worth.value, rel=1e-12)
    assert worth.violations.worst <= 1e-9
    assert torch.equal(units, own[0].sum(1))
    assert type(sold) is torch.Tensor


def test_several_periods_are_solved_where_tensors_of_two_devices_do_not_meet() -> None:
    network = build_network(generate(Sizes(4, 3, 2, 2, scarce=0.4), seed=5))
    here = solve_network(network, gap=0.01)
    with pretend_cuda() as cuda:
        there = solve_network(network.to(cuda), gap=0.01)
        assert isinstance(there.plan.y, OnCuda)
    assert there.gap <= 0.01
    assert there.plan.value == pytest.approx(here.plan.value, rel=0.01)


def test_the_pretended_device_refuses_what_cuda_refuses() -> None:
    with pretend_cuda() as cuda:
        there = torch.ones(3, device=cuda)
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        assert float((there * 2.0).sum()) == 6.0


def test_the_supply_prices_of_all_devices_come_back_in_order() -> None:
    problem = build(generate(Sizes(30, 2, scarce=1.0), seed=9))
    prices = torch.arange(30, dtype=torch.float64)
    one, three = Dual(problem, 1, prices), Dual(problem, 1, prices, devices=[CPU] * 3)
    assert torch.equal(one.supply_price_N, three.supply_price_N)


@pytest.mark.parametrize(("names", "count"), [("cpu", 1), ("cpu,cpu", 2), ("auto", 1)])
def test_devices_are_named_with_commas_between_them(names: str, count: int) -> None:
    assert len(pick_devices(names)) >= count


@pytest.mark.parametrize("names", ["tpu", "cuda:99", "cpu,", "", "cuda:0,cuda:99"])
def test_a_device_that_is_not_there_is_refused(names: str) -> None:
    with pytest.raises(SetupError, match="is not to be had here: there are auto, cpu"):
        pick_devices(names)
