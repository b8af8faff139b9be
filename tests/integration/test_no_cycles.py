"""The ledger agent leaves no cycles of objects behind, good events or bad: its worker looks for them only now and then.

In: batches handled on a real Cassandra. Out: what Python's search then finds. Run: pytest on this file.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator

import pytest
from cassandra.cluster import ResponseFuture
from cassandra.query import BatchStatement
from msgspec.structs import replace

from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.domain.events import Kind, Movement
from inventorybot.wire.codec import Message, Record, TimeLimits, movement_message
from streaming.agents.ledger import LedgerAgent
from tests.conftest import Schema

NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
BINS = 20


@pytest.fixture
def by_hand() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def records(site: str, first: int, count: int) -> list[Record]:
    made = []
    for n in range(first, first + count):
        event = Movement(f"e{n}", Kind.RECEIPT, NOON + n, site, f"B{n % BINS}", "K1", 1, None, None, "wms")
        m = movement_message(event)
        made.append(Record(m.topic, 0, n, m.key, m.value, m.headers, NOON))
    return made


async def test_batches_of_good_repeated_and_bad_events_leave_nothing_to_search_for(
    schema: Schema, unique_name: str, by_hand: None
) -> None:
    letters = MemoryDeadLetters()
    agent = LedgerAgent(
        CassandraLedger(schema.database), MemoryPublisher(), letters, epoch=0, limits=TimeLimits(),
        belongs=lambda _: 0, now=lambda: NOON,
    )  # fmt: skip
    await agent.handle(records(unique_name, 0, 100))
    agent.forget(0)
    await agent.handle(records(unique_name, 0, 100))  # by now every statement is prepared, every kind of row was read
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)

    good = records(unique_name, 100, 200)
    repeated = [replace(r, offset=300 + n) for n, r in enumerate(good[:50])]
    bad = [
        replace(r, offset=400 + n, value=v) for n, r in enumerate(good) for v in (b"not JSON", b"{}")[n % 2 : n % 2 + 1]
    ]
    await agent.handle(good)
    await agent.handle([*repeated, *bad])
    agent.forget(0)  # its bins are read anew
    await agent.handle(records(unique_name, 1000, 100))

    assert len(letters.letters) == len(bad)
    gc.collect()
    found = Counter(type(thing) for thing in gc.garbage)  # beside ours what the driver's other threads leave
    assert not {kind: n for kind, n in found.items() if kind in (Record, Message, ResponseFuture, BatchStatement, type)}
