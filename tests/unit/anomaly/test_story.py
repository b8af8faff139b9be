"""Daily tables in and out. Run: pytest tests/unit/anomaly/test_story.py"""

from __future__ import annotations

import numpy as np
import pytest

from inventorybot.errors import SetupError
from ml.anomaly.story import FLOWS, from_frame
from tests.unit.anomaly.worlds import FIRST, story


def test_a_story_comes_back_from_its_table_in_whatever_order_the_rows_are() -> None:
    told = story([[5, 4, 4], [9, 9, 2]], sold=[[0, 1, 0], [0, 0, 7]], counted=[[np.nan, 4, np.nan], [np.nan] * 3])
    back = from_frame(told.to_frame().sample(frac=1, random_state=3))
    assert back.first_day == FIRST
    assert back.sku.tolist() == ["sku-0", "sku-1"]
    for flow in FLOWS:
        np.testing.assert_array_equal(getattr(back, flow), getattr(told, flow), flow)


def test_a_table_without_a_column_is_refused_and_the_column_named() -> None:
    with pytest.raises(SetupError, match="lacks the columns recorded"):
        from_frame(story([[1, 1]]).to_frame().drop(columns="recorded"))


def test_a_slot_that_lacks_a_day_is_refused_and_named() -> None:
    with pytest.raises(SetupError, match="slot site-0/sku-1 has 2 rows for 3 days"):
        from_frame(story([[1, 1, 1], [1, 1, 1]]).to_frame().iloc[:5])


def test_a_number_that_is_none_is_refused_with_its_slot_and_day() -> None:
    frame = story([[1, 1]]).to_frame().astype({"sold": object})
    frame.loc[1, "sold"] = "two"
    with pytest.raises(SetupError, match="column sold holds 'two' for site-0/sku-0 on 2026-01-02"):
        from_frame(frame)


def test_days_without_a_count_are_no_bad_numbers() -> None:
    assert np.isnan(from_frame(story([[1, 1]]).to_frame()).counted).all()
