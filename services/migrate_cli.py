"""`inventorybot migrate`: topics and tables as this release needs them; running it again changes nothing."""

from __future__ import annotations

import typer

from inventorybot import wiring
from inventorybot.adapters.cassandra.schema import migrate as migrate_tables
from inventorybot.adapters.kafka import Topics
from inventorybot.settings import load
from inventorybot.wire.topics import TOPICS


def migrate() -> None:
    """Create what is missing of the topics and the tables, and upgrade tables of an older release.

    Safe to run at every start, and by several processes at once: what exists is left as it is.
    """
    settings = load()
    created = Topics(wiring.kafka_config(settings)).create(TOPICS, settings.partitions, settings.kafka_replication)
    database = wiring.database(settings, keyspace=False)
    try:
        steps = migrate_tables(
            database, settings.cassandra_keyspace,
            datacenter=settings.cassandra_datacenter, replication=settings.cassandra_replication,
        )  # fmt: skip
    finally:
        database.close()
    typer.echo(f"topics:  {', '.join(created) + ' created' if created else 'all there'}")
    typer.echo(
        f"tables:  {f'step {steps[0]} to {steps[-1]} applied' if steps else 'up to date'} ({settings.cassandra_keyspace})"
    )
