"""Jobs around network plans: one now and here; a made-up network with forecasts, to see one.

In: the settings of a platform that runs. Out: a plan in the `PlanStore`, or what it takes to make one.
Run: `inventorybot jobs run plan`, `inventorybot jobs run demo-plan`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import fsspec
import typer
from rich.console import Console

from inventorybot import telemetry, wiring
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.adapters.cassandra.plans import CassandraPlans
from inventorybot.clock import now_ms
from inventorybot.domain.days import DAY_MS, WEEK_MS
from inventorybot.domain.demand import LEVELS
from inventorybot.domain.forecast import Forecast
from inventorybot.domain.network_plan import PlanRequest, PlanState, PlanSummary
from inventorybot.errors import SetupError, TryLater
from inventorybot.settings import Settings, load
from inventorybot.wire.codec import rfc3339
from inventorybot.wire.plans import request_message
from ml.planning.data import Instance, write_instance
from ml.planning.generate import Sizes, generate
from ml.planning.network import DESCRIPTION
from ml.planning.process import Solver, assemble

SOURCE = "inventorybot/jobs"
FIRST_MONDAY_MS = 4 * DAY_MS
"""1970-01-05."""
WAIT_S, POLL_S = 180.0, 0.25
"""For the planner to make the demo's plan: 10 s on an idle machine, a minute on a busy one; between looks, which are one row each."""


def plan(
    name: Annotated[str, typer.Option(help="Id of the plan; empty: one after the moment.")] = "",
    why: Annotated[str, typer.Option(help="Why it is made.")] = "run by hand",
) -> None:
    """Plan the network as it stands, now and in this process; the planner need not run."""
    telemetry.configure_logging("warning", process="jobs")
    now = now_ms()
    request = PlanRequest(name or f"job-{now}", now, "jobs run plan", why)
    made = asyncio.run(_make(load(), request))
    _tell(made)
    if made.state is PlanState.FAILED:
        raise typer.Exit(1)


def demo_plan(
    skus: Annotated[int, typer.Option(min=1, help="SKUs of the network.")] = 120,
    sites: Annotated[int, typer.Option(min=2, help="Its sites, the hubs included.")] = 5,
    periods: Annotated[int, typer.Option(min=1, help="Weeks that are planned.")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed makes the same network.")] = 7,
) -> None:
    """Put a made-up network and its forecasts in place, where there is none yet, and have the planner plan it."""
    settings, now = load(), now_ms()
    with Console().status("A made-up network is being planned"):
        made = asyncio.run(_demo(settings, generate(Sizes(skus, sites, periods, layers=2), seed), now))
    _tell(made)
    if made.state is PlanState.FAILED:
        raise typer.Exit(1)
    api = f"http://{settings.api_host}:{settings.api_port}/v1/plans/{made.id}"
    typer.echo(f"  what a cubic metre is worth at each site: {api}/prices.svg, what goes where: {api}/flows.svg")


async def _make(settings: Settings, request: PlanRequest) -> PlanSummary:
    database, solver = wiring.database(settings), Solver(settings.device)
    try:
        async with wiring.publisher(settings) as publisher:
            return await assemble(settings, database, publisher, solver).handle(request)
    finally:
        solver.end()
        database.close()


async def _demo(settings: Settings, instance: Instance, now: int) -> PlanSummary:
    describe(instance, settings.plan_network)
    monday = now - (now - FIRST_MONDAY_MS) % WEEK_MS
    database = wiring.database(settings)
    try:
        await CassandraForecasts(database).write(forecasts_of(instance, monday, now))
        request = PlanRequest(f"demo-{now // 1000:x}", now, "the demo", "a made-up network")
        async with wiring.publisher(settings) as publisher:
            await publisher.publish([request_message(request, SOURCE)])
        plans, deadline = CassandraPlans(database, now_ms), time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            found = await plans.get(request.id)
            if found is not None and found.state in (PlanState.READY, PlanState.FAILED):
                return found
            await asyncio.sleep(POLL_S)
    finally:
        database.close()
    raise TryLater("planner", f"no plan within {WAIT_S:.0f} s; its log may say why")


def describe(instance: Instance, url: str) -> None:
    """Write the description of a network (the problem without demand and stock) to a folder that has none.

    Raises: SetupError: no folder is set. TryLater: it cannot be written.
    """
    if not url:
        raise SetupError("set INVENTORYBOT_PLAN_NETWORK to the folder that the network is to be described in")
    try:
        files, path = fsspec.url_to_fs(url)
        if files.exists(f"{path}/skus.parquet"):
            return
        files.makedirs(path, exist_ok=True)
        with TemporaryDirectory() as folder:
            write_instance(instance, folder)
            for table in DESCRIPTION:
                files.put_file(str(Path(folder) / f"{table}.parquet"), f"{path}/{table}.parquet")
    except OSError as error:
        raise TryLater("the store of the network", f"{url}: {error}") from error


def forecasts_of(instance: Instance, start: int, made_at: int) -> Sequence[Forecast]:
    """The instance's demand as forecasts of its regions, a week a period. Args: start: of the first, ms."""
    at = [int(abs(instance.levels - level).argmin()) for level in LEVELS]
    sites, skus = instance.region.tolist(), instance.sku.tolist()
    return [
        Forecast(
            sites[r], skus[i], start + t * WEEK_MS, float(instance.demand_mean[i, r, t]),
            tuple(instance.demand_quantiles[i, r, t, at].tolist()), "made-up", made_at,
        )
        for i, r, t in zip(*instance.demand_mean.nonzero(), strict=True)
    ]  # fmt: skip


def _tell(made: PlanSummary) -> None:
    if made.figures is None:
        typer.echo(f"Plan {made.id} failed: {made.reason}", err=True)
        return
    x = made.figures
    typer.echo(
        f"Plan {made.id}: {x.skus:,} SKUs, {x.sites} sites, {x.periods} periods from {rfc3339(x.start)[:10]}, expected to "
        f"earn {x.profit:,.0f}, proven within {max(x.gap, 0):.3%} of the best possible, in {x.seconds:.1f} s."
    )
