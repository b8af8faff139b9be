"""The commands `inventorybot train count` (one run, an ensemble, ablations, a search), `train change` and `train agreement`.

In: labelled bins in the ABID layout. Out: a checkpoint and a model release; or a table. Under `torchrun` every process
runs this command, and the first one speaks and writes. torch is imported when a command runs, so that `--help` is quick.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ml.vision.config import TrainConfig


def train_count(
    bins: Annotated[
        list[str], typer.Option(help="Labelled bins in the ABID layout: folder, zip or s3://BUCKET; may be repeated.")
    ],
    config: Annotated[
        Path | None, typer.Option(help="TOML or JSON file of options; ml/vision/configs/ has some.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and the log.")] = Path("runs/count"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch in --out.")] = False,
    release: Annotated[Path | None, typer.Option(help="Folder for the release; default OUT/release.")] = None,
    version: Annotated[str, typer.Option(help="Version of the release.")] = "v1",
    members: Annotated[
        int, typer.Option(min=1, help="Runs with successive seeds in OUT/seed-N, released as one ensemble.")
    ] = 1,
    ablate: Annotated[Path | None, typer.Option(help="Train the variants of this file, and write their table.")] = None,
    search: Annotated[Path | None, typer.Option(help="Search the ranges of this file with Optuna.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of --search in all.")] = 20,
    rendered: Annotated[int | None, typer.Option(min=0, help="Number of drawn pictures to add.")] = None,
    phase: Annotated[list[str] | None, typer.Option(help="PX:EPOCHS, e.g. 160:6; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, bins and machine: same weights.")] = None,
) -> None:
    """Train the count model, and write a release with its card. An interrupted run goes on with --resume.

    The release is a folder; `inventorybot models publish count VERSION FOLDER` brings it into the registry.
    On several GPUs: torchrun --nproc-per-node N -m inventorybot train count ...
    """
    from ml.vision import experiments
    from ml.vision.release import write_release
    from ml.vision.train import run

    if ablate and search:
        raise typer.BadParameter("choose --ablate or --search: the one compares what you name, the other looks for it")
    chosen = _chosen(bins, config, rendered, phase, seed)
    if ablate:
        typer.echo(f"the table: {experiments.ablate(chosen, ablate, out, typer.echo)}")
        return
    if search:
        experiments.search(chosen, search, out, trials=trials, say=typer.echo)
        typer.echo(f"train it: --config {out / 'best.json'}; the trials: {out / 'trials.csv'}")
        return
    checkpoints = [
        run(replace(chosen, seed=n), out / f"seed-{n}" if members > 1 else out, resume=resume, say=typer.echo)
        for n in range(chosen.seed, chosen.seed + members)
    ]
    if os.environ.get("RANK", "0") != "0":
        return
    target = release or out / "release"
    card = write_release(checkpoints, target, version=version, created=datetime.now(UTC))
    found = card["metrics"].get("all", card["metrics"]["rendered"])["accuracy"]
    typer.echo(f"released to {target}: accuracy {found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})")


def train_change(
    bins: Annotated[list[str], typer.Option(help="Labelled bins in the ABID layout; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for the model and its card.")] = Path("runs/change"),
    release: Annotated[Path | None, typer.Option(help="Release of the count model whose features are used.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, bins and release: same weights.")] = 1,
) -> None:
    """Train the change model: two looks at one bin -> the distribution of the difference, beside two single counts."""
    from ml.vision import change

    _head(bins, out, release, lambda labelled, features, p, _: change.train_change(labelled, features, p, seed=seed))


def train_agreement(
    bins: Annotated[list[str], typer.Option(help="Labelled bins in the ABID layout; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for the model and its card.")] = Path("runs/agreement"),
    release: Annotated[Path | None, typer.Option(help="Release of the count model whose features are used.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, bins and release: same weights.")] = 1,
) -> None:
    """Train the model that asks whether a picture agrees with a record, beside what the count alone finds."""
    from ml.vision import agreement

    _head(
        bins,
        out,
        release,
        lambda labelled, features, p, prior: agreement.train_agreement(labelled, features, p, prior, seed=seed),
    )


def _head(bins: list[str], out: Path, release: Path | None, learn: Callable[..., tuple[Any, dict[str, Any]]]) -> None:
    """Trains a small model on a release's features, writes it with its card, and shows what was measured."""
    import json

    from rich.console import Console
    from rich.progress import Progress

    from inventorybot.adapters.count_model import load
    from inventorybot.adapters.registry import packaged
    from ml.vision import heads
    from ml.vision.data import data_hash, read_bins, read_jpegs

    folder = release or packaged("count").path
    labelled = [b for b in read_bins(bins) if b.quantity is not None]
    model = load(folder, "cpu")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Looking", total=len(labelled))
        features, p = heads.embed(folder, read_jpegs(labelled), lambda n: progress.advance(task, n))
        progress.add_task("Learning", total=None)
        net, found = learn(labelled, features, p, model.class_prior)
    of = {
        "release": f"{model.name}-{model.version}",
        "release_sha256": model.card.sha256,
        "data_sha256": data_hash(labelled),
    }
    heads.save(net, out, of | {"features": features.shape[1], "measured": found})
    typer.echo(json.dumps(found, indent=1))
    typer.echo(f"written to {out}")


def _chosen(
    bins: list[str], file: Path | None, rendered: int | None, phase: list[str] | None, seed: int | None
) -> TrainConfig:
    """The configuration of the file, with what the command line says instead."""
    from ml.vision.config import TrainConfig, changed, read_config

    said = {"rendered": rendered, "seed": seed, "phases": [_phase(p) for p in phase] if phase else None}
    options = {name: value for name, value in said.items() if value is not None}
    return changed(read_config(file) if file else TrainConfig(), options | {"bins": bins}, "command line")


def _phase(text: str) -> tuple[int, int]:
    px, colon, epochs = text.partition(":")
    if not (colon and px.isdigit() and epochs.isdigit() and int(px) % 32 == 0 and int(px) > 0 and int(epochs) > 0):
        raise typer.BadParameter(f"{text!r} is not PX:EPOCHS with PX a multiple of 32, e.g. 160:6")
    return int(px), int(epochs)
