"""A broker in a list, for tests that want speed; it passes the same contract suite as Kafka's publisher."""

from __future__ import annotations

from collections.abc import Sequence

from inventorybot.errors import BadEvent, Code, TryLater
from inventorybot.wire.codec import Message
from inventorybot.wire.topics import TOPICS

_LIMITS = {topic.name: topic.max_bytes for topic in TOPICS}


class MemoryPublisher:
    """`ports.Publisher` that keeps what it was given. Args: down: while True, no broker answers."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.down = False

    async def publish(self, messages: Sequence[Message]) -> None:
        """Raises as Kafka does: TryLater while it is down, BadEvent for a record its topic does not take."""
        if self.down and messages:
            raise TryLater("kafka", "no broker answers")
        for m in messages:
            size = len(m.key) + len(m.value) + sum(len(k) + len(v) for k, v in m.headers)
            if m.topic not in _LIMITS:
                raise TryLater("kafka", f"unknown topic {m.topic}")
            if size > _LIMITS[m.topic]:
                raise BadEvent(Code.TOO_LARGE, "/data", f"the record is larger than its topic takes: {size} bytes")
            self.messages.append(m)
