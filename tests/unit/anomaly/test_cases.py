"""From findings to the lives of anomalies: raised once, updated when it matters, resolved when over. Run: pytest tests/unit/anomaly/test_cases.py"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from inventorybot.adapters.memory.anomalies import MemoryAnomalies
from inventorybot.domain.alerts import Step, advance
from ml.anomaly.cases import FORECAST, SUSPECT, doubtful, evening, steps, suspects

MONDAY = date(2026, 11, 23)
BAR = 0.8


def row(evenings: tuple[float, ...] = (0.9, 0.9, 0.9), sku: str = "K1", **said: Any) -> dict[str, Any]:
    known = {"recorded": 20.0, "units": 8.0, "why": "no sale for a month", "doubts": [], "counted": None}
    return {"site": "BER1", "sku": sku, "evenings": evenings, "probability": evenings[-1]} | known | said


async def look(store: MemoryAnomalies, day: date, *rows: dict[str, Any], fold: bool = True) -> list[Step]:
    """A day's steps; folded into the store, as the alert agent does."""
    told = await steps(SUSPECT, suspects(rows, BAR, "suspect@v1"), store, day)
    return await keep(store, told) if fold else told


async def keep(store: MemoryAnomalies, told: list[Step]) -> list[Step]:
    for step in told:
        before = store.states.get(step.anomaly_id)
        after = advance(before, step)
        if after is not None:
            at = 0 if before is None else before.revision + 1
            await store.write({step.anomaly_id: (after, at)}, [(at, step)])
    return told


def actions(told: list[Step]) -> list[str]:
    return [step.action for step in told]


def after(days: int) -> date:
    return MONDAY + timedelta(days=days)


async def test_three_evenings_at_the_threshold_raise_an_anomaly_of_the_sku_at_the_site() -> None:
    (step,) = await look(MemoryAnomalies(), MONDAY, row())
    assert (step.action, step.kind, step.site, step.bin, step.sku) == ("raised", SUSPECT, "BER1", None, "K1")
    assert (step.knowledge.probability, step.knowledge.recorded, step.knowledge.estimate) == (0.9, 20, 12)
    assert (step.knowledge.why, step.knowledge.model) == ("no sale for a month", "suspect@v1")
    assert step.at == evening(MONDAY) == 1_795_478_400_000  # 2026-11-24T00:00:00Z


async def test_two_evenings_or_a_prediction_that_cannot_be_true_raise_none() -> None:
    assert await look(MemoryAnomalies(), MONDAY, row((0.9, 0.9))) == []
    assert await look(MemoryAnomalies(), MONDAY, row((0.7, 0.9, 0.9))) == []
    assert await look(MemoryAnomalies(), MONDAY, row(doubts=["a stock of -1 units is below zero"])) == []


async def test_the_same_day_again_says_nothing_and_with_a_store_that_lags_the_same() -> None:
    store = MemoryAnomalies()
    first = await look(store, MONDAY, row(), fold=False)
    assert await look(store, MONDAY, row(), fold=False) == first
    (later,) = await look(store, after(1), row(), fold=False)
    assert later.anomaly_id == first[0].anomaly_id  # the next day it is still the same disagreement
    await keep(store, first)
    assert await look(store, MONDAY, row()) == []


async def test_only_a_change_that_matters_is_told() -> None:
    store = MemoryAnomalies()
    await look(store, MONDAY, row())
    assert await look(store, after(1), row((0.9, 0.9, 0.86))) == []
    assert await look(store, after(1), row(units=9.4)) == []  # one unit more
    assert actions(await look(store, after(1), row((0.9, 0.9, 0.84)))) == ["updated"]
    assert actions(await look(store, after(2), row((0.9, 0.9, 0.84), units=11.0))) == ["updated"]


async def test_it_is_over_when_the_score_has_fallen_for_three_evenings() -> None:
    store = MemoryAnomalies()
    await look(store, MONDAY, row())
    assert actions(await look(store, after(1), row((0.9, 0.9, 0.3)))) == ["updated"]
    (step,) = await look(store, after(3), row((0.3, 0.2, 0.1)))
    assert (step.action, step.knowledge.why) == ("resolved", "the probability has fallen to 10%")


async def test_a_count_settles_it_but_not_one_from_before() -> None:
    store = MemoryAnomalies()
    await look(store, MONDAY, row(counted=MONDAY))
    assert await look(store, after(1), row(counted=MONDAY)) == []
    (step,) = await look(store, after(1), row(counted=after(1)))
    assert step.action == "resolved"
    assert step.knowledge.why == "counted on 2026-11-24: the count has settled it"


async def test_for_four_weeks_after_its_end_the_slot_raises_no_other_and_then_a_new_one() -> None:
    store = MemoryAnomalies()
    (first,) = await look(store, MONDAY, row())
    await look(store, after(1), row((0.1, 0.1, 0.1)))
    assert await look(store, after(28), row()) == []
    (second,) = await look(store, after(29), row())
    assert second.action == "raised"
    assert second.anomaly_id != first.anomaly_id


async def test_what_a_person_has_closed_stays_closed() -> None:
    store = MemoryAnomalies()
    (first,) = await look(store, MONDAY, row())
    closed = Step(
        "e1",
        first.anomaly_id,
        SUSPECT,
        "closed",
        evening(after(1)),
        "BER1",
        None,
        "K1",
        actor="kim",
        reason="record-right",
    )
    await keep(store, [closed])
    assert await look(store, after(2), row()) == []


async def test_slots_do_not_disturb_each_other_and_one_that_is_gone_stays_as_it_is() -> None:
    store = MemoryAnomalies()
    told = await look(store, MONDAY, row(), row(sku="K2"))
    assert len({step.anomaly_id for step in told}) == 2
    assert await look(store, after(1), row(sku="K2")) == []


async def test_a_forecast_that_cannot_be_true_is_raised_retold_when_it_changes_and_resolved() -> None:
    store, slot = MemoryAnomalies(), ("BER1", "K1")

    async def said(day: date, reasons: list[str]) -> list[str]:
        found = doubtful({slot: reasons} if reasons else {}, [slot])
        return actions(await keep(store, await steps(FORECAST, found, store, day)))

    assert await said(MONDAY, ["too much"]) == ["raised"]
    assert await said(after(1), ["too much"]) == []
    assert await said(after(2), ["too much", "and falling"]) == ["updated"]
    assert await said(after(3), []) == ["resolved"]
    assert await said(after(4), []) == []
