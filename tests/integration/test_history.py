"""The history of a real platform: Kafka, a ledger worker, Cassandra, and Spark with both connectors.

In: a platform of its own. Run: `pytest tests/integration/test_history.py` (about a minute).
Levels are compared with what the ledger itself says was there at each day's end.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from inventorybot import wiring
from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
from inventorybot.adapters.cassandra.evidence import CassandraEvidence
from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.cassandra.session import Database
from inventorybot.domain.alerts import Anomaly, Knowledge, Status
from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.events import Kind, Movement
from inventorybot.ports import CountRow
from inventorybot.wire.codec import Message, movement_message, to_ms
from ml.history.build import build_anomalies, build_counts, build_days
from ml.history.cassandra_source import CassandraSource
from ml.history.kafka_source import KafkaSource, kafka_options
from ml.history.lake import Lake, read, read_daily
from ml.history.session import point_at_cassandra
from tests.badinput import Case
from tests.e2e.rig import Platform, until

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
DAYS, SITES, BINS, SKUS = 10, ("S1", "S2"), [f"B{i}" for i in range(8)], ["k", "l", "m"]
pytestmark = [pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]


def at(days_ago: int, hour: float) -> int:
    midnight = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC) - timedelta(days=days_ago)
    return to_ms(midnight + timedelta(hours=hour))


def story() -> list[Movement]:
    """600 movements of ten days in no order, transfers and cycle counts among them."""
    rng, told = random.Random(4), []
    for number in range(600):
        kind = rng.choice([k for k in Kind if k is not Kind.TRANSFER_IN])
        here, there = rng.sample(BINS, 2)
        to_bin = there if kind in (Kind.PUT_AWAY, Kind.MOVE) or (kind is Kind.PICK and number % 2) else None
        when = at(rng.randint(1, DAYS), rng.randint(0, 23))
        told.append(
            Movement(
                f"e{number}",
                kind,
                when,
                rng.choice(SITES),
                here,
                rng.choice(SKUS),
                rng.randint(1, 9),
                to_bin,
                None,
                "wms",
            )
        )
    return told


def messages(told: list[Movement]) -> list[Message]:
    """As published: every ninth twice, one that can never be read."""
    bad = Case("bad", raw=b"nonsense").record(at(1, 3))
    nonsense = Message("inventory.updates", bad.key or b"", bad.value or b"", bad.headers)
    return [movement_message(m) for m in [*told, *told[::9]]] + [nonsense]


async def publish(platform: Platform, records: list[Message]) -> None:
    async with wiring.publisher(platform.settings) as publisher:
        await publisher.publish(records)


def expected_rows(told: list[Movement]) -> int:
    return len(told) + sum(m.to_bin is not None for m in told)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    found = Platform(tmp_path_factory.mktemp("history"))
    try:
        found.start()
        found.worker("ledger")
        asyncio.run(publish(found, messages(story())))
        until("every movement is in the ledger", lambda: found.rows() == expected_rows(story()))
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def database(platform: Platform) -> Iterator[Database]:
    found = wiring.database(platform.settings)
    yield found
    found.close()


@pytest.fixture(scope="module")
def ledger(platform: Platform, spark: SparkSession) -> CassandraSource:
    point_at_cassandra(spark, platform.settings, platform.folder)
    return CassandraSource(spark, platform.settings.cassandra_keyspace, 400)


@pytest.fixture(scope="module")
def lake(platform: Platform, spark: SparkSession, ledger: CassandraSource) -> Lake:
    made = Lake(str(platform.folder / "lake"))
    build_days(spark, made, ledger, until=YESTERDAY, whole=YESTERDAY)
    return made


def as_the_ledger_says(database: Database, days: list[date]) -> dict[tuple[date, str, str, str], int]:
    """Units at the end of each day, of every slot that is not empty then."""
    store = CassandraLedger(database)

    async def ask() -> dict[tuple[date, str, str, str], int]:
        found = {}
        for day in days:
            ends = at((TODAY - day).days, 24) - 1
            for site in SITES:
                for name in BINS:
                    for sku, units in (await store.bin_levels_as_of((site, name), ends)).items():
                        if units:
                            found[day, site, name, sku] = units
        return found

    return asyncio.run(ask())


def as_the_lake_says(lake: Lake) -> dict[tuple[date, str, str, str], int]:
    levels = read(lake, "levels")
    return {(r.day.date(), r.site, r.bin, r.sku): r.on_hand for r in levels.itertuples() if r.on_hand}


def test_levels_at_each_days_end_are_those_that_the_ledger_tells(lake: Lake, database: Database) -> None:
    days = lake.days("levels")
    assert days[-1] == YESTERDAY
    assert as_the_lake_says(lake) == as_the_ledger_says(database, days)


def test_the_ledger_is_read_by_its_partitions_and_with_the_arrival_of_each_row(
    lake: Lake, ledger: CassandraSource, platform: Platform
) -> None:
    plan = ledger.movements([YESTERDAY])._jdf.queryExecution().executedPlan().toString()
    assert "Cassandra Direct Join" in plan
    moves = read(lake, "movements")
    assert len(moves) == expected_rows(story())
    now = pd.Timestamp.now(tz="UTC")
    assert moves["arrived_at"].between(now - pd.Timedelta(minutes=20), now).all()
    assert moves["revision"].min() >= 2048 << 40


def test_from_kafka_come_the_same_movements_exactly_once(
    platform: Platform, spark: SparkSession, lake: Lake, tmp_path: Path
) -> None:
    other = Lake(str(tmp_path))
    log = KafkaSource(spark, platform.settings, other, epoch=0, partitions=6, reach_days=400)
    assert log.ingest() >= expected_rows(story()) + len(story()[::9])  # events that were told twice are two events
    assert log.ingest() == 0
    build_days(spark, other, log, until=YESTERDAY, whole=YESTERDAY)
    for dataset in ("movements", "daily", "levels", "corrections"):
        pd.testing.assert_frame_equal(read(other, dataset), read(lake, dataset))


def test_late_events_repair_the_lake(
    platform: Platform, spark: SparkSession, lake: Lake, ledger: CassandraSource, database: Database
) -> None:
    late = [
        Movement(f"late{i}", Kind.RECEIPT, at(DAYS - 2, i), "S1", name, "k", 100, None, None, "wms")
        for i, name in enumerate(BINS)
    ]
    asyncio.run(publish(platform, [movement_message(m) for m in late]))
    until("the late ones are there", lambda: platform.rows() == expected_rows(story()) + len(late))
    built = build_days(spark, lake, ledger, until=YESTERDAY, whole=YESTERDAY)
    assert built.changed == [TODAY - timedelta(days=DAYS - 2)]
    assert as_the_lake_says(lake) == as_the_ledger_says(database, lake.days("levels"))
    assert (read_daily(lake).groupby(["site", "sku"]).size() > DAYS - 2).all()


def test_counts_and_anomalies_come_with_how_they_ended(
    spark: SparkSession, lake: Lake, ledger: CassandraSource, database: Database
) -> None:
    weights = [0.0] * 21
    weights[3], weights[4] = 0.75, 0.25
    seen = CountDistribution(tuple(weights))
    row = CountRow("S1", "B0", at(2, 5), "img-1", seen, (0.0,) * 21, "count@v1", "0/1", None, at(2, 6), 4, 0.75)
    counted = read(lake, "corrections").iloc[-1]
    when = to_ms(counted["counted_at"].to_pydatetime())

    def anomaly(name: str, status: Status, reason: str | None = None, ended: int = 0) -> tuple[Anomaly, int]:
        return Anomaly(name, "bin-variance", counted["site"], counted["bin"], None, status, when - 1000, ended or when - 500,
                       Knowledge(probability=0.9, recorded=4, estimate=3), close_reason=reason), 1  # fmt: skip

    told = {
        "open": anomaly("open", Status.OPEN), "right": anomaly("right", Status.CLOSED, "record-right"),
        "wrong": anomaly("wrong", Status.CLOSED, "record-corrected"), "other": anomaly("other", Status.CLOSED, "other"),
        "counted": anomaly("counted", Status.RESOLVED, ended=when + 1000),
    }  # fmt: skip

    async def write() -> None:
        await CassandraEvidence(database, lambda: int(time.time() * 1000)).write({}, [row])
        await CassandraAnomalies(database).write(told, [])

    asyncio.run(write())
    assert build_counts(lake, ledger, YESTERDAY) == 1
    assert build_anomalies(spark, lake, ledger, YESTERDAY) == len(told)
    count = read(lake, "counts").iloc[0]
    assert (count["count"], count["confidence"], count["recorded"], count["model"]) == (3, 0.75, 4, "count@v1")
    outcomes = read(lake, "anomalies").set_index("id")["outcome"].to_dict()
    found = read(lake, "corrections")
    same = found[(found["site"] == counted["site"]) & (found["bin"] == counted["bin"])]
    near = same[
        (same["counted_at"] >= counted["counted_at"] - pd.Timedelta(days=1, seconds=1))
        & (same["counted_at"] <= counted["counted_at"])
    ]
    wrong = (near["found"] != near["recorded"]).any()
    assert outcomes == {
        "open": "unknown", "right": "refuted", "wrong": "confirmed", "other": "unknown",
        "counted": "confirmed" if wrong else "refuted",
    }  # fmt: skip


def test_spark_writes_to_both_and_reads_what_it_wrote(
    platform: Platform, spark: SparkSession, ledger: CassandraSource
) -> None:
    rows = spark.range(500).select(
        F.lit("S9").alias("site"), F.lit("2026-01-05").cast("timestamp").alias("period"), (F.col("id") % 16).cast("int").alias("shard"),
        F.concat(F.lit("sku-"), F.col("id")).alias("sku"), F.col("id").cast("double").alias("mean"),
    )  # fmt: skip
    table = {"keyspace": platform.settings.cassandra_keyspace, "table": "forecast_by_site"}
    rows.write.format("org.apache.spark.sql.cassandra").options(**table).mode("append").save()
    back = spark.read.format("org.apache.spark.sql.cassandra").options(**table).load().where("site = 'S9'")
    assert back.agg(F.sum("mean"), F.count("*")).first()[:] == (500 * 499 / 2, 500)

    brokers = kafka_options(platform.settings)
    told = rows.select(
        F.col("sku").cast("binary").alias("key"), F.col("mean").cast("string").cast("binary").alias("value")
    )
    told.write.format("kafka").options(**brokers, topic="inventory.plans").save()
    heard = (
        spark.read.format("kafka").options(**brokers, subscribe="inventory.plans", startingOffsets="earliest").load()
    )
    assert heard.agg(F.sum(F.col("value").cast("string").cast("double")), F.count("*")).first()[:] == (
        500 * 499 / 2,
        500,
    )
