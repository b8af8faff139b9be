"""What a simulation found: means with intervals, paired differences, tables and a picture.

In: the books of several plans over the same replications; the first is the one that the others are compared with. Out:
rows, `metrics.parquet`, `replications.parquet`, `simulation.png`.

Intervals are 95 %, Student's t over replications. A difference is taken replication by replication (common random
numbers: Law (2015), Simulation modeling and analysis, ch. 11), so that what all plans meet alike cancels.

Run: inventorybot plan simulate DIR; pytest tests/unit/planning/test_simulate.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import stdtrit
from torch import Tensor

from inventorybot.errors import SetupError
from ml.planning.simulate import Outcome

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; low and high are nan with a single replication."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One metric of one plan, and by how much the first plan is above it, replication by replication."""

    plan: str
    metric: str
    unit: str
    mean: float
    low: float
    high: float
    first_is_above: float
    above_low: float
    above_high: float


def interval(values: Tensor) -> Interval:
    """Mean of replications (N,) with its interval."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(values.std()) / n**0.5
    return Interval(mean, mean - half, mean + half)


def metrics(outcome: Outcome, speeds: Sequence[str]) -> dict[str, tuple[str, Tensor]]:
    """Every metric of a plan: name -> unit and values by replication, (N,).

    Fill rate: units served of units ordered. In time: units served with the promise kept, of units ordered.
    """
    e = outcome.entries
    asked = e["demand"].sum(1).clamp(min=1.0)
    found = {
        "profit": ("money", outcome.profit),
        "fill rate": ("share", e["sold"].sum(1) / asked),
        **{
            f"fill rate, {s}": ("share", e["sold"][:, k] / e["demand"][:, k].clamp(min=1.0))
            for k, s in enumerate(speeds)
        },
        **{
            f"in time, {s}": ("share", e["in_time"][:, k] / e["demand"][:, k].clamp(min=1.0))
            for k, s in enumerate(speeds)
        },
        "from the home site": ("share", e["from_home"] / e["sold"].sum(1).clamp(min=1.0)),
        "last mile": ("money", e["delivery_cost"]),
        "lanes": ("money", e["lane_cost"]),
        "stock at period end": ("units", e["stock"]),
        "space used": ("m³", e["room"]),
        "bought": ("units", e["bought"]),
        "lost": ("units", e["lost"]),
        "left at the end": ("units", e["left"]),
    }
    if "transfers" in e:
        found["transfers"] = ("units", e["transfers"])
    return found


def rows(outcomes: Sequence[Outcome], speeds: Sequence[str]) -> list[Row]:
    """All metrics of all plans. Raises: SetupError: no plan."""
    if not outcomes:
        raise SetupError("there is no plan to report on")
    table = [metrics(o, speeds) for o in outcomes]
    out = []
    for outcome, mine in zip(outcomes, table, strict=True):
        for name, (unit, values) in mine.items():
            own, more = interval(values), interval(table[0].get(name, (unit, values))[1] - values)
            out.append(Row(outcome.name, name, unit, own.mean, own.low, own.high, more.mean, more.low, more.high))
    return out


def write_report(folder: Path, outcomes: Sequence[Outcome], speeds: Sequence[str]) -> list[Row]:
    """Write both tables and the picture; returns the rows of `metrics.parquet`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = rows(outcomes, speeds)
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in found]), folder / "metrics.parquet")
    single = [
        {"plan": o.name, "replication": n, **{name: float(values[n]) for name, (_, values) in mine.items()}}
        for o in outcomes
        for mine in [metrics(o, speeds)]
        for n in range(len(o.profit))
    ]
    pq.write_table(pa.Table.from_pylist(single), folder / "replications.parquet")
    draw(folder / "simulation.png", found, speeds)
    return found


def draw(path: Path, found: Sequence[Row], speeds: Sequence[str]) -> None:
    """Profit of every plan with its interval, and fill rate by speed."""
    from matplotlib.figure import Figure

    profit = [row for row in found if row.metric == "profit"]
    others = profit[1:]
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    places = range(len(others))
    left.barh(places, [row.first_is_above for row in others], color="#4f81bd")
    for place, row in zip(places, others, strict=True):
        left.plot([row.above_low, row.above_high], [place, place], color="black", linewidth=2)
    left.set_yticks(list(places), [row.plan for row in others])
    left.invert_yaxis()
    left.set_xlabel(f"profit of the {profit[0].plan} above each (paired, 95 %)")
    wide = 0.8 / len(profit)
    for k, plan in enumerate(row.plan for row in profit):
        rates = {row.metric: row.mean for row in found if row.plan == plan}
        heights = [rates[f"fill rate, {s}"] for s in speeds]
        right.bar([x + k * wide for x in range(len(speeds))], heights, width=wide, label=plan)
    right.set_xticks([x + 0.4 - wide / 2 for x in range(len(speeds))], list(speeds))
    right.set_ylim(0, 1)
    right.set_ylabel("fill rate")
    figure.legend(*right.get_legend_handles_labels(), fontsize=8, loc="outside lower right", ncols=len(profit))
    figure.savefig(path, dpi=120)
