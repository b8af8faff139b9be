"""From a point forecast to a distribution: locally weighted split conformal prediction.

In: forecasts made at earlier origins, with what then happened. Out: quantiles and the mean about any later forecast.

With z = log(units / scale + 0.1) the error e = z - z_forecast is divided by its expected size s(x), learnt by a small
LightGBM model. Empirical quantiles u of e / s, per segment, forecast level and distance ahead, give the units
exp(z_forecast + s u). Source: Lei et al. 2018, J. Am. Stat. Assoc. 113, section 5.2; grouped as in Vovk 2012 (Mondrian).
"""

from __future__ import annotations

from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from inventorybot.domain.demand import LEVELS
from ml.demand.ensemble import RARE
from ml.demand.features import Features, Rows, ahead_rows
from ml.demand.panel import Array, Panel
from ml.demand.trees import OFFSET, logged, units_of

GRID = tuple((i + 0.5) / 40 for i in range(40))
"""Levels over which the mean is taken."""
ROWS = 120_000
"""Residuals that are enough to learn their size from."""
LEARN_FROM = 3_000
"""With fewer residuals their size is not learnt but taken from each series' own variation."""
GROUP_ROWS = 400
"""A group with fewer residuals uses those of a wider one: 20 of them lie beyond each outer quantile."""
LEVEL_BINS = 4
FLAT = 20.0
"""Weight, in residuals, of a normal curve beside the empirical quantiles."""
NORMAL = {0.05: -1.6449, 0.25: -0.6745, 0.5: 0.0, 0.75: 0.6745, 0.95: 1.6449}


@dataclass(frozen=True)
class Residuals:
    """Forecasts of earlier origins beside what happened.

    Args: x: (R, F) features; scale, forecast, actual: (R,), units; step: (R,); segment: (R,) names.
    """

    x: Array
    scale: Array
    forecast: Array
    actual: Array
    step: NDArray[np.int64]
    segment: NDArray[np.str_]


def residuals(panel: Panel, actual: Array, forecast: Array, limit: int, rng: np.random.Generator) -> Residuals:
    """The residuals of one origin: the end of `panel`.

    Args: actual, forecast: (N, H), units; limit: rows at most.
    """
    horizon = forecast.shape[1]
    rows = ahead_rows(panel.n, panel.t, horizon)
    y, f = actual.ravel(), forecast.ravel()
    keep = np.flatnonzero(np.isfinite(y) & np.repeat(_moves(panel.units), horizon))
    if len(keep) > limit:
        keep = rng.choice(keep, limit, replace=False)
    chosen = Rows(rows.series[keep], rows.origin[keep], rows.step[keep])
    x, scale = Features(panel, ids=False).matrix(chosen)
    return Residuals(x, scale, f[keep], y[keep], chosen.step, panel.segments()[chosen.series])


def _moves(units: Array) -> NDArray[np.bool_]:
    """(N,) series that were not constant: those that were say nothing of the errors of others. All, where none moved."""
    known = np.isfinite(units)
    low = np.where(known, units, np.inf).min(axis=1)
    high = np.where(known, units, -np.inf).max(axis=1)
    moved = np.asarray(high > low)
    return np.asarray(moved if moved.any() else known.any(axis=1))


class Distribution:
    """What earlier errors say about later ones.

    Args:
        size: model of the expected |e|; None: each series' own variation.
        columns: names of its features.
        tables: group to quantiles (5 + 40,) of standardised errors.
        edges: LEVEL_BINS - 1 cuts of the forecast level; far: steps from which a forecast counts as far.
    """

    def __init__(
        self,
        size: lgb.Booster | None,
        tables: dict[str, Array],
        edges: NDArray[np.float64],
        far: int,
    ) -> None:
        self.size, self.tables, self.edges, self.far = size, tables, edges, far

    @classmethod
    def fit(cls, parts: list[Residuals], names: list[str], seed: int = 1) -> Distribution:
        """Learns from residuals of one or more origins. Args: names: the features' names."""
        r = _joined(parts)
        base = logged(r.forecast, r.scale)
        error = logged(r.actual, r.scale) - base
        far = int(np.median(r.step)) + 1
        edges = np.quantile(base, np.arange(1, LEVEL_BINS) / LEVEL_BINS)
        half = np.random.default_rng(seed).random(len(error)) < 0.5
        size = _fit_size(r.x[half], error[half], names, seed) if len(error) >= LEARN_FROM else None
        out = cls(size, {}, edges, far)
        rest = ~half if size is not None else np.ones(len(error), bool)
        spread = out._spread(r.x[rest], r.forecast[rest] / r.scale[rest], names, r.segment[rest])
        u = error[rest] / spread
        groups = out._groups(r.segment[rest], base[rest], r.step[rest])
        for depth in range(groups.shape[1]):
            for name in np.unique(groups[:, depth]):
                inside = groups[:, depth] == name
                if depth == 0 or inside.sum() >= GROUP_ROWS:
                    out.tables[name] = _quantiles(u[inside])
        return out

    def apply(self, panel: Panel, forecast: Array) -> tuple[Array, Array]:
        """Mean (N, H) and quantiles (N, H, 5), units, about a forecast (N, H) made at the end of `panel`."""
        n, horizon = forecast.shape
        features = Features(panel, ids=False)
        segment = panel.segments()
        mean, quantiles = np.empty((n, horizon), np.float32), np.empty((n, horizon, len(LEVELS)), np.float32)
        chunk = max(1, 300_000 // horizon)
        for low in range(0, n, chunk):
            rows = ahead_rows(min(chunk, n - low), panel.t, horizon)
            rows = Rows(rows.series + low, rows.origin, rows.step)
            x, scale = features.matrix(rows)
            f = forecast[low : low + chunk].ravel()
            base = logged(f, scale)
            table = self._lookup(self._groups(segment[rows.series], base, rows.step))
            spread = self._spread(x, f / scale, features.names, segment[rows.series])
            q = units_of(base[:, None] + spread[:, None] * table[:, : len(LEVELS)], scale[:, None])
            m = _mean(base, spread, table[:, len(LEVELS) :], scale)
            quantiles[low : low + chunk] = np.sort(q, axis=1).reshape(-1, horizon, len(LEVELS))
            mean[low : low + chunk] = m.reshape(-1, horizon)
        silent = ~(panel.units > 0).any(axis=1)
        mean[silent], quantiles[silent] = 0.0, 0.0
        return mean, quantiles

    def _spread(
        self, x: Array, level: NDArray[np.floating], names: list[str], segment: NDArray[np.str_]
    ) -> NDArray[np.floating]:
        """Expected |e| of each row; 1 for rare demand, whose errors are sales or none and not a matter of size."""
        rare = np.isin(segment, RARE)
        if self.size is None:
            own = np.nan_to_num(x[:, names.index("deviation")], nan=1.0) / (level + OFFSET) + 0.03
            return np.where(rare, 1.0, own)
        wanted = self.size.feature_name()
        if wanted != names:
            x = np.column_stack([x[:, names.index(w)] if w in names else np.full(len(x), np.nan) for w in wanted])
        return np.where(rare, 1.0, np.maximum(np.asarray(self.size.predict(x, num_threads=1)), 0.02))

    def _groups(
        self, segment: NDArray[np.str_], base: NDArray[np.floating], step: NDArray[np.int64]
    ) -> NDArray[np.str_]:
        """(R, 4) names from the widest group to the narrowest."""
        level = np.searchsorted(self.edges, base).astype(str)
        distance = np.where(step >= self.far, "far", "near")
        every = np.full(len(base), "all", dtype="<U40")
        join = np.char.add
        by_level = join(join(segment, "/"), level)
        return np.stack([every, segment.astype("<U40"), by_level, join(join(by_level, "/"), distance)], axis=1)

    def _lookup(self, groups: NDArray[np.str_]) -> Array:
        """(R, 5 + 40): quantiles of the narrowest group known."""
        names, inverse = np.unique(groups[:, -1], return_inverse=True)
        first = np.zeros(len(names), np.int64)
        first[inverse[::-1]] = np.arange(len(groups))[::-1]
        found = [self.tables[next(g for g in groups[row, ::-1] if g in self.tables)] for row in first]
        return np.asarray(found, np.float32)[inverse]


def _joined(parts: list[Residuals]) -> Residuals:
    fields = ("x", "scale", "forecast", "actual", "step", "segment")
    return Residuals(*(np.concatenate([getattr(p, f) for p in parts]) for f in fields))


def _fit_size(x: Array, error: NDArray[np.floating], names: list[str], seed: int) -> lgb.Booster:
    params = {
        "objective": "regression", "learning_rate": 0.08, "num_leaves": 15, "min_data_in_leaf": 100, "max_bin": 63,
        "feature_fraction": 0.5, "num_threads": 1, "seed": seed, "deterministic": True, "verbose": -1,
    }  # fmt: skip
    return lgb.train(params, lgb.Dataset(x, np.minimum(np.abs(error), 3.0), feature_name=names), 80)


def _quantiles(u: NDArray[np.floating]) -> Array:
    """Quantiles at LEVELS and at GRID; drawn to a normal curve where residuals are few.

    The outer levels take the conformal step of one residual outwards. Source: Vovk, Gammerman, Shafer 2005.
    """
    n = len(u)
    level = np.array([*LEVELS, *GRID])
    outward = np.where(level > 0.5, np.minimum(level * (n + 1) / n, 1), np.maximum(level - (1 - level) / n, 0))
    own = np.quantile(u, outward)
    if n >= 10 * FLAT:
        return np.asarray(own, np.float32)
    middle, width = float(np.median(u)), max(float(np.mean(np.abs(u - np.median(u)))) * 1.2533, 1e-3)
    normal = middle + width * np.interp(level, list(NORMAL), list(NORMAL.values()))
    return np.asarray((n * own + FLAT * normal) / (n + FLAT), np.float32)


def _mean(base: NDArray[np.floating], spread: NDArray[np.floating], grid: Array, scale: Array) -> NDArray[np.floating]:
    return np.asarray(units_of(base[:, None] + spread[:, None] * grid, scale[:, None]).mean(axis=1))
