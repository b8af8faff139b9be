"""What could not be processed: list it, look at it, correct it and send it again.

In: ports.DeadLetters. Out: JSON. Try: GET /v1/dead-letters?code=out-of-range
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Body, Query

from inventorybot.ports import DeadLetter
from inventorybot.wire.codec import rfc3339
from services import redelivery
from services.api import views
from services.api.params import LetterFilter, LetterId, Replay
from services.api.parts import Has, Parts
from services.api.problems import Refuse, responses

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])


@router.get("", operation_id="listDeadLetters", summary="List dead letters", responses=responses())
async def letters(parts: Has, query: Annotated[LetterFilter, Query()]) -> views.Letters:
    """Newest first, for the 30 days that they are kept."""
    code = None if query.code is None else str(query.code)
    found = parts.dead_letters.list(code=code, topic=query.topic, limit=query.limit)
    return views.Letters(items=[views.letter(x) async for x in found])


@router.get("/{id}", operation_id="getDeadLetter", summary="One dead letter", responses=responses(404))
async def letter(parts: Has, id: LetterId) -> views.WholeLetter:
    """With the original key, headers and bytes, as long as they are kept."""
    return views.whole_letter(await _one(parts, id))


@router.post(
    "/{id}/replay",
    operation_id="replayDeadLetter",
    summary="Send a dead letter again",
    responses=responses(404, 410, 413, 415),
)
async def replay(parts: Has, id: LetterId, change: Annotated[Replay | None, Body()] = None) -> views.Replayed:
    """The original, or with corrections; checked first, and refused with what is still wrong with it."""
    found = await _one(parts, id)
    if not found.whole:
        raise Refuse(410, f"retention has removed the original bytes of {id}; only their description is left")
    change = change or Replay()
    value = msgspec.json.encode(change.data) if "data" in change.model_fields_set else None
    correction = redelivery.Correction(value, change.attributes or {}, change.key)
    now = parts.clock()
    sent = await redelivery.redeliver(
        found, correction, publisher=parts.publisher, letters=parts.dead_letters, limits=parts.times, now=now
    )
    return views.Replayed(id=id, topic=sent.topic, key=sent.key.decode(), replayed_at=rfc3339(now))


async def _one(parts: Parts, letter_id: str) -> DeadLetter:
    found = await parts.dead_letters.get(letter_id)
    if found is None:
        raise Refuse(404, f"there is no dead letter {letter_id}; they are kept for 30 days")
    return found
