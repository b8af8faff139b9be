"""The column operations, by hand. Run: pytest tests/unit/anomaly/test_windows.py"""

from __future__ import annotations

import numpy as np
import pytest

from ml.anomaly.windows import FOREVER, Windows
from tests.unit.anomaly.worlds import story

X = np.array([[1.0, 5.0, 2.0, 0.0, 3.0]])
WHEN = np.array([[False, True, False, False, True]])
W = Windows(story([[0.0] * 5]))


@pytest.mark.parametrize(
    ("name", "found", "by_hand"),
    [
        ("two days ago", W.lag(X, 2), [0, 0, 1, 5, 2]),
        ("total of two days", W.total(X, 2), [1, 6, 7, 2, 3]),
        ("total of more days than there are", W.total(X, 9), [1, 6, 8, 8, 11]),
        ("largest of three days", W.largest(X, 3), [1, 5, 5, 5, 3]),
        ("value when it last held", W.latest(X, WHEN), [0, 5, 5, 5, 3]),
        ("days since it held", W.days_since(WHEN), [FOREVER, 0, 1, 2, 0]),
        ("total since it held", W.total_since(X, WHEN), [1, 0, 2, 2, 0]),
        ("largest since it held", W.largest_since(X, WHEN), [1, 0, 2, 2, 0]),
    ],
)
def test_an_operation_looks_at_today_and_before(name: str, found: np.ndarray, by_hand: list[float]) -> None:
    assert found.tolist() == [by_hand], name


def test_a_group_is_all_slots_of_a_site_on_that_day() -> None:
    w = Windows(story([[0, 0], [0, 0], [0, 0]]))  # one site, one family, three SKUs
    x = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 0.0]])
    assert w.total_of("site", x).tolist() == [[4, 1]] * 3
    assert w.largest_of("family", x).tolist() == [[3, 2]] * 3
    assert w.total_of("sku", x).tolist() == x.tolist()  # each SKU is at one site only
