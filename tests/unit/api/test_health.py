"""Probes tell the truth, part by part; errors are problems everywhere; limits of time hold."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from inventorybot.ports import Level
from services.api.app import create_app
from services.api.parts import Limits
from tests.api_world import World


@pytest.fixture
def world() -> World:
    return World()


async def test_ready_names_every_part(world: World) -> None:
    async with world.client() as api:
        answer = await api.get("/readyz")
    assert answer.status_code == 200
    assert {name: part["ok"] for name, part in answer.json()["parts"].items()} == {"kafka": True, "cassandra": True}


async def test_a_part_that_is_away_makes_it_not_ready_but_not_dead(world: World) -> None:
    world.log.down = True
    async with world.client() as api:
        answer = await api.get("/readyz")
        assert (await api.get("/livez")).status_code == 200
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "retry-after" in answer.headers
    parts = answer.json()["parts"]
    assert (parts["kafka"]["ok"], parts["cassandra"]["ok"]) == (False, True)
    assert "no broker answers" in parts["kafka"]["said"]


async def test_a_part_that_hangs_is_not_waited_for(world: World) -> None:
    parts = replace(world.parts(), checks={"cassandra": lambda: asyncio.sleep(60)})
    transport = httpx.ASGITransport(create_app(parts), False)
    async with asyncio.timeout(30), httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        answer = await api.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["cassandra"]["said"] == "no answer within 1 s"


async def test_metrics_count_requests_by_route(world: World) -> None:
    async with world.client() as api:
        await api.get("/v1/sites/BER1/bins")
        text = (await api.get("/metrics")).text
    assert 'inventorybot_http_seconds_count{method="GET",route="/v1/sites/{site}/bins",status="200"}' in text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/v1/events", 405)])
async def test_routing_errors_are_problems_too(world: World, method: str, path: str, status: int) -> None:
    async with world.client() as api:
        answer = await api.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert status != 405 or answer.headers["allow"] == "POST"


class _Hanging:
    """Levels that never come, or come to harm."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def bin_levels(self, key: tuple[str, str]) -> list[Level]:
        if self._error:
            raise self._error
        await asyncio.sleep(60)
        return []


async def _levels(world: World, levels: _Hanging, limits: Limits) -> httpx.Response:
    parts = replace(world.parts(), levels=levels, limits=limits)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(create_app(parts), False)
    async with asyncio.timeout(30), httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        return await api.get("/v1/sites/BER1/bins/A-1/levels")


async def test_a_request_that_takes_too_long_is_told_to_come_again(world: World) -> None:
    answer = await _levels(world, _Hanging(), Limits(request_s=0.1))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_a_fault_of_ours_tells_the_log_and_not_the_caller(world: World) -> None:
    answer = await _levels(world, _Hanging(ValueError("a secret of the inside")), Limits())
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "secret" not in answer.text
