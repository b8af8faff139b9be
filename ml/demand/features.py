"""What a model sees of a series at a period of origin, for a period ahead.

In: a Panel, rows (series, origin, steps ahead). Out: a float32 matrix, targets and the scale they were divided by. Only
periods before the origin are read, except covariates that are known ahead and the calendar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.demand.panel import Array, Ints, Panel
from ml.demand.periods import SEASON, WINDOWS, YEAR

LAGS = 8
GROUP = ("trend", "year", "last", "before_last", "week")
"""What is seen of each group: its trend, last year's move to the target's season and period, and its latest periods."""
MIN_HISTORY = 3
"""Periods before the first origin to learn from."""
SAME_PHASE = 4
"""Seasons back that the mean of the same phase looks."""


@dataclass(frozen=True)
class Rows:
    """Questions to a model: how much will `series` sell `step` periods after what was known before `origin`?

    Args: series, origin, step: (R,); step counts from 1, so the target period is origin + step - 1.
    """

    series: Ints
    origin: Ints
    step: Ints

    @property
    def target(self) -> Ints:
        return self.origin + self.step - 1

    def __len__(self) -> int:
        return len(self.series)


class Features:
    """Computes features of one panel; keeps the sums that every row shares.

    Args: panel: what is known; known: names of covariates that a plan fixes ahead (price, promotions, holidays).
    """

    def __init__(self, panel: Panel, known: tuple[str, ...] = (), *, ids: bool = True) -> None:
        self.panel, self.known, self.ids = panel, known, ids
        kind = panel.periods.kind
        self.year, self.season, self.windows = YEAR[kind], SEASON[kind], WINDOWS[kind]
        self.pad = 2 * self.year + 1
        y = panel.units.astype(np.float64)
        self.seen = _sums(np.isfinite(y))
        self.sum = _sums(np.nan_to_num(y))
        self.squares = _sums(np.nan_to_num(y) ** 2)
        self.sold = _sums(y > 0)
        self.padded = np.pad(panel.units, ((0, 0), (self.pad, 0)), constant_values=np.nan)
        self.groups = self._groups(y)
        self.last_sale = _last_sale(y)
        self.codes = [np.unique(names, return_inverse=True)[1] for names in (panel.store, panel.item, panel.category)]

    def _groups(self, y: NDArray[np.float64]) -> list[_Group]:
        """All series, those of each store and those of each item; what the panel does not hold is told by `Panel.wider`."""
        p = self.panel
        every = np.zeros(p.n, np.int64)
        stores, store = np.unique(p.store, return_inverse=True)
        items = _group(y, np.unique(p.item, return_inverse=True)[1])
        if p.wider is None:
            return [_group(y, every), _group(y, store), items]
        of_stores = np.stack([p.wider.store[s] for s in stores])
        return [_Group(every, _sums(p.wider.every[None])), _Group(store, _sums(of_stores)), items]

    @property
    def names(self) -> list[str]:
        """The columns, in order."""
        lags = [f"lag{k}" for k in range(1, LAGS + 1)]
        means = [f"mean{w}" for w in self.windows]
        groups = [f"{g}_{what}" for g in ("all", "store", "item") for what in GROUP]
        fixed = ["median", "deviation", "least", "most", "sold_share", "sold_share_long", "since_sale", "age", "scale"]
        ahead = ["step", "year_ago", "year_about", "two_years_ago", "same_phase", "sin", "cos", "weekday", "month_day"]
        covariates = [f"{_plain(name)}_{what}" for name in sorted(self.panel.covariates) for what in ("last", "level")]
        plans = [f"{_plain(name)}_plan" for name in self.known]
        ids = ["store", "item", "category"] if self.ids else []
        return [*lags, *means, *fixed, *groups, *ahead, *covariates, *plans, *ids]

    def scale(self, series: Ints, origin: Ints) -> Array:
        """What a series is measured against: mean units a period over the last half year, at least a tenth of all time.

        Returns: (R,), units, > 0.
        """
        recent = self._mean(series, origin, self.windows[3])
        ever = self._mean(series, origin, self.panel.t)
        floor = np.nan_to_num(ever) * 0.1
        return np.maximum(np.maximum(np.nan_to_num(recent), floor), 1e-2).astype(np.float32)

    def matrix(self, rows: Rows) -> tuple[Array, Array]:
        """Features (R, F), NaN where unknown, and the scale (R,) in units by which targets are to be divided."""
        s, o = rows.series, rows.origin
        scale = self.scale(s, o)
        window = self.padded[s[:, None], (self.pad + o)[:, None] - np.arange(1, self.windows[2] + 1)]  # (R, W)
        with np.errstate(invalid="ignore"):
            lags = _wide(window, LAGS) / scale[:, None]
            means = [self._mean(s, o, w) / scale for w in self.windows]
            fixed = self._shape(window, s, o, scale)
            groups = [x for g in self.groups for x in self._group_features(g, s, rows)]
            ahead = self._ahead(rows, scale)
        columns = [*means, *fixed, *groups, *ahead, *self._covariates(rows)]
        if self.ids:
            columns += [codes[s].astype(np.float32) for codes in self.codes]
        out = np.empty((len(rows), LAGS + len(columns)), np.float32)
        out[:, :LAGS] = lags
        for i, column in enumerate(columns):
            out[:, LAGS + i] = column
        return out, scale

    def targets(self, rows: Rows) -> Array:
        """Units sold at each row's target period; (R,), NaN where not known."""
        return self.panel.units[rows.series, rows.target]

    def _mean(self, series: Ints, origin: Ints, window: int) -> NDArray[np.float64]:
        low = np.maximum(origin - window, 0)
        n = self.seen[series, origin] - self.seen[series, low]
        total = self.sum[series, origin] - self.sum[series, low]
        return np.where(n > 0, total / np.maximum(n, 1), np.nan)

    def _shape(self, window: Array, s: Ints, o: Ints, scale: Array) -> list[NDArray[np.floating]]:
        """Median, spread, extremes, how often it sells, for how long it has not, its age and its size."""
        w, long = self.windows[2], self.windows[4]
        low, far = np.maximum(o - w, 0), np.maximum(o - long, 0)
        n = np.maximum(self.seen[s, o] - self.seen[s, low], 1)
        mean = (self.sum[s, o] - self.sum[s, low]) / n
        square = (self.squares[s, o] - self.squares[s, low]) / n
        known = np.isfinite(window)
        ordered = np.sort(np.where(known, window, np.inf), axis=1)
        count = known.sum(axis=1)
        rows = np.arange(len(window))
        middle = (ordered[rows, np.maximum(count - 1, 0) // 2] + ordered[rows, np.maximum(count // 2, 0) % w]) / 2
        middle = np.where(count > 0, middle, np.nan)
        most = ordered[rows, np.maximum(count - 1, 0)]
        return [
            middle / scale,
            np.sqrt(np.maximum(square - mean**2, 0)) / scale,
            np.where(count > 0, ordered[:, 0], np.nan) / scale,
            np.where(count > 0, most, np.nan) / scale,
            (self.sold[s, o] - self.sold[s, low]) / n,
            (self.sold[s, o] - self.sold[s, far]) / np.maximum(self.seen[s, o] - self.seen[s, far], 1),
            np.log1p(o - self.last_sale[s, o]),
            np.log1p(np.minimum(self.seen[s, o], 2 * self.year)),
            np.log(scale),
        ]

    def _group_features(self, g: _Group, s: Ints, rows: Rows) -> list[NDArray[np.floating]]:
        """How a group's level moved lately, and how it moved from this origin to the target a year ago."""
        codes, o, target = g.codes[s], rows.origin, rows.target
        short, middle = self.windows[1], self.windows[2]
        trend = g.mean(codes, o, short) / g.mean(codes, o, middle)
        then = g.mean(codes, np.minimum(target - self.year + 2, o), 3 if self.year > 12 else 1)
        before = g.mean(codes, o - self.year, middle)
        long_ago = o - self.year >= short
        week = g.mean(codes, np.minimum(target - self.year + 1, o), 1)
        level = g.mean(codes, o, middle)
        last, before_last = g.mean(codes, o, 1) / level, g.mean(codes, o - 1, 1) / level
        return [
            trend,
            np.where(long_ago, then / before, np.nan),
            last,
            before_last,
            np.where(long_ago, week / before, np.nan),
        ]

    def _ahead(self, rows: Rows, scale: Array) -> list[NDArray[np.floating]]:
        s, o, target = rows.series, rows.origin, rows.target
        at = self.pad + target
        limit = self.pad + o - 1
        year = self.padded[s, np.minimum(at - self.year, limit)]
        about = np.stack([self.padded[s, np.minimum(at - self.year + d, limit)] for d in (-1, 0, 1)])
        two = self.padded[s, np.maximum(np.minimum(at - 2 * self.year, limit), 0)]
        phase = self._same_phase(s, o, target)
        first = int(rows.target.min())
        turn = self.panel.periods.position(first, int(rows.target.max()) + 1)[target - first] * 2 * np.pi
        weekday, month_day = self._days(target)
        blank = [year / scale, _nanmean(about) / scale, two / scale, phase / scale]
        return [rows.step.astype(np.float64), *blank, np.sin(turn), np.cos(turn), weekday, month_day]

    def _same_phase(self, s: Ints, o: Ints, target: Ints) -> NDArray[np.floating]:
        """Mean of the last four known periods of the target's phase in the season."""
        back = -(-(target - o + 1) // self.season) * self.season
        at = self.pad + target - back
        return _nanmean(np.stack([self.padded[s, np.maximum(at - k * self.season, 0)] for k in range(SAME_PHASE)]))

    def _days(self, target: Ints) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        if not self.panel.periods.dated:
            return np.full(len(target), np.nan), np.full(len(target), np.nan)
        first = int(target.min())
        days = self.panel.periods.dates(first, int(target.max()) + 1)
        at = target - first
        return days.dayofweek.to_numpy(np.float64)[at], days.day.to_numpy(np.float64)[at]

    def _covariates(self, rows: Rows) -> list[NDArray[np.floating]]:
        """Of each covariate its last value and its level lately; of those planned, the plan against that level."""
        s, o, w = rows.series, rows.origin, self.windows[3]
        out: list[NDArray[np.floating]] = []
        level = {}
        for name in sorted(self.panel.covariates):
            values = self.panel.covariates[name]
            total, n = _sums(np.nan_to_num(values)), _sums(np.isfinite(values))
            low = np.maximum(o - w, 0)
            seen = n[s, o] - n[s, low]
            level[name] = np.where(seen > 0, (total[s, o] - total[s, low]) / np.maximum(seen, 1), np.nan)
            last = values[s, np.maximum(o - 1, 0)]
            out += [last - level[name] if name != "price" else last / level[name], level[name]]
        for name in self.known:
            if name not in level:  # learnt from a table that had it
                out.append(np.full(len(s), np.nan))
                continue
            values = self.panel.covariates[name]
            plan = values[s, np.minimum(rows.target, values.shape[1] - 1)]
            plan = np.where(rows.target < values.shape[1], plan, np.nan)
            out.append(plan / level[name] if name == "price" else plan)
        return out


def _plain(name: str) -> str:
    """A name that LightGBM takes as it is: it refuses some characters and renames others."""
    return re.sub(r"[^0-9a-z_]", lambda found: f"u{ord(found[0]):x}", name)


@dataclass(frozen=True)
class _Group:
    """Running sums of the mean sales of groups of series."""

    codes: Ints
    sums: NDArray[np.float64]  # (G, T + 1)

    def mean(self, codes: Ints, stop: Ints, window: int) -> NDArray[np.float64]:
        """Mean over the `window` periods before `stop`; NaN where they lie before the history."""
        stop = np.minimum(stop, self.sums.shape[1] - 1)
        low = np.maximum(stop - window, 0)
        total = self.sums[codes, np.maximum(stop, 0)] - self.sums[codes, low]
        return np.where(stop > low, np.maximum(total, 1e-9) / np.maximum(stop - low, 1), np.nan)


def _group(y: NDArray[np.float64], codes: Ints) -> _Group:
    """Sums of groups; an unknown value counts as the mean of its group's known ones, so that a gap is no fall."""
    total = np.zeros((int(codes.max()) + 1, y.shape[1]))
    known = np.zeros_like(total)
    np.add.at(total, codes, np.nan_to_num(y))
    np.add.at(known, codes, np.isfinite(y))
    return _Group(codes, _sums(total / np.maximum(known, 1)))


def _sums(values: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float64]:
    """Running sums with a leading zero: (N, T) to (N, T + 1)."""
    out = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, dtype=np.float64, out=out[:, 1:])
    return out


def _last_sale(y: NDArray[np.float64]) -> Ints:
    """(N, T + 1): the last period with a sale before each origin; -1 before the first."""
    at = np.where(y > 0, np.arange(y.shape[1]), -1)
    out = np.full((y.shape[0], y.shape[1] + 1), -1, np.int64)
    np.maximum.accumulate(at, axis=1, out=out[:, 1:])
    return out


def _nanmean(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Mean over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    return np.where(
        known.any(axis=0), np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan
    )


def _wide(window: Array, lags: int) -> Array:
    """The first `lags` columns; unknown ones where the window is shorter."""
    if window.shape[1] >= lags:
        return window[:, :lags]
    return np.pad(window, ((0, 0), (0, lags - window.shape[1])), constant_values=np.nan)


def draw_rows(panel: Panel, horizon: int, limit: int, rng: np.random.Generator, origins: int = 60) -> Rows:
    """Rows to learn from: targets known, within the history, at most `limit` of them, spread over the latest origins."""
    first = MIN_HISTORY if panel.t > MIN_HISTORY + 1 else 1
    at = np.arange(first, panel.t)[-origins:]  # (O,)
    n = min(limit, panel.n * len(at) * horizon)
    series = rng.integers(0, panel.n, n)
    origin = rng.choice(at, n)
    step = rng.integers(1, horizon + 1, n)
    inside = origin + step - 1 < panel.t
    series, origin, step = series[inside], origin[inside], step[inside]
    known = np.isfinite(panel.units[series, origin + step - 1])
    return Rows(series[known], origin[known], step[known])


def ahead_rows(series: int, origin: int, horizon: int) -> Rows:
    """Every series at one origin, all steps: row i * horizon + h is series i, step h + 1."""
    return Rows(
        np.repeat(np.arange(series), horizon),
        np.full(series * horizon, origin),
        np.tile(np.arange(1, horizon + 1), series),
    )
