"""From a problem to its plan: chooses the model, solves, and gathers the answer.

In: an `Instance`. Out: a `Result`. One period that is supplied from the vendors directly is solved by `solve`, for which a
million SKUs are seconds; several periods or layers by `multiperiod_solve`. Run: `inventorybot plan solve DIR --out OUT`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inventorybot.errors import SetupError
from ml.planning.data import Instance
from ml.planning.multiperiod import Network, build_network
from ml.planning.multiperiod_certify import arrivals_of
from ml.planning.multiperiod_solve import NetworkSolution, solve_network
from ml.planning.multiperiod_start import read_start, write_start
from ml.planning.problem import Problem, fill, pick_devices
from ml.planning.result import Result, read_prices
from ml.planning.segments import build, reach
from ml.planning.solve import Solution, solve
from ml.planning.tables import Array

GAPS = {True: 1e-4, False: 1e-3}
"""Default gap of one period, and of several."""
Say = Callable[[str, float], None]
"""Told what was reached, and the share of the work that is done, 0 to 1."""


def is_one_period(instance: Instance) -> bool:
    """Whether there is one period and every lane starts at a vendor."""
    return instance.periods == 1 and bool((instance.lane_from < 0).all())


def plan(
    instance: Instance,
    *,
    gap: float | None = None,
    device: str = "auto",
    warm: Path | None = None,
    spill: int = 0,
    whole: bool = False,
    threads: int = 0,
    say: Say = lambda text, share: None,
) -> Result:
    """Plan buying and placement.

    Args:
        gap: wanted; default 0.01 % for one period, 0.1 % for several.
        device: auto, or devices with commas between them, as in `problem.pick_devices`. SKUs of one period are spread over
            them; several periods use the first.
        warm: folder of an earlier plan to start from, of the same kind: one period, or several.
        spill: rounds that account for orders passed on to the next-best site; only in one period.
        whole: round to packs, smallest orders and orders worth their fixed cost; only in one period.
        threads: on a CPU; 0: one a core.
        say: told what goes on.
    Raises: SetupError: an option that this model does not have, or a device that is not there.
    """
    single = is_one_period(instance)
    where, wanted = pick_devices(device), GAPS[single] if gap is None else gap
    if not single and (spill or whole):
        raise SetupError("spill and whole packs need one period supplied by the vendors directly")
    began = time.perf_counter()
    if not single:
        network = build_network(instance).to(where[0])
        start = None if warm is None else read_start(warm, instance, network)
        built = time.perf_counter() - began
        return of_network(instance, network, solve_network(network, wanted, threads, say, start), wanted, built)
    prices = None if warm is None else read_prices(warm, instance, reach(instance).sites)
    if spill:
        from ml.planning.spill import solve_with_spill

        spilled = solve_with_spill(instance, rounds=spill, gap=wanted)
        problem, found = spilled.problem, spilled.solution
        built = time.perf_counter() - began - found.seconds
    else:
        problem = build(instance)
        built = time.perf_counter() - began
        say(f"{problem.value_MKN.numel():,} slices of demand made in {built:.1f} s", 0.0)
        found = solve(problem, wanted, prices, threads, lambda text: say(text, 0.5), where)
    result = of_problem(instance, problem, found, wanted, built)
    return in_packs(instance, problem, found, result) if whole else result


def in_packs(instance: Instance, problem: Problem, found: Solution, fractions: Result) -> Result:
    """The answer rounded to what can be ordered; the summary tells the loss against the bound."""
    from ml.planning.rounding import round_plan

    orders = {"pack_N": instance.pack_size, "min_order_N": instance.min_order, "order_cost_N": instance.order_cost}
    rounded = round_plan(problem, found.units_MN, found.prices, found.bound, **orders)
    filled = replace(found, y=(fill(problem, rounded.units_MN.float()),), worth=rounded.worth)
    made = of_problem(instance, problem, filled, fractions.summary["wanted_gap"], 0.0, rounded.units_MN.float())
    summary = fractions.summary | {
        "violations": asdict(rounded.worth.violations),
        "rounding": {"value": rounded.worth.value, "order_costs": rounded.order_costs, "loss": rounded.loss},
        "expected_profit": rounded.worth.value - rounded.order_costs + problem.constant,
    }
    return replace(made, summary=summary)


def of_problem(
    instance: Instance,
    problem: Problem,
    found: Solution,
    wanted: float,
    built: float,
    units_MN: torch.Tensor | None = None,
) -> Result:
    """The answer of one period, its sites those of the instance.

    Args: built: seconds that making the slices took. units_MN: bought; default: what fills the solution's slices.
    """
    way = reach(instance)
    units = found.units_MN if units_MN is None else units_MN
    sales = found.sold_MN(problem.sold_K) + problem.held_sold_MN
    cover = units + problem.held_MN
    shape = (instance.skus, instance.sites, 1)

    def spread(values_MN: torch.Tensor) -> Array:
        out = np.zeros(shape, np.float32)
        out[:, way.sites, 0] = values_MN.T.cpu().numpy()
        return out

    def at_sites(values_M: torch.Tensor) -> Array:
        out = np.zeros((instance.sites, 1))
        out[way.sites, 0] = values_M.cpu().numpy()
        return out

    flow = np.zeros((instance.skus, len(instance.lane_to), 1), np.float32)
    for lane, site in enumerate(instance.lane_to):
        row = np.flatnonzero(way.sites == site)
        if len(row):
            flow[:, lane, 0] = units[int(row[0])].cpu().numpy()
    held_m3 = problem.held_MN.double() @ problem.volume_N
    return Result(
        units=spread(units),
        cover=spread(cover),
        sales=spread(sales),
        left=spread((cover - sales).clamp(min=0)),
        offered=spread(problem.offered_MN),
        flow=flow,
        storage_price=at_sites(found.prices.storage_M),
        flow_price=at_sites(found.prices.flow_M),
        storage_used=at_sites(found.worth.space_M + held_m3),
        inbound_used=at_sites(found.worth.units_M),
        supply_price=found.prices.supply_N.float().cpu().numpy()[:, None],
        summary=_summary(instance, "one period", found, found.worth, problem.constant, wanted, built)
        | {"iterations": found.evaluations, "sample_iterations": found.samples, "smoothing": found.theta},
    )


def of_network(instance: Instance, network: Network, found: NetworkSolution, wanted: float, built: float) -> Result:
    """The answer of several periods. `built`: seconds that making the program took."""
    p = found.plan
    rows = torch.from_numpy(network.serving)
    shape = (instance.skus, instance.sites, instance.periods)

    def spread(values: torch.Tensor) -> Array:
        out = np.zeros(shape, np.float32)
        out[:, network.serving] = values.cpu().numpy()
        return out

    left = p.u.clone()
    left[:, rows] += p.y @ (1 - network.sold_K)
    return Result(
        units=arrivals_of(network, p.f).float().cpu().numpy(),
        cover=spread(p.y.sum(3)),
        sales=spread(p.y @ network.sold_K),
        left=left.float().cpu().numpy(),
        offered=spread(network.offered),
        flow=p.f.float().cpu().numpy(),
        storage_price=found.prices.storage.cpu().numpy(),
        flow_price=found.prices.inbound.cpu().numpy(),
        storage_used=p.space.cpu().numpy(),
        inbound_used=p.arrivals.cpu().numpy(),
        supply_price=found.prices.supply.float().cpu().numpy(),
        summary=_summary(instance, "several periods", found, p, network.constant, wanted, built)
        | {"iterations": found.iterations},
        keep=lambda folder: write_start(found.start, instance, network, folder),
    )


def _summary(
    instance: Instance, model: str, found: Any, worth: Any, constant: float, wanted: float, built: float
) -> dict[str, Any]:
    return {
        "model": model,
        "status": "proved" if found.gap <= wanted else "gap not reached",
        "value": worth.value,
        "bound": found.bound,
        "gap": found.gap,
        "wanted_gap": wanted,
        "expected_profit": worth.value + constant,
        "violations": asdict(worth.violations),
        "seconds": {"build": round(built, 4), "solve": round(found.seconds, 4)},
        "skus": instance.skus,
        "sites": instance.sites,
        "periods": instance.periods,
        "layers": int(instance.layer.max()),
    }
