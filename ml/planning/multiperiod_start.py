"""Where the next solution of several periods starts: a point that an earlier one passed by, well inside of all limits.

In: an earlier iterate, or its file. Out: an iterate for a network that has changed since, or has other SKUs, sites or lanes.
An interior point gains nothing from the last iterate, which lies at the edge, where steps are short; but from one whose
products still were a tenth of the money it gains all steps that led there (Yildirim and Wright 2002, Warm-start strategies
in interior-point methods for linear programming). The file is `start.npz` of a plan's folder.
Shapes: N SKUs, J sites, M serving, E lanes, T periods, K slices. Tests: tests/unit/planning/test_multiperiod_start.py.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inventorybot.errors import SetupError
from ml.planning.data import Instance
from ml.planning.multiperiod import Network
from ml.planning.multiperiod_barrier import Barrier, State
from ml.planning.multiperiod_certify import play
from ml.planning.problem import Tensor
from ml.planning.tables import SUPPLIER, Array

FILE = "start.npz"
AWAY = 1e-2
"""A decision starts at least this share of its slice away from both edges."""
LEAST_SLACK, LEAST_PRICE = 1e-2, 1e-3
"""Of a SKU's scaled units, and of its money: what a limit and its price start with at least."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A point between nothing and the solution; nan where nothing is known.

    Args:
        y: units in slices (N, M, T, K). f: units sent (N, E, T). u: units kept beyond slices (N, J, T).
        storage, inbound: (J, T). supply: (N, T). stock: (N, J, T), prices as in `NetworkPrices`.
        near: the products by the money at stake.
    """

    y: Tensor
    f: Tensor
    u: Tensor
    storage: Tensor
    inbound: Tensor
    supply: Tensor
    stock: Tensor
    near: float


def passing(barrier: Barrier, state: State) -> Start:
    """An iterate in units and money."""
    n, j, _, _, t, _ = barrier.network.shape
    y, f, u = barrier.network.split(state.x * barrier.live * barrier.scale)
    pi, half = state.pi / barrier.scale, barrier.half
    storage, inbound = state.price[:half].reshape(j, t), state.price[half:].reshape(j, t)
    stock, supply = pi[:, :half].reshape(n, j, t), pi[:, half:]
    return Start(y, f, u, storage, inbound, supply, stock, barrier.closeness(state))


def placed(barrier: Barrier, start: Start) -> State:
    """An iterate of this network near the start: what fits of its plan, moved inwards; duals that agree with its prices.

    Raises: SetupError: the start is of another shape.
    """
    network = barrier.network
    n, j, m, e, t, k = network.shape
    if start.y.shape != (n, m, t, k) or start.f.shape != (n, e, t) or start.u.shape != (n, j, t):
        raise SetupError(f"the start is of another network: {n} SKUs x {j} sites x {t} periods are wanted")
    cold = barrier.start()
    plan = play(network, *(a.nan_to_num(0.0) for a in (start.y, start.f, start.u)))
    parts = zip((plan.y, plan.f, plan.u), (start.y, start.f, start.u), strict=True)
    x = torch.cat([torch.where(told.isnan(), told, played).reshape(n, -1) for played, told in parts], 1) / barrier.scale
    x = torch.where(x.isnan() | ~barrier.live, cold.x, x)
    x = torch.where(barrier.boxed, x.clamp(AWAY * barrier.upper, (1 - AWAY) * barrier.upper), x.clamp(min=0.1 * AWAY))
    pi = torch.cat([start.stock.reshape(n, -1), start.supply], 1) * barrier.scale
    pi = torch.where(pi.isnan(), cold.pi, pi).clamp(min=LEAST_PRICE * barrier.money)
    price = torch.cat([start.storage.reshape(-1), start.inbound.reshape(-1)])
    price = torch.where(price.isnan(), cold.price, price)
    return _balanced(barrier, x, pi, price, start.near)


def _balanced(barrier: Barrier, x: Tensor, pi: Tensor, price: Tensor, near: float) -> State:
    """Slacks and duals whose products are about what `near` says."""
    used = x * barrier.live
    s = (barrier.limits - used @ barrier.own.T).clamp(min=LEAST_SLACK)
    slack = torch.maximum(barrier.together - barrier.use(used), 0.1 * LEAST_SLACK * barrier.together)
    room = torch.where(barrier.boxed, barrier.upper - x, 1.0)
    money = float((barrier.cost * x).sum().abs())
    mu = near * money / barrier.unit
    centre = mu * barrier.weight
    pi, price = torch.maximum(pi, 0.1 * centre / s), torch.maximum(price, 0.1 * mu / slack)
    z = barrier.cost - pi @ barrier.own - barrier.charge(price)
    apart = torch.minimum(centre / x, centre / room)
    low = torch.where(barrier.boxed, (-z).clamp(min=0) + apart, torch.maximum(-z, centre / x))
    high = z.clamp(min=0) + apart
    return State(x, low * barrier.live, high * barrier.boxed, s, pi, slack, price)


def write_start(start: Start, instance: Instance, network: Network, folder: Path) -> None:
    """Write a start by name, float32: what its plan's folder keeps for the next."""
    arrays: dict[str, Any] = {
        n: getattr(start, n).cpu().numpy().astype(np.float32) for n in Start.__slots__ if n != "near"
    }
    arrays["y"] = arrays["y"] / np.maximum(network.width.cpu().numpy(), 1e-30).astype(np.float32)  # shares of slices
    folder.mkdir(parents=True, exist_ok=True)
    arrays |= _names(instance, network) | {"near": np.float64(start.near)}
    np.savez(folder / FILE, **arrays)


def read_start(folder: Path | str, instance: Instance, network: Network) -> Start:
    """The start of an earlier plan for this network, by the names of SKUs, sites and lanes; nan for what is new.

    Raises: SetupError: the folder holds no start that can be read.
    """
    path = Path(folder) / FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            old = dict(file)
        rows = {axis: _rows(old[axis], names) for axis, names in _names(instance, network).items()}
        periods = _rows(np.arange(old["storage"].shape[1]), np.arange(instance.periods))
        axes: dict[str, tuple[str, ...]] = {
            "y": ("sku", "serving"),
            "f": ("sku", "lane"),
            "u": ("sku", "site"),
            "stock": ("sku", "site"),
        }
        axes |= {"supply": ("sku",), "storage": ("site",), "inbound": ("site",)}
        taken = {n: _taken(old[n], [*(rows[a] for a in by), periods]) for n, by in axes.items()}
        near = float(old["near"])
    except (OSError, KeyError, ValueError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise SetupError(
            f"{folder} holds no plan of several periods to start from ({FILE}: {type(error).__name__})"
        ) from error
    if taken["y"].shape[3] != network.width.shape[3]:
        raise SetupError(f"{path} is of {taken['y'].shape[3]} slices a demand, not {network.width.shape[3]}")
    there = {n: torch.from_numpy(a).to(network.width) for n, a in taken.items()}
    there["y"] = there["y"] * network.width
    return Start(**there, near=near)


def _names(instance: Instance, network: Network) -> dict[str, Array]:
    ends = np.append(instance.site, SUPPLIER)
    lanes = [f"{ends[a]}>{ends[b]}" for a, b in zip(instance.lane_from, instance.lane_to, strict=True)]
    sites = instance.site
    return {"sku": instance.sku, "site": sites, "serving": sites[network.serving], "lane": np.array(lanes, np.str_)}


def _rows(old: Array, new: Array) -> Array:
    """Where each new name stands among the old ones, int64; -1: nowhere."""
    at = {name: row for row, name in enumerate(old.tolist())}
    return np.array([at.get(name, -1) for name in new.tolist()], np.int64)


def _taken(values: Array, rows: list[Array]) -> Array:
    """These rows along the first axes, nan where a row is -1; float64."""
    out = values.astype(np.float64)
    for axis, wanted in enumerate(rows):
        out = np.take(out, np.maximum(wanted, 0), axis=axis)
        shape = [1] * out.ndim
        shape[axis] = -1
        out = np.where((wanted < 0).reshape(shape), np.nan, out)
    return out
