"""Learning from simulations and from cycle counts. Run: pytest tests/unit/anomaly/test_train.py"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.anomaly.baselines import ZeroStreak
from ml.anomaly.evaluate import best_threshold, measure, scored
from ml.anomaly.faults import Mix
from ml.anomaly.features import NAMES, features
from ml.anomaly.model import Detector
from ml.anomaly.simulate import World
from ml.anomaly.train import Examples, TrainConfig, joined, labelled, log_loss, outcomes, play, retrain
from tests.unit.anomaly.worlds import FIRST, story


def test_on_a_seed_it_has_not_seen_the_detector_is_far_better_than_the_zero_streak_test(detector: Detector) -> None:
    check, unseen = play(910, 500, 200, World()), play(911, 500, 200, World())
    scorers = {"detector": detector, "zero streak": ZeroStreak()}
    thresholds = {n: best_threshold(s, [check]) for n, s in scored(scorers, [check]).items()}
    f1 = {n: measure(s, [unseen], thresholds[n]).figures["f1"]["value"] for n, s in scored(scorers, [unseen]).items()}
    assert f1["detector"] >= 1.3 * f1["zero streak"]


def test_no_training_seed_is_used_twice() -> None:
    seeds = TrainConfig(seed=10, replays=3, checks=2).seeds
    assert seeds == (10, 11, 12, 13, 14)


def test_a_count_labels_the_evening_before_with_the_error_that_it_corrected() -> None:
    # counted on day 2: 3 where the record said 8; on day 3: right
    told = story([[8, 8, 3, 3]], counted=[[np.nan, np.nan, 3, 3]], adjusted=[[0, 0, -5, 0]])
    found = outcomes(told, warm=0)
    assert found.wrong.tolist() == [True, False]
    assert found.units.tolist() == [5, 0]
    made = features(told)
    assert found.x[0].tolist() == pytest.approx([float(v[0, 1]) for v in made.values()], rel=1e-6)


def test_an_error_of_one_unit_or_less_than_a_days_sales_is_not_material() -> None:
    counted = [[np.nan, 7], [np.nan, 6], [np.nan, 6]]
    told = story(
        [[8, 7], [8, 6], [8, 6]],
        counted=counted,
        adjusted=[[0, -1], [0, -2], [0, -2]],
        expected=[[1, 1], [1, 1], [9, 9]],
    )
    assert outcomes(told, warm=0).wrong.tolist() == [False, True, False]


def test_a_record_that_people_closed_is_an_outcome_unless_a_count_tells_more() -> None:
    told = story([[8] * 6, [8] * 6], counted=[[np.nan] * 6, [np.nan, np.nan, np.nan, 8, np.nan, np.nan]])
    at = [FIRST + timedelta(days=d) for d in range(9)]
    closed = pd.DataFrame(
        [
            ("site-0", "sku-0", at[2], at[4], True),
            ("site-0", "sku-1", at[2], at[4], True),  # counted on day 3: right
            ("site-0", "sku-1", at[4], at[5], False),
            ("site-0", "sku-0", at[8], at[8], True),  # after the story
            ("site-9", "sku-0", at[2], at[4], True),  # of another chunk
        ],
        columns=["site", "sku", "day", "ended", "wrong"],
    )
    slot, day, wrong, units = labelled(told, 0, closed)
    assert list(zip(slot.tolist(), day.tolist(), wrong.tolist(), strict=True)) == [
        (0, 2, True),
        (1, 3, False),
        (1, 4, False),
    ]
    assert np.isnan(units).tolist() == [True, False, True]


def test_a_quarter_held_back_in_which_nearly_nothing_is_wrong_cannot_say_which_is_better(detector: Detector) -> None:
    wrong = np.zeros(100, dtype=bool)
    wrong[[10, 20, 30, 80, 81, 82, 83]] = True
    found = Examples(np.zeros((100, len(NAMES)), dtype=np.float32), wrong, np.where(wrong, 5.0, 0.0), np.ones(100))
    with pytest.raises(SetupError, match=r"of the newest 25 cycle counts.* 4 found a wrong record: 5 are needed"):
        retrain(detector, found)


def counts_of(world: World, seeds: range) -> Examples:
    return joined([outcomes(play(s, 300, 200, world).story) for s in seeds])


def test_counts_in_another_kind_of_warehouse_teach_the_detector(detector: Detector) -> None:
    """Records go wrong ten times as often here as where it was calibrated: it must learn at least that."""
    grim = World(Mix().times(10), counts_a_year=8)
    better, verdict = retrain(detector, counts_of(grim, range(920, 922)), rounds=8)
    assert verdict.startswith("retrained: log loss")
    fresh = counts_of(grim, range(930, 931))
    assert log_loss(better.score(fresh.x), fresh.wrong) < 0.95 * log_loss(detector.score(fresh.x), fresh.wrong)
    assert better.card["retrained"]["outcomes"] > 300


def test_outcomes_that_teach_nothing_leave_the_detector_in_service(detector: Detector) -> None:
    """Labels by coin: nothing learnt from them holds on the newest quarter, whose labels are those of the detector itself."""
    rng = np.random.default_rng(1)
    found = counts_of(World(Mix().times(6), counts_a_year=6), range(940, 941))
    p = detector.score(found.x)
    wrong = rng.random(len(found)) < np.where(np.arange(len(found)) < len(found) * 3 // 4, 0.5, p)
    kept, verdict = retrain(detector, Examples(found.x, wrong, found.units, found.weight), rounds=10)
    assert kept is detector
    assert verdict.startswith("kept the detector in service")


def test_few_outcomes_are_refused(detector: Detector) -> None:
    found = outcomes(play(940, 100, 60, World(counts_a_year=12)).story).at(np.arange(39))
    with pytest.raises(SetupError, match="39 cycle counts are too few"):
        retrain(detector, found)
