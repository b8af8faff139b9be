"""The network as it stands: description, forecasts and levels become a problem; a change becomes another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inventorybot.adapters.memory.forecasts import MemoryForecasts
from inventorybot.domain.events import Kind
from inventorybot.domain.forecast import Forecast
from inventorybot.domain.network_plan import Horizon, PlanChange
from inventorybot.errors import SetupError
from ml.jobs.plan import describe, forecasts_of
from ml.planning.data import Instance, read_instance
from ml.planning.generate import Sizes, generate
from ml.planning.network import Network, changed, horizon_of
from tests.api_world import World, movement

MONDAY = 1_794_787_200_000  # 2026-11-16T00:00:00Z
NOW = 1_795_243_020_000  # the Saturday of that week
WEEK = 7 * 86_400_000


@pytest.fixture(scope="module")
def made() -> Instance:
    return generate(Sizes(4, 3, 5, layers=2), 1)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def network(made: Instance, world: World, tmp_path: Path) -> Network:
    """Described in a folder, with no forecasts yet."""
    describe(made, (tmp_path / "network").as_uri())
    return Network((tmp_path / "network").as_uri(), MemoryForecasts(), world.ledger)


async def test_demand_comes_from_the_forecasts_of_the_weeks_that_have_them(
    network: Network, made: Instance, tmp_path: Path
) -> None:
    told = forecasts_of(made, MONDAY - WEEK, NOW)  # the first week is over, the fifth is the fourth from now
    await network.forecasts.write([*told, replace(told[0], sku="unknown to the network")])
    horizon = await network.write(tmp_path / "found", NOW)
    found = read_instance(tmp_path / "found")
    assert horizon == Horizon(MONDAY, WEEK)
    assert (found.periods, found.skus, found.sites) == (4, 4, 3)
    np.testing.assert_array_equal(found.demand_mean, made.demand_mean[:, :, 1:])
    assert found.levels.tolist() == [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_array_equal(found.storage_m3, made.storage_m3[:, :4])
    assert found.stock.sum() == 0


async def test_opening_stock_is_what_the_record_holds_at_each_site(
    network: Network, made: Instance, world: World, tmp_path: Path
) -> None:
    await network.forecasts.write(forecasts_of(made, MONDAY, NOW))
    site, (known, other) = made.site[1], made.sku[:2]
    rows = [("m1", Kind.RECEIPT, 7, known, "A"), ("m2", Kind.RECEIPT, 5, known, "B"), ("m3", Kind.PICK, 2, other, "A"),
            ("m4", Kind.RECEIPT, 9, "not in the network", "A")]  # fmt: skip
    for name, kind, units, sku, bin_id in rows:
        await world.book(movement(name, kind, units, NOW, bin_id, str(sku))._replace(site=str(site)))
    await network.write(tmp_path / "found", NOW)
    stock = read_instance(tmp_path / "found").stock
    assert stock[0, 1] == 12
    assert stock.sum() == 12, "a level below zero is no stock, and an unknown SKU none of the network's"


async def test_what_is_missing_is_named(network: Network, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there are no forecasts from now on"):
        await network.write(tmp_path / "a", NOW)
    with pytest.raises(SetupError, match="INVENTORYBOT_PLAN_NETWORK"):
        await replace(network, url="").write(tmp_path / "b", NOW)
    with pytest.raises(SetupError, match="has no table skus"):
        await replace(network, url=(tmp_path / "nowhere").as_uri()).write(tmp_path / "c", NOW)


def test_a_plan_begins_with_the_period_that_now_belongs_to() -> None:
    weeks = [MONDAY + n * WEEK for n in range(-2, 4)]
    assert horizon_of(weeks, NOW, 3) == (Horizon(MONDAY, WEEK), [MONDAY, MONDAY + WEEK, MONDAY + 2 * WEEK])
    assert horizon_of(weeks, MONDAY, 1)[1] == [MONDAY]
    assert horizon_of(weeks, MONDAY - 1, 1)[1] == [MONDAY - WEEK]
    assert horizon_of(weeks[-1:], NOW, 5)[1] == [MONDAY + 3 * WEEK]
    with pytest.raises(SetupError, match="not of one length"):
        horizon_of([*weeks, MONDAY + 31 * 86_400_000], NOW, 9)


def test_more_room_is_there_in_its_periods_only(made: Instance) -> None:
    site = str(made.site[2])
    after = changed(made, [PlanChange(site, storage_m3=50.0, inbound_units=-1e9, first_period=1, last_period=2)])
    np.testing.assert_allclose(after.storage_m3[2] - made.storage_m3[2], [0, 50, 50, 0, 0])
    assert after.inbound_units[2].tolist() == [made.inbound_units[2, 0], 0, 0, *made.inbound_units[2, 3:]]
    assert changed(made, []) is made


def test_a_site_that_is_lost_for_good_delivers_to_nobody_and_is_on_no_lane(made: Instance) -> None:
    after = changed(made, [PlanChange(str(made.site[1]), lost=True)])
    assert after.storage_m3[1].sum() == 0
    assert not np.isfinite(after.delivery_hours[:, 1]).any()
    assert not ({1} & {*after.lane_to.tolist(), *after.lane_from.tolist()})
    assert after.stock[:, 1].sum() == 0
    for_a_while = changed(made, [PlanChange(str(made.site[1]), lost=True, last_period=1)])
    assert np.isfinite(for_a_while.delivery_hours[:, 1]).any()


def test_what_cannot_be_changed_is_named(made: Instance) -> None:
    with pytest.raises(SetupError, match="there is no site BER9"):
        changed(made, [PlanChange("BER9", lost=True)])
    with pytest.raises(SetupError, match="nobody delivers to the region"):
        changed(made, [PlanChange(str(site), lost=True) for site in made.site])


def test_a_forecast_is_told_with_its_five_quantiles(made: Instance) -> None:
    first = forecasts_of(made, MONDAY, NOW)[0]
    assert isinstance(first, Forecast)
    first.check()
    at = [made.levels.tolist().index(level) for level in (0.05, 0.25, 0.5, 0.75, 0.95)]
    i, r, t = (axis[0] for axis in made.demand_mean.nonzero())
    assert first.quantiles == tuple(made.demand_quantiles[i, r, t, at].tolist())
