"""`inventorybot verify` on a real Kafka, a real Cassandra and a real ledger worker: right first, then with every harm done.

In: a platform of its own. Run: `pytest tests/integration/test_verify.py` (about a minute).
The harm is done by CQL behind the ledger's back, and undone; every kind must be found, and nothing once it is undone.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rich.progress import Progress

from inventorybot import wiring
from inventorybot.adapters.cassandra.session import Database
from inventorybot.domain.events import Kind, Movement
from inventorybot.wire.codec import Message, movement_message
from services.verify.cli import run
from tests.badinput import Case
from tests.e2e.rig import Platform

NOW = int(time.time() * 1000)
LATE = 9_000_000_000_000_000
"""A write time above every revision the ledger uses, so that the harm wins."""
pytestmark = [pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")]


def story() -> list[Message]:
    """30 events of five bins: receipts, moves, duplicates, a cycle count between them, one late event and two bad ones."""
    told: list[Movement] = []
    for i in range(5):
        told.append(Movement(f"r-{i}", Kind.RECEIPT, NOW - 60_000 + i, "S", f"B{i}", "K", 10, None, None, "wms"))
        told.append(
            Movement(f"m-{i}", Kind.MOVE, NOW - 50_000 + i, "S", f"B{i}", "K", 2, f"B{(i + 1) % 5}", None, "wms")
        )
        told.append(Movement(f"c-{i}", Kind.CYCLE_COUNT, NOW - 40_000 + i, "S", f"B{i}", "K", 7, None, None, "wms"))
        told.append(Movement(f"s-{i}", Kind.SALE, NOW - 30_000 + i, "S", f"B{i}", "K", 1, None, None, "wms"))
        told.append(Movement(f"a-{i}", Kind.ADJUSTMENT, NOW - 45_000 + i, "S", f"B{i}", "K", -1, None, None, "wms"))
    messages = [movement_message(m) for m in [*told, *told[::8]]]
    for case in (Case("bad", raw=b"nonsense"), Case("other id", attributes={"id": "x"}, key=b"elsewhere")):
        record = case.record(NOW)
        messages.append(Message("inventory.updates", record.key or b"", record.value or b"", record.headers))
    return messages


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    found = Platform(tmp_path_factory.mktemp("verify"))
    try:
        found.start()
        found.worker("ledger")
        asyncio.run(publish(found, story()))
        yield found
    finally:
        found.stop()


async def publish(platform: Platform, messages: list[Message]) -> None:
    async with wiring.publisher(platform.settings) as publisher:
        await publisher.publish(messages)


@pytest.fixture(scope="module")
def database(platform: Platform) -> Iterator[Database]:
    found = wiring.database(platform.settings)
    yield found
    found.close()


def checked(platform: Platform, settle_s: float = 120.0) -> dict[str, Any]:
    """What `inventorybot verify --json` says, without the cost of a process each time."""
    return run(platform.settings, Progress(disable=True), settle_s=settle_s).as_json()


def numbers(report: dict[str, Any]) -> dict[str, int]:
    return {kind: report[kind] for kind in ("lost", "double_counted", "differing", "half_applied") if report[kind]}


def test_nothing_is_wrong_after_an_ordinary_story(platform: Platform) -> None:
    done = platform.run("verify", "--json", "--settle", "120", check=False)
    report = json.loads(done.stdout)
    assert report["ok"], json.dumps(report, indent=1)
    assert done.returncode == 0
    assert report["counts"]["facts"] == 30  # 25 told and 5 arrivals of the moves
    assert report["counts"]["duplicates"] >= 4
    assert report["counts"]["slots"] == 5
    assert report["dead_letters"] == {"not-json": 1, "bad-key": 1}


def test_a_person_gets_a_table_and_a_sentence(platform: Platform) -> None:
    done = platform.run("verify")
    assert "Nothing is lost, nothing is counted twice." in done.stdout


def test_a_ledger_row_that_vanishes_is_lost(platform: Platform, database: Database) -> None:
    row = database.execute("SELECT * FROM ledger_by_bin LIMIT 100")[0]
    key = (row.site, row.bucket, row.week, row.bin, row.occurred_at, row.event_id)
    where = "WHERE site = %s AND bucket = %s AND week = %s AND bin = %s AND occurred_at = %s AND event_id = %s"
    columns = [c for c in row._fields if getattr(row, c) is not None]
    database.execute(f"DELETE FROM ledger_by_bin USING TIMESTAMP {LATE} {where}", key)
    report = checked(platform)
    assert report["lost"] == 1
    assert platform.run("verify", check=False).returncode == 1
    assert row.event_id in json.dumps(report["findings"])
    database.execute(
        f"INSERT INTO ledger_by_bin ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "
        f"USING TIMESTAMP {LATE + 1}",
        tuple(getattr(row, c) for c in columns),
    )
    report = checked(platform)
    assert report["ok"], json.dumps(report, indent=1)


def test_a_row_too_many_is_double_counted(platform: Platform, database: Database) -> None:
    row = database.execute("SELECT * FROM ledger_by_bin LIMIT 1")[0]
    columns = [c for c in row._fields if getattr(row, c) is not None]
    values = {c: getattr(row, c) for c in columns} | {"event_id": "a-ghost"}
    database.execute(
        f"INSERT INTO ledger_by_bin ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})",
        tuple(values[c] for c in columns),
    )
    report = checked(platform)
    assert report["double_counted"] == 1
    database.execute(
        f"DELETE FROM ledger_by_bin USING TIMESTAMP {LATE} "
        "WHERE site = %s AND bucket = %s AND week = %s AND bin = %s AND occurred_at = %s AND event_id = %s",
        (row.site, row.bucket, row.week, row.bin, row.occurred_at, "a-ghost"),
    )
    report = checked(platform)
    assert report["ok"], json.dumps(report, indent=1)


@pytest.mark.parametrize("table", ["level_by_bin", "level_by_sku"])
def test_a_level_that_was_altered_is_differing(table: str, platform: Platform, database: Database) -> None:
    row = database.execute(f"SELECT site, bucket, bin, sku, on_hand FROM {table} LIMIT 1")[0]
    where = "WHERE site = %s AND bucket = %s AND bin = %s AND sku = %s"
    for shift, on_hand in enumerate((row.on_hand + 1, row.on_hand)):
        update = f"UPDATE {table} USING TIMESTAMP {LATE + shift} SET on_hand = %s {where}"
        database.execute(update, (on_hand, row.site, row.bucket, row.bin, row.sku))
        report = checked(platform)
        assert numbers(report) == ({"differing": 1} if shift == 0 else {})


def test_a_ledger_that_is_behind_is_said_to_be_so(platform: Platform) -> None:
    worker = platform.workers[-1]
    worker.kill()
    worker.wait(10)
    extra = Movement("late", Kind.RECEIPT, NOW, "S", "B9", "K", 1, None, None, "wms")
    asyncio.run(publish(platform, [movement_message(extra)]))
    done = platform.run("verify", "--settle", "1", check=False)
    assert done.returncode == 1
    assert "1 events behind" in done.stdout
    platform.worker("ledger")
    report = checked(platform)
    assert report["ok"], json.dumps(report, indent=1)


def test_a_database_that_is_away_is_one_clear_sentence(platform: Platform) -> None:
    env = platform.env | {"INVENTORYBOT_CASSANDRA_PORT": "1"}
    platform.env, before = env, platform.env
    try:
        done = platform.run("verify", "--wait", "0", check=False)
    finally:
        platform.env = before
    assert done.returncode == 2
    assert "inventorybot: cassandra:" in done.stderr


def test_a_broker_that_is_away_is_one_clear_sentence(platform: Platform) -> None:
    platform.env, before = platform.env | {"INVENTORYBOT_KAFKA": "127.0.0.1:1"}, platform.env
    try:
        done = platform.run("verify", check=False)
    finally:
        platform.env = before
    assert done.returncode == 2
    assert "inventorybot: kafka:" in done.stderr
