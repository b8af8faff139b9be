"""The policy on demand held back, beside (s, S) with fixed parameters: what each serves, loses, holds and costs.

In: a Panel of sales, an item's terms. Out: `Result`: sums by series of every policy and service level (accounts.py reads them).

The last `horizon` periods are held back. What forecasts is chosen and learnt once, on what comes before; then at every
review all that has happened by then is known, and nothing later. All policies begin with the same stock and meet the same
demand and the same lead times; the first periods, while the first orders are on their way, are not scored.
    forecast              reorder point and level from the forecast's distribution, anew at every review
    fixed, empirical      the same formulas, from the past year's demand as it was, once
    fixed, normal         mean + z deviation of lead time and review from the past year, once: the textbook's (s, S)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from inventorybot.errors import SetupError
from ml.demand import forecaster
from ml.demand.forecaster import Forecaster, Say
from ml.demand.panel import Array, Panel
from ml.planning.classical.demand import Demand
from ml.planning.classical.newsvendor import newsvendor_normal
from ml.restock.curves import Floats, atoms, whole
from ml.restock.horizon import MOST_DEPENDENCE, Horizon, Total
from ml.restock.policy import YEAR_DAYS, Levels, Terms, levels
from ml.restock.simulate import Ints, Store, quantities

DAYS = {"daily": 1, "weekly": 7, "monthly": 30}
POLICIES = ("forecast", "fixed, empirical", "fixed, normal")
LEAST_SCORED = 4


@dataclass(frozen=True)
class Setting:
    """What is tried.

    Args:
        terms: of every series, in days. targets: service levels that are tried; the terms' own is among them.
        shortage_cost: money a unit lost, for the accounts of all policies. dependence: None: measured on the past.
    """

    terms: Terms
    horizon: int
    targets: tuple[float, ...]
    shortage_cost: float
    dependence: float | None = None
    seed: int = 1


@dataclass(frozen=True)
class Result:
    """Args: sums: (policy, target) to sums by series; paths: policy to (T, 2), units lost and held in all, at the terms' target."""

    setting: Setting
    series: int
    scored: int
    period_days: int
    dependence: float
    choice: str
    sums: dict[tuple[str, float], dict[str, Ints]]
    paths: dict[str, Floats]
    demand: Floats


class Steady:
    """Demand that is the same every period, on its own each time. Args: demand: of a period. days: length of one."""

    def __init__(self, demand: Demand, days: int) -> None:
        self._demand, self._days = demand, days

    def total(self, days: Mapping[float, float]) -> Total:
        """Demand until one of several days, whole periods each."""
        parts = [(p, self._demand.over(round(day / self._days)).pmf) for day, p in days.items()]
        out = np.zeros(max(pmf.size for _, pmf in parts))
        for p, pmf in parts:
            out[: pmf.size] += p * pmf
        return Total(Demand(out / out.sum()), 1)


def run(panel: Panel, setting: Setting, say: Say = lambda _: None, config: forecaster.Config | None = None) -> Result:
    """Simulates every policy at every target.

    Args: config: of the forecaster; None: its own without the MLP, which takes as long again.
    Raises: SetupError: too few periods, or terms that are no whole periods.
    """
    days = DAYS[panel.periods.kind]
    terms, start = _checked(panel, setting, days), panel.t - setting.horizon
    panel = panel.only(np.flatnonzero(np.isfinite(panel.units[:, start:]).all(axis=1)))
    demand = np.round(np.maximum(panel.units[:, start:], 0)).astype(np.int64)
    reach = -(-terms.reach_days // days)
    say("learning to forecast from the past")
    model = forecaster.fit(
        panel.until(start), max(reach, 1), config or forecaster.Config(seed=setting.seed, use_mlp=False), say=say
    )
    dependence = _dependence(model) if setting.dependence is None else setting.dependence
    past = panel.units[:, max(0, start - round(YEAR_DAYS / days)) : start]
    fixed = _fixed(past, terms, setting.targets, days)
    rng = np.random.default_rng(setting.seed)
    leads = rng.choice([d // days for d, _ in terms.lead_days], demand.shape, p=[p for _, p in terms.lead_days])
    longest, review = int(leads.max()), terms.review_days // days
    begin = np.ceil(np.nanmean(past, axis=1) * (longest + review)).astype(np.int64)
    stores = {
        (name, target): Store(begin, setting.horizon, longest, terms.shelf_life_days and terms.shelf_life_days // days)
        for name in POLICIES for target in setting.targets
    }  # fmt: skip
    paths = {name: np.zeros((setting.horizon, 2)) for name in POLICIES}
    warm = min(longest + review, setting.horizon - LEAST_SCORED)
    for t in range(setting.horizon):
        anew: dict[float, list[Levels]] = {}
        if t % review == 0:
            say(f"period {t + 1} of {setting.horizon}: levels of {panel.n:,} series")
            mean, quantiles = model.forecast(panel.until(start + t), reach)
            anew = _levels(mean, quantiles, terms, setting.targets, days, dependence)
        for (name, target), store in stores.items():
            store.arrive(t)
            if t % review == 0:
                chosen = anew[target] if name == "forecast" else fixed[name, target]
                store.order(t, quantities(chosen, store.position(t)), leads[:, t], scored=t >= warm)
            store.serve(demand[:, t], scored=t >= warm)
            if target == terms.service_level:
                paths[name][t] = (store.last_lost, store.last_held)
    sums = {key: store.tally.sums for key, store in stores.items()}
    return Result(
        setting, panel.n, setting.horizon - warm, days, dependence, _choice(model), sums, paths, demand.sum(axis=0).astype(float)
    )  # fmt: skip


def _checked(panel: Panel, setting: Setting, days: int) -> Terms:
    terms = setting.terms
    if panel.t < setting.horizon + 8:
        raise SetupError(
            f"{panel.t} periods are too few to hold {setting.horizon} back: at least {setting.horizon + 8} are needed"
        )
    if setting.horizon < terms.protection_days // days + LEAST_SCORED:
        least = terms.protection_days // days + LEAST_SCORED
        raise SetupError(f"--horizon {setting.horizon} is too short for these lead times: at least {least} periods")
    spans = [*(d for d, _ in terms.lead_days), terms.review_days, terms.shelf_life_days or days]
    if any(d % days for d in spans):
        raise SetupError("lead times, review and shelf life must be whole periods of the table")
    return terms


def _levels(
    mean: Array, quantiles: Array, terms: Terms, targets: tuple[float, ...], days: int, dependence: float
) -> dict[float, list[Levels]]:
    """Every series' levels at every target, from forecasts (N, H) and (N, H, 5)."""
    edges = np.arange(mean.shape[1] + 1) * float(days)
    out: dict[float, list[Levels]] = {target: [] for target in targets}
    for i in range(len(mean)):
        ahead = _Remembered(Horizon(edges, mean[i], quantiles[i], terms.reach_days, dependence).total)
        for target in targets:
            out[target].append(levels(ahead, replace(terms, service_level=target)))
    return out


class _Remembered:
    """Asks once for each span: the targets share them."""

    def __init__(self, ask: Callable[[Mapping[float, float]], Total]) -> None:
        self._ask, self._known = ask, dict[tuple[tuple[float, float], ...], Total]()

    def total(self, days: Mapping[float, float]) -> Total:
        """As asked before, or asked."""
        key = tuple(sorted(days.items()))
        if key not in self._known:
            self._known[key] = self._ask(days)
        return self._known[key]


def _fixed(past: Array, terms: Terms, targets: tuple[float, ...], days: int) -> dict[tuple[str, float], list[Levels]]:
    """Levels set once from the past. Args: past: (N, T), units; NaN: not known."""
    out: dict[tuple[str, float], list[Levels]] = {(n, t): [] for n in POLICIES[1:] for t in targets}
    for row in past:
        units = np.round(np.maximum(row[np.isfinite(row)], 0)).astype(np.int64)
        ahead = _Remembered(Steady(Demand(np.bincount(units) / len(units)), days).total)
        for target in targets:
            found = levels(ahead, replace(terms, service_level=target))
            out["fixed, empirical", target].append(found)
            point = normal_point(float(units.mean()), float(units.std()), found.terms, days)
            lot = found.up_to - found.reorder
            out["fixed, normal", target].append(replace(found, reorder=point, up_to=point + lot if point else 0))
    return out


def normal_point(mean: float, deviation: float, terms: Terms, days: int) -> int:
    """The textbook's reorder point: mean + z deviation of lead time and review, rounded up, units.

    Var = (E L + R) deviation² + mean² Var L, in periods. Args: mean, deviation: of a period's demand, units. days: of a period.
    Source: Silver, Pyke & Thomas 2017, section 6.7.
    """
    lead = np.array([d / days for d, _ in terms.lead_days])
    p = np.array([q for _, q in terms.lead_days])
    span = float(p @ lead) + terms.review_days / days
    variance = span * deviation**2 + mean**2 * float(p @ (lead - p @ lead) ** 2)
    if variance <= 0:
        return math.ceil(mean * span)
    return max(0, math.ceil(newsvendor_normal(mean * span, math.sqrt(variance), 1 - terms.target, terms.target).level))


def estimated_dependence(quantiles: Array, actual: Array) -> float:
    """Correlation of the periods' levels, from forecasts of one origin and what then happened; 0 to MOST_DEPENDENCE.

    Args: quantiles: (N, H, 5); actual: (N, H), units; NaN: not known.
    Each actual's place in its own distribution (in the middle of a whole unit's probability), as a normal z; the mean product
    of two periods of a series over the mean square.
    """
    n, h = actual.shape
    z = np.full((n, h), np.nan)
    for i in range(n):
        x = atoms(None, quantiles[i])
        y = np.round(np.maximum(np.nan_to_num(actual[i]), 0)).astype(np.int64)
        size = max(math.ceil(float(x.max())) + 2, int(y.max()) + 2)
        if size > 20_000:
            continue
        pmf = whole(x, 1, size)
        at = np.arange(h)
        z[i] = ndtri(np.clip(np.cumsum(pmf, axis=1)[at, y] - pmf[at, y] / 2, 1e-4, 1 - 1e-4))
    z[~np.isfinite(actual)] = np.nan
    z = z[np.isfinite(z).all(axis=1)]
    if len(z) < 2 or h < 2:
        return 0.0
    z = z - z.mean()
    square = float((z**2).mean())
    product = float((z.sum(axis=1) ** 2 - (z**2).sum(axis=1)).mean()) / (h * (h - 1))
    return float(np.clip(product / square, 0.0, MOST_DEPENDENCE)) if square > 0 else 0.0


def _dependence(model: Forecaster) -> float:
    evidence = model.evidence
    return 0.0 if evidence is None else estimated_dependence(evidence.quantiles, evidence.folds[0].actual)


def _choice(model: Forecaster) -> str:
    return "; ".join(f"{s}: " + " + ".join(f"{w:.0%} {n}" for n, w in x.items()) for s, x in model.choice.items())
