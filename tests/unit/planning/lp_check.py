"""An independent answer to compare with: HiGHS, as scipy brings it. In: a `LinearProgram`. Out: its optimum."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from ml.planning.program import LinearProgram


def optimum(program: LinearProgram) -> float:
    """The largest value; raises when HiGHS does not find it."""
    if not len(program.cost):
        return 0.0
    box = np.c_[np.zeros(len(program.cost)), program.upper]
    found = linprog(-program.cost, program.matrix, program.limits, bounds=box, method="highs")
    assert found.status == 0, found.message
    return float(-found.fun)
