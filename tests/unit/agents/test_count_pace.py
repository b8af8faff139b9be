"""How many pictures the count agent takes at once. Run: pytest tests/unit/agents/test_count_pace.py"""

from __future__ import annotations

from streaming.agents.count import Pace


def test_before_anything_is_known_all_that_waits_is_taken() -> None:
    assert Pace(0.25).fits(32) == 32


def test_a_part_takes_no_longer_than_the_budget_allows() -> None:
    pace = Pace(0.25)
    pace.learn(10, 0.2)  # 20 ms a picture: 12 fit 250 ms
    assert pace.fits(100) == 12
    assert pace.fits(5) == 5


def test_where_not_even_one_fits_one_is_taken() -> None:
    pace = Pace(0.25)
    pace.learn(1, 3.0)
    assert pace.fits(8) == 1


def test_one_slow_part_moves_the_estimate_by_a_fifth() -> None:
    pace = Pace(1.0)
    pace.learn(10, 0.1)  # 10 ms
    pace.learn(10, 0.6)  # 60 ms: now 20 ms
    assert pace.fits(1000) == 50
