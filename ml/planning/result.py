"""The answer of the planner and its folder of Parquet tables.

In: a solution. Out: `plan`, `prices`, `supply_prices`, `flows` (.parquet) and summary.json; prices back for a warm start.
N SKUs, J sites, E lanes, T periods. `RESULTS` is the documentation of the columns. Tests: tests/unit/planning/test_result.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from inventorybot.errors import SetupError
from ml.planning.data import Instance
from ml.planning.solve import Prices
from ml.planning.tables import SUPPLIER, Array, named, write_table

LEAST_UNITS = 1e-9
"""Smaller quantities are not written."""

RESULTS: dict[str, dict[str, str]] = {
    "plan": {
        "sku": "name of the SKU",
        "site": "name of the site",
        "period": "number of the period, from 0",
        "units": "units that arrive at the site in the period, expected over lead times",
        "cover": "units set against the site's demand of the period, opening stock included",
        "sales": "of those, expected to be sold",
        "left": "units expected on hand at the end of the period",
        "offered": "mean demand that the site is asked to serve, units",
    },
    "prices": {
        "site": "name of the site",
        "period": "number of the period, from 0",
        "storage_price": "what one more m³ would earn in the period, money",
        "flow_price": "what receiving one more unit would earn, money",
        "storage_used_m3": "space used, m³",
        "inbound_used_units": "units received",
    },
    "supply_prices": {
        "sku": "name of the SKU",
        "period": "number of the period, from 0",
        "price": "what one more unit from the vendor would earn, money; only rows above 0",
    },
    "flows": {
        "sku": "name of the SKU",
        "from_site": f'name of the site, or "{SUPPLIER}"',
        "to_site": "name of the site",
        "period": "period of the dispatch, from 0",
        "units": "units sent",
    },
}


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A plan, its prices and its proof.

    Args:
        units, cover, sales, left, offered: float32 (N, J, T), columns of the table `plan`.
        flow: units sent, float32 (N, E, T).
        storage_price, flow_price, storage_used, inbound_used: float64 (J, T).
        supply_price: float32 (N, T).
        keep: writes what else the next plan starts from.
        summary: model, value, bound, gap, wanted_gap, status, expected_profit, violations, seconds, iterations, sizes.
    """

    units: Array
    cover: Array
    sales: Array
    left: Array
    offered: Array
    flow: Array
    storage_price: Array
    flow_price: Array
    storage_used: Array
    inbound_used: Array
    supply_price: Array
    summary: dict[str, Any]
    keep: Callable[[Path], None] = lambda folder: None


def write_result(result: Result, instance: Instance, folder: Path | str) -> None:
    """Write all tables; names are those of the instance."""
    folder = Path(folder)
    x, t = instance, instance.periods
    some = (result.units > LEAST_UNITS) | (result.cover > LEAST_UNITS) | (result.left > LEAST_UNITS)
    i, j, s = np.nonzero(some)
    columns: dict[str, Any] = {"sku": named(i, x.sku), "site": named(j, x.site), "period": s.astype(np.int32)}
    columns |= {c: getattr(result, c)[i, j, s] for c in ("units", "cover", "sales", "left", "offered")}
    write_table(folder, "plan", columns)
    j, s = np.divmod(np.arange(x.sites * t), t)
    used = {"storage_used_m3": result.storage_used.ravel(), "inbound_used_units": result.inbound_used.ravel()}
    prices = {"storage_price": result.storage_price.ravel(), "flow_price": result.flow_price.ravel()}
    write_table(folder, "prices", {"site": named(j, x.site), "period": s.astype(np.int32), **prices, **used})
    i, s = np.nonzero(result.supply_price > 0)
    price = {"period": s.astype(np.int32), "price": result.supply_price[i, s]}
    write_table(folder, "supply_prices", {"sku": named(i, x.sku), **price})
    i, e, s = np.nonzero(result.flow > LEAST_UNITS)
    ends = np.append(x.site, SUPPLIER)
    lane = {"from_site": named(x.lane_from[e] % len(ends), ends), "to_site": named(x.lane_to[e], x.site)}
    write_table(
        folder, "flows", {"sku": named(i, x.sku), **lane, "period": s.astype(np.int32), "units": result.flow[i, e, s]}
    )
    result.keep(folder)
    (folder / "summary.json").write_text(json.dumps(result.summary, indent=2) + "\n", encoding="utf-8")


def read_summary(folder: Path | str) -> dict[str, Any]:
    """The summary of a result. Raises: SetupError: there is none."""
    try:
        found: dict[str, Any] = json.loads((Path(folder) / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupError(f"{folder} holds no plan: `inventorybot plan solve DIR --out {folder}` makes one") from error
    return found


def read_prices(folder: Path | str, instance: Instance, sites: Array) -> Prices:
    """Prices of an earlier plan for a warm start, by name: what is new starts at 0.

    Args: sites: rows of the instance's sites that are wanted, int64 (M,).
    Raises: SetupError: the folder holds no plan.
    """
    read_summary(folder)
    table, scarce = (pq.read_table(Path(folder) / f"{name}.parquet") for name in ("prices", "supply_prices"))
    first = table.filter(pc.equal(table["period"], 0))
    by_site = {name: row for row, name in enumerate(first["site"].to_pylist())}
    rows = [by_site.get(name, -1) for name in instance.site[sites].tolist()]
    storage, flow = (np.append(first[c].to_numpy(), 0.0)[rows] for c in ("storage_price", "flow_price"))
    scarce = scarce.filter(pc.equal(scarce["period"], 0))
    found = pc.index_in(scarce["sku"].cast(pa.string()), pa.array(instance.sku.tolist(), pa.string()))
    known = np.asarray(found.is_valid().to_numpy(), bool)
    supply = np.zeros(instance.skus)
    supply[found.drop_null().to_numpy()] = scarce["price"].to_numpy()[known]
    return Prices(torch.from_numpy(storage), torch.from_numpy(flow), torch.from_numpy(supply))
