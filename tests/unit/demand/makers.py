"""Small made panels and tables for the tests of demand; every number follows from a seed or is written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ml.demand.panel import Panel
from ml.demand.periods import Periods


def panel(units: np.ndarray, kind: str = "weekly", **covariates: np.ndarray) -> Panel:
    """A panel of these (N, T) units: store s0, items i0, i1, …"""
    n = len(units)
    return Panel(
        np.full(n, "s0"), np.array([f"i{k}" for k in range(n)]), np.full(n, ""), Periods(kind, 0, units.shape[1], False),
        units.astype(np.float32), {k: v.astype(np.float32) for k, v in covariates.items()},
    )  # fmt: skip


def poisson(n: int, t: int, seed: int = 1, mean: float = 20.0) -> np.ndarray:
    """(N, T) Poisson demand about levels between half and twice `mean`."""
    rng = np.random.default_rng(seed)
    return rng.poisson(mean * rng.uniform(0.5, 2.0, (n, 1)), (n, t)).astype(np.float64)


def promoted(n: int = 12, t: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(n, t) units, and a flag that is set in the period before units treble."""
    rng = np.random.default_rng(4)
    flag = (rng.random((n, t)) < 0.3).astype(float)
    lift = np.concatenate([np.ones((n, 1)), 1 + 2 * flag[:, :-1]], axis=1)
    return rng.poisson(20 * lift).astype(float), flag


def table(path: Path, units: np.ndarray, **columns: object) -> Path:
    """Writes weekly sales (N, T) as CSV: store, item, week, units and further columns; returns the path."""
    n, t = units.shape
    weeks = pd.date_range("2025-01-06", periods=t, freq="7D").strftime("%Y-%m-%d")
    frame = pd.DataFrame({"store": "s0", "item": np.repeat([f"i{k}" for k in range(n)], t), "week": np.tile(weeks, n)})
    frame["units"] = units.ravel()
    for name, values in columns.items():
        frame[name] = values
    frame.to_csv(path, index=False)
    return path


def daily(sold: np.ndarray, first: str = "2025-01-06", **columns: np.ndarray) -> pd.DataFrame:
    """Rows as the lake's daily table has them from units (S, I, D): sites s0 …, SKUs k0 …; further columns are (S, I, D)."""
    sites, skus, days = sold.shape
    index = pd.MultiIndex.from_product(
        [[f"s{i}" for i in range(sites)], [f"k{i}" for i in range(skus)], pd.date_range(first, periods=days)],
        names=["site", "sku", "day"],
    )
    out = index.to_frame(index=False).assign(sold=sold.ravel().astype(np.int64))
    return out.assign(**{name: values.ravel() for name, values in columns.items()})
