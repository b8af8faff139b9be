"""The back-test as text for the terminal and as one HTML page that needs no network.

In: a `Result`. Out: lines; report.html and figures.csv in a folder.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

from ml.figures import svg
from ml.restock.accounts import DRAWS, FIGURES, differences, equal_stock, table
from ml.restock.backtest import POLICIES, Result

COLOURS = {"forecast": "#1f6fb4", "fixed, empirical": "#d9822b", "fixed, normal": "#7a8793"}
SHARES = ("fill rate", "stock-outs")


def said(name: str, value: float) -> str:
    """A figure as people read it."""
    return f"{value:.2%}" if name in SHARES else f"{value:,.1f}"


def gap(name: str, values: tuple[float, float, float]) -> str:
    """A difference with its interval; of shares in percentage points."""
    scale, unit = (100, " pp") if name in SHARES else (1, "")
    middle, low, high = (scale * v for v in values)
    return f"{middle:+,.2f}{unit} ({low:+,.2f} to {high:+,.2f})"


def lines(result: Result) -> list[str]:
    """The figures of every policy, the differences, and what they mean at equal service."""
    target = result.setting.terms.service_level
    out = [f"{'policy':18}" + "".join(f"{name:>14}" for name in FIGURES)]
    for policy, row in table(result, target).items():
        out.append(f"{policy:18}" + "".join(f"{said(name, row[name]):>14}" for name in FIGURES))
    for policy, gaps in differences(result, target).items():
        out.append(f"forecast less {policy}: " + "; ".join(f"{n} {gap(n, v)}" for n, v in gaps.items()))
    return [*out, equal(result)]


def equal(result: Result) -> str:
    """What the forecast's policy would hold at the fill rates of the fixed ones, in words."""
    shares = equal_stock(result, result.setting.terms.service_level)
    words = [
        f"{share:.0%} of the stock of {policy}"
        if math.isfinite(share)
        else f"an unknown share of {policy} (outside what was tried)"
        for policy, share in shares.items()
    ]
    return "At the fill rate of each fixed policy the forecast's needs " + ", ".join(words) + "."


def picture(result: Result) -> Figure:
    """Fill rate against stock by target, and what was lost and held over time."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, *rest = figure.subplot_mosaic([["f", "h"], ["f", "l"]]).values()
    for policy in POLICIES:
        rows = [table(result, t)[policy] for t in result.setting.targets]
        colour = COLOURS[policy]
        left.plot(
            [r["stock held"] for r in rows], [100 * r["fill rate"] for r in rows], "o-", color=colour, label=policy
        )
        for axis, column in zip(rest, (1, 0), strict=True):
            axis.plot(result.paths[policy][:, column], color=colour, linewidth=1.2)
    left.set(xlabel="stock held, units", ylabel="fill rate, %")
    left.legend(frameon=False)
    for axis, name in zip(rest, ("held, units", "lost, units"), strict=True):
        axis.axvspan(-0.5, result.setting.horizon - result.scored - 0.5, color="#e3e8ee")
        axis.set(ylabel=name, xlim=(-0.5, result.setting.horizon - 0.5))
        axis.set_ylim(bottom=0)
    rest[-1].set_xlabel("period held back")
    return figure


def write(result: Result, folder: Path, title: str) -> Path:
    """Writes the folder and returns report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    terms, target = result.setting.terms, result.setting.terms.service_level
    with mpl.rc_context({"svg.fonttype": "none"}):
        drawn = svg(picture(result))
    page = _template().render(
        title=title, result=result, names=FIGURES, draws=DRAWS, picture=drawn, equal=equal(result), target=f"{terms.target:.4g}",
        criterion=terms.criterion.value, review=terms.review_days,
        lead=", ".join(f"{d} days ({p:.0%})" for d, p in terms.lead_days),
        table={p: {n: said(n, v) for n, v in row.items()} for p, row in table(result, target).items()},
        gaps={p: {n: gap(n, v) for n, v in row.items()} for p, row in differences(result, target).items()},
    )  # fmt: skip
    (folder / "report.html").write_text(page, encoding="utf-8")
    with (folder / "figures.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["target", "policy", *FIGURES])
        for t in result.setting.targets:
            rows.writerows([t, policy, *row.values()] for policy, row in table(result, t).items())
    return folder / "report.html"


def _template() -> jinja2.Template:
    # the picture is made here and is safe; the rest is escaped
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    ).get_template("report.html.jinja")
