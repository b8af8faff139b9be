"""The report of an evaluation: one HTML file that needs no other, and its pictures as PNG beside it.

In: `Measured` of each method and setting, the replays, the detector. Out: `OUT/report.html`, `OUT/*.png`, `OUT/figures.json`.
"""

from __future__ import annotations

import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from ml.anomaly.alarms import alarms
from ml.anomaly.evaluate import Measured
from ml.anomaly.explain import Suspect, explained
from ml.anomaly.faults import KINDS
from ml.anomaly.features import features, stacked
from ml.anomaly.model import Detector
from ml.anomaly.simulate import Replay
from ml.figures import data_uri

COLOURS = {"detector": "#0b5fa5", "zero streak": "#c4501b", "isolation forest": "#3c8d5a", "ECOD": "#8a5fa8"}

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Suspect records: evaluation</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #d5dae2;padding:.3rem .7rem;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}.story{border-left:4px solid #0b5fa5;padding-left:1rem;margin:2rem 0}
.wrong{border-color:#c4501b}small{color:#5b6675}</style></head><body>
<h1>Suspect records: evaluation</h1><p>{{ about }}</p>
{% for name, methods in settings.items() %}<h2>{{ name }}</h2>
<table><tr><th>method</th>{% for m in metrics %}<th>{{ titles[m] }}</th>{% endfor %}</tr>
{% for method, it in methods.items() %}<tr><td>{{ method }}</td>{% for m in metrics %}<td>{{ cell(it.figures[m]) }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endfor %}
<h2>By cause</h2><table><tr><th>cause</th><th>episodes of 28 days or more</th><th>found</th><th>all episodes</th><th>found</th>
<th>days to detection</th><th>units wrong by then</th></tr>
{% for cause, it in causes.items() %}<tr><td>{{ cause }}</td><td>{{ it.episodes }}</td><td>{{ share(it.recall) }}</td><td>{{ it.all }}</td>
<td>{{ share(it.recall_all) }}</td><td>{{ plain(it.days) }}</td><td>{{ plain(it.units) }}</td></tr>{% endfor %}</table>
<h2>Precision and recall</h2><img alt="precision against recall" src="{{ pictures['curve'] }}">
<h2>How late</h2><img alt="days from the first wrong day to the alarm" src="{{ pictures['delay'] }}">
<h2>What a suspect record looks like</h2>
{% for s in stories %}<div class="story{{ '' if s.right else ' wrong' }}"><h3>{{ s.title }}</h3><p>{{ s.suspect.sentence() }}.</p>
<img alt="stock, sales and suspicion of {{ s.suspect.site }}/{{ s.suspect.sku }}" src="{{ s.picture }}">
<table><tr><th>what speaks for it</th><th>value</th><th>log-odds</th></tr>{% for r in s.suspect.reasons %}<tr><td>{{ r.text }}</td>
<td>{{ '%.2f' % r.value }}</td><td>{{ '%+.2f' % r.added }}</td></tr>{% endfor %}</table>
<ul>{% for t in s.suspect.turns %}<li>{{ t.day }}: {{ t.what }}{% if t.rise > 0.2 %} <small>(log-odds {{ '%+.1f' % t.rise }})</small>{% endif %}</li>
{% endfor %}</ul></div>{% endfor %}
<p><small>In brackets: 95 % interval, bootstrap over families of a site. Scoring: docs/suspect-records.md.</small></p></body></html>"""

TITLES = {
    "precision": "precision", "recall": "recall (28 days or more)", "recall_of_all": "recall of all", "f1": "F1", "auc_roc": "AUC-ROC",
    "average_precision": "average precision", "median_days_to_detection": "days to detection", "median_units_to_detection": "units by then",
    "precision_at_0.2": "precision at 0.2 counts a day per 1,000", "precision_at_1": "at 1",
}  # fmt: skip


def write(
    out: Path, settings: dict[str, dict[str, Measured]], replays: list[Replay], detector: Detector, about: str
) -> Path:
    """Writes the report and returns its path.

    Args:
        settings: setting to method to figures; the first setting has the scores of `replays`, and a method "detector".
        about: one paragraph: what was measured, on which seeds.
    """
    out.mkdir(parents=True, exist_ok=True)
    first = next(iter(settings.values()))
    pictures = {"curve": _png(_curves(first)), "delay": _png(_delays(first))}
    stories = _stories(first["detector"], replays, detector)
    for name, png in [*pictures.items(), *((f"story-{i + 1}", s["png"]) for i, s in enumerate(stories))]:
        (out / f"{name}.png").write_bytes(png)
    environment = jinja2.Environment(autoescape=True)
    page = environment.from_string(PAGE).render(
        about=about, settings=settings, metrics=list(TITLES), titles=TITLES, cell=_cell, share=_share, plain=_plain,
        causes=first["detector"].by_cause, pictures={k: data_uri(p, "png") for k, p in pictures.items()},
        stories=[s | {"picture": data_uri(s["png"], "png")} for s in stories],
    )  # fmt: skip
    (out / "report.html").write_text(page, encoding="utf-8")
    (out / "figures.json").write_text(
        json.dumps(_figures(settings, about) | {"stories": [line(s["suspect"]) for s in stories]}, indent=1) + "\n",
        encoding="utf-8",
    )
    return out / "report.html"


def _figures(settings: dict[str, dict[str, Measured]], about: str) -> dict[str, Any]:
    return {"about": about} | {
        name: {method: {"threshold": it.threshold, "figures": _finite(it.figures), "by_cause": _finite(it.by_cause)} for method, it in methods.items()}
        for name, methods in settings.items()
    }  # fmt: skip


def _finite(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """JSON knows no NaN."""
    return {k: {n: v if math.isfinite(v) else None for n, v in it.items()} for k, it in figures.items()}


def _cell(it: dict[str, float]) -> str:
    if not math.isfinite(it["value"]):
        return "–"
    text = f"{it['value']:.2f}" if abs(it["value"]) <= 1 else f"{it['value']:.0f}"
    if not math.isfinite(it["low"]):
        return text
    return (
        f"{text} ({it['low']:.2f}–{it['high']:.2f})"
        if abs(it["value"]) <= 1
        else f"{text} ({it['low']:.0f}–{it['high']:.0f})"
    )


def _share(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else "–"


def _plain(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "–"


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _curves(methods: dict[str, Measured]) -> Figure:
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, it in methods.items():
        axes.plot(it.curve["recall"], it.curve["precision"], color=COLOURS.get(name, "grey"), label=name, lw=1.8)
        axes.plot(
            it.figures["recall"]["value"], it.figures["precision"]["value"], "o", color=COLOURS.get(name, "grey"), ms=7
        )
    axes.plot([0.6, 0.6, 1], [1, 0.8, 0.8], color="#9aa4b1", ls="--", lw=1)
    axes.set(
        xlabel="recall: share of spoilt records found",
        ylabel="precision: share of alarms that were right",
        xlim=(0, 1),
        ylim=(0, 1.03),
    )
    axes.annotate("goal", (0.61, 0.955), color="#5b6675")
    axes.legend(
        frameon=False, title="dot: at the threshold set beforehand", loc="upper right", bbox_to_anchor=(1, 0.78)
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _delays(methods: dict[str, Measured]) -> Figure:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, it in methods.items():
        total, delays = int(it.tally.episodes[:, : len(KINDS)].sum()), np.sort(it.tally.delays)
        share = np.arange(1, len(delays) + 1) / max(1, total)
        axes.step([0, *delays], [0, *share], where="post", color=COLOURS.get(name, "grey"), label=name, lw=1.8)
    axes.set(
        xlabel="days since the record went wrong", ylabel="share of spoilt records found", xlim=(0, 180), ylim=(0, 1)
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _stories(measured: Measured, replays: list[Replay], detector: Detector) -> list[dict[str, Any]]:
    """One right alarm of each cause and one wrong alarm, of the first replay, as the detector tells them."""
    played, scores = replays[0], measured.scores[0]
    slots, days = alarms(scores >= measured.threshold, played.warm)
    fault = np.abs(played.truth.fault[slots, days]) >= 1
    right = fault | (np.abs(played.truth.error[slots, days]) >= played.truth.material[slots])
    told: list[tuple[int, str, bool]] = []
    for code, kind in enumerate(KINDS):
        mine = np.flatnonzero(fault & (played.truth.kind[slots] == code))
        told += [(int(i), f"Found: {kind}", True) for i in mine[:1]]
    told += [(int(i), "A false alarm", False) for i in np.flatnonzero(~right)[:1]]
    out, x = [], stacked(features(played.story))
    for i, title, good in told:
        slot, day = int(slots[i]), int(days[i])
        found = next(explained(detector, played.story, x, np.array([slot]), scores[:, day], day))
        out.append(
            {
                "title": title,
                "right": good,
                "suspect": found,
                "png": _png(_story(played, scores, slot, day, measured.threshold)),
            }
        )
    return out


def _story(played: Replay, scores: Any, slot: int, day: int, threshold: float) -> Figure:
    first, last = max(0, day - 100), min(played.story.days, day + 30)
    span, s = np.arange(first, last), played.story
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    stock, sales, belief = figure.subplots(3, 1, sharex=True, height_ratios=[2, 1.2, 1])
    stock.step(span, s.recorded[slot, span], where="post", color="#1c2330", label="on record")
    stock.step(
        span,
        played.truth.on_hand[slot, span],
        where="post",
        color="#c4501b",
        ls="--",
        label="really there (known to the simulation alone)",
    )
    counted = span[np.isfinite(s.counted[slot, span])]
    stock.plot(counted, s.counted[slot, counted], "o", color="#3c8d5a", label="cycle count")
    sales.bar(span, s.sold[slot, span], color="#7aa6cf", label="sold")
    sales.plot(span, s.expected[slot, span], color="#1c2330", lw=1, label="expected")
    belief.plot(span, np.where(np.isfinite(scores[slot, span]), scores[slot, span], np.nan), color="#0b5fa5")
    belief.axhline(threshold, color="#9aa4b1", ls="--", lw=1)
    for axes, name in ((stock, "units"), (sales, "units a day"), (belief, "P(wrong)")):
        axes.axvline(day, color="#0b5fa5", lw=1)
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    belief.set(ylim=(0, 1.03), xlabel="day (vertical line: the alarm)")
    stock.legend(frameon=False, fontsize=8, loc="upper left")
    sales.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def line(suspect: Suspect) -> dict[str, Any]:
    """A suspect as JSON."""
    return {
        "site": suspect.site, "sku": suspect.sku, "day": suspect.day.isoformat(), "probability": round(suspect.probability, 4),
        "recorded": suspect.recorded, "units": round(suspect.units, 1),
        "reasons": [{"feature": r.feature, "text": r.text, "value": round(r.value, 3), "added": round(r.added, 3)} for r in suspect.reasons],
        "doubts": [{"kind": d.kind, "reason": d.reason} for d in suspect.doubts],
        "turns": [{"day": t.day.isoformat(), "what": t.what, "rise": round(t.rise, 3)} for t in suspect.turns],
    }  # fmt: skip
