"""Linear programs as free-format MPS, which every solver reads.

In: a `LinearProgram`. Out: a file, compressed when its name ends in .gz. Numbers are written so that they read back as the very
same float64. MPS minimises, so the objective is minus the plan's value. Run: `inventorybot plan export-mps DIR`.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from ml.planning.program import LinearProgram

LINES = 50_000
"""Columns written at a time."""


def write_mps(program: LinearProgram, path: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write a program. `progress` is told the number of columns done since the last call."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open(path) as out:
        out.write("* minimise; the optimum is minus the value of the plan\nNAME inventorybot\nROWS\n N value\n")
        out.writelines(f" L {row}\n" for row in program.rows)
        out.write("COLUMNS\n")
        for a in range(0, len(program.columns), LINES):
            part = slice(a, min(a + LINES, len(program.columns)))
            out.writelines(_columns(program, part))
            if progress:
                progress(part.stop - part.start)
        out.write("RHS\n")
        out.writelines(
            f" limits {row} {limit!r}\n" for row, limit in zip(program.rows, program.limits.tolist(), strict=True)
        )
        out.write("BOUNDS\n")
        bounded = np.isfinite(program.upper)
        pairs = zip(program.columns[bounded], program.upper[bounded].tolist(), strict=True)
        out.writelines(f" UP box {column} {upper!r}\n" for column, upper in pairs)
        out.write("ENDATA\n")


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "wt", compresslevel=1) if path.suffix == ".gz" else path.open("w")


def _columns(program: LinearProgram, part: slice) -> Iterator[str]:
    block = program.matrix[:, part]
    names, costs = program.columns[part], (-program.cost[part]).tolist()
    values, rows, ends = block.data.tolist(), program.rows[block.indices], block.indptr.tolist()
    return chain.from_iterable(
        [
            f" {name} value {cost!r}\n",
            *(f" {name} {row} {value!r}\n" for row, value in zip(rows[a:b], values[a:b], strict=True)),
        ]
        for name, cost, a, b in zip(names, costs, ends[:-1], ends[1:], strict=True)
    )
