"""Intervals hold the share of what comes that they say. Run: pytest tests/unit/demand/test_distribution.py"""

from __future__ import annotations

import numpy as np

from ml.demand.distribution import Distribution, residuals
from ml.demand.features import Features
from tests.unit.demand.makers import panel, poisson


def fitted(units: np.ndarray, levels: np.ndarray, origins: tuple[int, ...]) -> Distribution:
    """A distribution about a forecast that knows each series' true mean."""
    rng = np.random.default_rng(1)
    p = panel(units)
    f = np.repeat(levels, 4, axis=1).astype(np.float32)
    parts = [residuals(p.until(o), p.units[:, o : o + 4], f, 50_000, rng) for o in origins]
    return Distribution.fit(parts, Features(p.until(40), ids=False).names)


def test_ninety_percent_of_later_sales_lie_within_the_interval_for_small_and_large_sellers() -> None:
    rng = np.random.default_rng(3)
    levels = np.concatenate([rng.uniform(3, 6, (150, 1)), rng.uniform(80, 160, (150, 1))])
    units = rng.poisson(levels, (300, 64)).astype(np.float64)
    found = fitted(units, levels, (52, 56))
    p = panel(units).until(60)
    mean, q = found.apply(p, np.repeat(levels, 4, axis=1).astype(np.float32))
    later = units[:, 60:]
    inside = (later >= q[:, :, 0]) & (later <= q[:, :, 4])
    assert 0.86 < inside[150:].mean() < 0.94
    assert 0.86 < inside[:150].mean() < 0.97  # whole units: an interval of few holds more than it must
    assert (np.diff(q, axis=2) >= 0).all()
    assert abs(mean.sum() / later.sum() - 1) < 0.03


def test_rare_demand_keeps_its_mean_though_its_median_is_zero() -> None:
    rng = np.random.default_rng(4)
    units = rng.poisson(3, (300, 64)) * (rng.random((300, 64)) < 0.3)
    levels = np.full((300, 1), 0.9)
    mean, q = fitted(units.astype(np.float64), levels, (52, 56)).apply(
        panel(units.astype(np.float64)).until(60), np.full((300, 4), 0.9, np.float32)
    )
    assert q[:, :, 2].max() < 0.2
    assert 0.75 < mean.mean() < 1.05  # 0.3 * 3 = 0.9


def test_what_never_sold_is_forecast_as_zero_with_certainty() -> None:
    units = poisson(30, 40)
    units[0] = 0
    found = fitted(units, units.mean(axis=1, keepdims=True), (30, 34))
    mean, q = found.apply(panel(units), np.ones((30, 4), np.float32))
    assert mean[0].tolist() == [0.0] * 4
    assert q[0].max() == 0.0
