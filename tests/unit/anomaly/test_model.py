"""The detector on disk, its calibration and its reasons. Run: pytest tests/unit/anomaly/test_model.py"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from inventorybot.errors import SetupError
from ml.anomaly.absurd import Absurdity
from ml.anomaly.explain import suspects
from ml.anomaly.features import NAMES, features, stacked
from ml.anomaly.model import Detector, calibrate, load
from ml.anomaly.simulate import Replay, World
from ml.anomaly.story import Story
from ml.anomaly.train import play


@pytest.fixture(scope="module")
def played() -> Replay:
    """A warehouse of a seed that was not trained on."""
    return play(900, 300, 150, World())


def rows(played: Replay) -> np.ndarray:
    return stacked(features(played.story))[:, -1]


def test_a_release_says_the_same_after_it_was_written_and_read(
    detector: Detector, played: Replay, tmp_path: Path
) -> None:
    detector.save(tmp_path)
    again = load(tmp_path)
    np.testing.assert_allclose(again.score(rows(played)), detector.score(rows(played)))
    np.testing.assert_allclose(again.units_wrong(rows(played)), detector.units_wrong(rows(played)))
    assert again.threshold == detector.threshold


def test_a_damaged_release_is_refused(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path)
    (tmp_path / "units.txt").write_text((tmp_path / "units.txt").read_text() + " ")
    with pytest.raises(SetupError, match=r"is damaged: units\.txt"):
        load(tmp_path)


def test_a_release_of_other_features_is_refused(detector: Detector, tmp_path: Path) -> None:
    card = detector.save(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps(card | {"features": card["features"][1:]}))
    with pytest.raises(SetupError, match="trained on other features"):
        load(tmp_path)


def test_a_folder_that_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="not a whole release"):
        load(tmp_path)


def test_contributions_add_up_to_the_log_odds(detector: Detector, played: Replay) -> None:
    added = detector.contributions(rows(played))
    assert added.shape == (played.story.slots, len(NAMES) + 1)
    p = detector.score(rows(played))
    np.testing.assert_allclose(added.sum(axis=1), np.log(p / (1 - p)), atol=1e-6)


def test_no_record_is_estimated_to_hold_more_errors_than_units(detector: Detector, played: Replay) -> None:
    recorded = np.maximum(played.story.recorded[:, -1], 0)
    assert (detector.units_wrong(rows(played)) <= recorded + 1e-3).all()


def test_calibration_finds_the_curve_that_made_the_outcomes() -> None:
    rng = np.random.default_rng(1)
    raw = rng.normal(0, 2, 40_000)
    wrong = rng.random(40_000) < 1 / (1 + np.exp(-(0.5 * raw - 1.0)))
    assert calibrate(raw, wrong) == pytest.approx((0.5, -1.0), abs=0.05)


def test_a_weight_counts_a_row_as_often() -> None:
    raw, wrong = np.array([-1.0, 0.0, 1.0, 2.0]), np.array([False, True, False, True])
    twice = np.array([0, 0, 1, 2, 3, 3])
    assert calibrate(raw, wrong, np.array([2.0, 1, 1, 2])) == pytest.approx(
        calibrate(raw[twice], wrong[twice]), abs=1e-6
    )


def test_suspects_come_most_suspect_first_and_say_why_and_since_when(detector: Detector, played: Replay) -> None:
    found = suspects(detector, played.story, top=5)
    assert len(found) == 5
    assert [s.probability for s in found] == sorted((s.probability for s in found), reverse=True)
    first = found[0]
    assert first.day == played.story.day(played.story.days - 1)
    assert first.reasons[0].added == max(r.added for r in first.reasons)
    assert [t.day for t in first.turns] == sorted(t.day for t in first.turns)
    assert any("sold" in t.what for t in first.turns)
    assert first.on_hand >= 0
    assert first.reasons[0].text in first.sentence()
    assert first.doubts == ()


def test_a_forecast_that_is_absurd_is_told_with_the_suspect(detector: Detector, played: Replay) -> None:
    story = played.story
    expected = story.expected.copy()
    expected[:, -1] = 11 * story.sold.max()
    wild = Story(**{n: getattr(story, n) for n in story.__slots__} | {"expected": expected})
    assert {d.kind for d in suspects(detector, wild, top=1)[0].doubts} == {Absurdity.FAR_FROM_SEEN}


def test_what_is_told_of_a_day_does_not_change_with_the_days_after(detector: Detector, played: Replay) -> None:
    early = suspects(detector, played.story, column=150, top=3)
    assert early == suspects(detector, played.story.until(150), top=3)
