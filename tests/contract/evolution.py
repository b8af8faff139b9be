"""What of an event type was released, and whether today's still keeps the promise.

In: schemas as released (tests/contract/schemas, one file an event type) and as the code has them. Out: a list of what
would break somebody. Run: `python -m tests.contract.evolution` adds a file for each new event type; it never changes
one that is there: a released type is changed by a new version of it, under a new name.

What we hear: all that was accepted must still be. What we say: all that could be read must still be there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inventorybot.domain.events import Movement
from inventorybot.wire import schemas
from inventorybot.wire.asyncapi import data_schemas
from inventorybot.wire.topics import TOPICS

FOLDER = Path(__file__).parent / "schemas"
Json = dict[str, Any]
_LOWER = ("minimum", "minLength", "minItems")
_UPPER = ("maximum", "maxLength", "maxItems")


def today(name: str) -> Json:
    """All that an event type promises: its topic and key, what one unit of it does to the level, and its data."""
    shape = schemas.DATA[name].__name__
    found = data_schemas("#/{name}")
    topic = next(t for t in TOPICS if t.name == schemas.TOPIC_OF[name])
    kind = schemas.MOVEMENTS.get(name, (None,))[0]
    effect = None if kind is None else Movement("e", kind, 0, "S", "B", "K", 1)
    return {
        "type": name,
        "topic": topic.name,
        "key": topic.key,
        "heard": name in schemas.HEARD,
        "delta_of_one_unit": None if effect is None else effect.delta,
        "absolute": None if effect is None else effect.is_count,
        "schema": inlined(found[shape], found),
    }


def inlined(schema: Any, known: Json) -> Any:
    """A schema with every reference replaced by what it stands for."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return inlined(known[schema["$ref"].removeprefix("#/")], known)
        return {k: inlined(v, known) for k, v in schema.items()}
    return [inlined(x, known) for x in schema] if isinstance(schema, list) else schema


def breaks(released: Json, now: Json) -> list[str]:
    """What of a released event type no longer holds; empty: all of it does."""
    said = [
        f"{name} was {released[name]!r} and is {now.get(name)!r}"
        for name in ("type", "topic", "key", "delta_of_one_unit", "absolute")
        if now.get(name) != released[name]
    ]
    return said + list(_differences(released["schema"], now["schema"], "", heard=released["heard"]))


def _differences(old: Any, new: Any, at: str, *, heard: bool) -> Iterator[str]:
    here = at or "the data"
    if "anyOf" in old or "anyOf" in new:
        yield from _alternatives(old, new, at, heard=heard)
        return
    for word in ("type", "contentEncoding", "pattern", "format", "oneOf", "not", "description"):
        if old.get(word) != new.get(word):
            what = "meaning" if word == "description" else word
            yield f"the {what} of {here} was {old.get(word)!r} and is {new.get(word)!r}"
    yield from _limits(old, new, here, heard=heard)
    if set(old.get("enum", ())) - set(new.get("enum", ())) and (heard or "enum" in new):
        yield f"{here} no longer knows {sorted(set(old['enum']) - set(new.get('enum', ())))}"
    if "enum" in new and "enum" not in old:
        yield f"{here} takes a closed list of values now"
    if heard and old.get("additionalProperties", True) is not False and new.get("additionalProperties", True) is False:
        yield f"{here} refuses fields that it let pass"
    yield from _fields(old, new, at, heard=heard)
    if "items" in old:
        yield from _differences(old["items"], new.get("items", {}), f"{at}/*", heard=heard)


def _fields(old: Json, new: Json, at: str, *, heard: bool) -> Iterator[str]:
    here = at or "the data"
    was, is_now = old.get("properties", {}), new.get("properties", {})
    for name in sorted(set(was) - set(is_now)):
        yield f"{at}/{name} is gone"
    required, required_now = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(required_now - required) if heard else ():
        yield f"{here} now requires {name}"
    for name in sorted(required - required_now) if not heard else ():
        yield f"{here} no longer always holds {name}"
    for name in sorted(set(was) & set(is_now)):
        yield from _differences(was[name], is_now[name], f"{at}/{name}", heard=heard)


def _limits(old: Json, new: Json, here: str, *, heard: bool) -> Iterator[str]:
    """Narrower limits break those who send to us, wider ones those who read what we say."""
    for words, tighter in ((_LOWER, 1), (_UPPER, -1)):
        for word in words:
            was, is_now = old.get(word), new.get(word)
            if was == is_now:
                continue
            narrowed = is_now is not None and (was is None or (is_now - was) * tighter > 0)
            if narrowed == heard:
                yield f"the {word} of {here} was {was} and is {is_now}"


def _alternatives(old: Json, new: Json, at: str, *, heard: bool) -> Iterator[str]:
    """`X or null`: each alternative is held against the one of its type; what may be null is part of the promise."""
    was = {a.get("type", "enum"): a for a in old.get("anyOf", [old])}
    is_now = {a.get("type", "enum"): a for a in new.get("anyOf", [new])}
    for kind in sorted(set(was) - set(is_now)) if heard else ():
        yield f"{at} may no longer be {kind}"
    for kind in sorted(set(is_now) - set(was)) if not heard else ():
        yield f"{at} may now be {kind}"
    for kind in sorted(set(was) & set(is_now)):
        yield from _differences(was[kind], is_now[kind], at, heard=heard)


def released() -> dict[str, Json]:
    """Every released event type, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def release() -> list[str]:
    """Write down the event types that have no file yet; returns their names."""
    FOLDER.mkdir(exist_ok=True)
    new = sorted(set(schemas.DATA) - set(released()))
    for name in new:
        text = json.dumps(today(name), indent=1, ensure_ascii=False) + "\n"
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
    return new


if __name__ == "__main__":
    print("\n".join(release()) or "nothing new")
