"""From a request to a plan: read what it needs, solve, keep the result, tell everybody.

In: requests (inventory.plan-requests, a job). Out: the plan's state, prices, flows and pictures in the `PlanStore`, its
whole tables in the store of results (`instance`: the problem as it was found, of a plan without a base; `tables`), an event on inventory.plans. Every effect can be repeated: a plan that has ended is
only told of again. Run: `inventorybot planner`; tests: tests/unit/network_plan/test_planner.py.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import fsspec

from inventorybot import telemetry
from inventorybot.domain.network_plan import (
    Flow,
    Horizon,
    PlanChange,
    PlanFigures,
    PlanRequest,
    PlanState,
    PlanSummary,
    SitePrice,
)
from inventorybot.errors import BadEvent, Code, SetupError, TryLater
from inventorybot.ports import PlanStore, Publisher
from inventorybot.wire.plans import plan_message

SOURCE = "inventorybot/planner"
LONGEST_LINE = 50
"""Plans on plans on plans: what stands behind the last is no longer understood by anybody."""

log = telemetry.log(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a solver found. `figures` as in `PlanFigures`; pictures: SVG by name."""

    figures: PlanFigures
    prices: Sequence[SitePrice]
    flows: Sequence[Flow]
    pictures: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Task:
    """What a solver is given. Args: instance, tables: folders, of the problem and for the result. warm: tables of a plan
    whose prices to start from. made_at: now, ms."""

    instance: Path
    tables: Path
    warm: Path | None
    changes: Sequence[PlanChange]
    horizon: Horizon
    made_at: int


Solve = Callable[[Task], Awaitable[Answer]]
"""Raises: SetupError: this problem can never be solved, and why."""


class Describes(Protocol):
    """Where fresh problems come from: `network.Network`."""

    async def write(self, folder: Path, now: int) -> Horizon:
        """Write the tables of the problem as it stands."""


@dataclass(frozen=True, slots=True)
class Results:
    """The whole tables of plans. Args: url: of the folder they are kept in (fsspec); each plan has one in it."""

    url: str

    def keep(self, plan_id: str, folder: Path) -> None:
        """Copy a folder in, under its name. Raises: TryLater, SetupError."""
        files, place = self._place(plan_id, folder)
        try:
            files.makedirs(place, exist_ok=True)
            for path in sorted(folder.iterdir()):
                files.put_file(str(path), f"{place}/{path.name}")
        except OSError as error:
            raise TryLater("the store of plan results", f"{self.url}: {error}") from error

    def fetch(self, plan_id: str, folder: Path) -> bool:
        """Copy a folder of that name out; returns whether it was there. Raises: TryLater, SetupError."""
        files, place = self._place(plan_id, folder)
        try:
            if not files.exists(place):
                return False
            folder.mkdir(parents=True, exist_ok=True)
            for path in files.ls(place, detail=False):
                files.get_file(path, str(folder / path.rpartition("/")[2]))
        except OSError as error:
            raise TryLater("the store of plan results", f"{self.url}: {error}") from error
        return True

    def _place(self, plan_id: str, folder: Path) -> tuple[fsspec.AbstractFileSystem, str]:
        if not self.url:
            raise SetupError("results have no place: set INVENTORYBOT_PLAN_RESULTS to a folder for the tables of plans")
        files, path = fsspec.url_to_fs(self.url)
        return files, f"{path.rstrip('/')}/{plan_id}/{folder.name}"


class Planner:
    """Makes plans, one at a time. Args: now: the wall clock, ms."""

    def __init__(
        self, plans: PlanStore, network: Describes, results: Results, solve: Solve, publisher: Publisher,
        now: Callable[[], int],
    ) -> None:  # fmt: skip
        self._plans, self._network, self._results, self._solve = plans, network, results, solve
        self._publisher, self._now = publisher, now

    async def handle(self, request: PlanRequest, traceparent: str | None = None) -> PlanSummary:
        """Make the plan, unless it is made already, and tell of it.

        Raises: TryLater: handle the same request again. BadEvent: another plan was asked for under this id.
        """
        known = await self._plans.get(request.id)
        if known is not None and not known.request.same(request):
            raise BadEvent(
                Code.ID_REUSED, "/id", f"another plan was asked for as {request.id}; give this one another id"
            )
        if known is None or known.state not in (PlanState.READY, PlanState.FAILED):
            known = await self._make(request if known is None else known.request)
        await self._publisher.publish([plan_message(known, SOURCE, self._now(), telemetry.follow(traceparent))])
        return known

    async def unknown(self, plan_id: str) -> bool:
        """Whether nobody has asked for this plan."""
        return await self._plans.get(plan_id) is None

    async def newest(self) -> PlanSummary | None:
        """The newest plan that is ready."""
        return next(iter([plan async for plan in self._plans.list(state=PlanState.READY, limit=1)]), None)

    async def _make(self, request: PlanRequest) -> PlanSummary:
        await self._plans.put(PlanSummary(request, PlanState.SOLVING))
        try:
            plan = PlanSummary(request, PlanState.READY, None, await self._worked_out(request))
        except SetupError as error:
            plan = PlanSummary(request, PlanState.FAILED, str(error)[:1000])
        except (TryLater, asyncio.CancelledError):
            raise
        except Exception:  # it must not stop the plans behind it: the request is answered, the fault is in the log
            log.exception("a plan failed in a way that was not foreseen", plan=request.id)
            plan = PlanSummary(request, PlanState.FAILED, "a fault in InventoryBot; the planner's log has the details")
        await self._plans.put(plan)
        log.info("planned", plan=plan.id, state=str(plan.state), reason=plan.reason)
        telemetry.PLANS.labels(str(plan.state)).inc()
        if plan.figures is not None:
            telemetry.PLAN_SECONDS.observe(plan.figures.seconds)
            telemetry.PLAN_GAP.set(plan.figures.gap)
        return plan

    async def _worked_out(self, request: PlanRequest) -> PlanFigures:
        with tempfile.TemporaryDirectory(prefix="inventorybot-plan-") as name:
            folder, now = Path(name), self._now()
            instance, tables, warm = folder / "instance", folder / "tables", folder / "base" / "tables"
            root, changes = await self._lineage(request)
            if root is None or root.figures is None:
                horizon = await self._network.write(instance, now)
                await asyncio.to_thread(self._results.keep, request.id, instance)
            else:
                horizon = Horizon(root.figures.start, root.figures.period_ms)
                if not await asyncio.to_thread(self._results.fetch, root.id, instance):
                    raise SetupError(f"the tables of the plan {root.id} are gone from {self._results.url}")
            near = request.base or getattr(await self.newest(), "id", None)
            found = near is not None and await asyncio.to_thread(self._results.fetch, near, warm)
            answer = await self._solve(Task(instance, tables, warm if found else None, changes, horizon, now))
            await asyncio.to_thread(self._results.keep, request.id, tables)
            await self._plans.put_result(request.id, now, answer.prices, answer.flows, answer.pictures)
        return answer.figures

    async def _lineage(self, request: PlanRequest) -> tuple[PlanSummary | None, tuple[PlanChange, ...]]:
        """The plan whose problem this one starts from (None: a fresh one), and all changes since, the oldest first."""
        changes, base, root = request.changes, request.base, None
        for _ in range(LONGEST_LINE):
            if base is None:
                return root, changes
            root = await self._plans.get(base)
            if root is None or root.state is not PlanState.READY:
                raise SetupError(f"the base plan {base} is {'not there' if root is None else root.state}")
            changes, base = root.request.changes + changes, root.request.base
        raise SetupError(f"more than {LONGEST_LINE} plans stand on one another: start from one without a base")
