"""What every evidence store must do: the fake and Cassandra alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from inventorybot.adapters.cassandra.evidence import CassandraEvidence
from inventorybot.adapters.memory.evidence import MemoryEvidence
from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.variance import Evidence, Look, Said
from inventorybot.ports import BinKey, CountRow, EvidenceStore
from tests.conftest import Schema

NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
DAY = 86_400_000
P = CountDistribution((0.1, 0.2, 0.7, *[0.0] * 18))
PRIOR = tuple([1 / 21] * 21)


@pytest.fixture(params=["memory", "cassandra"])
def store(request: pytest.FixtureRequest) -> Iterator[EvidenceStore]:
    if request.param == "memory":
        yield MemoryEvidence()
        return
    schema: Schema = request.getfixturevalue("schema")
    yield CassandraEvidence(schema.database, lambda: NOON)


@pytest.fixture
def key(unique_name: str) -> BinKey:
    """A bin that no other test knows: the keyspace is shared."""
    return unique_name, "P-3 – Ä12"


@pytest.fixture
def row(key: BinKey) -> CountRow:
    return CountRow(*key, NOON, "i1", P, PRIOR, "count@v1", "3:14", None, NOON + 50, 4, 0.875)


def evidence(applied: int) -> Evidence:
    looks = tuple(Look.of(NOON + n, f"ï“{n}", P, PRIOR) for n in range(6))
    return Evidence(applied, looks, NOON - 1, 2, Said(0.5, 4, 3, NOON, 1))


async def test_a_bin_never_looked_at_has_empty_evidence(store: EvidenceStore, key: BinKey) -> None:
    assert await store.load([key, ("nowhere", "B")]) == {key: Evidence(), ("nowhere", "B"): Evidence()}
    assert await store.load([]) == {}
    assert await store.counts(key) == []


async def test_evidence_comes_back_as_it_was_written(store: EvidenceStore, key: BinKey) -> None:
    await store.write({key: (evidence(7), 7)}, [])
    assert await store.load([key]) == {key: evidence(7)}


async def test_a_stale_worker_cannot_overwrite_newer_evidence(store: EvidenceStore, key: BinKey) -> None:
    await store.write({key: (evidence(7), 7)}, [])
    await store.write({key: (Evidence(6), 6)}, [])
    assert await store.load([key]) == {key: evidence(7)}


async def test_counts_come_back_as_they_were_written(store: EvidenceStore, key: BinKey, row: CountRow) -> None:
    unknown = replace(row, image_id="i2", image_url="s3://b/k", recorded=None, probability_wrong=None)
    await store.write({}, [row, unknown])
    assert await store.counts(key) == [row, unknown]


async def test_a_repeated_count_is_one_row_with_one_distribution(
    store: EvidenceStore, key: BinKey, row: CountRow
) -> None:
    for _ in range(3):
        await store.write({}, [row])
    assert await store.counts(key) == [row]


async def test_of_two_counts_of_one_picture_the_later_arrival_stays(
    store: EvidenceStore, key: BinKey, row: CountRow
) -> None:
    later = replace(row, arrived_at=row.arrived_at + 1, model="count@v2", recorded=5)
    await store.write({}, [later])
    await store.write({}, [row])
    assert await store.counts(key) == [later]


async def test_a_repeat_that_knows_less_erases_nothing(store: EvidenceStore, key: BinKey, row: CountRow) -> None:
    later = replace(row, arrived_at=row.arrived_at + 1, recorded=None, probability_wrong=None)
    await store.write({}, [row])
    await store.write({}, [later])
    assert await store.counts(key) == [replace(row, arrived_at=row.arrived_at + 1)]


async def test_counts_are_newest_first_over_months_and_the_other_bins_are_not_among_them(
    store: EvidenceStore, key: BinKey, row: CountRow
) -> None:
    rows = [replace(row, captured_at=NOON - n * 40 * DAY, arrived_at=NOON, image_id=f"i{n}") for n in range(5)]
    other: Any = replace(row, bin="B2")
    await store.write({}, [*reversed(rows), other])
    assert await store.counts(key) == rows
    assert await store.counts(key, limit=2) == rows[:2]
