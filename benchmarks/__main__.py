"""`python -m benchmarks [ledger|images|memory] …`: measure, and print a table. Without a name: all three."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

application = typer.Typer(add_completion=False, help="Measure the product on this machine. Run it on an idle one.")


@application.command()
def ledger(updates: Annotated[int, typer.Option(help="updates that wait in the log")] = 100_000) -> None:
    """Ledger throughput and latency, beside the ceiling and the obvious agent."""
    from benchmarks import ledger as benchmark

    benchmark.run(updates)


@application.command()
def images(
    bins: Annotated[Path | None, typer.Option(help="folder or zip in the ABID layout; none: drawn pictures")] = None,
) -> None:
    """Images a second, JPEG bytes to distribution, beside the plain torchvision loop and its two limits."""
    from benchmarks import count_images

    count_images.main(["--bins", str(bins)] if bins else [])


@application.command()
def memory() -> None:
    """Resident memory of every process, idle."""
    from benchmarks import memory as benchmark

    benchmark.run()


@application.callback(invoke_without_command=True)
def everything(context: typer.Context) -> None:
    """All of them, one after the other."""
    if context.invoked_subcommand is None:
        ledger()
        images()
        memory()


if __name__ == "__main__":
    application()
