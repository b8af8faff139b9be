"""The parameters of the restock routes, with their limits. In: path, query and bodies. Out: checked values."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import Field

from inventorybot.domain.restock import MAX_UNITS, State
from services.api.params import NoteText, Person, SiteName, Strict

RecommendationId = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        examples=["0b9a2d5e-6c1f-5d43-9a6e-3f1c2b7d8e90"],
    ),
]


class RestockFilter(Strict):
    """Which recommendations."""

    site: SiteName | None = None
    state: State | None = None
    limit: int = Field(default=100, ge=1, le=500)
    before: str | None = Field(
        default=None,
        pattern=r"^\d{8}\.[^/\x00-\x1f\x7f]{1,64}/[^\x00-\x1f\x7f]{1,128}$",
        description="`next` of the page before",
    )


class ChangeQuantity(Strict):
    """A person orders another quantity."""

    actor: Person
    quantity: int = Field(ge=1, le=MAX_UNITS, description="units: whole packs, at least the minimum order")
    note: NoteText | None = None


class Approve(Strict):
    """A person has it ordered."""

    actor: Person
    note: NoteText | None = None


class Dismiss(Strict):
    """A person does not want it."""

    actor: Person
    reason: Annotated[NoteText, Field(min_length=1)]


class Receive(Strict):
    """A person, or the ERP, says that the goods are in."""

    actor: Person
    note: NoteText | None = None
