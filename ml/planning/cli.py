"""The commands `inventorybot plan …`: generate, solve, show, export-mps; others are found by name in OTHERS.

In: a folder of tables. Out: a folder with the plan; an MPS file; a made problem. torch and pyarrow are imported when a command
runs, so that `--help` is quick. A command that lives in a file of its own is a plain annotated function; one line in OTHERS
registers it.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inventorybot.errors import SetupError
from inventorybot.lazy_commands import Table, group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OTHERS: Table = {
    "simulate": ("ml.planning.simulate_cli:simulate", "Try a plan, and three simple ways to plan, on the same orders."),
    "lost-sales": ("ml.planning.classical.cli:lost_sales", "How much to order when unmet demand is lost."),
}
"""Commands in files of their own."""

app = typer.Typer(
    cls=group(OTHERS),
    add_completion=False,
    no_args_is_help=True,
    help="Plan what to buy and where to put it, over a network of warehouses.",
)

Folder = Annotated[Path, typer.Argument(help="Folder of the problem's tables; docs/planning.md has their columns.")]


@app.callback()
def _about() -> None:
    """Plan what to buy and where to put it, over a network of warehouses.

    Try it: `plan generate --skus 10000 --sites 10 --seed 1 --out problem`, then `plan solve problem --out answer`.
    """


@app.command()
def generate(
    skus: Annotated[int, typer.Option(help="Number of SKUs.")],
    sites: Annotated[int, typer.Option(help="Number of sites.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables; it is made.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same tables.")] = 1,
    periods: Annotated[int, typer.Option(help="Number of periods.")] = 1,
    layers: Annotated[int, typer.Option(help="Layers of sites between vendors and customers.")] = 1,
    regions: Annotated[int, typer.Option(help="Demand regions; 0: twice the sites.")] = 0,
    tight: Annotated[float, typer.Option(help="Scales storage and inbound limits; below 1 is tighter.")] = 1.0,
) -> None:
    """Write a made problem: cities, skewed demand, limits that bind."""
    from ml.planning.data import write_instance
    from ml.planning.generate import Sizes
    from ml.planning.generate import generate as make

    with _working("Making the problem"):
        instance = make(Sizes(skus, sites, periods, layers, regions, tight), seed)
    with _working("Writing the tables"):
        write_instance(instance, out)
    typer.echo(f"{skus:,} SKUs x {sites} sites x {periods} periods written to {out}")


@app.command()
def solve(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="Folder for the plan, its prices and summary.json; it is made.")],
    device: Annotated[
        str, typer.Option(help="auto (all GPUs, else the CPU), cpu, cuda, or several: cuda:0,cuda:1.")
    ] = "auto",
    gap: Annotated[
        float | None, typer.Option(help="Wanted (bound - value) / value. Default 1e-4, several periods 1e-3.")
    ] = None,
    warm: Annotated[
        Path | None, typer.Option("--warm-start", "--warm", help="Folder of an earlier plan to start from: saves time.")
    ] = None,
    spill: Annotated[int, typer.Option(help="Rounds that account for orders passed on to the next-best site.")] = 0,
    whole: Annotated[bool, typer.Option("--whole", help="Round to packs, smallest orders and fixed costs.")] = False,
    pictures: Annotated[bool, typer.Option("--pictures", help="Draw prices.svg and flows.svg as well.")] = False,
) -> None:
    """Plan, and prove how good the plan is.

    Exit code: 0 if the gap was reached, 1 if not (the plan is written all the same), 2 for input that cannot work.
    """
    from ml.planning.data import read_instance
    from ml.planning.result import write_result
    from ml.planning.run import plan

    with _working("Reading the tables"):
        instance = read_instance(folder)
    with _working("Planning") as say:
        result = plan(instance, gap=gap, device=device, warm=warm, spill=spill, whole=whole, say=say)
    with _working("Writing the plan"):
        write_result(result, instance, out)
        if pictures:
            from ml.planning.pictures import draw

            draw(out, out)
    _report(result.summary, out)
    if result.summary["status"] != "proved":
        raise typer.Exit(1)


@app.command()
def show(out: Annotated[Path, typer.Argument(help="Folder of a plan.")]) -> None:
    """Show a plan's proof, and what space and flow are worth at each site."""
    import pyarrow.parquet as pq
    from rich.console import Console
    from rich.table import Table

    from ml.planning.result import read_summary

    _report(read_summary(out), out)
    table = Table("site", "period", "a m³ is worth", "m³ used", "a unit in is worth", "units in", box=None)
    for row in pq.read_table(out / "prices.parquet").to_pylist():
        table.add_row(
            row["site"],
            str(row["period"]),
            f"{row['storage_price']:,.2f}",
            f"{row['storage_used_m3']:,.1f}",
            f"{row['flow_price']:,.4f}",
            f"{row['inbound_used_units']:,.0f}",
        )
    Console().print(table)


@app.command("export-mps")
def export_mps(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="File; .mps or .mps.gz. Default FOLDER/problem.mps.gz.")] = None,
) -> None:
    """Write the linear program that `plan solve` solves, for any other solver; it minimises minus the value."""
    from rich.progress import Progress

    from ml.planning import program
    from ml.planning.data import read_instance
    from ml.planning.mps import write_mps
    from ml.planning.multiperiod import build_network
    from ml.planning.run import is_one_period
    from ml.planning.segments import build

    target = out or folder / "problem.mps.gz"
    if not target.name.endswith((".mps", ".mps.gz")):
        raise SetupError(f"{target} must end in .mps or .mps.gz")
    with _working("Reading the tables"):
        instance = read_instance(folder)
    with _working("Making the linear program"):
        if is_one_period(instance):
            made = program.of_problem(build(instance))
        else:
            made = program.of_network(build_network(instance))
    with Progress(transient=True) as progress:
        task = progress.add_task("Writing", total=len(made.columns))
        write_mps(made, target, lambda done: progress.advance(task, done))
    rows, columns = len(made.rows), len(made.columns)
    typer.echo(f"{rows:,} rows, {columns:,} columns, {made.matrix.nnz:,} entries written to {target}")


@contextmanager
def _working(what: str) -> Iterator[Callable[[str, float], None]]:
    """A bar while something is under way; what it yields tells what was reached, and the share that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns, console = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()), Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda text, share: bar.update(task, description=f"{what}: {text}", total=1.0, completed=share)


def _report(summary: dict[str, Any], out: Path) -> None:
    seconds, broken = summary["seconds"], max(summary["violations"].values())
    if "rounding" in summary:
        loss, costs = summary["rounding"]["loss"], summary["rounding"]["order_costs"]
        typer.echo(f"in whole packs, with {costs:,.2f} of order costs: {loss:.4%} below the bound")
    typer.echo(
        f"value {round(summary['value'], 2) + 0.0:,.2f}, bound {summary['bound']:,.2f}, gap {summary['gap']:.4%} ({summary['status']}); "
        f"largest violation {broken:.1e}; expected profit {summary['expected_profit']:,.2f}\n"
        f"{summary['skus']:,} SKUs x {summary['sites']} sites x {summary['periods']} periods in {seconds['solve']:.2f} s "
        f"after {seconds['build']:.2f} s for the slices; {out}"
    )
