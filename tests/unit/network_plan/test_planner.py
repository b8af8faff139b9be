"""The planner on fakes: each request becomes one plan that is stored and told of, whatever happens on the way.

The solver is a stand-in that says what it was given; the real one is tried in tests/integration/test_what_if.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.adapters.memory.plans import MemoryPlans
from inventorybot.adapters.memory.publisher import MemoryPublisher
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
from inventorybot.errors import BadEvent, SetupError, TryLater
from inventorybot.wire.codec import Record, TimeLimits
from inventorybot.wire.plans import request_message
from ml.planning.planner import Answer, Planner, Results, Task
from ml.planning.process import Nights, Requests, due

NOW = 1_795_243_020_000  # 2026-11-21T06:37:00Z
HORIZON = Horizon(1_794_787_200_000, 7 * 86_400_000)
MORE = PlanChange("BER1", storage_m3=100.0)


class Description:
    """A network whose tables are one file. `away`: how many times its store does not answer."""

    def __init__(self) -> None:
        self.away = self.written = 0

    async def write(self, folder: Path, now: int) -> Horizon:
        if self.away:
            self.away -= 1
            raise TryLater("cassandra", "no node answers")
        folder.mkdir(parents=True)  # noqa: ASYNC240  # a folder of a test
        self.written += 1
        (folder / "skus.parquet").write_text(f"as of {self.written}")
        return HORIZON


class Stage:
    """A planner on fakes. `fault`: what the solver raises."""

    def __init__(self, folder: Path) -> None:
        self.plans, self.publisher, self.network = MemoryPlans(), MemoryPublisher(), Description()
        self.letters, self.tasks = MemoryDeadLetters(), list[tuple[str, str | None, Task]]()
        self.fault: Exception | None = None
        self.now = NOW
        results = Results(folder.as_uri())
        self.planner = Planner(self.plans, self.network, results, self.solve, self.publisher, lambda: self.now)
        self.requests = Requests(self.planner, self.letters, TimeLimits(), 60.0)

    async def solve(self, task: Task) -> Answer:
        warm = None if task.warm is None else (task.warm / "prices.parquet").read_text()
        self.tasks.append(((task.instance / "skus.parquet").read_text(), warm, task))
        if self.fault is not None:
            raise self.fault
        task.tables.mkdir()
        (task.tables / "prices.parquet").write_text(f"prices {len(self.tasks)}")
        figures = PlanFigures(
            NOW, task.horizon.start, task.horizon.period_ms, 2, 10, 2, 99.0, 100.0, 0.01, 90.0, 0.0, 1.5
        )
        return Answer(
            figures, [SitePrice("BER1", 0, 1.0, 2.0)], [Flow("supplier", "BER1", 0, 3.0, 4.0)], {"prices": b"<svg/>"}
        )

    @property
    def told(self) -> list[tuple[str, str]]:
        return [
            (m.key.decode(), json.loads(m.value)["state"])
            for m in self.publisher.messages
            if m.topic == "inventory.plans"
        ]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def asked(name: str = "p-1", base: str | None = None, *changes: PlanChange) -> PlanRequest:
    return PlanRequest(name, NOW - 1000, "kim", None, changes, base)


def record(request: PlanRequest) -> Record:
    m = request_message(request, "test")
    return Record(m.topic, 0, 5, m.key, m.value, m.headers, NOW)


async def test_a_plan_of_the_moment_is_stored_with_its_result_and_told_of(stage: Stage) -> None:
    plan = await stage.planner.handle(asked())
    assert (plan.state, plan.figures and plan.figures.start) == (PlanState.READY, HORIZON.start)
    assert await stage.plans.get("p-1") == plan
    assert await stage.plans.prices("p-1") == [SitePrice("BER1", 0, 1.0, 2.0)]
    assert await stage.plans.flows("p-1", 0) == [Flow("supplier", "BER1", 0, 3.0, 4.0)]
    assert await stage.plans.picture("p-1", "prices") == b"<svg/>"
    assert stage.told == [("p-1", "ready")]


async def test_a_request_that_comes_again_is_not_solved_again_but_told_of_again(stage: Stage) -> None:
    for _ in range(3):
        await stage.requests.handle(record(asked()))
    assert len(stage.tasks) == 1
    assert stage.told == [("p-1", "ready")] * 3
    assert stage.letters.letters == {}


async def test_a_plan_that_a_crash_left_unfinished_is_made_again(stage: Stage) -> None:
    await stage.plans.put(PlanSummary(asked(), PlanState.SOLVING))
    assert (await stage.planner.handle(asked())).state is PlanState.READY


async def test_a_what_if_is_solved_on_what_its_base_saw_from_the_base_s_prices(stage: Stage) -> None:
    await stage.planner.handle(asked("night"))
    await stage.planner.handle(asked("other"))
    lost = PlanChange("MUC1", lost=True)
    await stage.planner.handle(asked("hall", "night", MORE))
    await stage.planner.handle(asked("hall-and-loss", "hall", lost))
    (_, _, _), (_, near, _), (saw, warm, task), (saw_too, warm_too, task_too) = stage.tasks
    assert near == "prices 1", "a plan of the moment starts from the newest one's prices"
    assert (saw, warm, task.changes, task.horizon) == ("as of 1", "prices 1", (MORE,), HORIZON)
    assert (saw_too, warm_too, task_too.changes) == ("as of 1", "prices 3", (MORE, lost))


async def test_a_plan_that_cannot_be_made_says_why_and_does_not_hold_up_the_next(stage: Stage) -> None:
    stage.fault = SetupError("there is no site BER9 in the network")
    assert (await stage.planner.handle(asked())).reason == "there is no site BER9 in the network"
    stage.fault = ZeroDivisionError()
    fault = await stage.planner.handle(asked("p-2"))
    assert (fault.state, "log has the details" in (fault.reason or "")) == (PlanState.FAILED, True)
    stage.fault = None
    assert (await stage.planner.handle(asked("p-3"))).state is PlanState.READY
    assert stage.told == [("p-1", "failed"), ("p-2", "failed"), ("p-3", "ready")]


@pytest.mark.parametrize("state", [None, PlanState.FAILED])
async def test_a_base_that_is_not_ready_is_no_base(stage: Stage, state: PlanState | None) -> None:
    if state is not None:
        await stage.plans.put(PlanSummary(asked("night"), state, "for some reason"))
    plan = await stage.planner.handle(asked("hall", "night", MORE))
    assert plan.reason == f"the base plan night is {state or 'not there'}"


async def test_a_store_that_is_away_is_waited_for(stage: Stage) -> None:
    stage.network.away = 2
    await stage.requests.handle(record(asked()))
    assert stage.told == [("p-1", "ready")]


async def test_what_could_not_be_told_is_told_later(stage: Stage) -> None:
    stage.publisher.down = True
    with pytest.raises(TryLater):
        await stage.planner.handle(asked())
    stage.publisher.down = False
    await stage.planner.handle(asked())
    assert (len(stage.tasks), stage.told) == (1, [("p-1", "ready")])


async def test_another_plan_under_a_known_id_and_a_broken_request_go_to_the_dead_letters(stage: Stage) -> None:
    await stage.planner.handle(asked())
    with pytest.raises(BadEvent) as refused:
        await stage.planner.handle(asked("p-1", None, MORE))
    assert (refused.value.code, refused.value.path) == ("id-reused", "/id")
    broken = record(asked("p-2"))
    await stage.requests.handle(Record(broken.topic, 0, 6, broken.key, b"{}", broken.headers, NOW))
    await stage.requests.handle(record(asked("p-1", None, MORE)))
    kept = {letter.offset: (letter.code, letter.path) for letter in stage.letters.letters.values()}
    assert kept == {6: ("missing-field", "/data/by"), 5: ("id-reused", "/id")}


def test_a_night_begins_at_its_time_of_day_utc() -> None:
    assert due("06:37", NOW) == NOW
    assert due("06:38", NOW) == NOW + 60_000 - 86_400_000
    assert due("", NOW) is None


async def test_the_nightly_plan_is_asked_for_once_when_its_time_has_come(stage: Stage) -> None:
    nights = Nights(stage.planner, stage.publisher, "07:00", lambda: stage.now)
    await nights.look()
    assert stage.publisher.messages == []
    stage.now += 30 * 60_000
    for planner in (nights, nights, Nights(stage.planner, stage.publisher, "07:00", lambda: NOW)):
        await planner.look()
    assert [m.key for m in stage.publisher.messages] == [b"nightly-20261121"]


async def test_a_night_that_was_slept_through_is_made_up_for_where_there_were_plans_before(stage: Stage) -> None:
    stage.now = NOW - 86_400_000
    await stage.planner.handle(asked("old"))
    stage.publisher.messages.clear()
    stage.now = NOW + 86_400_000
    await Nights(stage.planner, stage.publisher, "02:30", lambda: stage.now).look()
    assert [m.key for m in stage.publisher.messages] == [b"nightly-20261122"]
