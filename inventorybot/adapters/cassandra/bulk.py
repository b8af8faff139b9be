"""Many rows of few partitions into Cassandra: results and forecasts, whose rows need not be applied together.

In: CQL with `?`, rows. Out: the rows written. Cassandra counts a batch with every cell's write time and time to live, half as
much again as its bytes on the wire: partitions are split into groups that stay below its limit however long the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from inventorybot.adapters.cassandra.session import PARALLEL, Database

GROUP = 48
"""Rows a request: with names of the greatest length 40 kB of the 50 that Cassandra takes."""


async def write_bulk(database: Database, cql: str, rows: Iterable[tuple[tuple[Any, ...], Sequence[Any]]]) -> None:
    """Write rows; a repeat does no harm. Args: rows: the partition of each, and its values. Raises: TryLater."""
    statement, left = database.prepared(cql), iter(rows)
    while chunk := list(islice(left, GROUP * PARALLEL)):
        await database.write_batches(
            statement.bind((partition, number // GROUP), values) for number, (partition, values) in enumerate(chunk)
        )
