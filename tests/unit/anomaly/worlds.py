"""Small stories and replays, made by hand, for tests. In: rows of units. Out: `Story`, `Replay`."""

from __future__ import annotations

from datetime import date

import numpy as np

from ml.anomaly.faults import Truth
from ml.anomaly.simulate import Replay
from ml.anomaly.story import FLOWS, Story

FIRST = date(2026, 1, 1)


def story(recorded: list[list[float]], **flows: list[list[float]]) -> Story:
    """A story of these flows; what is not given is 0, nobody counted, and one sale a day is expected. One site, one family."""
    shape = np.array(recorded, dtype=np.float64).shape
    values = {f: np.zeros(shape) for f in FLOWS} | {"counted": np.full(shape, np.nan), "expected": np.ones(shape)}
    values |= {f: np.array(v, dtype=np.float64) for f, v in flows.items()} | {
        "recorded": np.array(recorded, dtype=np.float64)
    }
    names = np.array([f"sku-{i}" for i in range(shape[0])])
    return Story(np.full(shape[0], "site-0"), names, np.full(shape[0], "family-0"), FIRST, **values)


def replayed(fault: list[list[float]], error: list[list[float]] | None = None, warm: int = 0) -> Replay:
    """A replay whose records are 10 units and wrong by these; every SKU sells one a day."""
    wrong = np.array(fault, dtype=np.float64)
    total = wrong if error is None else np.array(error, dtype=np.float64)
    told = story(np.full(wrong.shape, 10.0).tolist())
    truth = Truth(
        told.site,
        told.sku,
        np.zeros(len(wrong), dtype=np.int64),
        told.recorded - total,
        wrong,
        total,
        np.ones(len(wrong)),
    )
    return Replay(told, truth, warm)
