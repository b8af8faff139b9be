"""A planning problem in memory, and its folder of Parquet tables.

In: a folder (tables and columns: `ml.planning.tables.TABLES`, docs/planning.md). Out: an `Instance`; and back.
N SKUs, M sites, R regions, T periods, S speeds, E lanes, Q quantile levels. Tests: tests/unit/planning/test_tables.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from inventorybot.errors import SetupError
from ml.planning.tables import (
    SUPPLIER,
    TABLES,
    Array,
    Column,
    Table,
    named,
    quantile_column,
    quantile_levels,
    write_table,
)

SUM_TOLERANCE = 1e-6
"""How far shares and probabilities may be from summing to 1."""
QUANTILE_TOLERANCE = 1e-4
"""How far a quantile may lie below the one before it, relative: forecasts are float32."""
MONEY = ("unit_cost", "price", "holding_cost", "salvage", "shortage_cost", "order_cost")


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """What is to be planned. Arrays are read-only by agreement. Money in one currency, volume in m³, units each.

    Args:
        sku, site, region, speed: names, str (N,), (M,), (R,), (S,).
        volume_m3, unit_cost, price, holding_cost, salvage, shortage_cost, min_order, order_cost: float64 (N,).
        pack_size: int64 (N,).
        site_name: str (M,). layer, cutoff_hour: int64 (M,). site_place, region_place: degrees, float64 (M, 2), (R, 2).
        storage_m3, inbound_units: float64 (M, T); inf: no limit.
        promise_hours, speed_value: float64 (S,). speed_share: float64 (R, S), rows sum to 1.
        hour_share: float64 (24,), sums to 1.
        delivery_hours, delivery_cost: float64 (R, M); inf where the site does not deliver to the region.
        lane_from: int64 (E,), -1 is the supplier. lane_to: int64 (E,). lane_cost: float64 (E,).
        lane_lead: float64 (E, 1 + longest), probability of arriving 0, 1, … periods after dispatch.
        supply: float32 (N, T); inf: no limit.
        demand_mean: float32 (N, R, T). demand_quantiles: float32 (N, R, T, Q). levels: float64 (Q,), rising, in (0, 1).
        stock: float32 (N, M), units on hand before the first period.
    """

    sku: Array
    volume_m3: Array
    unit_cost: Array
    price: Array
    holding_cost: Array
    salvage: Array
    shortage_cost: Array
    pack_size: Array
    min_order: Array
    order_cost: Array
    site: Array
    site_name: Array
    layer: Array
    cutoff_hour: Array
    site_place: Array
    storage_m3: Array
    inbound_units: Array
    region: Array
    region_place: Array
    speed: Array
    promise_hours: Array
    speed_value: Array
    speed_share: Array
    hour_share: Array
    delivery_hours: Array
    delivery_cost: Array
    lane_from: Array
    lane_to: Array
    lane_cost: Array
    lane_lead: Array
    supply: Array
    demand_mean: Array
    demand_quantiles: Array
    levels: Array
    stock: Array

    @property
    def skus(self) -> int:
        """N."""
        return len(self.sku)

    @property
    def sites(self) -> int:
        """M."""
        return len(self.site)

    @property
    def periods(self) -> int:
        """T."""
        return int(self.storage_m3.shape[1])

    @property
    def serving(self) -> Array:
        """Which sites deliver to any region, bool (M,)."""
        return np.asarray(np.isfinite(self.delivery_hours).any(axis=0))

    @property
    def cutoff_share(self) -> Array:
        """Share of a day's orders that come before each site's cut-off, float64 (M,)."""
        before: Array = np.concatenate([[0.0], np.cumsum(self.hour_share)])[self.cutoff_hour]
        return before

    def same_as(self, other: Instance) -> bool:
        """Whether every table is equal, bit by bit."""
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))


def read_instance(folder: Path | str) -> Instance:
    """Read and check all tables of a problem.

    Raises: SetupError: names the table, the column, the row (from 0) and the reason.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SetupError(f"{folder} is not a folder: `inventorybot plan generate --out {folder}` makes one to try")
    skus, sites, regions, speeds = (Table(folder, n) for n in ("skus", "sites", "regions", "speeds"))
    sku, site = skus.unique_names("sku"), sites.unique_names("site")
    region, speed = regions.unique_names("region"), speeds.unique_names("speed")
    sites.first("site", site == SUPPLIER, "is kept for the vendors")
    storage, inbound = _capacity(Table(folder, "capacity"), site)
    periods = storage.shape[1]
    hours, cost = _delivery(Table(folder, "delivery"), site, region)
    start, end, lane_cost, lead = _lanes(Table(folder, "lanes"), Table(folder, "lane_lead_times"), site)
    mean, quantiles, levels = _demand(Table(folder, "demand"), sku, region, periods)
    made = Instance(
        sku=sku,
        **{c: skus.numbers(c) for c in ("volume_m3", "pack_size", "min_order", *MONEY)},
        site=site,
        site_name=sites.names("name"),
        layer=sites.numbers("layer"),
        cutoff_hour=sites.numbers("cutoff_hour"),
        site_place=np.stack([sites.numbers("latitude"), sites.numbers("longitude")], axis=1),
        storage_m3=storage,
        inbound_units=inbound,
        region=region,
        region_place=np.stack([regions.numbers("latitude"), regions.numbers("longitude")], axis=1),
        speed=speed,
        promise_hours=speeds.numbers("promise_hours"),
        speed_value=speeds.numbers("value"),
        speed_share=_speed_share(Table(folder, "region_speeds"), region, speed),
        hour_share=_hour_share(Table(folder, "order_hours")),
        delivery_hours=hours,
        delivery_cost=cost,
        lane_from=start,
        lane_to=end,
        lane_cost=lane_cost,
        lane_lead=lead,
        supply=_supply(Table(folder, "supply"), sku, periods),
        demand_mean=mean,
        demand_quantiles=quantiles,
        levels=levels,
        stock=_stock(Table(folder, "stock"), sku, site),
    )
    return check(made)


def check(instance: Instance) -> Instance:
    """What holds between tables; returns the instance. Raises: SetupError: table, row and reason."""
    bad = np.flatnonzero(instance.salvage > instance.unit_cost)
    if len(bad):
        row = int(bad[0])
        raise SetupError(
            f"table skus, column salvage, row {row}: {instance.salvage[row]:g} is above unit_cost "
            f"{instance.unit_cost[row]:g}: buying for the scrap value would have no limit"
        )
    inside = instance.lane_from >= 0
    steps_up = instance.layer[instance.lane_to] > instance.layer[np.maximum(instance.lane_from, 0)]
    bad = np.flatnonzero(inside & ~steps_up & (instance.lane_lead[:, 0] > 0))
    if len(bad):
        raise SetupError(
            f"table lanes, column to_site, row {int(bad[0])}: a lane that does not lead to a higher layer must take "
            "at least one period (lane_lead_times)"
        )
    reached = np.zeros(instance.sites, bool)
    for _ in range(instance.sites):
        reached[instance.lane_to[~inside | reached[np.maximum(instance.lane_from, 0)]]] = True
    lost = np.flatnonzero(instance.serving & ~reached)
    if len(lost):
        raise SetupError(f"table sites, column site, row {int(lost[0])}: no lane leads there from the {SUPPLIER}")
    return instance


def _capacity(table: Table, site: Array) -> tuple[Array, Array]:
    j, t = table.index("site", site), table.numbers("period")
    if not len(table):
        raise SetupError("table capacity is empty")
    table.unique("site, period", j, t)
    shape = (len(site), int(t.max()) + 1)
    if shape[0] * shape[1] != len(table):
        seen = np.zeros(shape, bool)
        seen[j, t] = True
        j0, t0 = np.argwhere(~seen)[0]
        raise SetupError(f"table capacity, column period: there is no row for site {site[j0]} and period {t0}")
    storage, inbound = np.empty(shape), np.empty(shape)
    storage[j, t], inbound[j, t] = table.numbers("storage_m3"), table.numbers("inbound_units")
    return storage, inbound


def _delivery(table: Table, site: Array, region: Array) -> tuple[Array, Array]:
    j, r = table.index("site", site), table.index("region", region)
    table.unique("site, region", j, r)
    hours, cost = np.full((2, len(region), len(site)), np.inf)
    hours[r, j], cost[r, j] = table.numbers("hours"), table.numbers("cost")
    lonely = np.flatnonzero(~np.isfinite(hours).any(axis=1))
    if len(lonely):
        raise SetupError(f"table delivery, column region: no site delivers to region {region[lonely[0]]}")
    return hours, cost


def _speed_share(table: Table, region: Array, speed: Array) -> Array:
    r, s = table.index("region", region), table.index("speed", speed)
    table.unique("region, speed", r, s)
    share = np.zeros((len(region), len(speed)))
    share[r, s] = table.numbers("share")
    bad = np.flatnonzero(abs(share.sum(axis=1) - 1) > SUM_TOLERANCE)
    if len(bad):
        raise SetupError(
            f"table region_speeds, column share: region {region[bad[0]]} sums to {share[bad[0]].sum():g}, not 1"
        )
    return share


def _hour_share(table: Table) -> Array:
    hour = table.numbers("hour")
    table.unique("hour", hour)
    share = np.zeros(24)
    share[hour] = table.numbers("share")
    if abs(share.sum() - 1) > SUM_TOLERANCE:
        raise SetupError(f"table order_hours, column share: it sums to {share.sum():g}, not 1")
    return share


def _lanes(table: Table, lead: Table, site: Array) -> tuple[Array, Array, Array, Array]:
    start, end = table.index("from_site", site, [SUPPLIER]), table.index("to_site", site)
    table.unique("from_site, to_site", start, end)
    table.first("to_site", start == end, "is where the lane starts, too")
    lane = {(a, b): e for e, (a, b) in enumerate(zip(start.tolist(), end.tolist(), strict=True))}
    from_, to, after = lead.index("from_site", site, [SUPPLIER]), lead.index("to_site", site), lead.numbers("periods")
    lead.unique("from_site, to_site, periods", from_, to, after)
    probability = np.zeros((len(start), int(after.max(initial=0)) + 1))
    told = np.zeros(len(start), bool)
    chance = lead.numbers("probability")
    for row, (a, b, n) in enumerate(zip(from_.tolist(), to.tolist(), after.tolist(), strict=True)):
        if (a, b) not in lane:
            raise lead.refuse("to_site", row, "table lanes has no such lane")
        probability[lane[a, b], n], told[lane[a, b]] = chance[row], True
    probability[~told, 0] = 1.0
    bad = np.flatnonzero(abs(probability.sum(axis=1) - 1) > SUM_TOLERANCE)
    if len(bad):
        said = probability[bad[0]].sum()
        raise SetupError(
            f"table lane_lead_times, column probability: lane {bad[0]} of table lanes sums to {said:g}, not 1"
        )
    return start, end, table.numbers("cost"), probability


def _in_horizon(table: Table, periods: int) -> Array:
    t = table.numbers("period")
    table.first("period", t >= periods, f"is beyond table capacity, which ends with period {periods - 1}")
    return t


def _supply(table: Table, sku: Array, periods: int) -> Array:
    i, t = table.index("sku", sku), _in_horizon(table, periods)
    table.unique("sku, period", i, t)
    units = np.full((len(sku), periods), np.inf, np.float32)
    units[i, t] = table.numbers("units")
    return units


def _stock(table: Table, sku: Array, site: Array) -> Array:
    i, j = table.index("sku", sku), table.index("site", site)
    table.unique("sku, site", i, j)
    units = np.zeros((len(sku), len(site)), np.float32)
    units[i, j] = table.numbers("units")
    return units


def _demand(table: Table, sku: Array, region: Array, periods: int) -> tuple[Array, Array, Array]:
    i, r, t = table.index("sku", sku), table.index("region", region), _in_horizon(table, periods)
    table.unique("sku, region, period", i, r, t)
    found = quantile_levels(table.data.column_names)
    if len(found) < 2:
        raise SetupError("table demand lacks quantile columns: at least two like q05 and q95 are needed")
    shape = (len(sku), len(region), periods)
    mean, quantiles = np.zeros(shape, np.float32), np.zeros((*shape, len(found)), np.float32)
    mean[i, r, t] = table.numbers("mean")
    before: Array | None = None
    for q, (level, name) in enumerate(found):
        values = table.numbers(name, Column(f"{level:.1%} quantile, units", low=0))
        if before is not None:
            table.first(name, values < before * (1 - QUANTILE_TOLERANCE), f"is below {found[q - 1][1]}")
        before = values if before is None else np.maximum(values, before)
        quantiles[i, r, t, q] = before
    return mean, quantiles, np.array([level for level, _ in found])


def write_instance(instance: Instance, folder: Path | str) -> None:
    """Write all tables of a problem; what `read_instance` gives back is the same, bit by bit."""
    x, folder = instance, Path(folder)
    site, region, speed = (np.arange(len(a)) for a in (x.site, x.region, x.speed))
    write_table(folder, "skus", {c: getattr(x, c) for c in TABLES["skus"]})
    latitude, longitude = x.site_place.T
    columns = (x.site, x.site_name, x.layer, latitude, longitude, x.cutoff_hour)
    write_table(folder, "sites", dict(zip(TABLES["sites"], columns, strict=True)))
    write_table(
        folder, "regions", {"region": x.region, "latitude": x.region_place[:, 0], "longitude": x.region_place[:, 1]}
    )
    write_table(folder, "speeds", {"speed": x.speed, "promise_hours": x.promise_hours, "value": x.speed_value})
    write_table(folder, "order_hours", {"hour": np.arange(24), "share": x.hour_share})
    j, t = np.divmod(np.arange(x.storage_m3.size), x.periods)
    limits = {c: _nullable(getattr(x, c).ravel()) for c in ("storage_m3", "inbound_units")}
    write_table(folder, "capacity", {"site": named(site[j], x.site), "period": t, **limits})
    r, s = np.divmod(np.arange(x.speed_share.size), len(speed))
    shares = {"region": named(region[r], x.region), "speed": x.speed[s], "share": x.speed_share.ravel()}
    write_table(folder, "region_speeds", shares)
    r, j = np.nonzero(np.isfinite(x.delivery_hours))
    ways = {"hours": x.delivery_hours[r, j], "cost": x.delivery_cost[r, j]}
    write_table(folder, "delivery", {"site": named(j, x.site), "region": named(r, x.region), **ways})
    ends = np.append(x.site, SUPPLIER)
    write_table(folder, "lanes", {"from_site": ends[x.lane_from], "to_site": x.site[x.lane_to], "cost": x.lane_cost})
    e, n = np.nonzero(x.lane_lead)
    lane = {"from_site": ends[x.lane_from[e]], "to_site": x.site[x.lane_to[e]]}
    write_table(folder, "lane_lead_times", {**lane, "periods": n, "probability": x.lane_lead[e, n]})
    i, t = np.nonzero(np.isfinite(x.supply))
    write_table(folder, "supply", {"sku": named(i, x.sku), "period": t, "units": x.supply[i, t]})
    i, j = np.nonzero(x.stock)
    write_table(folder, "stock", {"sku": named(i, x.sku), "site": named(j, x.site), "units": x.stock[i, j]})
    _write_demand(x, folder)


def _nullable(values: Array) -> object:
    import pyarrow as pa

    return pa.array(values, mask=np.isinf(values))


def _write_demand(x: Instance, folder: Path) -> None:
    i, r, t = np.nonzero((x.demand_mean > 0) | (x.demand_quantiles[..., -1] > 0))
    columns = {"sku": named(i, x.sku), "region": named(r, x.region), "period": t.astype(np.int32)}
    columns["mean"] = x.demand_mean[i, r, t]
    for q, level in enumerate(x.levels):
        columns[quantile_column(float(level))] = x.demand_quantiles[i, r, t, q]
    write_table(folder, "demand", columns)
