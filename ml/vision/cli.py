"""The commands `inventorybot count` and `inventorybot train count`.

In: pictures of bins; or labelled bins in the ABID layout. Out: a table or a Parquet file of counts; or a model release.
torch and pyarrow are imported when a command runs, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inventorybot.domain.counting import MAX_COUNT, CountDistribution
from inventorybot.errors import BadEvent, SetupError

if TYPE_CHECKING:
    from inventorybot.adapters.count_model import CountModel

CHUNK = 256
"""Pictures read at a time: enough to keep decoding and computing busy, 15 MB of JPEG."""

SHOWN = 50
"""Rows of the table on the terminal; --out has them all."""

train = typer.Typer(add_completion=False, no_args_is_help=True, help="Train a model.")


@train.callback()
def _models() -> None:
    """Train a model."""


def count(
    images: Annotated[list[Path] | None, typer.Argument(help="JPEG files to count.", show_default=False)] = None,
    bins: Annotated[list[Path] | None, typer.Option(help="Folder or zip in the ABID layout; may be repeated.")] = None,
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


def _sources(images: list[Path], bins: list[Path]) -> Iterator[_Picture]:
    from ml.vision.data import BinSource

    for path in images:
        yield _Picture(str(path), path)
    for path in bins:
        source = BinSource.open(path)
        ids = source.names("bin-images", ".jpg")
        if not ids:
            raise SetupError(f"{path} holds no bin-images/*.jpg: it is not in the ABID layout")
        for bin_id in ids:
            yield _Picture(bin_id, None, f"bin-images/{bin_id}.jpg", source)


def _in_service() -> Path:
    from inventorybot.adapters.registry import ModelRegistry
    from inventorybot.settings import load

    return ModelRegistry(load().models or None).current("count").path


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


@train.command("count")
def train_count(
    bins: Annotated[list[Path], typer.Option(help="Labelled bins: folder or zip in the ABID layout; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and the log.")] = Path("runs/count"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch in --out.")] = False,
    release: Annotated[Path | None, typer.Option(help="Folder for the release; default OUT/release.")] = None,
    version: Annotated[str, typer.Option(help="Version of the release.")] = "v1",
    rendered: Annotated[int | None, typer.Option(help="Number of drawn pictures to add.")] = None,
    phase: Annotated[list[str] | None, typer.Option(help="PX:EPOCHS, e.g. 160:6; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, bins and machine: same weights.")] = 1,
) -> None:
    """Train the count model, and write a release with its card. An interrupted run goes on with --resume.

    The release is a folder; `inventorybot models publish count VERSION FOLDER` brings it into the registry.
    """
    from dataclasses import replace

    from ml.vision.release import write_release
    from ml.vision.train import TrainConfig, run

    config = TrainConfig(bins=tuple(str(b) for b in bins), seed=seed)
    if rendered is not None:
        config = replace(config, rendered=rendered)
    if phase:
        config = replace(config, phases=tuple(_phase(p) for p in phase))
    checkpoint = run(config, out, resume=resume, say=typer.echo)
    target = release or out / "release"
    card = write_release(checkpoint, target, version=version, created=datetime.now(UTC))
    found = card["metrics"].get("crossfit_all", card["metrics"]["rendered"])["accuracy"]
    typer.echo(f"released to {target}: accuracy {found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})")


def _phase(text: str) -> tuple[int, int]:
    px, colon, epochs = text.partition(":")
    if not (colon and px.isdigit() and epochs.isdigit() and int(px) % 32 == 0 and int(px) > 0 and int(epochs) > 0):
        raise typer.BadParameter(f"{text!r} is not PX:EPOCHS with PX a multiple of 32, e.g. 160:6")
    return int(px), int(epochs)
