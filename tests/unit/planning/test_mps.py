"""Exported linear programs, read back by a reader of this test's own. Run: pytest tests/unit/planning/test_mps.py"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from ml.planning.generate import Sizes, generate
from ml.planning.mps import write_mps
from ml.planning.multiperiod import build_network
from ml.planning.program import LinearProgram, of_network, of_problem
from ml.planning.segments import build
from ml.planning.solve import solve
from tests.unit.planning.lp_check import optimum


def read_mps(path: Path) -> LinearProgram:
    """A free MPS file that minimises, has only <= rows, and columns from 0 up."""
    text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
    section, rows, columns = "", {}, {}
    entries, cost, limits, upper = [], {}, {}, {}
    for line in text.splitlines():
        if not line.startswith(" "):
            section = line.split()[0]
            continue
        part = line.split()
        if section == "ROWS" and part[0] == "L":
            rows[part[1]] = len(rows)
        elif section == "COLUMNS":
            at = columns.setdefault(part[0], len(columns))
            if part[1] == "value":
                cost[at] = -float(part[2])
            else:
                entries.append((rows[part[1]], at, float(part[2])))
        elif section == "RHS":
            limits[rows[part[1]]] = float(part[2])
        elif section == "BOUNDS":
            assert part[0] == "UP"
            upper[columns[part[2]]] = float(part[3])
    r, c, v = zip(*entries, strict=True)
    return LinearProgram(
        np.array([cost[i] for i in range(len(columns))]),
        sp.csc_matrix((v, (r, c)), shape=(len(rows), len(columns))),
        np.array([limits.get(i, 0.0) for i in range(len(rows))]),
        np.array([upper.get(i, np.inf) for i in range(len(columns))]),
        np.array(list(rows)),
        np.array(list(columns)),
    )


@pytest.mark.parametrize("name", ["problem.mps", "problem.mps.gz"])
@pytest.mark.parametrize("several", [False, True])
def test_the_file_holds_the_very_same_program(tmp_path: Path, several: bool, name: str) -> None:
    made = generate(Sizes(6, 3, 3 if several else 1, 2 if several else 1), seed=1)
    program = of_network(build_network(made)) if several else of_problem(build(made))
    write_mps(program, tmp_path / name)
    read = read_mps(tmp_path / name)
    for field in ("cost", "limits", "upper", "rows", "columns"):
        assert np.array_equal(getattr(read, field), getattr(program, field)), field
    assert (read.matrix != program.matrix).nnz == 0


def test_another_solver_finds_an_optimum_between_our_plan_and_our_bound(tmp_path: Path) -> None:
    problem = build(generate(Sizes(25, 3), seed=2))
    write_mps(of_problem(problem), tmp_path / "problem.mps")
    found = solve(problem)
    assert found.worth.value * (1 - 1e-9) <= optimum(read_mps(tmp_path / "problem.mps")) <= found.bound * (1 + 1e-9)
