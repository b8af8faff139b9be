"""What jobs measure is served by the schedule: families of several files are one, a damaged file is passed over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest

from inventorybot import telemetry


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files are served; the collector goes with the test."""
    before = set(REGISTRY._collector_to_names)
    telemetry.serve_handed_over(tmp_path)
    yield tmp_path
    for collector in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(collector)


def test_figures_that_a_job_hands_over_are_served_until_it_hands_over_others(served: Path) -> None:
    telemetry.DRIFTED.labels("handed").set(1)
    telemetry.hand_over(served / "a.prom")
    assert 'inventorybot_demand_drifted{kind="handed"} 1.0' in generate_latest().decode()
    telemetry.DRIFTED.labels("handed").set(0)
    telemetry.hand_over(served / "a.prom")
    assert 'inventorybot_demand_drifted{kind="handed"} 0.0' in generate_latest().decode()
    telemetry.DRIFTED.remove("handed")


def test_one_family_of_two_files_is_told_once_and_a_damaged_file_is_passed_over(served: Path) -> None:
    for name in ("a", "b"):
        (served / f"{name}.prom").write_text(f'# HELP f_x what\n# TYPE f_x gauge\nf_x{{job="{name}"}} 2.0\n')
    (served / "c.prom").write_text("f_x{ nonsense\n")
    said = generate_latest().decode()
    assert said.count("# TYPE f_x gauge") == 1
    assert 'f_x{job="a"} 2.0' in said
    assert 'f_x{job="b"} 2.0' in said


def test_a_job_that_measured_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    for metric in (telemetry.DRIFT, telemetry.DRIFT_VALUE, telemetry.DRIFTED, telemetry.HELD_OUT):
        metric.clear()
    (tmp_path / "a.prom").write_text("earlier")
    telemetry.hand_over(tmp_path / "a.prom")
    assert (tmp_path / "a.prom").read_text() == "earlier"
