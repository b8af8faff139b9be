"""The commands `inventorybot forecast`, `inventorybot train demand` and `inventorybot evaluate demand`.

In: a table of sales. Out: forecast rows; a model folder; figures on held-back periods; an HTML report where asked.
pandas, LightGBM and torch are imported when a command runs, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ml.demand.cleaning import Cleaned
    from ml.demand.forecaster import Say

MAX_HORIZON = 730
"""Two years of days; further ahead history says nothing."""
SHOWN = 10
"""Refused rows named on the terminal."""

Sales = Annotated[Path, typer.Option(help="Table of sales: Parquet or CSV; one row a store, item and period.")]
Store = Annotated[str, typer.Option(help="Column of the store; found by name if not given.")]
Item = Annotated[str, typer.Option(help="Column of the item; found by name if not given.")]
Period = Annotated[str, typer.Option(help="Column of the date, week or month; found by name if not given.")]
Units = Annotated[str, typer.Option(help="Column of the units sold; found by name if not given.")]
Category = Annotated[str, typer.Option(help="Column of the category.")]
Price = Annotated[str, typer.Option(help="Column of the price.")]
Every = Annotated[str | None, typer.Option(help="daily, weekly or monthly; inferred if not given.")]
Gaps = Annotated[str, typer.Option(help="A period without a row is: zero, missing, or auto (docs/demand.md).")]
Covariate = Annotated[list[str] | None, typer.Option(help="Further numeric column to learn from; may be repeated.")]
Covariates = Annotated[
    Path | None, typer.Option(help="Table site, sku, day, name, value: calendar, promotions, weather (docs/demand.md).")
]
Horizon = Annotated[int, typer.Option(help="Periods ahead, 1 to 730.", min=1, max=MAX_HORIZON)]
Refused = Annotated[Path | None, typer.Option(help="Write refused rows with their reasons here (CSV or Parquet).")]
Seed = Annotated[int, typer.Option(help="Same seed, data and machine: same forecast.")]
Report = Annotated[Path | None, typer.Option(help="Folder for report.html and its tables.")]


def forecast(
    sales: Sales,
    horizon: Horizon,
    out: Annotated[Path, typer.Option(help="Where the rows go: .parquet or .csv.")] = Path("forecast.parquet"),
    report: Report = None,
    model: Annotated[
        Path | None, typer.Option(help="Model folder of `train demand`; none: choose and learn now.")
    ] = None,
    save_model: Annotated[Path | None, typer.Option(help="Keep what was learnt in this folder.")] = None,
    price_change: Annotated[
        list[str] | None,
        typer.Option(help='What if: "item=…,store=…,from=…,to=…,price=…"; may be repeated; store is optional.'),
    ] = None,
    levels: Annotated[
        Path | None, typer.Option(help="Also write coherent forecasts by item and category here.")
    ] = None,
    refused: Refused = None,
    store: Store = "",
    item: Item = "",
    period: Period = "",
    units: Units = "",
    category: Category = "",
    price: Price = "",
    every: Every = None,
    gaps: Gaps = "auto",
    covariate: Covariate = None,
    covariates: Covariates = None,
    seed: Seed = 1,
) -> None:
    """Forecast demand from any table of sales: mean and quantiles for every store and item.

    The model is the best on held-back periods, by segment where that is better; it is named with its margin.
    Rows that cannot be used are reported with the reason, and the others are forecast all the same.
    """
    from ml.demand import forecaster, output, release, steps

    for path in (out, refused, levels):
        if path:
            output.check_ending(path)
    changes = steps.parse_changes(price_change or [])
    with _progress("Reading") as say:
        cleaned = steps.read(
            sales,
            _named(store, item, period, units, category, price),
            every,
            gaps,
            covariate,
            say,
            (covariates, horizon),
        )
    _tell_cleaning(cleaned, refused)
    panel, config = cleaned.panel, forecaster.Config(seed=seed)
    learnt = steps.learn_prices(panel) if changes else None
    with _progress("Forecasting") as say:
        if model:
            found = release.read(model)[0]
        else:
            found = forecaster.fit(panel, horizon, config, steps.planned(panel, horizon), say)
        say("the periods ahead")
        mean, quantiles = found.forecast(panel, horizon)
        if levels:
            mean, quantiles, told = steps.add_up(found, panel, mean, quantiles, levels)
            typer.echo(told, err=True)
        before = mean
        for change in changes:
            assert learnt is not None
            mean, quantiles = steps.change_price(panel, mean, quantiles, change, learnt)
    if changes:
        typer.echo(steps.tell_changes(panel, before, mean), err=True)
    typer.echo(steps.tell_choice(found, fresh=model is None), err=True)
    if save_model and not model:
        release.save(found, save_model, config=config, data_sha256=release.data_hash(panel), created=datetime.now(UTC))
    frame = output.rows(panel, mean, quantiles)
    output.write(out, frame)
    typer.echo(f"{len(frame):,} rows of {panel.n:,} series written to {out}", err=True)
    if report:
        with _progress("Report") as say:
            page = steps.report(cleaned, found, mean, quantiles, report, f"Demand forecast of {sales.name}", say)
        typer.echo(f"report: {page}", err=True)


def train_demand(
    sales: Sales,
    horizon: Horizon = 13,
    out: Annotated[Path, typer.Option(help="Folder for the model and its card.")] = Path("runs/demand"),
    report: Report = None,
    base: Annotated[Path | None, typer.Option(help="Model folder whose MLP is transferred to these series.")] = None,
    search: Annotated[str, typer.Option(help="Search the MLP's settings: none, grid or optuna.")] = "none",
    trials: Annotated[int, typer.Option(help="Trials of --search optuna.", min=1, max=500)] = 20,
    refused: Refused = None,
    store: Store = "",
    item: Item = "",
    period: Period = "",
    units: Units = "",
    category: Category = "",
    price: Price = "",
    every: Every = None,
    gaps: Gaps = "auto",
    covariate: Covariate = None,
    covariates: Covariates = None,
    seed: Seed = 1,
) -> None:
    """Train the demand forecaster, show every model in one table, and keep the best as a model folder."""
    from ml.demand import forecaster, release, steps
    from ml.demand import search as searching

    with _progress("Reading") as say:
        cleaned = steps.read(
            sales,
            _named(store, item, period, units, category, price),
            every,
            gaps,
            covariate,
            say,
            (covariates, horizon),
        )
    _tell_cleaning(cleaned, refused)
    with _progress("Training") as say:
        config = forecaster.Config(seed=seed, use_mlp=True)
        found = searching.search(cleaned.panel, horizon, search, trials, replace(config.mlp, seed=seed), say)
        config = replace(config, mlp=found.config) if found else config
        known = steps.planned(cleaned.panel, horizon)
        transferred = steps.base_of(base) if base else None
        model = forecaster.fit(cleaned.panel, horizon, config, known, say, base=transferred, keep_mlp=True)
        say("comparing")
        table = steps.comparison(model, say)
    model.facts["comparison"] = table.round(6).to_dict(orient="index")
    digest, extra = release.data_hash(cleaned.panel), {searching.FILE: found.table()} if found else {}
    release.save(model, out, config=config, data_sha256=digest, created=datetime.now(UTC), extra=extra)
    if found:
        typer.echo(f"{len(found.trials)} networks tried: {out / searching.FILE}")
    typer.echo(steps.text_table(table))
    typer.echo(steps.tell_choice(model, fresh=True))
    typer.echo(f"model: {out}")
    if report:
        with _progress("Report") as say:
            mean, quantiles = model.forecast(cleaned.panel, horizon)
            page = steps.report(cleaned, model, mean, quantiles, report, f"Demand model of {sales.name}", say, table)
        typer.echo(f"report: {page}")


def evaluate_demand(
    sales: Sales,
    horizon: Horizon = 13,
    model: Annotated[
        Path | None, typer.Option(help="Model folder to judge; none: choose and learn on what comes before.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Model folder of another business: what is its MLP worth here, transferred?")
    ] = None,
    given: Annotated[int, typer.Option(help="With --base: periods that may be seen.", min=1)] = 20,
    store: Store = "",
    item: Item = "",
    period: Period = "",
    units: Units = "",
    category: Category = "",
    price: Price = "",
    every: Every = None,
    gaps: Gaps = "auto",
    covariate: Covariate = None,
    covariates: Covariates = None,
    seed: Seed = 1,
) -> None:
    """Hold the last periods back, forecast them once from what comes before, and say how good that was."""
    from ml.demand import forecaster, release, steps, transfer

    with _progress("Evaluating") as say:
        cleaned = steps.read(
            sales,
            _named(store, item, period, units, category, price),
            every,
            gaps,
            covariate,
            say,
            (covariates, horizon),
        )
        if base:
            table = transfer.table(cleaned.panel, steps.base_of(base), given, horizon, say)
            typer.echo(steps.text_table(table))
            typer.echo(transfer.verdict(table))
            return
        past, actual, known = steps.hold_back(cleaned.panel, horizon)
        found = (
            release.read(model)[0] if model else forecaster.fit(past, horizon, forecaster.Config(seed=seed), known, say)
        )
        say("the held-back periods")
        table = steps.judged(found, past, actual)
    typer.echo(steps.text_table(table))
    typer.echo(steps.tell_choice(found, fresh=False))


def _named(store: str, item: str, period: str, units: str, category: str, price: str) -> dict[str, str]:
    return {"store": store, "item": item, "period": period, "units": units, "category": category, "price": price}


def _tell_cleaning(cleaned: Cleaned, refused: Path | None) -> None:
    """What was repaired, and the first rows that were refused; all of them into a file where asked."""
    from ml.demand import output

    for what, n in cleaned.repaired.items():
        typer.echo(f"{n:,} {what}", err=True)
    if len(cleaned.outliers):
        typer.echo(f"{len(cleaned.outliers):,} outliers capped before learning", err=True)
    for row in cleaned.refused.head(SHOWN).itertuples():
        typer.echo(f"refused row {row.row}: {row.reason}", err=True)
    if len(cleaned.refused) > SHOWN:
        typer.echo(f"... {len(cleaned.refused):,} rows refused in all; --refused FILE has them", err=True)
    if refused:
        output.write(refused, cleaned.refused)


@contextmanager
def _progress(title: str) -> Iterator[Say]:
    """A spinner with the step at hand, on stderr."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda line: progress.update(task, description=f"{title}: {line}")
