"""The live stream: whatever happens to the connection or the API, a subscriber that comes back has missed nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from inventorybot.adapters.memory.log import MemoryLog
from inventorybot.ports import Position
from inventorybot.wire.codec import Record
from inventorybot.wire.topics import ANOMALIES
from services.api.hub import Dropped, Hub
from services.api.parts import Limits
from tests.api_world import World

PATH = "/v1/anomalies/stream"


@dataclass
class Event:
    """One Server-Sent Event."""

    name: str = "message"
    data: str = ""
    id: str | None = None
    comments: list[str] = field(default_factory=list)

    @property
    def anomaly(self) -> str:
        return str(json.loads(self.data)["data"]["anomaly_id"])


@asynccontextmanager
async def subscribe(
    api: httpx.AsyncClient, last: str | None = None, **query: str
) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of a stream, parsed as a browser does."""
    headers = {"last-event-id": last} if last is not None else {}
    async with api.stream("GET", PATH, params=query, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer.aiter_lines())


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    event = Event()
    async for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            yield event
            event = Event()
        elif not name:
            event.comments.append(value)
        elif name == "event":
            event.name = value
        elif name in ("data", "id"):
            setattr(event, name, value)


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    """The next events that carry something."""
    found: list[Event] = []
    async with asyncio.timeout(30):
        async for event in events:
            if event.data:
                found.append(event)
                if len(found) == count:
                    return found
    raise AssertionError(f"the stream ended after {len(found)} of {count}")


async def raise_many(world: World, *names: str, **changed: Any) -> None:
    for name in names:
        await world.raise_anomaly(name, event_id=f"r-{name}", bin=f"bin-{name}", **changed)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_subscriber_hears_what_happens_from_now_on(world: World) -> None:
    await raise_many(world, "before")
    async with world.serve() as api, subscribe(api) as events:
        welcome = await anext(events)
        assert (welcome.comments, welcome.data) == (["welcome"], "")
        await raise_many(world, "a")
        (event,) = await take(events, 1)
    assert (event.name, event.anomaly) == ("raised", "a")
    assert json.loads(event.data)["type"] == "inventorybot.anomaly.raised.v1"


async def test_everything_that_is_kept_can_be_had_from_the_beginning(world: World) -> None:
    await raise_many(world, "a", "b", "c")
    async with world.serve() as api, subscribe(api, **{"from": "beginning"}) as events:
        assert sorted(e.anomaly for e in await take(events, 3)) == ["a", "b", "c"]


async def test_a_subscriber_that_comes_back_after_a_restart_has_missed_nothing_and_hears_nothing_twice(
    world: World,
) -> None:
    async with world.serve() as api, subscribe(api) as events:
        await anext(events)
        await raise_many(world, "a", "b")
        heard = await take(events, 2)
    await raise_many(world, "c", "d", "e")  # while no API runs
    async with world.serve() as api, subscribe(api, last=heard[-1].id) as events:
        heard += await take(events, 3)
        await raise_many(world, "f")
        heard += await take(events, 1)
    assert sorted(e.anomaly for e in heard) == ["a", "b", "c", "d", "e", "f"]


async def test_a_subscriber_cut_off_before_its_first_event_comes_back_to_where_it_began(world: World) -> None:
    await raise_many(world, "before")
    async with world.serve() as api:
        async with subscribe(api) as events:
            welcome = await anext(events)
        await raise_many(world, "a")
        async with subscribe(api, last=welcome.id) as events:
            assert [e.anomaly for e in await take(events, 1)] == ["a"]


async def test_filters_hold_and_the_id_moves_on_with_what_they_leave_out(world: World) -> None:
    async with world.serve() as api, subscribe(api, site="MUC2") as events:
        first = await anext(events)
        await raise_many(world, "a", "b")
        await raise_many(world, "c", site="MUC2")
        (event,) = await take(events, 1)
        assert event.anomaly == "c"
        await raise_many(world, "d")
        async with asyncio.timeout(30):
            async for beat in events:
                if beat.comments == ["heartbeat"] and beat.id is not None and sum(map(int, beat.id.split("."))) == 4:
                    break
    assert first.id == "0.0.0"


@pytest.mark.parametrize("last", ["x", "1..2", "1.2.3.4", "-1.0.0", "", "1.2.x", "9" * 30, "٣.0.0"])
async def test_a_malformed_last_event_id_is_a_400(world: World, last: str) -> None:
    async with world.serve() as api:
        answer = await api.get(PATH, headers={b"last-event-id": last.encode()})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_one_older_than_retention_is_told_of_the_gap_and_goes_on_from_the_oldest(world: World) -> None:
    await raise_many(world, *"abcdefgh")
    end = (await world.log.bounds(ANOMALIES.name))[1]
    lane = max(range(3), key=lambda p: end[p])
    world.log.retain_from(ANOMALIES.name, lane, 2)
    async with world.serve() as api, subscribe(api, last="0.0.0") as events:
        found = await take(events, 7)
    assert found[0].name == "gap"
    assert [e.name for e in found[1:]] == ["raised"] * 6


async def test_one_of_a_log_that_was_made_anew_goes_on_from_its_oldest(world: World) -> None:
    await raise_many(world, "a")
    async with world.serve() as api, subscribe(api, last="90.90.90") as events:
        found = await take(events, 2)
    assert [e.name for e in found] == ["gap", "raised"]


async def test_an_id_from_before_the_topic_had_all_its_partitions_reads_the_new_ones_whole(world: World) -> None:
    await raise_many(world, *"abcd")
    end = (await world.log.bounds(ANOMALIES.name))[1]
    async with world.serve() as api, subscribe(api, last=str(end[0])) as events:
        assert len(await take(events, 4 - end[0])) == 4 - end[0]


async def test_no_more_streams_are_opened_than_the_limit(world: World) -> None:
    world.limits = Limits(streams=1, heartbeat_s=0.1)
    async with world.serve() as api:
        async with subscribe(api) as events:
            await anext(events)
            refused = await api.get(PATH)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        async with asyncio.timeout(30):
            while True:  # the server learns of the disconnect a little later
                with suppress(AssertionError):
                    async with subscribe(api) as events:
                        await anext(events)
                        break


async def test_while_the_broker_is_down_a_new_stream_is_told_to_come_later(world: World) -> None:
    async with world.serve() as api:
        world.log.down = True
        answer = await api.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")


async def test_a_slow_subscriber_is_dropped_and_the_others_hear_everything(world: World) -> None:
    hub = Hub(world.log, ANOMALIES.name, queue=3)
    task = asyncio.create_task(hub.run())
    async with asyncio.timeout(30):
        start = await hub.ready(10)
        slow, quick = hub.follow(start, 60), hub.follow(start, 60)
        await raise_many(world, "0")
        assert await anext(slow)
        heard = [await anext(quick)]
        for n in range(1, 10):
            await raise_many(world, str(n))
            heard.append(await anext(quick))
        assert len(heard) == 10
        rest = [await anext(slow) for _ in range(3)]  # what its queue held
        assert len(rest) == 3
        with pytest.raises(Dropped, match="too slowly"):
            await anext(slow)
        again = hub.follow(tuple((await world.log.bounds(ANOMALIES.name))[0]), 60)  # it comes back, and nothing is lost
        assert len([await anext(again) for _ in range(10)]) == 10
    task.cancel()
    for generator in (slow, quick, again):
        await generator.aclose()


class _MadeAnew(MemoryLog):
    """A log whose topic is deleted and made again: after offset 5 of a partition comes its offset 0."""

    async def bounds(self, topic: str) -> tuple[Position, Position]:
        return (0, 0, 0), (5, 0, 0)

    async def read(
        self, topic: str, start: Position, until: Position | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        for offset in (5, 0):
            yield [Record(topic, 0, offset, b"k", b"{}", [], 0)]
        await asyncio.Event().wait()


async def test_partitions_that_the_topic_is_given_later_are_read_from_their_beginning(world: World) -> None:
    hub = Hub(world.log, ANOMALIES.name, queue=3, look_s=0.01)
    task = asyncio.create_task(hub.run())
    async with asyncio.timeout(30):
        start = await hub.ready(10)
        follower = hub.follow(start, 0.1)
        assert await anext(follower) is None
        new = world.log.add_partition(ANOMALIES.name)
        world.log.append(ANOMALIES.name, new, b"k", b"{}", [])
        with pytest.raises(Dropped, match="more partitions"):
            [beat async for beat in follower]
        again = hub.follow((*start, 0), 60)
        record = await anext(again)
    task.cancel()
    await again.aclose()
    assert record is not None
    assert (record.partition, record.offset) == (new, 0)


async def test_a_stream_opens_while_the_topic_has_partitions_that_the_hub_does_not_know_yet(world: World) -> None:
    async with world.serve() as api:
        async with subscribe(api) as events:
            known = str((await anext(events)).id)
        world.log.add_partition(ANOMALIES.name)
        async with subscribe(api, **{"from": "beginning"}) as events:
            welcome = await anext(events)
    assert str(welcome.id).count(".") == known.count(".")


async def test_when_the_topic_is_made_anew_every_subscriber_must_come_again() -> None:
    hub = Hub(_MadeAnew(), ANOMALIES.name, queue=3)
    follower = hub.follow((5, 0, 0), 0.1)
    hub._position = (5, 0, 0)
    first = asyncio.create_task(anext(follower))
    await asyncio.sleep(0)  # it is attached
    task = asyncio.create_task(hub.run())
    async with asyncio.timeout(30):
        record = await first
        assert record is not None
        assert record.offset == 5
        with pytest.raises(Dropped, match="made anew"):
            [beat async for beat in follower]
    task.cancel()
