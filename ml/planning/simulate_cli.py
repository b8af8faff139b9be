"""The command `inventorybot plan simulate`.

In: a folder of tables, or a sales table to make one from; perhaps a plan. Out: a table on the terminal, metrics.parquet,
replications.parquet and simulation.png. torch and pyarrow are imported when the command runs, so that `--help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inventorybot.errors import SetupError

if TYPE_CHECKING:
    from ml.planning.data import Instance
    from ml.planning.simulate import Outcome
    from ml.planning.simulate_report import Row
    from ml.planning.simulate_world import Ints

SHOWN = ("profit", "fill rate", "last mile", "stock at period end", "transfers", "lost")
"""Metrics of the table on the terminal; metrics.parquet has them all."""


def simulate(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the problem's tables; with --sales they are written there.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tables and the picture; it is made.")],
    plan: Annotated[Path | None, typer.Option(help="Result of `plan solve`; default: solve now.")] = None,
    replications: Annotated[int, typer.Option(min=1, help="Times that demand is drawn; not with --sales.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same orders; with --sales also prices and places.")] = 1,
    days: Annotated[int, typer.Option(min=1, help="Days in a period, of the simulated clock.")] = 1,
    cycles: Annotated[
        bool, typer.Option("--cycles", help="Buy SKUs with a fixed order cost in cycles of periods.")
    ] = False,
    sales: Annotated[
        Path | None, typer.Option(help="Parquet table (store, item, week, units): its last weeks are the demand.")
    ] = None,
    holdout: Annotated[int, typer.Option(min=2, help="With --sales: weeks kept from the forecast.")] = 13,
    sites: Annotated[int, typer.Option(min=1, help="With --sales: cities with a site each.")] = 7,
    tight: Annotated[float, typer.Option(help="With --sales: storage, as a share of what sites would like.")] = 0.85,
) -> None:
    """Try a plan, and three simple ways to plan, on the same orders.

    Shows profit, fill rate, costs and stock with 95 % intervals, and by how much the plan is above each simple way.
    """
    from rich.console import Console
    from rich.progress import Progress

    from ml.planning import simulate as simulator
    from ml.planning.data import read_instance
    from ml.planning.simulate_plans import all_moves, read_result
    from ml.planning.simulate_report import write_report

    stderr = Console(stderr=True)
    paths: Ints | None = None
    with stderr.status("Reading the tables"):
        if sales is not None:
            instance, paths = _from_sales(folder, sales, seed, sites, tight, holdout)
        else:
            instance = read_instance(folder)
    with stderr.status("Planning"):
        world, moves = all_moves(instance, read_result(plan, instance) if plan else None, cycles=cycles)
    count = replications if paths is None else len(paths)
    with Progress(console=stderr, transient=True) as progress:
        task = progress.add_task("Simulating", total=count)
        outcomes: list[Outcome] = simulator.simulate(
            world,
            moves,
            replications=count,
            seed=seed,
            days=days,
            paths=paths,
            progress=lambda done: progress.update(task, completed=done),
        )
    rows = write_report(out, outcomes, world.speeds)
    _show(Console(), rows, count)
    stderr.print(f"all metrics, replications and simulation.png in {out}", highlight=False, soft_wrap=True)


def _from_sales(folder: Path, sales: Path, seed: int, sites: int, tight: float, holdout: int) -> tuple[Instance, Ints]:
    from ml.planning.data import read_instance, write_instance
    from ml.planning.from_sales import Economics, instance_from_sales, read_sales

    instance, paths = instance_from_sales(read_sales(sales), Economics(seed, sites, tight), holdout)
    if not (folder / "skus.parquet").exists():
        write_instance(instance, folder)
    elif not read_instance(folder).same_as(instance):
        raise SetupError(f"{folder} holds another problem than --sales makes with these options: give an empty folder")
    return instance, paths


def _show(console: object, rows: list[Row], count: int) -> None:
    from rich.console import Console
    from rich.table import Table

    assert isinstance(console, Console)
    table = Table("plan", "metric", "mean", "the plan is above by", box=None)
    for row in (r for r in rows if r.metric in SHOWN):
        own = _figure(row.mean, row.high, row.unit)
        ahead = "" if row.plan == rows[0].plan else _figure(row.first_is_above, row.above_high, row.unit)
        table.add_row(row.plan if row.metric == SHOWN[0] else "", row.metric, own, ahead)
    console.print(table)
    console.print(f"{count} replications; every plan met the same orders; ± 95 %")


def _figure(mean: float, high: float, unit: str) -> str:
    """A mean and half its 95 % interval."""
    return f"{mean:.2%} ± {high - mean:.2%}" if unit == "share" else f"{mean:,.0f} ± {high - mean:,.0f}"
