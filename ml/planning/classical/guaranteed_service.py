"""Guaranteed service: where in a supply chain to put safety stock, exactly, for networks that are trees.

In: `Stage`s, who supplies whom. Out: `Placement`: the service time each stage promises, its safety stock, and the cost.

A stage that is served within SI, takes T and promises S must cover the demand of its net replenishment time SI + T - S, for
which it holds z sigma sqrt(SI + T - S), at a cost h a unit. SI is the slowest of its suppliers' promises.
Source: Graves & Willems (2000), Optimizing strategic safety stock placement in supply chains, MSOM 2(1), and the erratum,
MSOM 5(2) (2003). Simpson (1958) and Inderfurth (1991) for lines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np

from ml.planning.classical._limits import not_negative, refuse
from ml.planning.classical.demand import Floats

MOST_STAGES = 500

MOST_ENTRIES = 2e8
"""Stages x (longest chain of processing times + 1)^2: the tables, 1.6 GB."""


@dataclass(frozen=True)
class Stage:
    """One item at one place.

    Attributes:
        holding: h, cost a unit a period, >= 0.
        processing: T, whole periods from having all inputs to being able to serve, >= 0.
        deviation: standard deviation of outside demand a period, units, >= 0; demand passed on by customers is added.
        inbound: SI is at least this, whole periods: what outside suppliers promise.
        promise: S is at most this, whole periods; None: 0 where nobody else is supplied, otherwise no limit.
    """

    holding: float
    processing: int
    deviation: float = 0.0
    inbound: int = 0
    promise: int | None = None


@dataclass(frozen=True)
class Placement:
    """Where safety stock goes.

    Attributes:
        outbound, inbound: S and SI of each stage, periods.
        cover: net replenishment time of each, periods; 0: it keeps no safety stock.
        stock: safety stock of each, units.
        cost: of holding it, a period.
    """

    outbound: dict[str, int]
    inbound: dict[str, int]
    cover: dict[str, int]
    stock: dict[str, float]
    cost: float


@dataclass(frozen=True)
class SupplyTree:
    """A supply chain without a cycle, even one against the arrows.

    Attributes:
        stages: by name.
        links: (supplier, customer) pairs.
        z: safety factor: a stage covers all demand within z standard deviations, e.g. 1.645 for 95 %.
    Raises: BadEvent: an unknown name, a cycle, several trees, or a number out of range.
    """

    stages: Mapping[str, Stage]
    links: Sequence[tuple[str, str]]
    z: float = 1.645

    def __post_init__(self) -> None:
        not_negative(z=self.z)
        for name, stage in self.stages.items():
            whole = (stage.processing, stage.inbound, 0 if stage.promise is None else stage.promise)
            not_negative(**{f"stages/{name}": min(stage.holding, stage.deviation, *whole)})
        if len(self.stages) > MOST_STAGES:
            raise refuse("stages", f"there are more than {MOST_STAGES}")
        if not self.stages or len(self.links) != len(self.stages) - 1:
            raise refuse("links", f"a tree of {len(self.stages)} stages has {len(self.stages) - 1} links")
        if unknown := {name for link in self.links for name in link} - self.stages.keys():
            raise refuse("links", f"no stage is called {min(unknown)!r}")
        if len(_order(self)) != len(self.stages):
            raise refuse("links", "they make a cycle, or leave a stage out")
        if len(self.stages) * (max(self.longest().values()) + 1) ** 2 > MOST_ENTRIES:
            raise refuse("stages", "processing times add up to too many periods: count in longer ones")

    def suppliers(self, name: str) -> list[str]:
        """Who supplies a stage."""
        return [supplier for supplier, customer in self.links if customer == name]

    def customers(self, name: str) -> list[str]:
        """Whom a stage supplies."""
        return [customer for supplier, customer in self.links if supplier == name]

    def downstream(self) -> list[str]:
        """Every stage, suppliers before customers."""
        return list(TopologicalSorter({name: self.suppliers(name) for name in self.stages}).static_order())

    def longest(self) -> dict[str, int]:
        """The longest replenishment time of each stage with no stock anywhere above it, periods."""
        found: dict[str, int] = {}
        for name in self.downstream():
            stage = self.stages[name]
            found[name] = stage.processing + max([stage.inbound, *(found[s] for s in self.suppliers(name))])
        return found

    def limits(self) -> dict[str, int]:
        """The longest promise each stage may make, periods."""
        found = self.longest()
        for name, stage in self.stages.items():
            if stage.promise is not None:
                found[name] = min(stage.promise, found[name])
            elif not self.customers(name):
                found[name] = 0
        return found

    def deviations(self) -> dict[str, float]:
        """Standard deviation of the demand each stage sees a period: customers' demands are independent."""
        found: dict[str, float] = {}
        for name in reversed(self.downstream()):
            found[name] = math.hypot(self.stages[name].deviation, *(found[c] for c in self.customers(name)))
        return found


def cost_of(tree: SupplyTree, outbound: Mapping[str, int]) -> Placement:
    """What given promises cost; each stage's SI is the slowest of its suppliers' promises.

    Args: outbound: S of every stage, periods.
    Raises: BadEvent: a promise is above its limit, or longer than SI + T.
    """
    deviations, limits = tree.deviations(), tree.limits()
    inbound, cover, stock, cost = {}, {}, {}, 0.0
    for name, stage in tree.stages.items():
        inbound[name] = max([stage.inbound, *(outbound[s] for s in tree.suppliers(name))])
        cover[name] = inbound[name] + stage.processing - outbound[name]
        if not 0 <= outbound[name] <= limits[name] or cover[name] < 0:
            raise refuse(f"outbound/{name}", f"{outbound[name]} periods is not a promise this stage can make")
        stock[name] = tree.z * deviations[name] * math.sqrt(cover[name])
        cost += stage.holding * stock[name]
    return Placement(dict(outbound), inbound, cover, stock, cost)


def place(tree: SupplyTree) -> Placement:
    """The cheapest promises, by dynamic programming over the tree (Graves & Willems).

    Stages are taken so that each, but the last, has exactly one neighbour after it. With a customer after it, its table is the
    least cost of everything before it, itself included, for each promise S; with a supplier after it, for each SI.
    """
    order, longest, limits, deviations = _order(tree), tree.longest(), tree.limits(), tree.deviations()
    size = max(longest.values()) + 1
    both: dict[str, Floats] = {}
    for i, name in enumerate(order):
        most_inbound = longest[name] - tree.stages[name].processing
        both[name] = _own_cost(tree.stages[name], tree.z * deviations[name], most_inbound, limits[name], size)
        for supplier in set(tree.suppliers(name)) & set(order[:i]):  # it may promise anything up to SI
            both[name] += np.minimum.accumulate(both[supplier].min(axis=0))[:, None]
        for customer in set(tree.customers(name)) & set(order[:i]):  # it may wait longer than S, for another supplier
            both[name] += np.minimum.accumulate(both[customer].min(axis=1)[::-1])[::-1][None, :]
    return cost_of(tree, _settled(tree, _choices(tree, order, both)))


def _own_cost(stage: Stage, safety: float, most_inbound: int, most_outbound: int, size: int) -> Floats:
    """h z sigma sqrt(SI + T - S) for SI (rows) and S (columns), infinite where not allowed, shape (size, size)."""
    inbound, outbound = np.indices((size, size))
    cover = inbound + stage.processing - outbound
    allowed = (cover >= 0) & (inbound >= stage.inbound) & (inbound <= most_inbound) & (outbound <= most_outbound)
    return np.where(allowed, stage.holding * safety * np.sqrt(np.maximum(cover, 0)), np.inf)


def _settled(tree: SupplyTree, outbound: Mapping[str, int]) -> dict[str, int]:
    """No stage promises more than SI + T, where the tables left it free to: it costs no more, and serves sooner."""
    found: dict[str, int] = {}
    for name in tree.downstream():
        inbound = max([tree.stages[name].inbound, *(found[s] for s in tree.suppliers(name))])
        found[name] = min(outbound[name], inbound + tree.stages[name].processing)
    return found


def _choices(tree: SupplyTree, order: list[str], both: Mapping[str, Floats]) -> dict[str, int]:
    """S of every stage, from the last table back to the first."""
    rank = {name: i for i, name in enumerate(order)}
    inbound: dict[str, int] = {}
    outbound: dict[str, int] = {}
    for name in reversed(order):
        table = both[name].copy()
        for customer in tree.customers(name):
            if rank[customer] > rank[name]:
                table[:, inbound[customer] + 1 :] = np.inf
        for supplier in tree.suppliers(name):
            if rank[supplier] > rank[name]:
                table[: outbound[supplier]] = np.inf
        at = int(np.argmin(table))
        inbound[name], outbound[name] = divmod(at, table.shape[1])
    return outbound


def _order(tree: SupplyTree) -> list[str]:
    """Leaves first: each stage has at most one neighbour after it. Shorter than `stages` where there is a cycle."""
    near: dict[str, set[str]] = {name: set() for name in tree.stages}
    for supplier, customer in tree.links:
        near[supplier].add(customer)
        near[customer].add(supplier)
    order: list[str] = []
    leaves = [name for name in tree.stages if len(near[name]) <= 1]
    while leaves:
        name = leaves.pop()
        order.append(name)
        for other in near.pop(name):
            near[other].discard(name)
            if len(near[other]) == 1 or (not near[other] and other not in leaves):
                leaves.append(other)
    return list(dict.fromkeys(order))
