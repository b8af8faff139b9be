"""A cycle count settles a variance at once; what was seen after it stands."""

from __future__ import annotations

from inventorybot.domain.alerts import Status
from inventorybot.domain.events import Kind
from inventorybot.wire import schemas
from inventorybot.wire.codec import Envelope, Message, from_ms, message
from inventorybot.wire.schemas import LevelData
from streaming.agents.settle import SettleAgent
from tests.unit.agents.stage import MINUTE, NOON, Stage, as_records, count_of
from tests.unit.variance.looks import THREE

COUNTS, LEVELS = "inventory.bin-counts", "inventory.levels"


def level(counted_at: int | None, on_hand: int = 3, revision: int = 9) -> Message:
    counted = None if counted_at is None else from_ms(counted_at)
    data = LevelData(site="S1", bin="B1", sku="K1", on_hand=on_hand, revision=revision, counted_at=counted)
    return message(Envelope(f"{revision}", "test", schemas.LEVEL, NOON), "S1/B1/K1", data)


async def suspicious() -> tuple[Stage, SettleAgent]:
    """A bin with an open anomaly, from pictures of 12:01 and 12:02."""
    stage = Stage()
    await stage.move(Kind.RECEIPT, 4, NOON - MINUTE)
    await stage.count(as_records(COUNTS, [count_of(NOON + n * MINUTE, THREE) for n in (1, 2)]))
    await stage.fold()
    assert len(stage.live()) == 1
    return stage, SettleAgent(stage.evidence, stage.topic, stage.dead)


async def test_a_count_after_the_pictures_resolves_the_anomaly_without_another_picture() -> None:
    stage, settle = await suspicious()
    await settle.handle(as_records(LEVELS, [level(NOON + 3 * MINUTE), level(None)]))
    await stage.fold()
    (found,) = stage.anomalies.states.values()
    assert found.status is Status.RESOLVED
    assert (
        found.knowledge.why
        == "The bin was counted or corrected at 12:03 UTC; what pictures said before no longer applies."
    )
    assert found.knowledge.p == THREE.p
    await stage.move(Kind.CYCLE_COUNT, 3, NOON + 3 * MINUTE)
    await stage.count(as_records(COUNTS, [count_of(NOON + n * MINUTE, THREE) for n in (4, 5, 6)], 2))
    await stage.fold()
    assert stage.live() == []
    assert stage.said() == ["raised", "resolved"]


async def test_a_count_from_before_the_newest_picture_settles_nothing() -> None:
    stage, settle = await suspicious()
    await settle.handle(as_records(LEVELS, [level(NOON + 90_000), level(None)]))
    assert stage.said() == ["raised"]


async def test_the_same_count_told_again_is_the_same_step_and_later_changes_of_the_bin_cost_nothing() -> None:
    stage, settle = await suspicious()
    again = SettleAgent(stage.evidence, stage.topic, stage.dead)
    for agent in (settle, again):
        await agent.handle(as_records(LEVELS, [level(NOON + 3 * MINUTE)]))
    raised, *resolved = stage.topic.messages
    assert len({dict(m.headers)["ce_id"] for m in resolved}) == 1
    await settle.handle(as_records(LEVELS, [level(NOON + 3 * MINUTE, 2, 10)]))
    assert len(stage.topic.messages) == 3
    assert raised is not None


async def test_a_level_that_is_none_goes_to_the_dead_letters() -> None:
    stage, settle = await suspicious()
    (record,) = as_records(LEVELS, [Message(LEVELS, b"k", b"[]", level(None).headers)])
    await settle.handle([record])
    assert [x.code for x in stage.dead.letters.values()] == ["wrong-type"]
