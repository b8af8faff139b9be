"""Predictions that cannot be true. Run: pytest tests/unit/anomaly/test_absurd.py"""

from __future__ import annotations

import math

import pytest

from ml.anomaly.absurd import Absurdity, absurd


def kinds(**told: object) -> list[Absurdity]:
    return [d.kind for d in absurd(**told)]  # type: ignore[arg-type]


def test_an_ordinary_prediction_is_believed() -> None:
    assert absurd(forecast=[3, 5, 9], on_hand=12, probability=0.7, most_sold=8, capacity=40) == ()


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"forecast": [-0.5]}, Absurdity.NEGATIVE),
        ({"forecast": [math.nan]}, Absurdity.NO_NUMBER),
        ({"forecast": [81], "most_sold": 8}, Absurdity.FAR_FROM_SEEN),
        ({"forecast": [5, 3]}, Absurdity.NOT_ASCENDING),
        ({"on_hand": -1}, Absurdity.NEGATIVE),
        ({"on_hand": 41, "capacity": 40}, Absurdity.OVER_CAPACITY),
        ({"on_hand": math.inf}, Absurdity.NO_NUMBER),
        ({"probability": 1.01}, Absurdity.NO_PROBABILITY),
        ({"probability": math.nan}, Absurdity.NO_PROBABILITY),
    ],
)
def test_each_absurdity_is_named(told: dict[str, object], kind: Absurdity) -> None:
    assert kinds(**told) == [kind]


def test_ten_times_the_most_ever_sold_is_still_believed_and_nothing_sold_says_nothing() -> None:
    assert kinds(forecast=[80], most_sold=8) == []
    assert kinds(forecast=[80], most_sold=0) == []


def test_the_reason_tells_both_figures() -> None:
    assert "90 is more than 10 times 8" in absurd(forecast=[90], most_sold=8)[0].reason


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert kinds(forecast=[5, -1], on_hand=50, capacity=40) == [
        Absurdity.NEGATIVE,
        Absurdity.OVER_CAPACITY,
        Absurdity.NOT_ASCENDING,
    ]
