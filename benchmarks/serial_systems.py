"""Serial systems beside stockpyl on the instances that it publishes: cost, CPU seconds, and how many times faster.

In: nothing; stockpyl is installed in an environment of its own at the first run. Out: a table; exit code 1 where a cost differs by
more than 0.1 % or ours is less than 20 times as fast. Run: `python -m benchmarks.serial_systems`.

stockpyl lays a grid over demand and stock as it does by default; its costs move by some 0.03 % with the grid. Ours are exact to
six digits (`ml/planning/classical/serial.py`), so the column "apart" is the error of its grid.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.environments import environment
from ml.planning.classical import demand
from ml.planning.classical.serial import NormalDemand, PoissonDemand, SerialPolicy, SerialSystem, optimise

STOCKPYL = ("stockpyl==1.0.2", "numpy==1.26.4")
"""stockpyl 1.0 does not run on numpy 2."""

MOST_APART, LEAST_RATIO = 0.001, 20.0

REPEATS = 15
"""Of ours, the median counts; stockpyl runs once, as the seconds it takes do not vary by a factor."""

THEIRS = """
import json, sys, time
from stockpyl.instances import load_instance
from stockpyl.ssm_serial import optimize_base_stock_levels
names = ["example_6_1", "problem_6_1", "problem_6_2a", "problem_6_2b", "problem_6_16",
         "shang_song_1", "shang_song_9", "shang_song_17", "shang_song_25"]
for name in names:
    network = load_instance(name)
    nodes = sorted(network.nodes, key=lambda node: node.index)
    source = nodes[0].demand_source
    begun = time.process_time()
    levels, cost = optimize_base_stock_levels(network=network)
    print(json.dumps({
        "name": name, "seconds": time.process_time() - begun, "cost": float(cost),
        "holding": [node.echelon_holding_cost for node in nodes], "lead_times": [node.shipment_lead_time for node in nodes],
        "penalty": nodes[0].stockout_cost, "demand": source.type, "mean": source.mean, "deviation": source.standard_deviation,
    }), flush=True)
"""


def main() -> None:
    """Measure, and print the table."""
    python = environment("stockpyl", STOCKPYL)
    stdout = Console()
    table = Table("instance", "demand", "cost", "theirs", "apart", "ms", "theirs", "times", box=None)
    table.columns[0].no_wrap = True
    worst_apart, least_ratio = 0.0, float("inf")
    with (
        Console(stderr=True).status("stockpyl is solving its instances; a minute"),
        subprocess.Popen([python, "-c", THEIRS], stdout=subprocess.PIPE, text=True) as theirs,
    ):
        assert theirs.stdout is not None
        for line in theirs.stdout:
            other = json.loads(line)
            ours, seconds = measure(system_of(other))
            apart, ratio = ours.cost / other["cost"] - 1, other["seconds"] / seconds
            worst_apart, least_ratio = max(worst_apart, abs(apart)), min(least_ratio, ratio)
            figures = f"{ours.cost:.4f}", f"{other['cost']:.4f}", f"{apart:+.3%}"
            times = f"{1000 * seconds:.2f}", f"{1000 * other['seconds']:,.0f}", f"{ratio:,.0f}"
            kind = {"N": "normal", "P": "Poisson"}[other["demand"]]
            table.add_row(other["name"], kind, *figures, *times)
    stdout.print(table)
    stdout.print(f"costs at most {worst_apart:.3%} apart; at least {least_ratio:,.0f} times as fast (CPU time)")
    if theirs.returncode or worst_apart > MOST_APART or least_ratio < LEAST_RATIO:
        sys.exit(1)


def system_of(instance: dict[str, Any]) -> SerialSystem:
    """The same system in our terms; stage 1 is the customer's in both."""
    normal = instance["demand"] == "N"
    stream = NormalDemand(instance["mean"], instance["deviation"]) if normal else PoissonDemand(instance["mean"])
    return SerialSystem(tuple(instance["holding"]), tuple(instance["lead_times"]), instance["penalty"], stream)


def measure(system: SerialSystem) -> tuple[SerialPolicy, float]:
    """The optimum, and the median CPU seconds it takes with nothing remembered from before."""
    seconds = []
    for _ in range(REPEATS):
        demand.poisson.cache_clear()
        begun = time.process_time()
        policy = optimise(system)
        seconds.append(time.process_time() - begun)
    return policy, statistics.median(seconds)


if __name__ == "__main__":
    main()
