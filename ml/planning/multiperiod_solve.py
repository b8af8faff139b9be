"""Solve several periods: an interior-point method whose linear algebra is a batch of small systems, one a SKU.

In: a `Network`. Out: a `NetworkSolution` with a feasible plan, its bound and gap.
Given the prices of shared space and flow the SKUs are independent, so the Newton system falls apart into one small
symmetric system a SKU (its balance and supply rows) and a Schur complement over the shared rows: batched Cholesky factors and
one dense solve. Steps are Mehrotra's predictor and corrector. Neither accuracy nor step is trusted: the plan is
played forward and the bound taken from feasible prices (`multiperiod_certify`); it stops when that gap is reached.
Shapes: N SKUs, X decisions, R own rows, G shared rows. Tests: tests/unit/planning/test_multiperiod.py.
Sources: Mehrotra (1992), On the implementation of a primal-dual interior point method; Castro (2000), A specialized
interior-point algorithm for multicommodity network flows.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch

from inventorybot.errors import SetupError
from ml.planning.multiperiod import Network
from ml.planning.multiperiod_certify import NetworkPlan, NetworkPrices, certified, play
from ml.planning.problem import Tensor, relative_gap
from ml.planning.threads import one_thread_each, over_threads

STEPS = 120
PATIENCE = 12
"""Steps without a better plan or bound: rounding allows no more."""
BACK = 0.995
"""Share of the way to the edge of the feasible set that a step may go."""
BLOCK = 128
"""SKUs whose systems are formed at a time."""
LOOK_BELOW = 0.05
"""A plan and a bound are made once the products are this share of the money."""
EMPTY = 1e-9
"""Slices narrower than this share of the SKU's mean slice are left out."""
MOST_GB = 6.0
"""Factors that are kept in memory; more is refused."""


@dataclass(frozen=True, slots=True, eq=False)
class NetworkSolution:
    """A plan of all periods and its proof: no plan is worth more than `bound`."""

    plan: NetworkPlan
    prices: NetworkPrices
    bound: float
    iterations: int
    seconds: float

    @property
    def gap(self) -> float:
        """(bound - value) / |value|."""
        return relative_gap(self.bound, self.plan.value)


@dataclass(slots=True, eq=False)
class State:
    """The iterate: decisions x with their distances and duals, own rows (slack s, price π), shared rows (slack, price)."""

    x: Tensor
    low: Tensor
    high: Tensor
    s: Tensor
    pi: Tensor
    slack: Tensor
    price: Tensor


class Barrier:
    """One network's Newton systems."""

    def __init__(self, network: Network, threads: int = 1) -> None:
        self.network, self.threads = network, threads if network.width.device.type == "cpu" else 1
        n, j, _, _, t, _ = network.shape
        device = network.width.device
        own, shared = network.matrices()
        rows, both = own.shape[0], shared.shape[0]
        if n * rows * both * 8 > MOST_GB * 1e9:
            raise SetupError(
                f"{n:,} SKUs x {j} sites x {t} periods need {n * rows * both * 8 / 1e9:.0f} GB: plan fewer SKUs or periods together"
            )
        self.own, self.shared = _dense(own, device), _dense(shared, device)
        self.own_own, self.shared_own = _products(own, own, device), _products(shared, own, device)
        self.rows, self.both = rows, both
        scale = network.width.sum(dim=(1, 2, 3)).clamp(min=1e-6) / (network.shape[2] * t)
        self.scale = scale[:, None]  # units of a SKU's decisions
        self.cost = network.worth() * self.scale
        upper = network.upper() / self.scale
        self.live = upper > EMPTY
        self.boxed = torch.isfinite(upper) & self.live
        self.upper = torch.where(self.boxed, upper, torch.ones_like(upper))
        self.cost[~self.live] = 0.0
        limits = network.own_limits() / self.scale
        most = (upper[:, network.columns[0]].sum(1) * 4 + 10)[:, None] + limits[:, : j * t].sum(1, keepdim=True)
        supply = torch.minimum(limits[:, j * t :], most).clamp(min=1e-7)
        self.limits = torch.cat([limits[:, : j * t], supply], 1)
        self.volume = network.volume[:, None] * self.scale
        half = j * t
        total = torch.stack([(most * self.volume).sum().expand(half), (most * self.scale).sum().expand(half)])
        together = torch.minimum(network.shared_limits(), total.reshape(-1) * 2)
        self.together = together.clamp(min=1e-7 * float(together.median()) + 1e-12)
        self.half = half

    def weights(self, part: slice | None = None) -> Tensor:
        """How much a scaled decision of each SKU weighs in the shared rows: m³ for storage, units for inbound, (n, G)."""
        volume, units = (self.volume, self.scale) if part is None else (self.volume[part], self.scale[part])
        return torch.cat([volume.expand(-1, self.half), units.expand(-1, self.half)], 1)

    def use(self, x: Tensor) -> Tensor:
        """Shared rows' use (G,) of decisions (N, X)."""
        volume, units = (self.volume * x).sum(0), (self.scale * x).sum(0)
        return torch.cat([self.shared[: self.half] @ volume, self.shared[self.half :] @ units])

    def charge(self, price: Tensor) -> Tensor:
        """What shared prices (G,) charge each decision (N, X)."""
        storage, inbound = price[: self.half] @ self.shared[: self.half], price[self.half :] @ self.shared[self.half :]
        return self.volume * storage + self.scale * inbound

    def start(self) -> State:
        """Half of every slice, duals of the size of the money at stake."""
        n, money = len(self.cost), self.cost.abs().amax(1, keepdim=True).clamp(min=1e-9)
        x = torch.where(self.boxed, 0.5 * self.upper, torch.ones_like(self.upper))
        low, high = 0.5 * money.expand_as(x).clone(), 0.5 * money.expand_as(x).clone()
        slack = self.together * 0.5
        s = torch.maximum(self.limits - x @ self.own.T, torch.ones_like(self.limits))
        pi = 0.3 * (money / 1.0).expand(n, self.rows).clone()
        price = 0.1 * float(money.sum()) / self.together
        return State(x, low * self.live, high * self.boxed, s, pi, slack, price)

    def factor(self, state: State) -> Factors:
        """Cholesky factors of every SKU's system and of the Schur complement."""
        d = self.spread(state)
        n = len(d)
        eye = torch.arange(self.rows, device=d.device)
        root = d.new_empty(n, self.rows, self.rows)
        side = d.new_empty(n, self.rows, self.both)
        volume, units = self.volume, self.scale
        square = torch.stack([(w * d).sum(0) for w in (volume * volume, volume * units, units * units)])
        g = [self.shared[: self.half], self.shared[self.half :]]
        cross = (g[0] * square[1]) @ g[1].T
        schur = torch.cat(
            [torch.cat([(g[0] * square[0]) @ g[0].T, cross], 1), torch.cat([cross.T, (g[1] * square[2]) @ g[1].T], 1)]
        )
        schur.diagonal().add_(state.slack / state.price)

        def form(a: int) -> Tensor:
            part = slice(a, min(n, a + BLOCK))
            block = (self.own_own @ d[part].T).T.reshape(-1, self.rows, self.rows)
            block[:, eye, eye] += state.s[part] / state.pi[part]
            block[:, eye, eye] *= 1 + 1e-13
            root[part] = torch.linalg.cholesky(block)
            wide = (self.shared_own @ d[part].T).T.reshape(-1, self.both, self.rows).transpose(1, 2)
            wide = wide * self.weights(part)[:, None]
            side[part] = torch.linalg.solve_triangular(root[part], wide, upper=False)
            flat = side[part].reshape(-1, self.both)
            return flat.T @ flat

        schur -= sum(over_threads(form, range(0, n, BLOCK), self.threads))
        return Factors(d, root, side, _safe_cholesky(schur))

    def spread(self, state: State) -> Tensor:
        """D: how far a decision moves for a unit of money, (N, X)."""
        d = 1.0 / (state.low / state.x + torch.where(self.boxed, state.high / (self.upper - state.x), 0.0))
        return torch.where(self.live, d, 0.0)

    def direction(self, state: State, factors: Factors, want: Want) -> State:
        """Newton step: primal and dual residuals, and what the complementarity products should change by."""
        d, gap = factors.d, torch.where(self.boxed, self.upper - state.x, 1.0)
        pull = want.dual + want.low / state.x - torch.where(self.boxed, want.high / gap, 0.0)
        dq = d * pull
        right = dq @ self.own.T - want.own + want.s / state.pi
        together = self.use(dq) - want.shared + want.slack / state.price
        half = torch.linalg.solve_triangular(factors.root, right[:, :, None], upper=False)  # N, R, 1
        together = together - torch.einsum("nrg,nr->g", factors.side, half[:, :, 0])
        price = torch.cholesky_solve(together[:, None], factors.schur)[:, 0]
        rest = half - (factors.side @ price)[:, :, None]
        pi = torch.linalg.solve_triangular(factors.root.transpose(1, 2), rest, upper=True)[:, :, 0]
        x = d * (pull - pi @ self.own - self.charge(price))
        low = (want.low - state.low * x) / state.x
        high = torch.where(self.boxed, (want.high + state.high * x) / gap, 0.0)
        s = (want.s - state.s * pi) / state.pi
        slack = (want.slack - state.slack * price) / state.price
        return State(x, low * self.live, high, s, pi, slack, price)

    def residuals(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Own rows, shared rows, and duals: what is missing."""
        own = self.limits - state.x * self.live @ self.own.T - state.s
        shared = self.together - self.use(state.x * self.live) - state.slack
        dual = self.cost - state.pi @ self.own - self.charge(state.price) + state.low - state.high
        return own, shared, torch.where(self.live, dual, 0.0)

    def products(self, state: State) -> tuple[float, int]:
        """Sum and number of the complementarity products."""
        room = torch.where(self.boxed, self.upper - state.x, 0.0)
        total = (state.low * state.x).sum() + (state.high * room).sum() + (state.s * state.pi).sum()
        count = int(self.live.sum()) + int(self.boxed.sum()) + state.s.numel() + state.slack.numel()
        return float(total + (state.slack * state.price).sum()), count

    def closeness(self, state: State) -> float:
        """Complementarity products by the money at stake: about the gap, once the residuals are small."""
        return self.products(state)[0] / max(float((self.cost * state.x).sum().abs()), 1e-12)

    def longest(self, state: State, step: State) -> tuple[float, float]:
        """Longest primal and dual steps up to 1 that stay inside."""
        room = torch.where(self.boxed, self.upper - state.x, 1.0)
        inward = torch.where(self.boxed, -step.x, 0.0)
        still = torch.where(self.live, step.x, 0.0)
        primal = [(state.x, still), (room, inward), (state.s, step.s), (state.slack, step.slack)]
        dual = [(state.low, step.low), (state.high, step.high), (state.pi, step.pi), (state.price, step.price)]
        return _reach(primal), _reach(dual)


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """D (N, X), Cholesky roots (N, R, R), L⁻¹ A D Gᵀ (N, R, G), root of the Schur complement (G, G)."""

    d: Tensor
    root: Tensor
    side: Tensor
    schur: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Want:
    """Right side of a Newton step: residuals of own rows, shared rows, duals; wanted changes of the products."""

    own: Tensor
    shared: Tensor
    dual: Tensor
    low: Tensor
    high: Tensor
    s: Tensor
    slack: Tensor


def solve_network(
    network: Network, gap: float = 1e-3, threads: int = 0, progress: Callable[[str], None] | None = None
) -> NetworkSolution:
    """Plan all periods.

    Args:
        gap: wanted (bound - value) / |value|, > 0. The solution tells what was reached.
        threads: on a CPU; 0: one a core.
        progress: told in words what was reached.
    Raises: SetupError: `gap` is not above 0, or the factors would not fit in memory.
    """
    if not gap > 0:
        raise SetupError(f"gap must be above 0, not {gap:g}")
    with one_thread_each(network.width.device):
        return _solve(network, gap, threads or os.cpu_count() or 1, progress or (lambda _: None))


def _solve(network: Network, gap: float, threads: int, say: Callable[[str], None]) -> NetworkSolution:
    began = time.perf_counter()
    barrier = Barrier(network, threads)
    state = barrier.start()
    best, last = _certify(barrier, state, 0, 0.0), 0
    for iteration in range(1, STEPS + 1):
        _advance(barrier, state)
        near = barrier.closeness(state)
        if not near < torch.inf:
            break
        if near > LOOK_BELOW and iteration < STEPS:
            say(f"step {iteration}")
            continue
        found = _certify(barrier, state, iteration, time.perf_counter() - began)
        say(f"step {iteration}: gap {found.gap:.4%}")
        if found.bound < best.bound or found.plan.value > best.plan.value:
            best, last = _better(best, found), iteration
        if best.gap <= gap or (last and iteration - last > PATIENCE):
            break
    return replace(best, iterations=iteration, seconds=time.perf_counter() - began)


def _better(best: NetworkSolution, found: NetworkSolution) -> NetworkSolution:
    """The better plan with the better bound: each is valid by itself."""
    plan = found.plan if found.plan.value > best.plan.value else best.plan
    lower = found if found.bound < best.bound else best
    return replace(lower, plan=plan)


def _advance(barrier: Barrier, state: State) -> None:
    """One predictor-corrector step, in place."""
    own, shared, dual = barrier.residuals(state)
    factors = barrier.factor(state)
    room = torch.where(barrier.boxed, barrier.upper - state.x, 0.0)
    products = (state.low * state.x, state.high * room, state.s * state.pi, state.slack * state.price)
    want = Want(own, shared, dual, *(-p for p in products))
    guess = barrier.direction(state, factors, want)
    alpha, beta = barrier.longest(state, guess)
    total, count = barrier.products(state)
    ahead = State(
        state.x + alpha * guess.x * barrier.live, state.low + beta * guess.low, state.high + beta * guess.high,
        state.s + alpha * guess.s, state.pi + beta * guess.pi, state.slack + alpha * guess.slack,
        state.price + beta * guess.price,
    )  # fmt: skip
    sigma = (barrier.products(ahead)[0] / total) ** 3
    mu = sigma * total / count
    want = Want(
        own, shared, dual,
        (mu - products[0] - guess.low * guess.x) * barrier.live, (mu - products[1] + guess.high * guess.x) * barrier.boxed,
        mu - products[2] - guess.s * guess.pi, mu - products[3] - guess.slack * guess.price,
    )  # fmt: skip
    step = barrier.direction(state, factors, want)
    alpha, beta = (min(1.0, BACK * a) for a in barrier.longest(state, step))
    state.x += alpha * step.x * barrier.live
    state.s += alpha * step.s
    state.slack += alpha * step.slack
    state.low += beta * step.low
    state.high += beta * step.high
    state.pi += beta * step.pi
    state.price += beta * step.price


def _certify(barrier: Barrier, state: State, iteration: int, seconds: float) -> NetworkSolution:
    """A feasible plan and a bound from the iterate."""
    network = barrier.network
    n, j, _, _, t, _ = network.shape
    plan = play(network, *network.split(state.x * barrier.live * barrier.scale))
    half = barrier.half
    pi = state.pi / barrier.scale
    prices = NetworkPrices(
        state.price[:half].reshape(j, t), state.price[half:].reshape(j, t), pi[:, half:], pi[:, :half].reshape(n, j, t)
    )
    bound, feasible = certified(network, prices)
    return NetworkSolution(plan, feasible, bound, iteration, seconds)


def _reach(pairs: list[tuple[Tensor, Tensor]]) -> float:
    longest = 1.0
    for now, step in pairs:
        down = step < 0
        if bool(down.any()):
            longest = min(longest, float((-now[down] / step[down]).min()))
    return longest


def _dense(matrix: sp.csr_matrix, device: torch.device) -> Tensor:
    return torch.from_numpy(matrix.toarray()).to(device)


def _products(left: sp.csr_matrix, right: sp.csr_matrix, device: torch.device) -> Tensor:
    """Sparse (rows of left · rows of right, columns): entry (r, s), x is left[r, x] right[s, x]."""
    by_left, by_right = left.tocsc(), right.tocsc()
    row, column, value = [], [], []
    for x in range(left.shape[1]):
        a, b = (slice(m.indptr[x], m.indptr[x + 1]) for m in (by_left, by_right))
        row.append((by_left.indices[a][:, None].astype(np.int64) * right.shape[0] + by_right.indices[b]).ravel())
        value.append((by_left.data[a][:, None] * by_right.data[b]).ravel())
        column.append(np.full(len(row[-1]), x))
    shape = (left.shape[0] * right.shape[0], left.shape[1])
    made = sp.csr_matrix((np.concatenate(value), (np.concatenate(row), np.concatenate(column))), shape=shape)
    parts = (torch.from_numpy(made.indptr), torch.from_numpy(made.indices), torch.from_numpy(made.data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its sparse tensors beta; we only multiply
        return torch.sparse_csr_tensor(*parts, size=shape, check_invariants=False).to(device)


def _safe_cholesky(matrix: Tensor) -> Tensor:
    """Cholesky root; where rounding made the matrix singular, of the matrix a little larger."""
    size = matrix.diagonal().abs()
    for more in (0.0, 1e-14, 1e-12, 1e-10, 1e-8):
        found = torch.linalg.cholesky_ex(matrix + torch.diag(more * size))
        root: Tensor = found[0]
        if not int(found[1]):
            break
    return root
