"""Made recommendations for tests: one arithmetic that can be checked by hand, at noon of 2026-11-21."""

from __future__ import annotations

from inventorybot.domain.days import DAY_MS, day_of
from inventorybot.domain.restock import Arithmetic, Criterion, Recommendation

NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z


def arithmetic() -> Arithmetic:
    """4 on hand and 6 on order; below 28, up to 30: 20 units, 24 in packs of 6."""
    return Arithmetic(
        "demand@v1", NOON - DAY_MS, ((5, 0.5), (8, 0.5)), 7, 15, 0, Criterion.CYCLE_SERVICE, 0.95, 0.2, 18.25, 28,
        4, 6, 10, 28, 30, 20, 24, 6, 12, 0.875, 0.03, 0.01,
    )  # fmt: skip


def recommendation(site: str = "BER1", sku: str = "B00X", at: int = NOON, days: int = 7) -> Recommendation:
    """Made at a moment, good for some days."""
    return Recommendation(site, sku, day_of(at), at, at + days * DAY_MS, arithmetic())
