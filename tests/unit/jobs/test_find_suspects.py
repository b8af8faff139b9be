"""Which days the job on suspect records reads, and how it declines. Run: pytest tests/unit/jobs/test_find_suspects.py"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from inventorybot.errors import SetupError
from ml.history.lake import Lake
from ml.jobs import NotYet
from ml.jobs.find_suspects import families, window
from ml.jobs.retrain_suspect import closed

FIRST = date(2026, 1, 1)


def lake(folder: Path, days: int) -> Lake:
    """A lake whose daily table has so many days from FIRST on, all empty."""
    for n in range(days):
        (folder / "daily" / f"day={FIRST + timedelta(days=n)}").mkdir(parents=True)
    return Lake(str(folder))


def test_the_newest_day_that_is_over_is_looked_at_and_fifteen_months_before(tmp_path: Path) -> None:
    held = lake(tmp_path, 500)
    last = FIRST + timedelta(days=499)
    assert window(held, None, today=last + timedelta(days=1)) == (last - timedelta(days=455), last)
    assert window(held, None, today=last) == (last - timedelta(days=456), last - timedelta(days=1))
    assert window(held, date(2026, 5, 1), today=last) == (FIRST, date(2026, 5, 1))


def test_a_day_that_the_lake_has_not_is_refused_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="has no 2027-01-01: it has 2026-01-01 to 2026-04-10"):
        window(lake(tmp_path, 100), date(2027, 1, 1), today=date(2027, 1, 2))


def test_too_little_history_is_no_failure_but_not_yet(tmp_path: Path) -> None:
    with pytest.raises(NotYet, match="91 days of history until 2026-04-01 are too few"):
        window(lake(tmp_path, 91), None, today=date(2026, 5, 1))
    with pytest.raises(NotYet, match="has no history yet"):
        window(Lake(str(tmp_path / "nothing")), None, today=date(2026, 5, 1))


def test_an_item_table_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("sku,category\nK1,tea\n")
    with pytest.raises(SetupError, match=r"items\.csv cannot be read as a table with the columns sku and family"):
        families(None, tmp_path / "items.csv")  # type: ignore[arg-type]  # it fails before Spark is needed


def test_only_suspect_records_whose_outcome_is_known_are_labels() -> None:
    at, end = pd.Timestamp("2026-03-02", tz="UTC"), pd.Timestamp("2026-03-05T10:00", tz="UTC")
    rows = [
        ("suspect-record", "K1", at, end, "confirmed"),
        ("suspect-record", "K2", at, end, "refuted"),
        ("suspect-record", "K3", at, pd.NaT, "unknown"),
        ("bin-variance", "K4", at, end, "confirmed"),
    ]
    table = pd.DataFrame(rows, columns=["kind", "sku", "raised_at", "ended_at", "outcome"]).assign(site="BER1")
    found = closed(table)
    assert found.values.tolist() == [
        ["BER1", "K1", date(2026, 3, 2), date(2026, 3, 5), True],
        ["BER1", "K2", date(2026, 3, 2), date(2026, 3, 5), False],
    ]
