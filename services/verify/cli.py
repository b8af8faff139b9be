"""`inventorybot verify`: is every event of the topic in the ledger and the levels, once?

In: Kafka's topics and Cassandra's tables, as the settings say. Out: a report; exit status 0 where nothing is wrong, 1
where something is or where the ledger is behind, 2 where a part is away. Try: `inventorybot verify --json | jq .ok`.
"""

from __future__ import annotations

import json
import math
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from inventorybot import wiring
from inventorybot.settings import Settings, load
from inventorybot.wire.topics import DEAD_LETTERS, UPDATES
from services.verify.fold import Check, Share, Transfers
from services.verify.report import Report
from services.verify.sources import Bounds, Log, Tables, dead_letters

GROUP = "inventorybot-ledger"
"""The consumer group of the ledger agent."""
RECORDS_A_PASS = 2_000_000
"""About 1.1 GB of memory; a longer topic is read in several passes, each over a share of the bins."""
SETTLE_POLL_S = 0.5


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Write the report as JSON.")] = False,
    settle: Annotated[float, typer.Option(help="Seconds to wait for the ledger to reach the end of the topic.")] = 60.0,
    wait: Annotated[float, typer.Option(help="Seconds to wait for Cassandra to answer.")] = 10.0,
) -> None:
    """Check independently that no event was lost or counted twice.

    Folds inventory.updates from its first record with code of its own, sums the ledger in Cassandra, and reads the
    levels by bin and by SKU. Every record must be applied, a duplicate, or a dead letter; every slot must be the same
    in all four; every transfer must have both its halves. Exit status 1: something is not so.
    """
    settings = load()
    errors = Console(stderr=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=errors, transient=True, disable=not errors.is_terminal,
    ) as progress:  # fmt: skip
        report = run(settings, progress, settle_s=settle, wait_s=wait)
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=1, ensure_ascii=False))
    else:
        report.show(Console())
    raise typer.Exit(0 if report.good else 1)


def run(settings: Settings, progress: Progress, *, settle_s: float, wait_s: float = 10.0) -> Report:
    """The whole check. Raises: TryLater: Kafka or Cassandra is away. SetupError: topics or tables are missing."""
    config = wiring.kafka_config(settings)
    updates, letters = Log(config, UPDATES.name), Log(config, DEAD_LETTERS.name)
    try:
        bounds, behind = _settled(updates, progress, settle_s)
        if behind:
            return Report(behind=behind)
        database = wiring.database(settings, wait_s=wait_s)
        try:
            return _passes(settings, updates, letters, Tables(database), bounds, progress)
        finally:
            database.close()
    finally:
        updates.close()
        letters.close()


def _settled(log: Log, progress: Progress, settle_s: float) -> tuple[Bounds, int]:
    """What of the topic the ledger has handled, once that is all of it; else by how much it is behind.

    Where events keep coming, it is enough that the ledger has got past what was there when we came: it keeps up.
    """
    wanted = {p: end for p, (_, end) in log.bounds().items()}
    deadline = time.monotonic() + settle_s
    task = progress.add_task("waiting for the ledger to reach the end of the topic", total=None)
    while True:
        committed, bounds = log.committed(GROUP), log.bounds()  # in this order: halves are published before a commit
        behind = sum(max(0, end - max(start, committed.get(p, 0))) for p, (start, end) in bounds.items())
        total = sum(end - start for start, end in bounds.values())
        progress.update(task, completed=total - behind, total=total)
        if not behind or time.monotonic() >= deadline:
            progress.remove_task(task)
            if all(committed.get(p, 0) >= end for p, end in wanted.items()):
                return {p: (start, min(end, committed.get(p, 0))) for p, (start, end) in bounds.items()}, 0
            return bounds, behind
        time.sleep(SETTLE_POLL_S)


def _passes(
    settings: Settings, updates: Log, letters: Log, tables: Tables, bounds: Bounds, progress: Progress
) -> Report:
    number = max(1, math.ceil(sum(end - start for start, end in bounds.values()) / RECORDS_A_PASS))
    report, transfers = Report(), Transfers()
    retention = DEAD_LETTERS.retention_ms
    options: dict[str, Any] = {
        "old_epochs": tables.old_epochs(UPDATES.name),
        "forgotten_before": 0 if retention is None else int(time.time() * 1000) - retention,
        "limits": (settings.max_age_days * 86_400_000, settings.max_future_s * 1000),
    }
    for i in range(number):
        check = Check(Share(i, number), transfers, **options)
        _one_pass(check, updates, letters, tables, bounds, progress)
        report.findings += check.findings()
        report.counts += check.counts
        report.dead_letters += check.reasons
    report.findings += transfers.findings()
    return report


def _one_pass(check: Check, updates: Log, letters: Log, tables: Tables, bounds: Bounds, progress: Progress) -> None:
    letter_bounds = letters.bounds()
    for place, code, arrived in dead_letters(letters, letter_bounds, UPDATES.name):
        check.dead(place, code, arrived)
    task = progress.add_task("reading the topic", total=sum(end - start for start, end in bounds.values()))
    for place, arrived, fact in updates.facts(bounds):
        check.record(place, arrived, fact)
        progress.advance(task)
    progress.remove_task(task)
    task = progress.add_task("reading the tables", total=3)

    def done(part: float) -> None:
        progress.advance(task, part)

    for row in tables.rows(done):
        check.row(row)
    for table in ("level_by_bin", "level_by_sku"):
        for level in tables.levels(table, done):
            check.level(table, *level)
    progress.remove_task(task)
    # What arrived meanwhile has changed some bins under our eyes: those are left for another time.
    since = {p: (bounds.get(p, (0, 0))[1], end) for p, (_, end) in updates.bounds().items()}
    for _, _, fact in updates.facts(since):
        if not isinstance(fact, str):
            check.set_aside(fact)
