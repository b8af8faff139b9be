"""Searches the settings of the MLP: a grid, or Bayesian search (Optuna's tree-structured Parzen estimator).

In: a Panel. Out: the settings with the least WAPE on the periods before the latest held-back stretch, which is never seen.
Source: Bergstra et al. 2011, NeurIPS 24.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

from ml.demand.forecaster import Say, origins
from ml.demand.metrics import wape
from ml.demand.mlp import Mlp, MlpConfig
from ml.demand.panel import Panel

GRID = {"width": (64, 128), "lr": (7e-4, 2e-3), "dropout": (0.0, 0.15)}
"""Eight networks."""


def score(panel: Panel, horizon: int, config: MlpConfig) -> float:
    """WAPE of a network on the second-latest stretch, so that the latest stays unseen for the report."""
    at, scored = origins(panel.t, horizon, 2)
    past = panel.until(at[-1])
    return wape(panel.units[:, at[-1] : at[-1] + scored], Mlp.fit(past, scored, config).predict(past, scored))


def grid(panel: Panel, horizon: int, start: MlpConfig, say: Say) -> MlpConfig:
    """The best of GRID."""
    tried = []
    for values in product(*GRID.values()):
        config = replace(start, **dict(zip(GRID, values, strict=True)))  # type: ignore[arg-type]
        tried.append((score(panel, horizon, config), config))
        say(f"grid search {len(tried)}: WAPE {tried[-1][0]:.4f}, best {min(t[0] for t in tried):.4f}")
    return min(tried, key=lambda t: t[0])[1]


def bayesian(panel: Panel, horizon: int, start: MlpConfig, say: Say, *, trials: int) -> MlpConfig:
    """The best of `trials` networks, the first of which is `start`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=start.seed))
    study.enqueue_trial(
        {n: getattr(start, n) for n in ("width", "lower", "upper", "dropout", "lr", "weight_decay", "batch")}
    )
    study.optimize(_objective(panel, horizon, start, say), n_trials=trials)
    return replace(start, **study.best_params)


def _objective(panel: Panel, horizon: int, start: MlpConfig, say: Say) -> Callable[..., float]:
    import optuna

    def objective(trial: optuna.Trial) -> float:
        config = replace(
            start,
            width=trial.suggest_categorical("width", [32, 64, 128, 256]),
            lower=trial.suggest_int("lower", 1, 3),
            upper=trial.suggest_int("upper", 1, 2),
            dropout=trial.suggest_float("dropout", 0.0, 0.4),
            lr=trial.suggest_float("lr", 2e-4, 1e-2, log=True),
            weight_decay=trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
            batch=trial.suggest_categorical("batch", [256, 1024, 4096]),
        )
        found = score(panel, horizon, config)
        say(f"Bayesian search {trial.number + 1}: WAPE {found:.4f}")
        return found

    return objective
