"""Stock is held against its forecast by real processes, one of which is killed in between, and again from the first record.

sales   ▁▁▁▂▃▅ K1 low        receipt of K1       sales ▂▃▅ low again        (nothing)
watch A ███ raised ██✗ SIGKILL
watch B                      ███ resolved ████✗ SIGKILL
watch C                                          ████ raised ███ SIGTERM
watch D                                                           ███ all levels once more, from the first: nothing new
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from inventorybot import wiring
from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.domain.alerts import Anomaly
from inventorybot.domain.events import Kind, Movement
from inventorybot.domain.forecast import Forecast
from inventorybot.wire.codec import movement_message
from tests.e2e.rig import Platform, platform, until

DAY, WEEK = 86_400_000, 7 * 86_400_000
GROUP, LEVELS, SITE = "inventorybot-stock-watch", "inventory.levels", "WATCH"


class Shop:
    """Sales and receipts in, anomalies out, of a platform."""

    def __init__(self, p: Platform) -> None:
        self.p, self.database, self.moves = p, wiring.database(p.settings), 0
        self.anomalies = CassandraAnomalies(self.database)
        self.kafka = wiring.kafka_config(p.settings)
        self.admin = AdminClient(self.kafka)  # kept: without it its futures never finish

    def forecast(self, **weekly: float) -> None:
        """Units a week, for eight weeks from this one on."""
        now = int(time.time() * 1000)
        begin = now - now % WEEK
        spread = (0.4, 0.8, 1.0, 1.2, 1.6)
        rows = [
            Forecast(SITE, sku, begin + n * WEEK, mean, tuple(mean * s for s in spread), "demand@v1", now)
            for sku, mean in weekly.items()
            for n in range(8)
        ]
        asyncio.run(CassandraForecasts(self.database).write(rows))

    def move(self, kind: Kind, sku: str, *quantities: int) -> None:
        """In two bins by turns."""
        now = int(time.time() * 1000)
        events = []
        for quantity in quantities:
            self.moves += 1
            event = Movement(f"e{self.moves}", kind, now, SITE, f"B{self.moves % 2}", sku, quantity, None, "", "test")
            events.append(movement_message(event))
        asyncio.run(self._publish(events))

    async def _publish(self, events: list[object]) -> None:
        async with wiring.publisher(self.p.settings) as publisher:
            await publisher.publish(events)  # type: ignore[arg-type]

    def listed(self) -> list[Anomaly]:
        async def read() -> list[Anomaly]:
            return [a async for a in self.anomalies.list(site=SITE)]

        return asyncio.run(read())

    def have(self, **wanted: str) -> bool:
        """Whether the statuses of each SKU's projected stock-outs, newest first, are these: "open,resolved"."""
        found = [a for a in self.listed() if a.kind == "projected-stock-out"]
        return all(",".join(str(a.status) for a in found if a.sku == sku) == want for sku, want in wanted.items())

    def ends(self, topic: str) -> list[int]:
        consumer = Consumer(self.kafka | {"group.id": "test"})
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            return [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions]
        finally:
            consumer.close()

    def committed(self) -> list[int]:
        asked = [ConsumerGroupTopicPartitions(GROUP)]
        (answer,) = self.admin.list_consumer_group_offsets(asked).values()
        found = {t.partition: t.offset for t in answer.result(10).topic_partitions if t.topic == LEVELS}
        return [found.get(p, 0) for p in range(len(self.ends(LEVELS)))]

    def caught_up(self) -> bool:
        """Whether the watch has acknowledged every level."""
        return all(at >= end - 1 for at, end in zip(self.committed(), self.ends(LEVELS), strict=True))


@pytest.mark.timeout(600)
def test_stock_that_runs_low_is_told_once_and_settled_by_a_receipt_though_the_watch_is_killed(tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        p.env["INVENTORYBOT_STOCK_WATCH_POLL_S"] = "0.5"
        shop = Shop(p)
        p.worker("ledger")
        p.worker("alert")
        a = p.worker("stock-watch")
        shop.move(Kind.RECEIPT, "K1", 60, 60)
        shop.move(Kind.RECEIPT, "K2", 5, 5)
        shop.move(Kind.RECEIPT, "K3", 3000)
        shop.move(Kind.RECEIPT, "K4", 1)  # no forecast: no opinion
        shop.forecast(K1=70.0, K2=70.0, K3=7.0)
        until("K2 is raised by its forecast alone", lambda: shop.have(K2="open", K1="", K4=""))
        shop.move(Kind.SALE, "K1", *[1] * 85)
        until("K1 is raised by its sales", lambda: shop.have(K1="open", K2="open"))
        (low,) = (x for x in shop.listed() if x.sku == "K1")
        a.kill()
        shop.move(Kind.RECEIPT, "K1", 100, 100)
        p.worker("stock-watch")
        until("K1 is resolved by its receipt", lambda: shop.have(K1="resolved", K2="open"))
        shop.move(Kind.SALE, "K1", *[2] * 50)
        p.workers[-1].kill()
        shop.move(Kind.SALE, "K1", *[2] * 45)
        c = p.worker("stock-watch")
        until("K1 is raised anew", lambda: shop.have(K1="open,resolved", K2="open"))
        until("all levels are seen", shop.caught_up)
        c.terminate()
        c.wait(30)
        said = shop.ends("inventory.anomalies")
        (deleted,) = shop.admin.delete_consumer_groups([GROUP]).values()
        deleted.result(30)
        p.worker("stock-watch")
        until("all levels are seen once more", lambda: sum(shop.committed()) > 0 and shop.caught_up())
        assert shop.ends("inventory.anomalies") == said, "the same levels again must not be news"
        found = shop.listed()
        shop.database.close()
    assert low.knowledge.recorded is not None
    assert low.knowledge.recorded <= 70
    assert low.knowledge.expected_at is not None
    assert 0 < low.knowledge.expected_at - low.raised_at < 9 * DAY
    assert Counter((x.sku, x.kind) for x in found) == {
        ("K1", "projected-stock-out"): 2, ("K2", "projected-stock-out"): 1, ("K3", "excess-stock"): 1,
    }  # fmt: skip
