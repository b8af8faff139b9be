"""From a planner's task to its answer: read the problem, change it, solve it, draw it.

In: a `planner.Task`. Out: a `planner.Answer`, and the whole tables of the plan in the task's folder. Runs in the solver's
process (`process.Solver`): torch and matplotlib are imported here, and nowhere above.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inventorybot import telemetry
from inventorybot.domain.network_plan import Flow, PlanFigures, SitePrice
from inventorybot.errors import SetupError
from ml.planning import pictures
from ml.planning.data import Instance, read_instance
from ml.planning.network import changed
from ml.planning.planner import Answer, Task
from ml.planning.result import Result, write_result
from ml.planning.run import plan
from ml.planning.tables import SUPPLIER

LEAST_UNITS = 1e-6
"""Less is no flow."""

log = telemetry.log(__name__)


def solve_task(task: Task, device: str) -> Answer:
    """Raises: SetupError: the problem can never be solved, and why."""
    instance = changed(read_instance(task.instance), task.changes)
    result = _planned(instance, task.warm, device)
    write_result(result, instance, task.tables)
    prices, flows, said = prices_of(instance, result), flows_of(instance, result), result.summary
    figures = PlanFigures(
        task.made_at, task.horizon.start, task.horizon.period_ms, instance.periods, instance.skus, instance.sites,
        said["value"], said["bound"], said["gap"], said["expected_profit"], max(said["violations"].values()),
        sum(said["seconds"].values()),
    )  # fmt: skip
    drawn = {"prices": pictures.prices(prices, task.horizon), "flows": pictures.flows(flows)}
    return Answer(figures, prices, flows, drawn)


def _planned(instance: Instance, warm: Path | None, device: str) -> Result:
    """From the earlier plan where it is of this kind; else from nothing: it only saves time."""
    if warm is not None:
        try:
            return plan(instance, device=device, warm=warm)
        except SetupError as error:
            log.info("a plan starts from nothing", reason=str(error))
    return plan(instance, device=device)


def prices_of(instance: Instance, result: Result) -> list[SitePrice]:
    """Prices of every site and period."""
    return [
        SitePrice(site, t, float(result.storage_price[j, t]), float(result.flow_price[j, t]))
        for j, site in enumerate(instance.site.tolist())
        for t in range(instance.periods)
    ]


def flows_of(instance: Instance, result: Result) -> list[Flow]:
    """What goes over every lane in every period, all SKUs together."""
    units = result.flow.sum(axis=0, dtype=np.float64)
    m3 = np.einsum("net,n->et", result.flow, instance.volume_m3)
    names = [*instance.site.tolist(), SUPPLIER]  # lane_from is -1 where the supplier sends
    lanes = enumerate(zip(instance.lane_from.tolist(), instance.lane_to.tolist(), strict=True))
    return [
        Flow(names[a], names[b], t, float(units[e, t]), float(m3[e, t]))
        for e, (a, b) in lanes
        for t in range(instance.periods)
        if units[e, t] > LEAST_UNITS
    ]
