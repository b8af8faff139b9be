"""The warehouse with a hidden truth obeys the laws of a warehouse. Run: pytest tests/unit/anomaly/test_simulate.py"""

from __future__ import annotations

import time
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.anomaly.demand import from_sales, layout, made
from ml.anomaly.faults import KINDS, MISPLACEMENT, OTHER, PHANTOM, SCAN, SHRINKAGE, UNIT, Mix
from ml.anomaly.simulate import Replay, World, replay
from tests.unit.anomaly.worlds import replayed

NO_FAULTS = Mix(0, 0, 0, 0, 0)
EXACT = {"counts_a_year": 0.0, "slips_a_year": 0.0, "miscount": 0.0}


def play(mix: Mix, seed: int = 5, series: int = 400, days: int = 250, **world: float) -> Replay:
    rng = np.random.default_rng(seed)
    return replay(made(series, days, rng), World(mix, **world), rng)


@pytest.fixture(scope="module")
def busy() -> Replay:
    """A year in which every fault is frequent, nothing else goes wrong, and nobody counts."""
    return play(Mix(0.3, 0.3, 0.2, 0.2, 0.3), **EXACT)


def test_the_record_of_a_day_is_that_of_the_day_before_and_what_was_booked() -> None:
    s = play(Mix().times(5)).story
    booked = s.received - s.sold + s.returned - s.written_off + s.adjusted
    np.testing.assert_allclose(s.recorded[:, 1:], s.recorded[:, :-1] + booked[:, 1:])


def test_where_nothing_goes_wrong_the_record_is_the_truth() -> None:
    played = play(NO_FAULTS, **EXACT)
    np.testing.assert_array_equal(played.story.recorded, played.truth.on_hand)
    assert not len(played.truth.episodes())


def test_stock_is_never_below_zero_and_only_recorded_stock_may_be(busy: Replay) -> None:
    assert busy.truth.on_hand.min() == 0
    assert busy.story.recorded.min() < 0


def test_without_slips_every_error_is_some_faults(busy: Replay) -> None:
    np.testing.assert_allclose(busy.truth.error, busy.truth.fault)


def test_a_count_makes_the_record_true_and_ends_the_fault() -> None:
    played = play(Mix().times(10), slips_a_year=0.0, miscount=0.0)
    counted = np.isfinite(played.story.counted)
    assert counted.any()
    np.testing.assert_array_equal(played.story.recorded[counted], played.truth.on_hand[counted])
    assert not played.truth.fault[counted].any()


def test_phantoms_and_shrinkage_leave_too_much_on_record_and_a_phantom_strikes_once(busy: Replay) -> None:
    kinds, fault = busy.truth.kind, busy.truth.fault
    for kind in (PHANTOM, SHRINKAGE):
        assert fault[kinds == kind].max() > 0
        assert fault[kinds == kind].min() == 0
    steps = (np.diff(fault[kinds == PHANTOM], axis=1) != 0).sum(axis=1)
    assert set(steps.tolist()) <= {0, 1}
    assert (np.diff(fault[kinds == SHRINKAGE], axis=1) >= 0).all()


def test_what_one_record_of_a_pair_has_too_much_the_other_has_too_little(busy: Replay) -> None:
    for kind in (MISPLACEMENT, SCAN):
        of_kind = busy.truth.fault[busy.truth.kind == kind]
        assert of_kind.max() > 0 > of_kind.min()
        np.testing.assert_allclose(of_kind.sum(axis=0), 0)  # no unit has left the warehouse


def test_a_unit_mistake_is_wrong_by_the_factor_of_a_case(busy: Replay) -> None:
    for slot in np.flatnonzero(busy.truth.kind == UNIT):
        day = np.flatnonzero(np.diff(busy.truth.fault[slot], prepend=0))
        for d in day:
            booked, wrong = busy.story.received[slot, d], busy.truth.fault[slot, d]
            assert any(booked == pytest.approx((booked - wrong) * f) for f in (6, 12, 24, 1 / 6, 1 / 12, 1 / 24))


def test_the_same_seed_plays_the_same_days_and_another_does_not() -> None:
    one, same, other = (play(Mix(), seed=s, days=120) for s in (1, 1, 2))
    for f in fields(one.truth):
        np.testing.assert_array_equal(getattr(one.truth, f.name), getattr(same.truth, f.name))
    assert not np.array_equal(one.story.sold, other.story.sold)


def test_faults_are_rare_and_begin_after_the_history() -> None:
    played = play(Mix(), series=2000, days=456)
    found = played.truth.episodes()
    found = found[found["cause"] != OTHER]
    assert (
        0.02 < found["slot"].nunique() / played.story.slots < 0.08
    )  # 0.038 planned a slot and year, and 0.012 partners
    assert found["start"].min() >= played.warm
    assert set(found["cause"]) == set(KINDS)


def test_two_thousand_slots_and_a_year_take_seconds() -> None:
    began = time.process_time()
    play(Mix(), series=2000, days=456)
    assert time.process_time() - began < 10


def test_an_episode_lasts_from_the_first_unit_to_the_last_day_and_says_the_worst() -> None:
    found = replayed([[0, 1, 4, 3, 0, 0], [0, 0, 0, 0, 0, -2]]).truth.episodes()
    assert found[["slot", "start", "end", "days", "units"]].values.tolist() == [[0, 1, 3, 3, 4], [1, 5, 5, 1, -2]]
    assert found["material"].tolist() == [2, 1]  # days of two units and more, at one sale a day


def test_an_error_that_no_fault_made_is_an_episode_only_when_it_matters() -> None:
    found = replayed([[0, 0, 0, 0]], error=[[0, 1, 2, 0]]).truth.episodes()
    assert found[["cause", "start", "end"]].values.tolist() == [[OTHER, 2, 2]]


def weekly(stores: int, items: int, weeks: int) -> pd.DataFrame:
    rows = [
        (f"s{s}", f"i{i}", w, 7 * (s + 1) + i - (20 if (i, w) == (0, 0) else 0))
        for s in range(stores)
        for i in range(items)
        for w in range(weeks)
    ]
    return pd.DataFrame(rows, columns=["store", "item", "week", "units"])


def test_real_weeks_are_spread_over_days_without_losing_a_unit_and_returns_are_no_demand() -> None:
    demand = from_sales(weekly(2, 40, 10), 80, 70, np.random.default_rng(1))
    assert demand.units.shape == (80, 70)
    by_week = demand.units.reshape(80, 10, 7).sum(axis=2)
    kept = {(store, item): row for store, item, row in zip(demand.site, demand.sku, by_week, strict=True)}
    assert kept["s1", "i3"].tolist() == [17.0] * 10
    assert kept["s0", "i0"].tolist() == [0.0] + [7.0] * 9  # −13 in the first week


def test_too_few_weeks_are_refused_with_both_numbers() -> None:
    with pytest.raises(SetupError, match="holds 70 days and 100 are needed"):
        from_sales(weekly(1, 2, 10), 2, 100, np.random.default_rng(1))


def test_sales_without_units_are_refused() -> None:
    with pytest.raises(SetupError, match="lacks units"):
        from_sales(weekly(1, 2, 10).drop(columns="units"), 2, 50, np.random.default_rng(1))


def test_two_thousand_slots_are_ten_sites_of_two_hundred() -> None:
    assert layout(2000) == (10, 200)
