"""The API on a real Kafka and a real Cassandra: what it accepts is there, what it streams is complete, what is away it says.

In: the fixtures `kafka` and `cassandra`. Levels and anomalies are put in through the stores, as the agents do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from inventorybot import wiring
from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.kafka import Topics
from inventorybot.adapters.kafka_log import KafkaLog
from inventorybot.domain.alerts import Knowledge, Step, advance
from inventorybot.domain.ledger import Bin, LedgerRow, apply
from inventorybot.errors import BadEvent, Code
from inventorybot.ports import BinWrite, DeadLetter, LedgerEntry
from inventorybot.settings import Settings, load
from inventorybot.wire import codec
from inventorybot.wire.anomalies import read_step, step_message
from inventorybot.wire.codec import Message, TimeLimits, rfc3339
from inventorybot.wire.topics import TOPICS
from services.api.cli import assemble
from services.local.cassandra import Node
from services.local.checks import free_ports
from services.local.kafka import Broker
from tests.api_world import P, event, serve
from tests.unit.api.test_stream import subscribe, take

KEYSPACE = "api_live"


@pytest.fixture(scope="module")
def settings(kafka: Broker, cassandra: Node) -> Settings:
    found = _settings(kafka, cassandra)
    Topics(wiring.kafka_config(found)).create(TOPICS, found.partitions, 1)
    database = wiring.database(found, keyspace=False)
    migrate(database, KEYSPACE, datacenter=found.cassandra_datacenter, replication=1)
    database.close()
    return found


def _settings(kafka: Broker, cassandra: Node) -> Settings:
    return load(_environment(kafka, cassandra))


def _environment(kafka: Broker, cassandra: Node) -> dict[str, str]:
    return {
        "INVENTORYBOT_KAFKA": kafka.bootstrap, "INVENTORYBOT_CASSANDRA_HOSTS": cassandra.host,
        "INVENTORYBOT_CASSANDRA_PORT": str(cassandra.port), "INVENTORYBOT_CASSANDRA_KEYSPACE": KEYSPACE,
    }  # fmt: skip


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The API, in this process, on the real parts."""
    database = wiring.database(settings)
    log, config = KafkaLog(wiring.kafka_config(settings)), wiring.kafka_config(settings)
    publisher, letters = wiring.publisher(settings, 3), CassandraDeadLetters(database, config)
    try:
        async with serve(assemble(settings, database, log, publisher, letters)) as api:
            yield api
    finally:
        publisher.close(1)
        letters.close()
        log.close()
        database.close()


def now() -> int:
    return time.time_ns() // 1_000_000


def receipt(event_id: str, quantity: object = 3) -> dict[str, object]:
    return event(quantity, id=event_id, time=rfc3339(now() - 1000))


async def records_of(settings: Settings, topic: str) -> list[codec.Record]:
    log = KafkaLog(wiring.kafka_config(settings))
    oldest, end = await log.bounds(topic)
    found = [r async for batch in log.read(topic, oldest, end) for r in batch]
    log.close()
    return found


async def test_what_is_accepted_lies_in_kafka_and_its_level_is_read_back(settings: Settings) -> None:
    async with running(settings) as api:
        assert (await api.get("/readyz")).status_code == 200
        answer = await api.post("/v1/events", json=[receipt("live-1"), receipt("live-2", 0), receipt("live-3", 4)])
        assert (answer.status_code, answer.json()["accepted"], answer.json()["refused"]) == (207, 2, 1)
        arrived = [
            r for r in await records_of(settings, "inventory.updates") if dict(r.headers)["ce_id"][:5] == b"live-"
        ]
        movements = [codec.read_movement(r, TimeLimits())[0] for r in arrived]
        assert [(m.event_id, m.quantity) for m in movements] == [("live-1", 3), ("live-3", 4)]
        database = wiring.database(settings)
        store, state, key = CassandraLedger(database), Bin(), ("BER1", "P-3-A12")
        entries = []
        for at, m in enumerate(movements, 1):
            apply(state, m, at)
            row = LedgerRow(m.occurred_at, at, m.sku, m.delta, m.is_count, m.event_id)
            entries.append(LedgerEntry(row, str(m.kind), m.source, now()))
        month = int(time.strftime("%Y%m", time.gmtime()))
        state.first_month = month
        write = BinWrite(key, state, 2, entries, {"B00EXAMPLE"}, {"B00EXAMPLE": ("live-1", now())})
        await store.write_rows([write])
        await store.write_levels([write])
        database.close()
        assert (await api.get("/v1/sites/BER1/bins/P-3-A12/levels")).json()["skus"] == {"B00EXAMPLE": 7}
        assert (await api.get("/v1/sites/BER1/skus/B00EXAMPLE/levels")).json()["on_hand"] == 7
        assert (await api.get("/v1/sites/BER1/levels")).json()["items"][0]["on_hand"] == 7
        history = (await api.get("/v1/sites/BER1/bins/P-3-A12/history")).json()["items"]
        assert sorted(x["event_id"] for x in history) == ["live-1", "live-3"]
        assert [x["name"] for x in (await api.get("/v1/sites")).json()["items"]] == ["BER1"]
        assert (await api.get("/v1/sites/BER1/bins/P-3-A12/counts")).json() == {"items": []}


async def _raise(settings: Settings, *names: str) -> None:
    async with wiring.publisher(settings) as publisher:
        await publisher.publish([_raised(name) for name in names])


def _raised(name: str) -> Message:
    knowledge = Knowledge(probability=0.9, recorded=6, estimate=4, looks=1, p=P, image_id="i", model="count@v1")
    step = Step(f"r-{name}", name, "bin-variance", "raised", now(), "BER1", f"bin-{name}", knowledge=knowledge)
    return step_message(step, "inventorybot/variance")


async def test_a_stream_resumed_over_a_restart_of_the_api_loses_nothing(settings: Settings) -> None:
    async with running(settings) as api, subscribe(api) as events:
        await anext(events)
        await _raise(settings, "a", "b", "c")
        heard = await take(events, 3)
    await _raise(settings, *(f"n{i}" for i in range(200)))  # while no API runs
    async with running(settings) as api, subscribe(api, last=heard[-1].id) as events:
        heard += await take(events, 120)
        last = heard[-1].id
    async with running(settings) as api, subscribe(api, last=last) as events:
        heard += await take(events, 80)
        await _raise(settings, "z")
        heard += await take(events, 1)
    assert sorted(e.anomaly for e in heard) == sorted(["a", "b", "c", *(f"n{i}" for i in range(200)), "z"])


async def test_a_step_taken_by_a_person_shows_once_the_fold_has_seen_it(settings: Settings) -> None:
    database = wiring.database(settings)
    store, log = CassandraAnomalies(database), KafkaLog(wiring.kafka_config(settings))
    step = Step("r-p", "person-1", "bin-variance", "raised", now(), "BER1", "A-9", knowledge=Knowledge(why="x"))
    anomaly = advance(None, step)
    assert anomaly is not None
    await store.write({"person-1": (anomaly, 1)}, [(1, step)])
    start = (await log.bounds("inventory.anomalies"))[1]

    async def fold() -> None:
        async for batch in log.read("inventory.anomalies", start):
            for told in map(read_step, batch):
                after = advance(anomaly, told)
                assert after is not None
                await store.write({told.anomaly_id: (after, 2)}, [(2, told)])

    task = asyncio.create_task(fold())
    async with running(settings) as api:
        answer = await api.post("/v1/anomalies/person-1/acknowledge", json={"actor": "kim"})
        assert (answer.status_code, answer.json()["status"]) == (200, "acknowledged"), answer.text
        listed = (await api.get("/v1/anomalies?status=acknowledged")).json()["items"]
        assert [a["id"] for a in listed] == ["person-1"]
    task.cancel()
    await asyncio.wait([task])
    log.close()
    database.close()


async def test_a_dead_letter_is_corrected_over_http_and_arrives(settings: Settings) -> None:
    async with running(settings) as api:
        headers = [(f"ce_{k}", str(v).encode()) for k, v in receipt("dead-1").items() if k != "data"]
        record = codec.Record("inventory.updates", 5, 999, b"wrong", b'{"site":"BER1"}', headers, now())
        database = wiring.database(settings)
        letters = CassandraDeadLetters(database, wiring.kafka_config(settings))
        await letters.put(
            [DeadLetter.of(record, BadEvent(Code.MISSING_FIELD, "/data/bin", "the field 'bin' is missing"))]
        )
        letters.close()
        database.close()
        url = "/v1/dead-letters/inventory.updates:5:999"
        assert (await api.get(url)).json()["value_text"] == '{"site":"BER1"}'
        still = await api.post(f"{url}/replay")
        assert (still.status_code, still.json()["code"]) == (422, "missing-field")
        assert (await api.post(f"{url}/replay", json={"data": receipt("x")["data"]})).status_code == 200
        assert (await api.get(url)).json()["replayed_at"] is not None
    arrived = [r for r in await records_of(settings, "inventory.updates") if dict(r.headers)["ce_id"] == b"dead-1"]
    assert [r.key for r in arrived] == [b"BER1/P-3-A12"]


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that a test may kill."""
    broker = Broker(tmp_path, *free_ports(2))
    broker.start()
    broker.wait_ready()
    yield broker
    broker.kill()


async def test_while_the_broker_is_dead_nothing_is_accepted_and_what_was_accepted_is_there_after(
    settings: Settings, own_broker: Broker, cassandra: Node
) -> None:
    own = _settings(own_broker, cassandra)
    Topics(wiring.kafka_config(own)).create(TOPICS, 2, 1)
    async with running(own) as api:
        assert (await api.post("/v1/events", json=receipt("before"))).status_code == 202
        own_broker.kill()
        refused = await api.post("/v1/events", json=receipt("during"))
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert int(refused.headers["retry-after"]) > 0
        ready = await api.get("/readyz")
        parts = ready.json()["parts"]
        assert (ready.status_code, parts["kafka"]["ok"], parts["cassandra"]["ok"]) == (503, False, True)
        own_broker.start()
        own_broker.wait_ready()
        async with asyncio.timeout(60):
            while (await api.post("/v1/events", json=receipt("after"))).status_code != 202:
                pass
        assert (await api.get("/readyz")).status_code == 200
    ids = {dict(r.headers)["ce_id"] for r in await records_of(own, "inventory.updates")}
    assert {b"before", b"after"} <= ids


async def test_the_command_serves_and_stops_when_told(settings: Settings, kafka: Broker, cassandra: Node) -> None:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "inventorybot", "api", "--port", str(port)]
    environment = {**os.environ, **_environment(kafka, cassandra)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)  # noqa: ASYNC220
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as api, asyncio.timeout(60):
            while True:
                try:
                    if (await api.get("/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    assert process.poll() is None
        second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: ASYNC221
        assert second.returncode == 2
        assert "cannot listen" in second.stderr
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        assert process.returncode in (0, -signal.SIGTERM)
        assert b'"route": "/readyz"' in out
    finally:
        process.kill()
        process.wait()
