"""What the network plan is worth beside three simple ways to plan, at the same storage, on the same orders.

In: a sales table (store, item, week, units), whose last weeks are held out and become the demand; without one, made
problems and drawn demand. Prices, sizes and places are made with a seed, so several seeds are tried, and several levels
of storage. Out: a table: profit above each simple way with 95 % intervals over weeks (replications), paired; and the same
with spill accounted for. The last line is all cases together: a week's differences are averaged over the cases first,
because cases share the weeks.

Run: python -m benchmarks.planning_value [--sales FILE] [--seeds 1,2,3] [--tight 0.7,0.85,1.0] [--weeks 13]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ml.planning.data import Instance
from ml.planning.from_sales import Economics, instance_from_sales, read_sales
from ml.planning.generate import Sizes, generate
from ml.planning.simulate import Outcome, simulate
from ml.planning.simulate_plans import BASELINES, all_moves, moves_of_rounded, rounded
from ml.planning.simulate_report import Interval, interval
from ml.planning.simulate_world import Ints
from ml.planning.spill import solve_with_spill

SPILL = "with spill"
MADE = Sizes(200, 6)


def cases(args: argparse.Namespace) -> Iterator[tuple[str, Instance, Ints | None]]:
    """Name, problem and demand paths of every case."""
    sales = read_sales(args.sales) if args.sales else None
    if sales and args.before:  # for choosing methods: the weeks before the ones that count
        sales = type(sales)(sales.items, sales.stores, sales.units[:, :, : -args.before])
    for seed in (int(s) for s in args.seeds.split(",")):
        for tight in (float(t) for t in args.tight.split(",")):
            name = f"seed {seed}, storage {tight:.0%}"
            if sales:
                yield name, *instance_from_sales(sales, Economics(seed, tight=tight), args.weeks)
            else:
                yield name, generate(Sizes(MADE.skus, MADE.sites, tight=tight), seed), None


def play(instance: Instance, paths: Ints | None, replications: int) -> list[Outcome]:
    """The network plan, the simple ways, and the plan that accounts for spill: their books."""
    world, moves = all_moves(instance)
    spilled = solve_with_spill(instance)
    best = spilled.solution
    found = rounded(instance, spilled.problem, best.units_MN, best.prices, best.bound)
    moves.append(moves_of_rounded(instance, world, found, SPILL))
    return simulate(world, moves, replications=replications, seed=1, paths=paths)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print. Args: arguments: as on the command line; None: those of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sales", type=Path, help="Parquet table with store, item, week, units")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--tight", default="0.7,0.85,1.0", help="storage as a share of what sites would like")
    parser.add_argument("--weeks", type=int, default=13, help="weeks held out; replications without --sales")
    parser.add_argument("--before", type=int, default=0, help="leave out so many last weeks altogether")
    args = parser.parse_args(arguments)
    about = f"{args.sales.name}, last {args.weeks} weeks" if args.sales else f"made problems, {args.weeks} replications"
    head = ["case", "profit", *(f"above {name}" for name in BASELINES), "above the best of the three", "spill adds"]
    table = Table(*head, title=f"network plan: {about}; 95 % intervals", box=None)
    above, spill = [], []
    for name, instance, paths in track(list(cases(args)), "Simulating", transient=True):
        books = play(instance, paths, args.weeks)
        ours, simple, spilled = books[0], books[1 : 1 + len(BASELINES)], books[-1]
        best = max(simple, key=lambda book: float(book.profit.mean()))
        above.append((ours.profit - best.profit) / best.profit.mean())
        spill.append((spilled.profit - ours.profit) / ours.profit.mean())
        shares = [interval((ours.profit - book.profit) / book.profit.mean()) for book in simple]
        last = [f"{said(interval(above[-1]))} ({best.name})", said(interval(spill[-1]))]
        table.add_row(name, f"{float(ours.profit.mean()):,.0f}", *map(said, shares), *last)
    together = [said(interval(torch.stack(x).mean(0))) for x in (above, spill)]
    table.add_row("all together", *[""] * (1 + len(BASELINES)), *together)
    Console(width=200).print(table)


def said(found: Interval) -> str:
    """A share and half its interval."""
    return f"{found.mean:+.2%} ± {found.high - found.mean:.2%}"


if __name__ == "__main__":
    main()
