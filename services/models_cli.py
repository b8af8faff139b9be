"""`inventorybot models`: which releases of a model there are, and which one is in service.

In: the registry (settings INVENTORYBOT_MODELS and INVENTORYBOT_MODEL_ARTIFACTS). Out: a table; or another release in
service, which running agents follow within seconds, without a restart.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from inventorybot.adapters.registry import PACKAGED, ModelRegistry, packaged
from inventorybot.errors import SetupError
from inventorybot.settings import Settings, load

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List the releases of a model, or put one in service."
)
Model = Annotated[str, typer.Argument(help="Model: count, demand or suspect.")]


@app.command("list")
def list_releases(
    name: Annotated[str | None, typer.Argument(help="Model: count, demand or suspect; all, if left out.")] = None,
) -> None:
    """Show the releases of a model, or of all, oldest first; the one in service is marked with *."""
    with _busy("Asking the registry"):
        registry = _registry()
        names = [name] if name else sorted({*PACKAGED, *(model for model, _ in registry.list())})
        lines = [line for model in names for line in _lines(registry, model)]
    if not lines:
        raise SetupError(f"no release of the model {name!r} is in the registry, and none ships with this installation")
    for line in lines:
        typer.echo(line)


@app.command()
def show(
    name: Model,
    version: Annotated[str | None, typer.Argument(help="Version; the one in service, if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole card, as JSON.")] = False,
) -> None:
    """Show one release: what its card says, where its files lie, and that they are whole."""
    with _busy("Fetching the release"):
        registry = _registry()
        release = registry.release(name, version) if version else registry.current(name)
        card = release.card()
    if as_json:
        typer.echo(json.dumps(card, indent=1, ensure_ascii=False))
        return
    typer.echo(f"{name} {release.version}  {_figure(card)}")
    for key in ("task", "created", "code_version", "data_sha256", "note"):
        if card.get(key):
            typer.echo(f"  {key}: {card[key]}")
    typer.echo(f"  files: {release.path}")
    for file in sorted(release.path.iterdir()):
        typer.echo(f"    {file.name}  {file.stat().st_size:,} bytes")


@app.command()
def publish(
    name: Model,
    version: Annotated[str, typer.Argument(help="Version to give it; a version is never overwritten.")],
    folder: Annotated[Path, typer.Argument(help="Release folder with card.json.", exists=True, file_okay=False)],
) -> None:
    """Copy a release folder into the registry; it is not in service before `promote`.

    The card names every file with its SHA-256; only safetensors, ONNX, text and JSON are taken: nothing that could run code.
    """
    with _busy("Publishing"):
        _registry().publish(name, version, folder)
    typer.echo(
        f"{name} {version} is in the registry; `inventorybot models promote {name} {version}` puts it in service"
    )


@app.command()
def promote(
    name: Model,
    version: Annotated[str, typer.Argument(help="Version in the registry.")],
    even_if_worse: Annotated[bool, typer.Option("--even-if-worse", help="Also when it is no better.")] = False,
    in_service: Annotated[
        float | None,
        typer.Option(help="What the release in service scores on the new one's held-back data; its card, if left out."),
    ] = None,
) -> None:
    """Put a release in service, if its held-out figure beats the one in service, and tell running agents.

    Repeating it does no harm; where the agents could not be told, it tells them.
    """
    from inventorybot import wiring

    with _busy("Promoting"):
        verdict = asyncio.run(
            wiring.put_in_service(load(), name, version, even_if_worse=even_if_worse, in_service_value=in_service)
        )
    typer.echo(f"{name} {version} is in service: {verdict}")


@app.command()
def rollback(name: Model) -> None:
    """Put back in service what was so before the last promotion, and tell running agents."""
    from inventorybot import wiring

    with _busy("Rolling back"):
        version = asyncio.run(wiring.roll_back(load(), name))
    typer.echo(f"{name} {version} is in service again")


@app.command()
def announce(
    name: Annotated[str | None, typer.Argument(help="Model; every one that was ever promoted, if left out.")] = None,
) -> None:
    """Tell running agents (again) what is in service, after the broker was away or the alias was moved in MLflow."""
    from inventorybot import wiring

    settings = load()
    with _busy("Announcing"):
        names = [name] if name else sorted({model for model, _ in _registry(settings).list()})
        told = [asyncio.run(wiring.announce_model(settings, model)) for model in names]
    if not told:
        typer.echo("the registry holds no release: there is nothing to tell")
    for it in told:
        typer.echo(f"{it.name} {it.version} is announced")


def _registry(settings: Settings | None = None) -> ModelRegistry:
    settings = settings or load()
    return ModelRegistry(settings.models or None, settings.model_artifacts or None)


def _lines(registry: ModelRegistry, name: str) -> list[str]:
    promoted = registry.promoted(name)
    rows = [(it.version, it.card, it.created, "") for it in registry.entries(name)]
    try:
        shipped = packaged(name)
        card = shipped.card()
        rows.insert(0, (shipped.version, card, str(card.get("created", "")), "ships with this installation"))
    except SetupError:  # none does
        pass
    out = []
    for version, card, created, remark in rows:
        serves = version == promoted if promoted and not remark else not promoted and bool(remark)
        cells = [f"{'*' if serves else ' '} {name} {version}", _figure(card), created[:19], remark]
        out.append("  ".join(cell for cell in cells if cell))
    return out


def _figure(card: dict[str, Any]) -> str:
    found = card.get("held_out")
    return f"{found['metric']} {round(found['value'], 4)}" if isinstance(found, dict) else "no held-out figure"


@contextmanager
def _busy(what: str) -> Iterator[None]:
    """A moving line on standard error meanwhile: MLflow alone takes seconds to load."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(what, total=None)
        yield
