"""The three simple ways: newsvendor quantities worked out by hand, and limits kept.

Run: pytest tests/unit/planning/test_baselines.py
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ml.planning.baselines import demand_proportional, national_pooling, newsvendors, site_alone
from ml.planning.data import Instance
from ml.planning.generate import Sizes, generate
from tests.unit.planning.small_network import small_network

# sold rather than left: 10 + 2 - (1 - 0.5) + (3 - 1) = 13.5; left: 4 + 0.25 - 0.5 = 3.75; critical level 1 - 3.75 / 13.5
CRITICAL = 1 - 3.75 / 13.5  # 0.7222: 7.22 of a demand that is uniform on 0 to 10


def test_a_site_alone_holds_the_newsvendor_quantity() -> None:
    seller = newsvendors(small_network(), 0, national=False)
    assert seller.quantities(np.zeros((1, 2)))[0] == pytest.approx([10 * CRITICAL] * 2, abs=0.01)
    assert site_alone(small_network()).tolist() == [[7.0, 7.0]]


def test_a_price_of_space_lowers_the_quantity() -> None:
    # at 2.7 a m³: 1 - 6.45 / 13.5 = 0.5222
    seller = newsvendors(small_network(), 0, national=False)
    assert seller.quantities(np.full((1, 2), 2.7))[0] == pytest.approx([5.222] * 2, abs=0.01)


def test_sites_alone_keep_to_their_storage_and_are_cut_alike_when_supply_is_short() -> None:
    narrow = small_network(storage_m3=np.array([[3.0], [100.0]]))
    scarce = small_network(supply=np.array([[6.0]], np.float32))
    assert site_alone(narrow).tolist() == [[3.0, 7.0]]
    assert site_alone(scarce).tolist() == [[3.0, 3.0]]


def test_the_national_quantity_is_less_than_the_sum_of_the_sites() -> None:
    # two independent regions: 10 + (20 · 0.7222 - 10) / √2 = 13.14
    seller = newsvendors(small_network(), 0, national=True)
    assert float(seller.quantities(np.zeros((1, 1)))[0, 0]) == pytest.approx(
        10 + (20 * CRITICAL - 10) / 2**0.5, abs=0.02
    )


def test_the_national_quantity_is_spread_as_demand_is() -> None:
    mean = np.array([[[8.0], [2.0]]], np.float32)
    flat = np.repeat(mean[..., None], 5, axis=3)  # no uncertainty: the quantity is the demand
    assert demand_proportional(small_network(demand_mean=mean, demand_quantiles=flat)).tolist() == [[8.0, 2.0]]


def test_pooling_fills_the_cheapest_site_first() -> None:
    cheap_b = small_network(lane_cost=np.array([0.25, 0.2]), storage_m3=np.array([[100.0], [8.0]]))
    assert national_pooling(cheap_b).tolist() == [[5.0, 8.0]]  # 13 in all


def test_packs_and_smallest_orders_are_kept() -> None:
    assert site_alone(small_network(pack_size=np.array([5]))).tolist() == [[5.0, 5.0]]  # 1.44 packs
    assert site_alone(small_network(min_order=np.array([16.0]))).sum() == 16.0
    narrow = small_network(min_order=np.array([16.0]), storage_m3=np.full((2, 1), 7.0))
    assert site_alone(narrow).sum() == 0.0


@pytest.mark.parametrize("way", [site_alone, demand_proportional, national_pooling])
@pytest.mark.parametrize("tight", [0.4, 1.5])
def test_every_way_keeps_storage_inbound_and_supply(way: Callable[[Instance], np.ndarray], tight: float) -> None:
    instance = generate(Sizes(150, 5, tight=tight, scarce=0.4), 6)
    units = way(instance)
    assert units.sum() > 0
    assert bool((units >= 0).all())
    assert bool((units % instance.pack_size[:, None] == 0).all())
    assert bool((instance.volume_m3 @ units <= instance.storage_m3[:, 0] + 1e-9).all())
    assert bool((units.sum(0) <= instance.inbound_units[:, 0] + 1e-9).all())
    assert bool((units.sum(1) <= instance.supply[:, 0] + 1e-9).all())
