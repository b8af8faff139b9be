"""The commands `inventorybot count` and `inventorybot evaluate count`; `train_cli.py` has `inventorybot train count`.

In: pictures of bins; or labelled bins in the ABID layout. Out: a table or a Parquet file of counts; or a report.
torch and pyarrow are imported when a command runs, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inventorybot.domain.counting import MAX_COUNT, CountDistribution
from inventorybot.errors import BadEvent, SetupError

if TYPE_CHECKING:
    from inventorybot.adapters.count_model import CountModel

CHUNK = 256
"""Pictures read at a time: enough to keep decoding and computing busy, 15 MB of JPEG."""

SHOWN = 50
"""Rows of the table on the terminal; --out has them all."""

SHOWN_METRICS = ("accuracy", "macro_f1", "within_one", "rmse", "mae", "nll", "ece", "ece_if_honest", "half_coverage")


def count(
    images: Annotated[list[Path] | None, typer.Argument(help="JPEG files to count.", show_default=False)] = None,
    bins: Annotated[
        list[str] | None, typer.Option(help="Folder or zip in the ABID layout, or s3://BUCKET; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write id, p0..p20, count and confidence here, as Parquet.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    release: Annotated[Path | None, typer.Option(help="Release folder to use instead of the one in service.")] = None,
) -> None:
    """Count the items in pictures of bins.

    A picture that cannot be counted is named on stderr with the reason, and the others are counted all the same.
    Exit code: 0 if any picture was counted, 1 if none could be, 2 for wrong usage.
    """
    from rich.console import Console
    from rich.progress import Progress

    from inventorybot.adapters.count_model import load

    sources = list(_sources(images or [], bins or []))
    if not sources:
        raise typer.BadParameter("give JPEG files, or --bins with a folder or zip")
    model = load(release or _in_service(), device)
    stderr = Console(stderr=True)
    counted: list[tuple[str, CountDistribution]] = []
    refused: list[tuple[str, str]] = []
    with Progress(console=stderr, transient=True) as progress:
        task = progress.add_task("Counting", total=len(sources))
        for chunk in (sources[i : i + CHUNK] for i in range(0, len(sources), CHUNK)):
            _count_chunk(model, chunk, counted, refused)
            progress.advance(task, len(chunk))
    if out:
        write_parquet(out, counted, f"{model.name}-{model.version}")
    else:
        _show(Console(), counted)
    for name, reason in refused:
        stderr.print(f"[red]refused[/red] {name}: {reason}", highlight=False, soft_wrap=True)
    stderr.print(_summary(counted, refused, model, out), highlight=False, soft_wrap=True)
    if not counted:
        raise typer.Exit(1)


def evaluate_count(
    bins: Annotated[
        list[Path], typer.Option(help="Folder or zip in the ABID layout, or s3://BUCKET; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for report.html and metrics.json.")] = Path("runs/judged"),
    split: Annotated[str, typer.Option(help="val, train, or all the bins.")] = "val",
    release: Annotated[Path | None, typer.Option(help="Release folder to judge instead of the one in service.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the bootstrap and of the miscounts that are put in.")] = 0,
) -> None:
    """Judge the count model on labelled bins: metrics with intervals beside baselines, and how it finds wrong records."""
    import json

    from rich.console import Console
    from rich.progress import Progress

    from inventorybot.adapters.count_model import load
    from ml.vision.data import read_bins
    from ml.vision.judge import judged, scored
    from ml.vision.report import page

    if split not in ("val", "train", "all"):
        raise typer.BadParameter(f"{split!r} is no split; choose val, train or all", param_hint="--split")
    found = [b for b in read_bins(bins) if b.quantity is not None]
    chosen = [b for b in found if split in (b.split, "all")]
    if not chosen:
        raise SetupError(f"none of the {len(found)} labelled bins is in the split {split!r}; try --split all")
    model = load(release or _in_service(), device)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Counting", total=len(chosen))
        kept, p = scored(model, chosen, lambda n: progress.advance(task, n))
        progress.add_task("Measuring", total=None)
        verdict = judged(model, kept, p, [b for b in found if b.split == "train"], seed)
    verdict |= {"split": split, "refused": len(chosen) - len(kept), "seed": seed}
    out.mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(json.dumps(verdict, indent=1) + "\n")
    jpegs = {it["id"]: next(b for b in kept if b.id == it["id"]).jpeg() for it in verdict["surprising"]}
    about = f"{len(kept)} bins of the split {split!r}, {len(chosen) - len(kept)} more refused; seed {seed}."
    (out / "report.html").write_text(page(verdict, jpegs, about), encoding="utf-8")
    _show_verdict(verdict)
    typer.echo(f"{about} The whole report: {out / 'report.html'}")


def _show_verdict(verdict: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from ml.vision.report import TITLES, cell

    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(verdict["model"], *verdict["metrics"], box=None)
    for name in SHOWN_METRICS:
        table.add_row(TITLES[name], *(cell(name, view[name]) for view in verdict["metrics"].values()))
    console.print(table)
    table = Table("needs no picture", "accuracy", "RMSE", "MAE", box=None)
    for guess, row in verdict["baselines"].items():
        table.add_row(guess, *(cell(name, row[name]) for name in ("accuracy", "rmse", "mae")))
    console.print(table)
    table = Table("miscounts put into 2 % of records", "", box=None)
    for name, it in verdict["alerts"].items():
        table.add_row(TITLES[name], cell(name, it))
    console.print(table)


class _Picture:
    """One picture to be counted: its name, and how to get its bytes."""

    def __init__(self, name: str, path: Path | None, member: str = "", source: object = None) -> None:
        self.name, self._path, self._member, self._source = name, path, member, source

    def read(self) -> bytes:
        from ml.vision.data import BinSource

        if isinstance(self._source, BinSource):
            return self._source.read(self._member)
        assert self._path is not None
        return self._path.read_bytes()


def _sources(images: list[Path], bins: list[str]) -> Iterator[_Picture]:
    from ml.vision.data import BinSource

    for path in images:
        yield _Picture(str(path), path)
    for place in bins:
        source = BinSource.open(place)
        ids = source.names("bin-images", ".jpg")
        if not ids:
            raise SetupError(f"{place} holds no bin-images/*.jpg: it is not in the ABID layout")
        for bin_id in ids:
            yield _Picture(bin_id, None, f"bin-images/{bin_id}.jpg", source)


def _in_service() -> Path:
    from inventorybot.adapters.registry import ModelRegistry
    from inventorybot.settings import load

    settings = load()
    return ModelRegistry(settings.models or None, settings.model_artifacts or None).current("count").path


def _count_chunk(
    model: CountModel,
    chunk: list[_Picture],
    counted: list[tuple[str, CountDistribution]],
    refused: list[tuple[str, str]],
) -> None:
    names, jpegs = [], []
    for picture in chunk:
        try:
            jpegs.append(picture.read())
            names.append(picture.name)
        except (OSError, KeyError) as e:  # KeyError: gone from the zip
            refused.append((picture.name, f"cannot be read: {e}"))
    for name, answer in zip(names, model.score(jpegs), strict=True):
        if isinstance(answer, BadEvent):
            refused.append((name, f"{answer.code}: {answer.reason}"))
        else:
            counted.append((name, answer))


def write_parquet(path: Path, counted: list[tuple[str, CountDistribution]], model: str) -> None:
    """One row a picture: id, p0 .. p20 (float32), count (int8), confidence (float32), model."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": pa.array([name for name, _ in counted], pa.string())}
    columns |= {f"p{k}": pa.array([d.p[k] for _, d in counted], pa.float32()) for k in range(MAX_COUNT + 1)}
    columns["count"] = pa.array([d.count for _, d in counted], pa.int8())
    columns["confidence"] = pa.array([d.confidence for _, d in counted], pa.float32())
    columns["model"] = pa.array([model] * len(counted), pa.string())
    pq.write_table(pa.table(columns), path)


def _show(console: object, counted: list[tuple[str, CountDistribution]]) -> None:
    from rich.console import Console
    from rich.table import Table

    assert isinstance(console, Console)
    table = Table("picture", "count", "confidence", "next most probable", box=None)
    for name, d in counted[:SHOWN]:
        others = sorted((k for k in range(MAX_COUNT + 1) if k != d.count), key=lambda k: -d.p[k])[:2]
        table.add_row(
            name, _named(d.count), f"{d.confidence:.0%}", ", ".join(f"{_named(k)} ({d.p[k]:.0%})" for k in others)
        )
    console.print(table)
    if len(counted) > SHOWN:
        console.print(f"... and {len(counted) - SHOWN} more; --out FILE.parquet has them all")


def _named(k: int) -> str:
    return f"{MAX_COUNT}+" if k == MAX_COUNT else str(k)


def _summary(
    counted: list[tuple[str, CountDistribution]], refused: list[tuple[str, str]], model: CountModel, out: Path | None
) -> str:
    sure = sum(d.confidence for _, d in counted) / max(1, len(counted))
    where = f", written to {out}" if out else ""
    said = (
        f"{len(counted)} counted by {model.name}-{model.version} on {model.device} (mean confidence {sure:.0%}){where}"
    )
    return f"{said}; {len(refused)} refused" if refused else said
