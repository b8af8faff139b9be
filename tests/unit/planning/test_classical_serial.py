"""Serial systems: examples of Snyder & Shen (2019) as stockpyl publishes them, enumeration, and what must hold of any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.errors import BadEvent
from ml.planning.classical.demand import Demand
from ml.planning.classical.newsvendor import newsvendor_normal
from ml.planning.classical.serial import NormalDemand, PoissonDemand, SerialSystem, cost_of, newsvendor_levels, optimise

EXAMPLE_6_1 = SerialSystem((3, 2, 2), (1, 1, 2), 37.12, NormalDemand(5, 1))

# Costs that stockpyl 1.0.2 prints for its own instances, stage 1 first; its grid is good to about 0.05 %.
PUBLISHED = [
    ("example 6.1, its documentation", EXAMPLE_6_1, 47.668653127136345),
    ("problem 6.1", SerialSystem((1, 1), (1, 1), 15, NormalDemand(100, 15)), 166.27052889662946),
    ("problem 6.2(a)", SerialSystem((2, 2, 1, 1, 1), (0.5,) * 5, 24, NormalDemand(64, 8)), 451.72881110449765),
    ("problem 6.2(b)", SerialSystem((2, 2, 1, 1, 1), (0.5,) * 5, 24, PoissonDemand(64)), 453.6855978910213),
    ("problem 6.16", SerialSystem((5, 2), (8, 3), 24, NormalDemand(20, 4)), 438.2396253072112),
    ("Shang & Song 1", SerialSystem((0.25,) * 4, (0.25,) * 4, 9, PoissonDemand(16)), 12.68693933233134),
    ("Shang & Song 9", SerialSystem((0.25, 2.5, 2.5, 0.25), (0.25,) * 4, 9, PoissonDemand(16)), 53.00644471383703),
    ("Shang & Song 17", SerialSystem((0.25,) * 4, (0.25,) * 4, 99, PoissonDemand(16)), 16.19787924326513),
    ("Shang & Song 25", SerialSystem((0.25, 2.5, 2.5, 0.25), (0.25,) * 4, 99, PoissonDemand(16)), 74.55428655953348),
]


@pytest.mark.parametrize(("name", "system", "cost"), PUBLISHED)
def test_within_a_thousandth_of_the_published_cost(name: str, system: SerialSystem, cost: float) -> None:
    assert optimise(system).cost == pytest.approx(cost, rel=1e-3), name


def test_example_6_1_of_the_book() -> None:
    best = optimise(EXAMPLE_6_1)
    assert best.echelon_levels == pytest.approx((6.49, 12.02, 22.71), abs=0.01)
    assert best.cost == pytest.approx(47.65, rel=3e-4)


def test_levels_of_shang_and_song() -> None:
    assert optimise(PUBLISHED[5][1]).echelon_levels == (8, 13, 18, 22)
    assert optimise(PUBLISHED[6][1]).echelon_levels == (9, 10, 13, 19)


def test_newsvendor_levels_of_example_6_1() -> None:
    assert newsvendor_levels(EXAMPLE_6_1) == pytest.approx((6.490880975286938, 12.027434723327854, 22.634032391786285))


def test_one_stage_is_the_newsvendor() -> None:
    best, single = optimise(SerialSystem((3,), (4,), 20, NormalDemand(50, 8))), newsvendor_normal(200, 16, 3, 20)
    assert best.echelon_levels[0] == pytest.approx(single.level, abs=0.001 * 16)
    assert best.cost == pytest.approx(single.cost, rel=1e-6)


def test_two_stages_by_enumeration() -> None:
    """Poisson demand of mean 3 and 2 over the lead times; every outcome of both, weighed."""
    p1, p2 = ([math.exp(-m) * m**k / math.factorial(k) for k in range(40)] for m in (3, 2))

    def cost(s1: int, s2: int) -> float:
        total = 0.0
        for d2, chance2 in enumerate(p2):
            top = s2 - d2
            for d1, chance1 in enumerate(p1):
                net = min(s1, top) - d1
                total += chance2 * chance1 * (1.5 * top + 1.0 * net + (8 + 2.5) * max(-net, 0))
        return total

    system = SerialSystem((1.0, 1.5), (3, 2), 8, PoissonDemand(1))
    best = optimise(system)
    assert cost_of(system, (4, 9)) == pytest.approx(cost(4, 9))
    assert best.cost == pytest.approx(min(cost(s1, s2) for s1 in range(2, 9) for s2 in range(3, 14)))
    assert best.cost == pytest.approx(cost(*(int(level) for level in best.echelon_levels)))


def test_given_demand_and_poisson_demand_agree() -> None:
    ones = Demand(np.array([math.exp(-2) * 2**k / math.factorial(k) for k in range(30)]) / 1.0)
    given_demand = SerialSystem((1, 1), (2, 1), 9, ones)
    assert optimise(given_demand).cost == pytest.approx(
        optimise(SerialSystem((1, 1), (2, 1), 9, PoissonDemand(2))).cost
    )


def test_a_stage_without_lead_time_adds_only_what_is_in_transit_from_it() -> None:
    # Stage 2 passes on at once: all stock at stage 1, at 1 + 2 a unit; the 30 units on their way cost 2 each.
    two, one = SerialSystem((1, 2), (3, 0), 12, NormalDemand(10, 2)), SerialSystem((3,), (3,), 12, NormalDemand(10, 2))
    assert optimise(two).cost == pytest.approx(optimise(one).cost + 2 * 30, rel=1e-6)


def test_local_costs_and_local_levels() -> None:
    assert SerialSystem.from_local((7, 4, 2), (1, 1, 2), 37.12, NormalDemand(5, 1)) == EXAMPLE_6_1
    best = optimise(EXAMPLE_6_1)
    assert np.cumsum(best.local_levels) == pytest.approx(best.echelon_levels)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.1, 3)), min_size=1, max_size=4),
    st.floats(1, 60),
    st.lists(st.floats(-3, 3), min_size=4, max_size=4),
)
def test_no_other_levels_cost_less(stages: list[tuple[float, float]], penalty: float, moves: list[float]) -> None:
    holding, lead_times = zip(*stages, strict=True)
    system = SerialSystem(holding, lead_times, penalty, NormalDemand(10, 3))
    best = optimise(system)
    assert cost_of(system, best.echelon_levels) == pytest.approx(best.cost, rel=1e-6)
    other = tuple(level + move for level, move in zip(best.echelon_levels, moves, strict=False))
    assert best.cost <= cost_of(system, other) * (1 + 1e-6)
    assert best.cost <= cost_of(system, newsvendor_levels(system)) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: SerialSystem((1, 1), (1,), 9, PoissonDemand(2)), "lead_times"),
        (lambda: SerialSystem((1, -1), (1, 1), 9, PoissonDemand(2)), "echelon_holding/2"),
        (lambda: SerialSystem((1,), (0.5,), 9, Demand(np.array([0.5, 0.5]))), "lead_times/1"),
        (lambda: SerialSystem((1,), (0,), 9, PoissonDemand(2)), "lead_times"),
        (lambda: cost_of(EXAMPLE_6_1, (1, 2)), "echelon_levels"),
        (lambda: cost_of(SerialSystem((1,), (1,), 9, PoissonDemand(2)), (1.5,)), "echelon_levels"),
        (lambda: optimise(SerialSystem((1, 1), (1e-9, 100), 9, NormalDemand(5, 1))), "lead_times"),
    ],
)
def test_a_number_out_of_range_is_named(call, name) -> None:
    with pytest.raises(BadEvent, match=name):
        call()
