"""What a running agent hears of the registry, on a log in memory. Run: pytest tests/unit/models/test_news.py"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inventorybot.adapters.memory.log import MemoryLog
from inventorybot.adapters.registry import InService
from inventorybot.adapters.registry_news import ModelNews, announcement, shipped
from inventorybot.adapters.registry_release import packaged
from inventorybot.errors import SetupError, TryLater
from tests.unit.models.folders import digest, release

TOPIC = "inventory.models"
NOON = 1_795_262_400_000


class Place:
    """Releases below a folder, and who tells of them."""

    def __init__(self, root: Path) -> None:
        self.root, self.log = root, MemoryLog(lambda: NOON)
        self.news = ModelNews(self.log, str(root))

    def put(self, version: str, nll: float = 1.0) -> InService:
        folder = release(self.root / "count" / version, nll, version.encode())
        return InService("count", version, folder.as_uri(), digest((folder / "card.json").read_bytes()), None)

    async def say(self, it: InService) -> None:
        await self.log.publish([announcement(it, NOON)])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "releases")


async def test_where_nothing_was_announced_what_ships_with_the_product_is_in_service(place: Place) -> None:
    said = await place.news.current("count")
    assert said == shipped("count")
    assert place.news.fetch(said) == packaged("count")
    with pytest.raises(SetupError, match="demand"):
        await place.news.current("demand")


async def test_the_newest_announcement_counts_also_for_who_comes_later(place: Place) -> None:
    for version in ("v2", "v3"):
        await place.say(place.put(version))
        assert (await place.news.current("count")).version == version
    late = ModelNews(place.log, str(place.root))
    found = late.fetch(await late.current("count"))
    assert (found.version, (found.path / "model.safetensors").read_bytes()) == ("v3", b"v3")


async def test_a_roll_back_to_what_ships_is_heard(place: Place) -> None:
    await place.say(place.put("v2"))
    assert (await place.news.current("count")).version == "v2"
    await place.say(InService("count", "v1", "", "", "v2"))
    assert await place.news.current("count") == shipped("count")


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(place: Place) -> None:
    await place.say(place.put("v2"))
    await place.say(place.put("v3"))
    assert (await place.news.current("count")).version == "v3"
    place.log = MemoryLog(lambda: NOON)
    place.news._reader = place.log
    await place.say(place.put("v4"))
    assert (await place.news.current("count")).version == "v4"


async def test_what_compaction_removed_is_not_missed(place: Place) -> None:
    await place.say(place.put("v2"))
    await place.say(place.put("v3"))
    place.log.retain_from(TOPIC, 0, 1)
    assert (await place.news.current("count")).version == "v3"


async def test_an_announcement_that_cannot_be_understood_changes_nothing(place: Place) -> None:
    await place.say(place.put("v2"))
    place.log.append(TOPIC, 0, b"count", b"not json", announcement(place.put("v3"), NOON).headers)
    place.log.append(TOPIC, 0, b"count", None, [])
    await place.say(InService("../x", "v9", "file:///x", "", None))
    assert (await place.news.current("count")).version == "v2"


async def test_while_no_broker_answers_the_agent_is_told_to_try_later(place: Place) -> None:
    place.log.down = True
    with pytest.raises(TryLater):
        await place.news.current("count")


@pytest.mark.parametrize(
    "where", ["file:///etc", "{root}-other/count/v2", "{root}/count/../../v2", "s3://elsewhere/v2", "memory://x/v2"]
)
async def test_nothing_is_fetched_from_elsewhere_than_where_releases_lie(place: Place, where: str) -> None:
    it = place.put("v2")
    await place.say(InService("count", "v2", where.format(root=place.root.as_uri()), it.sha256, None))
    with pytest.raises(SetupError, match="is not fetched"):
        place.news.fetch(await place.news.current("count"))


async def test_a_release_is_not_fetched_where_nobody_says_where_releases_lie(place: Place) -> None:
    await place.say(place.put("v2"))
    lost = ModelNews(place.log, "")
    with pytest.raises(SetupError, match="INVENTORYBOT_MODEL_ARTIFACTS"):
        lost.fetch(await lost.current("count"))


@pytest.mark.parametrize("file", ["model.safetensors", "card.json"])
async def test_a_file_that_is_not_the_announced_one_is_refused_until_it_is_repaired(place: Place, file: str) -> None:
    it = place.put("v2")
    await place.say(it)
    path = place.root / "count" / "v2" / file
    good = path.read_bytes()
    path.write_bytes(good.replace(b"v2", b"v3") if file == "model.safetensors" else good.replace(b"1.0", b"0.1"))
    said = await place.news.current("count")
    with pytest.raises(SetupError, match="damaged"):
        place.news.fetch(said)
    path.write_bytes(good)
    assert place.news.fetch(said).version == "v2"


def test_an_agent_never_imports_mlflow() -> None:
    code = "import sys, inventorybot.wiring, streaming.agents.count; print([m for m in sys.modules if m.startswith('mlflow')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
