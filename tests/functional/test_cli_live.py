"""`publish` and `dead-letters` as people run them, on a real Kafka and a real Cassandra."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inventorybot import wiring
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.kafka import Topics
from inventorybot.adapters.kafka_log import KafkaLog
from inventorybot.errors import BadEvent
from inventorybot.ports import DeadLetter
from inventorybot.settings import Settings, load
from inventorybot.wire import codec
from inventorybot.wire.codec import Record, TimeLimits, rfc3339
from inventorybot.wire.topics import TOPICS
from services.local.cassandra import Node
from services.local.kafka import Broker

KEYSPACE = "cli_live"
NOW = rfc3339(time.time_ns() // 1_000_000 - 60_000)
RECEIPT = "inventorybot.movement.receipt.v1"


@pytest.fixture(scope="module")
def environment(kafka: Broker, cassandra: Node) -> dict[str, str]:
    found = {
        "INVENTORYBOT_KAFKA": kafka.bootstrap, "INVENTORYBOT_CASSANDRA_HOSTS": cassandra.host,
        "INVENTORYBOT_CASSANDRA_PORT": str(cassandra.port), "INVENTORYBOT_CASSANDRA_KEYSPACE": KEYSPACE,
    }  # fmt: skip
    settings = load(found)
    Topics(wiring.kafka_config(settings)).create(TOPICS, settings.partitions, 1)
    database = wiring.database(settings, keyspace=False)
    migrate(database, KEYSPACE, datacenter=settings.cassandra_datacenter, replication=1)
    database.close()
    return found


def inventorybot(environment: dict[str, str], *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inventorybot", *words], env={**os.environ, "COLUMNS": "300", **environment},
        input=stdin, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


async def arrived(settings: Settings, *ids: str) -> list[Record]:
    log = KafkaLog(wiring.kafka_config(settings))
    oldest, end = await log.bounds("inventory.updates")
    found = [r async for batch in log.read("inventory.updates", oldest, end) for r in batch]
    log.close()
    return [r for r in found if dict(r.headers).get("ce_id", b"").decode() in ids]


def test_publish_accepts_the_good_lines_reports_the_bad_and_exits_with_1(
    environment: dict[str, str], tmp_path: Path
) -> None:
    rows = f"type,id,time,site,bin,sku,quantity\nreceipt,cli-1,{NOW},BER1,A-1,B00X,3\nreceipt,cli-2,{NOW},BER1,A-1,B00X,0\n"
    report = tmp_path / "refused.jsonl"
    dry = inventorybot(environment, "publish", "-", "--dry-run", stdin=rows)
    assert (dry.returncode, dry.stdout) == (1, "2 events: 1 would be accepted, 1 refused.\n")
    assert asyncio.run(arrived(load(environment), "cli-1")) == []
    done = inventorybot(environment, "publish", "-", "--report", str(report), stdin=rows)
    assert (done.returncode, done.stdout) == (1, "2 events: 1 accepted, 1 refused.\n")
    assert done.stderr.startswith("line 3: out-of-range at /data/quantity: quantity")
    (refusal,) = map(json.loads, report.read_text().splitlines())
    assert (refusal["line"], refusal["id"], refusal["code"], refusal["path"]) == (
        3,
        "cli-2",
        "out-of-range",
        "/data/quantity",
    )
    assert [r.key for r in asyncio.run(arrived(load(environment), "cli-1", "cli-2"))] == [b"BER1/A-1"]


def test_publish_without_a_broker_says_so_in_one_sentence_and_exits_with_2(environment: dict[str, str]) -> None:
    row = f"type,time,site,bin,sku,quantity\nreceipt,{NOW},BER1,A-1,B00X,3\n"
    away = {**environment, "INVENTORYBOT_KAFKA": "127.0.0.1:9", "INVENTORYBOT_RETRY_LIMIT_S": "1"}
    done = inventorybot(away, "publish", "-", stdin=row)
    assert done.returncode == 2
    assert "0 events are safe. Publish the same file again" in done.stderr
    assert "Traceback" not in done.stderr
    missing = inventorybot(environment, "publish", "no-such-file.csv")
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)


async def _bury(settings: Settings, *records: Record) -> None:
    database = wiring.database(settings)
    letters = CassandraDeadLetters(database, wiring.kafka_config(settings))
    for record in records:
        try:
            codec.read_movement(record, TimeLimits())
        except BadEvent as error:
            await letters.put([DeadLetter.of(record, error)])
    letters.close()
    database.close()


def _record(offset: int, event_id: str, key: bytes, value: bytes) -> Record:
    head = {"specversion": "1.0", "id": event_id, "source": "wms", "type": RECEIPT, "time": NOW}
    headers = [(f"ce_{k}", v.encode()) for k, v in head.items()]
    return Record("inventory.updates", 0, offset, key, value, headers, time.time_ns() // 1_000_000)


def test_dead_letters_are_listed_shown_corrected_and_replayed(environment: dict[str, str], tmp_path: Path) -> None:
    settings = load(environment)
    good = b'{"site":"BER1","bin":"A-1","sku":"B00X","quantity":3}'
    wrong_key, no_units = (
        _record(901, "dl-1", b"oops", good),
        _record(902, "dl-2", b"BER1/A-1", good.replace(b"3", b"0")),
    )
    asyncio.run(_bury(settings, wrong_key, no_units))
    listed = inventorybot(environment, "dead-letters", "list", "--json")
    assert {(x["offset"], x["code"]) for x in map(json.loads, listed.stdout.splitlines())} == {
        (901, "bad-key"), (902, "out-of-range")
    }  # fmt: skip
    assert (
        "inventory.updates:0:902" in inventorybot(environment, "dead-letters", "list", "--code", "out-of-range").stdout
    )
    copy = tmp_path / "value.json"
    shown = inventorybot(environment, "dead-letters", "show", "inventory.updates:0:902", "--out", str(copy))
    assert copy.read_bytes() == no_units.value
    assert "out-of-range" in shown.stdout
    first = inventorybot(environment, "dead-letters", "replay", "--all")
    assert (first.returncode, first.stdout.splitlines()[-1]) == (1, "1 replayed, 1 not.")
    assert "inventory.updates:0:902: still out-of-range at /data/quantity" in first.stderr
    corrected = tmp_path / "right.json"
    corrected.write_bytes(good)
    second = inventorybot(environment, "dead-letters", "replay", "inventory.updates:0:902", "--with", str(corrected))
    assert (second.returncode, second.stdout.splitlines()[-1]) == (0, "1 replayed, 0 not.")
    third = inventorybot(environment, "dead-letters", "replay", "--all")
    assert third.stdout == "0 replayed, 0 not.\n"
    found = asyncio.run(arrived(settings, "dl-1", "dl-2"))
    assert sorted((dict(r.headers)["ce_id"], r.key, r.value) for r in found) == [
        (b"dl-1", b"BER1/A-1", good), (b"dl-2", b"BER1/A-1", good)
    ]  # fmt: skip


def test_there_is_one_sentence_for_each_mistake(environment: dict[str, str]) -> None:
    for words, said in (
        (["show", "inventory.updates:0:1"], "There is no dead letter"),
        (["replay"], "Say which"),
        (["replay", "--all", "--with", "x.json"], "--with corrects one"),
    ):
        done = inventorybot(environment, "dead-letters", *words)
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
