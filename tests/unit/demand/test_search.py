"""The search tries what it says, repeats itself, and keeps the network that was best. Run: pytest tests/unit/demand/test_search.py"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.demand.mlp import MlpConfig
from ml.demand.search import GRID, SEARCHED, Found, search
from tests.unit.demand.makers import panel, poisson

NET = MlpConfig(width=32, steps=10, rows=600, batch=256)


def found(how: str, trials: int = 3, seed: int = 1) -> Found:
    got = search(panel(poisson(8, 40)), 3, how, trials, MlpConfig(**{**_fields(NET), "seed": seed}), lambda _: None)
    assert got is not None
    return got


def _fields(config: MlpConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in MlpConfig.__dataclass_fields__}


def best_is_kept(it: Found) -> None:
    least = it.trials.loc[it.trials["WAPE"].idxmin()]
    assert it.trials["best"].sum() == 1
    assert bool(least["best"])
    assert {name: getattr(it.config, name) for name in SEARCHED} == {name: least[name] for name in SEARCHED}


def test_the_grid_is_all_of_its_combinations_and_the_best_is_kept() -> None:
    it = found("grid")
    assert len(it.trials) == 2 * 2 * 2
    for name, values in GRID.items():
        assert sorted(set(it.trials[name])) == sorted(values)
    best_is_kept(it)


def test_bayesian_search_begins_with_what_it_was_given_and_repeats_itself_for_a_seed() -> None:
    one, again, other = found("optuna"), found("optuna"), found("optuna", seed=2)
    assert one.trials.loc[0, list(SEARCHED)].to_dict() == {name: getattr(NET, name) for name in SEARCHED}
    assert len(one.trials) == 3
    best_is_kept(one)
    pd.testing.assert_frame_equal(one.trials, again.trials)
    assert one.trials.loc[1:, "lr"].tolist() != other.trials.loc[1:, "lr"].tolist()


def test_the_latest_stretch_is_not_seen_by_the_search() -> None:
    units = poisson(8, 40)
    later = units.copy()
    later[:, 37:] *= 50  # a horizon of 3: the latest stretch
    a, b = (search(panel(u), 3, "optuna", 2, NET, lambda _: None) for u in (units, later))
    assert a is not None
    assert b is not None
    np.testing.assert_array_equal(a.trials["WAPE"], b.trials["WAPE"])


def test_what_cannot_be_searched_is_said_in_words() -> None:
    with pytest.raises(SetupError, match="none of none, grid, optuna"):
        search(panel(poisson(3, 30)), 3, "random", 2, NET, lambda _: None)
    with pytest.raises(SetupError, match="too few to search on"):
        search(panel(poisson(3, 4)), 3, "grid", 2, NET, lambda _: None)
    unsold = poisson(3, 40)
    unsold[:, 30:] = 0
    with pytest.raises(SetupError, match="nothing was sold"):
        search(panel(unsold), 3, "grid", 2, NET, lambda _: None)
