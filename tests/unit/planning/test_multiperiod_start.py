"""Several periods again after a change: by name, with fewer steps, to the same proof; and sites that are shut.

Run: pytest tests/unit/planning/test_multiperiod_start.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inventorybot.domain.network_plan import PlanChange
from inventorybot.errors import SetupError
from ml.planning.data import Instance
from ml.planning.generate import Sizes, generate
from ml.planning.multiperiod import Network, build_network
from ml.planning.multiperiod_solve import NetworkSolution, solve_network
from ml.planning.multiperiod_start import FILE, read_start, write_start
from ml.planning.network import changed
from ml.planning.program import of_network
from tests.unit.planning.lp_check import optimum

Planned = tuple[Instance, Network, NetworkSolution]


@pytest.fixture(scope="module")
def planned() -> Planned:
    instance = generate(Sizes(24, 5, 4, 2), seed=3)
    network = build_network(instance)
    return instance, network, solve_network(network)


@pytest.fixture(scope="module")
def folder(planned: Planned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    instance, network, found = planned
    made: Path = tmp_path_factory.mktemp("plan")
    write_start(found.start, instance, network, made)
    return made


def again(instance: Instance, folder: Path) -> tuple[NetworkSolution, NetworkSolution, Network]:
    """Cold, warm."""
    network = build_network(instance)
    return solve_network(network), solve_network(network, warm=read_start(folder, instance, network)), network


def test_a_start_that_is_written_and_read_is_the_same_to_float32(planned: Planned, folder: Path) -> None:
    instance, network, found = planned
    back = read_start(folder, instance, network)
    assert back.near == found.start.near
    for name in ("y", "f", "u", "storage", "inbound", "supply", "stock"):
        assert torch.allclose(getattr(back, name), getattr(found.start, name), rtol=1e-6, atol=1e-9), name


def test_demand_that_moves_by_a_percent_is_planned_again_in_half_the_steps(planned: Planned, folder: Path) -> None:
    instance = planned[0]
    move = (1 + 0.01 * np.random.default_rng(1).standard_normal(instance.demand_mean.shape)).astype(np.float32)
    moved = replace(
        instance,
        demand_mean=instance.demand_mean * move,
        demand_quantiles=instance.demand_quantiles * move[..., None],
    )
    cold, warm, _ = again(moved, folder)
    assert warm.iterations <= 0.6 * cold.iterations
    assert warm.gap <= 1e-3
    assert warm.plan.violations.worst <= 1e-9
    assert warm.plan.value <= cold.bound
    assert cold.plan.value <= warm.bound


def test_a_site_that_is_lost_is_planned_again_to_the_same_proof(planned: Planned, folder: Path) -> None:
    instance = planned[0]
    site = str(instance.site[np.flatnonzero(instance.serving)[0]])
    _, warm, network = again(changed(instance, [PlanChange(site, lost=True)]), folder)
    best = optimum(of_network(network))
    assert warm.gap <= 1e-3
    assert warm.plan.value <= best * (1 + 1e-9) <= warm.bound * (1 + 2e-9)


def test_a_site_that_is_shut_for_two_periods_holds_nothing_then_and_has_the_price_of_its_first_unit(
    planned: Planned, folder: Path
) -> None:
    instance = planned[0]
    row = int(np.flatnonzero(instance.serving)[0])
    shut = changed(instance, [PlanChange(str(instance.site[row]), lost=True, first_period=1, last_period=2)])
    cold, warm, network = again(shut, folder)
    best = optimum(of_network(network))
    for found in (cold, warm):
        assert found.gap <= 1e-3
        assert found.plan.value <= best * (1 + 1e-9) <= found.bound * (1 + 2e-9)
        assert float(found.plan.space[row, 1:3].max()) == 0.0
    dearest = float((network.sale.amax((1, 2)) / network.volume).max())
    assert 0 < float(cold.prices.storage[row, 1]) <= dearest


def test_no_space_anywhere_proves_that_nothing_can_be_earned(planned: Planned) -> None:
    network = replace(
        planned[1], storage=torch.zeros_like(planned[1].storage), stock=torch.zeros_like(planned[1].stock)
    )
    found = solve_network(network)
    assert found.plan.value == pytest.approx(0.0, abs=1e-9)
    assert found.bound == pytest.approx(0.0, abs=1e-6)
    assert found.gap == 0.0


def test_what_is_new_is_unknown_and_what_is_gone_is_left_out(planned: Planned, folder: Path) -> None:
    instance = planned[0]
    names = instance.sku.copy()
    names[0] = "new"
    other = replace(instance, sku=names)
    network = build_network(other)
    start = read_start(folder, other, network)
    assert bool(start.y[0].isnan().all())
    assert not bool(start.y[1:].isnan().any())
    assert solve_network(network, warm=start).gap <= 1e-3


def test_a_folder_without_a_start_is_refused(planned: Planned, tmp_path: Path) -> None:
    instance, network, _ = planned
    with pytest.raises(SetupError, match="holds no plan of several periods to start from"):
        read_start(tmp_path, instance, network)
    (tmp_path / FILE).write_bytes(b"PK not a start")
    with pytest.raises(SetupError, match="holds no plan of several periods to start from"):
        read_start(tmp_path, instance, network)


def test_a_start_of_another_network_is_refused(planned: Planned) -> None:
    _, _, found = planned
    other = build_network(generate(Sizes(3, 3, 2), seed=1))
    with pytest.raises(SetupError, match="of another network"):
        solve_network(other, warm=found.start)
