"""Gradient-boosted trees across all series: one LightGBM model for every series and step ahead.

In: a Panel. Out: forecasts (N, H), and LightGBM's own text to save.

It learns log(units / scale + 0.1) under squared error, so it predicts near the median of what is roughly log-normal, in
less time than the absolute-error objective and with less error on held-back weeks (docs/adr/0009-demand-forecaster.md).
Source: Ke et al. 2017, NeurIPS 30.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from ml.demand.features import Features, ahead_rows, draw_rows
from ml.demand.panel import Array, Panel

OFFSET = 0.1
"""Added before the logarithm, as a share of a series' scale: zero sales stay finite."""
CHUNK = 500_000
"""Rows predicted at a time: 100 MB of features."""


@dataclass(frozen=True, slots=True)
class TreesConfig:
    """How the trees are grown; chosen on weeks before the last thirteen of the grocery data."""

    rounds: int = 300
    learning_rate: float = 0.05
    num_leaves: int = 31
    min_data_in_leaf: int = 50
    feature_fraction: float = 0.5
    max_bin: int = 63
    rows: int = 250_000
    origins: int = 104
    weight_power: float = 0.25  # of a row's scale: large sellers count more, as they do in WAPE
    threads: int = 1  # two threads that share a core with others spin: 4x the CPU seconds, measured
    seed: int = 1


class Trees:
    """One booster and what it was trained on.

    Args: booster: trained; horizon: steps it has learnt, >= 1; known: covariates planned ahead.
    """

    def __init__(self, booster: lgb.Booster, horizon: int, known: tuple[str, ...] = (), threads: int = 1) -> None:
        self.booster, self.horizon, self.known, self.threads = booster, horizon, known, threads

    @classmethod
    def fit(cls, panel: Panel, horizon: int, config: TreesConfig, known: tuple[str, ...] = ()) -> Trees:
        """Trains on what the panel holds. Args: horizon: steps ahead, >= 1."""
        source = panel.tamed()
        features = Features(source, known, ids=False)
        rows = draw_rows(source, horizon, config.rows, np.random.default_rng(config.seed), config.origins)
        x, scale = features.matrix(rows)
        z = logged(features.targets(rows), scale)
        data = lgb.Dataset(x, z, weight=scale**config.weight_power, feature_name=features.names)
        booster = lgb.train(_params(config, len(rows)), data, config.rounds)
        return cls(booster, horizon, known, config.threads)

    def predict(self, panel: Panel, horizon: int) -> Array:
        """Units forecast for the `horizon` periods after the panel; (N, H), >= 0."""
        features = Features(panel.tamed(), self.known, ids=False)
        out = np.empty((panel.n, horizon), np.float32)
        step = max(1, CHUNK // horizon)
        for low in range(0, panel.n, step):
            rows = ahead_rows(min(step, panel.n - low), panel.t, horizon)
            x, scale = features.matrix(type(rows)(rows.series + low, rows.origin, rows.step))
            z = np.asarray(self.booster.predict(self._columns(x, features), num_threads=self.threads))
            out[low : low + step] = units_of(z, scale).reshape(-1, horizon)
        return out

    def _columns(self, x: Array, features: Features) -> Array:
        """The columns the booster knows, in its order; unknown where this panel has none. Steps are clipped to those learnt."""
        wanted, have = self.booster.feature_name(), features.names
        if "step" in have:
            at = have.index("step")
            x[:, at] = np.minimum(x[:, at], self.horizon)
        if wanted == have:
            return x
        out = np.full((len(x), len(wanted)), np.nan, np.float32)
        for i, name in enumerate(wanted):
            if name in have:
                out[:, i] = x[:, have.index(name)]
        return out


def logged(units: NDArray[np.floating], scale: NDArray[np.floating]) -> NDArray[np.floating]:
    """log(units / scale + 0.1): what models learn. Args: units >= 0 and scale > 0, same shape, in units."""
    return np.asarray(np.log(np.maximum(units, 0) / scale + OFFSET))


def units_of(z: NDArray[np.floating], scale: NDArray[np.floating]) -> NDArray[np.floating]:
    """The inverse of `logged`, never below zero; z is bounded so that it stays finite."""
    return np.asarray(np.maximum(np.exp(np.clip(z, -20, 12)) - OFFSET, 0) * scale)


def _params(config: TreesConfig, rows: int) -> dict[str, object]:
    chosen = asdict(config)
    names = ("learning_rate", "num_leaves", "feature_fraction", "max_bin", "seed")
    leaf = max(3, min(config.min_data_in_leaf, rows // 40))  # few rows: else not one split is made
    return {k: chosen[k] for k in names} | {
        "objective": "regression",
        "min_data_in_leaf": leaf,
        "num_threads": config.threads,
        "deterministic": True,
        "verbose": -1,
    }
