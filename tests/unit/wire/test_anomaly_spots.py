"""Where an anomaly is: in a bin, or of a SKU at a whole site; what its steps must name, and how they are keyed.

Run: `pytest tests/unit/wire/test_anomaly_spots.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import msgspec
import pytest
from msgspec import structs

from inventorybot.adapters.memory.anomalies import MemoryAnomalies
from inventorybot.adapters.memory.dead_letters import MemoryDeadLetters
from inventorybot.domain.alerts import OF_A_BIN, OF_A_SKU, Knowledge, Step, advance, anomaly_id, spot_of
from inventorybot.errors import BadEvent, Code
from inventorybot.wire.anomalies import check_step_key, read_step, step_message
from inventorybot.wire.codec import Record
from inventorybot.wire.schemas import AnomalyKind
from streaming.agents.alert import AlertAgent

KNOWN = Knowledge(
    probability=0.9, recorded=4, model="demand@v1", why="because", days_of_cover=1.5, expected_at=1_795_300_000_000
)
STEP = Step("e1", "a1", "projected-stock-out", "raised", 1_795_262_400_000, "S1", None, "kit/7", knowledge=KNOWN)


def as_record(step: Step, key: bytes | None = None) -> Record:
    m = step_message(step, "test")
    return Record(m.topic, 0, 5, key or m.key, m.value, tuple(m.headers), step.at)


def test_every_kind_is_about_a_bin_or_about_a_sku() -> None:
    assert set(get_args(AnomalyKind)) == OF_A_BIN | OF_A_SKU
    assert OF_A_BIN.isdisjoint(OF_A_SKU)


def test_a_step_about_a_sku_is_keyed_by_site_and_sku_and_comes_back_as_it_was() -> None:
    record = as_record(STEP)
    assert record.key == b"S1//kit/7"
    assert read_step(record) == STEP
    assert b'"bin"' not in (record.value or b"")
    check_step_key(record, STEP)


def test_a_step_about_a_bin_is_keyed_by_its_bin_though_it_names_a_sku() -> None:
    step = replace(STEP, kind="negative-on-hand", bin="B1")
    record = as_record(step)
    assert record.key == b"S1/B1"
    assert read_step(record) == step


@pytest.mark.parametrize("kind", sorted(OF_A_BIN))
def test_a_kind_about_a_bin_without_a_bin_is_refused(kind: str) -> None:
    with pytest.raises(BadEvent, match="bin is missing") as refused:
        step_message(replace(STEP, kind=kind), "test")
    assert (refused.value.code, refused.value.path) == (Code.MISSING_FIELD, "/data/bin")


@pytest.mark.parametrize("kind", sorted(OF_A_SKU))
def test_a_kind_about_a_sku_without_a_sku_or_with_a_bin_is_refused(kind: str) -> None:
    with pytest.raises(BadEvent, match="sku is missing") as refused:
        step_message(replace(STEP, kind=kind, sku=None), "test")
    assert (refused.value.code, refused.value.path) == (Code.MISSING_FIELD, "/data/sku")
    with pytest.raises(BadEvent, match="must not name a bin"):
        step_message(replace(STEP, kind=kind, bin="B1"), "test")


def test_a_reader_refuses_what_a_stranger_wrote_without_a_bin() -> None:
    record = as_record(STEP)
    value = msgspec.json.encode(msgspec.json.decode(record.value or b"") | {"kind": "bin-variance"})
    with pytest.raises(BadEvent, match="bin is missing"):
        read_step(structs.replace(record, value=value))


async def test_the_alert_agent_keeps_it_and_refuses_one_under_another_key() -> None:
    store, dead = MemoryAnomalies(), MemoryDeadLetters()
    agent = AlertAgent(store, dead, epoch=0)
    await agent.handle([as_record(replace(STEP, anomaly_id="a2", event_id="e2"), b"S1/kit"), as_record(STEP)])
    assert list(store.states) == ["a1"]
    (found,) = store.states.values()
    assert (found.bin, found.sku, found.knowledge) == (None, "kit/7", KNOWN)
    assert [letter.code for letter in dead.letters.values()] == ["bad-key"]


def test_a_person_who_means_another_sku_is_refused() -> None:
    close = replace(STEP, action="closed", actor="ana", reason="other", knowledge=Knowledge())
    raised = advance(None, STEP)
    with pytest.raises(BadEvent, match="is of S1//kit/7, not of S1//kit/8"):
        advance(raised, replace(close, sku="kit/8"))
    closed = advance(raised, close)
    assert closed is not None
    assert not closed.live


def test_a_sku_and_a_bin_of_one_name_are_two_anomalies() -> None:
    ids = {anomaly_id("k", "S1", spot_of(bin_id, sku), "0") for bin_id, sku in (("X", None), (None, "X"), ("X", "X"))}
    assert len(ids) == 2
