"""Reorder point, order-up-to level and quantity: hand examples, published values, and what must hold for any item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.domain.restock import Criterion, sentence
from inventorybot.errors import BadEvent
from ml.planning.classical.demand import Demand
from ml.restock.backtest import Steady, normal_point
from ml.restock.horizon import Horizon, Total
from ml.restock.policy import Terms, fill_level, levels, work_out

QUANTILES = np.array([2.0, 4.0, 6.0, 9.0, 15.0])
DICE = Demand(np.array([0.0, *[1 / 6] * 6]), "a die")


def horizon(scale: float = 1.0, n: int = 8, dependence: float = 0.2) -> Horizon:
    return Horizon(
        np.arange(n + 1) * 7.0, np.full(n, 7 * scale), np.tile(QUANTILES * scale, (n, 1)), 7.0 * n, dependence
    )


def test_two_dice_need_ten_to_suffice_nine_times_in_ten() -> None:
    """Lead time a week, review a week, a die a week: P(sum <= 9) = 30/36 < 0.9 <= 33/36 = P(sum <= 10)."""
    found = levels(Steady(DICE, 7), Terms(service_level=0.9))
    assert (found.reorder, found.up_to) == (10, 10)
    assert found.quantity(10) == (0, 0, ())
    assert found.quantity(9)[:2] == (1, 1)


def test_costs_choose_the_newsvendor_of_lead_time_and_review() -> None:
    """h = 365 / 365 * 7 days * ... = 1 a week and p = 5: critical ratio 5/6; P(sum of two dice <= 9) = 30/36 is just enough."""
    terms = Terms(criterion=Criterion.COSTS, unit_cost=365 / 7, holding_rate=1.0, shortage_cost=5.0)
    assert (terms.holding, terms.target) == (pytest.approx(1.0), pytest.approx(5 / 6))
    assert levels(Steady(DICE, 7), terms).reorder == 9


def test_a_fill_rate_is_met_by_the_least_level() -> None:
    """Demand 0 or 10: E(D - y)+ = (10 - y) / 2, and 90 % of the mean of 5 allows half a unit short: y = 9."""
    flip = Total(Demand(np.array([0.5, *[0.0] * 9, 0.5]), "a coin"), 1)
    none = Total(Demand(np.ones(1), "none"), 1)
    assert fill_level(flip, none, 0.9) == 9
    assert fill_level(flip, none, 0.5) == 5


def test_units_short_before_the_order_arrives_are_not_charged_to_it() -> None:
    """With a lead time of a review, short(2 periods) - short(1 period) counts; two certain units each: 4 are needed for all."""
    two, four = (Total(Demand(np.eye(5)[k], "sure"), 1) for k in (2, 4))
    assert fill_level(four, two, 0.9999) == 4
    assert fill_level(four, two, 0.5) == 3


def test_what_spoils_is_a_newsvendor() -> None:
    """Cost 1, shortage 3: fractile 3/4, the q75 of the week that it keeps for; without costs the service level is the fractile."""
    terms = Terms(((0, 1.0),), shelf_life_days=7, shortage_cost=3.0)
    found = levels(horizon(), terms)
    assert (found.reorder, found.up_to, found.cap) == (9, 9, 9)
    assert levels(horizon(), replace(terms, shortage_cost=None, service_level=0.95)).reorder == 15
    a = work_out(horizon(), terms, 2, 0, forecast="f", forecast_at=0, dependence=0.2)
    assert (a.raw, a.quantity) == (7, 7)
    assert "and what comes keeps 7 days: 9 are worth having; the position is below the reorder point 9" in sentence(a)


def test_a_longer_shelf_life_only_bounds_the_level() -> None:
    terms = Terms(shelf_life_days=14, shortage_cost=0.25, order_cost=50.0)
    free, bound = levels(horizon(), replace(terms, shelf_life_days=None)), levels(horizon(), terms)
    assert bound.cap is not None
    assert bound.up_to <= max(bound.cap, bound.reorder) < free.up_to


def test_packs_that_would_spoil_are_left_out_and_said() -> None:
    terms = Terms(((0, 1.0),), pack=200, shelf_life_days=7, shortage_cost=3.0)
    raw, quantity, notes = levels(horizon(), terms).quantity(5)
    assert (raw, quantity) == (4, 0)
    assert "rather spoil" in notes[0]
    cheap = levels(horizon(), replace(terms, pack=6, shortage_cost=30.0))
    assert cheap.quantity(0)[1] % 6 == 0


def test_an_order_cost_asks_for_an_economic_lot() -> None:
    """EOQ = sqrt(2 * 20 * 365 / (1 * 0.25)) with a unit a day: 241.66 units."""
    steady = Steady(Demand(np.eye(8)[7], "seven"), 7)
    found = levels(steady, Terms(order_cost=20.0))
    assert (found.reorder, found.up_to) == (14, 14 - 1 + 242)


def test_the_textbook_point_with_an_uncertain_lead_time() -> None:
    """Chopra & Meindl, Supply Chain Management, safety inventory under lead time uncertainty: 2,500 a day, deviation 500, 7
    days, deviation 7 days: deviation 17,550 of lead-time demand, safety stock 22,491 for 90 %. Here a day of review is part
    of the 7: 0 days with probability 49/85 and 85/6 with 36/85 have mean 6 and variance 49."""
    terms = Terms(((0, 49 / 85), (85, 36 / 85)), review_days=6, service_level=0.9)
    assert normal_point(2500, 500, terms, days=6) == pytest.approx(7 * 2500 + 22_491, abs=1)


def test_the_arithmetic_adds_up_and_reads_so() -> None:
    terms = Terms(((5, 0.5), (8, 0.5)), pack=6, min_order=12, on_order=3)
    a = work_out(horizon(), terms, 4, 6, forecast="demand@v1", forecast_at=0, dependence=0.2)
    assert (a.on_order, a.position, a.protection_days) == (9, 13, 15)
    assert a.demand_mean == pytest.approx((6.5 + 7) * 1.0, abs=1e-3)
    assert (a.reorder_point, a.order_up_to) == (a.demand_at_target, a.demand_at_target)
    assert a.raw == a.order_up_to - 13
    assert (a.quantity % 6, a.quantity >= max(12, a.raw), a.quantity - a.raw < 6) == (0, True, True)
    assert a.stock_out_with <= 0.05 < a.stock_out_without
    assert (
        f"4 on hand + 9 on order = 13; demand of 5 to 8 days of lead time and 7 of review is {a.demand_mean:.1f}"
        in sentence(a)
    )
    assert f"{a.order_up_to} - 13 = {a.raw}; with whole packs of 6 and a minimum of 12 {a.quantity}." in sentence(a)


def test_a_record_below_zero_counts_as_none_and_is_told() -> None:
    a = work_out(horizon(), Terms(), -5, 0, forecast="f", forecast_at=0, dependence=0.2)
    assert (a.on_hand, a.position) == (-5, 0)
    assert "The record is -5" in sentence(a)


def test_what_nobody_wants_is_not_ordered() -> None:
    none = Horizon(np.arange(5) * 7.0, np.zeros(4), np.zeros((4, 5)), 21)
    a = work_out(none, Terms(pack=10, min_order=50), 0, 0, forecast="f", forecast_at=0, dependence=0.0)
    assert (a.reorder_point, a.order_up_to, a.quantity) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("lead_days", ((7, 0.5), (9, 0.4))), ("lead_days", ((-1, 1.0),)), ("pack", 0), ("review_days", 0), ("service_level", 1.0),
     ("unit_cost", 0.0), ("shelf_life_days", 0), ("on_order", -1), ("shortage_cost", float("nan"))],
)  # fmt: skip
def test_terms_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BadEvent) as refused:
        replace(Terms(), **{name: value})
    assert refused.value.path == ("/lead_time" if name == "lead_days" else f"/{name}")


def test_costs_without_a_shortage_cost_are_refused() -> None:
    with pytest.raises(BadEvent, match="shortage cost"):
        Terms(criterion=Criterion.COSTS)


CRITERIA = st.sampled_from(
    [
        Terms(),
        Terms(criterion=Criterion.FILL_RATE),
        Terms(criterion=Criterion.COSTS, shortage_cost=0.5),
        Terms(shelf_life_days=5),
    ]
)
FORECASTS = st.lists(st.floats(0, 60), min_size=5, max_size=5).map(sorted)


def ahead(q: list[float], factor: float, r: float) -> Horizon:
    mean = factor * (sum(q) / 5 + 0.05)
    return Horizon(np.arange(5) * 7.0, np.full(4, mean), np.tile(factor * np.array(q), (4, 1)), 28, r)


@settings(deadline=None, max_examples=40)
@given(FORECASTS, st.floats(1, 4), st.sampled_from([0.0, 0.3]), CRITERIA)
def test_larger_demand_never_lowers_the_reorder_point(q: list[float], factor: float, r: float, terms: Terms) -> None:
    assert levels(ahead(q, factor, r), terms).reorder >= levels(ahead(q, 1.0, r), terms).reorder


@settings(deadline=None, max_examples=40)
@given(FORECASTS, st.tuples(st.floats(0.5, 0.999), st.floats(0.5, 0.999)).map(sorted), CRITERIA)
def test_a_higher_service_level_never_lowers_the_reorder_point(
    q: list[float], target: list[float], terms: Terms
) -> None:
    low, high = (levels(ahead(q, 1.0, 0.2), replace(terms, service_level=t)) for t in target)
    assert high.reorder >= low.reorder


@settings(deadline=None, max_examples=40)
@given(
    FORECASTS, st.integers(0, 300), st.integers(1, 40), st.integers(0, 100), st.sampled_from([None, 3, 7, 20]), st.floats(0, 30)
)  # fmt: skip
def test_an_order_is_whole_packs_and_the_minimum_at_least_or_nothing(
    q: list[float], position: int, pack: int, least: int, shelf: int | None, order_cost: float
) -> None:
    terms = Terms(pack=pack, min_order=least, shelf_life_days=shelf, order_cost=order_cost)
    found = levels(ahead(q, 1.0, 0.2), terms)
    raw, quantity, _ = found.quantity(position)
    assert quantity % pack == 0
    assert quantity == 0 or quantity >= least
    assert raw >= 0
    if shelf is None:
        assert quantity >= raw
        assert (quantity > 0) == (position < found.reorder)
