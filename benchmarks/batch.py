"""How long a retrain and a forecast take, and in how much memory, as the number of series grows.

In: made weekly series (seeded). Out: a table: ours (choice on held-back weeks, distribution, final fit, forecast), beside
statsforecast's AutoETS and mlforecast with LightGBM on the same series in the same run, with each one's WAPE on the 13 weeks
that were made but not shown. Each measurement is a process of its own, so that peak memory is its own.

Run: python -m benchmarks.batch [--series 1000 --series 5000 …] [--full] [--weeks 104] [--only ours]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from ml.demand.panel import Panel

HORIZON = 13
SEED = 1
FULL = (1_000, 3_000, 10_000, 30_000)
SMALL = (500, 1_000)
LOOK_S = 0.2
"""Between looks at the memory of all processes of a way."""


def made(series: int, weeks: int, seed: int = SEED) -> NDArray[np.float32]:
    """(N, T) weekly units: levels from 0.2 to 200, a yearly shape, slow drift, promotions; a third sells rarely."""
    rng = np.random.default_rng(seed)
    t = np.arange(weeks)
    level = np.exp(rng.uniform(np.log(0.2), np.log(200), (series, 1)))
    season = 1 + rng.uniform(0, 0.5, (series, 1)) * np.sin(
        2 * np.pi * (t / 52 + rng.choice([0, 0.25, 0.5], (series, 1)))
    )
    drift = np.exp(np.cumsum(rng.normal(0, 0.02, (series, weeks)), axis=1))
    promoted = np.where(rng.random((series, weeks)) < 0.06, rng.uniform(1.5, 3, (series, weeks)), 1.0)
    return np.asarray(rng.poisson(level * season * drift * promoted), np.float32)


def ours(units: NDArray[np.float32]) -> NDArray[np.floating]:
    """What `inventorybot train demand` and a forecast do, without files: MLP, choice, intervals, the table of all models."""
    from ml.demand import compare, forecaster

    panel = _panel(units)
    model = forecaster.fit(panel, HORIZON, forecaster.Config(seed=SEED, use_mlp=True), keep_mlp=True)
    assert model.evidence is not None
    compare.table(model.evidence)
    return model.forecast(panel, HORIZON)[1][:, :, 2]


def autoets(units: NDArray[np.float32]) -> NDArray[np.floating]:
    """statsforecast AutoETS, one series after the other on both cores. Without a season: it knows none longer than 24."""
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    frame = StatsForecast([AutoETS(season_length=1)], freq=1, n_jobs=2).forecast(df=_long(units), h=HORIZON)
    return np.asarray(frame.sort_values(["unique_id", "ds"])["AutoETS"]).reshape(len(units), HORIZON)


def mlforecast_lightgbm(units: NDArray[np.float32]) -> NDArray[np.floating]:
    """mlforecast with LightGBM as its users set it up for many series of different sizes (ml/demand/recursive.py).

    Each series is scaled by itself, the week of the year is a feature, and the loss is absolute error, which is what is judged. Without
    the scaling the largest sellers decide every split: measured on 1,000 series, WAPE 0.316 (and squared error) instead of 0.202.
    """
    from ml.demand import recursive

    return recursive.forecast(_panel(units), HORIZON, seed=SEED)


def _panel(units: NDArray[np.float32]) -> Panel:
    from ml.demand.panel import Panel
    from ml.demand.periods import Periods

    n, t = units.shape
    items = np.array([f"i{k // 20}" for k in range(n)])
    stores = np.array([f"s{k % 20}" for k in range(n)])
    return Panel(stores, items, np.full(n, ""), Periods("weekly", 0, t, False), units)


def _long(units: NDArray[np.float32]) -> Any:
    import pandas as pd

    n, t = units.shape
    return pd.DataFrame(
        {"unique_id": np.repeat(np.arange(n), t), "ds": np.tile(np.arange(t), n), "y": units.ravel().astype(np.float64)}
    )


WAYS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating]]] = {
    "ours": ours,
    "mlforecast + LightGBM": mlforecast_lightgbm,
    "statsforecast AutoETS": autoets,
}


def _child(name: str, series: int, weeks: int, answer: Connection) -> None:
    units = made(series, weeks + HORIZON)
    began = time.perf_counter()
    forecast = WAYS[name](units[:, :weeks])
    wall = time.perf_counter() - began
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    later = units[:, weeks:]
    answer.send(
        {
            "wall": wall,
            "cpu": sum(u.ru_utime + u.ru_stime for u in use),
            "wape": float(np.abs(forecast - later).sum() / later.sum()),
        }
    )


def measure(name: str, series: int, weeks: int) -> dict[str, float]:
    """One way on so many series, in a process of its own: wall and CPU seconds, peak GiB, WAPE."""
    context = mp.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_child, args=(name, series, weeks, there))
    process.start()
    there.close()
    tree, peak = psutil.Process(process.pid), 0
    try:
        while not here.poll(LOOK_S):
            peak = max(peak, _resident(tree))
        found: dict[str, float] = here.recv()
    except EOFError as e:
        raise SystemExit(f"{name} on {series} series died; its message is above") from e
    finally:
        process.join()
    return found | {"gib": peak / 2**30}


def _resident(tree: psutil.Process) -> int:
    """Bytes resident of a process and all below it."""
    total = 0
    try:
        for one in (tree, *tree.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.Error:
        return total  # one of them has just ended
    return total


def main(arguments: list[str] | None = None) -> None:
    """Measure and print. Args: arguments: as on the command line; None: those of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, action="append", help="number of series; may be repeated")
    parser.add_argument("--full", action="store_true", help="1,000 to 30,000 series: half an hour")
    parser.add_argument("--weeks", type=int, default=104)
    parser.add_argument("--only", choices=list(WAYS), help="one way only")
    parser.add_argument("--json", action="store_true", help="one line of JSON a measurement instead of the table")
    args = parser.parse_args(arguments)
    sizes = args.series or (FULL if args.full else SMALL)
    names = [args.only] if args.only else list(WAYS)
    table = Table("series", "", "wall s", "CPU s", "peak GiB", "WAPE", title=f"retrain and forecast {HORIZON} weeks")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Measuring", total=len(sizes) * len(names))
        for series in sizes:
            for name in names:
                m = measure(name, series, args.weeks)
                if args.json:
                    print(json.dumps({"series": series, "way": name} | m), flush=True)
                row = (f"{m['wall']:.0f}", f"{m['cpu']:.0f}", f"{m['gib']:.2f}", f"{m['wape']:.4f}")
                table.add_row(f"{series:,}", name, *row)
                progress.advance(task)
    if not args.json:
        Console().print(table)


if __name__ == "__main__":
    main()
