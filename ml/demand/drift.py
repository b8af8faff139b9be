"""Has demand moved away from what a release learnt? Figures of the newest periods, a limit for each, and a test.

In: a Panel at training; the newest periods and the stored forecasts of them later. Out: a Profile, kept with the release
(drift.json); Findings: each figure, its limit, and whether it is beyond.

Data, by segment: level (log ratio of units to what the training means make), distribution (population stability index of units
over a series' own mean), zero share, price, new and vanished series. Error: WAPE, bias and coverage of stored forecasts.

Test. The training window tells what is usual: each of its own stretches against the rest of it, or each held-back period. A
figure is beyond its limit if it is larger than matters (its floor) and outside the prediction interval of the usual values,
Student's t with Bonferroni's correction, so that all figures together give a false alarm in at most ALARM of the looks.

Sources: Siddiqi 2006, Credit Risk Scorecards, ch. 9 (population stability index); Hahn, Meeker 1991, Statistical Intervals, 4.7.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from inventorybot.errors import SetupError
from ml.demand.panel import Array, Panel

FILE = "drift.json"
SERIES = ("store", "item", "segment", "mean", "zero", "price")
ALARM = 0.01
"""Of looks at demand that has not changed, at most this share may find that it has, of data and errors each."""
WINDOW = {"daily": 14, "weekly": 4, "monthly": 2}
"""The newest periods that are judged: long enough to average the noise of a day, short enough to notice within a month."""
USUAL = 13
"""Stretches of the training window that tell what is usual: of four weeks, a year of seasons."""
STRETCHES = 8
"""A short history is cut into so many: with fewer the interval of what is usual is so wide that nothing is outside."""
LEAST_USUAL = 4
"""With fewer nobody can say what is usual, and no figure is beyond its limit."""
LEAST_SERIES = 10
"""A segment with fewer series is judged with all others only."""
BINS = 8
GONE = 5.0
"""A series that was expected to sell so many units and sold none has vanished: chance 0.7 %, were it Poisson's."""
ALL = "all"


@dataclass(frozen=True, slots=True)
class Figure:
    """Floor: what matters, in the figure's own unit. Sides: 2: more and less alike; 1: only more; -1: only less.

    Root: values are positive and skewed, as sums of squares are: the interval is that of their square roots.
    """

    floor: float
    sides: int = 1
    root: bool = False


DATA = {
    "level": Figure(0.15, 2),
    "distribution": Figure(0.2, root=True),
    "zero share": Figure(0.1, 2),
    "price": Figure(0.05),
    "new series": Figure(0.1),
    "vanished series": Figure(0.1),
}
"""level, price: log ratios (0.15: 16 % more); distribution: PSI (0.1 to 0.25 is some change, more is much); the others: shares."""
ERROR = {"WAPE": Figure(0.15, root=True), "bias": Figure(0.1, 2), "coverage 90 %": Figure(0.05, -1)}
"""WAPE: relative to the usual one; the others: differences of shares."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure. Args: value: now; usual: mean of the usual values; limit: distance from it that is allowed; beyond: it is further."""

    kind: str
    figure: str
    segment: str
    value: float
    usual: float
    limit: float
    beyond: bool

    @property
    def share(self) -> float:
        """How much of the limit is used, 1 being all of it; in the direction that counts."""
        return self._distance / self.limit if self.limit and np.isfinite(self.limit) else 0.0

    @property
    def _distance(self) -> float:
        sides, gap = {**DATA, **ERROR}[self.figure].sides, self.value - self.usual
        return max(abs(gap) if sides == 2 else gap * sides, 0.0)

    def text(self) -> str:
        """In words."""
        of = "" if self.segment == ALL else f" of {self.segment} series"
        return f"{self.figure}{of} is {self.value:.3f}, usual is {self.usual:.3f} ± {self.limit:.3f}"


@dataclass(frozen=True)
class Profile:
    """What a release learnt from, in figures.

    Args:
        kind: of the periods; until: the first day after the training window; window: periods that are judged.
        series: store, item, segment, mean (units a period), zero (share), price.
        edges: (BINS,) inner edges of units over the mean; bins: segment to (BINS + 1,) shares.
        usual: figure to segment to what the window's own stretches gave; errors: figure to what held-back periods gave.
    """

    kind: str
    until: str
    window: int
    series: pd.DataFrame
    edges: list[float]
    bins: dict[str, list[float]]
    usual: dict[str, dict[str, list[float]]]
    errors: dict[str, list[float]] = field(default_factory=dict)


def profile(panel: Panel, errors: dict[str, list[float]] | None = None) -> Profile:
    """The profile of a training window. Args: errors: of `held_back_errors`; none: errors cannot be judged later."""
    window = max(1, min(WINDOW[panel.periods.kind], panel.t // STRETCHES))
    segment = panel.segments()
    price = panel.covariates.get("price")
    price = None if price is None else price[:, : panel.t]
    whole = _Reference.of(panel.units, price, segment)
    usual: dict[str, dict[str, list[float]]] = {}
    for stop in range(panel.t, window, -window)[:USUAL]:
        stretch = np.arange(stop - window, stop)
        rest = np.setdiff1d(np.arange(panel.t), stretch)
        old = np.asarray(np.isfinite(panel.units[:, : stop - window]).any(axis=1))
        reference = _Reference.of(panel.units[:, rest], None if price is None else price[:, rest], segment)
        found = reference.figures(
            panel.units[:, stretch], None if price is None else price[:, stretch], old, np.zeros(panel.n, bool)
        )
        for (figure, name), value in found.items():
            usual.setdefault(figure, {}).setdefault(name, []).append(value)
    series = pd.DataFrame(
        {"store": panel.store.astype(object), "item": panel.item.astype(object), "segment": segment.astype(object)}
    )
    series = series.assign(mean=whole.mean, zero=whole.zero, price=whole.price)
    until = panel.periods.labels(panel.t, panel.t + 1)[0]
    bins = {name: shares.tolist() for name, shares in whole.bins.items()}
    return Profile(panel.periods.kind, until, window, series, whole.edges.tolist(), bins, usual, errors or {})


def held_back_errors(folds: Sequence[tuple[Array, Array]]) -> dict[str, list[float]]:
    """WAPE, bias and coverage of every held-back period. Args: folds: units (N, H) and their forecast quantiles (N, H, 5)."""
    out: dict[str, list[float]] = {name: [] for name in ERROR}
    for actual, quantiles in folds:
        for h in range(actual.shape[1]):
            for name, value in errors_of(actual[:, h], quantiles[:, h]).items():
                out[name].append(value)
    return out


def errors_of(actual: Array, quantiles: Array) -> dict[str, float]:
    """WAPE, bias and coverage of one period; NaN where nothing was sold or known. Args: actual: (N,); quantiles: (N, 5)."""
    known = np.isfinite(actual)
    y, q = actual[known].astype(np.float64), quantiles[known].astype(np.float64)
    sold = y.sum() or np.nan
    inside = (y >= q[:, 0]) & (y <= q[:, -1])
    median = q[:, q.shape[1] // 2]
    return {
        "WAPE": float(np.abs(y - median).sum() / sold),
        "bias": float((median - y).sum() / sold),
        "coverage 90 %": float(inside.mean()) if len(y) else float("nan"),
    }


def data_findings(learnt: Profile, newest: Panel) -> list[Finding]:
    """Each figure of the newest periods by segment. Args: newest: series of which the last `learnt.window` periods are judged.

    Raises: SetupError: other periods than those learnt from, or too few of them.
    """
    if newest.periods.kind != learnt.kind:
        raise SetupError(f"the release learnt {learnt.kind} periods, and these are {newest.periods.kind}")
    if newest.t < learnt.window:
        raise SetupError(f"{newest.t} {learnt.kind} periods are too few to judge: {learnt.window} are needed")
    now = pd.DataFrame(
        {"store": newest.store.astype(object), "item": newest.item.astype(object), "row": np.arange(newest.n)}
    )
    both = learnt.series.merge(now, on=["store", "item"], how="outer")
    row = both["row"].fillna(-1).to_numpy(np.int64)
    price = newest.covariates.get("price")
    units = _taken(newest.units[:, newest.t - learnt.window :], row)
    prices = None if price is None else _taken(price[:, newest.t - learnt.window : newest.t], row)
    mean, zero, before = (both[name].to_numpy(np.float64) for name in ("mean", "zero", "price"))
    bins = {name: np.array(shares) for name, shares in learnt.bins.items()}
    reference = _Reference(mean, zero, before, both["segment"].fillna("").to_numpy(str), np.array(learnt.edges), bins)
    found = reference.figures(units, prices, np.isfinite(mean), row < 0)
    return _judged("data", DATA, found, learnt.usual, 1)


def error_findings(learnt: Profile, periods: Sequence[dict[str, float]]) -> list[Finding]:
    """Each figure of the periods that have come true. Args: periods: `errors_of` each of them."""
    usual = {name: {ALL: [v for v in values if np.isfinite(v)]} for name, values in learnt.errors.items()}
    kept = {name: [p[name] for p in periods if np.isfinite(p[name])] for name in ERROR}
    means = {(name, ALL): float(np.mean(values)) for name, values in kept.items() if values}
    return _judged("error", ERROR, means, usual, min((len(v) for v in kept.values()), default=0))


def _judged(
    kind: str,
    rules: dict[str, Figure],
    found: dict[tuple[str, str], float],
    usual: dict[str, dict[str, list[float]]],
    n: int,
) -> list[Finding]:
    """Args: n: values that each figure is the mean of; the usual ones are single."""
    out = []
    for (figure, segment), value in found.items():
        rule, known = rules[figure], np.array(usual.get(figure, {}).get(segment, []))
        center, limit = (float(known.mean()), np.inf) if len(known) else (float("nan"), np.inf)
        if len(known) >= LEAST_USUAL:
            tail = 1 - ALARM / len(found) / (2 if rule.sides == 2 else 1)
            center, width = _interval(known, n, tail, rule.root)
            limit = max(width, rule.floor * (center if figure == "WAPE" else 1.0))
        one = Finding(kind, figure, segment, value, center, float(limit), False)
        out.append(Finding(**{**asdict(one), "beyond": one.share > 1}))
    return out


def _interval(known: NDArray[np.float64], n: int, tail: float, root: bool) -> tuple[float, float]:
    """The middle of the usual values, and how far above it the prediction interval of the mean of `n` more reaches."""
    values = np.sqrt(known) if root else known
    spread = values.std(ddof=1) * np.sqrt(1 / n + 1 / len(known))
    middle, width = float(values.mean()), float(stats.t.ppf(tail, len(known) - 1) * spread)
    return (middle**2, (middle + width) ** 2 - middle**2) if root else (middle, width)


@dataclass(frozen=True)
class _Reference:
    """What demand is compared with: (N,) mean, zero share, price and segment of each series, and shares of bins by segment."""

    mean: NDArray[np.float64]
    zero: NDArray[np.float64]
    price: NDArray[np.float64]
    segment: NDArray[np.str_]
    edges: NDArray[np.float64]
    bins: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, units: Array, price: Array | None, segment: NDArray[np.str_]) -> _Reference:
        known = np.isfinite(units)
        seen = np.maximum(known.sum(axis=1), 1)
        blank = ~known.any(axis=1)
        mean = np.where(blank, np.nan, np.nansum(units, axis=1) / seen).astype(np.float64)
        zero = np.where(blank, np.nan, (units == 0).sum(axis=1) / seen)
        scaled = _scaled(units, mean)
        sold = scaled[np.isfinite(scaled) & (scaled > 0)]
        edges = np.quantile(sold, np.arange(1, BINS) / BINS) if len(sold) else np.arange(1.0, BINS)
        prices = np.full(len(units), np.nan) if price is None else _mean_price(price)
        out = cls(mean, zero, prices, segment, np.concatenate([[0.0], edges]), {})
        out.bins.update({name: _shares(scaled[rows], out.edges) for name, rows in out._groups().items()})
        return out

    def figures(
        self, units: Array, price: Array | None, old: NDArray[np.bool_], absent: NDArray[np.bool_]
    ) -> dict[tuple[str, str], float]:
        """Every figure by segment. Args: units, price: (N, W); old, absent: (N,) series that are not new, that have no row."""
        out: dict[tuple[str, str], float] = {}
        scaled, there = _scaled(units, self.mean), np.isfinite(units) & np.isfinite(self.mean)[:, None]
        cells, sold = there.sum(axis=1), np.where(there, units, 0).sum(axis=1, dtype=np.float64)
        ratio = np.full(len(units), np.nan) if price is None else np.abs(np.log(_mean_price(price) / self.price))
        for name, rows in self._groups().items():
            expected = np.nansum(self.mean[rows] * cells[rows])
            if not expected > 0:
                continue
            out["level", name] = float(np.log(max(sold[rows].sum(), 0.5) / expected))
            out["distribution", name] = _psi(_shares(scaled[rows], self.edges), self.bins[name])
            zeros = (there[rows] & (units[rows] == 0)).sum() - np.nansum(self.zero[rows] * cells[rows])
            out["zero share", name] = float(zeros / cells[rows].sum())
            if np.isfinite(ratio[rows]).any():
                out["price", name] = float(np.nanmean(ratio[rows]))
        total, learnt = np.nansum(units), np.nansum(np.where(old, self.mean, 0))
        out["new series", ALL] = float(np.nansum(units[~old]) / total) if total else 0.0
        silent = (cells > 0) & (sold == 0) & (self.mean * cells >= GONE)
        gone = old & (silent | absent & (self.mean * units.shape[1] >= GONE))
        out["vanished series", ALL] = float(np.nansum(self.mean[gone]) / learnt) if learnt else 0.0
        return out

    def _groups(self) -> dict[str, NDArray[np.bool_]]:
        named = {str(n): self.segment == n for n in np.unique(self.segment) if n not in ("", "silent")}
        return {ALL: self.segment != "", **{n: rows for n, rows in named.items() if rows.sum() >= LEAST_SERIES}}


def _taken(values: Array, row: NDArray[np.int64]) -> Array:
    return np.where(row[:, None] >= 0, values[np.maximum(row, 0)], np.nan).astype(np.float32)


def _mean_price(values: Array) -> NDArray[np.float64]:
    """(N,) the mean price of each row; NaN where none is known."""
    known = values > 0  # a price of nothing is not known
    n = known.sum(axis=1)
    return np.where(n > 0, np.where(known, values, 0).sum(axis=1) / np.maximum(n, 1), np.nan).astype(np.float64)


def _scaled(units: Array, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    ok = mean > 0
    return np.where(ok[:, None], units / np.where(ok, mean, 1.0)[:, None], np.nan)


def _shares(scaled: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """(BINS + 1,) share of the known cells that are zero, and in each bin; half a cell is added to each, so that none is 0."""
    values = scaled[np.isfinite(scaled)]
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) + 0.5
    return np.asarray(counts / counts.sum(), np.float64)


def _psi(new: NDArray[np.float64], old: NDArray[np.float64]) -> float:
    """Population stability index: sum((new - old) ln(new / old)). Source: Siddiqi 2006."""
    return float(((new - old) * np.log(new / old)).sum())


def save(learnt: Profile, folder: Path) -> None:
    """Writes FILE into a release folder."""
    facts = {name: value for name, value in vars(learnt).items() if name != "series"}
    facts["series"] = {name: learnt.series[name].tolist() for name in SERIES[:3]}
    for name in SERIES[3:]:
        facts["series"][name] = [round(v, 6) if np.isfinite(v) else None for v in learnt.series[name].tolist()]
    (folder / FILE).write_text(json.dumps(facts, ensure_ascii=False) + "\n", encoding="utf-8")


def read(folder: Path) -> Profile:
    """The profile of a release. Raises: SetupError: it has none, or a damaged one."""
    try:
        facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
        columns = facts.pop("series")
        series = pd.DataFrame({name: columns[name] for name in SERIES})
        series[list(SERIES[3:])] = series[list(SERIES[3:])].astype(np.float64)
        return Profile(series=series, **facts)
    except FileNotFoundError:
        raise SetupError(
            f"the release in {folder} does not say what it learnt from (it has no {FILE}): "
            "one that `inventorybot jobs run retrain-demand` makes does"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SetupError(f"what the release in {folder} says of its training is damaged: {error}") from error
