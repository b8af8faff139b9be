"""The solver's process: what it says comes back, and its death is a plan's failure, not the planner's."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventorybot.domain.network_plan import Horizon, PlanChange
from inventorybot.errors import SetupError
from ml.planning.data import write_instance
from ml.planning.generate import Sizes, generate
from ml.planning.planner import Task
from ml.planning.process import Solver

DAY = 86_400_000


@pytest.fixture
def solver() -> Iterator[Solver]:
    made = Solver("cpu")
    yield made
    made.end()
    assert multiprocessing.active_children() == []


def task(folder: Path, *changes: PlanChange) -> Task:
    return Task(folder / "instance", folder / "tables", None, changes, Horizon(0, 7 * DAY), DAY)


async def test_one_period_is_planned_then_planned_again_from_its_prices_and_what_is_impossible_is_told(
    solver: Solver, tmp_path: Path
) -> None:
    made = generate(Sizes(50, 3), 2)
    write_instance(made, tmp_path / "instance")
    first = await solver(task(tmp_path))
    assert (first.figures.skus, first.figures.sites, first.figures.periods, first.figures.start) == (50, 3, 1, 0)
    assert first.figures.value <= first.figures.bound
    assert first.figures.gap == pytest.approx((first.figures.bound - first.figures.value) / first.figures.value)
    assert {p.site for p in first.prices} == set(made.site.tolist())
    assert {f.from_site for f in first.flows} == {"supplier"}
    assert set(first.pictures) == {"prices", "flows"}

    again = Task(tmp_path / "instance", tmp_path / "again", tmp_path / "tables", (), Horizon(0, 7 * DAY), DAY)
    second = await solver(again)
    assert second.figures.value <= first.figures.bound
    assert second.figures.bound >= first.figures.value
    with pytest.raises(SetupError, match="there is no site BER9"):
        await solver(task(tmp_path, PlanChange("BER9", lost=True)))


async def test_a_solver_that_is_killed_fails_its_plan_alone(solver: Solver, tmp_path: Path) -> None:
    under_way = asyncio.create_task(solver(task(tmp_path)))
    while not multiprocessing.active_children():  # noqa: ASYNC110  # no event tells that a process was started
        await asyncio.sleep(0)
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(SetupError, match="the solver was killed"):
        await under_way
