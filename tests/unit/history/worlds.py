"""Made-up movements for the tests of history. In: a generator. Out: frames as `fold_days` takes them, and the ledger's rows."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from inventorybot.domain.events import INBOUND, TRANSFERS, Kind
from inventorybot.domain.ledger import LedgerRow

COLUMNS = ["event_id", "site", "bin", "sku", "kind", "quantity", "to_bin", "at", "revision"]
DAY = 20_000
"""2024-10-04, in days since the epoch."""
HOUR_US = 3_600_000_000
NOTHING = pd.DataFrame({"site": pd.Series(dtype=str), "bin": pd.Series(dtype=str), "sku": pd.Series(dtype=str), "on_hand": pd.Series(dtype="int64")})  # fmt: skip


def us(text: str) -> int:
    """Microseconds since the epoch of a time such as 2024-10-04T06:00."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def move(kind: str, at: int, quantity: int, *, bin: str = "A", sku: str = "x", to_bin: str | None = None, revision: int = 0) -> dict[str, object]:  # fmt: skip
    """One movement at site S, `at` in hours after midnight of DAY; quantity signed, or the units found."""
    when = DAY * 24 * HOUR_US + at * HOUR_US
    return {"event_id": f"{kind}{at}{revision}", "site": "S", "bin": bin, "sku": sku, "kind": kind, "quantity": quantity,
            "to_bin": to_bin, "at": when, "revision": revision}  # fmt: skip


def frame(*moves: dict[str, object]) -> pd.DataFrame:
    """Movements as a table."""
    return pd.DataFrame(list(moves), columns=COLUMNS)


def random_moves(rng: np.random.Generator, count: int, days: int, first: int = DAY) -> pd.DataFrame:
    """Movements of three sites, six bins and five SKUs, many of them in one hour so that ties are common."""
    kinds = [k for k in Kind if k not in TRANSFERS]
    rows = []
    for number in range(count):
        kind = kinds[rng.integers(len(kinds))]
        size = int(rng.integers(1, 20))
        signed = size if kind in INBOUND or kind is Kind.CYCLE_COUNT else int(rng.choice([-1, 1])) * size if kind is Kind.ADJUSTMENT else -size  # fmt: skip
        at = (first * 24 + int(rng.integers(0, days * 24))) * HOUR_US
        rows.append(
            (
                f"e{number}",
                f"S{rng.integers(3)}",
                f"B{rng.integers(6)}",
                f"sku-{rng.integers(5)}",
                str(kind),
                signed,
                None,
                at,
                number,
            )
        )
    return pd.DataFrame(rows, columns=COLUMNS).sample(
        frac=1, random_state=int(rng.integers(1 << 30)), ignore_index=True
    )


def ledger_rows(moves: pd.DataFrame) -> dict[tuple[str, str], list[LedgerRow]]:
    """The same movements as the ledger keeps them, by bin; its times are milliseconds."""
    found: dict[tuple[str, str], list[LedgerRow]] = {}
    for r in moves.itertuples():
        row = LedgerRow(r.at // 1000, r.revision, r.sku, r.quantity, r.kind == Kind.CYCLE_COUNT, r.event_id)
        found.setdefault((r.site, r.bin), []).append(row)
    return found
