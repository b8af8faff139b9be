"""`inventorybot models`: which releases of a model there are, and which one is in service.

In: the registry (setting INVENTORYBOT_MODELS, a folder or any fsspec URL). Out: a table; or a changed alias, which
running agents follow within seconds, without a restart.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from msgspec import UNSET

from inventorybot import wiring
from inventorybot.adapters.registry import ModelRegistry, Release
from inventorybot.errors import SetupError, TryLater
from inventorybot.settings import load
from inventorybot.wire.codec import Envelope, message
from inventorybot.wire.schemas import MODEL_RELEASED, ModelReleasedData

ANNOUNCE_TIMEOUT_S = 5.0
"""Nothing depends on the announcement: a broker that is away must not hold up a promotion."""

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List the releases of a model, or put one in service."
)


@app.command("list")
def list_releases(name: Annotated[str, typer.Argument(help="Model.")] = "count") -> None:
    """Show the releases of a model; the one in service is marked."""
    registry = _registry()
    current = registry.current(name)
    releases = [registry.release(name, version) for version in registry.versions(name)]
    if registry.promoted(name) is None:
        releases.insert(0, current)
    for release in releases:
        mark = "*" if release.path == current.path else " "
        packaged = "  (ships with this installation)" if release is current and registry.promoted(name) is None else ""
        typer.echo(f"{mark} {name} {release.version}  {_held_out(release)}{packaged}")


@app.command()
def publish(
    name: Annotated[str, typer.Argument(help="Model.")],
    version: Annotated[str, typer.Argument(help="Version to give it; a version is never overwritten.")],
    folder: Annotated[Path, typer.Argument(help="Release folder with card.json.", exists=True, file_okay=False)],
) -> None:
    """Copy a release folder into the registry; it is not in service before `promote`."""
    _registry().publish(name, version, folder)
    typer.echo(
        f"{name} {version} is in the registry; `inventorybot models promote {name} {version}` puts it in service"
    )


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="Model.")],
    version: Annotated[str, typer.Argument(help="Version in the registry.")],
    even_if_worse: Annotated[
        bool, typer.Option("--even-if-worse", help="Also when it is no better: a roll-back.")
    ] = False,
) -> None:
    """Put a release in service, if its held-out figure beats the one in service."""
    registry = _registry()
    before = registry.promoted(name)
    verdict = registry.promote(name, version, even_if_worse=even_if_worse)
    typer.echo(f"{name} {version} is in service: {verdict}")
    try:
        asyncio.run(_announce(registry.release(name, version), before))
    except TryLater as e:  # the alias is what agents follow; the event only tells others
        typer.echo(f"not announced on inventory.models: {e}", err=True)


async def _announce(release: Release, before: str | None) -> None:
    """Tells inventory.models that a release became the one in service. Raises: TryLater: Kafka does not answer."""
    card = json.loads((release.path / "card.json").read_text())
    data = ModelReleasedData(
        name=release.name, version=release.version, sha256=card.get("sha256", ""), previous=before if before else UNSET
    )
    now = int(datetime.now(UTC).timestamp() * 1000)
    head = Envelope(str(uuid.uuid4()), "inventorybot/models", MODEL_RELEASED, now)
    async with wiring.publisher(load(), ANNOUNCE_TIMEOUT_S) as publisher:
        await publisher.publish([message(head, release.name, data)])


def _registry() -> ModelRegistry:
    return ModelRegistry(load().models or None)


def _held_out(release: Release) -> str:
    try:
        found = json.loads((release.path / "card.json").read_text()).get("held_out")
    except (OSError, ValueError) as e:
        raise SetupError(f"{release.path / 'card.json'} cannot be read: {e}") from e
    return f"{found['metric']} {found['value']}" if found else "no held-out figure"
