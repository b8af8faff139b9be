"""`inventorybot jobs run import-sales SOURCE`: sales that a business already has, into the lake; and what was refused, row by row.

In: CSV or Parquet (a path, s3://…, any URL of fsspec) or a query over JDBC; store, item, day, units, optional price, under the
names that `inventorybot forecast` knows. Out: the lake's dataset `sales`, a line on each row that was refused.
Exit code: 0; 1 where rows were refused; 2: nothing was done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.progress import Progress

from inventorybot.settings import load
from ml.history.lake import Lake
from ml.history.sales import import_sales as merge
from ml.history.sales import read_jdbc, read_source
from ml.jobs.import_covariates import tell_refused


def import_sales(
    source: Annotated[str, typer.Argument(help="Path, URL, or jdbc:… with --query.")],
    query: Annotated[str, typer.Option(help="SQL whose rows are the sales, for jdbc:….")] = "",
    driver: Annotated[str, typer.Option(help="Class of the JDBC driver, where its jar does not say.")] = "",
    s3_endpoint: Annotated[str, typer.Option(help="Endpoint of an S3-compatible store; empty: AWS.")] = "",
    store: Annotated[str, typer.Option(help="Column of the site; empty: found by its name.")] = "",
    item: Annotated[str, typer.Option(help="Column of the SKU; empty: found by its name.")] = "",
    day: Annotated[str, typer.Option(help="Column of the day; empty: found by its name.")] = "",
    units: Annotated[str, typer.Option(help="Column of the units sold; empty: found by its name.")] = "",
    lake: Annotated[str, typer.Option(help="Folder or URL of the lake; empty: INVENTORYBOT_LAKE.")] = "",
    report: Annotated[Path | None, typer.Option(help="Write every refusal here, as JSON lines.")] = None,
) -> str:
    """Put daily sales from elsewhere into the lake; of a site, SKU and day the newest import stays."""
    settings = load()
    place = Lake(lake or settings.lake)
    if source.startswith("jdbc:"):
        frame = _over_jdbc(source, query, driver)
    else:
        frame = read_source(source, {"endpoint_url": s3_endpoint} if s3_endpoint else None)
    named = {"store": store, "item": item, "period": day, "units": units}
    with Progress(transient=True) as progress:
        task = progress.add_task("Writing days", total=None)
        done = merge(
            frame, place, {role: column for role, column in named.items() if column},
            lambda n, total: progress.update(task, completed=n, total=total),
        )  # fmt: skip
    for what, count in done.cleaned.repaired.items():
        typer.echo(f"  {count:,} {what}")
    if len(done.cleaned.outliers):
        typer.echo(f"  {len(done.cleaned.outliers):,} sales are far out of the ordinary; models see them capped")
    said = f"{done.rows:,} rows from {done.first} to {done.last} are in the lake; {len(done.cleaned.refused):,} were refused."
    typer.echo(said)
    tell_refused(done.cleaned.refused, report, said)
    return said


def _over_jdbc(url: str, query: str, driver: str) -> pd.DataFrame:
    from inventorybot.errors import SetupError
    from ml.history.session import spark_session

    if not query:
        raise SetupError('a database needs --query, such as --query "SELECT store, item, day, units FROM sales"')
    options: dict[str, Any] = {"connectors": False}
    with spark_session("import-sales", load(), **options) as spark:
        return read_jdbc(spark, url, query, driver)
