"""Brings a keyspace to the newest version, and knows which incarnation of a topic its offsets belong to.

In: a session without a keyspace. Out: the tables of migrations.py. Run: `inventorybot migrate`.
"""

from __future__ import annotations

from inventorybot.adapters.cassandra.migrations import STEPS
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.kafka import TopicState
from inventorybot.errors import SetupError


def migrate(database: Database, keyspace: str, *, datacenter: str, replication: int) -> list[int]:
    """Apply the steps that are missing; returns their numbers. Raises: TryLater, SetupError: the keyspace is newer.

    A step whose application was cut short is applied again: its tables are made only if they are missing.
    """
    database.execute(
        f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{datacenter}': {replication}}}"
    )
    database.use(keyspace)
    database.execute(
        "CREATE TABLE IF NOT EXISTS schema_step (all_steps text, step int, PRIMARY KEY ((all_steps), step))"
    )
    done = {row.step for row in database.execute("SELECT step FROM schema_step WHERE all_steps = 'all'")}
    if done and max(done) > len(STEPS):
        raise SetupError(
            f"The keyspace {keyspace} was made by a newer release (step {max(done)}, this one knows {len(STEPS)}): upgrade"
        )
    new = [number for number in range(1, len(STEPS) + 1) if number not in done]
    for number in new:
        for statement in STEPS[number - 1]:
            database.execute(statement.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1))
        database.execute("INSERT INTO schema_step (all_steps, step) VALUES ('all', %s)", (number,))
    return new


def epoch_of(database: Database, topic: TopicState) -> int:
    """The epoch of a topic as it is now: one more for each time it was made anew or got another number of partitions.

    Offsets of different epochs cannot be compared; revisions can, because the epoch is their higher part. Two workers
    that find a new incarnation at once agree through a lightweight transaction. Raises: TryLater.
    """
    while True:
        rows = database.execute("SELECT epoch, topic_id, partitions FROM topic_epoch WHERE topic = %s", (topic.name,))
        known = max(rows, key=lambda row: row.epoch, default=None)
        if known is not None and (known.topic_id, known.partitions) == (topic.topic_id, topic.partitions):
            return int(known.epoch)
        database.execute(
            "INSERT INTO topic_epoch (topic, epoch, topic_id, partitions) VALUES (%s, %s, %s, %s) IF NOT EXISTS",
            (topic.name, 0 if known is None else known.epoch + 1, topic.topic_id, topic.partitions),
        )
