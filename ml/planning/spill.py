"""Accounts for orders that an emptied home site passes on: an outer fixed point around the one-period program.

In: an instance. Out: a `Spilled`: a solution, and the program it solves. The program of `segments.build` lets a region be
served from its home only. Here a unit of stock at a site is worth what it adds to what the others do. On drawn demand,
with the other sites' stock held as in the last plan and this site empty, every region asks its home, then its next-best
sites. A unit here then

- serves an order that is lost otherwise, and earns all of it, or
- serves an order that a worse site serves otherwise, and earns the difference.

The averages over the draws, best uses first, are the values of the slices; the program is solved again from the last
prices; the stock held for the next round is an average with the round before. What comes to rest is a plan in which no
site alone can do better at the prices. docs/planning-simulation.md tells by simulation what it is worth.

Shapes: N SKUs, M serving sites, R regions, K slices, W draws, D sites asked, X uses of a unit.
Run: pytest tests/unit/planning/test_spill.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from inventorybot.errors import SetupError
from ml.planning.data import Instance
from ml.planning.problem import Problem
from ml.planning.segments import TAIL_SLOPE, TOP_LEVEL, Reach, build, reach, sold
from ml.planning.solve import Solution, solve

ROUNDS = 6
STEP = 0.5
"""Share of a round's plan in the stock held for the next: without it, two sites answer each other for ever."""
ASKED = 3
"""Sites that are asked for a region's demand, its home included."""
SLICES = 16
CORRELATION = 0.0
"""Of a SKU's demand between regions."""
DRAWS = 64
"""Draws of demand; their seed differs from that of a simulation, so that a plan is not tried on what it was made from."""
SEED = 7_919
ELEMENTS = 4_000_000
"""Size of the largest tensor of a chunk of SKUs: 32 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Spilled:
    """A plan that knows of spill.

    Args:
        solution: of `problem`, the program of the last round; its gap is the gap to that program.
        moved: by round, the volume of stock that changed site or SKU, as a share of all.
    """

    solution: Solution
    problem: Problem
    moved: tuple[float, ...]


def solve_with_spill(
    instance: Instance,
    *,
    rounds: int = ROUNDS,
    gap: float = 1e-4,
    period: int = 0,
    draws: int = DRAWS,
    correlation: float = CORRELATION,
    seed: int = SEED,
    progress: Callable[[int], None] = lambda done: None,
) -> Spilled:
    """Plan one period with spill.

    Args: rounds: of the fixed point, >= 1; draws: of demand, >= 1; progress: told the rounds done.
    """
    if rounds < 1 or draws < 1:
        raise SetupError(f"spill needs at least 1 round and 1 draw, not {rounds} and {draws}")
    way = reach(instance)
    alone = build(instance, slices=SLICES, period=period)
    found, problem = solve(alone, gap), alone
    held = alone.held_MN.double()
    stock = held + found.units_MN.double()
    demand = _draws(instance, period, draws, correlation, seed)
    moved = []
    for done in range(rounds):
        problem = program(instance, way, alone, stock, demand)
        found = solve(problem, gap, found.prices)
        change = held + found.units_MN.double() - stock
        stock = stock + STEP * change
        volume = problem.volume_N
        moved.append(float((change.abs() @ volume).sum() / (stock @ volume).sum().clamp(min=1e-12)))
        progress(done + 1)
    return Spilled(found, problem, tuple(moved))


def _draws(instance: Instance, period: int, draws: int, correlation: float, seed: int) -> Tensor:
    """Demand of a period, (N, W, R) units, from the forecast quantiles as `segments.slice_matrix` joins them; levels are
    ranks of normals that are correlated between the regions of a SKU."""
    rng = np.random.default_rng(seed)
    quantile = instance.demand_quantiles[:, :, period].astype(np.float64)  # N, R, Q
    n, r, _ = quantile.shape
    rise = (quantile[..., -1] - quantile[..., -2]) / (instance.levels[-1] - instance.levels[-2])
    top = quantile[..., -1] + TAIL_SLOPE * rise * (1.0 - instance.levels[-1])
    at = np.concatenate([[0.0], instance.levels, [1.0]])
    units = np.concatenate([np.zeros((n, r, 1)), quantile, top[..., None]], axis=2)
    common, own = rng.standard_normal((n, draws, 1)), rng.standard_normal((n, draws, r))
    normal = correlation**0.5 * common + (1 - correlation) ** 0.5 * own
    level = (normal.argsort(1).argsort(1) + 0.5) / draws  # N, W, R: every region's levels are even, no luck of the draw
    piece = np.clip(np.searchsorted(at, level, side="right") - 1, 0, len(at) - 2)
    share = (level - at[piece]) / (at[piece + 1] - at[piece])
    i, k = np.arange(n)[:, None, None], np.arange(r)[None, None, :]
    drawn = units[i, k, piece] * (1 - share) + units[i, k, piece + 1] * share
    return torch.from_numpy(drawn.astype(np.float32))


def program(instance: Instance, way: Reach, alone: Problem, stock_MN: Tensor, demand_NWR: Tensor) -> Problem:
    """The program in which a slice is worth what it adds to the other sites' stock.

    Args: alone: the program without spill, for its limits; stock_MN: units held by the last plan, opening stock included.
    """
    n, m = instance.skus, len(way.sites)
    asked = way.rank_RM[:, :ASKED]
    uses = max(int((asked == j).sum()) for j in range(m)) * (ASKED + 1)
    step = max(1, ELEMENTS // (demand_NWR.shape[1] * max(uses, len(asked))))
    value = torch.zeros(m, SLICES, n, dtype=torch.float64)
    width = torch.zeros(m, SLICES, n, dtype=torch.float64)
    left = torch.from_numpy(instance.salvage - instance.holding_cost)
    gain = torch.from_numpy(instance.price + instance.shortage_cost) - left  # N, money before last mile and promises
    for a in range(0, n, step):
        part = slice(a, min(n, a + step))
        for j in range(m):
            others = stock_MN[:, part].T.clone()
            others[:, j] = 0.0
            v, w = _curve(way, j, demand_NWR[part], others.float(), gain[part].float())
            value[j, :, part], width[j, :, part] = v.T.double(), w.T.double()
    base = (left - torch.from_numpy(instance.unit_cost))[None, :] - torch.from_numpy(way.lane_M)[:, None]
    kept = torch.minimum((alone.held_MN[:, None] - (width.cumsum(1) - width)).clamp(min=0.0), width)
    return replace(
        alone,
        value_MKN=(value + base[:, None]).float(),
        width_MKN=(width - kept).float(),
        sold_K=torch.from_numpy(sold(SLICES)),
    )


def _curve(way: Reach, site: int, demand_nWR: Tensor, others_nM: Tensor, gain_n: Tensor) -> tuple[Tensor, Tensor]:
    """Value and width of the slices of one site, (n, K) each: money a unit more than one left over, and units."""
    units, worth = _uses(way, site, demand_nWR, others_nM, gain_n)  # n, W, X and n, X
    order = worth.argsort(dim=1, descending=True)
    worth = worth.gather(1, order)
    units = units.gather(2, order[:, None, :].expand_as(units))
    levels = torch.linspace(0.0, TOP_LEVEL, SLICES + 1, dtype=units.dtype)
    edges = torch.quantile(units.sum(2), levels, dim=1).T  # n, K + 1
    edges[:, 0] = 0.0
    total = torch.nn.functional.pad(units.cumsum(2), (1, 0))  # n, W, X + 1
    money = torch.nn.functional.pad((units * worth[:, None, :]).cumsum(2), (1, 0))
    at = edges[:, None, :].expand(-1, units.shape[1], -1).contiguous()  # n, W, K + 1
    use = (torch.searchsorted(total, at, right=True) - 1).clamp(max=units.shape[2] - 1)
    inside = (at - total.gather(2, use)).minimum(units.gather(2, use))
    paid = worth[:, None, :].expand_as(units).gather(2, use)
    earned = (money.gather(2, use) + inside * paid).mean(1)  # n, K + 1
    width = edges.diff(dim=1)
    # demand comes in whole units, so slices may be empty: they take no part in making the values fall
    value = torch.where(width > 1e-6, earned.diff(dim=1) / width.clamp(min=1e-6), torch.inf).cummin(1).values
    return torch.where(torch.isfinite(value), value, worth[:, :1]), width


def _uses(way: Reach, site: int, demand_nWR: Tensor, others_nM: Tensor, gain_n: Tensor) -> tuple[Tensor, Tensor]:
    """What units at one site could do beyond the others: units (n, W, X) and worth (n, X) of each use."""
    rank = torch.from_numpy(way.rank_RM[:, :ASKED].copy())  # R, D
    earn = torch.from_numpy(way.earn_RM).float()
    here = (rank == site).any(1).nonzero().squeeze(1)  # regions that ask this site
    got, lost = cascade(way, demand_nWR, others_nM, gain_n)
    units, worth = [lost[:, :, here]], [(gain_n[:, None] + earn[here, site]).clamp(min=0.0)]
    for d, served in enumerate(got):
        more = (earn[here, site] - earn[here, rank[here, d]]).nan_to_num(0.0, 0.0, 0.0).clamp(min=0.0)
        some = more > 0
        units.append(served[:, :, here[some]])
        worth.append(more[some].expand(len(gain_n), -1))
    return torch.cat(units, 2), torch.cat(worth, 1)


def cascade(way: Reach, demand_nWR: Tensor, stock_nM: Tensor, gain_n: Tensor) -> tuple[list[Tensor], Tensor]:
    """Serve drawn demand from the first site asked, then the second, …: units by place in the order, and units lost.

    Args: demand_nWR: units; stock_nM: units at every site; gain_n: of a unit sold, before last mile and promises.
    Returns: D tensors (n, W, R) of units served, and (n, W, R) lost. A site short of stock serves all that ask in a turn
        in proportion. No site serves at a loss.
    """
    rank = torch.from_numpy(way.rank_RM[:, :ASKED].copy())
    earn = torch.from_numpy(way.earn_RM).float()
    lost = demand_nWR
    stock = stock_nM[:, None, :].expand(-1, demand_nWR.shape[1], -1)
    got = []
    for d in range(rank.shape[1]):
        asks = torch.nn.functional.one_hot(rank[:, d], stock_nM.shape[1]).to(lost.dtype)  # R, M
        pays = (gain_n[:, None] + earn[torch.arange(len(rank)), rank[:, d]] > 0).to(lost.dtype)  # n, R
        wanted = lost * pays[:, None, :]
        asked = wanted @ asks  # n, W, M
        share = torch.where(asked > 0, stock / asked.clamp(min=1e-9), 1.0).clamp(max=1.0)
        served = wanted * (share @ asks.T)
        stock, lost = stock - asked * share, lost - served
        got.append(served)
    return got, lost
