"""Demand and money become slices: every figure here is worked out by hand. Run: pytest tests/unit/planning/test_segments.py"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ml.planning.generate import Sizes, generate
from ml.planning.segments import build, cheapest_lanes, reach, site_quantiles, slice_matrix, sold

LEVELS = np.array([0.25, 0.75])
#  quantile function of (10, 30): 0 at 0, 10 at 0.25, 30 at 0.75, beyond that twice as steep:
#  q(0.495) = 10 + 0.245/0.5 * 20 = 19.8      q(0.99) = 30 + 2 * 0.24/0.5 * 20 = 49.2


def test_slices_are_cut_from_the_quantile_function() -> None:
    widths = slice_matrix(LEVELS, 2) @ np.array([10.0, 30.0])
    assert widths == pytest.approx([19.8, 29.4])


def test_a_slice_sells_with_the_probability_of_its_middle() -> None:
    assert sold(2) == pytest.approx([1 - 0.2475, 1 - 0.7425])


def test_demand_of_two_independent_regions_spreads_by_root_two_only() -> None:
    quantile = torch.tensor([[[10.0, 30.0], [10.0, 30.0]]])  # one SKU, two regions
    mean, share = torch.tensor([[20.0, 20.0]]), torch.ones(2, 1)
    found, total = site_quantiles(quantile, mean, LEVELS, share, torch.zeros(1))
    assert total.tolist() == [[40.0]]
    assert found[0, :, 0].tolist() == pytest.approx([40 - 20 / 2**0.5, 40 + 20 / 2**0.5])


def test_an_uncertain_lead_time_spreads_demand() -> None:
    quantile, mean, share = torch.tensor([[[10.0, 30.0]]]), torch.tensor([[20.0]]), torch.ones(1, 1)
    found, _ = site_quantiles(quantile, mean, LEVELS, share, torch.tensor([0.25]))
    sigma = 20 / (2 * 0.6744898)  # the spread of the two quantiles, in standard normal ones
    more = (sigma**2 + 20**2 * 0.25) ** 0.5 / sigma
    assert found[0, 1, 0].item() == pytest.approx(20 + 10 * more, rel=1e-5)


def one_site() -> object:
    """One SKU, one site, one region: price 10, goodwill 1, cost 4, salvage 3, holding 0.5, lane 0.3."""
    made = generate(Sizes(1, 1, regions=1), seed=1)
    money = {"price": 10.0, "shortage_cost": 1.0, "unit_cost": 4.0, "salvage": 3.0, "holding_cost": 0.5}
    return replace(
        made,
        **{name: np.array([value]) for name, value in money.items()},
        demand_mean=np.array([[[20.0]]], np.float32),
        demand_quantiles=np.array([[[[10.0, 30.0]]]], np.float32),
        levels=LEVELS,
        cutoff_hour=np.array([12]),
        hour_share=np.full(24, 1 / 24),
        promise_hours=np.array([10.0, 30.0]),
        speed=np.array(["fast", "slow"]),
        speed_value=np.array([2.0, 1.0]),
        speed_share=np.array([[0.5, 0.5]]),
        delivery_hours=np.array([[8.0]]),
        delivery_cost=np.array([[1.2]]),
        lane_cost=np.array([0.3]),
    )


def test_orders_after_the_cut_off_miss_the_fast_promise() -> None:
    #  half of the orders leave today: 8 h keeps both promises; the others take 32 h and keep neither
    #  worth 0.5 * (0.5 * 2 + 0.5 * 1) = 0.75, less 1.2 for the last mile
    assert reach(one_site()).earn_RM == pytest.approx(np.array([[0.75 - 1.2]]))


def test_the_value_of_a_slice_is_what_its_units_are_expected_to_earn() -> None:
    problem = build(one_site(), slices=2)
    left, gain = 3.0 - 0.5, 10.0 + 1.0 - 2.5 - 0.45
    assert problem.value_MKN[0, :, 0].tolist() == pytest.approx([p * gain + left - 4.3 for p in (0.7525, 0.2575)])
    assert problem.width_MKN[0, :, 0].tolist() == pytest.approx([19.8, 29.4], rel=1e-5)
    assert problem.constant == pytest.approx(-20.0)  # goodwill, if nothing is served


def test_opening_stock_fills_the_first_slices_and_its_space_is_gone() -> None:
    problem = build(replace(one_site(), stock=np.array([[25.0]], np.float32)), slices=2)
    assert problem.width_MKN[0, :, 0].tolist() == pytest.approx([0.0, 24.2], abs=1e-4)  # 19.8 + 5.2 are covered
    first, second = (p * (8.5 - 0.45) + 2.5 for p in (0.7525, 0.2575))
    assert problem.constant == pytest.approx(19.8 * first + 5.2 * second - 20.0, rel=1e-6)
    assert problem.held_sold_MN[0, 0].item() == pytest.approx(0.7525 * 19.8 + 0.2575 * 5.2, rel=1e-5)
    empty = build(one_site())
    assert (empty.storage_M - problem.storage_M).item() == pytest.approx(
        min(float(empty.storage_M), 25 * float(problem.volume_N[0]))
    )


def test_goods_take_the_cheapest_way_and_its_lead_times_add_up() -> None:
    made = generate(Sizes(1, 2), seed=1)
    ways = {
        "lane_from": np.array([-1, -1, 0]),
        "lane_to": np.array([0, 1, 1]),
        "lane_cost": np.array([1.0, 5.0, 1.5]),
        "lane_lead": np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]),
    }
    cost, wait = cheapest_lanes(replace(made, **ways))
    assert cost.tolist() == [1.0, 2.5]
    assert wait.tolist() == [0.25, 0.25]
