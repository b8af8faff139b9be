"""The page about a judged count model: one HTML file with everything in it.

In: the dict of `judge.py`, and the JPEG bytes of the most surprising bins. Out: HTML; pictures are inlined.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jinja2 import Environment
from matplotlib import rc_context
from matplotlib.figure import Figure

from ml.figures import data_uri, svg
from ml.vision.judge import SHARES

PERCENT = ("accuracy", "macro_f1", "within_one", "half_coverage", "ece", "ece_if_honest")
TITLES = {
    "accuracy": "accuracy", "macro_f1": "macro F1", "within_one": "within one", "rmse": "RMSE, items",
    "mae": "MAE, items", "nll": "NLL, nats", "ece": "ECE", "ece_if_honest": "ECE, were it right as often as it says",
    "half_coverage": "accuracy at 50 % coverage",
    "recall_1": "recall of ±1", "recall_2": "recall of ±2", "recall_3+": "recall of ±3 to ±5",
    "precision_20": "precision, 20 alerts", "precision_50": "precision, 50 alerts",
    "precision_100": "precision, 100 alerts",
}  # fmt: skip
_STYLE: Any = {"font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 11,
               "axes.grid": True, "grid.alpha": 0.25, "axes.spines.top": False, "axes.spines.right": False}  # fmt: skip


def cell(name: str, it: Mapping[str, float]) -> str:
    """A value with its interval, as people read it."""
    if name in PERCENT or name.startswith(("recall", "precision")):
        return f"{it['value']:.1%} ({it['low']:.1%} – {it['high']:.1%})"
    return f"{it['value']:.3f} ({it['low']:.3f} – {it['high']:.3f})"


def page(found: Mapping[str, Any], jpegs: Mapping[str, bytes], about: str) -> str:
    """The whole page. Args: jpegs: by bin id; about: one sentence saying what was judged, and how."""
    environment = Environment(autoescape=True)  # the ids of bins come from file names
    environment.globals |= {"cell": cell, "titles": TITLES}
    pictures = {key: data_uri(data, "jpeg") for key, data in jpegs.items()}
    return environment.from_string(_PAGE).render(
        found=found, about=about, pictures=pictures, confusion=_confusion(found["confusion"]),
        curves=_curves(found),
    )  # fmt: skip


def _confusion(counts: list[list[int]]) -> str:
    """Rows sum to 1, so that a rare count is seen as well as a common one; numbers are bins."""
    n = np.array(counts)  # (21, 21)
    share = n / np.maximum(n.sum(1, keepdims=True), 1)
    names = [*(str(k) for k in range(len(n) - 1)), f"{len(n) - 1}+"]
    with rc_context(_STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(7.2, 6.4), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(share, cmap="viridis", vmin=0, vmax=1)
        for i, j in zip(*np.nonzero(n), strict=True):
            axes.text(
                j, i, str(n[i, j]), ha="center", va="center", size=6, color="black" if share[i, j] > 0.6 else "white"
            )
        axes.set(xlabel="counted", ylabel="recorded", title="Counted against recorded (bins)")
        axes.set_xticks(range(len(n)), names, size=7)
        axes.set_yticks(range(len(n)), names, size=7)
        figure.colorbar(image, ax=axes, label="share of the row", shrink=0.8)
        return svg(figure)


def _curves(found: Mapping[str, Any]) -> str:
    with rc_context(_STYLE):
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color="grey", lw=1, ls="--", label="honest")
        for name, points in found["reliability"].items():
            sizes = [12 + 3 * it["n"] ** 0.5 for it in points]
            x, y = ([it[key] for it in points] for key in ("confidence", "accuracy"))
            (line,) = left.plot(x, y, lw=1, label=name)
            left.scatter(x, y, s=sizes, color=line.get_color())
        left.set(
            xlabel="confidence",
            ylabel="accuracy",
            title="Reliability (larger dots: more pictures)",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        for name, accuracy in found["coverage"].items():
            right.plot(SHARES, accuracy, label=name)
        right.set(
            xlabel="share of pictures answered, surest first",
            ylabel="accuracy",
            title="Accuracy against coverage",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        for axes in (left, right):
            axes.legend(frameon=False)
        return svg(figure)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ found.model }}, judged</title><style>
body {font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24}
table {border-collapse: collapse; margin: .5rem 0 1.5rem; font-size: 14px} td, th {padding: .3rem .7rem; text-align: right;
border-bottom: 1px solid #d8dee4; white-space: nowrap} td:first-child, th:first-child {text-align: left}
th {font-weight: 600; border-bottom: 2px solid #8c959f} .wide {overflow-x: auto} svg {max-width: 100%; height: auto}
.bins {display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem}
figure {margin: 0} figure img {width: 100%; height: 11rem; object-fit: cover; border-radius: 4px} p.note {color: #57606a}
</style></head><body>
<h1>{{ found.model }}, judged</h1><p>{{ about }}</p>
<p class="note">In brackets: 95 % interval, bootstrap over pair groups. ECE leans upward under resampling, and is above 0 on few
pictures even of a model that is right as often as it says.</p>
<h2>Metrics</h2><div class="wide"><table><tr><th></th>{% for view in found.metrics %}<th>{{ view }}</th>{% endfor %}</tr>
{% for name in found.metrics["all counts"] %}<tr><td>{{ titles[name] }}</td>
{% for view in found.metrics.values() %}<td>{{ cell(name, view[name]) }}</td>{% endfor %}</tr>{% endfor %}</table></div>
<h2>What needs no picture</h2><div class="wide"><table><tr><th></th>
{% for name in ["accuracy", "macro_f1", "within_one", "mae", "rmse"] %}<th>{{ titles[name] }}</th>{% endfor %}</tr>
{% for guess, row in found.baselines.items() %}<tr><td>{{ guess }}</td>
{% for name in ["accuracy", "macro_f1", "within_one", "mae", "rmse"] %}<td>{{ cell(name, row[name]) }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<h2>Finding wrong records</h2>
<p>Miscounts are put into 2 % of the records, ±1, ±2 and ±3 to ±5 equally often; one picture a bin. Recall at 1 % false
alarms; precision among the first alerts of a thousand bins. Records that were wrong already count as false alarms.</p>
<table>{% for name, it in found.alerts.items() %}<tr><td>{{ titles[name] }}</td><td>{{ cell(name, it) }}</td></tr>
{% endfor %}</table>
{% if found.sets %}<h2>Prediction sets</h2><table><tr><th>stated coverage</th><th>held the record</th><th>counts in a set</th></tr>
{% for coverage, it in found.sets.items() %}<tr><td>{{ coverage }}</td><td>{{ "%.1f %%"|format(100 * it.coverage) }}</td>
<td>{{ "%.1f"|format(it.size) }}</td></tr>{% endfor %}</table>{% endif %}
<h2>Calibration and coverage</h2>{{ curves | safe }}
<h2>Confusion</h2>{{ confusion | safe }}
<h2>Most surprising bins</h2><p>The records that the pictures contradict most: a wrong record, or a wrong count.</p>
<div class="bins">{% for it in found.surprising %}<figure>
{% if it.id in pictures %}<img src="{{ pictures[it.id] }}" alt="bin {{ it.id }}">{% endif %}
<figcaption><b>{{ it.id }}</b>: recorded {{ it.recorded }}, counted {{ it.counted }} ({{ "%.0f %%"|format(100 * it.confidence) }});
record wrong with {{ "%.0f %%"|format(100 * it.suspicion) }}</figcaption></figure>{% endfor %}</div>
</body></html>
"""
