"""What running agents hear of the registry: the compacted topic inventory.models, and nothing else.

In: the log, read to its end; the place that releases lie in. Out: for each model what is in service now, and its files,
every one checked. No MLflow, no broker's group, no state that is kept: who starts reads the topic from its beginning,
where the newest record of each model is kept for ever.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from msgspec import UNSET

from inventorybot import telemetry
from inventorybot.adapters.registry import InService
from inventorybot.adapters.registry_artifacts import Artifacts
from inventorybot.adapters.registry_release import Release, checked, packaged
from inventorybot.errors import BadEvent, SetupError
from inventorybot.ports import LogReader, Position
from inventorybot.wire.codec import Envelope, Message, Record, message, read
from inventorybot.wire.schemas import MODEL_RELEASED, ModelReleasedData
from inventorybot.wire.topics import MODELS

SOURCE = "inventorybot/models"

log = telemetry.log(__name__)


@dataclass(frozen=True, slots=True)
class Announced:
    """A release that is in service; `url` and `sha256` are empty where it ships with the product."""

    name: str
    version: str
    url: str = ""
    sha256: str = ""


class ModelNews:
    """What was announced last.

    Args:
        reader: of the log.
        artifacts: URL of the only folder that releases are fetched from.
    """

    def __init__(self, reader: LogReader, artifacts: str) -> None:
        self._reader, self._files = reader, Artifacts(artifacts)
        self._next: Position | None = None
        self._said: dict[str, Announced] = {}

    async def current(self, name: str) -> Announced:
        """What is in service; where nothing was announced, what ships with the product.

        Raises: SetupError: that is nothing. TryLater: the log cannot be read.
        """
        start, end = await self._reader.bounds(MODELS.name)
        if self._next is None or any(at > last for at, last in zip(self._next, end, strict=True)):  # made anew, shorter
            self._next, self._said = start, {}
        if self._next != end:
            async for records in self._reader.read(MODELS.name, self._next, end):
                for record in records:
                    self._hear(record)
            self._next = end
        said = self._said.get(name)
        return said if said is not None and said.url else shipped(name)

    def fetch(self, it: Announced) -> Release:
        """Its files, in a local folder, each the one that the card names; blocks.

        Raises: SetupError: a file is missing or damaged, or lies elsewhere than releases may. TryLater: no answer.
        """
        if not it.url:
            return packaged(it.name)
        self._files.below(it.url)
        return Release(it.name, it.version, self._files.fetch(it.name, checked(it.version), it.url, it.sha256))

    def _hear(self, record: Record) -> None:
        """Takes note of an announcement; one that cannot be understood changes nothing."""
        try:
            data, _ = read(record, ModelReleasedData)
            self._said[checked(data.name)] = Announced(
                data.name, data.version, data.url if isinstance(data.url, str) else "", data.sha256
            )
        except (BadEvent, SetupError) as error:
            log.warning("an announcement of a model is not understood", offset=record.offset, reason=str(error))


def shipped(name: str) -> Announced:
    """What ships with the product. Raises: SetupError: nothing of that name does."""
    return Announced(name, packaged(name).version)


def announcement(it: InService, now: int) -> Message:
    """The event that tells of it. Args: now: ms."""
    data = ModelReleasedData(
        name=it.name, version=it.version, sha256=it.sha256, previous=it.previous or UNSET, url=it.url or UNSET
    )
    return message(Envelope(str(uuid.uuid4()), SOURCE, MODEL_RELEASED, now), it.name, data)
