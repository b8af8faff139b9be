"""docs/settings.md: every setting with its variable, type, default, limits and meaning, generated from `Settings`.

In: settings.py. Out: a Markdown table a group. Run: `python -m inventorybot.settings_doc` writes it, `--check` fails
where the committed one is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from inventorybot.generated import write_or_check
from inventorybot.settings import PREFIX, Settings

PATH = Path(__file__).parents[1] / "docs" / "settings.md"
WORDS: dict[str, str] = {
    "kafka_security": "how to speak to the brokers",
    "kafka_sasl_mechanism": "how to log in, where kafka_security is SASL_…",
    "kafka_user": "who logs in to the brokers, where kafka_security is SASL_…",
    "kafka_password": "its password",
    "cassandra_port": "the port of the contact points",
    "cassandra_keyspace": "the keyspace that holds the tables",
    "cassandra_user": "who logs in to Cassandra; empty: nobody does",
    "cassandra_password": "its password",
    "api_host": "the address that the API listens on; 0.0.0.0 for every network",
    "api_port": "the port that the API listens on",
    "log_level": "the least severe line that is logged",
    "device": "where images are scored; auto: CUDA where there is one",
    "images_s3_anonymous": "read the store without credentials",
}
"""What the field itself leaves unsaid because its name says it to a programmer."""
SECRET = frozenset({"kafka_password", "cassandra_password"})
_GROUPS = (
    ("Kafka", ("kafka", "partitions", "broker_")),
    ("Cassandra", ("cassandra",)),
    ("Images and models", ("image", "model", "device")),
    ("Network plans", ("plan_",)),
    ("History", ("lake", "spark_")),
    ("Batch jobs", ("jobs", "forecast_")),
    ("Costs of errors, and what is believed before looking", ("miscount", "recount", "missed", "look_")),
    ("Processes", ("",)),
)


def meaning(name: str, field: FieldInfo) -> str:
    """What a setting is, in words; empty where nobody has said it yet."""
    return field.description or WORDS.get(name, "")


def rendered() -> str:
    """The page."""
    parts = [_HEAD]
    left = dict(Settings.model_fields)
    for title, starts in _GROUPS:
        group = {name: left.pop(name) for name in list(left) if name.startswith(starts)}
        if not group:
            continue
        parts.append(f"\n## {title}\n\n| variable | default | allowed | what it is |\n| --- | --- | --- | --- |\n")
        parts += [_row(name, field) for name, field in group.items()]
    return "".join(parts)


def _row(name: str, field: FieldInfo) -> str:
    default = "empty" if field.default == "" else f"`{_plain(field.default)}`"
    secret = " Keep it out of files that are committed." if name in SECRET else ""
    words = meaning(name, field)
    return f"| `{PREFIX}{name.upper()}` | {default} | {_allowed(field)} | {words[:1].upper()}{words[1:]}.{secret} |\n"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _allowed(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [f"{sign} {getattr(m, w):g}" for m in field.metadata for w, sign in signs.items() if hasattr(m, w)]
    pattern = next((m.pattern for m in field.metadata if getattr(m, "pattern", None)), None)
    kinds: dict[Any, str] = {int: "whole number", float: "number", bool: "`true`, `false`"}
    kind = kinds.get(field.annotation, "text")
    return ", ".join([kind, *limits]) + (f" like `{pattern}`" if pattern else "")


_HEAD = f"""# Settings

Every process reads its settings from environment variables when it starts. A variable that begins with `{PREFIX}` and
is not in this list is refused, with the nearest right name: a misspelt setting never passes unnoticed. The defaults are
those of `inventorybot up` on one machine. `{PREFIX}CACHE` is read by the set-up alone: the folder that downloads are
kept in (default: `inventorybot` in the user's cache folder).

This page is generated: `python -m inventorybot.settings_doc`.
"""


def main(arguments: list[str]) -> int:
    """Write the page, or with --check compare it; 1 where it is out of date."""
    return write_or_check(PATH, rendered(), "python -m inventorybot.settings_doc", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
