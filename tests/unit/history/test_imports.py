"""What a business already has: sales from CSV, Parquet, S3 and a database; covariates; and a reason for every row refused.

Run: pytest tests/unit/history/test_imports.py.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import boto3
import pandas as pd
import pytest
from moto.server import ThreadedMotoServer
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from inventorybot.errors import SetupError
from ml.history.covariates import check, store
from ml.history.lake import Lake, read, read_demand
from ml.history.sales import import_sales, read_jdbc, read_source
from ml.history.state import State, load_state, save_state
from ml.history.tables import load_demand
from ml.jobs.cli import app
from ml.jobs.journal import OK, Journal

SALES = """shop,sku,date,qty,price
BER1,x,2026-01-01,3,2.5
BER1,x,2026-01-02,0,2.5
BER1,x,2026-01-03,2,2.5
BER1,x,2026-01-03,1,2.5
BER1,x,2026-01-04,many,2.5
,x,2026-01-04,1,2.5
BER1,y,2026-01-01,0,1.0
BER1,y,2026-01-02,4,1.0
BER1,y,2026-01-03,0,1.0
BER1,y,2026-01-04,5,1.0
BER1,x,2026-01-04,7,2.5
"""
SOLD = {  # the two rows of x on the third are one day
    ("x", 1): 3, ("x", 2): 0, ("x", 3): 3, ("x", 4): 7, ("y", 1): 0, ("y", 2): 4, ("y", 3): 0, ("y", 4): 5,
}  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text(SALES)
    return path


def sold(lake: Lake) -> dict[tuple[str, int], int]:
    return {(r.sku, r.day.day): r.sold for r in read(lake, "sales").itertuples()}


def test_a_csv_file_becomes_days_of_the_lake_with_every_refusal_told(csv: Path, lake: Lake) -> None:
    done = import_sales(read_source(str(csv)), lake)
    assert sold(lake) == SOLD
    assert done.cleaned.refused[["row", "reason"]].to_numpy().tolist() == [
        [5, "qty is not a number"],
        [6, "shop is empty"],
    ]
    assert (done.first, done.last) == (date(2026, 1, 1), date(2026, 1, 4))
    assert set(read(lake, "sales")["price"]) == {2.5, 1.0}


def test_the_same_import_twice_is_the_same_and_a_newer_one_wins(csv: Path, lake: Lake) -> None:
    import_sales(read_source(str(csv)), lake)
    import_sales(read_source(str(csv)), lake)
    assert sold(lake) == SOLD
    newer = pd.DataFrame({"store": "BER1", "item": "x", "day": ["2026-01-02", "2026-01-03"], "units": [8, 1]})
    import_sales(newer, lake)
    assert sold(lake) == {**SOLD, ("x", 2): 8, ("x", 3): 1}


def test_the_demand_of_a_day_is_the_ledgers_where_it_has_one_and_the_imported_elsewhere(
    spark: SparkSession, csv: Path, lake: Lake
) -> None:
    import_sales(read_source(str(csv)), lake)
    folder = Path(lake.path("daily", date(2026, 1, 4)))
    folder.mkdir(parents=True)
    own = pd.DataFrame({"site": ["BER1"], "sku": ["x"], "sold": [9], "censored": [True], "price": [None]})
    own.astype({"price": float}).to_parquet(folder / "a.parquet")
    demand = read_demand(lake).set_index(["sku", "day"])
    assert demand.loc[("x", "2026-01-04")][["sold", "censored"]].tolist() == [9, True]
    assert len(demand) == len(SOLD)
    in_spark = load_demand(spark, lake, date(2026, 1, 1), date(2026, 12, 31)).toPandas()
    assert {(r.sku, f"{r.day}"): r.sold for r in in_spark.itertuples()} == {
        (sku, f"{day:%Y-%m-%d}"): sold for (sku, day), sold in demand["sold"].items()
    }


def test_parquet_in_an_s3_store_is_read(csv: Path, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        s3.create_bucket(Bucket="shop")
        pd.read_csv(csv, dtype={"qty": str}).to_parquet(tmp_path / "sales.parquet")
        s3.upload_file(str(tmp_path / "sales.parquet"), "shop", "2026/sales.parquet")
        import_sales(read_source("s3://shop/2026/sales.parquet", {"endpoint_url": url}), lake)
        assert sold(lake) == SOLD
        with pytest.raises(SetupError, match=r"there is no s3://shop/nothing\.csv"):
            read_source("s3://shop/nothing.csv", {"endpoint_url": url})
    finally:
        server.stop()


@pytest.fixture
def derby(spark: SparkSession, tmp_path: Path) -> str:
    """A database in memory with the table SALES, made through Spark."""
    spark._jvm.java.lang.System.setProperty("derby.stream.error.file", str(tmp_path / "derby.log"))
    url = f"jdbc:derby:memory:{tmp_path.name};create=true"
    rows = [("BER1", "x", "2026-01-01", 3), ("BER1", "x", "2026-01-02", 4)]
    frame = spark.createDataFrame(rows, "store string, item string, day string, units int").selectExpr("store", "item", "to_date(day) AS day", "units")  # fmt: skip
    frame.write.format("jdbc").options(url=url, dbtable="SALES", driver="org.apache.derby.jdbc.EmbeddedDriver").save()
    return url


def test_a_query_over_jdbc_is_read(spark: SparkSession, derby: str, lake: Lake) -> None:
    driver = "org.apache.derby.jdbc.EmbeddedDriver"
    import_sales(read_jdbc(spark, derby, 'SELECT * FROM SALES WHERE "units" > 0', driver), lake)
    assert sold(lake) == {("x", 1): 3, ("x", 2): 4}
    with pytest.raises(SetupError, match=r"jdbc:derby:memory:.* was not read: .*NOPE"):
        read_jdbc(spark, derby, "SELECT * FROM NOPE", driver)


def test_a_weekly_table_is_refused_with_what_to_do_instead(lake: Lake) -> None:
    weekly = pd.DataFrame(
        {"store": "s", "item": "x", "week": pd.date_range("2026-01-05", periods=9, freq="7D"), "units": 3}
    )
    with pytest.raises(
        SetupError, match=r"the table is weekly, and the lake keeps days: .* `inventorybot forecast --sales`"
    ):
        import_sales(weekly, lake)


def test_covariates_are_checked_row_by_row(lake: Lake) -> None:
    frame = pd.DataFrame(
        [
            ("BER1", "x", "2026-01-01", "price", "2.5"), (None, None, "2026-01-01", "moon phase", 0.25), ("BER1", "x", "01-01", "price", 2),
            ("BER1", "x", "2026-01-01", "", 2), ("BER1", "x", "2026-01-01", "price", "cheap"), ("BER1", "x", None, "price", 2),
            ("BER1", "x", "2026-01-01", "price", -1), ("BER1", "x", "2026-01-01", "price", "inf"),
        ],
        columns=["site", "sku", "day", "name", "value"],
    )  # fmt: skip
    checked = check(frame)
    assert checked.refused.to_numpy().tolist() == [
        [3, "day is not a day such as 2026-11-20"], [4, "name is empty"], [5, "value is not a number"], [6, "day is empty"],
        [7, "a price is below 0"], [8, "value is not a number"],
    ]  # fmt: skip
    assert store(lake, checked.rows) == [date(2026, 1, 1)]
    newer = check(pd.DataFrame({"day": ["2026-01-01"], "name": ["Moon phase"], "value": [0.5]})).rows
    assert store(lake, newer) == []
    rows = {(r.site, r.sku, r.name): r.value for r in read(lake, "covariates").itertuples(index=False)}
    assert rows == {("BER1", "x", "price"): 2.5, (None, None, "moon phase"): 0.5}


def test_the_days_of_new_prices_are_no_longer_whole(lake: Lake, tmp_path: Path) -> None:
    save_state(lake, State(date(2026, 1, 9), {date(2026, 1, 1): 4}))
    path = tmp_path / "prices.csv"
    path.write_text("sku,day,name,value\nx,2026-01-05,price,3\nx,2026-02-05,price,3\n")
    done = CliRunner().invoke(app, ["run", "import-covariates", str(path), "--lake", lake.url])
    assert done.exit_code == 0, done.output
    assert load_state(lake).whole_until == date(2026, 1, 4)


def test_the_command_writes_a_report_and_ends_with_1_where_rows_were_refused(
    csv: Path, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVENTORYBOT_JOBS_STATE", str(tmp_path / "state"))
    report = tmp_path / "refused.jsonl"
    done = CliRunner().invoke(app, ["run", "import-sales", str(csv), "--lake", lake.url, "--report", str(report)])
    assert done.exit_code == 1
    assert "8 rows from 2026-01-01 to 2026-01-04 are in the lake; 2 were refused." in done.output
    assert [json.loads(line)["reason"] for line in report.read_text().splitlines()] == [
        "qty is not a number",
        "shop is empty",
    ]
    noted = Journal(tmp_path / "state").story("import-sales").last
    assert noted is not None
    assert (noted.result, noted.said) == (
        OK,
        "8 rows from 2026-01-01 to 2026-01-04 are in the lake; 2 were refused.",
    )
