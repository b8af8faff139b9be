"""What was once released under a version stays true under it; and the check that says so can say no.

Run: `pytest tests/contract/test_evolution.py`. A new event type: `python -m tests.contract.evolution`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from inventorybot.wire import schemas
from tests.contract import evolution

RELEASED = evolution.released()
RECEIPT = "inventorybot.movement.receipt.v1"
LEVEL = "inventorybot.level.changed.v1"
Change = Callable[[dict[str, Any]], object]


def fields(promise: dict[str, Any]) -> Any:
    return promise["schema"]["properties"]


def one_more(promise: dict[str, Any], name: str) -> None:
    fields(promise)[name] = {"type": "string"}


HEARD_BREAKS: dict[str, Change] = {
    "a field is gone": lambda p: fields(p).pop("reason"),
    "a field has another name": lambda p: fields(p).update(units=fields(p).pop("quantity")),
    "a new field is required": lambda p: (one_more(p, "lot"), p["schema"]["required"].append("lot")),
    "an optional field became required": lambda p: p["schema"]["required"].append("reason"),
    "the most units are fewer": lambda p: fields(p)["quantity"].update(maximum=10),
    "the fewest units are more": lambda p: fields(p)["quantity"].update(minimum=2),
    "names must be shorter": lambda p: fields(p)["sku"].update(maxLength=12),
    "a limit where there was none": lambda p: fields(p)["quantity"].update(type="integer", maxLength=3),
    "names follow another pattern": lambda p: fields(p)["bin"].update(pattern="^[A-Z]+$"),
    "units are text now": lambda p: fields(p)["quantity"].update(type="string"),
    "a reason may no longer be null": lambda p: fields(p).update(reason=fields(p)["reason"]["anyOf"][0]),
    "a field means something else": lambda p: fields(p)["quantity"].update(description="cases of twelve"),
    "it goes to another topic": lambda p: p.update(topic="inventory.receipts"),
    "it is keyed otherwise": lambda p: p.update(key="SKU"),
    "its sign turned round": lambda p: p.update(delta_of_one_unit=-1),
    "it became absolute": lambda p: p.update(absolute=True),
}
SAID_BREAKS: dict[str, Change] = {
    "a field is gone": lambda p: fields(p).pop("revision"),
    "a field may be missing": lambda p: p["schema"]["required"].remove("on_hand"),
    "a field may be null": lambda p: fields(p).update(on_hand={"anyOf": [fields(p)["on_hand"], {"type": "null"}]}),
    "a name may be longer": lambda p: fields(p)["bin"].update(maxLength=1000),
    "units are text now": lambda p: fields(p)["on_hand"].update(type="string"),
}
HARMLESS: dict[str, Change] = {
    "an optional field more": lambda p: one_more(p, "lot"),
    "a default more": lambda p: fields(p)["sku"].update(default="none"),
}


def changed(name: str, change: Change) -> dict[str, Any]:
    mutant = copy.deepcopy(RELEASED[name])
    change(mutant)
    return mutant


def test_every_event_type_is_released() -> None:
    assert set(RELEASED) >= set(schemas.DATA), "run `python -m tests.contract.evolution`, and commit what it adds"


@pytest.mark.parametrize("name", RELEASED)
def test_todays_event_type_keeps_what_was_released(name: str) -> None:
    assert name in schemas.DATA, f"{name} was released, and is gone"
    assert evolution.breaks(RELEASED[name], evolution.today(name)) == []


@pytest.mark.parametrize("change", HEARD_BREAKS)
def test_it_is_noticed_in_what_we_hear_when(change: str) -> None:
    assert evolution.breaks(RELEASED[RECEIPT], changed(RECEIPT, HEARD_BREAKS[change]))


@pytest.mark.parametrize("change", SAID_BREAKS)
def test_it_is_noticed_in_what_we_say_when(change: str) -> None:
    assert evolution.breaks(RELEASED[LEVEL], changed(LEVEL, SAID_BREAKS[change]))


@pytest.mark.parametrize("change", HARMLESS)
@pytest.mark.parametrize("name", [RECEIPT, LEVEL])
def test_what_breaks_nobody_is_let_pass(name: str, change: str) -> None:
    assert evolution.breaks(RELEASED[name], changed(name, HARMLESS[change])) == []


def test_more_units_may_be_accepted_but_not_fewer() -> None:
    assert (
        evolution.breaks(RELEASED[RECEIPT], changed(RECEIPT, lambda p: fields(p)["quantity"].update(maximum=10**9)))
        == []
    )
