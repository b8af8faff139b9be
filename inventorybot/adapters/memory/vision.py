"""Seeing without a camera or a network: a count model that reads the count out of the picture; pictures by name.

In: "pictures" such as b"3" (three items) or b"" (refused as a real model refuses it). Out: distributions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inventorybot.domain.counting import MAX_COUNT, CountDistribution
from inventorybot.errors import BadEvent, Code, TryLater

SURE = 0.9
"""What the fake gives the count it reads; the rest is spread over the others."""


class MemoryCountModel:
    """`ports.CountModel` for pictures that are numbers. Args: version: of the release it stands for."""

    name = "count"

    def __init__(self, version: str) -> None:
        self.version = version
        self.class_prior = tuple([1 / (MAX_COUNT + 1)] * (MAX_COUNT + 1))

    def score(self, jpegs: Sequence[bytes]) -> list[CountDistribution | BadEvent]:
        """One answer a picture, in order."""
        return [_count(jpeg) for jpeg in jpegs]


def _count(jpeg: bytes) -> CountDistribution | BadEvent:
    if not jpeg:
        return BadEvent(Code.IMAGE_EMPTY, "/image", "the image has 0 bytes; send the JPEG itself")
    if not jpeg.isdigit():
        return BadEvent(Code.IMAGE_CORRUPT, "/image", "the image is not a JPEG, or its header is damaged")
    seen = min(int(jpeg), MAX_COUNT)
    return CountDistribution.normalised([SURE if k == seen else (1 - SURE) / MAX_COUNT for k in range(MAX_COUNT + 1)])


class MemoryBlobs:
    """`ports.Blobs` in a dictionary. `down`: while True, no store answers."""

    def __init__(self, held: Mapping[str, bytes]) -> None:
        self.held, self.down = dict(held), False

    async def read(self, url: str) -> bytes:
        """Raises as the real ones do."""
        if self.down:
            raise TryLater("s3", "the store does not answer")
        if url not in self.held:
            raise BadEvent(Code.IMAGE_UNREACHABLE, "/image", f"{url} does not exist")
        return self.held[url]
