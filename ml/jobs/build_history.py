"""`inventorybot jobs run build-history`: the lake brought up to date with what has happened.

In: Cassandra (the ledger, counts, anomalies) and, with --from-kafka, the log of updates. Out: the lake at INVENTORYBOT_LAKE.
Run it every night after midnight UTC, or at any time: a day that has not changed stays as it is. Runs where
INVENTORYBOT_SPARK_MASTER says, by default here.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from inventorybot import wiring
from inventorybot.adapters.cassandra.schema import epoch_of
from inventorybot.adapters.kafka import Topics
from inventorybot.clock import now_ms
from inventorybot.errors import SetupError, TryLater
from inventorybot.settings import Settings, load
from inventorybot.wire.topics import UPDATES
from ml.history.build import Built, Source, build_anomalies, build_counts, build_days
from ml.history.cassandra_source import CassandraSource
from ml.history.kafka_source import KafkaSource
from ml.history.lake import Lake
from ml.history.session import spark_session


def build_history(
    since: Annotated[
        str, typer.Option(help="Build the days from this one on, changed or not; empty: those that changed.")
    ] = "",
    until: Annotated[str, typer.Option(help="The last day, such as 2026-11-20; empty: yesterday, UTC.")] = "",
    from_kafka: Annotated[
        bool, typer.Option("--from-kafka", help="Take movements from the log of updates, not from the ledger.")
    ] = False,
    lake: Annotated[str, typer.Option(help="Folder or URL of the lake; empty: INVENTORYBOT_LAKE.")] = "",
) -> str:
    """Bring the history up to date: movements, daily sales, levels, counts, anomalies and how they ended.

    Today is not over: it is built only where --until says so, and again the next time.
    """
    settings = load()
    place, today = Lake(lake or settings.lake), datetime.fromtimestamp(now_ms() / 1000, UTC).date()
    last = _day("--until", until) or today - timedelta(days=1)
    first = _day("--since", since)
    if last > today:
        raise SetupError(f"--until {last} has not come yet: the last day that can be built is {today}")
    if first and first > last:
        raise SetupError(f"--since {first} lies after --until {last}")
    with _alone(place), _bar() as progress:
        done = _build(settings, place, first, last, today, from_kafka, progress)
    typer.echo(done)
    return done


def _build(
    settings: Settings, lake: Lake, first: date | None, last: date, today: date, from_kafka: bool, progress: Progress
) -> str:
    task = progress.add_task("Cassandra", total=None)
    epoch, partitions = _topic(settings) if from_kafka else (0, 0)
    wiring.database(settings, wait_s=0).close()  # says in one sentence, and at once, that it is away or not migrated
    progress.update(task, description="Spark starts")
    with spark_session("build-history", settings, connectors=True) as spark, _said():
        ledger = CassandraSource(spark, settings.cassandra_keyspace, settings.max_age_days)
        source: Source = ledger
        if from_kafka:
            source = log = KafkaSource(
                spark, settings, lake, epoch=epoch, partitions=partitions, reach_days=settings.max_age_days
            )
            progress.update(task, description="events")
            log.ingest()
        progress.update(task, description="what has changed")
        forced = [first + timedelta(days=n) for n in range((last - first).days + 1)] if first else []
        built = build_days(
            spark, lake, source, until=last, whole=today - timedelta(days=1), forced=forced,
            say=lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
        )  # fmt: skip
        progress.update(task, description="counts", total=None)
        counts = build_counts(lake, ledger, last)
        progress.update(task, description="anomalies")
        anomalies = build_anomalies(spark, lake, ledger, last)
    return _sentence(built, counts, anomalies, lake)


def _sentence(built: Built, counts: int, anomalies: int, lake: Lake) -> str:
    rest = f"{counts:,} counts and {anomalies:,} anomalies looked through; the lake is {lake.url}."
    if built.first is None:
        return f"No day has changed; {rest}"
    return (
        f"{len(built.changed):,} days have changed, {built.movements:,} movements; levels and daily rows from {built.first} "
        f"to {built.last}; {rest}"
    )


def _topic(settings: Settings) -> tuple[int, int]:
    """The epoch and the number of partitions of the log of updates."""
    database = wiring.database(settings, wait_s=0)
    try:
        state = Topics(wiring.kafka_config(settings)).state(UPDATES.name)
        return epoch_of(database, state), state.partitions
    finally:
        database.close()


def _day(option: str, text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SetupError(f"{option} must be a day such as 2026-11-20, not {text!r}") from None


@contextmanager
def _alone(lake: Lake) -> Iterator[None]:
    """One build of a local lake at a time. On a store of objects the schedule must see to that."""
    if "file" not in lake.files.protocol:
        yield
        return
    folder = Path(lake.path("_state"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / "lock").open("w")
    except OSError as error:
        raise SetupError(f"the lake {lake.url} cannot be written: {error.strerror}") from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TryLater("the lake", f"another build of {lake.url} is under way") from None
        yield


@contextmanager
def _said() -> Iterator[None]:
    """What Spark says when a part of it fails, in one sentence."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        broken = next((line for line in lines if "is not a Parquet file" in line), "")
        if broken:
            where = broken.split(" is not a Parquet file")[0].split()[-1]
            raise SetupError(f"{where} is broken: run again with --since of its day, which writes it anew") from error
        cause = next((line for line in reversed(lines) if line.startswith("Caused by: ")), lines[0] if lines else "")
        raise TryLater("spark", cause.removeprefix("Caused by: ")[:300]) from error


def _bar() -> Progress:
    columns = (TextColumn("{task.description:<18}"), BarColumn(), TextColumn("{task.completed}"), TimeElapsedColumn())
    return Progress(*columns, transient=True)
