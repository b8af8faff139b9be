"""Drift: what has not changed raises no alarm, what has is found and named. Demand here is made, with shifts at known places.

False alarms were measured on more seeds than a test should take: docs/jobs.md.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.demand import drift
from ml.demand.drift import ALL, Finding, Profile
from ml.demand.panel import Panel
from ml.demand.periods import Periods

WEEKS, NEWEST, SERIES = 52, 4, 200


def world(seed: int, shift: str = "", n: int = SERIES, t: int = WEEKS + NEWEST) -> Panel:
    """(N, T) weekly sales: gamma-Poisson about levels of their own, a season, weeks that move all, some cells not known.

    Args: shift: what changes in the last NEWEST weeks.
    """
    rng, new = np.random.default_rng(seed), slice(t - NEWEST, t)
    season = 1 + 0.2 * np.sin(2 * np.pi * np.arange(t) / 52)
    rate = rng.lognormal(1, 1, (n, 1)) * season * np.exp(rng.normal(0, 0.05, t)) * rng.gamma(4, 1 / 4, (n, t))
    price = rng.lognormal(1, 0.5, (n, 1)) * np.where(rng.random((n, t)) < 0.1, 0.8, 1.0)
    if shift == "half of them sell 2.5 times as much, half 0.4 times":
        rate[:, new] *= np.where(rng.random((n, 1)) < 0.5, 2.5, 0.4)
    elif shift in ("all sell twice as much", "all sell three times as much"):
        rate[:, new] *= 2 if "twice" in shift else 3
    elif shift == "a third of the weeks sell nothing":
        rate[:, new] *= np.where(rng.random((n, NEWEST)) < 0.35, 0, 1 / 0.65)
    elif shift == "prices rise by 15 %":
        price[:, new] *= 1.15
    elif shift == "a quarter of the series stop":
        rate[: n // 4, new] = 0
    units = rng.poisson(rate).astype(np.float32)
    units[rng.random((n, t)) < 0.05] = np.nan
    if shift == "a quarter of the series are new":
        units[: n // 4, : t - NEWEST] = np.nan
    names = np.array([f"i{k:03d}" for k in range(n)])
    weeks = Periods("weekly", pd.Timestamp("2025-01-06"), t, True)
    return Panel(np.full(n, "s0"), names, np.full(n, ""), weeks, units, {"price": price.astype(np.float32)})


def judged(panel: Panel) -> list[Finding]:
    return drift.data_findings(drift.profile(panel.until(WEEKS)), panel)


def beyond(panel: Panel) -> set[str]:
    return {f.figure for f in judged(panel) if f.beyond}


def test_demand_that_has_not_changed_raises_at_most_one_alarm_in_25_looks() -> None:
    assert sum(bool(beyond(world(seed))) for seed in range(100, 125)) <= 1


@pytest.mark.parametrize(
    ("shift", "figure"),
    [
        ("all sell three times as much", "level"),
        ("all sell twice as much", "distribution"),
        ("half of them sell 2.5 times as much, half 0.4 times", "distribution"),
        ("a third of the weeks sell nothing", "zero share"),
        ("prices rise by 15 %", "price"),
        ("a quarter of the series stop", "vanished series"),
        ("a quarter of the series are new", "new series"),
    ],
)
def test_a_shift_is_found_and_named(shift: str, figure: str) -> None:
    assert sum(figure in beyond(world(seed, shift)) for seed in range(5)) >= 4


def test_changes_that_cancel_in_the_sum_leave_the_level_alone() -> None:
    shift = "half of them sell 2.5 times as much, half 0.4 times"
    found = {f.figure: f for f in judged(world(1, shift)) if f.segment == ALL}
    assert found["distribution"].beyond
    assert not found["level"].beyond


def test_figures_of_a_segment_are_told_apart() -> None:
    segments = {f.segment for f in judged(world(1)) if f.figure == "level"}
    assert ALL in segments
    assert len(segments) > 1


def test_series_that_have_left_the_lake_have_vanished() -> None:
    whole = world(3)
    learnt = drift.profile(whole.until(WEEKS))
    large = np.nanmean(whole.units, axis=1) > 3
    found = {f.figure: f for f in drift.data_findings(learnt, whole.only(~large))}
    assert found["vanished series"].beyond


def test_with_too_short_a_history_nothing_is_beyond_and_the_limit_says_so() -> None:
    short = world(1, "all sell twice as much", t=7)
    found = drift.data_findings(drift.profile(short.until(3)), short)
    assert all(f.limit == float("inf") and not f.beyond for f in found)


def test_periods_of_another_kind_or_too_few_of_them_are_refused() -> None:
    learnt = drift.profile(world(1).until(WEEKS))
    with pytest.raises(SetupError, match="3 weekly periods are too few to judge: 4 are needed"):
        drift.data_findings(learnt, world(1).until(3))
    days = Panel(*(getattr(world(1), n) for n in ("store", "item", "category")),
                 Periods("daily", pd.Timestamp("2025-01-06"), WEEKS + NEWEST, True), world(1).units)  # fmt: skip
    with pytest.raises(SetupError, match="the release learnt weekly periods, and these are daily"):
        drift.data_findings(learnt, days)


def test_a_profile_is_read_as_it_was_saved_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    panel = world(5)
    learnt = drift.profile(panel.until(WEEKS), {"WAPE": [0.2] * 8, "bias": [0.0] * 8, "coverage 90 %": [0.9] * 8})
    with pytest.raises(SetupError, match="does not say what it learnt from"):
        drift.read(tmp_path)
    drift.save(learnt, tmp_path)
    again = drift.read(tmp_path)
    assert [f.figure for f in drift.data_findings(again, panel)] == [
        f.figure for f in drift.data_findings(learnt, panel)
    ]
    assert again.until == "2026-01-05"  # 52 weeks after Monday, 6 January 2025
    (tmp_path / drift.FILE).write_text(json.dumps({"kind": "weekly"}))
    with pytest.raises(SetupError, match="is damaged"):
        drift.read(tmp_path)


def test_errors_of_a_period_are_the_textbooks() -> None:
    actual = np.array([10, 0, 30, np.nan], np.float32)
    quantiles = np.array([[5, 8, 12, 14, 20], [0, 0, 1, 2, 3], [31, 32, 33, 40, 50], [1, 1, 1, 1, 1]], np.float32)
    found = drift.errors_of(actual, quantiles)
    assert found["WAPE"] == pytest.approx((2 + 1 + 3) / 40)
    assert found["bias"] == pytest.approx((2 + 1 + 3) / 40)
    assert found["coverage 90 %"] == pytest.approx(2 / 3)


def learnt_errors(wape: list[float]) -> Profile:
    usual = {"WAPE": wape, "bias": [0.02, -0.02] * 6, "coverage 90 %": [0.89, 0.91] * 6}
    return Profile("weekly", "2026-01-05", 4, pd.DataFrame(), [], {}, {}, usual)


def test_forecasts_that_err_as_usual_raise_no_alarm_and_ones_that_err_more_do() -> None:
    learnt = learnt_errors([0.28, 0.30, 0.32] * 4)
    usual = {"WAPE": 0.31, "bias": 0.01, "coverage 90 %": 0.9}
    assert not any(f.beyond for f in drift.error_findings(learnt, [usual] * 4))
    found = drift.error_findings(learnt, [{"WAPE": 0.45, "bias": -0.3, "coverage 90 %": 0.7}] * 4)
    assert {f.figure for f in found if f.beyond} == {"WAPE", "bias", "coverage 90 %"}


def test_errors_that_are_smaller_and_intervals_that_cover_more_are_no_alarm() -> None:
    found = drift.error_findings(
        learnt_errors([0.28, 0.32] * 6), [{"WAPE": 0.1, "bias": 0.0, "coverage 90 %": 1.0}] * 4
    )
    assert not any(f.beyond for f in found)


def test_a_release_whose_errors_always_varied_is_allowed_to_vary() -> None:
    wild = learnt_errors([0.1, 0.5] * 6)  # standard deviation 0.21: one week at 0.6 is nothing
    assert not any(f.beyond for f in drift.error_findings(wild, [{"WAPE": 0.6, "bias": 0.0, "coverage 90 %": 0.9}]))


def test_with_no_forecast_that_came_true_there_is_no_figure() -> None:
    assert drift.error_findings(learnt_errors([0.3] * 12), []) == []
