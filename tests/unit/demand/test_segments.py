"""Segments of demand, on series whose interval and variation are known by hand. Run: pytest tests/unit/demand/test_segments.py"""

from __future__ import annotations

import numpy as np
import pytest

from inventorybot.domain.demand import demand_interval, segments, size_variation


def test_the_demand_interval_is_periods_a_sale() -> None:
    units = np.array([[1.0, 0, 0, 2], [np.nan, np.nan, 3, 0], [0, 0, 0, 0]])
    assert demand_interval(units).tolist() == [2.0, 2.0, np.inf]


def test_the_variation_of_sizes_leaves_periods_without_sales_out() -> None:
    # sizes 1 and 3: mean 2, variance ((1 + 1) / (2 - 1)) = 2, over 2 squared
    assert size_variation(np.array([[1.0, 0, 3, 0]]))[0] == pytest.approx(0.5)


def test_each_corner_of_the_scheme_has_its_name() -> None:
    units = np.array(
        [
            [5.0, 5, 5, 5, 5, 5, 5, 5],
            [1, 1, 1, 30, 1, 1, 1, 1],
            [0, 0, 5, 0, 0, 5, 0, 0],
            [0, 0, 1, 0, 30, 0, 0, 1],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ]
    )
    assert segments(units).tolist() == ["smooth", "erratic", "intermittent", "lumpy", "silent"]
