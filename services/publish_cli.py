"""`inventorybot publish FILE|-`: events from JSON lines or CSV, each checked as the agents will check it.

In: structured CloudEvents, one a line; or CSV (see services/event_lines.py). Out: records acknowledged by Kafka; every
line that is refused on standard error and in --report; a summary. Exit code 1 if any was refused, 2 if Kafka stayed
away. Reads as a stream: a file of any size needs the same memory. Publishing a file again does no harm.
Try: printf '%s\\n' type,time,site,bin,sku,quantity receipt,2026-11-21T06:36:00Z,BER1,A-1,B00X,3 | inventorybot publish -
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from inventorybot import settings as configuration
from inventorybot import wiring
from inventorybot.clock import now_ms
from inventorybot.errors import BadEvent, SetupError, TryLater
from inventorybot.ports import Publisher
from inventorybot.settings import Settings
from inventorybot.wire import codec
from inventorybot.wire.codec import Message, TimeLimits
from services.event_lines import Form, Line, read_lines

BATCH_EVENTS = 500
BATCH_BYTES = 4_000_000
"""Whichever comes first: what waits for one acknowledgement, and what a failure makes us send again."""
ACK_TIMEOUT_S = 10.0


def publish(
    file: Annotated[str, typer.Argument(help="file of events; - reads standard input")],
    form: Annotated[
        Form, typer.Option("--format", help="auto: by the name's ending, else by the first character")
    ] = Form.AUTO,
    source: Annotated[str, typer.Option(help="the CloudEvents source of CSV rows")] = "inventorybot-publish",
    report: Annotated[Path | None, typer.Option(help="write every refusal to this file too, as JSON lines")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check only; publish nothing")] = False,
) -> None:
    """Publish events from JSON lines or CSV; report every line that is refused, with its code, field and reason.

    CSV columns: type (short: receipt, pick, … bin-image), id, time, site, bin, sku, quantity, to_bin, reason, image_url.
    """
    settings = configuration.load()
    with ExitStack() as stack:
        stream, size = _open(file, stack)
        refusals = stack.enter_context(_create(report)) if report else None
        progress = stack.enter_context(_progress(size)) if sys.stderr.isatty() else None
        task = progress.add_task("publishing", total=size) if progress else None

        def advance(count: int) -> None:
            if progress and task is not None:
                progress.advance(task, count)

        lines = read_lines(stream, form, Path(file).suffix.lower(), source, advance)
        run = Run(wiring.time_limits(settings), lambda r: _tell(r, refusals, progress.console if progress else None))
        asyncio.run(run.all(lines, settings, dry_run))
    verb = "would be accepted" if dry_run else "accepted"
    typer.echo(f"{run.lines} events: {run.accepted} {verb}, {run.refused} refused.")
    if run.refused:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One line that was refused."""

    line: int
    id: str | None
    code: str
    path: str
    reason: str


class Run:
    """One run over a file. Args: tell: is given every refusal."""

    def __init__(self, limits: TimeLimits, tell: Callable[[Refusal], None]) -> None:
        self._limits, self._tell = limits, tell
        self.lines = self.accepted = self.refused = 0

    async def all(self, lines: Iterable[Line], settings: Settings, dry_run: bool) -> None:
        """Check, and publish unless `dry_run`. Raises: TryLater: Kafka stayed away; says how far it came."""
        if dry_run:
            await self.publish(lines, None, 0)
            return
        async with wiring.publisher(settings, ACK_TIMEOUT_S) as publisher:
            await self.publish(lines, publisher, settings.retry_limit_s)

    async def publish(self, lines: Iterable[Line], publisher: Publisher | None, patience_s: float) -> None:
        """Check every line and publish the good ones in batches."""
        batch: list[Message] = []
        size = 0
        for line in lines:
            self.lines += 1
            message = self._check(line)
            if message is None:
                continue
            if batch and (len(batch) >= BATCH_EVENTS or size + len(message.value) > BATCH_BYTES):
                await self._send(batch, publisher, patience_s)
                batch, size = [], 0
            batch.append(message)
            size += len(message.value)
        await self._send(batch, publisher, patience_s)

    def _check(self, line: Line) -> Message | None:
        try:
            if isinstance(line.event, BadEvent):
                raise line.event
            return codec.structured(line.event, now_ms(), self._limits)
        except BadEvent as error:
            self.refused += 1
            found = line.event.get("id") if isinstance(line.event, dict) else None
            event_id = found[: codec.MAX_ID] if isinstance(found, str) else None
            self._tell(Refusal(line.number, event_id, str(error.code), error.path, error.reason))
            return None

    async def _send(self, batch: list[Message], publisher: Publisher | None, patience_s: float) -> None:
        if publisher is not None and batch:
            try:
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(TryLater), stop=stop_after_delay(patience_s), reraise=True,
                    wait=wait_random_exponential(multiplier=0.5, max=5),
                ):  # fmt: skip
                    with attempt:
                        await publisher.publish(batch)
            except TryLater as error:
                said = f"{error.reason}; {self.accepted} events are safe. Publish the same file again when it answers: "
                raise TryLater(error.part, said + "what is there already is not counted twice") from error
        self.accepted += len(batch)


def _tell(refusal: Refusal, report: IO[str] | None, console: Console | None) -> None:
    said = f"line {refusal.line}: {refusal.code} at {refusal.path or '/'}: {refusal.reason}"
    if console is not None:
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    else:
        typer.echo(said, err=True)
    if report is not None:
        fields = {name: getattr(refusal, name) for name in Refusal.__dataclass_fields__}
        report.write(json.dumps(fields, ensure_ascii=False) + "\n")


def _open(file: str, stack: ExitStack) -> tuple[IO[bytes], int | None]:
    if file == "-":
        return sys.stdin.buffer, None
    try:
        return stack.enter_context(Path(file).open("rb")), Path(file).stat().st_size
    except OSError as error:
        raise SetupError(f"{file} cannot be read: {error.strerror}") from error


def _create(report: Path) -> IO[str]:
    try:
        return report.open("w", encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{report} cannot be written: {error.strerror}") from error


def _progress(size: int | None) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=size is None)
