"""Two pictures of a plan: what room and inbound flow are worth at each site over time, and what goes where.

In: prices and flows, or the folder of a plan. Out: SVG (or PNG) bytes. Colours: viridis, which people with any colour vision read alike, and every
cell that has room for it also shows its number. Run: `inventorybot plan solve DIR --out OUT --pictures`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from inventorybot.domain.days import DAY_MS
from inventorybot.domain.network_plan import Flow, Horizon, SitePrice
from inventorybot.errors import SetupError
from inventorybot.wire.codec import from_ms
from ml.planning.tables import SUPPLIER

MOST_ROWS = 30
"""Sites that a picture shows: more could not be read."""
MOST_NUMBERS = 24
"""Columns with a number in each cell."""
LABELS = 16
"""Labels along the time axis."""
COLOURS = "viridis"
_STYLE: Any = {"font.family": "DejaVu Sans", "font.size": 10, "svg.hashsalt": "inventorybot", "axes.titlesize": 11}
Floats = NDArray[np.float64]


def draw(result: Path, out: Path) -> list[Path]:
    """Draw the plan in a folder of tables (`plan solve --out`) as prices.svg and flows.svg in `out`; returns their paths.

    Raises: SetupError: the folder holds no plan.
    """
    try:
        told, sent = (pq.read_table(result / f"{name}.parquet") for name in ("prices", "flows"))
    except (OSError, pa.ArrowInvalid) as error:
        raise SetupError(f"{result} holds no plan: `inventorybot plan solve DIR --out {result}` makes one") from error
    worth = [SitePrice(r["site"], r["period"], r["storage_price"], r["flow_price"]) for r in told.to_pylist()]
    lanes = (
        sent.select(["from_site", "to_site", "units"]).group_by(["from_site", "to_site"]).aggregate([("units", "sum")])
    )
    moved = [Flow(r["from_site"], r["to_site"], 0, r["units_sum"], 0.0) for r in lanes.to_pylist()]
    out.mkdir(parents=True, exist_ok=True)
    drawn = {out / "prices.svg": prices(worth), out / "flows.svg": flows(moved)}
    for path, svg in drawn.items():
        path.write_bytes(svg)
    return list(drawn)


def prices(found: Sequence[SitePrice], horizon: Horizon | None = None, kind: str = "svg") -> bytes:
    """Site prices over time: one heat map of a m³, one of a unit taken in; the sites where room is dearest come first.

    Args: horizon: when the periods are; None: they are numbered.
    """
    sites, periods = sorted({p.site for p in found}), 1 + max(p.period for p in found)
    storage, flow = np.zeros((2, len(sites), periods))
    row = {site: number for number, site in enumerate(sites)}
    for p in found:
        storage[row[p.site], p.period], flow[row[p.site], p.period] = p.storage, p.flow
    order = np.lexsort((-flow.mean(1), -storage.mean(1)))[:MOST_ROWS]
    names = [sites[i] for i in order]
    begins = [_begin(horizon, t) for t in range(periods)]
    left_out = f" (the {MOST_ROWS} dearest of {len(sites)} sites)" if len(sites) > MOST_ROWS else ""
    height = 1.6 + 2 * (0.8 + 0.32 * len(names))
    with rc_context(_STYLE):
        figure = Figure(figsize=(3.2 + min(0.75 * periods, 15), height), layout="constrained")
        figure.suptitle(f"What limits are worth{left_out}", fontsize=13, fontweight="bold")
        top, bottom = figure.subplots(2, 1)
        _heat(top, storage[order], names, begins, "One m³ more of storage, for one period", "money per m³ and period")
        _heat(bottom, flow[order], names, begins, "One unit more of inbound flow in a period", "money per unit")
        bottom.set_xlabel("period" if horizon is None else "period, from (UTC)")
        return _saved(figure, kind)


def flows(found: Sequence[Flow], kind: str = "svg") -> bytes:
    """What goes from where to where, all periods together, as a matrix in units."""
    total: dict[tuple[str, str], float] = {}
    for f in found:
        total[f.from_site, f.to_site] = total.get((f.from_site, f.to_site), 0.0) + f.units
    into = {to: sum(u for (_, t), u in total.items() if t == to) for _, to in total}
    out = {start: sum(u for (s, _), u in total.items() if s == start) for start, _ in total}
    columns = sorted(out, key=lambda s: (s != SUPPLIER, -out[s]))[:MOST_ROWS]
    rows = sorted(into, key=lambda s: -into[s])[:MOST_ROWS]
    units = np.array([[total.get((s, t), np.nan) for s in columns] for t in rows]).reshape(len(rows), len(columns))
    more = f" (the {MOST_ROWS} largest)" if max(len(out), len(into)) > MOST_ROWS else ""
    with rc_context(_STYLE):
        figure = Figure(figsize=(5.5 + 0.75 * len(columns), 2.4 + 0.36 * len(rows)), layout="constrained")
        figure.suptitle(f"What goes where over the whole plan{more}", fontsize=13, fontweight="bold")
        axes = figure.subplots()
        _heat(axes, units, rows, columns, "", "units", every_label=True)
        axes.set_xlabel("from")
        axes.set_ylabel("to")
        return _saved(figure, kind)


def _heat(
    axes: Any, values: Floats, rows: Sequence[str], columns: Sequence[str], title: str, unit: str, *,
    every_label: bool = False,
) -> None:  # fmt: skip
    """A heat map with labelled rows and columns; NaN: empty."""
    axes.set_title(title, loc="left")
    if not values.size or np.isnan(values).all():
        axes.text(0.5, 0.5, "nothing", ha="center", va="center")
        axes.set_axis_off()
        return
    top = max(float(np.nanmax(values)), 1e-12)
    image = axes.imshow(values, cmap=COLOURS, vmin=0, vmax=top, aspect="auto")
    step = 1 if every_label else -(-len(columns) // LABELS)
    slanted = every_label or max(map(len, columns)) > 6
    axes.set_xticks(range(0, len(columns), step), columns[::step], rotation=40 if slanted else 0,
                    ha="right" if slanted else "center", rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for edge in axes.spines.values():
        edge.set_visible(False)
    if len(columns) <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(values):
            if not np.isnan(value):
                dark = value < 0.6 * top
                axes.text(j, i, _short(value), ha="center", va="center", fontsize=8, color="white" if dark else "black")
    plain = "{x:,.0f}" if top >= 100 else "{x:g}"
    axes.figure.colorbar(image, ax=axes, label=unit, pad=0.02, aspect=max(12, len(rows)), format=plain)


def _short(value: float) -> str:
    """A number in at most five characters: 0, 0.03, 4.20, 120, 12.1k."""
    if value < 0.005:
        return "0"
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if value >= limit:
            scaled = value / (1e6 if unit == "M" else 1e3)
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.1f}{unit}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _begin(horizon: Horizon | None, period: int) -> str:
    if horizon is None:
        return str(period)
    when = from_ms(horizon.start + period * horizon.period_ms)
    return f"{when.day} {when:%b}" if horizon.period_ms >= DAY_MS else f"{when.day} {when:%b} {when:%H:%M}"


def _saved(figure: Figure, kind: str) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()
