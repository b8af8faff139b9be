"""The wall clock, where a composition root needs one; everything below is given it as an argument."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000
