"""The crash test must be able to fail: each guard taken out leaves damage that `verify` finds. Run: `make sabotage`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.rig import platform
from tests.e2e.test_exactness import ride


@pytest.mark.sabotage
@pytest.mark.timeout(900)
@pytest.mark.parametrize("guard", ["dedup", "fence", "invalidation"])
def test_a_ledger_without_this_guard_is_found_out(guard: str, tmp_path: Path) -> None:
    with platform(tmp_path) as p:
        report = ride(p, ("tests.e2e.broken", guard))
    print(guard, report)
    assert report["exit"] == 1, report
