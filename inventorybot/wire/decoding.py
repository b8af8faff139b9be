"""The JSON data of an event into its shape, and what is wrong with it in words.

In: bytes, and one of the types of schemas.py. Out: that type, or BadEvent with a code and a JSON Pointer below `/data`.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from inventorybot.errors import BadEvent, Code

T = TypeVar("T", bound=Struct)
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother, _BRIEF.maxlong, _BRIEF.maxlist, _BRIEF.maxdict = 2, 80, 80, 40, 3, 3

_DECODERS: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def decode(data: bytes, shape: type[T]) -> T:
    """The data of an event. Raises: BadEvent: it is not JSON, or not of this shape."""
    decoder = _DECODERS.get(shape)
    if decoder is None:
        decoder = _DECODERS[shape] = msgspec.json.Decoder(shape)
    try:
        result: T = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent(Code.NOT_JSON, "/data", f"the data is not JSON: {error}") from None
    return result


_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_FIELD = re.compile(r"(?P<what>missing required|unknown) field `(?P<name>.*)`(?: - at `\$[\w.\[\]]*`)?$", re.DOTALL)
_NO_OUTER_SPACE = "must not hold a control character, nor begin or end with a space"
_PATTERNS = {
    "site": f"{_NO_OUTER_SPACE}, nor hold a slash",
    "bin": f"{_NO_OUTER_SPACE}, nor hold a slash",
    "to_bin": f"{_NO_OUTER_SPACE}, nor hold a slash",
    "sku": _NO_OUTER_SPACE,
    "image_url": "must begin with file:// or s3:// and hold no control character",
}
"""What a field's pattern asks for, in words; any other field with one must not hold a control character."""


def _refusal(message: str) -> BadEvent:
    """msgspec's words, as a code, a JSON Pointer and a reason."""
    named = _FIELD.search(message)
    at = None if named and named["what"] == "unknown" else _AT.search(message)
    path = "/data" + re.sub(r"[.\[]", "/", (at["path"] if at else "").replace("]", ""))
    if named:
        # An unknown field is told of at the top only: there, what looks like a path is part of the stranger's name.
        name = named["name"]
        pointer = f"{path}/{name[:64].replace('~', '~0').replace('/', '~1')}"
        if named["what"] == "unknown":
            return BadEvent(Code.UNKNOWN_FIELD, pointer, f"the field {show(name)} is not part of this event type")
        return BadEvent(Code.MISSING_FIELD, pointer, f"the field {name} is missing")
    said = message[: at.start()] if at else message
    code = Code.WRONG_TYPE if ", got `" in said or said.startswith("Invalid") else Code.OUT_OF_RANGE
    field = path.removeprefix("/data").strip("/") or "data"
    regex = "regex" in said
    reason = _PATTERNS.get(field, "must not hold a control character") if regex else said[:1].lower() + said[1:]
    return BadEvent(code, path, f"{field}: {reason}")


def show(value: object) -> str:
    """A value as a short text for a reason, however long, deep or large it is."""
    try:
        text = _BRIEF.repr(value)
    except ValueError:  # an integer too long for Python to write down
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "…"
