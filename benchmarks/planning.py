"""The network planner beside HiGHS and OR-Tools PDLP on the very same linear programs, and its growth to a million SKUs.

In: sizes; HiGHS and PDLP are installed in environments of their own at the first run (highspy 1.15 breaks the import of PDLP
beside it). Out: a table; exit code 1 where a gap is missed, a limit broken, or an optimum lies outside of our plan and bound.
Run: `python -m benchmarks planning`, also `… planning --skus 1000000 --compare 0`. Seconds are wall time on this machine; each of
our sizes runs in a process of its own, whose peak memory is told. PDLP stops at a relative accuracy of 1e-6.
"""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.environments import environment

HIGHS = ("highspy==1.15.1", "numpy==2.4.6")
PDLP = ("ortools==9.15.6755", "numpy==2.4.6")
CLOSE = 2e-6
"""How far PDLP's optimum may lie outside of plan and bound, relative: its own accuracy."""

RUN_HIGHS = """
import highspy, json, sys, time
h = highspy.Highs()
h.setOptionValue("output_flag", False)
h.setOptionValue("threads", 2)
h.setOptionValue("solver", "ipm")
h.setOptionValue("time_limit", float(sys.argv[2]))
h.readModel(sys.argv[1])
began = time.perf_counter()
h.run()
found = h.getModelStatus() == highspy.HighsModelStatus.kOptimal
optimum = -h.getInfo().objective_function_value if found else None
print(json.dumps({"seconds": time.perf_counter() - began, "optimum": optimum}))
"""
RUN_PDLP = """
import json, sys, time
from ortools.pdlp import solve_log_pb2, solvers_pb2
from ortools.pdlp.python import pdlp
program = pdlp.read_quadratic_program_or_die(sys.argv[1])
wanted = solvers_pb2.PrimalDualHybridGradientParams()
wanted.num_threads = 2
stop = wanted.termination_criteria
stop.simple_optimality_criteria.eps_optimal_relative = 1e-6
stop.simple_optimality_criteria.eps_optimal_absolute = 1e-6
stop.time_sec_limit = float(sys.argv[2])
began = time.perf_counter()
result = pdlp.primal_dual_hybrid_gradient(program, wanted)
seconds = time.perf_counter() - began
done = result.solve_log.termination_reason == solve_log_pb2.TERMINATION_REASON_OPTIMAL
sign = -sum(c * x for c, x in zip(program.objective_vector, result.primal_solution))
print(json.dumps({"seconds": seconds, "optimum": sign if done else None}))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One size. mps: where to write the program for the other solvers; "": they do not run."""

    skus: int
    sites: int
    periods: int
    layers: int
    mps: str = ""

    @property
    def slices(self) -> int:
        """Of demand: nearly the number of columns."""
        return self.skus * self.sites * self.periods * 10

    @property
    def name(self) -> str:
        return f"{self.skus:,} x {self.sites} x {self.periods}" + (f", {self.layers} layers" if self.layers > 1 else "")


def ours(case: Case) -> dict[str, Any]:
    """Make, build, solve cold and warm; what it took."""
    from ml.planning import program
    from ml.planning.generate import Sizes, generate
    from ml.planning.mps import write_mps
    from ml.planning.run import is_one_period

    instance = generate(Sizes(case.skus, case.sites, case.periods, case.layers), seed=1)
    began = time.perf_counter()
    if is_one_period(instance):
        from ml.planning.segments import build
        from ml.planning.solve import solve

        problem = build(instance)
        built = time.perf_counter() - began
        del instance
        found = solve(problem)
        value, violation = found.worth.value, found.worth.violations.worst
        changed = replace(problem, storage_M=problem.storage_M * 0.99)
        warm = min(solve(changed, warm=found.prices).seconds for _ in range(3 if case.skus <= 100_000 else 1))
        linear = program.of_problem(problem) if case.mps else None
    else:
        from ml.planning.multiperiod import build_network
        from ml.planning.multiperiod_solve import solve_network

        network = build_network(instance)
        built = time.perf_counter() - began
        several = solve_network(network)
        changed = replace(network, storage=network.storage * 0.99)
        warm = solve_network(changed, warm=several.start).seconds
        found, value, violation = several, several.plan.value, several.plan.violations.worst
        linear = program.of_network(network) if case.mps else None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_048_576
    if linear:
        write_mps(linear, Path(case.mps))
    said = {"value": value, "bound": found.bound, "gap": found.gap, "violation": violation}
    return said | {"build": built, "seconds": found.seconds, "warm": warm, "peak": peak}


def theirs(python: Path, script: str, mps: str, limit_s: float) -> dict[str, Any]:
    """Another solver's seconds and optimum; None: it did not finish in time."""
    command = [str(python), "-c", script, mps, str(limit_s)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{python.parents[1].name} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def run(
    skus: Sequence[int],
    sites: int,
    several: Sequence[int],
    compare: int,
    limit_s: float,
    console: Console | None = None,
) -> int:
    """Measure and print.

    Args:
        skus: sizes of one period. several: SKUs of 8 periods in 2 layers.
        compare: most slices of demand of a size that HiGHS and PDLP are given as well.
        limit_s: seconds after which they give up.
    """
    console = console or Console(width=200)
    cases = [Case(n, sites, 1, 1) for n in skus] + [Case(n, sites, 8, 2) for n in several]
    others = [case.slices <= compare for case in cases]
    highs, pdlp = (environment(n, p) if any(others) else None for n, p in (("highs", HIGHS), ("pdlp", PDLP)))
    heads = (
        "SKUs x sites x periods",
        "slices s",
        "solve s",
        "warm s",
        "peak GiB",
        "value",
        "bound",
        "gap",
        "violation",
    )
    table = Table(*heads, "HiGHS s", "HiGHS optimum", "PDLP s", "PDLP optimum", "agree")
    failed = False
    with tempfile.TemporaryDirectory(prefix="inventorybot-bench-") as folder, console.status("measuring") as status:
        for number, (case, compared) in enumerate(zip(cases, others, strict=True)):
            status.update(f"{case.name} ({number + 1} of {len(cases)}): ours")
            mps = str(Path(folder) / f"{number}.mps") if compared else ""
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                mine = pool.submit(ours, replace(case, mps=mps)).result()
            cells, agree = [], ""
            for python, script, slack in ((highs, RUN_HIGHS, 1e-9), (pdlp, RUN_PDLP, CLOSE)):
                if not compared or python is None:
                    cells += ["", ""]
                    continue
                status.update(f"{case.name}: {python.parents[1].name}")
                found = theirs(python, script, mps, limit_s)
                cells += [f"{found['seconds']:.1f}", _money(found["optimum"])]
                if found["optimum"] is not None:
                    room = slack * abs(found["optimum"])
                    inside = mine["value"] - room <= found["optimum"] <= mine["bound"] + room
                    agree, failed = ("yes" if inside and agree != "no" else "no"), failed or not inside
            failed |= mine["gap"] > (1e-4 if case.periods == 1 else 1e-3) or mine["violation"] > 1e-9
            table.add_row(case.name, *_cells(mine), *cells, agree)
    console.print(table)
    return int(failed)


def _cells(mine: dict[str, Any]) -> list[str]:
    warm = "" if mine["warm"] is None else f"{mine['warm']:.3f}"
    shown = [f"{mine['build']:.2f}", f"{mine['seconds']:.2f}", warm, f"{mine['peak']:.1f}"]
    return [*shown, _money(mine["value"]), _money(mine["bound"]), f"{mine['gap']:.4%}", f"{mine['violation']:.0e}"]


def _money(value: float | None) -> str:
    return "not in time" if value is None else f"{value:,.1f}"
