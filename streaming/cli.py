"""`inventorybot worker AGENT`: one agent, until it is told to stop (SIGTERM, SIGINT)."""

from __future__ import annotations

from typing import Annotated

import faust
import typer

from inventorybot import __version__, telemetry
from inventorybot.settings import load
from streaming import app as root


def worker(agent: Annotated[str, typer.Argument(help="ledger, count, variance, alert or stock-watch")]) -> None:
    """Run one agent. Several workers of one agent share its partitions; at most one works on a partition at a time."""
    if agent not in root.AGENTS:
        raise typer.BadParameter(f"there is no agent {agent!r}; choose one of {', '.join(root.AGENTS)}")
    settings = load()
    telemetry.configure_logging(settings.log_level, process=f"worker-{agent}")
    telemetry.BUILD.info({"version": __version__})
    application = root.build(settings, agent, root.connect(settings, agent))
    telemetry.serve_metrics(settings.metrics_port)  # answers once everything it needs is there
    runner = faust.Worker(
        application, loglevel=settings.log_level, override_logging=False, redirect_stdouts=False, quiet=True
    )
    runner.execute_from_commandline()
