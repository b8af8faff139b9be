"""The commands `inventorybot train anomaly` and `inventorybot evaluate anomaly`.

In: seeds and sizes, or a table of real sales (store, item, week | date, units). Out: a release folder; or a report with pictures.
pandas, LightGBM and matplotlib are imported when a command runs, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inventorybot.errors import SetupError

if TYPE_CHECKING:
    import pandas as pd

    from ml.anomaly.evaluate import Measured

Sales = Annotated[
    Path | None,
    typer.Option(help="Real sales, .parquet or .csv: store, item, units, and week (a whole number) or date."),
]


def train_anomaly(
    out: Annotated[Path, typer.Option(help="Folder for the release.")] = Path("runs/anomaly"),
    sales: Sales = None,
    series: Annotated[int, typer.Option(min=100, max=20_000, help="Slots of each simulated warehouse.")] = 2000,
    days: Annotated[int, typer.Option(min=60, max=1500, help="Days of each, after 91 of history.")] = 365,
    replays: Annotated[int, typer.Option(min=2, max=500, help="Simulated warehouses to learn from.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the first warehouse; same seed and sales: same trees.")] = 1000,
    version: Annotated[str, typer.Option(help="Version of the release.")] = "v1",
    trees: Annotated[
        bool, typer.Option(help="--no-trees: keep those that ship; only calibrate them, minutes faster.")
    ] = True,
) -> None:
    """Train the detector of suspect records on simulated warehouses, and write a release with its card.

    With --sales, every second warehouse sells what yours really sold, and so do all that it is calibrated on. Counts that were really made teach it later, as they come in.
    """
    from ml.anomaly.model import SHIPPED, load
    from ml.anomaly.train import TrainConfig, release, settle, train

    config = TrainConfig(series=series, days=days, replays=replays, seed=seed)
    with _progress((replays if trees else 0) + config.checks + 3, "Training") as say:
        if trees:
            detector, checks = train(config, _table(sales), say)
        else:
            detector, checks = settle(load(SHIPPED), config, _table(sales), say)
        card = release(detector, checks, out, version=version, created=datetime.now(UTC))
    held = card["held_out"]
    typer.echo(f"suspect-{version} written to {out}: held-out {held['metric']} {held['value']}")


def evaluate_anomaly(
    series: Annotated[int, typer.Option(min=100, max=20_000, help="Slots (site × SKU) of each warehouse.")] = 2000,
    days: Annotated[int, typer.Option(min=60, max=1500, help="Days that are measured, after 91 of history.")] = 365,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the first warehouse; a seed that was trained on is refused.")
    ] = 77_000,
    replays: Annotated[int, typer.Option(min=1, max=50, help="Warehouses, one a seed.")] = 3,
    sales: Sales = None,
    release: Annotated[
        Path | None, typer.Option(help="Release folder to measure instead of the one that ships.")
    ] = None,
    harder: Annotated[bool, typer.Option(help="Measure the harder settings too.")] = True,
    from_daily: Annotated[
        bool,
        typer.Option(
            "--from-daily", help="Expected sales and families as the job find-suspects has them without --items."
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for report.html, pictures and figures.json.")] = Path(
        "runs/anomaly-evaluation"
    ),
) -> None:
    """Measure the detector of suspect records beside a zero-streak test, Isolation Forest and ECOD.

    Warehouses are simulated from seeds it has never seen, with a hidden truth; docs/suspect-records.md says how alarms are scored.
    """
    from rich.console import Console

    from ml.anomaly.model import SHIPPED, load
    from ml.anomaly.report import write
    from ml.anomaly.trial import Trial, run

    detector = load(release or SHIPPED)
    trial = Trial(series, days, replays, seed, harder, from_daily)
    with _progress(12 + 4 * replays + (15 if harder else 0), "Measuring") as say:
        settings, played = run(detector, trial, _table(sales), say)
        say("writing the report")
        about = (
            f"{replays} warehouses of about {series} slots over {days} days, seeds {seed} to {seed + replays - 1}, "
            f"{'made demand' if sales is None else 'real sales'}{', expectations from the daily table' if from_daily else ''}; detector suspect-{detector.card.get('version', '?')}, threshold "
            f"{detector.threshold:.3f}. A few in a hundred records go wrong in a year; every method's threshold was set beforehand."
        )
        page = write(out, settings, played, detector, about)
    _show(Console(), settings)
    typer.echo(f"Report: {page}")


@contextmanager
def _progress(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """A bar on stderr, one step for each line said."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)

        def say(text: str) -> None:
            bar.update(task, advance=1, description=f"{what}: {text}")

        yield say


def _table(path: Path | None) -> pd.DataFrame | None:
    """The sales table of a file; None where none was given. Raises: SetupError: it cannot be read."""
    import pandas as pd

    if path is None:
        return None
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path)
        return pd.read_parquet(path)
    except (OSError, ValueError) as e:
        raise SetupError(f"{path} cannot be read as a table of sales: {e}") from e


def _show(console: object, settings: dict[str, dict[str, Measured]]) -> None:
    from rich.console import Console
    from rich.table import Table

    assert isinstance(console, Console)
    for name, methods in settings.items():
        table = Table(
            "method",
            "precision",
            "recall",
            "F1",
            "AUC-ROC",
            "avg. precision",
            "days to detection",
            "units by then",
            "right of 1 count a day*",
            title=name,
            box=None,
        )
        for method, it in methods.items():
            f = it.figures
            table.add_row(
                method, *(f"{f[m]['value']:.2f} ({f[m]['low']:.2f}–{f[m]['high']:.2f})" for m in ("precision", "recall", "f1")),
                *(f"{f[m]['value']:.2f}" for m in ("auc_roc", "average_precision")),
                *(f"{f[m]['value']:.0f}" for m in ("median_days_to_detection", "median_units_to_detection")),
                f"{f['precision_at_1']['value']:.2f}",
            )  # fmt: skip
        console.print(table)
    console.print("* the most suspect record of a thousand slots is counted each day; other rates are in the report")
