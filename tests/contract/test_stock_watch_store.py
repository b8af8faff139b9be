"""What every store of the stock watch must do: the fake and Cassandra alike. Run: pytest tests/contract/test_stock_watch_store.py"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inventorybot.adapters.cassandra.stock_watch import CassandraStockWatch
from inventorybot.adapters.memory.stock_watch import MemoryStockWatch
from inventorybot.domain.stock_watch import EXCESS, STOCK_OUT, Said, Watch
from inventorybot.ports import StockWatchStore
from tests.conftest import Schema

OPEN = Watch(3, Said(0.75, 2.5, 1_795_392_000_000, 4, True), 7, 1_795_392_000_000_000)


@pytest.fixture(params=["memory", "cassandra"])
def store(request: pytest.FixtureRequest) -> Iterator[StockWatchStore]:
    if request.param == "memory":
        yield MemoryStockWatch()
        return
    schema: Schema = request.getfixturevalue("schema")
    yield CassandraStockWatch(schema.database)


async def test_what_was_noted_is_read_by_sku_and_kind_and_what_was_not_is_not_there(
    store: StockWatchStore, unique_name: str
) -> None:
    excess = Watch(0, Said(None, 400.0, 5), 0, 9)
    noted = {("kit/7 grün", STOCK_OUT): OPEN, ("kit/7 grün", EXCESS): excess, ("K2", STOCK_OUT): Watch(version=1)}
    await store.write(unique_name, noted)
    await store.write(f"{unique_name}x", {("K3", EXCESS): excess})
    assert await store.load(unique_name, ["K2", "K3", "kit/7 grün", "K2"]) == noted
    assert await store.load(unique_name, ["K3"]) == {}
    assert await store.load(unique_name, []) == {}


async def test_an_older_version_never_overwrites_a_newer_one(store: StockWatchStore, unique_name: str) -> None:
    newer, key = Watch(4, None, 0, OPEN.version + 1), ("K1", STOCK_OUT)
    await store.write(unique_name, {key: newer})
    await store.write(unique_name, {key: OPEN})
    assert await store.load(unique_name, ["K1"]) == {key: newer}


async def test_many_are_noted_and_read_at_once(store: StockWatchStore, unique_name: str) -> None:
    many = {(f"K{n}", STOCK_OUT): Watch(n, version=n) for n in range(1000)}
    await store.write(unique_name, many)
    assert await store.load(unique_name, [sku for sku, _ in many]) == many
    await store.write(unique_name, {})
