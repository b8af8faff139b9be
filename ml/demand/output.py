"""Forecasts as rows: store, item, period, mean, q05, q25, q50, q75, q95, in Parquet or CSV by the file's ending.

In: a Panel and its forecast arrays. Out: a frame, a file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from inventorybot.domain.forecast import NAMES
from inventorybot.errors import SetupError
from ml.demand.panel import Array, Panel

COLUMNS = ["store", "item", "period", "mean", *NAMES]
ENDINGS = (".parquet", ".pq", ".csv", ".csv.gz")
DIGITS = 4


def rows(panel: Panel, mean: Array, quantiles: Array) -> pd.DataFrame:
    """One row a series and period ahead, in the order of the series.

    Args: mean: (N, H); quantiles: (N, H, 5), units. Returns: COLUMNS; periods are ISO dates, or numbers where the data has numbers.
    """
    n, horizon = mean.shape
    labels: list[str] | list[int] = panel.periods.labels(panel.t, panel.t + horizon)
    if not panel.periods.dated:
        labels = [int(v) for v in labels]
    out = pd.DataFrame({"store": np.repeat(panel.store, horizon), "item": np.repeat(panel.item, horizon)})
    out["period"] = np.tile(np.array(labels), n)
    out["mean"] = np.round(mean.ravel().astype(np.float64), DIGITS)
    for i, name in enumerate(NAMES):
        out[name] = np.round(quantiles[:, :, i].ravel().astype(np.float64), DIGITS)
    return out


def check_ending(path: Path) -> None:
    """Raises: SetupError: a table cannot be written under that name."""
    if not path.name.lower().endswith(ENDINGS):
        raise SetupError(f"{path} ends neither in .parquet nor in .csv: the ending says how to write the table")


def write(path: Path, frame: pd.DataFrame) -> None:
    """Writes a table as its ending says, whole or not at all. Raises: SetupError: another ending, or it cannot be written."""
    check_ending(path)
    part = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.lower().endswith((".csv", ".csv.gz")):
            frame.to_csv(part, index=False)
        else:
            frame.to_parquet(part, index=False)
        part.replace(path)
    except OSError as e:
        raise SetupError(f"{path} cannot be written: {e.strerror or e}") from e
