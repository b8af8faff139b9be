"""The topics: what each carries, how it is keyed, who writes and reads it. Everything else about them follows from here.

`inventorybot topics` prints this table; `inventorybot migrate` makes it so; docs/asyncapi.json is generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from inventorybot.domain.days import DAY_MS


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic.

    Args:
        key: what the key is made of; one partition sees one key's events in order.
        retention_ms: how long a record is kept; None: for ever.
        compact: keep the newest record of each key for ever.
        max_bytes: the largest record, key and headers included.
        partitions: None: as many as the setting `partitions`.
    """

    name: str
    key: str
    says: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    retention_ms: int | None = 30 * DAY_MS
    compact: bool = False
    max_bytes: int = 262_144
    partitions: int | None = None

    def config(self) -> dict[str, str]:
        """Kafka's own settings for it. The broker stamps the time, so that a replay is judged as the original was."""
        return {
            "cleanup.policy": "compact" if self.compact else "delete",
            "retention.ms": str(-1 if self.retention_ms is None else self.retention_ms),
            "max.message.bytes": str(self.max_bytes),
            "message.timestamp.type": "LogAppendTime",
        }


UPDATES = Topic(
    "inventory.updates", "site/bin", "stock movements and cycle counts", ("upstream systems", "ledger"), ("ledger", "verify"),
    retention_ms=None,
)  # fmt: skip
BIN_IMAGES = Topic(
    "inventory.bin-images", "site/bin", "pictures of bins, inline or by reference", ("robots",), ("count", "API"),
    retention_ms=7 * DAY_MS, max_bytes=1_400_000,
)  # fmt: skip
LEVELS = Topic(
    "inventory.levels", "site/bin/SKU", "the level of a slot after a change", ("ledger",), ("settle", "stock-watch", "subscribers"),
    retention_ms=None, compact=True,
)  # fmt: skip
BIN_COUNTS = Topic(
    "inventory.bin-counts", "site/bin", "how many items a picture shows, as a distribution", ("count",), ("variance",)
)
ANOMALIES = Topic(
    "inventory.anomalies", "site/bin or site//SKU", "the life of every anomaly: raised, updated, acknowledged, …, closed",
    ("variance", "settle", "stock-watch", "find-suspects", "ledger", "API"), ("alert", "live stream", "subscribers"),
    retention_ms=90 * DAY_MS, partitions=3,
)  # fmt: skip
MODELS = Topic(
    "inventory.models", "model name", "a release became the one in service", ("models promote",), ("count", "subscribers"),
    retention_ms=None, compact=True, partitions=1,
)  # fmt: skip
PLAN_REQUESTS = Topic(
    "inventory.plan-requests", "plan", "a network plan is asked for", ("upstream systems", "API", "planner"), ("planner",),
    partitions=1,
)  # fmt: skip
PLANS = Topic(
    "inventory.plans", "plan", "a network plan is ready, or has failed", ("planner",), ("subscribers",),
    retention_ms=90 * DAY_MS, partitions=1,
)  # fmt: skip
RESTOCK_ORDERS = Topic(
    "inventory.restock-orders", "site/SKU", "a restock recommendation was approved: order it", ("API", "recommend"), ("subscribers",),
    retention_ms=90 * DAY_MS, partitions=3,
)  # fmt: skip
DEAD_LETTERS = Topic(
    "inventory.dead-letters", "as the original's", "what can never be processed: the original bytes, and why",
    ("every agent",), ("dead-letters",), max_bytes=1_450_000, partitions=1,
)  # fmt: skip

TOPICS = (
    UPDATES,
    BIN_IMAGES,
    LEVELS,
    BIN_COUNTS,
    ANOMALIES,
    MODELS,
    PLAN_REQUESTS,
    PLANS,
    RESTOCK_ORDERS,
    DEAD_LETTERS,
)
