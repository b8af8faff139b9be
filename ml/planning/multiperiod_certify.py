"""A plan that keeps every limit, and a bound that no plan can pass, from approximate answers.

In: a `Network`, decisions and prices that are nearly right. Out: a feasible plan with its worth; a rigorous bound.
Shapes: N SKUs, J sites, M serving, E lanes, T periods, K slices. Tests: tests/unit/planning/test_multiperiod.py.

The plan is played forward in time, layer by layer, and whatever is more than there is or than fits is cut.
The bound is the dual objective of prices that are made feasible first: the worth π of a unit at a site then is lowered until
no way of getting it (a lane, or keeping one from the period before) earns a profit; never below what its salvage brings, which
is feasible by itself. The slices are boxed, so whatever profit they leave counts with their width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ml.planning.multiperiod import Network
from ml.planning.problem import Tensor, Violations
from ml.planning.tables import Array

SAME = 1e-6
"""Bounds this close, relative, or in money below 1, are the same."""
SHY = 1e-12
"""Plans stay this much below a limit, relative: the rounding of float64 sums."""


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPlan:
    """A plan for all periods that keeps every limit.

    Args:
        y: units covering slices (N, M, T, K). f: units sent (N, E, T). u: units kept beyond them (N, J, T).
        value: money. space: m³ used (J, T). arrivals: units (J, T). violations: of every limit.
    """

    y: Tensor
    f: Tensor
    u: Tensor
    value: float
    space: Tensor
    arrivals: Tensor
    violations: Violations


def arrivals_of(network: Network, f: Tensor) -> Tensor:
    """Expected arrivals (N, J, T) of what is sent (N, E, T)."""
    n, j, _, e, t, _ = network.shape
    out = torch.zeros(n, j, t, dtype=f.dtype, device=f.device)
    for lane in range(e):
        for lead, chance in enumerate(network.lane_lead[lane]):
            if chance > 0 and lead < t:
                out[:, network.lane_to[lane], lead:] += float(chance) * f[:, lane, : t - lead]
    return out


def play(network: Network, y: Tensor, f: Tensor, u: Tensor) -> NetworkPlan:
    """Cut the decisions so that they can be carried out exactly, in the order of time and of the layers."""
    n, j, _, e, t, _ = network.shape
    y, f, u = torch.minimum(y.clamp(min=0), network.width), f.clamp(min=0), u.clamp(min=0)
    buy = torch.from_numpy(network.lane_from < 0).to(f.device)
    bought = f[:, buy].sum(1)
    f[:, buy] *= (network.supply * (1 - SHY) / bought.clamp(min=1e-300)).clamp(max=1.0)[:, None]
    room = (network.inbound * (1 - SHY) / arrivals_of(network, f).sum(0).clamp(min=1e-300)).clamp(max=1.0)
    for lane in range(e):
        least = torch.ones(t, dtype=f.dtype, device=f.device)
        for lead, chance in enumerate(network.lane_lead[lane]):
            if chance > 0 and lead < t:
                least[: t - lead] = torch.minimum(least[: t - lead], room[network.lane_to[lane], lead:])
        f[:, lane] *= least
    serves = {int(site): row for row, site in enumerate(network.serving)}
    stay = 1.0 - network.sold_K
    carried = network.stock.clone()  # N, J
    come = torch.zeros(n, j, t, dtype=f.dtype, device=f.device)
    for s in range(t):
        _send(network, np.flatnonzero(network.lane_from < 0), s, f, come)
        for layer in np.unique(network.layer):
            for site in np.flatnonzero(network.layer == layer).tolist():
                own = y[:, serves[site], s] if site in serves else y.new_zeros(n, 0)
                _cut_site(network, site, s, carried[:, site] + come[:, site, s], own, f, u)
            inside = network.lane_from >= 0
            _send(network, np.flatnonzero(inside & (network.layer[network.lane_from] == layer)), s, f, come)
        carried = u[:, :, s].clone()
        carried[:, torch.from_numpy(network.serving)] += y[:, :, s] @ stay
    return _measured(network, y, f, u)


def _send(network: Network, lanes: Array, period: int, f: Tensor, come: Tensor) -> None:
    """Add what these lanes send in a period to what comes."""
    for lane in lanes:
        for lead, chance in enumerate(network.lane_lead[lane]):
            if chance > 0 and period + lead < come.shape[2]:
                come[:, network.lane_to[lane], period + lead] += float(chance) * f[:, lane, period]


def _cut_site(network: Network, site: int, period: int, have: Tensor, own: Tensor, f: Tensor, u: Tensor) -> None:
    """Cut what a site uses in a period to what it has (N,) and to its space; `own` (N, K) is a view of y."""
    out = torch.from_numpy(np.flatnonzero(network.lane_from == site))
    wanted = own.sum(1) + u[:, site, period] + f[:, out, period].sum(1)
    share = (have * (1 - SHY) / wanted.clamp(min=1e-300)).clamp(max=1.0)
    space = float((network.volume * share * wanted).sum())
    share *= min(1.0, float(network.storage[site, period]) * (1 - SHY) / max(space, 1e-300))
    own *= share[:, None]
    u[:, site, period] *= share
    f[:, out, period] *= share[:, None]


def _measured(network: Network, y: Tensor, f: Tensor, u: Tensor) -> NetworkPlan:
    """Value, use and every violation, from the decisions alone."""
    n, _, _, e, _, _ = network.shape
    arrivals = arrivals_of(network, f)
    used = u.clone()
    used[:, torch.from_numpy(network.serving)] += y.sum(3)
    have = arrivals.clone()
    have[:, :, 0] += network.stock
    have[:, :, 1:] += u[:, :, :-1]
    have[:, torch.from_numpy(network.serving), 1:] += (y @ (1.0 - network.sold_K))[:, :, :-1]
    for lane in range(e):
        if network.lane_from[lane] >= 0:
            used[:, network.lane_from[lane]] += f[:, lane]
    space, units = torch.einsum("i,ijt->jt", network.volume, used), arrivals.sum(0)
    bought = f[:, torch.from_numpy(network.lane_from < 0)].sum(1)
    low = -min(float(a.min()) for a in (y, f, u))
    box = max(low, float((y - network.width).max()), float((used - have).max()), 0.0)
    over = Violations(
        float((space - network.storage).clamp(min=0).max()),
        float((units - network.inbound).clamp(min=0).max()),
        float((bought - network.supply).clamp(min=0).max()),
        box,
    )
    decisions = torch.cat([a.reshape(n, -1) for a in (y, f, u)], dim=1)
    value = float((network.worth() * decisions).sum())
    return NetworkPlan(y, f, u, value, space, units, over)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPrices:
    """What a unit of each limit is worth, all >= 0.

    Args: storage, inbound: (J, T), money a m³ and a unit. supply: (N, T). stock: of a unit at a site, π, (N, J, T).
    """

    storage: Tensor
    inbound: Tensor
    supply: Tensor
    stock: Tensor


def certified(network: Network, prices: NetworkPrices) -> tuple[float, NetworkPrices]:
    """A rigorous upper bound from any prices, and the feasible prices that prove it."""
    storage, inbound = _prohibitive(network, prices)
    supply = _finite(prices.supply, network.supply)
    most = torch.maximum(network.sale.amax((1, 2)), network.salvage).clamp(min=0)
    stock = torch.minimum(prices.stock, most[:, None, None])  # where nothing can be, an iterate's price has no end
    found = _proved(network, NetworkPrices(storage, inbound, supply, stock))
    if not bool(((network.storage <= 0) | (network.inbound <= 0)).any()):
        return found
    least = _proved(network, _least(network, found[1]))
    return least if least[0] - found[0] <= SAME * max(1.0, abs(found[0])) else found


def _proved(network: Network, prices: NetworkPrices) -> tuple[float, NetworkPrices]:
    """The bound of prices that are feasible but for the worth of stock, which is lowered."""
    space = network.volume[:, None, None] * prices.storage  # N, J, T
    floor = _salvage_worth(network, space, prices.inbound)
    above = torch.maximum(prices.stock, floor)
    stock = _lowered(network, above, floor, space, prices.inbound, prices.supply)
    rows = torch.from_numpy(network.serving)
    paid = (stock + space)[:, rows, :, None]
    bound = float((network.width * (_gain(network, stock) - paid).clamp(min=0)).sum())
    bound += float((network.stock * stock[:, :, 0]).sum())
    limits = (network.storage, prices.storage), (network.inbound, prices.inbound), (network.supply, prices.supply)
    for limit, price in limits:
        bound += float((limit[price > 0] * price[price > 0]).sum())
    return bound, replace(prices, stock=stock)


def _later(network: Network, stock: Tensor) -> Tensor:
    """Worth (N, J, T) of a unit that is left at the end of a period: holding paid, kept or salvaged."""
    after = -network.holding[:, None, None].expand_as(stock).clone()
    after[:, :, :-1] += stock[:, :, 1:]
    after[:, :, -1] += network.salvage[:, None]
    return after


def _gain(network: Network, stock: Tensor) -> Tensor:
    """Worth (N, M, T, K) of a unit that covers a slice."""
    left = _later(network, stock)[:, torch.from_numpy(network.serving), :, None]
    return network.sale[..., None] * network.sold_K + (1 - network.sold_K) * left


def _least(network: Network, prices: NetworkPrices) -> NetworkPrices:
    """The lowest prices of what there is none of that keep the worth of stock as it is: what the first unit would earn."""
    left = _later(network, prices.stock) - prices.stock  # N, J, T
    rows = torch.from_numpy(network.serving)
    best = (_gain(network, prices.stock) - prices.stock[:, rows, :, None]).amax(3)
    left[:, rows] = torch.maximum(left[:, rows], best)
    worth = (left / network.volume[:, None, None]).amax(0).clamp(min=0)
    storage = torch.where(network.storage <= 0, torch.minimum(prices.storage, worth), prices.storage)
    flow = torch.minimum(prices.inbound, prices.stock.amax(0))
    return replace(prices, storage=storage, inbound=torch.where(network.inbound <= 0, flow, prices.inbound))


def _prohibitive(network: Network, prices: NetworkPrices) -> tuple[Tensor, Tensor]:
    """Prices of storage and inbound flow; where there is none at all, a price at which nothing would be kept or sent there.

    A limit of 0 costs nothing in the bound, whatever its price, and no dearer sale than the dearest can be lost there.
    """
    storage, inbound = _finite(prices.storage, network.storage), _finite(prices.inbound, network.inbound)
    most = network.sale.amax((1, 2)).clamp(min=0)  # N
    space, flow = (most / network.volume).max(), most.max()
    storage = torch.where(network.storage <= 0, torch.maximum(storage, space), storage)
    return storage, torch.where(network.inbound <= 0, torch.maximum(inbound, flow), inbound)


def _finite(price: Tensor, limit: Tensor) -> Tensor:
    return torch.where(torch.isfinite(limit), price.clamp(min=0), torch.zeros_like(price))


def _salvage_worth(network: Network, space: Tensor, inbound: Tensor) -> Tensor:
    """Least feasible worth of a unit (N, J, T): kept or moved for its salvage alone; backward in time."""
    n, j, _, _, t, _ = network.shape
    worth = torch.zeros(n, j, t, dtype=space.dtype, device=space.device)
    inside = np.flatnonzero(network.lane_from >= 0)
    for s in reversed(range(t)):
        for layer in np.unique(network.layer)[::-1]:
            rows = np.flatnonzero(network.layer == layer)
            kept = network.salvage[:, None] if s == t - 1 else worth[:, rows, s + 1]
            worth[:, rows, s] = (kept - network.holding[:, None] - space[:, rows, s]).clamp(min=0)
            for lane in inside[network.layer[network.lane_from[inside]] == layer].tolist():
                a = network.lane_from[lane]
                there = _delivered(network, lane, s, worth, inbound) + _end_worth(network, lane, s)
                moved = there - float(network.lane_cost[lane]) - space[:, a, s]
                worth[:, a, s] = torch.maximum(worth[:, a, s], moved)
    return worth


def _delivered(network: Network, lane: int, period: int, worth: Tensor, inbound: Tensor) -> Tensor:
    """Expected worth of a unit sent, where it arrives, its inbound flow paid, (N,)."""
    total = torch.zeros(len(worth), dtype=worth.dtype, device=worth.device)
    b = network.lane_to[lane]
    for lead, chance in enumerate(network.lane_lead[lane]):
        if chance > 0 and period + lead < worth.shape[2]:
            total += float(chance) * (worth[:, b, period + lead] - inbound[b, period + lead])
    return total


def _end_worth(network: Network, lane: int, period: int) -> Tensor:
    """Expected worth of a unit sent for arriving after the last period, (N,)."""
    worth: Tensor = float(network.late(period)[lane]) * (network.salvage - network.holding)
    return worth


def _lowered(network: Network, worth: Tensor, floor: Tensor, space: Tensor, inbound: Tensor, supply: Tensor) -> Tensor:
    """Lower the worth of units (N, J, T) until no way of getting one earns a profit; forward in time."""
    worth = worth.clone()
    t = worth.shape[2]
    inside = np.flatnonzero(network.lane_from >= 0)
    for s in range(t):
        for lane in np.flatnonzero(network.lane_from < 0).tolist():
            cap = network.unit_cost + supply[:, s] + float(network.lane_cost[lane]) - _end_worth(network, lane, s)
            _cap_lane(network, lane, s, cap, worth, floor, inbound)
        for layer in np.unique(network.layer):
            for lane in inside[network.layer[network.lane_from[inside]] == layer].tolist():
                a = network.lane_from[lane]
                cap = worth[:, a, s] + space[:, a, s] + float(network.lane_cost[lane]) - _end_worth(network, lane, s)
                _cap_lane(network, lane, s, cap, worth, floor, inbound)
        if s + 1 < t:
            kept = worth[:, :, s] + space[:, :, s] + network.holding[:, None]
            worth[:, :, s + 1] = torch.minimum(worth[:, :, s + 1], kept)
    return worth


def _cap_lane(
    network: Network, lane: int, period: int, cap: Tensor, worth: Tensor, floor: Tensor, inbound: Tensor
) -> None:
    """Draw the worth where a lane arrives to its floor until it delivers no more than `cap` (N,)."""
    now, least = (_delivered(network, lane, period, a, inbound) for a in (worth, floor))
    share = ((cap - least) / (now - least).clamp(min=1e-300)).clamp(0, 1)
    share = torch.where(now > cap, share, torch.ones_like(share))[:, None]
    b = network.lane_to[lane]
    for lead, chance in enumerate(network.lane_lead[lane]):
        if chance > 0 and period + lead < worth.shape[2]:
            at = slice(period + lead, period + lead + 1)
            worth[:, b, at] = floor[:, b, at] + share * (worth[:, b, at] - floor[:, b, at])
