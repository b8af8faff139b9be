"""Solve several periods: an interior-point method whose linear algebra is a batch of small systems, one a SKU.

In: a `Network`; perhaps where an earlier solution passed by. Out: a `NetworkSolution` with a feasible plan, bound and gap.
Steps are Mehrotra's predictor and corrector with Gondzio's further correctors: a system (`multiperiod_barrier`) costs as much
to factor as six directions. Neither accuracy nor step is trusted: the plan is played forward and the bound taken from
feasible prices (`multiperiod_certify`); it stops when that gap is reached. Tests: tests/unit/planning/test_multiperiod.py.
Sources: Mehrotra (1992), On the implementation of a primal-dual interior point method; Gondzio (1996), Multiple centrality
corrections in a primal-dual method for linear programming.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from inventorybot.errors import SetupError
from ml.planning.multiperiod import Network
from ml.planning.multiperiod_barrier import Barrier, Factors, State, Want, total
from ml.planning.multiperiod_certify import NetworkPlan, NetworkPrices, certified, play
from ml.planning.multiperiod_start import Start, passing, placed
from ml.planning.problem import relative_gap
from ml.planning.threads import one_thread_each

STEPS = 120
PATIENCE = 12
"""Looks without a better plan or bound: rounding allows no more."""
BACK = 0.995
"""Share of the way to the edge of the feasible set that a step may go."""
CORRECTORS, LONGER, WORTHWHILE = 3, 0.2, 0.1
"""Most correctors a step; how much longer a step each aims at; which share of that it must bring."""
CENTRAL = (0.1, 10.0)
"""Products a corrector leaves alone, by what they are on the central path."""
LOOK_BELOW, SPARINGLY = 5.0, 0.25
"""A plan and a bound are made at each step once the products are this many times the wanted gap; before, when they have
fallen to this share since the last look."""
FIRST_LOOK = 0.2
KEEP_NEAR = 0.2
"""Another solution starts where the products were first below this share of the money: nearer, points lie at the edge."""
Progress = Callable[[str, float], None]
"""Told in words what was reached, and the share of the work that is done, 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class NetworkSolution:
    """A plan of all periods and its proof: no plan is worth more than `bound`.

    Args: start: where the next solution of a changed network may start. seconds: wall time.
    """

    plan: NetworkPlan
    prices: NetworkPrices
    bound: float
    start: Start
    iterations: int
    seconds: float

    @property
    def gap(self) -> float:
        """(bound - value) / |value|."""
        return relative_gap(self.bound, self.plan.value)


def solve_network(
    network: Network,
    gap: float = 1e-3,
    threads: int = 0,
    progress: Progress | None = None,
    warm: Start | None = None,
) -> NetworkSolution:
    """Plan all periods.

    Args:
        gap: wanted (bound - value) / |value|, > 0. The solution tells what was reached.
        threads: on a CPU; 0: one a core.
        warm: where an earlier solution passed by, of a network of the same shape (`multiperiod_start.fitted`).
    Raises: SetupError: `gap` is not above 0, or the factors would not fit in memory.
    """
    if not gap > 0:
        raise SetupError(f"gap must be above 0, not {gap:g}")
    with one_thread_each(network.width.device):
        return _solve(network, gap, threads or os.cpu_count() or 1, progress or (lambda text, share: None), warm)


def _solve(network: Network, gap: float, threads: int, say: Progress, warm: Start | None) -> NetworkSolution:
    began = time.perf_counter()
    barrier = Barrier(network, threads)
    state = barrier.start() if warm is None else placed(barrier, warm)
    best, last, kept = _certify(barrier, state), 0, state
    first, looked, iteration, looks = barrier.closeness(state), torch.inf, 0, 0
    while iteration < STEPS and best.gap > gap and looks - last <= PATIENCE:
        iteration, before = iteration + 1, state
        state = advance(barrier, state)
        near = barrier.closeness(state)
        if not near < torch.inf:  # rounding has eaten the system
            best = _better(best, _certify(barrier, before))
            break
        if near >= KEEP_NEAR or iteration == 1:
            kept = state
        if near <= max(LOOK_BELOW * gap, min(FIRST_LOOK, SPARINGLY * looked)) or iteration == STEPS:
            found, looked, looks = _certify(barrier, state), near, looks + 1
            if found.bound < best.bound or found.plan.value > best.plan.value:
                best, last = _better(best, found), looks
        said = f"gap {best.gap:.2%}" if looks else f"products {near:.1%} of the money"
        say(f"step {iteration}, {said}", done(first, near, gap))
    return replace(best, start=passing(barrier, kept), iterations=iteration, seconds=time.perf_counter() - began)


def done(first: float, near: float, gap: float) -> float:
    """Share of the work done: products fall by about the same factor a step."""
    first = max(first, 10.0)
    return min(1.0, max(0.0, math.log(first / max(near, 1e-300)) / math.log(first / gap)))


def _better(best: NetworkSolution, found: NetworkSolution) -> NetworkSolution:
    """The better plan with the better bound: each is valid by itself."""
    plan = found.plan if found.plan.value > best.plan.value else best.plan
    lower = found if found.bound < best.bound else best
    return replace(lower, plan=plan)


def advance(barrier: Barrier, state: State) -> State:
    """The iterate after one step: predictor, corrector, and as many further correctors as pay."""
    own, shared, dual = barrier.residuals(state)
    factors, products = barrier.factor(state), barrier.products(state)
    guess = barrier.direction(state, factors, Want(own, shared, dual, *(-p for p in products)))
    ahead = state.moved(guess, *barrier.longest(state, guess))
    sigma = (total(barrier.products(ahead)) / total(products)) ** 3
    mu = sigma * barrier.level(state)
    second = (guess.low * guess.x, -guess.high * guess.x, guess.s * guess.pi, guess.slack * guess.price)
    aims = (c - p - q for c, p, q in zip(barrier.central(mu), products, second, strict=True))
    step = barrier.direction(state, factors, Want(own, shared, dual, *aims))
    step, lengths = _corrected(barrier, state, factors, step, mu)
    return state.moved(step, *(min(1.0, BACK * a) for a in lengths))


def _corrected(
    barrier: Barrier, state: State, factors: Factors, step: State, mu: float
) -> tuple[State, tuple[float, float]]:
    """The step drawn towards the central path while that makes it longer; and how long it may be."""
    lengths = barrier.longest(state, step)
    still = (torch.zeros_like(state.s), torch.zeros_like(state.price), torch.zeros_like(state.x))
    for _ in range(CORRECTORS):
        if min(lengths) > BACK:
            break
        trial = state.moved(step, *(min(1.0, a + LONGER) for a in lengths))
        pulls = []
        for product, centre in zip(barrier.products(trial), barrier.central(mu), strict=True):
            low, high = (c * centre for c in CENTRAL)
            pulls.append(torch.maximum(product.clamp(low, high) - product, -high))
        more = barrier.direction(state, factors, Want(*still, *pulls))
        longer = step.moved(more, 1.0, 1.0)
        reach = barrier.longest(state, longer)
        if sum(reach) < sum(lengths) + WORTHWHILE * LONGER:
            break
        step, lengths = longer, reach
    return step, lengths


def _certify(barrier: Barrier, state: State) -> NetworkSolution:
    """A feasible plan and a bound from the iterate."""
    network, here = barrier.network, passing(barrier, state)
    plan = play(network, here.y, here.f, here.u)
    bound, feasible = certified(network, NetworkPrices(here.storage, here.inbound, here.supply, here.stock))
    return NetworkSolution(plan, feasible, bound, here, 0, 0.0)
