"""`inventorybot jobs`: which jobs there are, and run one.

In: JOBS. Out: a table; or whatever the job does. A job's module is imported when it is run.
"""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from inventorybot.lazy_commands import group
from ml.jobs import JOBS

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List the jobs, or run one.")
_run = typer.Typer(cls=group(JOBS), no_args_is_help=True, help="Run a job now; `run NAME --help` shows its options.")
app.add_typer(_run, name="run")


@_run.callback()
def _one() -> None:
    """Run a job now; `run NAME --help` shows its options."""


@app.command("list")
def list_jobs() -> None:
    """Show the jobs, with what each does."""
    table = Table("job", "what it does", box=None, pad_edge=False)
    for name, (_, line) in JOBS.items():
        table.add_row(name, line)
    Console().print(table)
