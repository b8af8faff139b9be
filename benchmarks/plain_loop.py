"""The ceiling: a plain confluent-kafka loop that makes the very same writes, as many at once, with no Faust between.

In: inventory.updates. Out: the same rows and levels. Run by benchmarks/ledger.py: `python -m benchmarks.plain_loop N`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque

from confluent_kafka import Consumer

from inventorybot import wiring
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.clock import now_ms
from inventorybot.settings import load
from inventorybot.wire import topics
from inventorybot.wire.codec import Record
from streaming.agents.ledger import LedgerAgent
from streaming.harness import Garbage


async def main(total: int) -> None:
    """Handle `total` records; print the seconds it took from the first one."""
    settings = load()
    config = wiring.kafka_config(settings)
    database = wiring.database(settings)
    publisher = wiring.publisher(settings)
    agent = LedgerAgent(
        CassandraLedger(database), publisher, CassandraDeadLetters(database, config), epoch=0,
        limits=wiring.time_limits(settings), belongs=lambda key: key_partition[key], now=now_ms,
    )  # fmt: skip
    key_partition: dict[bytes, int] = {}
    consumer = Consumer(
        {
            **config,
            "group.id": f"bench-{settings.cassandra_keyspace}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topics.UPDATES.name])
    Garbage([agent]).begin()
    handled, began = 0, 0.0
    under_way: deque[asyncio.Task[None]] = deque()
    while handled < total:
        while len(under_way) >= agent.overlap:
            await under_way.popleft()
        batch = await asyncio.to_thread(consumer.consume, settings.batch_events, 0.05)
        records = [
            Record(m.topic(), m.partition(), m.offset(), m.key(), m.value(), m.headers() or (), m.timestamp()[1])
            for m in batch
            if not m.error()
        ]
        if not records:
            continue
        began = began or time.monotonic()
        key_partition.update((r.key or b"", r.partition) for r in records)
        under_way.append(asyncio.create_task(agent.handle(records)))
        handled += len(records)
    await asyncio.gather(*under_way)
    consumer.commit()
    print(f"{handled} {time.monotonic() - began:.3f}", flush=True)
    consumer.close()
    publisher.close()
    database.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
