"""The count agent on the fakes: what a robot publishes, and what comes of it; and how a new model takes over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import pytest

from inventorybot import telemetry
from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.adapters.memory.vision import MemoryBlobs, MemoryCountModel
from inventorybot.domain.events import BinImage
from inventorybot.errors import SetupError, TryLater
from inventorybot.wire.codec import Message, Record, TimeLimits, image_message, read
from inventorybot.wire.schemas import BinCountData
from streaming.agents.count import CountAgent, Serving
from tests.unit.agents.stage import NOON, as_records

IMAGES = "inventory.bin-images"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def image(name: str, jpeg: bytes | None = b"3", url: str | None = None) -> Message:
    event = BinImage(name, NOON - 5000, "S1", "B1", jpeg, url, "cam-1", "robot-7")
    return image_message(event, TRACE)


class Shelf:
    """A registry in memory: `current` names the release in service; some do not load."""

    def __init__(self) -> None:
        self.current, self.broken, self.away, self.now = "v1", set[str](), False, 0.0
        self.unreachable = set[str]()
        self.loads: list[str] = []

    async def ask(self) -> str:
        if self.away:
            raise TryLater("model registry", "no answer")
        return self.current

    def load(self, release: str) -> MemoryCountModel:
        self.loads.append(release)
        if release in self.unreachable:
            raise TryLater("model registry", "no answer")
        if release in self.broken:
            raise SetupError(f"{release} is damaged")
        return MemoryCountModel(release)


class Scene:
    """A count agent and everything around it."""

    def __init__(self) -> None:
        self.shelf, self.topic, self.dead = Shelf(), MemoryPublisher(), MemoryDeadLetters()
        self.blobs = MemoryBlobs({"s3://pods/1.jpg": b"7"})
        serving = Serving(self.shelf.ask, self.shelf.load, poll_s=5.0, clock=lambda: self.shelf.now, spare="v0")
        self.agent = CountAgent(serving, self.blobs, self.topic, self.dead, limits=TimeLimits(), now=lambda: NOON)

    def counts(self) -> list[BinCountData]:
        return [msgspec.json.decode(m.value, type=BinCountData) for m in self.topic.messages]

    async def until(self, done: Callable[[], bool]) -> None:
        """Handle pictures, five seconds apart by the agent's clock, until something has happened."""
        deadline = time.monotonic() + 10
        while not done():
            assert time.monotonic() < deadline
            self.shelf.now += 5
            await self.agent.handle(as_records(IMAGES, [image("x")]))
            await asyncio.sleep(0.005)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_picture_becomes_a_count_that_says_where_it_came_from(scene: Scene) -> None:
    record = Record(IMAGES, 4, 15, b"S1/B1", image("i1").value, tuple(image("i1").headers), NOON)
    await scene.agent.handle([record])
    (sent,) = scene.topic.messages
    data, head = read(Record("inventory.bin-counts", 0, 0, sent.key, sent.value, tuple(sent.headers), 0), BinCountData)
    assert (sent.topic, sent.key) == ("inventory.bin-counts", b"S1/B1")
    assert (head.time, head.type) == (NOON - 5000, "inventorybot.bin-count.estimated.v1")
    assert head.traceparent is not None
    assert head.traceparent.split("-")[1] == TRACE.split("-")[1]
    assert head.traceparent != TRACE
    assert (data.image_id, data.image_at, data.count, data.confidence) == ("i1", "4:15", 3, pytest.approx(0.9))
    assert (data.model.name, data.model.version) == ("count", "v1")
    assert data.image_arrived is not None
    assert data.image_arrived.timestamp() * 1000 == NOON
    assert data.prior == [1 / 21] * 21


async def test_a_redelivered_picture_is_the_same_event(scene: Scene) -> None:
    for offset in (0, 0, 9):
        await scene.agent.handle(as_records(IMAGES, [image("i1")], offset))
    assert len({dict(m.headers)["ce_id"] for m in scene.topic.messages}) == 1
    await scene.agent.handle(as_records(IMAGES, [image("i2")]))
    assert len({dict(m.headers)["ce_id"] for m in scene.topic.messages}) == 2


async def test_a_picture_by_reference_is_fetched(scene: Scene) -> None:
    await scene.agent.handle(as_records(IMAGES, [image("i1", None, "s3://pods/1.jpg")]))
    assert [(c.count, c.image_url) for c in scene.counts()] == [(7, "s3://pods/1.jpg")]


async def test_bad_pictures_go_to_the_dead_letters_and_never_stop_their_neighbours(scene: Scene) -> None:
    good = image("good")
    records = as_records(
        IMAGES, [good, image("c", b"not a jpeg"), image("gone", None, "s3://pods/2.jpg"), image("e"), good]
    )  # fmt: skip
    records[3] = Record(IMAGES, 0, 3, b"S1/B1", b"not json", records[3].headers, NOON)
    records.append(Record(IMAGES, 0, 5, b"S1/B2", good.value, tuple(good.headers), NOON))
    records.append(Record(IMAGES, 0, 6, b"S1/B1", good.value, tuple(good.headers), NOON + 500 * 86_400_000))
    await scene.agent.handle(records)
    assert {x.offset: x.code for x in scene.dead.letters.values()} == {
        1: "image-corrupt", 2: "image-unreachable", 3: "not-json", 5: "bad-key", 6: "bad-time"
    }  # fmt: skip
    assert [c.image_id for c in scene.counts()] == ["good", "good"]


async def test_a_batch_of_nothing_but_bad_pictures_is_handled(scene: Scene) -> None:
    await scene.agent.handle(as_records(IMAGES, [image("c", b"?")]))
    assert scene.topic.messages == []
    assert len(scene.dead.letters) == 1


async def test_a_store_that_does_not_answer_stops_nobody_and_its_pictures_can_be_replayed(scene: Scene) -> None:
    scene.blobs.down = True
    await scene.agent.handle(as_records(IMAGES, [image("i1", None, "s3://pods/1.jpg"), image("i2")]))
    (letter,) = scene.dead.letters.values()
    assert (letter.offset, letter.code, letter.path) == (0, "image-unreachable", "/data/image_url")
    assert letter.reason == "s3: the store does not answer; replay this event when the store answers again"
    assert [c.image_id for c in scene.counts()] == ["i2"]


async def test_a_broker_that_does_not_answer_leaves_the_batch_to_be_done_again(scene: Scene) -> None:
    records = as_records(IMAGES, [image("i1")])
    scene.topic.down = True
    with pytest.raises(TryLater):
        await scene.agent.handle(records)
    scene.topic.down = False
    await scene.agent.handle(records)
    assert len(scene.counts()) == 1


async def test_a_newer_release_takes_over_without_a_restart(scene: Scene) -> None:
    await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    scene.shelf.current = "v2"
    scene.shelf.now = 4.9  # not yet time to ask
    await scene.agent.handle(as_records(IMAGES, [image("i2")]))
    assert scene.shelf.loads == ["v1"]
    await scene.until(lambda: scene.counts()[-1].model.version == "v2")
    versions = [c.model.version for c in scene.counts()]
    assert versions == sorted(versions)
    assert scene.shelf.loads == ["v1", "v2"]
    assert _metric(telemetry.MODEL, "inventorybot_model_info", version="v2") == 1


async def test_the_release_in_service_serves_while_the_newer_one_loads(scene: Scene) -> None:
    await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    ready, load = asyncio.Event(), scene.shelf.load
    loop = asyncio.get_running_loop()

    def slow(release: str) -> MemoryCountModel:
        asyncio.run_coroutine_threadsafe(ready.wait(), loop).result(10)
        return load(release)

    scene.agent._serving._load = slow
    scene.shelf.current, scene.shelf.now = "v2", 5.0
    for n in range(5):
        await scene.agent.handle(as_records(IMAGES, [image(f"j{n}")]))
    assert {c.model.version for c in scene.counts()} == {"v1"}
    ready.set()
    await scene.until(lambda: scene.counts()[-1].model.version == "v2")


async def test_a_release_that_does_not_load_leaves_the_old_one_in_service_and_is_tried_again_ever_more_rarely(
    scene: Scene,
) -> None:
    """
    asked at (s)     5   10   15   20   25   30   35   40 …
    tried            x         x                   x        waits 10, 20, 40 … 300
    """
    refused = _metric(telemetry.MODEL_SWAPS, "inventorybot_model_swaps_total", outcome="refused")
    await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    scene.shelf.current = "v2"
    scene.shelf.broken.add("v2")
    tried: list[float] = []
    while scene.shelf.now < 1000:
        scene.shelf.now += 5
        await scene.agent.handle(as_records(IMAGES, [image("x")]))
        search = scene.agent._serving._search
        assert search is not None
        await search
        if len(scene.shelf.loads) > len(tried) + 1:
            tried.append(scene.shelf.now)
    assert tried == [5, 15, 35, 75, 155, 315, 615, 915]
    assert {c.model.version for c in scene.counts()} == {"v1"}
    assert _metric(telemetry.MODEL_SWAPS, "inventorybot_model_swaps_total", outcome="refused") == refused + 8
    scene.shelf.broken.clear()  # somebody has repaired it
    await scene.until(lambda: scene.counts()[-1].model.version == "v2")
    assert scene.shelf.now <= 1230


async def test_a_release_that_does_not_load_does_not_keep_the_next_one_waiting(scene: Scene) -> None:
    await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    scene.shelf.current = "v2"
    scene.shelf.broken.add("v2")
    await scene.until(lambda: len(scene.shelf.loads) == 2)
    scene.shelf.current = "v3"
    await scene.until(lambda: scene.counts()[-1].model.version == "v3")
    assert "v2" not in {c.model.version for c in scene.counts()}


async def test_a_release_whose_files_cannot_be_reached_is_tried_again_at_every_look(scene: Scene) -> None:
    later = _metric(telemetry.MODEL_SWAPS, "inventorybot_model_swaps_total", outcome="later")
    await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    scene.shelf.current = "v2"
    scene.shelf.unreachable.add("v2")
    await scene.until(lambda: len(scene.shelf.loads) >= 4)
    assert scene.counts()[-1].model.version == "v1"
    assert _metric(telemetry.MODEL_SWAPS, "inventorybot_model_swaps_total", outcome="later") >= later + 2
    scene.shelf.unreachable.clear()
    await scene.until(lambda: scene.counts()[-1].model.version == "v2")


async def test_an_agent_that_starts_on_a_damaged_release_serves_the_one_that_ships_until_it_is_repaired(
    scene: Scene,
) -> None:
    scene.shelf.broken.add("v1")
    await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    assert [c.model.version for c in scene.counts()] == ["v0"]
    scene.shelf.broken.clear()
    await scene.until(lambda: scene.counts()[-1].model.version == "v1")


async def test_an_agent_that_starts_while_the_files_cannot_be_reached_waits_and_loses_nothing(scene: Scene) -> None:
    scene.shelf.unreachable.add("v1")
    with pytest.raises(TryLater):
        await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    scene.shelf.unreachable.clear()
    await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    assert [c.model.version for c in scene.counts()] == ["v1"]


async def test_a_registry_that_is_away_is_asked_again_later(scene: Scene) -> None:
    await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    scene.shelf.away, scene.shelf.current = True, "v2"
    count = len(scene.counts())
    await scene.until(lambda: len(scene.counts()) > count + 3)
    assert scene.counts()[-1].model.version == "v1"
    scene.shelf.away = False
    await scene.until(lambda: scene.counts()[-1].model.version == "v2")


async def test_with_no_model_at_all_nothing_is_counted_and_nothing_is_lost(scene: Scene) -> None:
    scene.shelf.away = True
    with pytest.raises(TryLater):
        await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    scene.shelf.away = False
    await scene.agent.handle(as_records(IMAGES, [image("i1")]))
    assert len(scene.counts()) == 1


def _metric(metric: object, name: str, **labels: str) -> float:
    samples = [s for m in metric.collect() for s in m.samples if s.name == name]  # type: ignore[attr-defined]
    return next((s.value for s in samples if labels.items() <= s.labels.items()), 0.0)
