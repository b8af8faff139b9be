"""A task is solved from where an earlier plan was, of several periods too; an earlier plan that is of no use costs nothing.

Run: pytest tests/unit/network_plan/test_answer.py
"""

from __future__ import annotations

from pathlib import Path

import pytest

from inventorybot.domain.network_plan import Horizon, PlanChange
from ml.planning.answer import solve_task
from ml.planning.data import write_instance
from ml.planning.generate import Sizes, generate
from ml.planning.planner import Task
from ml.planning.result import read_summary

DAY = 86_400_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_instance(generate(Sizes(20, 4, 3, 2), 2), tmp_path / "instance")
    solve_task(task(tmp_path, "first", None), "cpu")
    return tmp_path


def task(folder: Path, name: str, warm: str | None, *changes: PlanChange) -> Task:
    start = None if warm is None else folder / warm
    return Task(folder / "instance", folder / name, start, changes, Horizon(0, 7 * DAY), DAY)


def test_a_what_if_of_several_periods_starts_from_its_base_and_takes_fewer_steps(folder: Path) -> None:
    more = PlanChange(str(generate(Sizes(20, 4, 3, 2), 2).site[-1]), storage_m3=1.0)
    cold = solve_task(task(folder, "cold", None, more), "cpu")
    warm = solve_task(task(folder, "warm", "first", more), "cpu")
    steps = [read_summary(folder / name)["iterations"] for name in ("cold", "warm")]
    assert steps[1] < steps[0]
    assert warm.figures.gap <= 1e-3
    assert warm.figures.value <= cold.figures.bound


def test_a_start_that_cannot_be_read_is_done_without(folder: Path) -> None:
    (folder / "first" / "start.npz").write_bytes(b"half a file")
    assert solve_task(task(folder, "again", "first"), "cpu").figures.gap <= 1e-3
