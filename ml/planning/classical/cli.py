"""The command `inventorybot plan lost-sales`.

In: demand, lead time, costs, and a kind of policy. Out: the policy and its average cost a period, as text or JSON; a policy that
is a table goes to a Parquet file, one row a state: on_hand, due_1 .. due_{L-1}, order, share (of periods in the state).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inventorybot.errors import SetupError
from ml.planning.classical.lost_sales_kinds import Kind

if TYPE_CHECKING:
    from ml.planning.classical.lost_sales import LostSales
    from ml.planning.classical.lost_sales_search import Answer

TABLES = Path("runs/lost-sales")
"""Where tables go without --out."""


def lost_sales(
    demand: Annotated[str, typer.Option(help="Of a period: poisson:MEAN, geometric:MEAN (from 0), pmf:P0,P1,...")],
    lead_time: Annotated[int, typer.Option(help="Periods from order to arrival, 1 to 20.")],
    holding: Annotated[float, typer.Option(help="Cost of a unit left after demand, a period.")],
    penalty: Annotated[float, typer.Option(help="Cost of a unit of demand that is lost.")],
    policy: Annotated[Kind, typer.Option(help="best: the optimal one where it can be computed.")] = Kind.BEST,
    out: Annotated[Path | None, typer.Option(help="Parquet file for a policy that is a table.")] = None,
    seed: Annotated[int, typer.Option(help="Of simulated demand; exact costs do not depend on it.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """How much to order when unmet demand is lost: a policy, and its average cost a period.

    Each period an order arrives, an order is placed, demand comes; what is left costs `--holding` a unit, what is lost
    `--penalty`. Costs are undiscounted long-run averages: exact where the policy's Markov chain can be set up, else simulated,
    with a 95 % interval. Example: `inventorybot plan lost-sales --demand poisson:5 --lead-time 2 --holding 1 --penalty 9`.
    """
    from rich.console import Console

    from ml.planning.classical.demand import parse
    from ml.planning.classical.lost_sales import LostSales

    item = LostSales(parse(demand), lead_time, holding, penalty)
    started = time.perf_counter()
    answer = _find(item, policy, seed, Console(stderr=True))
    said = describe(item, answer, _write(item, answer, out))
    said["seconds"] = round(time.perf_counter() - started, 3)
    if as_json:
        typer.echo(json.dumps(said))
    else:
        _show(said, Console())


def _find(item: LostSales, kind: Kind, seed: int, stderr: Any) -> Answer:
    from rich.progress import Progress

    from ml.planning.classical.lost_sales_search import find

    with Progress(console=stderr, transient=True) as progress:
        task = progress.add_task("lost sales", total=1.0)
        return find(
            item, kind, seed=seed, tick=lambda what, done: progress.update(task, description=what, completed=done)
        )


def describe(item: LostSales, answer: Answer, table: Path | None) -> dict[str, Any]:
    """What the command says, as JSON can hold it.

    Args: item, answer: the question and its answer. table: where the policy's table is.
    """
    from ml.planning.classical.lost_sales import BaseStock, CappedBaseStock

    policy: dict[str, Any] = {"name": answer.kind.value}
    match answer.policy:
        case BaseStock(level):
            policy |= {"level": level, "order": "level - sum(state), at least 0"}
        case CappedBaseStock(level, cap):
            policy |= {"level": level, "cap": cap, "order": "level - sum(state), at least 0 and at most cap"}
        case _:
            policy |= {"table": str(table) if table else None, "order": "looked up in the table"}
    if answer.kind is Kind.MYOPIC:
        ratio = item.critical_ratio
        policy |= {
            "critical_ratio": ratio,
            "order": "smallest z with P(demand <= left over on its arrival + z) >= critical_ratio",
        }
    if answer.chain:
        policy |= {"states": len(answer.chain.states_NL), "largest_order": int(answer.chain.orders_N.max())}
    said: dict[str, Any] = {
        "demand": item.demand.name,
        "lead_time": item.lead_time,
        "holding": item.holding,
        "penalty": item.penalty,
        "state": "on hand after the arrival, then what arrives in 1 .. lead_time - 1 periods",
        "policy": policy,
        "cost_per_period": answer.cost,
        "exact": answer.exact,
        "interval": [answer.low, answer.high],
        "lower_bound": answer.lower_bound,
    }
    if answer.chain:
        said |= {"lost_per_period": answer.chain.lost, "held_per_period": answer.chain.held}
    return said


def _write(item: LostSales, answer: Answer, out: Path | None) -> Path | None:
    """The table of a policy that is one; None where its parameters say it all."""
    from ml.planning.classical.lost_sales import Myopic, TablePolicy

    if not isinstance(answer.policy, TablePolicy | Myopic) or answer.chain is None:
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"{item.demand.name.split(',')[0]}-L{item.lead_time}-h{item.holding:g}-p{item.penalty:g}-{answer.kind.value}"
    path = out or TABLES / f"{name.replace(':', '-')}.parquet"
    places = ["on_hand", *(f"due_{j}" for j in range(1, item.lead_time))]
    columns = {place: answer.chain.states_NL[:, j].astype("int32") for j, place in enumerate(places)}
    columns |= {"order": answer.chain.orders_N.astype("int32"), "share": answer.chain.share_N}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
    except OSError as error:
        raise SetupError(f"{path} cannot be written ({error.strerror}): name another file by --out") from error
    return path


def _show(said: dict[str, Any], stdout: Any) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False)
    policy = said["policy"]
    detail = {k: v for k, v in policy.items() if k not in ("name", "order") and v is not None}
    table.add_row(
        "policy", policy["name"] + (": " + ", ".join(f"{k} {v}" for k, v in detail.items()) if detail else "")
    )
    table.add_row("order", policy["order"])
    low, high = said["interval"]
    how = "exact" if said["exact"] else f"simulated; 95 % interval {low:.4f} to {high:.4f}"
    table.add_row("cost a period", f"{said['cost_per_period']:.4f} ({how})")
    if said["lower_bound"] is not None:
        table.add_row("no policy below", f"{said['lower_bound']:.4f}")
    if "lost_per_period" in said:
        table.add_row("lost, left a period", f"{said['lost_per_period']:.4f}, {said['held_per_period']:.4f} units")
    stdout.print(table)
