"""The news of levels, as consumers of inventory.levels read it: CloudEvents in Kafka's binary mode.

In: updates handed to a ledger agent on the fakes. Out: what it publishes. Run: pytest on this file.
"""

from __future__ import annotations

from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.adapters.memory.ledger import MemoryLedger
from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.domain.events import Kind, Movement
from inventorybot.domain.ledger import revision
from inventorybot.wire.codec import Record, TimeLimits, movement_message, read
from inventorybot.wire.schemas import LevelData
from streaming.agents.ledger import LedgerAgent

NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def news(*events: Movement, traceparent: str | None = None) -> list[Record]:
    publisher = MemoryPublisher()
    agent = LedgerAgent(
        MemoryLedger(), publisher, MemoryDeadLetters(), epoch=0, limits=TimeLimits(), belongs=lambda key: 0, now=lambda: NOON
    )  # fmt: skip
    told = [movement_message(e, traceparent) for e in events]
    await agent.handle([Record(m.topic, 0, n, m.key, m.value, m.headers, NOON) for n, m in enumerate(told)])
    found = [m for m in publisher.messages if m.topic == "inventory.levels"]
    return [Record(m.topic, 0, n, m.key, m.value, m.headers, NOON) for n, m in enumerate(found)]


def movement(event_id: str, kind: Kind, quantity: int, at: int, sku: str = "K1") -> Movement:
    return Movement(event_id, kind, at, "S1", "B1", sku, quantity, None, None, "wms")


async def test_one_batch_makes_one_piece_of_news_a_slot_with_the_newest_level() -> None:
    found = await news(
        movement("a", Kind.RECEIPT, 9, NOON - 2), movement("b", Kind.CYCLE_COUNT, 7, NOON - 1),
        movement("c", Kind.PICK, 2, NOON), movement("d", Kind.RECEIPT, 1, NOON, "K2"),
    )  # fmt: skip
    levels = {data.sku: (data.on_hand, data.revision) for data, _ in (read(r, LevelData) for r in found)}
    assert levels == {"K1": (5, revision(0, 2)), "K2": (1, revision(0, 3))}
    assert {r.key for r in found} == {b"S1/B1/K1", b"S1/B1/K2"}


async def test_the_news_is_a_cloud_event_that_goes_on_with_the_trace() -> None:
    (record,) = await news(movement("a", Kind.RECEIPT, 9, NOON), traceparent=TRACE)
    _, head = read(record, LevelData)
    assert (head.id, head.type, head.source) == (
        "8000000000000",
        "inventorybot.level.changed.v1",
        "inventorybot/ledger",
    )
    assert head.time == NOON
    assert head.traceparent is not None
    assert head.traceparent.split("-")[1] == TRACE.split("-")[1]
    assert dict(record.headers)["content-type"] == b"application/json"
