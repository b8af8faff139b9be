"""Orders that are passed on: cascades worked out by hand, and plans that know of them.

Run: pytest tests/unit/planning/test_spill.py
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inventorybot.errors import SetupError
from ml.planning.generate import Sizes, generate
from ml.planning.problem import evaluate
from ml.planning.segments import build, reach
from ml.planning.spill import cascade, program, solve_with_spill
from tests.unit.planning.small_network import small_network


def test_what_the_home_lacks_is_asked_of_the_next_site() -> None:
    # a has 4, b has 7; a-land orders 6, b-land 5: a serves 4, b serves 5 and the 2 that a lacks
    way = reach(small_network())
    got, lost = cascade(way, torch.tensor([[[6.0, 5.0]]]), torch.tensor([[4.0, 7.0]]), torch.tensor([11.5]))
    assert [served.tolist() for served in got] == [[[[4.0, 5.0]]], [[[2.0, 0.0]]]]
    assert lost.tolist() == [[[0.0, 0.0]]]


def test_nobody_serves_at_a_loss() -> None:
    # elsewhere earns 3 - 3 = 0 beyond the price; with -0.5 a unit, only home (3 - 1 = 2) serves
    way = reach(small_network())
    _, lost = cascade(way, torch.tensor([[[6.0, 5.0]]]), torch.tensor([[4.0, 7.0]]), torch.tensor([-0.5]))
    assert lost.tolist() == [[[2.0, 0.0]]]


def test_a_unit_at_home_earns_the_difference_where_another_site_has_plenty() -> None:
    # with plenty at b, a unit at a saves 2 of last mile: worth 2 of gain; base: 1 - 0.5 - 4 - 0.25 = -3.75
    instance = small_network()
    demand = torch.full((1, 4, 2), 5.0)
    made = program(instance, reach(instance), build(instance, slices=16), torch.tensor([[0.0], [100.0]]), demand)
    first = made.value_MKN[0, :, 0][made.width_MKN[0, :, 0] > 0]
    assert first.tolist() == pytest.approx([2.0 - 3.75] * len(first), abs=1e-5)


def test_a_unit_earns_all_of_an_order_that_is_lost_otherwise() -> None:
    # nothing at b: a earns 13.5 on its 5 and 11.5 on b-land's 5
    instance = small_network()
    demand = torch.full((1, 4, 2), 5.0)
    made = program(instance, reach(instance), build(instance, slices=16), torch.zeros(2, 1), demand)
    value, width = made.value_MKN[0, :, 0], made.width_MKN[0, :, 0]
    assert float(width.sum()) == pytest.approx(10.0)
    assert float(((value + 3.75) * width).sum()) == pytest.approx(5 * 13.5 + 5 * 11.5, rel=1e-5)


def test_a_site_without_room_is_helped_by_the_other() -> None:
    narrow = small_network(storage_m3=np.array([[0.0], [100.0]]))
    alone, helped = solve_with_spill(narrow, rounds=1), solve_with_spill(narrow, rounds=6)
    assert float(helped.solution.units_MN[0].sum()) == 0.0
    assert float(helped.solution.units_MN[1].sum()) > 10.0  # its own newsvendor quantity is 7.2
    assert len(alone.moved) == 1


def test_rounds_come_to_rest_and_the_plan_keeps_its_limits() -> None:
    found = solve_with_spill(generate(Sizes(60, 4, tight=0.7), 2), rounds=8)
    assert found.moved[-1] < 0.5 * found.moved[0]
    assert evaluate(found.problem, found.solution.units_MN).violations.worst <= 1e-9


def test_no_round_is_refused() -> None:
    with pytest.raises(SetupError, match="at least 1"):
        solve_with_spill(small_network(), rounds=0)
