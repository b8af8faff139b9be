"""The command `inventorybot evaluate restock`: would the forecast's policy have done better than fixed (s, S)?

In: a table of sales, and how items are bought and kept. Out: figures of every policy on periods held back; a report where asked.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from inventorybot.domain.restock import Criterion
from inventorybot.errors import SetupError

TARGETS = (0.8, 0.9, 0.95, 0.98, 0.99)


def evaluate_restock(
    sales: Annotated[Path, typer.Option(help="Table of sales: Parquet or CSV; one row a store, item and period.")],
    horizon: Annotated[int, typer.Option(help="Last periods to hold back and play.", min=6, max=730)] = 26,
    series: Annotated[int, typer.Option(help="Series drawn at random; 0: all.", min=0)] = 0,
    lead_time: Annotated[
        str, typer.Option(help="Periods from order to arrival, with weights: 1:0.3 2:0.5 3:0.2.")
    ] = "1:0.3 2:0.5 3:0.2",
    review: Annotated[int, typer.Option(help="Periods from one chance to order to the next.", min=1, max=52)] = 1,
    criterion: Annotated[Criterion, typer.Option(help="What the reorder point is set by.")] = Criterion.CYCLE_SERVICE,
    service_level: Annotated[float, typer.Option(help="Service level that the tables are for.")] = 0.95,
    pack: Annotated[int, typer.Option(help="Units a pack.", min=1)] = 1,
    min_order: Annotated[int, typer.Option(help="Least units an order.", min=0)] = 0,
    shelf_life: Annotated[int, typer.Option(help="Periods that a unit keeps; 0: for ever.", min=0, max=500)] = 0,
    unit_cost: Annotated[float, typer.Option(help="Money a unit.")] = 1.0,
    holding_rate: Annotated[float, typer.Option(help="Share of the unit cost a year.")] = 0.25,
    shortage_cost: Annotated[float, typer.Option(help="Money a unit lost.")] = 0.5,
    order_cost: Annotated[float, typer.Option(help="Money an order.")] = 0.0,
    dependence: Annotated[
        float | None, typer.Option(help="Between periods, 0 to 0.7; none: measured on the past.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for report.html and figures.csv.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, data and machine: same figures.")] = 1,
) -> None:
    """Play the restock policy on demand held back, beside (s, S) with fixed parameters set from the same past.

    Forecasts are made anew at every review, from what has happened by then alone. All policies meet the same demand and the
    same lead times; what is not in stock is lost.
    """
    from ml.demand import steps
    from ml.demand.cli import _progress
    from ml.restock import backtest
    from ml.restock import report as reports
    from ml.restock.horizon import MOST_DEPENDENCE
    from ml.restock.items import parse_lead_time
    from ml.restock.policy import Terms

    with _progress("Back-test") as say:
        panel = steps.read(sales, {}, None, "auto", None, say).panel
        if series and series < panel.n:
            panel = panel.only(np.sort(np.random.default_rng(seed).choice(panel.n, series, replace=False)))
        days = backtest.DAYS[panel.periods.kind]
        terms = Terms(
            tuple((d * days, p) for d, p in parse_lead_time(lead_time)), review * days, pack, min_order, shelf_life * days or None,
            Criterion.CYCLE_SERVICE, service_level, unit_cost, holding_rate, shortage_cost, order_cost,
        )  # fmt: skip
        terms = replace(terms, criterion=criterion)
        if dependence is not None and not 0 <= dependence <= MOST_DEPENDENCE:
            raise SetupError(f"--dependence must be 0 to {MOST_DEPENDENCE}, not {dependence:g}")
        targets = tuple(sorted({*TARGETS, service_level}))
        setting = backtest.Setting(terms, horizon, targets, shortage_cost, dependence, seed)
        result = backtest.run(panel, setting, say)
        page = reports.write(result, report, f"Restock back-test of {sales.name}") if report else None
    typer.echo(
        f"{result.series:,} series, {result.scored} of {horizon} periods scored; dependence {result.dependence:.3f}"
    )
    for line in reports.lines(result):
        typer.echo(line)
    if page:
        typer.echo(f"report: {page}")
