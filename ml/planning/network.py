"""The network as it stands: its description, the demand that forecasts tell, the stock that the record holds.

In: a folder or URL with the tables of a planning problem, without demand and stock (docs/planning.md); stored forecasts,
whose sites are the description's regions; levels of the description's sites. Out: a folder with all tables, and when the
first period begins; an instance with something changed. Tests: tests/unit/network_plan/test_network.py.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inventorybot.domain.days import DAY_MS, WEEK_MS
from inventorybot.domain.forecast import NAMES, Forecast
from inventorybot.domain.network_plan import Horizon, PlanChange, capacity
from inventorybot.errors import SetupError, TryLater
from inventorybot.ports import ForecastStore, LevelReader
from ml.planning.data import Instance, check
from ml.planning.tables import OPTIONAL, TABLES

DESCRIPTION = tuple(name for name in TABLES if name not in ("demand", "stock"))
REACH_MS = 62 * DAY_MS
"""How long ago the period that now belongs to may have begun."""
PAGE = 1000
AT_ONCE = 64
"""Reads of levels in flight: enough to hide the database's latency."""


@dataclass(frozen=True, slots=True)
class Network:
    """Where the network is told of. Args: url: of the description (fsspec)."""

    url: str
    forecasts: ForecastStore
    levels: LevelReader

    async def write(self, folder: Path, now: int) -> Horizon:
        """Write all tables of the problem as it stands at `now` (ms) into an empty folder.

        Raises: SetupError: the description or the forecasts are missing. TryLater: a store does not answer.
        """
        await asyncio.to_thread(self._describe, folder)
        names = {t: _column(folder, t, t.removesuffix("s")) for t in ("skus", "sites", "regions")}
        horizon, periods = await self._periods(names["regions"], now, folder)
        for table in ("capacity", "supply"):
            _cut(folder / f"{table}.parquet", len(periods))
        skus = set(names["skus"])
        demand = [await self._demand(region, periods, skus) for region in names["regions"]]
        pq.write_table(pa.concat_tables(demand), folder / "demand.parquet")
        stock = [row for site in names["sites"] for row in await self._stock(site, skus)]
        columns = dict(zip(TABLES["stock"], zip(*stock, strict=True), strict=True)) if stock else {}
        shape = pa.schema([("sku", pa.string()), ("site", pa.string()), ("units", pa.float64())])
        pq.write_table(pa.table({n: list(columns.get(n, ())) for n in shape.names}, shape), folder / "stock.parquet")
        return horizon

    def _describe(self, folder: Path) -> None:
        if not self.url:
            raise SetupError("no network is described: set INVENTORYBOT_PLAN_NETWORK to the folder of its tables")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            files, path = fsspec.url_to_fs(self.url)
            for table in DESCRIPTION:
                place = f"{path.rstrip('/')}/{table}.parquet"
                if files.exists(place):
                    files.get_file(place, str(folder / f"{table}.parquet"))
                elif table not in OPTIONAL:
                    raise SetupError(f"the network at {self.url} has no table {table}: see docs/planning.md")
        except OSError as error:
            raise TryLater("the store of the network", f"{self.url}: {error}") from error

    async def _periods(self, regions: Sequence[str], now: int, folder: Path) -> tuple[Horizon, list[int]]:
        answers = await asyncio.gather(*(self.forecasts.periods(region, now - REACH_MS) for region in regions))
        known = sorted({begin for found in answers for begin in found})
        wanted = int(pc.max(pq.read_table(folder / "capacity.parquet", columns=["period"])["period"]).as_py() or 0) + 1
        return horizon_of(known, now, wanted)

    async def _demand(self, region: str, periods: Sequence[int], skus: set[str]) -> pa.Table:
        answers = await asyncio.gather(*(self.forecasts.of_site(region, begin) for begin in periods))
        rows = [(number, x) for number, found in enumerate(answers) for x in found if x.sku in skus]
        return _demand_table(region, rows)

    async def _stock(self, site: str, skus: set[str]) -> list[tuple[str, str, int]]:
        """(SKU, site, units) of what the record holds there; a level below zero is none."""
        after, found = "", []
        while True:
            page = await self.levels.catalogue("sku", site, after, PAGE)
            names = [seen.name for seen in page if seen.name in skus]
            for chunk in (names[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)):
                answers = await asyncio.gather(*(self.levels.sku_levels(site, sku) for sku in chunk))
                found += [
                    (sku, site, max(0, sum(level.on_hand for level in levels)))
                    for sku, levels in zip(chunk, answers, strict=True)
                ]
            if len(page) < PAGE:
                return found
            after = page[-1].name


def horizon_of(known: Sequence[int], now: int, wanted: int) -> tuple[Horizon, list[int]]:
    """When the plan's periods begin, given those that have forecasts, rising; at most `wanted`, from that of `now` on.

    Raises: SetupError: none reaches beyond now, or they are not of one length.
    """
    steps = {after - before for before, after in itertools.pairwise(known)}
    if len(steps) > 1:
        raise SetupError(
            "the forecasts' periods are not of one length: load those of one model's calendar, days or weeks"
        )
    length = steps.pop() if steps else WEEK_MS
    periods = [begin for begin in known if begin + length > now][:wanted]
    if not periods:
        raise SetupError("there are no forecasts from now on: `inventorybot jobs run load-forecasts FILE` loads them")
    return Horizon(periods[0], length), periods


def changed(instance: Instance, changes: Sequence[PlanChange]) -> Instance:
    """The instance with what is otherwise at its sites. A site that is lost for good serves nobody and is supplied by nobody.

    Raises: SetupError: a site is not in the network, or a region is left that nobody delivers to.
    """
    if not changes:
        return instance
    names = instance.site.tolist()
    for change in changes:
        if change.site not in names:
            raise SetupError(f"there is no site {change.site} in the network; it has {', '.join(names[:20])}")
    storage, inbound = instance.storage_m3.copy(), instance.inbound_units.copy()
    for j in {names.index(change.site) for change in changes}:
        for t in range(instance.periods):
            storage[j, t], inbound[j, t] = capacity(changes, names[j], t, storage[j, t], inbound[j, t])
    made = replace(instance, storage_m3=storage, inbound_units=inbound)
    gone = [
        all(any(c.lost and c.site == n and c.holds(t) for c in changes) for t in range(made.periods)) for n in names
    ]
    return check(_without(made, np.array(gone)))


def _without(x: Instance, gone_M: Any) -> Instance:
    """Without the delivery, the lanes and the stock of sites that are lost for the whole horizon."""
    lost_stock = np.where(gone_M | (x.storage_m3[:, 0] <= 0), np.float32(0), x.stock)
    if not gone_M.any():
        return replace(x, stock=lost_stock)
    hours, cost = (np.where(gone_M, np.inf, a) for a in (x.delivery_hours, x.delivery_cost))
    lonely = np.flatnonzero(~np.isfinite(hours).any(axis=1))
    if len(lonely):
        raise SetupError(f"nobody delivers to the region {x.region[lonely[0]]} once those sites are lost")
    kept = ~(gone_M[x.lane_to] | ((x.lane_from >= 0) & gone_M[np.maximum(x.lane_from, 0)]))
    lanes = {name: getattr(x, name)[kept] for name in ("lane_from", "lane_to", "lane_cost", "lane_lead")}
    return replace(x, delivery_hours=hours, delivery_cost=cost, stock=lost_stock, **lanes)


def _demand_table(region: str, rows: Sequence[tuple[int, Forecast]]) -> pa.Table:
    """Rows of the table `demand`: (period, forecast) of one region."""
    numbers = np.array([(x.mean, *x.quantiles) for _, x in rows], np.float32).reshape(-1, 1 + len(NAMES))
    columns = dict(zip(("mean", *NAMES), numbers.T, strict=True))
    return pa.table(
        {
            "sku": pa.array([x.sku for _, x in rows], pa.string()),
            "region": pa.array([region] * len(rows), pa.string()),
            "period": pa.array([number for number, _ in rows], pa.int32()),
            **columns,
        }
    )


def _column(folder: Path, table: str, column: str) -> list[str]:
    try:
        found: list[str] = pq.read_table(folder / f"{table}.parquet", columns=[column])[column].to_pylist()
    except (pa.ArrowInvalid, KeyError) as error:
        raise SetupError(f"table {table} of the network cannot be read: {error}") from error
    return found


def _cut(path: Path, periods: int) -> None:
    """Drop the rows of periods that no forecast reaches."""
    if path.exists():
        rows = pq.read_table(path)
        pq.write_table(rows.filter(pc.less(rows["period"], periods)), path)
