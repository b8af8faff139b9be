"""The lake as its readers see it. Run: pytest tests/unit/history/test_lake.py."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.history.kafka_source import home_of
from ml.history.lake import SCHEMAS, Lake, read, read_daily


def test_a_lake_that_is_not_there_yet_is_empty_with_all_its_columns(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "nothing"))
    for name, schema in SCHEMAS.items():
        frame = read(lake, name)
        assert frame.empty
        assert list(frame.columns) == schema.names
    assert lake.days("daily") == []


def test_only_the_days_that_are_asked_for_are_read(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for number in (1, 2, 3):
        folder = Path(lake.path("daily", date(2026, 1, number)))
        folder.mkdir(parents=True)
        columns = {
            name: [0]
            for name in SCHEMAS["daily"].names
            if name not in ("day", "site", "sku", "counted", "in_stock", "price")
        }
        row = pd.DataFrame(
            {"site": ["S"], "sku": ["x"], **columns, "in_stock": [1.0], "price": [None], "counted": [None]}
        )
        row.astype({"counted": "Int64", "price": float, "censored": bool}).to_parquet(folder / "part.parquet")
    (Path(lake.path("daily", date(2026, 1, 1))) / "part.parquet").write_bytes(b"torn")  # not read, so not noticed
    daily = read_daily(lake, date(2026, 1, 2), date(2026, 1, 2))
    assert daily["day"].tolist() == [pd.Timestamp("2026-01-02")]
    assert daily["counted"].isna().all()
    with pytest.raises(SetupError, match="holds a file that is no Parquet"):
        read_daily(lake)


def test_a_missing_lake_and_an_unknown_dataset_are_said_so() -> None:
    with pytest.raises(SetupError, match="set INVENTORYBOT_LAKE"):
        Lake("")
    with pytest.raises(SetupError, match="the lake has no dataset 'dayly': it has movements"):
        read(Lake("somewhere"), "dayly")
    with pytest.raises(SetupError, match="cannot be opened"):
        Lake("ftps3://x").path("daily")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("s3://bucket/lake/", "s3a://bucket/lake/daily"),
        ("/data/lake", "file:///data/lake/daily"),
        ("hdfs://n/l", "hdfs://n/l/daily"),
    ],
)
def test_spark_takes_paths_in_its_own_words(url: str, path: str) -> None:
    assert Lake(url).spark_path("daily") == path


@pytest.mark.parametrize(
    ("key", "hash_"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)]
)
def test_the_partition_of_a_key_is_javas(key: bytes, hash_: int) -> None:
    """Values from Apache Kafka's own UtilsTest.testMurmur2."""
    assert home_of(key, 1_000_003) == (hash_ & 0x7FFFFFFF) % 1_000_003
