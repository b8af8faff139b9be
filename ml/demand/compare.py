"""One table of all models on the same held-back periods: learned, classical and statistical, points and distributions.

In: the evidence of a fit. Out: a frame, one row a model, best WAPE first. The slow models see a sample of the series, so all are
measured on that sample; each model's intervals come from its own errors on the stretch before.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.demand import classical, recursive, statistical
from ml.demand.distribution import Distribution, residuals
from ml.demand.features import Features
from ml.demand.forecaster import CALIBRATED, LEARN_ROWS, Evidence, Fold, Say
from ml.demand.metrics import measure
from ml.demand.panel import Array, Panel

SAMPLE = 300
"""Series that all models are measured on: AutoETS takes 8 to 20 ms a series."""
MLFORECAST = 3_000
"""Series, about, that mlforecast learns from: it keeps every row of every series, and 3,000 of 104 weeks are 300,000 rows."""


def table(
    evidence: Evidence, known: tuple[str, ...] = (), *, sample: int = SAMPLE, seed: int = 1, say: Say = lambda _: None
) -> pd.DataFrame:
    """Every model's figures on the latest held-back stretch.

    Args: sample: series at most, drawn evenly over volume. Returns: index model; columns as `metrics.measure`, then series.
    """
    folds = evidence.folds[:2]
    rows = _sample(folds[0].past, sample, seed)
    found = [_all(f, rows, known, seed, say) for f in folds]
    chosen = [p[rows] for p in evidence.points[:2]]
    for forecasts, point in zip(found, chosen, strict=True):
        forecasts["chosen"] = point
    last = folds[0]
    actual = last.actual[rows]
    out = {}
    for name in found[0]:
        some = [k for k, it in enumerate(found) if name in it]  # an early stretch may be too short to learn from
        pasts, told = [folds[k].past.only(rows) for k in some], [found[k][name] for k in some]
        quantiles = _quantiles(pasts, [folds[k] for k in some], told, rows, seed)
        if name == "chosen":
            quantiles = evidence.quantiles[rows]
        out[name] = measure(actual, quantiles[:, :, 2] if name == "chosen" else found[0][name], quantiles)
    frame = pd.DataFrame(out).T
    frame["series"] = len(rows)
    return frame.sort_values("WAPE")


def _sample(past: Panel, sample: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Every k-th series by volume, so that large and small sellers keep their shares."""
    if past.n <= sample:
        return np.arange(past.n)
    order = np.argsort(np.nan_to_num(past.units).sum(axis=1), kind="stable")
    start = np.random.default_rng(seed).random()
    return np.sort(order[((np.arange(sample) + start) * past.n / sample).astype(np.int64)])


def _all(
    fold: Fold, rows: np.ndarray[tuple[int], np.dtype[np.int64]], known: tuple[str, ...], seed: int, say: Say
) -> dict[str, Array]:
    past, horizon = fold.past.only(rows), fold.actual.shape[1]
    out = {name: f[rows] for name, f in fold.candidates.items()}
    for name in statistical.SLOW:
        if name not in out:
            say(f"comparing: {name}")
            out[name] = statistical.forecast(name, past, horizon)
    if np.isfinite(fold.past.units).sum() >= LEARN_ROWS and past.t >= recursive.LEAST:
        say("comparing: mlforecast and six classical regressors")
        some = np.union1d(rows, np.arange(0, fold.past.n, max(1, fold.past.n // MLFORECAST)))
        out[recursive.NAME] = recursive.forecast(past, horizon, learn_from=fold.past.only(some), seed=seed)
        out |= classical.forecasts(past, horizon, known, learn_from=fold.past, seed=seed)
    return out


def _quantiles(
    pasts: list[Panel],
    folds: list[Fold],
    points: list[Array],
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    seed: int,
) -> Array:
    """Quantiles about the latest point forecast by the errors on the stretch before (its own where there is only one)."""
    at = 1 if len(folds) > 1 else 0
    rng = np.random.default_rng(seed)
    part = residuals(pasts[at], folds[at].actual[rows], points[at], CALIBRATED, rng)
    names = Features(pasts[at], ids=False).names
    return Distribution.fit([part], names, seed).apply(pasts[0], points[0])[1]
