"""Plays plans against the same orders, hour by hour, and keeps the books of every one.

In: a `World`, the moves of each plan, a seed and a number of replications, or demand paths. Out: an `Outcome` a plan:
money and units by replication. Every plan meets the same demand, the same hours, the same speeds and lead times.

A period: orders for stock are placed and what is due arrives (storage, inbound and supply hold; what finds no room waits at
the gate for the next period); customers' orders are served stretch by stretch by `fulfilment.serve`; what is left pays holding
cost. At the end stock and goods on the way are worth their salvage value. Units are whole and none appears or vanishes:

    opening + bought = sold + left + on the way.

Run: inventorybot plan simulate DIR; pytest tests/unit/planning/test_simulate.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from inventorybot.errors import SetupError
from ml.planning.fulfilment import Remaining, Served, kept, serve, still_to_come
from ml.planning.simulate_world import (
    SUPPLIER,
    Ints,
    Stretch,
    World,
    check_paths,
    draw_demand,
    draw_leads,
    draw_orders,
    stretches,
)

ELEMENTS = 3_000_000
"""Size of the largest tensors of a step, rows x cells x sites at most: 24 MB, so that a step stays near the cache."""


@dataclass(frozen=True)
class Moves:
    """What a plan does.

    Args:
        name: shown in tables.
        flow: (L, I, T) whole units sent over each lane in each period.
        target: (I, J, T) stock on hand and on the way that the plan means to have after the period's arrivals and orders;
            then orders follow what really is there (order up to). None: `flow` is sent as it stands.
        worth: (I, J, T) worth of a unit left at the end of the period; None: `worth_left`.
    """

    name: str
    flow: Tensor
    target: Tensor | None = None
    worth: Tensor | None = None


@dataclass
class Outcome:
    """The books of a plan: each entry is (N,), or (N, S) by speed; money or units over all SKUs and periods."""

    name: str
    entries: dict[str, Tensor] = field(default_factory=dict)

    def add(self, entry: str, amount: Tensor) -> None:
        self.entries[entry] = self.entries[entry] + amount if entry in self.entries else amount

    def __getitem__(self, entry: str) -> Tensor:
        return self.entries[entry]

    @property
    def profit(self) -> Tensor:
        """(N,) money: all that came in less all that was paid."""
        e = self.entries
        come_in = e["revenue"] + e["promises"] + e["salvage"]
        paid = e["purchases"] + e["order_costs"] + e["lane_cost"]
        return come_in - paid - e["delivery_cost"] - e["holding"] - e["shortage"]


def worth_left(world: World) -> Tensor:
    """Worth of a unit left at the end of a period, (I, J, T) money: what replacing it costs; at the end its salvage value."""
    inlet = world.inlet()
    replace = world.unit_cost[:, None] + inlet[None, :]  # (I, J)
    worth = torch.where(torch.isfinite(replace), replace.maximum(world.salvage[:, None]), world.salvage[:, None])
    worth = worth[:, :, None].repeat(1, 1, world.periods)
    worth[:, :, -1] = world.salvage[:, None]
    return worth - world.holding[:, None, None]


def simulate(
    world: World,
    plans: Sequence[Moves],
    *,
    replications: int,
    seed: int,
    days: int = 1,
    paths: Ints | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Outcome]:
    """Play every plan in every replication.

    Args: replications: >= 1, ignored where `paths`, (N, I, R, T) whole units of real demand, are given; days: in a period;
        progress: told how many replications are done. Returns: the books, in the order of the plans.
    """
    for plan in plans:
        if plan.flow.shape != (len(world.lanes), len(world.skus), world.periods):
            raise SetupError(f"plan {plan.name!r} has flows of shape {tuple(plan.flow.shape)}: not this instance's")
    count = replications if paths is None else len(check_paths(paths, world))
    parts = stretches(world, days)
    size = max(1, ELEMENTS // (len(world.skus) * len(world.regions) * len(world.speeds) * len(world.sites)))
    books: list[list[Outcome]] = []
    for first in range(0, count, size):
        runs = range(first, min(first + size, count))
        demand = np.stack([draw_demand(world, seed, n) if paths is None else paths[n] for n in runs])
        leads = torch.from_numpy(np.stack([draw_leads(world, seed, n) for n in runs]))
        states = [_State(world, plan, len(runs)) for plan in plans]
        for period in range(world.periods):
            for state in states:
                state.replenish(period, leads[:, :, period])
            _sell(world, states, demand[:, :, :, period], parts, seed, runs, period)
            for state in states:
                state.close(period)
        books.append([state.books for state in states])
        progress(runs.stop)
    return [_joined([b[k] for b in books]) for k in range(len(plans))]


def _joined(parts: list[Outcome]) -> Outcome:
    return Outcome(parts[0].name, {e: torch.cat([p[e] for p in parts]) for e in parts[0].entries})


def _sell(
    world: World, states: list[_State], demand: Ints, parts: list[Stretch], seed: int, runs: range, period: int
) -> None:
    """One period of customers' orders: every plan is shown each stretch of them. demand (N, I, R), units."""
    streams = [draw_orders(world, demand[k], parts, seed, n, period) for k, n in enumerate(runs)]
    seen = torch.zeros(len(runs), len(world.skus), len(world.regions), dtype=torch.float64)
    elapsed = 0.0
    for part in parts:
        orders = torch.stack([next(stream) for stream in streams])  # (N, I, C)
        seen += orders.reshape(*seen.shape, -1).sum(3)
        elapsed = min(1.0, elapsed + part.share)
        for state in states:
            state.sell(period, part, orders, seen, elapsed)


class _State:
    """Stock of one plan while it is played: on hand (N, I, J), on the way (N, I, J, T)."""

    def __init__(self, world: World, plan: Moves, runs: int) -> None:
        self.world, self.plan, self.books = world, plan, Outcome(plan.name)
        longest = max((len(lane.lead) for lane in world.lanes), default=1)
        self.on_hand = world.opening.expand(runs, -1, -1).clone()
        self.on_way = torch.zeros(*self.on_hand.shape, world.periods + longest, dtype=torch.float64)
        self.worth = worth_left(world) if plan.worth is None else plan.worth
        self.home = world.homes()
        self.at_home = torch.nn.functional.one_hot(self.home, len(world.sites)).double()  # (R, J)
        gain = world.expected_gain().gather(1, self.home[:, None]).squeeze(1)  # (R,)
        weight = world.mean.sum((0, 2))[:, None] * self.at_home  # (R, J)
        self.earns = world.base[:, None] + (weight * gain[:, None]).sum(0) / weight.sum(0).clamp(min=1e-9)  # (I, J)
        self.ordered = torch.zeros(runs, len(world.skus), dtype=torch.bool)
        self.books.add("opening", self.on_hand.sum((1, 2)))

    def replenish(self, period: int, leads: Tensor) -> None:
        """Order and ship for the period, vendors' side first; then take in what is due. leads (N, L), periods."""
        world = self.world
        wishes = self._wishes(period)
        self.ordered = torch.zeros(self.on_hand.shape[:2], dtype=torch.bool)
        for layer in sorted({int(x) for x in world.layer}):
            into = [k for k, lane in enumerate(world.lanes) if int(world.layer[lane.end]) == layer]
            self._ship(period, into, wishes, leads)
            self._receive(period, [j for j in range(len(world.sites)) if int(world.layer[j]) == layer])
        self.books.add("order_costs", self.ordered.double() @ world.order_cost)
        self.books.add("room", (self.on_hand * world.volume[:, None]).sum((1, 2)) / world.periods)

    def _wishes(self, period: int) -> list[Tensor]:
        """Units wanted over each lane, (N, I): the planned flow, or what is missing to the target, customers' side first."""
        world, plan = self.world, self.plan
        wishes = [plan.flow[k, :, period].expand(len(self.on_hand), -1) for k in range(len(world.lanes))]
        if plan.target is None:
            return wishes
        position = self.on_hand + self.on_way[:, :, :, period:].sum(3)
        for site in sorted(range(len(world.sites)), key=lambda j: -int(world.layer[j])):
            into = [k for k, lane in enumerate(world.lanes) if lane.end == site]
            planned = sum((plan.flow[k, :, period] for k in into), torch.zeros(len(world.skus), dtype=torch.float64))
            missing = (plan.target[None, :, site, period] - position[:, :, site]).clamp(min=0.0)
            for k in into:
                wishes[k] = (missing * plan.flow[k, :, period] / planned.clamp(min=1e-9)).round()
                if world.lanes[k].start != SUPPLIER:
                    position[:, :, world.lanes[k].start] -= wishes[k]
        return wishes

    def _ship(self, period: int, into: list[int], wishes: list[Tensor], leads: Tensor) -> None:
        """Send what is wanted over the lanes into one layer, as far as supply, stock and inbound go."""
        world = self.world
        sent = {k: wishes[k] for k in into}
        for start in {world.lanes[k].start for k in into}:
            here = [k for k in into if world.lanes[k].start == start]
            there = (
                world.supply[:, period].expand(len(self.on_hand), -1)
                if start == SUPPLIER
                else self.on_hand[:, :, start]
            )
            _scale(sent, here, sum((sent[k] for k in here), torch.zeros_like(there)), there)
        for end in {world.lanes[k].end for k in into}:
            here = [k for k in into if world.lanes[k].end == end]
            self._keep_to_room(period, end, here, sent, wishes)
            total = sum(
                (sent[k].sum(1, keepdim=True) for k in here), torch.zeros(len(self.on_hand), 1, dtype=torch.float64)
            )
            _scale(sent, here, total, world.inbound[end, period].expand_as(total))
        rows = torch.arange(len(self.on_hand))
        from_vendor = [sent[k] for k in into if world.lanes[k].start == SUPPLIER]
        if from_vendor:
            self.ordered |= torch.stack(from_vendor).sum(0) > 0
        for k in into:
            lane, units = world.lanes[k], sent[k]
            self.on_way[rows, :, lane.end, period + leads[:, k]] += units
            self.books.add("lane_cost", units.sum(1) * lane.cost)
            if lane.start == SUPPLIER:
                self.books.add("purchases", units @ world.unit_cost)
                self.books.add("bought", units.sum(1))
            else:
                self.on_hand[:, :, lane.start] -= units
                self.books.add("transfers", units.sum(1))

    def _keep_to_room(
        self, period: int, site: int, into: list[int], sent: dict[int, Tensor], wishes: list[Tensor]
    ) -> None:
        """Cut the flows into a site to the room expected when they arrive, if later periods can make up for it.

        Room: storage less stock then: on hand and due, less the site's demand and dispatches until then.
        """
        world = self.world
        if world.periods == 1 or not into:
            return
        wait = round(float(np.dot(world.lanes[into[0]].lead, np.arange(len(world.lanes[into[0]].lead)))))
        then = min(period + wait, world.periods - 1)
        out = world.mean[:, :, period:then].sum(2) @ self.at_home[:, site]  # (I,)
        gone = sum(
            (w for w, lane in zip(wishes, world.lanes, strict=True) if lane.start == site),
            torch.zeros_like(sent[into[0]]),
        )
        stock = self.on_hand[:, :, site] + self.on_way[:, :, site, period : then + 1].sum(2) - out - gone  # (N, I)
        room = world.storage[site, then] - stock.clamp(min=0.0) @ world.volume  # (N,)
        total = sum((sent[k] @ world.volume for k in into), torch.zeros_like(room))
        _scale(sent, into, total[:, None], room.clamp(min=0.0)[:, None])

    def _receive(self, period: int, sites: list[int]) -> None:
        """Take in what is due at these sites; what finds no room, or is more than can be received, waits at the gate."""
        due = self.on_way[:, :, sites, period]  # (N, I, J)
        volume = self.world.volume[:, None]
        room = self.world.storage[sites, period] - (self.on_hand[:, :, sites] * volume).sum(1)  # (N, J)
        space, units = (due * volume).sum(1), due.sum(1)
        dock = self.world.inbound[sites, period].expand_as(units)
        part = torch.minimum(room.clamp(min=0.0) / space.clamp(min=1e-12), dock / units.clamp(min=1e-12)).clamp(max=1.0)
        fits = (space <= room.clamp(min=0.0) * (1 + 1e-9) + 1e-9) & (units <= dock + 1e-6)
        taken = torch.where(fits[:, None, :], due, (due * part[:, None, :] + 1e-9).floor())
        self.on_hand[:, :, sites] += taken
        self.on_way[:, :, sites, period] = 0.0
        wait = due - taken
        self.on_way[:, :, sites, period + 1] += wait
        self.books.add("waited", wait.sum((1, 2)))
        self.books.add("holding", wait.sum(2) @ self.world.holding)

    def sell(self, period: int, part: Stretch, orders: Tensor, seen: Tensor, elapsed: float) -> None:
        """Serve one stretch: orders (N, I, C); seen (N, I, R) orders so far; elapsed share of the period's orders."""
        world = self.world
        runs, skus, sites = self.on_hand.shape
        mean = world.mean[:, :, period] @ self.at_home  # (I, J)
        variance = world.variance[:, :, period] @ self.at_home
        rest_mean, rest_variance = still_to_come(mean, variance, elapsed, seen @ self.at_home)
        wide = (runs, skus, sites)
        rest = Remaining(
            *(
                x.expand(wide).reshape(-1, sites)
                for x in (rest_mean, rest_variance, self.earns, self.worth[:, :, period])
            )
        )
        cells = self.home.repeat_interleave(len(world.speeds))  # (C,)
        base = world.base.expand(runs, -1).reshape(-1)
        stock = self.on_hand.reshape(-1, sites)
        self._book_sales(serve(stock, orders.flatten(0, 1), base, world.gain_at(part.hour), cells, rest), orders, part)

    def _book_sales(self, served: Served, orders: Tensor, part: Stretch) -> None:
        """Take the units off the shelves and book them. orders (N, I, C)."""
        world, books = self.world, self.books
        runs, skus, speeds = len(orders), len(world.skus), len(world.speeds)
        run, sku = served.row // skus, served.row % skus
        region, speed = served.cell // speeds, served.cell % speeds
        self.on_hand.index_put_((run, sku, served.site), -served.units, accumulate=True)

        def by_run(amount: Tensor) -> Tensor:
            return torch.zeros(runs, dtype=torch.float64).index_add_(0, run, amount)

        def by_speed(units: Tensor) -> Tensor:
            return (
                torch.zeros(runs * speeds, dtype=torch.float64)
                .index_add_(0, run * speeds + speed, units)
                .reshape(runs, -1)
            )

        in_time = kept(world.hours, world.promise, world.cutoff, part.hour)[served.site, region, speed]  # (E,)
        on_time = by_speed(served.units * in_time)
        asked = orders.sum(2)  # (N, I)
        sold = torch.zeros(runs, skus, dtype=torch.float64).index_put_((run, sku), served.units, accumulate=True)
        books.add("revenue", sold @ world.price)
        books.add("promises", on_time @ world.value)
        books.add("delivery_cost", by_run(served.units * world.cost[served.site, region]))
        books.add("shortage", (asked - sold) @ world.shortage)
        books.add("lost", (asked - sold).sum(1))
        books.add("demand", orders.sum(1).reshape(runs, -1, speeds).sum(1))  # (N, S)
        books.add("sold", by_speed(served.units))
        books.add("in_time", on_time)
        books.add("from_home", by_run(served.units * (served.site == self.home[region])))

    def close(self, period: int) -> None:
        """End the period: holding cost; at the last, what is left and on the way is worth its salvage value."""
        world = self.world
        left = self.on_hand.sum(2)  # (N, I)
        self.books.add("holding", left @ world.holding)
        self.books.add("stock", left.sum(1) / world.periods)
        if period == world.periods - 1:
            way = self.on_way.sum((2, 3))
            self.books.add("left", left.sum(1))
            self.books.add("on_way", way.sum(1))
            self.books.add("salvage", (left + way) @ world.salvage)


def _scale(sent: dict[int, Tensor], lanes: list[int], total: Tensor, limit: Tensor) -> None:
    """Cut the flows of some lanes in proportion so that their total keeps to the limit; whole units."""
    part = torch.where(total > limit, limit / total.clamp(min=1e-12), 1.0)
    for k in lanes:
        sent[k] = torch.where(part < 1.0, (sent[k] * part + 1e-9).floor(), sent[k])
