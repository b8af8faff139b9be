"""The two ways to fail, and nothing else.

    InventoryBotError
    ├── BadEvent         this input can never work: refuse it, or send it to the dead letters
    ├── TryLater         the input is fine, a part we depend on is not: retry, then pause, never skip
    └── SetupError       this installation cannot run as it stands: one sentence that says what to do

Adapters translate their technology's exceptions into these at the edge.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Why an input was refused; stable, machine-readable, the same over Kafka, REST and the command line."""

    NOT_JSON = "not-json"
    NOT_CLOUDEVENT = "not-cloudevent"
    UNKNOWN_TYPE = "unknown-type"
    MISSING_FIELD = "missing-field"
    UNKNOWN_FIELD = "unknown-field"
    WRONG_TYPE = "wrong-type"
    OUT_OF_RANGE = "out-of-range"
    BAD_TIME = "bad-time"
    BAD_KEY = "bad-key"
    TOO_LARGE = "too-large"
    CONTRADICTION = "contradiction"
    ID_REUSED = "id-reused"
    IMAGE_EMPTY = "image-empty"
    IMAGE_CORRUPT = "image-corrupt"
    IMAGE_TOO_LARGE = "image-too-large"
    IMAGE_UNREACHABLE = "image-unreachable"


class InventoryBotError(Exception):
    """The root: catch this to catch everything the product raises on purpose."""


class BadEvent(InventoryBotError):
    """This input can never work.

    Args:
        code: why, from the closed list `Code`.
        path: JSON Pointer (RFC 6901) to the field at fault; "" is the whole event.
        reason: one sentence for a person, naming the field and what would be right.
    """

    def __init__(self, code: Code, path: str, reason: str) -> None:
        super().__init__(f"{code} at {path or '/'}: {reason}")
        self.code, self.path, self.reason = code, path, reason

    def __reduce__(self) -> tuple[type[BadEvent], tuple[Code, str, str]]:
        return BadEvent, (self.code, self.path, self.reason)


class TryLater(InventoryBotError):
    """A part we depend on does not answer; the same input will work when it does.

    Args:
        part: what does not answer, e.g. "cassandra", "kafka", "s3".
        reason: what it said.
    """

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")
        self.part, self.reason = part, reason


class SetupError(InventoryBotError):
    """This installation cannot run as it stands; the message says what to do about it."""
