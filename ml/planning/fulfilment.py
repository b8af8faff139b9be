"""Which site serves the next order, given the stock that is left and what a unit of it is worth where it lies.

In: stock, orders, what a unit earns by cell and site, the home demand still to come. Out: who was served from where.
A cell is a (region, speed) in one stretch of the day; its home is the site that serves the region best on average.

An order is served from the site with the largest earning less opportunity price. The opportunity price of a unit at a
site with s units left is what the last of them is expected to bring there,

    w + P(D >= s) (m - w),    D: home demand still to come, m: its earning, w: worth of a unit that is left over.

An order from elsewhere that earns v may therefore take units down to a protection level, the smallest s with
P(D >= s) <= (v - w) / (m - w): Littlewood's rule. An order at home is never refused while it earns more than w. An order
that no site wants is lost. Plans put their prices in w: what replacing the unit will cost in the next period.

Sources: Littlewood (1972), Forecasting and control of passenger bookings; Acimovic and Graves (2015), Making better
fulfillment decisions on the fly in an online retail environment. P(D >= s): the cube-root normal approximation of a
gamma (Wilson and Hilferty 1931) with the mean and variance of the negative binomial.

Run: pytest tests/unit/planning/test_fulfilment.py
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DAY = 24.0
NEVER = float("inf")
"""Hours or cost of a delivery that is not offered."""


@dataclass(frozen=True)
class Remaining:
    """Home demand still to come in the period: mean and variance, units, each (B, J), and what it earns.

    Args:
        mean, variance: of the units still to be ordered, (B, J).
        earns: average earning of a home unit, money, (B, J).
        worth: of a unit that is left at the end of the period, money, (B, J).
    """

    mean: Tensor
    variance: Tensor
    earns: Tensor
    worth: Tensor


def kept(hours: Tensor, promise: Tensor, cutoff: Tensor, hour: float) -> Tensor:
    """Whether a site can keep the promise made to an order.

    Args: hours (J, R), door to door; promise (S,), hours; cutoff (J,), hour of day; hour: when the order arrives.
    Returns: (J, R, S) bool. An order after the cut-off leaves with the next day's, 24 hours later.
    """
    late = torch.where(hour >= cutoff, DAY, 0.0).to(hours.dtype)  # (J,)
    return (hours + late[:, None])[:, :, None] <= promise  # (J, R, S)


def gains(hours: Tensor, cost: Tensor, promise: Tensor, value: Tensor, cutoff: Tensor, hour: float) -> Tensor:
    """What a unit earns beyond its price, by cell and site: value of a kept promise less last mile.

    Args: hours, cost (J, R); promise, value (S,); cutoff (J,); hour: of the order.
    Returns: (R * S, J) money; -inf where the site does not deliver to the region.
    """
    gain = kept(hours, promise, cutoff, hour) * value - cost[:, :, None]  # (J, R, S)
    gain = torch.where(torch.isfinite(cost)[:, :, None], gain, -NEVER)
    return gain.permute(1, 2, 0).reshape(-1, len(cutoff))


def survival(units: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """P(D >= units) for whole units of a demand with this mean and variance; 1 at 0 units, 0 where nothing is to come."""
    shape = variance.clamp(min=1e-9) / (mean * mean).clamp(min=1e-12) / 9.0  # 1 / (9 k), k the gamma's shape
    cube = ((units - 0.5).clamp(min=0.0) / mean.clamp(min=1e-9)) ** (1.0 / 3.0)
    tail = torch.special.ndtr((1.0 - shape - cube) / shape.sqrt())
    return torch.where(units < 0.5, 1.0, torch.where(mean <= 1e-9, 0.0, tail))


def protection(ratio: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Units to be kept from an order: those s >= 1 with P(D >= s) > ratio, where ratio = (v - w) / (m - w).

    Returns: whole units, >= 0; inverse of `survival`.
    """
    shape = variance.clamp(min=1e-9) / (mean * mean).clamp(min=1e-12) / 9.0
    normal = torch.special.ndtri((1.0 - ratio).clamp(1e-9, 1.0 - 1e-9))
    cube = (1.0 - shape + shape.sqrt() * normal).clamp(min=0.0)
    level = (cube**3 * mean + 0.5).ceil() - 1.0
    return torch.where((ratio >= 1.0) | (mean <= 1e-9), 0.0, level.clamp(min=0.0))


def still_to_come(mean: Tensor, variance: Tensor, elapsed: float, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the rest of a negative binomial demand, after part of the period and `seen` orders.

    Args: mean, variance (…) of the whole period; elapsed: share of its expected orders gone, 0..1; seen (…) orders so far.
    Returns: mean, variance (…). Source: gamma posterior of a Poisson rate; remaining = (1 - τ)(k + n) / (k / μ + τ).
    """
    mean = mean.clamp(min=1e-9)
    excess = (variance - mean).clamp(min=1e-9 * mean)
    shape = mean * mean / excess  # k
    rate = (shape + seen) / (shape / mean + elapsed)
    rest = (1.0 - elapsed) * rate
    return rest, rest + rest * rest / (shape + seen)


def opportunity(stock: Tensor, rest: Remaining) -> Tensor:
    """Opportunity price of a unit of stock: (B, J) money. Args: stock (B, J) units; rest: home demand still to come."""
    return rest.worth + survival(stock, rest.mean, rest.variance) * (rest.earns - rest.worth).clamp(min=0.0)


@dataclass(frozen=True)
class Served:
    """Units served: row, cell and site (E,) int64, units (E,); what is missing to the orders is lost."""

    row: Tensor
    cell: Tensor
    site: Tensor
    units: Tensor


def serve(stock: Tensor, orders: Tensor, base: Tensor, gain: Tensor, home: Tensor, rest: Remaining) -> Served:
    """Serve one stretch of orders; with one order in it this is the policy for a single order.

    Args:
        stock: (B, J) whole units on hand; B rows are SKUs times replications.
        orders: (B, C) units ordered in the stretch, by cell.
        base: (B,) price and avoided shortage of a unit, money.
        gain: (C, J) from `gains`, money; -inf where a site cannot serve.
        home: (C,) number of the cell's home site.
        rest: home demand still to come after this stretch.
    Returns: what was served, never more than `stock`. A site gives to its home cells first, then in the order of cells.
    """
    row, cell = orders.nonzero(as_tuple=True)  # (E,): only the cells that were ordered from
    want, left = orders[row, cell], stock.clone()
    asked = torch.zeros(
        len(row), stock.shape[1], dtype=torch.bool, device=stock.device
    )  # sites that gave all they would
    done: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    while len(row):
        site, cap = _best_site(left, row, cell, base, gain, home, asked, rest)
        willing = cap >= 0
        row, cell, want, asked, site, cap = (x[willing] for x in (row, cell, want, asked, site, cap))
        grant = _grant(want, row * stock.shape[1] + site, site == home[cell], cap)
        left.index_put_((row, site), -grant, accumulate=True)
        done.append((row, cell, site, grant))
        asked.scatter_(1, site[:, None], True)
        short = grant < want
        row, cell, want, asked = row[short], cell[short], (want - grant)[short], asked[short]
    if not done:
        return Served(row, cell, cell, want)
    return Served(*(torch.cat(parts) for parts in zip(*done, strict=True)))


def _best_site(
    stock: Tensor, row: Tensor, cell: Tensor, base: Tensor, gain: Tensor, home: Tensor, asked: Tensor, rest: Remaining
) -> tuple[Tensor, Tensor]:
    """Best site of every entry, (E,), and the units it may give to that entry, (E,); -1 where no site will."""
    rows, place = torch.unique(row, return_inverse=True)
    part = Remaining(rest.mean[rows], rest.variance[rows], rest.earns[rows], rest.worth[rows])
    price = opportunity(stock[rows], part)
    earns = base[row, None] + gain[cell]  # (E, J)
    score = earns - price[place]
    at_home = home[cell, None] == torch.arange(stock.shape[1], device=stock.device)
    willing = (score >= 0) | (at_home & (earns >= part.worth[place]))
    willing &= (stock > 0)[row] & ~asked
    top, best = torch.where(willing, score, -NEVER).max(1)  # (E,)
    worth, most = rest.worth[row, best], rest.earns[row, best]
    earned = earns.gather(1, best[:, None]).squeeze(1)
    ratio = torch.where(most > worth, (earned - worth) / (most - worth).clamp(min=1e-9), 1.0)
    keep = protection(ratio, rest.mean[row, best], rest.variance[row, best])
    cap = stock[row, best] - torch.where(best == home[cell], 0.0, keep)
    return best, torch.where(torch.isfinite(top), cap.clamp(min=0.0), -1.0)


def _grant(want: Tensor, shelf: Tensor, at_home: Tensor, cap: Tensor) -> Tensor:
    """Units given to every entry, (E,); shelf: number of its row and site. On a shelf home entries come first."""
    order = torch.argsort(shelf * 2 + (~at_home).long(), stable=True)
    ask = want.minimum(cap)[order]
    so_far = ask.cumsum(0) - ask
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = shelf[order][1:] != shelf[order][:-1]
    group = first.long().cumsum(0) - 1
    before = so_far - so_far[first][group]
    grant = torch.zeros_like(want)
    grant[order] = (cap[order] - before).clamp(min=0.0).minimum(ask)
    return grant
