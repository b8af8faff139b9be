"""Days, weeks and months of times in ms since 1970, UTC. In: a time. Out: the number by which rows and names are dated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(at: int) -> int:
    """yyyymmdd of a time in ms."""
    return _dated(at // DAY_MS)


def month_of(at: int) -> int:
    """yyyymm of a time in ms."""
    return _dated(at // DAY_MS) // 100


@lru_cache(maxsize=1024)
def _dated(day: int) -> int:
    when = _EPOCH + timedelta(days=day)
    return when.year * 10_000 + when.month * 100 + when.day
