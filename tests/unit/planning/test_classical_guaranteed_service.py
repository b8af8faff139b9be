"""Guaranteed service: examples of Snyder & Shen (2019) as stockpyl prints them, and brute force over every promise."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventorybot.errors import BadEvent
from ml.planning.classical.guaranteed_service import Stage, SupplyTree, cost_of, place


def test_example_6_5_of_snyder_and_shen() -> None:
    stages = {
        "1": Stage(1, 2, inbound=1),
        "2": Stage(3, 1, 1, promise=0),
        "3": Stage(2, 1),
        "4": Stage(3, 1, 1, promise=1),
    }
    best = place(SupplyTree(stages, [("1", "3"), ("3", "2"), ("3", "4")], z=1))
    assert best.outbound == {"1": 0, "3": 0, "2": 0, "4": 1}
    assert best.cost == pytest.approx(8.277916867529369)
    # By hand: 1 covers 3 periods of sqrt 2, 3 one period of it, 2 one of its own, 4 none.
    assert best.cost == pytest.approx(math.sqrt(3) * math.sqrt(2) + 2 * math.sqrt(2) + 3)


def test_figure_6_14_an_assembly_of_ten_stages() -> None:
    holding = [0.01, 0.03, 0.04, 0.06, 0.12, 0.13, 0.2, 0.08, 0.04, 0.5]
    times = [2, 3, 2, 4, 2, 3, 6, 4, 3, 2]
    stages = {str(i): Stage(h, t) for i, (h, t) in enumerate(zip(holding, times, strict=True), 1)}
    stages["10"] = Stage(0.5, 2, deviation=10, promise=2)
    links = [(1, 2), (2, 3), (3, 5), (4, 5), (5, 6), (6, 10), (7, 10), (8, 10), (9, 10)]
    best = place(SupplyTree(stages, [(str(a), str(b)) for a, b in links], z=1.6448536269514722))
    assert best.cost == pytest.approx(18.824004472592172)


def test_problem_6_9_a_tree() -> None:
    year = 365
    stages = {
        "1": Stage(44 / year, 7, 4.1, promise=3),
        "2": Stage(28 / year, 7, 6.2, promise=3),
        "3": Stage(18 / year, 21),
        "4": Stage(1 / year, 3),
        "5": Stage(4 / year, 8),
        "6": Stage(1.5 / year, 2),
    }
    best = place(SupplyTree(stages, [("3", "1"), ("3", "2"), ("4", "3"), ("5", "3"), ("6", "5")], z=4))
    assert best.cost == pytest.approx(15.649530249501026)


def test_problem_6_7_a_line() -> None:
    stages = {"3": Stage(2, 1, inbound=1), "2": Stage(3, 1), "1": Stage(4, 2, 10, promise=0)}
    best = place(SupplyTree(stages, [("3", "2"), ("2", "1")], z=4))
    assert best.cost == pytest.approx(357.77087639996637)
    assert best.cover == {"3": 0, "2": 0, "1": 5}  # everything waits at the end: 4 * 4 * 10 * sqrt 5


@st.composite
def trees(draw: st.DrawFn) -> SupplyTree:
    """Up to five stages, joined either way."""
    size = draw(st.integers(1, 5))
    links = []
    for i in range(1, size):
        pair = (str(i), str(draw(st.integers(0, i - 1))))
        links.append(pair if draw(st.booleans()) else pair[::-1])
    stage = st.builds(
        Stage,
        st.sampled_from([0.0, 1.0, 2.0, 3.5]),
        st.integers(0, 3),
        st.sampled_from([0.0, 1.0, 2.0]),
        st.integers(0, 2),
        st.sampled_from([None, 0, 1, 2]),
    )
    return SupplyTree({str(i): draw(stage) for i in range(size)}, links, z=1)


@settings(deadline=None, max_examples=60)
@given(trees())
def test_the_dynamic_programme_is_as_good_as_trying_everything(tree: SupplyTree) -> None:
    limits = tree.limits()
    cheapest = math.inf
    for promises in itertools.product(*(range(limit + 1) for limit in limits.values())):
        try:
            cheapest = min(cheapest, cost_of(tree, dict(zip(limits, promises, strict=True))).cost)
        except BadEvent:  # a promise longer than SI + T
            continue
    best = place(tree)
    assert best.cost == pytest.approx(cheapest)
    assert cost_of(tree, best.outbound).cost == pytest.approx(best.cost)


@pytest.mark.parametrize(
    ("stages", "links", "name"),
    [
        ({"a": Stage(1, 1), "b": Stage(1, 1)}, [], "links"),
        ({"a": Stage(1, 1), "b": Stage(1, 1)}, [("a", "c")], "'c'"),
        ({n: Stage(1, 1) for n in "abcd"}, [("a", "b"), ("b", "c"), ("c", "a")], "cycle"),
        ({"a": Stage(-1, 1)}, [], "stages/a"),
        ({"a": Stage(1, 50_000)}, [], "too many periods"),
    ],
)
def test_a_network_that_is_no_tree_is_refused(stages, links, name) -> None:
    with pytest.raises(BadEvent, match=name):
        SupplyTree(stages, links)
