"""Lost sales with a lead time: the published optimal and base-stock costs, value iteration without bounds, hand calculation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from inventorybot.errors import BadEvent, SetupError
from ml.planning.classical.demand import Demand, geometric, poisson
from ml.planning.classical.lost_sales import BaseStock, CappedBaseStock, LostSales, Myopic
from ml.planning.classical.lost_sales_chain import TooManyStates, evaluate
from ml.planning.classical.lost_sales_kinds import Kind
from ml.planning.classical.lost_sales_optimal import feasible, optimal
from ml.planning.classical.lost_sales_search import find, simulate

# Zipkin (2008), Old and new methods for lost-sales inventory systems: demand of mean 5, h = 1; cost for L = 1, 2, 3, 4.
OPTIMAL = {
    ("poisson", 4): (4.04, 4.40, 4.60, 4.73),
    ("poisson", 9): (5.44, 6.09, 6.53, 6.84),
    ("poisson", 19): (6.68, 7.66, 8.36, 8.89),
    ("poisson", 39): (7.84, 9.11, 10.04, 10.79),
    ("geometric", 4): (9.82, 10.24, 10.47, 10.61),
    ("geometric", 9): (14.51, 15.50, 16.14, 16.58),
    ("geometric", 19): (19.22, 20.89, 22.06),
    ("geometric", 39): (23.87, 26.21, 27.96),
}
BASE_STOCK = {
    ("poisson", 4): (4.16, 4.64, 4.98, 5.20),
    ("poisson", 9): (5.55, 6.32, 6.86, 7.27),
    ("geometric", 4): (10.04, 10.70, 11.13, 11.44),
}
DEMAND = {"poisson": poisson(5.0), "geometric": geometric(5.0)}
COIN = Demand(np.array([0.5, 0.5]))


def cases(table: dict[tuple[str, int], tuple[float, ...]]) -> list[tuple[str, int, int, float]]:
    return [(name, p, i + 1, cost) for (name, p), costs in table.items() for i, cost in enumerate(costs)]


@pytest.mark.parametrize(("name", "penalty", "lead_time", "cost"), cases(OPTIMAL))
def test_the_optimal_costs_of_zipkin(name: str, penalty: int, lead_time: int, cost: float) -> None:
    answer = find(LostSales(DEMAND[name], lead_time, 1.0, penalty), Kind.OPTIMAL)
    assert answer.exact
    assert answer.cost == pytest.approx(cost, abs=0.0051)
    assert answer.lower_bound is not None
    assert answer.lower_bound <= answer.cost * (1 + 1e-9) <= answer.lower_bound * (1 + 1e-6)


@pytest.mark.parametrize(("name", "penalty", "lead_time", "cost"), cases(BASE_STOCK))
def test_the_best_base_stock_costs_of_zipkin(name: str, penalty: int, lead_time: int, cost: float) -> None:
    assert find(LostSales(DEMAND[name], lead_time, 1.0, penalty), Kind.BASE_STOCK).cost == pytest.approx(
        cost, abs=0.0051
    )


def test_capped_base_stock_is_within_two_per_cent_everywhere_and_one_on_average() -> None:
    gaps = []
    for (name, penalty), costs in OPTIMAL.items():
        for i, cost in enumerate(costs[:2]):
            gaps.append(find(LostSales(DEMAND[name], i + 1, 1.0, penalty), Kind.CAPPED).cost / cost - 1)
    assert max(gaps) < 0.02
    assert np.mean(gaps) < 0.01


def test_policies_are_dearer_the_less_they_look_at() -> None:
    item = LostSales(poisson(5.0), 3, 1.0, 9.0)
    costs = [find(item, kind).cost for kind in (Kind.OPTIMAL, Kind.CAPPED, Kind.MYOPIC, Kind.BASE_STOCK)]
    assert costs == sorted(costs)
    assert find(item, Kind.BEST).kind is Kind.OPTIMAL


def test_a_coin_of_demand_by_hand() -> None:
    # Lead time 1. Up to 1: in two thirds of periods one unit is there (1/2 left over), in one third none (1/2 lost, 9 each).
    # Up to 2: evenly two units (1.5 left over) or one (1/2 left over), never short.
    item = LostSales(COIN, 1, 1.0, 9.0)
    assert evaluate(item, BaseStock(1)).cost == pytest.approx(2 / 3 * 0.5 + 1 / 3 * 4.5)
    up_to_two = evaluate(item, BaseStock(2))
    assert (up_to_two.cost, up_to_two.lost, up_to_two.held) == (pytest.approx(1), pytest.approx(0), pytest.approx(1))
    assert optimal(item).upper == pytest.approx(1.0)
    assert find(item, Kind.BASE_STOCK).policy == BaseStock(2)


@pytest.mark.parametrize(("lead_time", "penalty"), [(1, 3.0), (2, 3.0), (2, 15.0)])
def test_the_bounds_on_states_and_orders_lose_nothing(lead_time: int, penalty: float) -> None:
    """Plain value iteration with every order up to 7 units in every state, against the bounded one."""
    p, most = np.array([0.3, 0.3, 0.2, 0.2]), 7
    value = dict.fromkeys(itertools.product(range(2 * most + 1), *[range(most + 1)] * (lead_time - 1)), 0.0)
    for _ in range(60):
        after = {}
        for state in value:
            now = sum(q * (max(state[0] - d, 0) + penalty * max(d - state[0], 0)) for d, q in enumerate(p))
            best = np.inf
            for z in range(most + 1):
                ahead = [
                    (q, (min(max(state[0] - d, 0) + (*state[1:], z)[0], 2 * most), *(*state[1:], z)[1:]))
                    for d, q in enumerate(p)
                ]
                best = min(best, sum(q * value[s] for q, s in ahead))
            after[state] = now + best
        change = [after[s] - value[s] for s in value if sum(s) <= most]
        value = after
        if max(change) - min(change) < 2e-4:
            break
    found = optimal(LostSales(Demand(p), lead_time, 1.0, penalty))
    assert min(change) - 1e-6 <= found.upper <= max(change) + 1e-6


def test_simulation_agrees_with_the_exact_cost() -> None:
    item, policy = LostSales(geometric(5.0), 2, 1.0, 9.0), CappedBaseStock(22, 7)
    exact = evaluate(item, policy).cost
    paths = simulate(item, policy, seed=3, paths=200, periods=2_000, warmup=100)
    assert abs(paths.mean() - exact) < 4 * paths.std(ddof=1) / 200**0.5
    assert np.array_equal(paths, simulate(item, policy, seed=3, paths=200, periods=2_000, warmup=100))


def test_the_myopic_order_is_the_newsvendors_on_an_empty_shelf() -> None:
    # Nothing on hand or on the way: the order alone meets the demand of the period it arrives in; P(D <= 8) = 0.932 >= 0.9.
    item = LostSales(poisson(5.0), 3, 1.0, 9.0)
    assert Myopic(item).orders(np.zeros((1, 3), dtype=np.int64)).tolist() == [8]
    assert Myopic(item).orders(np.array([[40, 0, 0]])).tolist() == [0]


def test_capped_and_plain_base_stock_order_by_position() -> None:
    states = np.array([[0, 0], [5, 3], [9, 9]])
    assert BaseStock(12).orders(states).tolist() == [12, 4, 0]
    assert CappedBaseStock(12, 5).orders(states).tolist() == [5, 4, 0]


def test_a_chain_that_is_too_large_is_not_set_up() -> None:
    with pytest.raises(TooManyStates):
        evaluate(LostSales(poisson(5.0), 4, 1.0, 9.0), BaseStock(28), most_states=1_000)


def test_an_optimum_out_of_reach_is_refused_with_a_way_out() -> None:
    item = LostSales(geometric(5.0), 10, 1.0, 39.0)
    assert not feasible(item)
    with pytest.raises(SetupError, match="capped"):
        find(item, Kind.OPTIMAL)


@pytest.mark.parametrize(
    ("numbers", "name"),
    [((0, 1, 9), "lead_time"), ((21, 1, 9), "lead_time"), ((1, 0, 9), "holding"), ((1, 1, -9), "penalty")],
)
def test_a_number_out_of_range_is_named(numbers: tuple[int, float, float], name: str) -> None:
    with pytest.raises(BadEvent, match=name):
        LostSales(poisson(5.0), *numbers)
