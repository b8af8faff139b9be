"""Dead letters in a dictionary, for tests that want speed; they pass the same contract suite as Cassandra's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from msgspec import structs

from inventorybot.ports import DeadLetter


class MemoryDeadLetters:
    """`ports.DeadLetters`. `forget_bytes` does what retention does."""

    def __init__(self) -> None:
        self.letters: dict[str, DeadLetter] = {}

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """A repeat of one changes nothing."""
        for letter in letters:
            self.letters.setdefault(letter.id, letter)

    async def list(
        self, *, code: str | None = None, topic: str | None = None, limit: int = 100
    ) -> AsyncIterator[DeadLetter]:
        """Newest first, without the original bytes."""
        found = [x for x in self.letters.values() if code in (None, x.code) and topic in (None, x.topic)]
        for letter in sorted(found, key=lambda x: (-x.at, x.topic, x.partition, x.offset))[:limit]:
            yield _without_bytes(letter)

    async def get(self, letter_id: str) -> DeadLetter | None:
        """By id."""
        return self.letters.get(letter_id)

    async def mark_replayed(self, letter_id: str, at: int) -> None:
        """One that is not there stays so."""
        if letter_id in self.letters:
            self.letters[letter_id] = replace(self.letters[letter_id], replayed_at=at)

    def forget_bytes(self, letter_id: str) -> None:
        """Remove the bytes, as retention does."""
        self.letters[letter_id] = _without_bytes(self.letters[letter_id])


def _without_bytes(letter: DeadLetter) -> DeadLetter:
    return replace(letter, original=structs.replace(letter.original, key=None, value=None, headers=()), whole=False)
