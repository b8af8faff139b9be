"""Forecasts from a file: the good rows are stored, each other one is named with its column and the reason."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from inventorybot.adapters.memory.forecasts import MemoryForecasts
from inventorybot.errors import BadEvent, SetupError
from ml.jobs import JOBS
from ml.jobs.cli import app
from ml.jobs.load_forecasts import COLUMNS, forecast_of, read_rows, store_rows

MONDAY = 1_795_392_000_000  # 2026-11-23T00:00:00Z
MADE_AT = 1_795_243_020_000
GOOD: dict[str, Any] = {
    "store": "BER1", "item": "K1", "period": "2026-11-23", "mean": 4.5,
    "q05": 1, "q25": 2.5, "q50": 4, "q75": 6, "q95": 9.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "code", "path"),
    [
        ({"store": ""}, "out-of-range", "/store"),
        ({"item": " K1"}, "out-of-range", "/item"),
        ({"period": "soon"}, "bad-time", "/period"),
        ({"period": None}, "bad-time", "/period"),
        ({"mean": ""}, "missing-field", "/mean"),
        ({"q50": "four"}, "wrong-type", "/q50"),
        ({"q50": float("nan")}, "out-of-range", "/q50"),
        ({"q05": -1}, "out-of-range", "/q05"),
        ({"q75": 3.9}, "contradiction", "/q75"),
    ],
)
def test_a_row_that_is_no_forecast_is_refused_with_its_column(cells: dict[str, Any], code: str, path: str) -> None:
    with pytest.raises(BadEvent) as refused:
        forecast_of(GOOD | cells, "m", MADE_AT)
    assert (refused.value.code, refused.value.path) == (code, path)
    assert path[1:] in refused.value.reason


@pytest.mark.parametrize("period", ["2026-11-23", "2026-W48", "2026-W48-1"])
def test_a_period_is_a_date_or_a_week(period: str) -> None:
    assert forecast_of(GOOD | {"period": period}, "m", MADE_AT).period == MONDAY


def test_stores_and_items_that_are_numbers_are_names() -> None:
    found = forecast_of(GOOD | {"store": 0, "item": 17}, "m", MADE_AT)
    assert (found.site, found.sku) == ("0", "17")


def test_a_month_begins_with_its_first_day() -> None:
    assert forecast_of(GOOD | {"period": "2026-12"}, "m", MADE_AT).period == MONDAY + 8 * 86_400_000


def _csv(folder: Path, rows: list[dict[str, Any]]) -> Path:
    lines = [",".join(COLUMNS), *(",".join(str(row[c]) for c in COLUMNS) for row in rows)]
    path = folder / "forecast.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "forecast.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _packed(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "forecast.csv.gz"
    path.write_bytes(gzip.compress(_csv(folder, rows).read_bytes()))
    return path


@pytest.mark.parametrize(("write", "first"), [(_csv, 2), (_packed, 2), (_parquet, 1)])
async def test_good_rows_are_stored_and_the_others_reported_by_row(tmp_path: Path, write: Any, first: int) -> None:
    rows = [GOOD, GOOD | {"item": "K2", "q95": 0}, GOOD | {"item": "K3"}, GOOD]
    found, _ = read_rows(write(tmp_path, rows))
    store = MemoryForecasts()
    stored, refused = await store_rows(found, store, "weekly@v3", MADE_AT)
    assert [x.sku for x in await store.of_site("BER1", MONDAY)] == ["K1", "K3"]
    assert stored == 2
    assert [(r["row"], r["code"], r["path"]) for r in refused] == [
        (first + 1, "contradiction", "/q95"), (first + 3, "contradiction", "")
    ]  # fmt: skip


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="lacks the column store"):
        read_rows(_parquet(tmp_path, [{"item": "K1"}]))
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(SetupError, match="cannot be read"):
        read_rows(tmp_path / "x.parquet")


def test_every_job_is_listed_and_has_help() -> None:
    listed = CliRunner().invoke(app, ["list"])
    assert all(name in listed.output for name in JOBS)
    for name in JOBS:
        assert CliRunner().invoke(app, ["run", name, "--help"]).exit_code == 0, name
    assert CliRunner().invoke(app, ["run", "no-such-job"]).exit_code == 2
