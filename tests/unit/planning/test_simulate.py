"""The simulator: books worked out by hand, the same orders for every plan, no unit made or lost, the command.

Run: pytest tests/unit/planning/test_simulate.py
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import typer
from typer.testing import CliRunner

from inventorybot.errors import SetupError
from ml.planning.data import write_instance
from ml.planning.generate import Sizes, generate
from ml.planning.result import write_result
from ml.planning.run import plan
from ml.planning.simulate import Moves, Outcome, simulate
from ml.planning.simulate_cli import simulate as command
from ml.planning.simulate_plans import (
    BASELINES,
    all_moves,
    baseline_moves,
    in_order_cycles,
    moves_of_units,
    read_result,
)
from ml.planning.simulate_report import interval, rows
from ml.planning.simulate_world import Ints, draw_demand, draw_orders, stretches, world_of
from tests.unit.planning.small_network import small_network


def played(demand: list[list[int]], flow: list[list[float]], target: float | None = None, **changes: Any) -> Outcome:
    """Play flows into sites a and b, by period, against demand of a-land and b-land, by period."""
    world = world_of(small_network(len(demand), **changes))
    paths: Ints = np.array(demand, np.int64).T[None, None]  # N, I, R, T
    flows = torch.tensor(flow, dtype=torch.float64).T[:, None, :]
    goal = None if target is None else torch.full((1, 2, len(demand)), target, dtype=torch.float64)
    return simulate(world, [Moves("tried", flows, goal)], replications=1, seed=1, paths=paths)[0]


def test_a_day_worked_out_by_hand() -> None:
    # 4 mugs at a, none at b; a-land orders 3, b-land 2: a serves 3 at home and 1 away, 1 is lost
    books = played([[3, 2]], [[4, 0]])
    assert books["sold"].tolist() == [[4.0]]
    assert (float(books["lost"]), float(books["from_home"])) == (1.0, 3.0)
    revenue, promises, last_mile, bought, lanes, shortage = 40, 12, 3 * 1 + 3, 16, 1, 2
    assert float(books.profit) == pytest.approx(revenue + promises - last_mile - bought - lanes - shortage)


def test_what_is_left_pays_holding_and_brings_its_salvage_value() -> None:
    books = played([[1, 0]], [[3, 0]])
    assert float(books.profit) == pytest.approx(10 + 3 - 1 - 12 - 0.75 - 2 * 0.5 + 2 * 1)


def test_an_order_to_the_vendor_has_its_fixed_cost_once_for_all_sites() -> None:
    with_cost = played([[1, 1]], [[1, 1]], order_cost=np.array([7.0]))
    assert float(played([[1, 1]], [[1, 1]]).profit - with_cost.profit) == pytest.approx(7.0)


def test_goods_sent_with_a_lead_time_serve_the_next_period() -> None:
    late = np.array([[0.0, 1.0], [0.0, 1.0]])
    books = played([[2, 0], [2, 0]], [[3, 0], [0, 0]], lane_lead=late)
    assert (float(books["sold"]), float(books["lost"]), float(books["left"])) == (2.0, 2.0, 1.0)


def test_goods_still_on_the_way_at_the_end_are_worth_their_salvage_value() -> None:
    late = np.array([[0.0, 1.0], [0.0, 1.0]])
    books = played([[0, 0], [0, 0]], [[0, 0], [3, 0]], lane_lead=late)
    assert (float(books["on_way"]), float(books.profit)) == (3.0, pytest.approx(3 * 1 - 3 * 4.25))


def test_an_order_makes_up_for_what_was_sold() -> None:
    books = played([[3, 0], [1, 0]], [[1, 0], [1, 0]], target=4.0)  # 4, then 3 to be at 4 again
    assert (float(books["bought"]), float(books["left"])) == (7.0, 3.0)


def test_what_finds_no_room_waits_at_the_gate() -> None:
    narrow = np.array([[2.0, 2.0], [2.0, 2.0]])
    books = played([[2, 0], [2, 0]], [[4, 0], [0, 0]], storage_m3=narrow)
    # room is kept when ordering: 2 of the 4 are ordered
    assert (float(books["bought"]), float(books["sold"])) == (2.0, 2.0)
    single = played([[5, 0]], [[4, 0]], storage_m3=narrow[:, :1])
    assert (float(single["sold"]), float(single["waited"]), float(single["on_way"])) == (2.0, 2.0, 2.0)


def test_supply_is_shared_in_proportion() -> None:
    books = played([[9, 9]], [[6, 3]], supply=np.array([[6.0]], np.float32))
    assert (float(books["bought"]), float(books["from_home"])) == (6.0, 6.0)  # 4 and 2


@pytest.mark.parametrize("sizes", [Sizes(12, 3), Sizes(8, 3, periods=3, layers=2, tight=0.5)])
def test_no_unit_appears_or_vanishes_and_all_plans_meet_the_same_orders(sizes: Sizes) -> None:
    instance = generate(sizes, 5)
    world = world_of(instance)
    moves = [baseline_moves(instance, world, name) for name in BASELINES]
    books = simulate(world, moves, replications=2, seed=3)
    alone = simulate(world, moves[1:2], replications=2, seed=3)[0]
    for book in books:
        come, gone = book["opening"] + book["bought"], book["left"] + book["on_way"]
        assert torch.equal(come, book["sold"].sum(1) + gone)
        assert torch.equal(book["demand"].sum(1), book["sold"].sum(1) + book["lost"])
        assert torch.equal(book["demand"], books[0]["demand"])
    assert torch.equal(alone.profit, books[1].profit)
    assert not torch.equal(books[0].profit, books[2].profit)
    other = simulate(world, moves[:1], replications=2, seed=4)[0]
    assert not torch.equal(other["demand"], books[0]["demand"])


def test_drawn_demand_has_the_mean_and_variance_asked_for() -> None:
    # uniform quantiles 0.5 and 9.5 are 3.29 standard deviations apart: 2.736² = 7.48, mean 5
    world = world_of(small_network())
    assert float(world.variance[0, 0, 0]) == pytest.approx((9.0 / (2 * 1.6449)) ** 2, rel=1e-3)
    drawn = np.stack([draw_demand(world, 1, n) for n in range(4_000)])[:, 0, 0, 0]
    assert drawn.mean() == pytest.approx(5.0, abs=4 * math.sqrt(7.48 / 4_000))
    assert drawn.var() == pytest.approx(7.48, rel=0.12)


def test_every_order_falls_into_one_stretch_and_cell() -> None:
    instance = generate(Sizes(5, 3), 1)
    world = world_of(instance)
    demand = draw_demand(world, 1, 0)[:, :, 0]
    parts = stretches(world, days=7)
    split = torch.stack(list(draw_orders(world, demand, parts, 1, 0, 0)))
    assert sum(p.share for p in parts) == pytest.approx(1.0)
    total = split.sum(0).reshape(*demand.shape, -1).sum(2)
    assert torch.equal(total, torch.from_numpy(demand).double())


def test_demand_paths_that_do_not_fit_are_refused() -> None:
    world = world_of(small_network())
    moves = [moves_of_units(world, "none", np.zeros((1, 2)))]
    with pytest.raises(SetupError, match="shape"):
        simulate(world, moves, replications=1, seed=1, paths=np.zeros((1, 1, 3, 1), np.int64))
    with pytest.raises(SetupError, match="mug in b-land, period 0, path 0 is -2"):
        simulate(world, moves, replications=1, seed=1, paths=np.array([[[[1], [-2]]]]))


def test_flows_of_another_problem_are_refused() -> None:
    with pytest.raises(SetupError, match="flows of shape"):
        simulate(world_of(small_network()), [Moves("odd", torch.zeros(1, 1, 1))], replications=1, seed=1)


def test_the_interval_of_three_replications() -> None:
    # mean 2, standard deviation 1, t(2 degrees, 97.5 %) = 4.303
    found = interval(torch.tensor([1.0, 2.0, 3.0]))
    assert (found.mean, found.high - found.mean) == (2.0, pytest.approx(4.303 / math.sqrt(3), abs=1e-3))
    assert math.isnan(interval(torch.tensor([1.0])).low)


def test_differences_are_taken_replication_by_replication() -> None:
    world = world_of(small_network())
    moves = [moves_of_units(world, f"{n} each", np.full((1, 2), float(n))) for n in (6, 5)]
    books = simulate(world, moves, replications=30, seed=1)
    found = {(r.plan, r.metric): r for r in rows(books, world.speeds)}
    row = found["5 each", "profit"]
    assert row.first_is_above == pytest.approx(float((books[0].profit - books[1].profit).mean()))
    assert row.above_high - row.above_low < row.high - row.low  # what both meet alike has cancelled
    assert found["6 each", "profit"].first_is_above == 0.0


@pytest.mark.parametrize("sizes", [Sizes(15, 3), Sizes(8, 3, periods=2, layers=2)])
def test_the_command_reads_a_plan_and_writes_tables_and_a_picture(sizes: Sizes, tmp_path: Path) -> None:
    instance = generate(sizes, 2)
    write_instance(instance, tmp_path / "problem")
    result = plan(instance, device="cpu")
    write_result(result, instance, tmp_path / "answer")
    application = typer.Typer()
    application.command()(command)
    words = [str(tmp_path / "problem"), "--out", str(tmp_path / "out"), "--replications", "3", "--seed", "5"]
    done = CliRunner().invoke(application, [*words, "--plan", str(tmp_path / "answer")])
    assert done.exit_code == 0, done.output
    assert "national pooling" in done.output
    found = {
        (r["plan"], r["metric"]): r["mean"] for r in pq.read_table(tmp_path / "out" / "metrics.parquet").to_pylist()
    }
    assert (tmp_path / "out" / "simulation.png").read_bytes().startswith(b"\x89PNG")
    assert len(pq.read_table(tmp_path / "out" / "replications.parquet")) == 4 * 3
    world, moves = all_moves(instance, result)
    mine = simulate(world, moves[:1], replications=3, seed=5)[0]
    assert found["network plan", "profit"] == pytest.approx(float(mine.profit.mean()), rel=1e-6)


def test_cycles_order_less_often_and_only_where_there_is_room() -> None:
    made = generate(Sizes(20, 3, periods=4, tight=3.0), 3)
    instance = replace(made, order_cost=np.full(20, 100.0))
    result = plan(instance, device="cpu")
    flow, left = in_order_cycles(instance, result)
    assert (flow.sum(1) > 0).sum() < (result.flow.sum(1) > 0).sum()
    assert flow.sum((1, 2)) == pytest.approx(result.flow.sum((1, 2)), rel=1e-5)
    more = np.einsum("i,ijt->jt", instance.volume_m3, left - result.left)
    assert bool((result.storage_used + more <= instance.storage_m3 + 1e-6).all())
    moves = [all_moves(instance, result, cycles=c)[1][0] for c in (False, True)]
    often, seldom = simulate(world_of(instance), moves, replications=2, seed=1)
    assert float(seldom["order_costs"].mean()) < float(often["order_costs"].mean())


def test_a_plan_of_another_problem_is_refused(tmp_path: Path) -> None:
    instance, other = generate(Sizes(10, 3), 1), generate(Sizes(11, 3), 1)
    write_result(plan(instance, device="cpu"), instance, tmp_path)
    with pytest.raises(SetupError, match="another problem"):
        read_result(tmp_path, other)
