"""What every ledger store must do, run over Cassandra's and over the fake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.memory.ledger import MemoryLedger
from inventorybot.domain.days import DAY_MS, month_of
from inventorybot.domain.events import Kind, Movement
from inventorybot.domain.ledger import Bin, LedgerRow, Outcome, apply, revision, stored
from inventorybot.ports import BinWrite, LedgerEntry
from tests.conftest import Schema

NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
KEY = ("S1", "B1")


@pytest.fixture(autouse=True)
def _site_of_its_own(unique_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are shared; each test has a site to itself."""
    monkeypatch.setattr("tests.contract.test_ledger_store.KEY", (unique_name, "B1"))


@pytest.fixture(params=["memory", "cassandra"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    schema: Schema = request.getfixturevalue("schema")
    yield CassandraLedger(schema.database)


def event(event_id: str, kind: Kind, quantity: int, at: int, sku: str = "K1") -> Movement:
    return Movement(event_id, kind, at, *KEY, sku, quantity, None, "why", "wms")


def write_of(state: Bin, *arrivals: tuple[Movement, int]) -> BinWrite:
    """Apply arrivals to a bin, and what there is to write of it."""
    write = BinWrite(KEY, state, max(at for _, at in arrivals))
    for e, at in arrivals:
        if apply(state, e, at) in (Outcome.APPLIED, Outcome.SUPERSEDED):
            row = LedgerRow(e.occurred_at, at, e.sku, e.delta, e.is_count, e.event_id)
            write.entries.append(LedgerEntry(row, e.kind, e.source, NOON, e.to_bin, e.reason))
            write.new_skus[e.sku] = (e.event_id, NOON)
            state.first_month = min(state.first_month or 999999, month_of(e.occurred_at))
        write.touched.add(e.sku)
    return write


async def put(store: Any, write: BinWrite) -> None:
    await store.write_rows([write])
    await store.write_levels([write])
    stored(write.state, write.applied)


async def test_a_bin_never_written_is_empty(store: Any) -> None:
    state = (await store.load([(KEY[0], "nowhere")]))[KEY[0], "nowhere"]
    assert (state.slots, state.applied, state.seen) == ({}, -1, {})
    assert await store.bin_levels((KEY[0], "nowhere")) == []
    assert await store.bin_levels_as_of((KEY[0], "nowhere"), NOON) == {}


async def test_what_was_written_is_loaded_as_it_was(store: Any) -> None:
    await put(
        store,
        write_of(
            Bin(),
            (event("a", Kind.RECEIPT, 5, NOON), revision(0, 3)),
            (event("b", Kind.PICK, 7, NOON + 1), revision(0, 4)),
        ),
    )
    state = (await store.load([KEY]))[KEY]
    slot = state.slots["K1"]
    assert (slot.on_hand, slot.revision, slot.last_occurred_at, slot.counted_at) == (-2, revision(0, 4), NOON + 1, None)
    assert slot.below_zero_since == revision(0, 4)
    assert (state.applied, state.first_month) == (revision(0, 4), 202611)
    assert state.seen == {
        "a": (revision(0, 3), (NOON, "K1", 5, "receipt", "")),
        "b": (revision(0, 4), (NOON + 1, "K1", -7, "pick", "")),
    }


async def test_a_stale_write_changes_nothing(store: Any) -> None:
    stale = write_of(Bin(), (event("a", Kind.RECEIPT, 5, NOON), revision(0, 3)))
    state = Bin()
    await put(store, write_of(state, (event("a", Kind.RECEIPT, 5, NOON), revision(0, 3))))
    await put(store, write_of(state, (event("b", Kind.RECEIPT, 2, NOON), revision(0, 9))))
    await store.write_rows([stale])
    await store.write_levels([stale])
    (level,) = await store.bin_levels(KEY)
    assert (level.on_hand, level.revision) == (7, revision(0, 9))
    (by_sku,) = await store.sku_levels(KEY[0], "K1")
    assert by_sku.on_hand == 7
    assert (await store.load([KEY]))[KEY].applied == revision(0, 9)


async def test_the_stock_of_a_site_is_summed_over_bins_by_sku(store: Any) -> None:
    first = write_of(
        Bin(),
        (event("a", Kind.RECEIPT, 5, NOON, "K1"), revision(0, 3)),
        (event("b", Kind.PICK, 2, NOON, "K2"), revision(0, 4)),
        (event("c", Kind.CYCLE_COUNT, 0, NOON, "kit/7 grün"), revision(0, 5)),
    )
    other = BinWrite((KEY[0], "B2"), Bin(), revision(0, 9))
    e = Movement("d", Kind.RECEIPT, NOON, KEY[0], "B2", "K1", 8, None, "why", "wms")
    apply(other.state, e, revision(0, 9))
    other.touched.add("K1")
    elsewhere = BinWrite((f"{KEY[0]}-2", "B1"), other.state, revision(0, 9), touched={"K1"})
    await store.write_levels([first, other, elsewhere])
    assert await store.site_stock(KEY[0]) == {"K1": 13, "K2": -2, "kit/7 grün": 0}
    assert await store.site_stock("nowhere") == {}
    asked = ["K2", "K1", "nothing", "K1", "kit/7 grün"]
    assert await store.sku_stock(KEY[0], asked) == {"K1": 13, "K2": -2, "kit/7 grün": 0}
    assert await store.sku_stock(KEY[0], [f"K{n}" for n in range(500)]) == {"K1": 13, "K2": -2}
    assert await store.sku_stock("nowhere", ["K1"]) == {}


async def test_rows_written_twice_are_there_once(store: Any) -> None:
    write = write_of(Bin(), (event("a", Kind.RECEIPT, 5, NOON), revision(0, 3)))
    for _ in range(2):
        await store.write_rows([write])
    await store.write_levels([write])
    assert [e.row.event_id for e in await store.history(KEY, None, since=0, until=NOON, limit=9)] == ["a"]


async def test_a_stored_fact_is_found_by_time_and_id(store: Any) -> None:
    await put(store, write_of(Bin(), (event("a", Kind.PICK, 5, NOON), revision(0, 3))))
    found = await store.find([(KEY, NOON, "a"), (KEY, NOON, "b"), (KEY, NOON + 1, "a")])
    assert found == {(KEY, "a"): (revision(0, 3), (NOON, "K1", -5, "pick", ""))}


async def test_the_level_as_of_a_moment_crosses_months_and_counts(store: Any) -> None:
    state = Bin()
    story = [
        (event("a", Kind.RECEIPT, 10, NOON - 40 * DAY_MS), revision(0, 1)),  # October
        (event("b", Kind.PICK, 4, NOON - 30 * DAY_MS), revision(0, 2)),
        (event("c", Kind.CYCLE_COUNT, 5, NOON - 2 * DAY_MS), revision(0, 3)),
        (event("d", Kind.PICK, 1, NOON), revision(0, 4)),
    ]
    await put(store, write_of(state, *story))
    days = {-41: 0, -40: 10, -31: 10, -30: 6, -3: 6, -2: 5, -1: 5, 0: 4, 1: 4}
    found = {d: (await store.bin_levels_as_of(KEY, NOON + d * DAY_MS)).get("K1", 0) for d in days}
    assert found == days


async def test_rows_of_a_span_are_read_across_months(store: Any) -> None:
    write = write_of(
        Bin(),
        (event("a", Kind.RECEIPT, 1, NOON - 40 * DAY_MS), revision(0, 1)),
        (event("b", Kind.RECEIPT, 1, NOON - DAY_MS), revision(0, 2)),
        (event("c", Kind.RECEIPT, 1, NOON), revision(0, 3)),
    )
    await put(store, write)
    assert {r.event_id for r in await store.rows_after(KEY, NOON - 40 * DAY_MS, NOON)} == {"b", "c"}
    assert {r.event_id for r in await store.rows_after(KEY, NOON - 41 * DAY_MS, NOON - 1)} == {"a", "b"}


async def test_history_is_newest_first_by_slot_and_span_and_limit(store: Any) -> None:
    state = Bin()
    await put(
        store,
        write_of(state, *((event(f"e{n}", Kind.RECEIPT, 1, NOON - n * 20 * DAY_MS), revision(0, n)) for n in range(5))),
    )
    await put(store, write_of(state, (event("other", Kind.RECEIPT, 1, NOON, "K2"), revision(0, 9))))
    ids = [e.row.event_id for e in await store.history(KEY, "K1", since=NOON - 70 * DAY_MS, until=NOON, limit=3)]
    assert ids == ["e0", "e1", "e2"]
    (first, *_) = await store.history(KEY, "K1", since=0, until=NOON, limit=9)
    assert (first.kind, first.source, first.reason, first.arrived_at) == ("receipt", "wms", "why", NOON)


async def test_what_is_seen_for_the_first_time_is_told_once_and_catalogued(store: Any) -> None:
    write = write_of(Bin(), (event("a", Kind.RECEIPT, 5, NOON), revision(0, 3)))
    assert {(s.kind, s.site, s.name) for s in await store.write_rows([write])} == {
        ("site", "", KEY[0]),
        ("bin", KEY[0], "B1"),
        ("sku", KEY[0], "K1"),
    }
    assert await store.write_rows([write]) == []
    (seen,) = await store.catalogue("sku", KEY[0])
    assert (seen.name, seen.first_event_id, seen.first_seen_at) == ("K1", "a", NOON)


async def test_the_catalogue_is_paged_by_name(store: Any) -> None:
    for n in range(5):
        e = event(f"e{n}", Kind.RECEIPT, 1, NOON, f"K{n}")
        await store.write_rows([write_of(Bin(), (e, revision(0, n)))])
    first = [s.name for s in await store.catalogue("sku", KEY[0], limit=3)]
    assert (first, [s.name for s in await store.catalogue("sku", KEY[0], after=first[-1], limit=3)]) == (
        ["K0", "K1", "K2"],
        ["K3", "K4"],
    )


async def test_a_bin_of_a_thousand_skus_is_written_whole(store: Any) -> None:
    state = Bin()
    await put(
        store,
        write_of(
            state, *((event(f"e{n}", Kind.RECEIPT, 1, NOON, f"SKU-{n:040d}"), revision(0, n)) for n in range(1000))
        ),
    )
    assert len(await store.bin_levels(KEY)) == 1000
    assert (await store.load([KEY]))[KEY].applied == revision(0, 999)


async def test_rows_of_short_names_stay_within_what_a_stock_cassandra_takes(store: Any) -> None:
    counts = [(event(f"{n}", Kind.CYCLE_COUNT, 1, NOON, f"{n}"), revision(0, n)) for n in range(2000)]
    write = write_of(Bin(), *counts)
    await put(store, write)
    assert len(await store.bin_levels(KEY)) == 2000
    assert len(await store.rows_after(KEY, NOON - 1, NOON)) == 2000


async def test_more_ids_than_the_window_leave_a_floor_or_are_all_there(store: Any) -> None:
    await put(
        store, write_of(Bin(), *((event(f"e{n}", Kind.RECEIPT, 1, NOON + n), revision(0, n)) for n in range(300)))
    )
    state = (await store.load([KEY]))[KEY]
    newest = event("e299", Kind.RECEIPT, 1, NOON + 299)
    assert not state.needs_lookup(newest, revision(0, 400))
    oldest = event("e0", Kind.RECEIPT, 1, NOON)
    assert "e0" in state.seen or state.needs_lookup(oldest, revision(0, 400))
