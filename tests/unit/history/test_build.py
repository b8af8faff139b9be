"""Building the lake: the same twice, late events repaired, crashes healed; with Spark, but with movements from a table.

Run: pytest tests/unit/history/test_build.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from inventorybot.errors import SetupError, TryLater
from ml.history.build import Built, build_days
from ml.history.fold import day_of, fold_days
from ml.history.lake import Lake, read, read_daily
from ml.history.state import forget_days, load_state
from ml.history.tables import spark_schema
from tests.unit.history.worlds import DAY, NOTHING, random_moves

FIRST = day_of(DAY)
DAYS = 40  # more than are folded at once


class Told:
    """A source that knows what it was told; it dies where `dies_at` is among the days asked for."""

    name = "told"

    def __init__(self, spark: SparkSession, moves: pd.DataFrame) -> None:
        self.spark, self.moves, self.dies_at = spark, moves, None

    def day_counts(self, last: date, known: date | None) -> dict[date, int]:
        counts = Counter(day_of(at // 86_400_000_000) for at in self.moves["at"])
        return {day: rows for day, rows in counts.items() if day <= last}

    def movements(self, days: Iterable[date]) -> DataFrame:
        wanted = set(days)
        if self.dies_at in wanted:
            raise TryLater("cassandra", "went away")
        frame = self.moves.assign(
            day=[day_of(at // 86_400_000_000) for at in self.moves["at"]],
            occurred_at=pd.to_datetime(self.moves["at"], unit="us", utc=True), source="wms", reason=None,
        )  # fmt: skip
        frame = frame.assign(arrived_at=frame["occurred_at"])
        schema = spark_schema("movements")
        return self.spark.createDataFrame(frame[frame["day"].isin(wanted)][schema.names], schema)


def build(source: Told, lake: Lake, last: int = DAYS - 1, **more: object) -> Built:
    until = FIRST + timedelta(days=last)
    return build_days(source.spark, lake, source, until=until, whole=until, **more)


def rows_of(lake: Lake) -> dict[str, bytes]:
    """Every file of the lake's datasets, by day: the same rows in the same order are the same bytes."""
    root = Path(lake.url)
    return {str(f.parent.relative_to(root)): f.read_bytes() for f in root.rglob("*.parquet")}


@pytest.fixture(scope="module")
def moves() -> pd.DataFrame:
    return random_moves(np.random.default_rng(11), 1500, days=DAYS)


@pytest.fixture(scope="module")
def whole(spark: SparkSession, moves: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("whole")))
    build(Told(spark, moves), lake)
    return lake


def test_what_spark_makes_is_what_the_plain_function_makes(moves: pd.DataFrame, whole: Lake) -> None:
    local = fold_days(moves, NOTHING, DAY, DAY + DAYS - 1)
    keys = {"levels": ["day", "site", "bin", "sku"], "daily": ["day", "site", "sku"]}
    for dataset, by in keys.items():
        mine = (
            getattr(local, dataset)
            .assign(day=lambda t: pd.to_datetime(t["day"], unit="D"))
            .sort_values(by, ignore_index=True)
        )
        theirs = read(whole, dataset)[list(mine.columns)].sort_values(by, ignore_index=True)
        pd.testing.assert_frame_equal(mine, theirs, check_dtype=False)
    assert len(read(whole, "movements")) == len(moves)
    assert len(read(whole, "corrections")) == (moves["kind"] == "cycle-count").sum()


def test_a_second_build_finds_nothing_to_do_and_a_forced_one_makes_the_same_files(
    spark: SparkSession, moves: pd.DataFrame, whole: Lake
) -> None:
    before = rows_of(whole)
    assert build(Told(spark, moves), whole).changed == []
    forced = build(Told(spark, moves), whole, forced=[FIRST + timedelta(days=37)])
    assert (forced.first, forced.last) == (FIRST + timedelta(days=37), FIRST + timedelta(days=39))
    assert rows_of(whole) == before


def test_late_events_repair_their_day_and_the_levels_of_all_later_ones(
    spark: SparkSession, moves: pd.DataFrame, whole: Lake, tmp_path: Path
) -> None:
    lake, late = Lake(str(tmp_path)), moves["revision"] % 50 == 0
    build(Told(spark, moves[~late]), lake)
    repaired = build(Told(spark, moves), lake)
    assert set(repaired.changed) == {day_of(at // 86_400_000_000) for at in moves[late]["at"]}
    assert rows_of(lake) == rows_of(whole)


def test_a_build_that_was_cut_short_is_finished_by_the_next(
    spark: SparkSession, moves: pd.DataFrame, whole: Lake, tmp_path: Path
) -> None:
    lake, late = Lake(str(tmp_path)), moves["at"] < (DAY + 2) * 86_400_000_000
    build(Told(spark, moves[~late]), lake)
    gone = moves[moves["at"] >= (DAY + 35) * 86_400_000_000].iloc[:1]
    source = Told(spark, moves.drop(gone.index))
    source.dies_at = day_of(gone["at"].iloc[0] // 86_400_000_000)  # in the second month: the first is whole by then
    with pytest.raises(TryLater):
        build(source, lake)
    assert load_state(lake).whole_until == FIRST + timedelta(days=30)
    build(Told(spark, moves), lake)
    assert rows_of(lake) == rows_of(whole)


def test_a_day_that_is_not_over_is_built_again(spark: SparkSession, moves: pd.DataFrame, tmp_path: Path) -> None:
    lake, source = Lake(str(tmp_path)), Told(spark, moves)
    until = FIRST + timedelta(days=2)
    build_days(spark, lake, source, until=until, whole=until - timedelta(days=1))
    assert lake.days("daily")[-1] == until
    assert load_state(lake).whole_until == until - timedelta(days=1)
    assert build(source, lake, last=2).first == until


def test_days_whose_prices_have_become_known_are_made_anew_with_them(
    spark: SparkSession, moves: pd.DataFrame, tmp_path: Path
) -> None:
    lake, source = Lake(str(tmp_path)), Told(spark, moves)
    build(source, lake, last=2)
    assert read_daily(lake)["price"].isna().all()
    known = [
        (None, "sku-1", "price", 3.0, FIRST),
        ("S0", "sku-1", "price", 2.5, FIRST),
        (None, None, "price", 9.0, FIRST),
    ]
    (tmp_path / "covariates").mkdir()
    frame = pd.DataFrame(known, columns=["site", "sku", "name", "value", "day"])
    frame.to_parquet(tmp_path / "covariates" / "a.parquet")
    forget_days(lake, [FIRST])
    build(source, lake, last=2)
    daily = read_daily(lake, FIRST, FIRST).set_index(["site", "sku"])["price"]
    assert daily.get(("S0", "sku-1"), 2.5) == 2.5
    assert {daily[key] for key in daily.index if key[1] == "sku-1" and key[0] != "S0"} <= {3.0}
    assert daily[[key for key in daily.index if key[1] != "sku-1"]].isna().all()


def test_a_broken_state_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "_state").mkdir()
    (tmp_path / "_state" / "history.json").write_text('{"version": 1}')
    with pytest.raises(SetupError, match="delete it, and the next build starts from the beginning"):
        load_state(Lake(str(tmp_path)))
