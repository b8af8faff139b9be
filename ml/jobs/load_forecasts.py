"""`inventorybot jobs run load-forecasts FILE`: the forecasts of a file into the store, and what was refused, row by row.

In: what `inventorybot forecast` writes, Parquet or CSV: store, item, period, mean, q05, q25, q50, q75, q95; units a period;
a period is a date (2026-11-23), a week (2026-W48) or a month (2026-11). Out: the `ForecastStore`; a line on each row that
was refused. Good rows are stored whatever the others are. Exit code: 0; 1 where rows were refused; 2: nothing was done.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.progress import Progress

from inventorybot import wiring
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.clock import now_ms
from inventorybot.domain.forecast import NAMES, Forecast
from inventorybot.errors import BadEvent, Code, SetupError
from inventorybot.ports import ForecastStore
from inventorybot.settings import load
from inventorybot.wire.codec import to_ms
from ml.jobs import SomeRefused

CHUNK = 4096
"""Rows that are written together."""
SHOWN = 20
"""Refusals that the terminal shows; --report has them all."""
COLUMNS = ("store", "item", "period", "mean", *NAMES)
_PLACES = {"site": "store", "sku": "item"}

Row = tuple[int, dict[str, Any]]
"""Number, from 1 (of a CSV file: its line, the header being line 1), and cells."""


def load_forecasts(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV, as `inventorybot forecast` writes it.")],
    model: Annotated[str, typer.Option(help="Who says so: the model and its release.")] = "forecast",
    report: Annotated[Path | None, typer.Option(help="Write every refusal here, as JSON lines.")] = None,
) -> None:
    """Store the forecasts of a file; of one store, item and period those loaded last stay."""
    rows, total = read_rows(file)
    database = wiring.database(load())
    try:
        with Progress(transient=True) as progress:
            task = progress.add_task("Storing", total=total)
            stored, refused = asyncio.run(
                store_rows(rows, CassandraForecasts(database), model, now_ms(), lambda n: progress.advance(task, n))
            )
    finally:
        database.close()
    for refusal in refused[:SHOWN]:
        typer.echo(f"row {refusal['row']}: {refusal['code']} at {refusal['path']}: {refusal['reason']}", err=True)
    if report is not None:
        report.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in refused), encoding="utf-8")
    said = f"{stored + len(refused):,} rows: {stored:,} stored, {len(refused):,} refused."
    typer.echo(said)
    if refused:
        raise SomeRefused(said) if stored else typer.Exit(1)


async def store_rows(
    rows: Iterator[Row], store: ForecastStore, model: str, made_at: int, advance: Any = lambda _: None
) -> tuple[int, list[dict[str, Any]]]:
    """Store the good rows; returns how many, and of each other one its row, code, path and reason. Raises: TryLater."""
    stored, refused, seen = 0, [], set()
    while chunk := list(itertools.islice(rows, CHUNK)):
        good = []
        for number, cells in chunk:
            try:
                forecast = forecast_of(cells, model, made_at)
                key = (forecast.site, forecast.sku, forecast.period)
                if key in seen:
                    raise BadEvent(Code.CONTRADICTION, "", "an earlier row is of the same store, item and period")
                seen.add(key)
                good.append(forecast)
            except BadEvent as error:
                refused.append({"row": number, "code": error.code, "path": error.path, "reason": error.reason})
        await store.write(good)
        stored += len(good)
        advance(len(chunk))
    return stored, refused


def forecast_of(cells: dict[str, Any], model: str, made_at: int) -> Forecast:
    """A row as a forecast. Args: made_at: ms. Raises: BadEvent: the path names the column."""
    numbers = [_number(name, cells.get(name)) for name in ("mean", *NAMES)]
    found = Forecast(
        _name(cells.get("store")), _name(cells.get("item")), _period(cells.get("period")), numbers[0],
        tuple(numbers[1:]), model, made_at,
    )  # fmt: skip
    try:
        found.check()
    except BadEvent as error:
        field = error.path.removeprefix("/")
        name = _PLACES.get(field, field)
        raise BadEvent(error.code, f"/{name}", error.reason.replace(f"{field} must", f"{name} must", 1)) from None
    return found


def read_rows(file: Path) -> tuple[Iterator[Row], int | None]:
    """The rows of a file, and how many they are where that is known. Raises: SetupError."""
    try:
        if file.name.lower().endswith((".csv", ".csv.gz")):
            with _text(file) as stream:
                _need(file, next(csv.reader(stream), ()))
            return _csv_rows(file), None
        table = pq.ParquetFile(file)
        _need(file, table.schema_arrow.names)
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise SetupError(f"{file} cannot be read as Parquet or CSV: {error}") from error
    batches = table.iter_batches(CHUNK, columns=list(COLUMNS))
    return enumerate(itertools.chain.from_iterable(b.to_pylist() for b in batches), 1), table.metadata.num_rows


def _text(file: Path) -> Any:
    """The file to read, unpacked; what is not UTF-8 becomes a name that is refused."""
    return fsspec.open(str(file), "rt", compression="infer", newline="", encoding="utf-8", errors="surrogateescape")


def _csv_rows(file: Path) -> Iterator[Row]:
    with _text(file) as stream:
        reader = csv.DictReader(stream)
        for cells in reader:
            yield reader.line_num, cells


def _need(file: Path, have: Any) -> None:
    missing = [name for name in COLUMNS if name not in have]
    if missing:
        raise SetupError(f"{file} lacks the column {missing[0]}; a forecast has {', '.join(COLUMNS)}")


def _name(value: Any) -> str:
    return "" if value is None else str(value)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        code = Code.MISSING_FIELD if value in (None, "") else Code.WRONG_TYPE
        raise BadEvent(code, f"/{name}", f"{name} must be a number of units, not {value!r}") from None


def _period(value: Any) -> int:
    """The begin of a period, ms."""
    try:
        if isinstance(value, str):
            value = date.fromisoformat(f"{value}-01" if len(value) == 7 and value[5] != "W" else value)
        return to_ms(datetime(value.year, value.month, value.day, tzinfo=UTC))
    except (ValueError, AttributeError):
        said = f"period must be a date, a week or a month, such as 2026-11-23, 2026-W48 or 2026-11, not {value!r}"
        raise BadEvent(Code.BAD_TIME, "/period", said) from None
