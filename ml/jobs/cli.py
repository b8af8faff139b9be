"""`inventorybot jobs`: which jobs there are and how they fared, run one, run all at their times.

In: JOBS, the settings `jobs` and `jobs_state`. Out: a table; or whatever the job does, noted in the journal where there is
one, with what it measured. A job's module is imported when it is run.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from inventorybot import telemetry
from inventorybot.clock import now_ms
from inventorybot.errors import InventoryBotError
from inventorybot.lazy_commands import group
from inventorybot.settings import load
from ml.jobs import JOBS, NotYet, SomeRefused
from ml.jobs.journal import FAILED, NOT_YET, OK, Journal, Run, Story
from ml.jobs.schedule import schedule
from ml.jobs.when import parse

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List the jobs, run one, or run all at their times.")


class Recorded(group(JOBS)):  # type: ignore[misc]  # the class is made by a function
    """Runs the job that is named, and notes in the journal, if one is set, that it ran and how it ended."""

    def invoke(self, ctx: Any) -> Any:
        folder, named = load().jobs_state, [word for word in _words(ctx) if not word.startswith("-")]
        if not folder or not named or named[0] not in JOBS or "--help" in _words(ctx):
            return super().invoke(ctx)
        journal, job, began = Journal(Path(folder)), named[0], now_ms()
        with journal.running(job, began):
            result, said = FAILED, "it was interrupted"
            try:
                answer = super().invoke(ctx)
                result, said = OK, answer if isinstance(answer, str) else ""
            except NotYet as error:
                result, said = NOT_YET, str(error)
                raise
            except SomeRefused as error:
                result, said = OK, error.said
                raise
            except (typer.Exit, SystemExit) as error:
                code = getattr(error, "exit_code", getattr(error, "code", 1))
                result, said = (FAILED if code else OK), f"ended with {code}" if code else ""
                raise
            except InventoryBotError as error:
                said = str(error)
                raise
            except Exception as error:  # whatever it is, the journal says how the run ended
                said = f"{type(error).__name__}: {error}"
                raise
            finally:
                journal.end(job, Run(began, now_ms(), result, said))
                telemetry.hand_over(Path(folder) / "figures" / f"{job}.prom")
        return answer


def _words(ctx: Any) -> list[str]:
    """What was typed after `run`."""
    return [*getattr(ctx, "_protected_args", []), *ctx.args]


_run = typer.Typer(cls=Recorded, no_args_is_help=True, help="Run a job now; `run NAME --help` shows its options.")
app.add_typer(_run, name="run")
app.command("schedule")(schedule)


@_run.callback()
def _one() -> None:
    """Run a job now; `run NAME --help` shows its options."""


@app.command("list")
def list_jobs() -> None:
    """Show the jobs: what each does, when it is due, and how it ended last (times are UTC)."""
    settings, now = load(), now_ms()
    entries = {entry.job: entry for entry in parse(settings.jobs, JOBS)} if settings.jobs_state else {}
    journal = Journal(Path(settings.jobs_state)) if settings.jobs_state else None
    table = Table("job", "what it does", "at", "next", "last run", "how it ended", box=None, pad_edge=False)
    for name, (_, line) in JOBS.items():
        story, entry = journal.story(name) if journal else Story(), entries.get(name)
        last, said = _last(story, now)
        upcoming = _time(entry.next(now)) if entry else ""
        table.add_row(name, line, entry.text() if entry else "", upcoming, last, said)
    Console(width=None if os.isatty(1) else 200).print(table)
    if journal is None:
        typer.echo("INVENTORYBOT_JOBS_STATE is not set: nothing is noted of what ran, and no schedule runs.", err=True)


def _last(story: Story, now: int) -> tuple[str, str]:
    """When a job ran last, and how that ended."""
    if story.running and story.last:
        return _time(story.last.began), f"runs, since {(now - story.last.began) / 1000:,.0f} s"
    asked = f"; asked for: {story.asked_why}" if story.asked_at > (story.last.began if story.last else 0) else ""
    if story.last is None:
        return "never", asked.removeprefix("; ")
    took = ((story.last.ended or story.last.began) - story.last.began) / 1000
    words = f": {story.last.said}" if story.last.said else ""
    return _time(story.last.began), f"{story.last.result} after {took:,.0f} s{words}{asked}"


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%a %d %b %H:%M}".lower()
