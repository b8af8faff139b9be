"""The Newton systems of an interior-point method over many SKUs: one small system a SKU, one over what they share.

In: a `Network`, an iterate. Out: Newton steps, residuals, how far a step may go. Used by `multiperiod_solve`.
Given the prices of shared space and flow the SKUs are independent, so the Newton system falls apart into one small
symmetric system a SKU (its balance and supply rows) and a Schur complement over the shared rows: batched Cholesky factors and
one dense solve. The products of the central path are weighted by each SKU's money: a cheap article is then as near to its
edge as a dear one. What a site without any space or flow would hold is no decision at all.
Shapes: N SKUs, X decisions, R own rows, G shared rows. Tests: tests/unit/planning/test_multiperiod.py.
Source: Castro (2000), A specialized interior-point algorithm for multicommodity network flows.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch

from inventorybot.errors import SetupError
from ml.planning.multiperiod import Network
from ml.planning.problem import Tensor
from ml.planning.threads import over_threads

BLOCK = 32
"""SKUs whose systems are formed at a time: they stay in a core's cache (32: 87 ms where 128 take 138)."""
EMPTY = 1e-9
"""Slices narrower than this share of the SKU's mean slice are left out."""
MOST_GB = 6.0
"""Factors that are kept in memory; more is refused."""
LEAST_WEIGHT = 1e-3
"""Of a SKU's products on the central path, by the mean SKU: below, rounding would be larger."""


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

    def moved(self, step: State, primal: float, dual: float) -> State:
        """The iterate after a step of these lengths."""
        return State(
            self.x + primal * step.x, self.low + dual * step.low, self.high + dual * step.high,
            self.s + primal * step.s, self.pi + dual * step.pi,
            self.slack + primal * step.slack, self.price + dual * step.price,
        )  # fmt: skip


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
        shut = (network.shared_limits() <= 0).to(upper.dtype) @ (self.shared > 0).to(upper.dtype) > 0
        self.live = (upper > EMPTY) & ~shut
        self.boxed = torch.isfinite(upper) & self.live
        self.upper = torch.where(self.boxed, upper, torch.ones_like(upper))
        self.cost[~self.live] = 0.0
        self.money = self.cost.abs().amax(1, keepdim=True).clamp(min=1e-9)  # N, 1
        self.weight = (self.money / self.money.mean()).clamp(min=LEAST_WEIGHT)
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
        x = torch.where(self.boxed, 0.5 * self.upper, torch.ones_like(self.upper))
        half = 0.5 * self.money.expand_as(x)
        s = torch.maximum(self.limits - x @ self.own.T, torch.ones_like(self.limits))
        pi = 0.3 * self.money.expand(-1, self.rows)
        price = 0.1 * self.money.sum() / self.together
        return State(x, half * self.live, half * self.boxed, s, pi.clone(), self.together * 0.5, price)

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

    def products(self, state: State) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The complementarity products: of decisions with 0 and with their most, of own rows, of shared rows."""
        room = torch.where(self.boxed, self.upper - state.x, 0.0)
        return state.low * state.x, state.high * room, state.s * state.pi, state.slack * state.price

    def central(self, mu: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the products are on the central path, where they weigh `mu` on average."""
        w = mu * self.weight
        return w * self.live, w * self.boxed, w.expand(-1, self.rows), torch.full_like(self.together, mu)

    def level(self, state: State) -> float:
        """`mu` of the iterate: the sum of its products by what they would be at 1."""
        return total(self.products(state)) / self.unit

    @cached_property
    def unit(self) -> float:
        return total(self.central(1.0))

    def closeness(self, state: State) -> float:
        """Complementarity products by the money at stake: about the gap, once the residuals are small."""
        return total(self.products(state)) / max(float((self.cost * state.x).sum().abs()), 1e-12)

    def longest(self, state: State, step: State) -> tuple[float, float]:
        """Longest primal and dual steps up to 1 that stay inside."""
        room = torch.where(self.boxed, self.upper - state.x, 1.0)
        inward = torch.where(self.boxed, step.x / room, 0.0)
        down = torch.where(self.live, -step.x / state.x, 0.0)
        low = torch.where(self.live, -step.low / state.low, 0.0)
        high = torch.where(self.boxed, -step.high / state.high, 0.0)
        primal = (inward, down, -step.s / state.s, -step.slack / state.slack)
        dual = (low, high, -step.pi / state.pi, -step.price / state.price)
        most = torch.stack([torch.stack([a.amax() for a in side]).amax() for side in (primal, dual)]).cpu().tolist()
        return 1.0 / max(1.0, most[0]), 1.0 / max(1.0, most[1])


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


def total(products: tuple[Tensor, ...]) -> float:
    """Sum of products."""
    return float(torch.stack([p.sum() for p in products]).sum())


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
    entries = sp.csr_matrix((np.concatenate(value), (np.concatenate(row), np.concatenate(column))), shape=shape)
    parts = (torch.from_numpy(entries.indptr), torch.from_numpy(entries.indices), torch.from_numpy(entries.data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its sparse tensors beta; we only multiply
        made = torch.sparse_csr_tensor(*parts, size=shape, check_invariants=False)
        return made if device.type == "cpu" else made.to_dense().to(device)  # a GPU multiplies dense matrices faster


def _safe_cholesky(matrix: Tensor) -> Tensor:
    """Cholesky root; where rounding made the matrix singular, of the matrix a little larger."""
    size = matrix.diagonal().abs()
    for more in (0.0, 1e-14, 1e-12, 1e-10, 1e-8):
        found = torch.linalg.cholesky_ex(matrix + torch.diag(more * size))
        root: Tensor = found[0]
        if not int(found[1]):
            break
    return root
