"""The one-period linear program in arrays, and the value of any plan in it.

In: slices of demand with a value each (from `segments`). Out: what a plan is worth and which limits it breaks.
Shapes: N SKUs (innermost: sums over sites and slices are then sums of rows), M serving sites, K slices.

    max  Σ v_jki y_jki      0 <= y_jki <= w_jki
    s.t. storage  Σ_ki volume_i y_jki <= C_j      flow  Σ_ki y_jki <= F_j      supply  Σ_jk y_jki <= S_i

Tests: tests/unit/planning/test_solve.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from inventorybot.errors import SetupError

Tensor = torch.Tensor
NOTHING = 1e-9
"""Money: where no plan earns more, as without any space, there is nothing left to prove."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One period of the network.

    Args:
        value_MKN: of a unit in a slice, its purchase and lanes paid, money, float32; does not rise with k.
        width_MKN: units of the slice, float32, >= 0.
        sold_K: probability that a unit of the slice is asked for, float64.
        volume_N: m³ a unit, float64. surplus_N: worth of a unit bought beyond all slices, lanes not paid, float64.
        lane_M: cost of bringing a unit to the site, float64.
        storage_M: m³ left by the opening stock. flow_M: units. Both float64; inf: no limit.
        supply_N: units, float32; inf: no limit.
        held_MN: units of opening stock, float32; they fill the first slices, whose widths are cut by them.
        held_sold_MN: of those, expected to be sold, float32.
        offered_MN: mean demand that the site is asked to serve, units, float32.
        constant: money that no decision changes: sales of the opening stock, less goodwill lost on all demand.
    """

    value_MKN: Tensor
    width_MKN: Tensor
    sold_K: Tensor
    volume_N: Tensor
    surplus_N: Tensor
    lane_M: Tensor
    storage_M: Tensor
    flow_M: Tensor
    supply_N: Tensor
    held_MN: Tensor
    held_sold_MN: Tensor
    offered_MN: Tensor
    constant: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """M, K, N."""
        m, k, n = self.value_MKN.shape
        return m, k, n

    @property
    def device(self) -> torch.device:
        """Where the arrays are."""
        return self.value_MKN.device

    def of(self, skus: Tensor | slice, scale: float = 1.0) -> Problem:
        """The part with these SKUs, the sites' limits scaled: a sample, or a what-if."""
        return replace(
            self,
            value_MKN=self.value_MKN[:, :, skus].contiguous(),
            width_MKN=self.width_MKN[:, :, skus].contiguous(),
            volume_N=self.volume_N[skus],
            surplus_N=self.surplus_N[skus],
            supply_N=self.supply_N[skus],
            held_MN=self.held_MN[:, skus],
            held_sold_MN=self.held_sold_MN[:, skus],
            offered_MN=self.offered_MN[:, skus],
            storage_M=self.storage_M * scale,
            flow_M=self.flow_M * scale,
        )

    def to(self, device: torch.device) -> Problem:
        """The same on another device."""
        moved = {n: getattr(self, n).to(device) for n in self.__slots__ if n != "constant"}
        return replace(self, **moved)


@dataclass(frozen=True, slots=True)
class Violations:
    """By how much a plan breaks each kind of limit at most: m³, units, units, units; 0 when it keeps them."""

    storage: float
    flow: float
    supply: float
    box: float

    @property
    def worst(self) -> float:
        """The largest of them."""
        return max(self.storage, self.flow, self.supply, self.box)


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """What a plan is worth, in float64.

    Args:
        value: money, comparable with a bound; add `Problem.constant` for the expected profit.
        space_M: m³ used. units_M: units received. violations: of every limit.
    """

    value: float
    space_M: Tensor
    units_M: Tensor
    violations: Violations


def fill(problem: Problem, units_MN: Tensor, skus: slice = slice(None)) -> Tensor:
    """Units by slice (M, K, n), the best slices first; what fits in no slice is left out.

    Args: units_MN: units to place, >= 0; only the columns of `skus`.
    """
    width = problem.width_MKN[:, :, skus]
    before = width.cumsum(1) - width
    return torch.minimum((units_MN[:, None].to(width.dtype) - before).clamp_(min=0), width)


def evaluate(problem: Problem, units_MN: Tensor) -> Worth:
    """What a plan is worth: units of each SKU bought for each site, whole or not, in slices or beyond them.

    Args: units_MN: units, >= 0; opening stock not counted.
    Raises: SetupError: another shape, negative, or not a number.
    """
    m, _, n = problem.shape
    if units_MN.shape != (m, n):
        raise SetupError(f"the plan must have {m} sites and {n} SKUs, not {tuple(units_MN.shape)}")
    if not bool((units_MN >= 0).all()):
        raise SetupError("the plan holds a negative or undefined quantity")
    units = units_MN.to(problem.device)
    value, step = 0.0, chunk_size(problem)
    for a in range(0, n, step):
        part = slice(a, min(n, a + step))
        y = fill(problem, units[:, part], part)
        value += float((problem.value_MKN[:, :, part].double() * y.double()).sum())
        beyond = (units[:, part].double() - y.sum(1, dtype=torch.float64)).clamp_(min=0)
        value += float((beyond * (problem.surplus_N[part] - problem.lane_M[:, None])).sum())
    space = units.double() @ problem.volume_N
    received = units.sum(1, dtype=torch.float64)
    supplied = units.sum(0, dtype=torch.float64)
    over = float((supplied - problem.supply_N.double()).max())
    return Worth(value, space, received, excess(problem, space, received, over, 0.0))


def excess(problem: Problem, space_M: Tensor, units_M: Tensor, supply: float, box: float) -> Violations:
    """How far the limits are exceeded, from what is used; `supply` and `box`: largest excess, below 0 for none."""
    storage, flow = space_M - problem.storage_M, units_M - problem.flow_M
    return Violations(*(max(0.0, x) for x in (float(storage.max()), float(flow.max()), supply, box)))


def relative_gap(bound: float, value: float) -> float:
    """(bound - value) / |value|; 0 when both are nothing."""
    missing = bound - value
    if abs(value) > NOTHING:
        return missing / abs(value)
    return 0.0 if missing <= NOTHING else float("inf")


def chunk_size(problem: Problem) -> int:
    """SKUs to work on at a time: 400,000 slices keep the intermediate arrays of a core in its cache; a GPU takes more."""
    m, k, _ = problem.shape
    return max(64, (400_000 if problem.device.type == "cpu" else 40_000_000) // (m * k))


def pick_devices(names: str) -> list[torch.device]:
    """auto (all GPUs that are there, else the CPU), or names with commas between them: cpu, cuda, cuda:0,cuda:1.

    A name may be there twice: its device then has two shares of the work.
    Raises: SetupError: there is no such device here.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if names == "auto":
        return [torch.device("cuda", i) for i in range(gpus)] or [torch.device("cpu")]
    known = {"cpu": "cpu", "cuda": "cuda:0"} | {f"cuda:{i}": f"cuda:{i}" for i in range(gpus)}
    found = []
    for name in names.split(","):
        if name.strip() not in known or (name.strip() == "cuda" and not gpus):
            there = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(gpus))])
            raise SetupError(f"device {name.strip()!r} is not to be had here: there are {there}")
        found.append(torch.device(known[name.strip()]))
    return found
