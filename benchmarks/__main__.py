"""`python -m benchmarks NAME`: measure, and print a table. `--help` lists the names; without one: ledger, images, memory."""

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
    from benchmarks import count_serving

    count_serving.main(["--bins", str(bins)] if bins else [])


@application.command()
def memory() -> None:
    """Resident memory of every process, idle."""
    from benchmarks import memory as benchmark

    benchmark.run()


@application.command()
def planning(
    skus: Annotated[list[int] | None, typer.Option(help="SKUs of one period; may be repeated")] = None,
    sites: Annotated[int, typer.Option(help="sites")] = 10,
    several: Annotated[list[int] | None, typer.Option(help="SKUs of 8 periods in 2 layers; may be repeated")] = None,
    compare: Annotated[int, typer.Option(help="most slices of demand that HiGHS and PDLP are given as well")] = 250_000,
    limit: Annotated[float, typer.Option(help="seconds after which they give up")] = 600.0,
) -> None:
    """Seconds, bound and gap of the network planner, beside HiGHS and PDLP on the same linear program."""
    from benchmarks import planning as benchmark

    default = ([2_000, 10_000, 100_000], [100, 500, 1_000, 2_000]) if skus is None and several is None else ([], [])
    raise typer.Exit(benchmark.run(skus or default[0], sites, several or default[1], compare, limit))


@application.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def value(context: typer.Context) -> None:
    """What a network plan earns in simulation, beside three simple ways. Options: `value --help`."""
    from benchmarks import planning_value

    planning_value.main(context.args)


@application.command()
def serial() -> None:
    """Serial systems beside stockpyl: cost and CPU time."""
    from benchmarks import serial_systems

    serial_systems.main()


@application.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def batch(context: typer.Context) -> None:
    """Retrain and forecast made series, beside AutoETS and mlforecast with LightGBM. Options: `batch --help`."""
    from benchmarks import batch as benchmark

    benchmark.main(context.args)


@application.callback(invoke_without_command=True)
def everything(context: typer.Context) -> None:
    """All of them, one after the other."""
    if context.invoked_subcommand is None:
        ledger()
        images()
        memory()


if __name__ == "__main__":
    application()
