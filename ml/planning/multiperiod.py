"""Several periods and layers: the linear program of stock, purchases and transfers over time.

In: an `Instance`. Out: a `Network` in arrays, and its matrices, which are the same for every SKU but for its volume.

    y_jtk in [0, w]  units at site j that cover slice k of the demand of period t      f_et >= 0  units sent on lane e in t
    u_jt >= 0        units kept for later beyond those
    balance j,t    Σ_k y + u + Σ_out f  <=  opening + u_{t-1} + Σ_k (1 - p_k) y_{t-1} + Σ_in Σ_l P_l f_{t-l}
    supply t       Σ_{e from the supplier} f_et <= S_t
    storage j,t    Σ_i volume (Σ_k y + u + Σ_out f) <= C_jt          inbound j,t    Σ_i Σ_in Σ_l P_l f_{t-l} <= F_jt

What balance leaves over is thrown away. N SKUs, J sites, M of them serving, E lanes, T periods, K slices, L longest lead.
Tests: tests/unit/planning/test_multiperiod.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from ml.planning.data import Instance
from ml.planning.problem import Tensor
from ml.planning.segments import SLICES, reach, site_demand, sold
from ml.planning.tables import Array

CHUNK = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Several periods of the network; float64 throughout, money, m³, units.

    Args:
        width: units of the slices (N, M, T, K). sale: earned by one unit sold there then, (N, M, T).
        sold_K: probability that a unit of the slice is asked for.
        volume, unit_cost, holding, salvage: (N,). supply: (N, T), inf: no limit. stock: opening (N, J).
        storage, inbound: (J, T), inf: no limit.
        serving: rows of the serving sites, int64 (M,). layer: int64 (J,).
        lane_from (-1: supplier), lane_to: int64 (E,). lane_cost: (E,). lane_lead: probabilities (E, L).
        offered: mean demand (N, M, T), units.
        constant: money that no decision changes: less goodwill lost on all demand.
    """

    width: Tensor
    sale: Tensor
    sold_K: Tensor
    volume: Tensor
    unit_cost: Tensor
    holding: Tensor
    salvage: Tensor
    supply: Tensor
    stock: Tensor
    storage: Tensor
    inbound: Tensor
    serving: Array
    layer: Array
    lane_from: Array
    lane_to: Array
    lane_cost: Array
    lane_lead: Array
    offered: Tensor
    constant: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int, int, int, int]:
        """N, J, M, E, T, K."""
        n, m, t, k = self.width.shape
        return n, len(self.layer), m, len(self.lane_to), t, k

    @property
    def columns(self) -> tuple[slice, slice, slice]:
        """Where y (M, T, K), f (E, T) and u (J, T) stand in a SKU's vector of decisions."""
        _, j, m, e, t, k = self.shape
        a, b, c = m * t * k, m * t * k + e * t, m * t * k + e * t + j * t
        return slice(0, a), slice(a, b), slice(b, c)

    def to(self, device: torch.device) -> Network:
        """The same with its tensors on another device."""
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        parts |= {name: value.to(device) for name, value in parts.items() if isinstance(value, Tensor)}
        return replace(self, **parts)

    def late(self, period: int) -> Array:
        """Probability that what is sent in a period arrives after the last, float64 (E,)."""
        left = self.width.shape[2] - period
        lost: Array = self.lane_lead[:, left:].sum(axis=1)
        return lost

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decisions (N, columns) as y (N, M, T, K), f (N, E, T), u (N, J, T)."""
        n, j, m, e, t, k = self.shape
        y, f, u = (x[:, c] for c in self.columns)
        return y.reshape(n, m, t, k), f.reshape(n, e, t), u.reshape(n, j, t)

    def worth(self) -> Tensor:
        """Money of one unit of each decision (N, columns)."""
        n, j, _, _, t, _ = self.shape
        keep = -self.holding[:, None].expand(n, t).clone()
        keep[:, -1] += self.salvage
        y = self.sale[..., None] * self.sold_K + (1 - self.sold_K) * keep[:, None, :, None]
        device = self.width.device
        late = torch.from_numpy(np.stack([self.late(s) for s in range(t)], axis=1)).to(device)  # E, T
        f = (self.salvage - self.holding)[:, None, None] * late - torch.from_numpy(self.lane_cost).to(device)[:, None]
        f[:, torch.from_numpy(self.lane_from < 0).to(device)] -= self.unit_cost[:, None, None]
        u = keep[:, None].expand(n, j, t)
        return torch.cat([y.reshape(n, -1), f.reshape(n, -1), u.reshape(n, -1)], dim=1)

    def upper(self) -> Tensor:
        """Largest amount of each decision (N, columns); inf where only limits hold it."""
        n, j, _, e, t, _ = self.shape
        free = torch.full((n, (e + j) * t), torch.inf, dtype=torch.float64, device=self.width.device)
        return torch.cat([self.width.reshape(n, -1), free], dim=1)

    def own_limits(self) -> Tensor:
        """Right sides of a SKU's own rows (N, J T + T): opening stock in the first period, then supply."""
        n, j, _, _, t, _ = self.shape
        opening = torch.zeros(n, j, t, dtype=torch.float64, device=self.width.device)
        opening[:, :, 0] = self.stock
        return torch.cat([opening.reshape(n, -1), self.supply], dim=1)

    def shared_limits(self) -> Tensor:
        """Right sides of the shared rows (2 J T,): storage, then inbound."""
        return torch.cat([self.storage.reshape(-1), self.inbound.reshape(-1)])

    def matrices(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """Own rows (J T + T, columns), the same for every SKU; shared rows (2 J T, columns), storage for 1 m³ a unit."""
        _, j, m, e, t, k = self.shape
        ycol, fcol, ucol = (c.start for c in self.columns)
        own: list[tuple[int, int, float]] = []
        shared: list[tuple[int, int, float]] = []
        stay = 1.0 - self.sold_K.cpu().numpy()
        for s in range(t):
            held = [(self.serving[a] * t + s, ycol + (a * t + s) * k + c, stay[c]) for a in range(m) for c in range(k)]
            held += [(a * t + s, ucol + a * t + s, 1.0) for a in range(j)]
            for row, column, kept in held:
                own.append((row, column, 1.0))
                shared.append((row, column, 1.0))
                if s + 1 < t:
                    own.append((row + 1, column, -kept))
            for lane in range(e):
                column, a, b = fcol + lane * t + s, self.lane_from[lane], self.lane_to[lane]
                if a < 0:
                    own.append((j * t + s, column, 1.0))
                else:
                    own.append((a * t + s, column, 1.0))
                    shared.append((a * t + s, column, 1.0))
                for lead, chance in enumerate(self.lane_lead[lane]):
                    if chance > 0 and s + lead < t:
                        own.append((b * t + s + lead, column, -chance))
                        shared.append((j * t + b * t + s + lead, column, chance))
        return _sparse(own, j * t + t, self.columns[2].stop), _sparse(shared, 2 * j * t, self.columns[2].stop)


def _sparse(entries: list[tuple[int, int, float]], rows: int, columns: int) -> sp.csr_matrix:
    row, column, value = zip(*entries, strict=True)
    made = sp.csr_matrix((value, (row, column)), shape=(rows, columns))
    made.eliminate_zeros()
    return made


def build_network(
    instance: Instance, *, slices: int = SLICES, progress: Callable[[int], None] | None = None
) -> Network:
    """The linear program of all periods. `progress` is told the number of SKUs done since the last call."""
    way = reach(instance)
    n, m, t = instance.skus, len(way.sites), instance.periods
    width, sale = torch.empty(n, m, t, slices, dtype=torch.float64), torch.empty(n, m, t, dtype=torch.float64)
    offered = torch.empty(n, m, t, dtype=torch.float64)
    base = torch.from_numpy(instance.price + instance.shortage_cost)
    for a in range(0, n, CHUNK):
        part = slice(a, min(n, a + CHUNK))
        for s in range(t):
            w, mean, earn = site_demand(instance, way, part, slices, s, torch.zeros(m))
            width[part, :, s] = w.permute(2, 0, 1).double()
            sale[part, :, s], offered[part, :, s] = earn.T + base[part, None], mean.T.double()
        if progress:
            progress(part.stop - part.start)
    lost = (instance.demand_mean.sum(axis=(1, 2), dtype=np.float64) * instance.shortage_cost).sum()
    return Network(
        width=width,
        sale=sale,
        sold_K=torch.from_numpy(sold(slices)),
        volume=torch.from_numpy(instance.volume_m3),
        unit_cost=torch.from_numpy(instance.unit_cost),
        holding=torch.from_numpy(instance.holding_cost),
        salvage=torch.from_numpy(instance.salvage),
        supply=torch.from_numpy(instance.supply.astype(np.float64)),
        stock=torch.from_numpy(instance.stock.astype(np.float64)),
        storage=torch.from_numpy(instance.storage_m3.copy()),
        inbound=torch.from_numpy(instance.inbound_units.copy()),
        serving=way.sites,
        layer=instance.layer,
        lane_from=instance.lane_from,
        lane_to=instance.lane_to,
        lane_cost=instance.lane_cost,
        lane_lead=instance.lane_lead,
        offered=offered,
        constant=-float(lost),
    )
