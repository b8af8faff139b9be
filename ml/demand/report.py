"""The HTML report: one file, no network needed.

In: what was cleaned, a fitted forecaster with its evidence, the comparison table, the forecast. Out: report.html and, beside it,
the tables as CSV. Figures are SVG inside the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from inventorybot.domain.demand import LEVELS
from ml.demand.cleaning import Cleaned
from ml.demand.forecaster import Evidence, Forecaster
from ml.demand.panel import Array, Panel
from ml.figures import svg

WORST = 15
EXAMPLES = 6
SHOWN_ROWS = 50
POINTS = 4_000
"""Points of the scatter: more only make the file larger."""
INK, BAND, MODEL, QUIET = "#1b2733", "#bcd3ea", "#1f6fb4", "#9aa5b1"


@dataclass(frozen=True)
class Story:
    """Everything a report shows. Args: comparison: of compare.table; mean, quantiles: (N, H), (N, H, 5), units."""

    cleaned: Cleaned
    model: Forecaster
    comparison: pd.DataFrame | None
    mean: Array
    quantiles: Array
    title: str


def write(story: Story, folder: Path) -> Path:
    """Writes the folder and returns report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    evidence = story.model.evidence
    worst = worst_series(evidence) if evidence else None
    for name, frame in {
        "worst.csv": worst,
        "models.csv": story.comparison,
        "refused.csv": story.cleaned.refused,
    }.items():
        if frame is not None:
            frame.to_csv(folder / name, index=name == "models.csv")
    with mpl.rc_context({"svg.fonttype": "none"}):
        drawn = {name: svg(figure) for name, figure in figures(story).items()}
    page = _template().render(
        title=story.title,
        panel=story.cleaned.panel,
        facts=story.model.facts,
        mixtures=mixtures(story.model.choice),
        repaired=story.cleaned.repaired,
        refused=_html(story.cleaned.refused.head(SHOWN_ROWS)),
        n_refused=len(story.cleaned.refused),
        outliers=_html(story.cleaned.outliers.head(SHOWN_ROWS)),
        n_outliers=len(story.cleaned.outliers),
        comparison=_html(_rounded(story.comparison), index=True) if story.comparison is not None else "",
        segments=_html(_segments(story.model.facts), index=True),
        worst=_html(worst) if worst is not None else "",
        figures=drawn,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def figures(story: Story) -> dict[str, Figure]:
    """The figures by title."""
    out = {"What is forecast: all series together, and the largest": outlook(story)}
    if story.model.evidence:
        out["Held-back periods: actual against predicted"] = scatter(story.model.evidence)
        out["Held-back periods, series by series"] = examples(story.model.evidence, story.cleaned.panel)
        out["Error by segment"] = segment_bars(story.model.facts)
    return out


def scatter(evidence: Evidence) -> Figure:
    """Actual against the median forecast on the latest held-back stretch, and the share of actuals below each quantile."""
    y, q = evidence.folds[0].actual, evidence.quantiles
    known = np.flatnonzero(np.isfinite(y.ravel()))
    picked = known[:: max(1, len(known) // POINTS)]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.scatter(q[:, :, 2].ravel()[picked], y.ravel()[picked], s=5, alpha=0.35, color=MODEL, linewidths=0)
    top = float(np.nanmax(y)) * 1.05 + 1
    left.plot([0, top], [0, top], color=INK, linewidth=0.8)
    left.set(
        xlabel="forecast (median), units",
        ylabel="actual, units",
        xscale="symlog",
        yscale="symlog",
        xlim=(0, top),
        ylim=(0, top),
    )
    below = [float((y.ravel()[known] <= q[:, :, i].ravel()[known]).mean()) for i in range(len(LEVELS))]
    right.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8)
    right.plot(LEVELS, below, "o-", color=MODEL)
    right.set(xlabel="level of the quantile", ylabel="share of actuals at or below it", xlim=(0, 1), ylim=(0, 1))
    return figure


def outlook(story: Story) -> Figure:
    """History and forecast of the sum, and of the three largest series with their 90 % intervals."""
    panel = story.cleaned.panel
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    h = story.mean.shape[1]
    x, ahead = np.arange(panel.t), panel.t + np.arange(h)
    axes[0].plot(x, np.nansum(panel.units, axis=0), color=INK, linewidth=0.9)
    axes[0].plot(ahead, story.mean.sum(axis=0), color=MODEL)
    axes[0].set_title("all series: units, and the sum of means", fontsize=9)
    largest = np.argsort(-np.nansum(panel.units, axis=1), kind="stable")[: len(axes) - 1]
    for axis, i in zip(axes[1:], largest, strict=False):
        axis.fill_between(ahead, story.quantiles[i, :, 0], story.quantiles[i, :, 4], color=BAND, linewidth=0)
        axis.plot(x, panel.units[i], color=INK, linewidth=0.9)
        axis.plot(ahead, story.quantiles[i, :, 2], color=MODEL)
        axis.set_title(f"{panel.store[i]} · {panel.item[i]}", fontsize=9)
    for axis in axes:
        _name_periods(axis, panel, panel.t + h)
    for axis in axes[1 + len(largest) :]:
        axis.set_visible(False)
    return figure


def examples(evidence: Evidence, panel: Panel) -> Figure:
    """Six series spread over volume: what was known, what was forecast, what came."""
    fold = evidence.folds[0]
    order = np.argsort(-np.nansum(fold.past.units, axis=1), kind="stable")
    picked = order[np.unique(np.linspace(0, len(order) - 1, EXAMPLES).astype(int))]
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    h = fold.actual.shape[1]
    first = max(0, fold.origin - 4 * h)
    x, ahead = np.arange(first, fold.origin), fold.origin + np.arange(h)
    for axis, i in zip(axes, picked, strict=False):
        q = evidence.quantiles[i]
        axis.fill_between(ahead, q[:, 0], q[:, 4], color=BAND, linewidth=0, label="90 % interval")
        axis.plot(x, fold.past.units[i, first:], color=QUIET, linewidth=0.9)
        axis.plot(ahead, q[:, 2], color=MODEL, label="median forecast")
        axis.plot(ahead, fold.actual[i], color=INK, marker=".", linewidth=0.9, label="actual")
        axis.set_title(f"{fold.past.store[i]} · {fold.past.item[i]}", fontsize=9)
        _name_periods(axis, panel, fold.origin + h, first)
    for axis in axes[len(picked) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7, frameon=False)
    return figure


def segment_bars(facts: dict[str, Any]) -> Figure:
    """WAPE of the chosen forecast and of the moving average, by segment."""
    names = list(facts["segments"])
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axis = figure.subplots()
    at = np.arange(len(names))
    axis.bar(at - 0.2, [facts["segments"][n]["WAPE"] for n in names], 0.38, color=MODEL, label="chosen")
    simple = [facts["segments"][n]["WAPE of the moving average"] for n in names]
    axis.bar(at + 0.2, simple, 0.38, color=QUIET, label="moving average")
    axis.set_xticks(at, [f"{n}\n{facts['segments'][n]['series']:,} series" for n in names])
    axis.set_ylabel("WAPE")
    axis.legend(frameon=False)
    return figure


def _name_periods(axis: Any, panel: Panel, stop: int, start: int = 0) -> None:
    at = np.unique(np.linspace(start, stop - 1, 4).astype(int))
    labels = panel.periods.labels(0, stop)
    axis.set_xticks(at, [labels[i] for i in at], fontsize=7)
    axis.tick_params(axis="y", labelsize=7)
    axis.set_ylim(bottom=0)


def worst_series(evidence: Evidence) -> pd.DataFrame:
    """The series with the largest absolute error on the latest held-back stretch."""
    fold = evidence.folds[0]
    error = np.nansum(np.abs(fold.actual - evidence.quantiles[:, :, 2]), axis=1)
    total, said = np.nansum(fold.actual, axis=1), evidence.quantiles[:, :, 2].sum(axis=1)
    at = np.argsort(-error, kind="stable")[:WORST]
    return pd.DataFrame(
        {
            "store": fold.past.store[at],
            "item": fold.past.item[at],
            "segment": fold.past.segments()[at],
            "actual units": np.round(total[at], 1),
            "forecast units": np.round(said[at].astype(np.float64), 1),
            "absolute error": np.round(error[at].astype(np.float64), 1),
            "WAPE": np.round(error[at] / np.maximum(np.abs(total[at]), 1e-9), 3),
            "share of all error": np.round(error[at] / max(float(error.sum()), 1e-9), 4),
        }
    )


def mixtures(choice: dict[str, dict[str, float]]) -> dict[str, str]:
    """Each segment's mixture in words: "67 % LightGBM + 33 % MLP"."""
    return {s: " + ".join(f"{w:.0%} {n}" if w < 1 else n for n, w in weights.items()) for s, weights in choice.items()}


def _segments(facts: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(facts["segments"]).T
    keep = ["series", "WAPE", "WAPE of the moving average", "bias", "MAE", "RMSE", "pinball", "coverage 90 %"]
    frame = frame[keep].round(4)
    frame["series"] = frame["series"].astype(int)
    return frame


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"series": int}).round(4)


def _html(frame: pd.DataFrame, index: bool = False) -> str:
    return str(frame.to_html(index=index, border=0, na_rep="–"))


def _template() -> jinja2.Template:
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    # tables and figures are made here and are safe; names from the data are escaped by to_html and by jinja2
    return jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        "report.html.jinja"
    )
