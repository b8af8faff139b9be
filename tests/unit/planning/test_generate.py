"""Made problems: the same for the same seed, realistic where it matters, refused sizes. Run: pytest tests/unit/planning/test_generate.py"""

from __future__ import annotations

import numpy as np
import pytest

from inventorybot.errors import SetupError
from ml.planning.data import check
from ml.planning.generate import Sizes, generate
from ml.planning.places import kilometres
from ml.planning.segments import build


def test_a_seed_gives_the_same_problem_and_another_seed_another() -> None:
    first, again, other = (generate(Sizes(50, 4, 3, 2), seed) for seed in (1, 1, 2))
    assert first.same_as(again)
    assert not first.same_as(other)


@pytest.mark.parametrize(("sites", "periods", "layers"), [(1, 1, 1), (3, 1, 1), (6, 4, 2), (7, 2, 3), (5, 1, 4)])
def test_every_shape_keeps_the_rules_of_the_tables(sites: int, periods: int, layers: int) -> None:
    made = check(generate(Sizes(20, sites, periods, layers), seed=3))
    assert (made.skus, made.sites, made.periods, made.layer.max()) == (20, sites, periods, layers)
    assert (np.diff(made.demand_quantiles, axis=-1) >= 0).all()
    assert np.isfinite(made.delivery_hours).any(axis=1).all()


def test_storage_flow_and_supply_bind_for_some_and_not_for_all() -> None:
    problem = build(generate(Sizes(3_000, 10), seed=1))
    wanted = problem.width_MKN * (problem.value_MKN > 0)
    storage = wanted.sum(1).double() @ problem.volume_N > problem.storage_M
    supply = wanted.sum((0, 1)) > problem.supply_N
    assert 4 <= int(storage.sum()) <= 10
    assert 0.02 < float(supply.float().mean()) < 0.2


def test_a_tenth_of_the_skus_has_most_of_the_demand() -> None:
    units = np.sort(generate(Sizes(5_000, 3), seed=1).demand_mean.sum(axis=(1, 2)))[::-1]
    assert units[:500].sum() > 0.45 * units.sum()


def test_distance_from_berlin_to_munich_is_504_km() -> None:
    assert kilometres(np.array([52.52, 13.405]), np.array([48.137, 11.575])) == pytest.approx(504, abs=1)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((0, 3), "skus must be 1 to 5,000,000, not 0"),
        ((1, 999), "sites must be 1 to 200, not 999"),
        ((1, 3, 1, 4), "4 layers need at least as many sites, not 3"),
        ((1, 3, 1, 1, 0, -1.0), "tight must be above 0"),
    ],
)
def test_sizes_that_cannot_be_are_refused_with_the_limit(sizes: tuple[int, ...], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        Sizes(*sizes)
