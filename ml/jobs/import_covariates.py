"""`inventorybot jobs run import-covariates FILE`: prices, promotions, holidays, weather into the lake.

In: CSV or Parquet with day, name, value and, where a row is not for all, site and sku (docs/history.md). Out: the lake's dataset
covariates, a line on each row that was refused. Exit code: 0; 1 where rows were refused; 2: nothing was done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from inventorybot.errors import SetupError
from inventorybot.settings import load
from ml.history.covariates import check, store
from ml.history.lake import Lake
from ml.history.sales import read_source
from ml.history.state import forget_days
from ml.jobs import SomeRefused

SHOWN = 20
"""Refusals that the terminal shows; --report has them all."""


def import_covariates(
    file: Annotated[str, typer.Argument(help="CSV or Parquet: a path or a URL.")],
    lake: Annotated[str, typer.Option(help="Folder or URL of the lake; empty: INVENTORYBOT_LAKE.")] = "",
    report: Annotated[Path | None, typer.Option(help="Write every refusal here, as JSON lines.")] = None,
) -> str:
    """Put covariates into the lake; the next build-history gives the daily rows of their days the new prices."""
    place = Lake(lake or load().lake)
    checked = check(read_source(file))
    if checked.rows.empty:
        raise SetupError(f"{file} has no usable row: the first was refused because {checked.refused['reason'].iloc[0]}")
    forget_days(place, store(place, checked.rows))
    said = f"{len(checked.rows):,} rows are in the lake; {len(checked.refused):,} were refused."
    typer.echo(said)
    tell_refused(checked.refused, report, said)
    return said


def tell_refused(refused: pd.DataFrame, report: Path | None, said: str) -> None:
    """Show the first refusals, write all. Raises: SomeRefused: there are any; `said` is what the job did all the same."""
    for row in refused.head(SHOWN).itertuples():
        typer.echo(f"  row {row.row}: {row.reason}", err=True)
    if report is not None:
        lines = [json.dumps(row, ensure_ascii=False, default=str) for row in refused.to_dict("records")]
        report.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if len(refused) > SHOWN:
        where = f"see {report}" if report else "--report FILE has them all"
        typer.echo(f"  … and {len(refused) - SHOWN:,} more: {where}", err=True)
    if len(refused):
        raise SomeRefused(said)
