"""From scores to alarms to figures, by hand, as docs/suspect-records.md defines them. Run: pytest tests/unit/anomaly/test_alarms.py"""

from __future__ import annotations

import numpy as np
import pytest

from ml.anomaly.alarms import alarms, daily_counts, tally
from ml.anomaly.evaluate import intervals, measure, rates
from ml.anomaly.faults import CAUSES
from tests.unit.anomaly.worlds import replayed

PHANTOM = CAUSES.index("phantom")


def raised(*pairs: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs], dtype=np.int64), np.array([p[1] for p in pairs], dtype=np.int64)


def test_an_alarm_is_the_third_flag_in_a_row_after_quiet_days() -> None:
    flagged = np.zeros((3, 70), dtype=bool)
    flagged[0, [3, 4, 5, 20, 21, 22, 58, 59, 60]] = True  # 60 lies 38 days after the last
    flagged[1, [0, 1, 2, 3]] = True  # two of them before the measured days
    flagged[2, [10, 11, 13, 14]] = True  # never three in a row
    slots, days = alarms(flagged, warm=2)
    assert sorted(zip(slots.tolist(), days.tolist(), strict=True)) == [(0, 5), (0, 60)]


def test_right_alarms_count_once_an_episode_and_false_ones_each() -> None:
    fault = np.zeros((3, 100))
    fault[0, 10:60] = 5  # found on day 20, and again on day 50
    fault[1, 30:80] = 5  # never found
    t = tally(raised((0, 20), (0, 50), (2, 5), (2, 90)), replayed(fault.tolist()))
    assert (t.right.sum(), t.wrong.sum()) == (1, 2)
    assert (t.found[:, PHANTOM].sum(), t.episodes[:, PHANTOM].sum()) == (1, 2)
    assert t.delays.tolist() == [10]
    assert t.units.tolist() == [5]
    precision, recall, f1 = rates(t)
    assert (precision, recall) == (pytest.approx(1 / 3), 1 / 2)
    assert f1 == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))


def test_an_error_mended_within_four_weeks_is_not_asked_for_but_right_to_find() -> None:
    fault = np.zeros((1, 100))
    fault[0, 10:37] = 5  # 27 days
    t = tally(raised((0, 12)), replayed(fault.tolist()))
    assert t.right.sum() == 1
    assert t.episodes.sum() == 0
    assert (t.found_all.sum(), t.all.sum()) == (1, 1)


def test_a_miscount_is_right_to_find_and_in_no_recall() -> None:
    t = tally(raised((0, 50)), replayed([[0.0] * 100], error=[[0.0] * 20 + [3.0] * 80]))
    assert (t.right.sum(), t.wrong.sum()) == (1, 0)
    assert rates(t)[1] == 0  # no fault was there to find


def test_counting_one_record_a_day_finds_what_is_most_suspect_and_leaves_it_alone_for_four_weeks() -> None:
    fault = np.zeros((2, 3))
    fault[1] = 4
    scores = np.array([[0.1] * 3, [0.9] * 3])
    assert daily_counts(scores, replayed(fault.tolist()), a_day=1) == (
        1,
        2,
    )  # day 0: slot 1; day 1: slot 0; day 2: none is left


def test_perfect_scores_give_perfect_figures() -> None:
    fault = np.zeros((30, 100))
    fault[:3, 20:90] = 5
    found = measure([np.abs(fault)], [replayed(fault.tolist())], threshold=1.0)
    for name in ("precision", "recall", "f1", "auc_roc", "average_precision", "recall_of_all"):
        assert found.figures[name]["value"] == 1.0, name
    assert found.figures["median_days_to_detection"]["value"] == 2  # the third evening
    assert found.by_cause["phantom"]["found"] == 3


def test_an_interval_holds_its_value() -> None:
    rng = np.random.default_rng(1)
    fault = np.zeros((200, 100))
    fault[:40, 20:90] = 5
    played = replayed(fault.tolist())
    alone = np.array([f"family-{i}" for i in range(200)])
    played = type(played)(
        type(played.story)(**{n: getattr(played.story, n) for n in played.story.__slots__} | {"family": alone}),
        played.truth,
        0,
    )
    t = tally(raised(*((int(i), 30) for i in rng.choice(200, 60, replace=False))), played)
    for it in intervals(t).values():
        assert it["low"] < it["value"] < it["high"]
