"""Each model on series whose answer is known without it. Run: pytest tests/unit/demand/test_models.py"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ml.demand import classical, ensemble, recursive, statistical
from ml.demand.mlp import Mlp, MlpConfig, hashed
from ml.demand.periods import Periods
from ml.demand.trees import Trees, TreesConfig
from tests.unit.demand.makers import panel, poisson, promoted

NET = MlpConfig(width=32, steps=80, rows=3000, batch=256)


def test_the_moving_average_is_the_mean_of_the_last_thirteen_weeks() -> None:
    units = np.arange(1.0, 27.0)[None]  # the last thirteen are 14 .. 26, mean 20
    assert statistical.forecast("moving average", panel(units), 2).tolist() == [[20.0, 20.0]]
    assert statistical.forecast("moving median", panel(units), 1).tolist() == [[20.0]]


def test_the_seasonal_naive_repeats_the_week_of_last_year() -> None:
    units = np.arange(60.0)[None]
    assert statistical.forecast("seasonal naive", panel(units), 3).tolist() == [[8.0, 9.0, 10.0]]


def test_a_gap_is_not_taken_for_a_zero() -> None:
    units = np.full((1, 20), 6.0)
    units[0, 5:9] = np.nan
    for name in statistical.FAST:
        assert statistical.forecast(name, panel(units), 1)[0, 0] == pytest.approx(6.0, abs=1e-3)


@pytest.mark.parametrize("name", [*statistical.FAST, *statistical.SLOW])
def test_no_method_fails_on_what_cannot_be_learnt_from(name: str) -> None:
    odd = np.array([[0.0] * 6, [7.0] * 6, [np.nan] * 5 + [3.0], [np.nan] * 6, [0, 0, 0, 0, 0, 1]])
    found = statistical.forecast(name, panel(odd), 4)
    assert np.isfinite(found).all()
    assert found[0].tolist() == [0.0] * 4
    assert found[1].tolist() == pytest.approx([7.0] * 4)


@pytest.mark.parametrize(("kind", "t"), [("weekly", 6), ("monthly", 30)])
def test_mlforecast_does_not_fail_on_what_cannot_be_learnt_from(kind: str, t: int) -> None:
    odd = np.vstack([np.zeros(t), np.full(t, 7.0), np.r_[np.full(t - 1, np.nan), 3], np.full(t, np.nan), poisson(1, t)])
    found = recursive.forecast(panel(odd, kind), 3)
    assert np.isfinite(found).all()
    assert found[0].tolist() == [0.0] * 3
    assert found[1] == pytest.approx([7.0] * 3)


def test_trees_learn_a_pattern_that_repeats_every_year() -> None:
    rng = np.random.default_rng(1)
    shape = 20 + 15 * (np.arange(160) % 52 < 10)
    units = np.maximum(shape * rng.uniform(1, 3, (40, 1)) + rng.normal(0, 1, (40, 160)), 0)
    past = panel(units).until(150)
    found = Trees.fit(past, 10, TreesConfig(rounds=60, rows=20_000)).predict(past, 10)
    actual = units[:, 150:]
    flat = statistical.forecast("moving average", past, 10)
    assert np.abs(found - actual).mean() < 0.5 * np.abs(flat - actual).mean()


def test_quantiles_of_the_mlp_never_cross_and_hold_about_the_share_they_say() -> None:
    units = poisson(60, 60)
    past = panel(units).until(50)
    q = Mlp.fit(past, 5, MlpConfig(width=32, steps=150, rows=8_000, batch=128)).quantiles(past, 5)
    assert (np.diff(q, axis=2) >= 0).all()
    actual = units[:, 50:55]
    inside = (actual >= q[:, :, 0]) & (actual <= q[:, :, 4])
    assert 0.8 < inside.mean() <= 1.0


def test_transfer_leaves_the_lower_layers_as_they_were_and_moves_the_upper_ones() -> None:
    base = Mlp.fit(panel(poisson(20, 40)), 3, NET)
    moved = base.transfer(panel(poisson(10, 30, seed=2)), 3, steps=20)
    for name, value in base.net.state_dict().items():
        same = torch.equal(value, moved.net.state_dict()[name])
        assert same == (not name.startswith(("upper", "head", "embedding"))) or name.startswith("embedding")
    assert not torch.equal(base.net.head.weight, moved.net.head.weight)


def test_a_network_is_the_same_for_the_same_seed_and_draws_from_no_global_generator() -> None:
    state = torch.random.get_rng_state()
    a, b = (Mlp.fit(panel(poisson(10, 30)), 3, NET).state() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_category_falls_into_the_same_bucket_in_every_process() -> None:
    # the check value of CRC-32 (ISO 3309) is cbf43926 for "123456789"; its last six bits are 26 hex
    assert hashed(np.array(["123456789", "", "123456789"])).tolist() == [0x26, 0, 0x26]


def test_the_six_classical_regressors_forecast_a_level_they_have_seen() -> None:
    found = classical.forecasts(panel(np.full((5, 40), 10.0) + np.arange(5)[:, None]), 3, rows=400)
    assert tuple(found) == classical.NAMES
    for name, f in found.items():
        assert f[2] == pytest.approx([12.0] * 3, rel=0.03), name


def test_the_better_model_is_chosen_and_a_mean_of_two_where_their_errors_cancel() -> None:
    y = np.full((40, 2), 10.0, np.float32)
    smooth, scale = np.full(40, "smooth"), np.full(40, 10.0, np.float32)
    good, high, low = y + 1, y + 3, y - 3
    assert ensemble.choose([y], [{"good": good, "high": high}], [smooth], [scale])["all"] == {"good": 1.0}
    assert ensemble.choose([y], [{"high": high, "low": low}], [smooth], [scale])["all"] == {"high": 0.5, "low": 0.5}


def test_a_segment_gets_its_own_model_only_where_that_is_better() -> None:
    y = np.full((80, 2), 10.0, np.float32)
    segment = np.array(["smooth"] * 40 + ["erratic"] * 40)
    first, second = y.copy(), y.copy()
    first[40:] += 4
    second[:40] += 5
    choice = ensemble.choose([y], [{"a": first, "b": second}], [segment], [np.ones(80, np.float32)])
    assert choice["all"]["a"] > 0.5
    assert choice["erratic"] == {"b": 1.0}
    mixed = ensemble.by_segment({"a": first, "b": second}, choice, segment)
    np.testing.assert_array_equal(mixed, y)


@pytest.mark.parametrize("name", ["promo", "on deal, [in %]", 'größe "x"'])
def test_a_covariate_of_any_name_is_learnt_from(name: str) -> None:
    units, flag = promoted(30)
    found = Trees.fit(panel(units, **{name: flag}), 1, TreesConfig(rounds=80, rows=4_000))
    last = flag[:, -1] > 0
    ahead = found.predict(panel(units, **{name: flag}), 1)[:, 0]
    assert ahead[last].mean() > 2 * ahead[~last].mean()  # in truth three times


def test_mlforecast_forecasts_a_level_and_learns_from_more_series_than_it_forecasts() -> None:
    every = panel(np.vstack([np.full((5, 40), 10.0) + np.arange(5)[:, None], np.zeros((1, 40))]))
    found = recursive.forecast(every.only(np.array([4, 1, 5])), 3, learn_from=every)
    np.testing.assert_allclose(found, [[14.0] * 3, [11.0] * 3, [0.0] * 3], rtol=0.03)


def test_a_network_of_less_than_a_year_does_not_guess_what_other_seasons_do() -> None:
    units = poisson(10, 30)
    winter, summer = (
        replace(panel(units), periods=Periods("weekly", pd.Timestamp(first), 30, True))
        for first in ("2025-01-06", "2025-07-07")
    )
    net = Mlp.fit(winter, 3, NET)
    np.testing.assert_array_equal(net.predict(winter, 3), net.predict(summer, 3))
    year = poisson(10, 60)
    long = replace(panel(year), periods=Periods("weekly", pd.Timestamp("2025-01-06"), 60, True))
    other = replace(long, periods=Periods("weekly", pd.Timestamp("2025-07-07"), 60, True))
    net = Mlp.fit(long, 3, NET)
    assert (net.predict(long, 3) != net.predict(other, 3)).any()
