"""A network small enough for pencil and paper: one SKU, two sites, two regions. In: what differs. Out: an `Instance`.

A unit costs 4 and its lane 0.25; it sells for 10, a kept promise adds 3; last mile is 1 at home and 3 elsewhere; a unit not
sold costs 0.5 and brings 1; a lost one costs 2. Demand of each region is uniform on 0 to 10. Run: pytest tests/unit/planning
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ml.planning.data import Instance

LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])


def small_network(periods: int = 1, **changes: Any) -> Instance:
    """Args: changes: fields of the instance."""
    both = np.ones((2, periods))
    quantiles = np.broadcast_to(10 * LEVELS, (1, 2, periods, 5)).astype(np.float32)
    fields: dict[str, Any] = {
        "sku": np.array(["mug"]),
        "volume_m3": np.array([1.0]),
        "unit_cost": np.array([4.0]),
        "price": np.array([10.0]),
        "holding_cost": np.array([0.5]),
        "salvage": np.array([1.0]),
        "shortage_cost": np.array([2.0]),
        "pack_size": np.array([1]),
        "min_order": np.array([0.0]),
        "order_cost": np.array([0.0]),
        "site": np.array(["a", "b"]),
        "site_name": np.array(["A", "B"]),
        "layer": np.array([1, 1]),
        "cutoff_hour": np.array([24, 24]),
        "site_place": np.zeros((2, 2)),
        "storage_m3": 100.0 * both,
        "inbound_units": 100.0 * both,
        "region": np.array(["a-land", "b-land"]),
        "region_place": np.zeros((2, 2)),
        "speed": np.array(["next-day"]),
        "promise_hours": np.array([24.0]),
        "speed_value": np.array([3.0]),
        "speed_share": np.ones((2, 1)),
        "hour_share": np.eye(24)[9],
        "delivery_hours": np.full((2, 2), 10.0),
        "delivery_cost": np.array([[1.0, 3.0], [3.0, 1.0]]),
        "lane_from": np.array([-1, -1]),
        "lane_to": np.array([0, 1]),
        "lane_cost": np.array([0.25, 0.25]),
        "lane_lead": np.ones((2, 1)),
        "supply": np.full((1, periods), np.inf, np.float32),
        "demand_mean": np.full((1, 2, periods), 5.0, np.float32),
        "demand_quantiles": quantiles,
        "levels": LEVELS,
        "stock": np.zeros((1, 2), np.float32),
    }
    return Instance(**(fields | changes))
