"""The whole forecaster: candidates at earlier origins, a choice, a distribution, and a final fit on everything.

In: a Panel and a horizon. Out: a Forecaster, which forecasts the periods after any Panel: mean and quantiles.
Nothing after an origin is ever seen by what forecasts from it: each fold works on `Panel.until(origin)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inventorybot.errors import SetupError
from ml.demand import ensemble, statistical
from ml.demand.distribution import Distribution, Residuals, residuals
from ml.demand.features import Features
from ml.demand.metrics import measure, wape
from ml.demand.mlp import Mlp, MlpConfig
from ml.demand.panel import Array, Panel
from ml.demand.trees import Trees, TreesConfig

TREES, MLP, TRANSFERRED = "LightGBM", "MLP", "transferred MLP"
LEAST = 4
"""Periods of history below which nothing can be held back."""
CALIBRATED = 120_000
"""Residuals kept for the distribution, over all origins."""
SLOW_SERIES = 150
"""Up to this many series the slow statistical methods may serve too."""
MLP_SERIES = 2_000
"""Above this the MLP is tried only where asked for: the trees have rows enough, and it takes as long again (measured)."""
LEARN_ROWS = 300
"""Known cells (series x periods) below which no learned model is tried."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Config:
    """What is tried and how.

    Args: folds: origins held back; use_mlp: whether the MLP is a candidate; None: where there are few series.
    """

    trees: TreesConfig = field(default_factory=TreesConfig)
    mlp: MlpConfig = field(default_factory=MlpConfig)
    folds: int = 3
    use_trees: bool = True
    use_mlp: bool | None = None
    seed: int = 1


@dataclass(frozen=True)
class Fold:
    """One held-back stretch: what was known, what came, and what each candidate had said."""

    origin: int
    past: Panel
    actual: Array  # (N, H')
    candidates: dict[str, Array]  # (N, H')


@dataclass(frozen=True)
class Evidence:
    """What the choice was made from; not saved with the model.

    Args: folds: latest first; points: of each fold the chosen mixture (N, H'); quantiles: (N, H', 5) of the latest fold, by
        the choice and the distribution made without it.
    """

    folds: list[Fold]
    points: list[Array]
    quantiles: Array


@dataclass
class Forecaster:
    """A choice of models by segment with its distribution.

    Args: choice: segment to weights; trees, mlp: None where not chosen; facts: what was measured, for card and report.
    """

    choice: dict[str, ensemble.Weights]
    distribution: Distribution
    horizon: int
    kind: str
    known: tuple[str, ...]
    trees: Trees | None
    mlp: Mlp | None
    facts: dict[str, Any]
    evidence: Evidence | None = None
    transferred: Mlp | None = None

    def candidates(self, panel: Panel, horizon: int) -> dict[str, Array]:
        """The forecasts (N, H) of every model that the choice names."""
        out: dict[str, Array] = {}
        for name in dict.fromkeys(n for weights in self.choice.values() for n in weights):
            out[name] = self._one(name, panel, horizon)
        return out

    def _one(self, name: str, panel: Panel, horizon: int) -> Array:
        learned = {TREES: self.trees, MLP: self.mlp, TRANSFERRED: self.transferred}
        if model := learned.get(name):
            return model.predict(panel, horizon)
        return statistical.forecast(name, panel, horizon)

    def forecast(self, panel: Panel, horizon: int) -> tuple[Array, Array]:
        """Mean (N, H) and quantiles (N, H, 5), units, of the periods after `panel`.

        Raises: SetupError: the panel's periods are of another kind than those learnt from.
        """
        if panel.periods.kind != self.kind:
            raise SetupError(f"the model forecasts {self.kind} periods, and the table has {panel.periods.kind} ones")
        point = ensemble.by_segment(self.candidates(panel, horizon), self.choice, panel.segments())
        return self.distribution.apply(panel, point)


def origins(t: int, horizon: int, folds: int) -> tuple[list[int], int]:
    """The origins held back, latest first, and how many periods each is scored on.

    With a long history the stretches do not overlap and leave at least half of it to learn from; with a short one the horizon
    is cut to a quarter of it and the origins are a period or more apart. Args: t: periods of history.
    """
    scored = max(1, min(horizon, t // 4))
    step = scored if t - scored * folds >= t / 2 else max(1, scored // 2)
    at = [t - scored - k * step for k in range(folds)]
    return [o for o in at if o >= max(3, t // 3)] or [t - scored], scored


def fit(
    panel: Panel,
    horizon: int,
    config: Config,
    known: tuple[str, ...] = (),
    say: Say = lambda _: None,
    *,
    base: Mlp | None = None,
    keep_mlp: bool = False,
) -> Forecaster:
    """Chooses on held-back periods, then learns from all of them.

    Args:
        horizon: periods ahead, >= 1.
        known: covariates that are planned ahead.
        say: takes a line of progress.
        base: an MLP of other series: a transferred one is a further candidate.
        keep_mlp: keep the MLP even where it was not chosen, as a base for others.
    Raises: SetupError: fewer than 4 periods.
    """
    if panel.t < LEAST:
        raise SetupError(f"{panel.t} periods of history are too few: at least {LEAST} are needed")
    folds = backtest(panel, horizon, config, known, say, base)
    say("choosing")
    rng = np.random.default_rng(config.seed)
    choice, honest = _choose(folds)
    names = Features(folds[0].past, ids=False).names
    distribution = Distribution.fit(_calibration(folds, choice, rng), names, config.seed)
    earlier = Distribution.fit(_calibration(folds[1:] or folds, honest, rng), names, config.seed)
    last = folds[0]
    mean, quantiles = earlier.apply(last.past, ensemble.by_segment(last.candidates, honest, last.past.segments()))
    facts = _facts(folds, choice, honest, mean, quantiles)
    facts["trained_until"] = panel.periods.labels(panel.t, panel.t + 1)[0]  # the first period that was not seen
    used = {n for weights in choice.values() for n in weights}
    out = Forecaster(choice, distribution, horizon, panel.periods.kind, known, None, None, facts)
    out.evidence = Evidence(
        folds, [ensemble.by_segment(f.candidates, choice, f.past.segments()) for f in folds], quantiles
    )
    if TREES in used:
        say("LightGBM on the whole history")
        out.trees = Trees.fit(panel, horizon, config.trees, known)
    if TRANSFERRED in used and base:
        say("the transferred MLP on the whole history")
        out.transferred = base.transfer(panel, horizon, known=known)
    if MLP in used or keep_mlp:
        say("MLP on the whole history")
        out.mlp = Mlp.fit(panel, horizon, config.mlp, known)
    return out


def backtest(
    panel: Panel, horizon: int, config: Config, known: tuple[str, ...], say: Say, base: Mlp | None = None
) -> list[Fold]:
    """Every candidate at every held-back origin, latest first."""
    at, scored = origins(panel.t, horizon, config.folds)
    out = []
    for i, origin in enumerate(at):
        past = panel.until(origin, scored if known else 0)
        label = f"held-back stretch {i + 1} of {len(at)}"
        candidates = {}
        for name in _names(past, config):
            say(f"{label}: {name}")
            candidates[name] = _candidate(name, past, scored, config, known)
        if base and MLP in candidates:
            candidates[TRANSFERRED] = base.transfer(past, scored, known=known).predict(past, scored)
        out.append(Fold(origin, past, panel.units[:, origin : origin + scored], candidates))
    return out


def _names(past: Panel, config: Config) -> list[str]:
    learnable = bool(np.isfinite(past.units).sum() >= LEARN_ROWS) and past.t > LEAST
    use_mlp = past.n <= MLP_SERIES if config.use_mlp is None else config.use_mlp
    names = [TREES] * (config.use_trees and learnable) + [MLP] * (use_mlp and learnable)
    return [*names, *statistical.FAST, *(statistical.SLOW if past.n <= SLOW_SERIES else ())]


def _candidate(name: str, past: Panel, horizon: int, config: Config, known: tuple[str, ...]) -> Array:
    if name == TREES:
        return Trees.fit(past, horizon, config.trees, known).predict(past, horizon)
    if name == MLP:
        return Mlp.fit(past, horizon, config.mlp, known).predict(past, horizon)
    return statistical.forecast(name, past, horizon)


def _scale(past: Panel) -> Array:
    rows = np.arange(past.n)
    return Features(past, ids=False).scale(rows, np.full(past.n, past.t))


def _choose(folds: list[Fold]) -> tuple[dict[str, ensemble.Weights], dict[str, ensemble.Weights]]:
    """The choice by all stretches, and the one by all but the latest, which the latest can judge."""

    def by(some: list[Fold]) -> dict[str, ensemble.Weights]:
        return ensemble.choose(
            [f.actual for f in some],
            [f.candidates for f in some],
            [f.past.segments() for f in some],
            [_scale(f.past) for f in some],
        )

    return by(folds), by(folds[1:] or folds)


def _calibration(folds: list[Fold], choice: dict[str, ensemble.Weights], rng: np.random.Generator) -> list[Residuals]:
    return [
        residuals(
            f.past,
            f.actual,
            ensemble.by_segment(f.candidates, choice, f.past.segments()),
            CALIBRATED // len(folds),
            rng,
        )
        for f in folds
    ]


def _facts(
    folds: list[Fold],
    choice: dict[str, ensemble.Weights],
    honest: dict[str, ensemble.Weights],
    mean: Array,
    quantiles: Array,
) -> dict[str, Any]:
    """What the latest stretch says of a choice and a distribution made without it."""
    last = folds[0]
    segment = last.past.segments()
    table = {name: measure(last.actual, f) for name, f in last.candidates.items()}
    table["chosen"] = measure(last.actual, quantiles[:, :, 2], quantiles)
    return {
        "choice": choice,
        "judged_choice": honest,
        "origin": last.origin,
        "scored_periods": last.actual.shape[1],
        "stretches": len(folds),
        "independent": len(folds) > 1,
        "table": table,
        "mean_wape": wape(last.actual, mean),
        "segments": _by_segment(last, segment, quantiles),
    }


def _by_segment(last: Fold, segment: NDArray[np.str_], quantiles: Array) -> dict[str, dict[str, float]]:
    out = {}
    for name in np.unique(segment):
        inside = segment == name
        it = measure(last.actual[inside], quantiles[inside][:, :, 2], quantiles[inside])
        simple = wape(last.actual[inside], last.candidates["moving average"][inside])
        out[str(name)] = {"series": int(inside.sum()), **it, "WAPE of the moving average": simple}
    return out
