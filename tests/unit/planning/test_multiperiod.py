"""Several periods and layers: answers by hand and of HiGHS, and bounds that hold whatever the prices.

Run: pytest tests/unit/planning/test_multiperiod.py
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.errors import SetupError
from ml.planning.generate import Sizes, generate
from ml.planning.multiperiod import Network, build_network
from ml.planning.multiperiod_certify import NetworkPrices, certified, play
from ml.planning.multiperiod_solve import solve_network
from ml.planning.program import of_network, of_problem
from ml.planning.segments import build
from ml.planning.solve import solve
from tests.unit.planning.lp_check import optimum


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def hand(**other: object) -> Network:
    """One SKU of 1 m³, one site, two periods, certain demand of 10 in each, sold at 5, bought at 2, kept at 0.1."""
    made = Network(
        width=torch.full((1, 1, 2, 1), 10.0, dtype=torch.float64),
        sale=torch.full((1, 1, 2), 5.0, dtype=torch.float64),
        sold_K=column(1.0),
        volume=column(1.0),
        unit_cost=column(2.0),
        holding=column(0.1),
        salvage=column(0.5),
        supply=torch.full((1, 2), torch.inf, dtype=torch.float64),
        stock=torch.zeros(1, 1, dtype=torch.float64),
        storage=torch.full((1, 2), torch.inf, dtype=torch.float64),
        inbound=torch.full((1, 2), torch.inf, dtype=torch.float64),
        serving=np.array([0]),
        layer=np.array([1]),
        lane_from=np.array([-1]),
        lane_to=np.array([0]),
        lane_cost=np.array([0.0]),
        lane_lead=np.array([[1.0]]),
        offered=torch.full((1, 1, 2), 10.0, dtype=torch.float64),
    )
    return replace(made, **other)


@pytest.mark.parametrize(
    ("change", "best"),
    [
        ({}, 60.0),  # 20 units at a margin of 3
        ({"inbound": column(14.0, 4.0)[None]}, 53.6),  # 14 bought at once, 4 of them kept for 0.1, 4 bought later
        ({"inbound": column(14.0, 4.0)[None], "storage": column(12.0, 99.0)[None]}, 47.8),  # 16 sold, 2 kept
        ({"supply": column(7.0, 20.0)[None]}, 51.0),
        ({"stock": column(5.0)[None]}, 70.0),  # five units need not be bought
        ({"stock": column(30.0)[None]}, 100.0 - 20 * 0.1 + 10 * (0.5 - 0.1)),  # ten are left for salvage
        ({"lane_lead": np.array([[0.0, 1.0]])}, 30.0),  # nothing can be there in the first period
    ],
)
def test_a_plan_worked_out_by_hand(change: dict[str, object], best: float) -> None:
    network = hand(**change)
    found = solve_network(network, gap=1e-7)
    assert found.plan.value == pytest.approx(best, rel=1e-6)
    assert found.bound == pytest.approx(best, rel=1e-6)


def test_a_lead_time_that_varies_brings_half_of_an_order_late() -> None:
    """20 sent in the first period: 10 come in each, for 2 a unit. Sending less in the first loses 3 a unit sold."""
    network = hand(lane_lead=np.array([[0.5, 0.5]]))
    assert solve_network(network, gap=1e-7).plan.value == pytest.approx(100.0 - 40.0, rel=1e-6)


def test_goods_go_through_a_hub_and_pay_both_lanes() -> None:
    network = hand(
        stock=torch.zeros(1, 2, dtype=torch.float64),
        storage=torch.full((2, 2), torch.inf, dtype=torch.float64),
        inbound=torch.tensor([[12.0, 12.0], [torch.inf, torch.inf]], dtype=torch.float64),
        serving=np.array([1]),
        layer=np.array([1, 2]),
        lane_from=np.array([-1, 0]),
        lane_to=np.array([0, 1]),
        lane_cost=np.array([0.3, 0.2]),
        lane_lead=np.array([[1.0, 0.0], [0.0, 1.0]]),
    )
    #  only what is sent in the first period arrives: 10 units for the second at 5 - 2 - 0.3 - 0.2
    assert solve_network(network, gap=1e-7).plan.value == pytest.approx(25.0, rel=1e-6)


@settings(max_examples=6, deadline=None)
@given(
    skus=st.integers(1, 6), sites=st.integers(2, 4), periods=st.integers(1, 4), layers=st.integers(1, 2), seed=st.integers(0, 999)
)  # fmt: skip
def test_the_bound_is_above_and_the_plan_below_the_optimum_of_highs(
    skus: int, sites: int, periods: int, layers: int, seed: int
) -> None:
    network = build_network(generate(Sizes(skus, sites, periods, layers, scarce=0.4), seed))
    best, found = optimum(of_network(network)), solve_network(network, gap=1e-4)
    assert found.plan.value <= best * (1 + 1e-9) + 1e-9
    assert found.bound >= best * (1 - 1e-9) - 1e-9
    assert found.gap <= 1e-4
    assert found.plan.violations.worst <= 1e-9


def test_three_layers_reach_a_tenth_of_a_percent() -> None:
    found = solve_network(build_network(generate(Sizes(30, 6, 8, 3), seed=1)))
    assert found.gap <= 1e-3
    assert found.plan.violations.worst <= 1e-9


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0, 100), seed=st.integers(0, 10_000))
def test_any_prices_give_a_bound(scale: float, seed: int) -> None:
    network = build_network(generate(Sizes(4, 3, 3, 2, scarce=0.5), seed=2))
    n, j, _, _, t, _ = network.shape
    draw = torch.Generator().manual_seed(seed)
    prices = NetworkPrices(
        *(
            scale * torch.rand(*shape, generator=draw, dtype=torch.float64)
            for shape in ((j, t), (j, t), (n, t), (n, j, t))
        )
    )
    bound, feasible = certified(network, prices)
    assert bound >= optimum(of_network(network)) * (1 - 1e-9)
    own, shared = network.matrices()
    charged = feasible.stock.reshape(n, -1), feasible.supply
    paid = torch.cat(charged, 1) @ torch.from_numpy(own.toarray())
    half = j * t
    matrix = torch.from_numpy(shared.toarray())
    paid += network.volume[:, None] * (feasible.storage.reshape(-1) @ matrix[:half])
    paid += feasible.inbound.reshape(-1) @ matrix[half:]
    free = torch.isinf(network.upper())
    assert float((network.worth() - paid)[free].max()) <= 1e-9  # no lane and no keeping earns a profit


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.1, 1000), seed=st.integers(0, 10_000))
def test_whatever_is_asked_for_is_cut_to_a_plan_that_can_be_carried_out(scale: float, seed: int) -> None:
    network = build_network(generate(Sizes(5, 4, 4, 2, scarce=0.5), seed=3))
    draw = torch.Generator().manual_seed(seed)
    wish = scale * torch.rand(*network.worth().shape, generator=draw, dtype=torch.float64)
    plan = play(network, *network.split(wish))
    assert plan.violations.worst <= 1e-9
    program, decisions = of_network(network), torch.cat([a.reshape(5, -1) for a in (plan.y, plan.f, plan.u)], 1)
    used = program.matrix @ decisions.reshape(-1)[network.upper().reshape(-1) > 0].numpy()
    assert (used <= program.limits + 1e-9).all()  # the matrix of the linear program agrees


def test_one_period_is_worth_the_same_in_both_models() -> None:
    made = generate(Sizes(40, 4), seed=3)
    single, several = solve(build(made), gap=1e-5), solve_network(build_network(made), gap=1e-5)
    assert several.plan.value <= single.bound
    assert single.worth.value <= several.bound
    assert optimum(of_problem(build(made))) == pytest.approx(optimum(of_network(build_network(made))), rel=1e-6)


def test_a_problem_that_does_not_fit_in_memory_is_refused_before_it_is_tried() -> None:
    network = hand()
    wide = replace(network, width=network.width.expand(400_000_000, 1, 2, 1))
    with pytest.raises(SetupError, match="plan fewer SKUs or periods together"):
        solve_network(wide)
