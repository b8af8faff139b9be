"""What a network of another business is worth where little is known: the transferred MLP beside the same network from nothing.

In: a Panel, a base MLP, how many periods may be seen. Out: a table: transferred, from scratch, the base as it is, the six classical
regressors and simple methods, all from the same few periods, on the same held-back ones.
Run: inventorybot evaluate demand --sales FILE --horizon 13 --base FOLDER --given 20
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from inventorybot.errors import SetupError
from ml.demand import classical, statistical
from ml.demand.forecaster import Say
from ml.demand.metrics import measure
from ml.demand.mlp import STEPS, Mlp, MlpConfig, best_steps
from ml.demand.panel import Array, Panel

SEEDS = (1, 2, 3)
LEAST = 8
"""Periods below which there is nothing to learn from and to choose on."""
TRANSFERRED, SCRATCH, UNTOUCHED = "transferred MLP", "MLP from scratch", "base MLP as it is"
SIMPLE = ("moving average", "moving median", "SES")


def few(panel: Panel, given: int, horizon: int) -> tuple[Panel, Array]:
    """The `given` periods before the last `horizon`, of series known in at least half of them, and what then came.

    Raises: SetupError: too few periods are given, the history is shorter, or no series is known in them.
    """
    if given < LEAST:
        raise SetupError(f"--given {given} is too few: at least {LEAST} periods are needed")
    start = panel.t - horizon - given
    if start < 0:
        raise SetupError(f"{panel.t} periods are too few for {given} given and {horizon} held back")
    first = panel.periods.dates(start, start + 1)[0] if panel.periods.dated else int(panel.periods.first) + start
    cut = replace(
        panel,
        periods=replace(panel.periods, first=first, count=panel.t - start),
        units=panel.units[:, start:],
        covariates={name: values[:, start:] for name, values in panel.covariates.items()},
    )
    known = np.isfinite(cut.units[:, :given]).sum(axis=1) >= given / 2
    if not known.any():
        raise SetupError(f"no series is known in half of the {given} periods before the last {horizon}")
    cut = cut.only(known)
    return cut.until(given), cut.units[:, given:]


def table(
    panel: Panel, base: Mlp, given: int, horizon: int, say: Say = lambda _: None, seeds: tuple[int, ...] = SEEDS
) -> pd.DataFrame:
    """Figures of every way, best WAPE first; of the networks the mean over the seeds, and the least and greatest WAPE.

    Raises: SetupError: as `few`.
    """
    past, actual = few(panel, given, horizon)
    found: dict[str, list[dict[str, float]]] = {UNTOUCHED: [_judged(actual, _plain(base).quantiles(past, horizon))]}
    for seed in seeds:
        say(f"networks, seed {seed} of {len(seeds)}")
        config = replace(base.config, seed=seed)
        scratch, moved = _scratch(past, horizon, config), base.transfer(past, horizon, config)
        found.setdefault(SCRATCH, []).append(_judged(actual, scratch.quantiles(past, horizon)))
        found.setdefault(TRANSFERRED, []).append(_judged(actual, moved.quantiles(past, horizon)))
    say("classical regressors")
    others = classical.forecasts(past, horizon) | {n: statistical.forecast(n, past, horizon) for n in SIMPLE}
    found |= {name: [measure(actual, f)] for name, f in others.items()}
    rows = {name: pd.DataFrame(figures).mean().to_dict() | _range(figures) for name, figures in found.items()}
    out = pd.DataFrame(rows).T
    out["series"] = past.n
    return out.sort_values("WAPE")


def _scratch(past: Panel, horizon: int, config: MlpConfig) -> Mlp:
    """The network from nothing, with as many steps as were best on the latest quarter: what transfer may do as well."""

    def make(panel: Panel, steps: int) -> Mlp:
        return Mlp.fit(panel, horizon, replace(config, steps=steps))

    return make(past, best_steps(past, horizon, (*STEPS[1:], config.steps), make))


def verdict(found: pd.DataFrame) -> str:
    """In a sentence: does transfer beat learning from nothing, and the six classical regressors?"""
    w = found["WAPE"]
    best = w[list(classical.NAMES)].idxmin()
    sentences = [
        f"the transferred MLP (WAPE {w[TRANSFERRED]:.4f}) {_beats(w[TRANSFERRED], w[SCRATCH])} the same MLP from scratch ({w[SCRATCH]:.4f})",
        f"it {_beats(w[TRANSFERRED], w[best])} the best of the six classical regressors ({best}, {w[best]:.4f})",
        f"it {_beats(w[TRANSFERRED], w['moving average'])} the moving average ({w['moving average']:.4f})",
    ]
    return "; ".join(sentences)


def _plain(base: Mlp) -> Mlp:
    """The base without plans, which these few periods do not have."""
    return Mlp(base.net, base.inputs, base.config, base.horizon)


def _beats(a: float, b: float) -> str:
    return "beats" if a < b else "does NOT beat"


def _judged(actual: Array, quantiles: Array) -> dict[str, float]:
    return measure(actual, quantiles[:, :, 2], quantiles)


def _range(figures: list[dict[str, float]]) -> dict[str, float]:
    each = [f["WAPE"] for f in figures]
    return {"WAPE least": min(each), "WAPE most": max(each)}
