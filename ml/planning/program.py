"""The planner's models as plain linear programs: what any solver can check.

In: a `Problem` or a `Network`. Out: a `LinearProgram`: maximise cost · x, matrix x <= limits, 0 <= x <= upper.
Rows without a limit and decisions that can only be 0 are left out. Tests: tests/unit/planning/test_mps.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ml.planning.multiperiod import Network
from ml.planning.problem import Problem
from ml.planning.tables import Array


@dataclass(frozen=True, slots=True, eq=False)
class LinearProgram:
    """max cost · x, matrix x <= limits, 0 <= x <= upper (inf: no bound); names of rows and columns, str."""

    cost: Array
    matrix: sp.csc_matrix
    limits: Array
    upper: Array
    rows: Array
    columns: Array

    def kept(self) -> LinearProgram:
        """Without empty rows, rows without a limit, and columns that can only be 0."""
        column, row = self.upper > 0, np.isfinite(self.limits)
        matrix = self.matrix[row][:, column].tocsc()
        used = np.diff(matrix.tocsr().indptr) > 0
        return LinearProgram(
            self.cost[column],
            matrix.tocsr()[used].tocsc(),
            self.limits[row][used],
            self.upper[column],
            self.rows[row][used],
            self.columns[column],
        )


def of_problem(problem: Problem) -> LinearProgram:
    """One period. Columns y_SITE_SLICE_SKU, rows storage_SITE, flow_SITE, supply_SKU, numbered from 0."""
    m, k, n = problem.shape
    site, _, sku = (a.ravel() for a in np.indices((m, k, n), dtype=np.int32))
    x = np.arange(m * k * n)
    volume = problem.volume_N.cpu().numpy()
    one = np.ones(len(x))
    stacked = (np.concatenate([volume[sku], one, one]), (np.concatenate([site, m + site, 2 * m + sku]), np.tile(x, 3)))
    matrix = sp.csc_matrix(stacked, shape=(2 * m + n, len(x)))
    limits = [problem.storage_M, problem.flow_M, problem.supply_N.double()]
    names = (
        [f"storage_{j}" for j in range(m)] + [f"flow_{j}" for j in range(m)] + [f"supply_{i}" for i in range(n)],
        [f"y_{j}_{c}_{i}" for j in range(m) for c in range(k) for i in range(n)],
    )
    return LinearProgram(
        problem.value_MKN.double().cpu().numpy().ravel(),
        matrix,
        np.concatenate([a.cpu().numpy() for a in limits]),
        problem.width_MKN.double().cpu().numpy().ravel(),
        *(np.array(a) for a in names),
    ).kept()


def of_network(network: Network) -> LinearProgram:
    """All periods. Columns SKU_COLUMN with y_SITE_PERIOD_SLICE, f_LANE_PERIOD, u_SITE_PERIOD; rows alike."""
    n, j, _, e, t, k = network.shape
    own, shared = network.matrices()
    half = j * t
    volume = network.volume.cpu().numpy()
    wide = sp.hstack([sp.vstack([shared[:half] * v, shared[half:]]) for v in volume])
    matrix = sp.vstack([sp.kron(sp.identity(n), own), wide]).tocsc()
    one = [f"y_{a}_{s}_{c}" for a in network.serving for s in range(t) for c in range(k)]
    one += [f"f_{a}_{s}" for a in range(e) for s in range(t)] + [f"u_{a}_{s}" for a in range(j) for s in range(t)]
    rows = [f"balance_{a}_{s}" for a in range(j) for s in range(t)] + [f"supply_{s}" for s in range(t)]
    both = [f"{kind}_{a}_{s}" for kind in ("storage", "inbound") for a in range(j) for s in range(t)]
    limits = [network.own_limits().reshape(-1), network.shared_limits()]
    return LinearProgram(
        network.worth().cpu().numpy().ravel(),
        matrix,
        np.concatenate([a.cpu().numpy() for a in limits]),
        network.upper().cpu().numpy().ravel(),
        np.array([f"{row}_{i}" for i in range(n) for row in rows] + both),
        np.array([f"{column}_{i}" for i in range(n) for column in one]),
    ).kept()
