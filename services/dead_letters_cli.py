"""`inventorybot dead-letters list|show|replay`: what could not be processed, and sending it again.

In: inventory.dead-letters and its index. Out: tables, bytes, or the corrected event on the topic it came from. A replay
is checked first, as the agents check; what is still wrong is told. Exit code 1 if anything could not be replayed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inventorybot import settings as configuration
from inventorybot import wiring
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.clock import now_ms
from inventorybot.errors import BadEvent, Code, SetupError
from inventorybot.ports import DeadLetter, DeadLetters, Publisher
from inventorybot.wire import codec
from inventorybot.wire.codec import TimeLimits, rfc3339
from services import redelivery
from services.redelivery import Correction

app = typer.Typer(no_args_is_help=True, help="List, show and replay what could not be processed.")
SHOWN_BYTES = 4000
"""Of a payload on a terminal; --out writes all of it."""
CodeOption = Annotated[Code | None, typer.Option(help="only those refused for this reason")]
TopicOption = Annotated[str | None, typer.Option(help="only those from this topic")]


@app.command("list")
def list_letters(
    code: CodeOption = None,
    topic: TopicOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="the newest so many")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines")] = False,
) -> None:
    """List dead letters, newest first; they are kept for 30 days."""

    async def run() -> list[DeadLetter]:
        async with _parts() as parts:
            return [x async for x in parts.letters.list(code=_text(code), topic=topic, limit=limit)]

    found = asyncio.run(run())
    if as_json:
        for x in found:
            typer.echo(json.dumps(_metadata(x), ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)  # it is copied into `show` and `replay`
    table.add_column("arrived, why")
    for x in found:
        again = "" if x.replayed_at is None else f" · replayed {rfc3339(x.replayed_at)}"
        head = f"{rfc3339(x.at)} · {x.code}{f' at {x.path}' if x.path else ''}{again}"
        table.add_row(x.id, f"{escape(head)}\n[dim]{escape(x.reason)}[/dim]")
    Console().print(table if found else "No dead letters.")


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="topic:partition:offset, as `list` shows it")],
    out: Annotated[Path | None, typer.Option(help="write the original value to this file, byte for byte")] = None,
) -> None:
    """Show one dead letter: why it was refused, its headers and its payload."""

    async def run() -> DeadLetter | None:
        async with _parts() as parts:
            return await parts.letters.get(letter_id)

    x = _found(asyncio.run(run()), letter_id)
    for name, value in _metadata(x).items():
        typer.echo(f"{name:12} {value}")
    if not x.whole:
        raise SetupError(f"Retention has removed the original bytes of {x.id}; only what is above is left")
    typer.echo(f"{'key':12} {_readable(x.original.key)}")
    for name, value in x.original.headers:
        typer.echo(f"{name:12} {_readable(value)}")
    value = x.original.value or b""
    if out is not None:
        out.write_bytes(value)
        typer.echo(f"{'value':12} {len(value)} bytes, written to {out}")
        return
    typer.echo(
        f"{'value':12} {len(value)} bytes" + (f", the first {SHOWN_BYTES}:" if len(value) > SHOWN_BYTES else ":")
    )
    typer.echo(_readable(value[:SHOWN_BYTES]))


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="topic:partition:offset")] = None,
    every: Annotated[bool, typer.Option("--all", help="all that were never replayed")] = False,
    code: CodeOption = None,
    with_file: Annotated[Path | None, typer.Option("--with", help="corrected data (or whole CloudEvent), JSON")] = None,
    key: Annotated[str | None, typer.Option(help="the right key; left out: site/bin of the data")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="with --all: the newest so many")] = 10_000,
) -> None:
    """Send dead letters again, to the topic they came from; each is checked first, and told what is still wrong."""
    if bool(ids) == every:
        raise SetupError("Say which: IDs, or --all (with --code to choose)")
    if with_file is not None and len(ids or ()) != 1:
        raise SetupError("--with corrects one dead letter: give its ID")
    change = _correction(with_file, key)

    async def run() -> tuple[int, int]:
        async with _parts() as parts:
            listed = parts.letters.list(code=_text(code), limit=limit)
            wanted = ids or [x.id async for x in listed if x.replayed_at is None]
            sent = 0
            for letter_id in reversed(wanted):  # oldest first, as they came
                sent += await _replay_one(parts, letter_id, change)
            return sent, len(wanted) - sent

    sent, failed = asyncio.run(run())
    typer.echo(f"{sent} replayed, {failed} not.")
    if failed:
        raise typer.Exit(1)


class _Parts:
    """What the commands need."""

    def __init__(self, letters: DeadLetters, publisher: Publisher, limits: TimeLimits) -> None:
        self.letters, self.publisher, self.limits = letters, publisher, limits


@asynccontextmanager
async def _parts() -> AsyncIterator[_Parts]:
    settings = configuration.load()
    database = wiring.database(settings, wait_s=5)
    letters = CassandraDeadLetters(database, wiring.kafka_config(settings))
    try:
        async with wiring.publisher(settings) as publisher:
            yield _Parts(letters, publisher, wiring.time_limits(settings))
    finally:
        letters.close()
        database.close()


async def _replay_one(parts: _Parts, letter_id: str, change: Correction) -> bool:
    letter = await parts.letters.get(letter_id)
    try:
        found = _found(letter, letter_id)
        sent = await redelivery.redeliver(
            found, change, publisher=parts.publisher, letters=parts.letters, limits=parts.limits,
            now=now_ms(),
        )  # fmt: skip
    except BadEvent as error:
        typer.echo(f"{letter_id}: still {error.code} at {error.path or '/'}: {error.reason}", err=True)
        return False
    except SetupError as error:
        typer.echo(str(error), err=True)
        return False
    typer.echo(f"{letter_id}: sent to {sent.topic} under {sent.key.decode()}")
    return True


def _correction(with_file: Path | None, key: str | None) -> Correction:
    if with_file is None:
        return Correction(key=key)
    try:
        return Correction.of_document(codec.document(with_file.read_bytes()), key)
    except OSError as error:
        raise SetupError(f"{with_file} cannot be read: {error.strerror}") from error
    except BadEvent as error:
        raise SetupError(f"{with_file}: {error.reason}") from error


def _found(letter: DeadLetter | None, letter_id: str) -> DeadLetter:
    if letter is None:
        raise SetupError(
            f"There is no dead letter {letter_id}; `inventorybot dead-letters list` shows those of 30 days"
        )
    return letter


def _metadata(x: DeadLetter) -> dict[str, Any]:
    replayed = None if x.replayed_at is None else rfc3339(x.replayed_at)
    return {
        "id": x.id, "topic": x.topic, "partition": x.partition, "offset": x.offset, "at": rfc3339(x.at), "code": x.code,
        "path": x.path, "reason": x.reason, "replayed_at": replayed,
    }  # fmt: skip


def _readable(value: bytes | None) -> str:
    """UTF-8 with everything that could steer a terminal shown as escapes."""
    if value is None:
        return "(null)"
    text = value.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _text(code: Code | None) -> str | None:
    return None if code is None else str(code)
