"""From a plan, or from a simple way to plan, to what the simulator does: moves in whole units.

In: an instance and a `Result`; or the instance alone. Out: `Moves`. A one-period plan is rounded to whole packs by
`rounding.round_plan`. A plan of several periods is followed by its positions: what each site should have on hand and on
the way once a period's orders are placed; an order makes up for what demand and lead times did in between.

Run: pytest tests/unit/planning/test_simulate.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from inventorybot.errors import SetupError
from ml.planning.baselines import demand_proportional, national_pooling, site_alone
from ml.planning.data import Instance
from ml.planning.problem import Problem
from ml.planning.result import Result, read_prices, read_summary
from ml.planning.rounding import Rounded, in_cycles, order_cycles, round_plan
from ml.planning.run import is_one_period, plan
from ml.planning.segments import build, reach
from ml.planning.simulate import Moves, worth_left
from ml.planning.simulate_world import SUPPLIER, World, world_of
from ml.planning.solve import Prices, solve
from ml.planning.tables import SUPPLIER as SUPPLIER_NAME

Floats = npt.NDArray[np.float64]

FINE = 40
"""Slices of the demand distribution, as many as the simple ways use."""
BASELINES: dict[str, Callable[[Instance, int], Floats]] = {
    "each site alone": site_alone,
    "demand-proportional": demand_proportional,
    "national pooling": national_pooling,
}


def moves_of_units(world: World, name: str, units: Floats) -> Moves:
    """Stock to have at each site in a single period, (I, J) whole units, by the cheapest way in; opening stock counts."""
    return _by_targets(world, name, units[:, :, None])


def baseline_moves(instance: Instance, world: World, name: str) -> Moves:
    """One of `BASELINES`. In several periods: order up to the newsvendor quantity of the period in which an order arrives,
    and the expected demand until then."""
    quantities = BASELINES[name]
    units = np.stack([quantities(instance, t) for t in range(instance.periods)], axis=2)  # I, J, T
    if instance.periods == 1:
        return _by_targets(world, name, units)
    home = torch.nn.functional.one_hot(world.homes(), len(world.sites)).double()
    demand = torch.einsum("irt,rj->ijt", world.mean, home).numpy()
    lead = np.round(_way_lead(world)).astype(int)
    target = np.zeros_like(units)
    last = instance.periods - 1
    for j, wait in enumerate(lead):
        for t in range(instance.periods):
            if t + wait <= last:  # what arrives after the end serves nobody
                target[:, j, t] = units[:, j, t + wait] + demand[:, j, t : t + wait].sum(1)
    return _by_targets(world, name, np.round(target))


def _by_targets(world: World, name: str, target: Floats) -> Moves:
    """Order up to targets (I, J, T) over the cheapest way in of each site."""
    flow = torch.zeros(len(world.lanes), len(world.skus), world.periods, dtype=torch.float64)
    for lane in cheapest_lane(world):
        if lane >= 0:
            flow[lane] = 1.0  # shares: one lane a site
    return Moves(name, flow, torch.from_numpy(np.ascontiguousarray(target, dtype=np.float64)))


def cheapest_lane(world: World) -> list[int]:
    """The lane by which the cheapest way from the vendors enters each site; -1: no way."""
    cost = world.inlet().numpy()
    best = []
    for site in range(len(world.sites)):
        ways = [
            ((0.0 if lane.start == SUPPLIER else cost[lane.start]) + lane.cost, k)
            for k, lane in enumerate(world.lanes)
            if lane.end == site
        ]
        best.append(min(ways)[1] if ways and np.isfinite(min(ways)[0]) else -1)
    return best


def _way_lead(world: World) -> Floats:
    """Expected lead time of the cheapest way to each site, (J,) periods."""
    lanes = cheapest_lane(world)
    lead = np.zeros(len(world.sites))
    for site in range(len(world.sites)):
        at = site
        while at != SUPPLIER and lanes[at] >= 0:
            lane = world.lanes[lanes[at]]
            lead[site] += sum(n * p for n, p in enumerate(lane.lead))
            at = lane.start
    return lead


def rounded(instance: Instance, problem: Problem, units_MN: torch.Tensor, prices: Prices, bound: float) -> Rounded:
    """`round_plan` with the instance's packs, smallest orders and fixed costs."""
    return round_plan(
        problem,
        units_MN,
        prices,
        bound,
        pack_N=instance.pack_size,
        min_order_N=instance.min_order,
        order_cost_N=instance.order_cost,
    )


def in_order_cycles(instance: Instance, result: Result) -> tuple[Floats, Floats]:
    """Flows (N, E, T) and stock left (N, J, T) of a plan, where SKUs with a fixed order cost are bought in cycles.

    Holding a unit costs its holding cost and the plan's price of the space; a cycle's goods must find room that the plan
    leaves free.
    """
    flow, left = result.flow.astype(np.float64), result.left.astype(np.float64)
    vendor = np.flatnonzero(instance.lane_from < 0)
    holding = instance.holding_cost + instance.volume_m3 * result.storage_price.mean()
    cycle = order_cycles(flow[:, vendor].sum((1, 2)) / instance.periods, instance.order_cost, holding)
    free = np.where(np.isfinite(instance.storage_m3), instance.storage_m3, 1e15) - result.storage_used
    for k in vendor.tolist():
        site, wait = (
            int(instance.lane_to[k]),
            int(np.round(instance.lane_lead[k] @ np.arange(instance.lane_lead.shape[1]))),
        )
        there = np.minimum(np.arange(instance.periods) + wait, instance.periods - 1)
        bought = in_cycles(flow[:, k], cycle, free[site, there], instance.volume_m3)
        early = (bought - flow[:, k]).cumsum(1)[:, : instance.periods - wait]  # N, T - wait
        left[:, site, wait:] += early
        free[site, wait:] -= instance.volume_m3 @ early
        flow[:, k] = bought
    return flow, left


def moves_of_flow(
    instance: Instance, world: World, flow: Floats, left: Floats, prices: Floats, supply_price: Floats, name: str
) -> Moves:
    """Follow a plan's flows.

    Args: flow (N, E, T) units sent; left (N, J, T) units expected at the end of each period; prices (2, J, T) of a m³ and of
        a unit in; supply_price (N, T), money a unit. A unit left is worth what the plan pays to replace it in the next
        period, its limits' prices included, less the space that it takes then.
    """
    _, lanes, periods = flow.shape
    target = np.concatenate([instance.stock[:, :, None].astype(np.float64), left[:, :, :-1]], axis=2)
    for k in range(lanes):
        lead = instance.lane_lead[k]
        if periods == 1:
            lead = np.ones(1)
        late = 1.0 - np.concatenate([[0.0], lead.cumsum()])  # at l: not there l - 1 periods after dispatch
        for s in range(periods):
            for t in range(s, min(periods, s + len(late))):
                target[:, instance.lane_to[k], t] += flow[:, k, s] * late[t - s]
        if instance.lane_from[k] >= 0:
            target[:, instance.lane_from[k]] -= flow[:, k]
    worth = worth_left(world).numpy().copy()
    for t in range(periods - 1):
        replaced = worth[:, :, t] + supply_price[:, None, t + 1] + prices[1, None, :, t + 1]
        worth[:, :, t] = np.maximum(replaced - instance.volume_m3[:, None] * prices[0, None, :, t + 1], worth[:, :, -1])
    whole = np.diff(np.round(flow.cumsum(2)), axis=2, prepend=0.0)
    ordered = torch.from_numpy(np.where(whole > 0, whole, np.where(flow > 1e-6, flow, 0.0)).transpose(1, 0, 2).copy())
    return Moves(name, ordered, torch.from_numpy(np.round(target).clip(min=0.0)), torch.from_numpy(worth))


def moves_of_result(
    instance: Instance, world: World, result: Result, name: str = "network plan", *, cycles: bool = False
) -> Moves:
    """Follow a plan; `cycles`: in several periods, buy SKUs with a fixed order cost in cycles."""
    prices = np.stack([result.storage_price, result.flow_price])
    if is_one_period(instance):
        way = reach(instance)
        storage, inbound = (torch.from_numpy(np.ascontiguousarray(p[way.sites, 0])) for p in prices)
        bought = Prices(storage, inbound, torch.from_numpy(result.supply_price[:, 0].astype(np.float64)))
        units = np.zeros((len(way.sites), instance.skus))
        for lane, site in enumerate(instance.lane_to.tolist()):
            row = np.flatnonzero(way.sites == site)
            units[row] += result.flow[:, lane, 0]
        found = rounded(instance, build(instance), torch.from_numpy(units), bought, float(result.summary["bound"]))
        return moves_of_rounded(instance, world, found, name)
    flow, left = result.flow.astype(np.float64), result.left.astype(np.float64)
    if cycles:
        flow, left = in_order_cycles(instance, result)
    return moves_of_flow(instance, world, flow, left, prices, result.supply_price, name)


def read_result(folder: Path, instance: Instance) -> Result:
    """The plan that `plan solve` wrote, as far as the simulator needs it: flows, stock left and prices.

    Raises: SetupError: the folder holds no plan, or one of another problem.
    """
    summary = read_summary(folder)
    read_prices(folder, instance, reach(instance).sites)
    sizes = (instance.skus, instance.sites, instance.periods)
    if tuple(int(summary[k]) for k in ("skus", "sites", "periods")) != sizes:
        raise SetupError(f"{folder} is a plan of another problem: it has other numbers of SKUs, sites or periods")
    planned, price, scarce, flows = (
        pq.read_table(folder / f"{t}.parquet") for t in ("plan", "prices", "supply_prices", "flows")
    )
    left = np.zeros(sizes, np.float32)
    left[_rows(planned, "sku", instance.sku), _rows(planned, "site", instance.site), planned["period"].to_numpy()] = (
        planned["left"]
    )
    at = _rows(price, "site", instance.site), price["period"].to_numpy()
    storage, inbound, used = (np.zeros(sizes[1:]) for _ in range(3))
    storage[at], inbound[at], used[at] = price["storage_price"], price["flow_price"], price["storage_used_m3"]
    supply = np.zeros((sizes[0], sizes[2]), np.float32)
    supply[_rows(scarce, "sku", instance.sku), scarce["period"].to_numpy()] = scarce["price"]
    ends = np.append(instance.site, SUPPLIER_NAME)
    start, end = _rows(flows, "from_site", ends), _rows(flows, "to_site", instance.site)
    number = {
        (a % len(ends), b): e
        for e, (a, b) in enumerate(zip(instance.lane_from.tolist(), instance.lane_to.tolist(), strict=True))
    }
    lane = np.array([number.get(key, -1) for key in zip(start.tolist(), end.tolist(), strict=True)], np.int64)
    if (lane < 0).any():
        raise SetupError(f"{folder} is a plan of another problem: it sends units where there is no lane")
    flow = np.zeros((sizes[0], len(instance.lane_to), sizes[2]), np.float32)
    flow[_rows(flows, "sku", instance.sku), lane, flows["period"].to_numpy()] = flows["units"]
    none = np.zeros(0, np.float32)
    return Result(
        units=none, cover=none, sales=none, left=left, offered=none, flow=flow, storage_price=storage,
        flow_price=inbound, storage_used=used, inbound_used=none, supply_price=supply, summary=summary,
    )  # fmt: skip


def _rows(table: pa.Table, column: str, names: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    found = pc.index_in(table[column].cast(pa.string()), pa.array(names.tolist(), pa.string()))
    if found.null_count:
        raise SetupError(f"the plan is of another problem: it names a {column} that is not in the tables")
    rows: npt.NDArray[np.int64] = found.to_numpy().astype(np.int64)
    return rows


def solved_moves(instance: Instance, world: World, name: str = "network plan", *, cycles: bool = False) -> Moves:
    """Plan now, and follow the plan. One period from the vendors directly is cut into `FINE` slices: beside simple ways that
    know the whole quantile function, ten steps of it cost a few tenths of a percent."""
    if not is_one_period(instance):
        return moves_of_result(instance, world, plan(instance, device="cpu"), name, cycles=cycles)
    problem = build(instance, slices=FINE)
    best = solve(problem)
    return moves_of_rounded(instance, world, rounded(instance, problem, best.units_MN, best.prices, best.bound), name)


def moves_of_rounded(instance: Instance, world: World, found: Rounded, name: str) -> Moves:
    """Follow a rounded plan of one period: (M, N) units bought, on top of the opening stock."""
    stock = instance.stock.astype(np.float64)
    stock[:, reach(instance).sites] += found.units_MN.T.numpy()
    return moves_of_units(world, name, stock)


def all_moves(instance: Instance, result: Result | None = None, *, cycles: bool = False) -> tuple[World, list[Moves]]:
    """The world, a plan's moves (None: of a plan made now), and those of the three simple ways."""
    world = world_of(instance)
    if result:
        ours = moves_of_result(instance, world, result, cycles=cycles)
    else:
        ours = solved_moves(instance, world, cycles=cycles)
    return world, [ours, *(baseline_moves(instance, world, name) for name in BASELINES)]
