"""A what-if over a real Kafka and a real Cassandra, from the request over HTTP to the prices that changed.

In: `inventorybot planner` as a process of its own, the API in this one, a made-up network in a folder. Expected: what
anybody would of a price: more room is worth less, and where a site is lost its goods go elsewhere.
Run: pytest tests/integration/test_what_if.py
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inventorybot import wiring
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.adapters.cassandra.schema import migrate
from inventorybot.adapters.kafka import Topics
from inventorybot.adapters.kafka_log import KafkaLog
from inventorybot.settings import Settings, load
from inventorybot.wire.codec import Message, rfc3339
from inventorybot.wire.schemas import PLAN_REQUESTED
from inventorybot.wire.topics import TOPICS
from ml.jobs.plan import describe, forecasts_of
from ml.planning.generate import Sizes, generate
from services.api.cli import assemble
from services.local.cassandra import Node
from services.local.kafka import Broker
from tests.api_world import serve

DEADLINE_S = 120.0  # a plan takes a second once torch is there, which takes five on a busy machine
WEEK = 7 * 86_400_000
SITES = 4


class Platform:
    """The API, and a planner beside it."""

    def __init__(self, api: httpx.AsyncClient, settings: Settings, planner: subprocess.Popen[bytes]) -> None:
        self.api, self.settings, self.planner = api, settings, planner

    async def planned(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask, and wait until the plan has ended."""
        answer = await self.api.post("/v1/plans", json={"by": "kim"} | body)
        assert answer.status_code == 202, answer.text
        async with asyncio.timeout(DEADLINE_S):
            while True:
                plan = (await self.api.get(answer.headers["location"])).json()
                if plan["state"] in ("ready", "failed"):
                    return plan
                assert self.planner.poll() is None, "the planner has ended"
                await asyncio.sleep(0.1)

    async def prices(self, plan: dict[str, Any]) -> dict[str, float]:
        """What a m³ is worth at each site, all periods together."""
        found: dict[str, float] = {}
        for p in (await self.api.get(f"/v1/plans/{plan['id']}/prices")).json()["items"]:
            found[p["site"]] = found.get(p["site"], 0.0) + p["storage"]
        return found

    async def inflow(self, plan: dict[str, Any]) -> dict[str, float]:
        """Units that each site gets, all periods together."""
        found: dict[str, float] = {}
        for period in range(plan["figures"]["periods"]):
            for f in (await self.api.get(f"/v1/plans/{plan['id']}/flows?period={period}")).json()["items"]:
                found[f["to_site"]] = found.get(f["to_site"], 0.0) + f["units"]
        return found


@pytest.fixture
async def platform(kafka: Broker, cassandra: Node, unique_name: str, tmp_path: Path) -> AsyncIterator[Platform]:
    environment = {
        "INVENTORYBOT_KAFKA": kafka.bootstrap, "INVENTORYBOT_CASSANDRA_HOSTS": cassandra.host,
        "INVENTORYBOT_CASSANDRA_PORT": str(cassandra.port), "INVENTORYBOT_CASSANDRA_KEYSPACE": unique_name,
        "INVENTORYBOT_PLAN_NETWORK": str(tmp_path / "network"), "INVENTORYBOT_PLAN_RESULTS": str(tmp_path / "plans"),
        "INVENTORYBOT_PLAN_AT": "", "INVENTORYBOT_DEVICE": "cpu",
    }  # fmt: skip
    settings = load(environment)
    Topics(wiring.kafka_config(settings)).create(TOPICS, 2, 1)
    database = wiring.database(settings, keyspace=False)
    migrate(database, unique_name, datacenter=settings.cassandra_datacenter, replication=1)
    made, now = generate(Sizes(40, SITES, 2, layers=2, tight=0.6), 3), time.time_ns() // 1_000_000
    describe(made, settings.plan_network)
    await CassandraForecasts(database).write(forecasts_of(made, now - now % WEEK, now))
    with (tmp_path / "planner.log").open("wb") as out:
        command = [sys.executable, "-m", "inventorybot", "planner"]
        planner = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)  # noqa: ASYNC220
    log, config = KafkaLog(wiring.kafka_config(settings)), wiring.kafka_config(settings)
    publisher, letters = wiring.publisher(settings), CassandraDeadLetters(database, config)
    try:
        async with serve(assemble(settings, database, log, publisher, letters)) as api:
            yield Platform(api, settings, planner)
    finally:
        planner.kill()
        planner.wait()
        publisher.close(1)
        letters.close()
        log.close()
        database.close()


async def test_more_room_is_worth_less_and_what_a_lost_site_got_goes_elsewhere(platform: Platform) -> None:
    today = await platform.planned({})
    assert today["state"] == "ready", today["reason"]
    assert (today["figures"]["sites"], today["figures"]["periods"]) == (SITES, 2)
    assert today["figures"]["violation"] <= 1e-9
    assert 0 <= today["figures"]["gap"] < 0.01
    before, got = await platform.prices(today), await platform.inflow(today)
    dearest = max(before, key=lambda site: before[site])
    assert before[dearest] > 0, "the network is made so tight that room is short"

    more = await platform.planned({"changes": [{"site": dearest, "storage_m3": 1000}]})
    assert (more["state"], more["base"]) == ("ready", today["id"]), more["reason"]
    assert (await platform.prices(more))[dearest] < before[dearest]
    assert more["figures"]["bound"] >= today["figures"]["value"], "more room never costs"

    lost = min((site for site in got if site != dearest), key=lambda site: -got[site])
    without = await platform.planned({"base": today["id"], "changes": [{"site": lost, "lost": True}]})
    assert without["state"] == "ready", without["reason"]
    after = await platform.inflow(without)
    assert after.get(lost, 0.0) == pytest.approx(0.0, abs=1e-6)
    assert any(after[site] > got.get(site, 0.0) + 1 for site in after)
    assert without["figures"]["value"] < today["figures"]["value"]

    for name in ("prices", "flows"):
        picture = await platform.api.get(f"/v1/plans/{without['id']}/{name}.svg")
        assert (picture.status_code, b"<svg" in picture.content) == (200, True)
    impossible = await platform.planned({"changes": [{"site": s, "lost": True} for s in before]})
    assert (impossible["state"], "nobody delivers to the region" in impossible["reason"]) == ("failed", True)

    publisher = wiring.publisher(platform.settings)
    head = {
        "specversion": "1.0",
        "id": "odd",
        "source": "t",
        "type": PLAN_REQUESTED,
        "time": rfc3339(time.time_ns() // 10**6),
    }
    await publisher.publish(
        [Message("inventory.plan-requests", b"odd", b'{"by":7}', [(f"ce_{k}", v.encode()) for k, v in head.items()])]
    )
    publisher.close()
    async with asyncio.timeout(DEADLINE_S):
        while True:
            listed = (await platform.api.get("/v1/dead-letters?topic=inventory.plan-requests")).json()["items"]
            if listed:
                break
            await asyncio.sleep(0.1)
    assert (listed[0]["code"], listed[0]["path"]) == ("wrong-type", "/data/by")
    platform.planner.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(platform.planner.wait, 20) == 0
