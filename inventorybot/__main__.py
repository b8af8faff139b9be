"""The command line: `inventorybot COMMAND`, also `python -m inventorybot COMMAND`.

Every command lives with the code it starts (services/, streaming/, ml/) and is found by name in COMMANDS, so that
`--help` imports none of them and no layer imports another.
"""

from __future__ import annotations

import sys

import typer

from inventorybot import __version__
from inventorybot.errors import InventoryBotError, TryLater
from inventorybot.lazy_commands import Table, group

COMMANDS: Table = {
    "up": ("services.local.up:up", "Start the whole platform on this machine, and play a warehouse day through it."),
    "demo": ("services.local.demo:demo", "Play the demo day on a platform that runs already."),
    "publish": (
        "services.publish_cli:publish",
        "Publish events from JSON lines or CSV; report every line that is refused.",
    ),
    "replay": ("ml.vision.replay:replay", "Publish bin images with the receipts that put the items there."),
    "count": ("ml.vision.cli:count", "Count the items in pictures of bins with the count model alone."),
    "forecast": ("ml.demand.cli:forecast", "Forecast demand as a distribution from a table of sales."),
    "train": ("ml.cli:train", "Train a model."),
    "evaluate": ("ml.cli:evaluate", "Measure a model on data that it has never seen."),
    "models": ("services.models_cli:app", "List the releases of a model, or put one in service."),
    "verify": ("services.verify.cli:verify", "Check independently that no event was lost or counted twice."),
    "dead-letters": ("services.dead_letters_cli:app", "List, show and replay what could not be processed."),
    "topics": ("services.topics_cli:topics", "Show the topics: what each carries, its key, who writes and reads it."),
    "migrate": (
        "services.migrate_cli:migrate",
        "Create or upgrade the topics and tables; running it again is harmless.",
    ),
    "worker": ("streaming.cli:worker", "Run one agent: ledger, count, variance or alert."),
    "api": ("services.api.cli:api", "Run the HTTP API."),
    "plan": ("ml.planning.cli:app", "Plan what to buy and where to put it, with a proof; simulate it; make a problem."),
    "planner": ("ml.planning.process:planner", "Run the planner: network plans, as asked for and every night."),
    "jobs": ("ml.jobs.cli:app", "Run the batch jobs: one now, or all at their times; see what ran."),
}


HINTS = {
    "kafka": ". Does it run? `inventorybot up` starts one; INVENTORYBOT_KAFKA names another.",
    "cassandra": ". Does it run? `inventorybot up` starts one; INVENTORYBOT_CASSANDRA_HOSTS names another.",
}
"""What to do when a part does not answer."""


main_app = typer.Typer(cls=group(COMMANDS), add_completion=False, no_args_is_help=True, rich_markup_mode="markdown")


@main_app.callback()
def about() -> None:
    """InventoryBot keeps warehouse records true: an exact ledger, camera counts, and alerts when the two disagree.

    Start with `inventorybot up`. Settings are environment variables, INVENTORYBOT_…; see docs/settings.md.
    """


@main_app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"inventorybot {__version__}")


def main() -> None:
    """Run; an error that has something to say says it in one sentence and exits with 2."""
    try:
        main_app()
    except InventoryBotError as error:
        hint = HINTS.get(error.part, "") if isinstance(error, TryLater) else ""
        typer.secho(f"inventorybot: {error}{hint}", fg="red", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
