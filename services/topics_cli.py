"""`inventorybot topics`: the topics as a table, or as JSON.

In: wire/topics.py; no broker is asked. Out: standard output. Try: `inventorybot topics --json | jq '.[].name'`
"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from inventorybot.domain.days import DAY_MS
from inventorybot.wire.topics import TOPICS, Topic


def topics(
    as_json: Annotated[bool, typer.Option("--json", help="an array of objects, for other programs")] = False,
) -> None:
    """Show the topics: what each carries, its key, who writes and reads it, how long it is kept."""
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(topic) for topic in TOPICS], indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("topic", "key", "kept"):
        table.add_column(column, no_wrap=True)
    table.add_column("what it carries, who writes it → who reads it")
    for topic in TOPICS:
        who = f"{', '.join(topic.writers)} → {', '.join(topic.readers)}"
        table.add_row(topic.name, topic.key, kept(topic), f"{topic.says}\n[dim]{who}[/dim]")
    Console().print(table)


def kept(topic: Topic) -> str:
    """How long, in words."""
    if topic.compact:
        return "newest of each key"
    return "for ever" if topic.retention_ms is None else f"{topic.retention_ms // DAY_MS} days"
