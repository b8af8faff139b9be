"""The jobs on demand, from a made lake through a registry to stored forecasts, and back to whether they have come true.

The lake is Parquet, the registry MLflow on SQLite, the store the shipped fake (tests/contract holds Cassandra to the same).
Run: pytest tests/integration/test_demand_jobs.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from inventorybot import telemetry
from inventorybot.adapters.memory.forecasts import MemoryForecasts
from inventorybot.adapters.registry import ModelRegistry
from inventorybot.errors import SetupError
from inventorybot.settings import Settings
from ml.demand import drift, lifecycle
from ml.demand.forecaster import Config
from ml.history.lake import SCHEMAS, Lake
from ml.jobs import NotYet
from ml.jobs.check_drift import ask, findings_of, measure, newest_days
from ml.jobs.cli import app
from ml.jobs.forecast import forecasts_of, store
from ml.jobs.history import LEAST, in_service, name_of, read_history, whole_periods
from ml.jobs.journal import FAILED, NOT_YET, OK, Journal, Run
from ml.jobs.retrain_demand import Made, make_release, serve
from ml.jobs.schedule import Child

MONDAY = date(2026, 6, 1)
WEEKS, SERIES = 20, 160
"""With more than 150 series the slow statistical methods are left out."""
CONFIG = Config(folds=2, use_mlp=False, use_trees=False)
NOW = int(datetime(2026, 10, 20, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000


def write_days(folder: Path, first: date, days: int, seed: int, times: float = 1.0) -> None:
    """Days of the daily table: Poisson sales of SERIES slots at levels of their own; slot 0 is out of stock on Sundays.

    Args: times: what the levels are multiplied by.
    """
    schema = pa.schema([field for field in SCHEMAS["daily"] if field.name != "day"])
    level, rng = np.random.default_rng(7).uniform(1, 8, SERIES), np.random.default_rng(seed)
    for day in (first + timedelta(days=n) for n in range(days)):
        out = (np.arange(SERIES) == 0) & (day.weekday() == 6)
        sold, none = np.where(out, 0, rng.poisson(level * times)), np.zeros(SERIES, np.int64)
        values = {
            "site": [f"S{n % 2}" for n in range(SERIES)], "sku": [f"K{n // 2:02d}" for n in range(SERIES)], "sold": sold,
            "received": none, "returned": none, "written_off": none, "adjusted": none,
            "counted": pa.nulls(SERIES, pa.int64()), "recorded": np.where(out, 0, 9),
            "in_stock": np.where(out, 0.0, 1.0), "censored": out, "price": np.full(SERIES, 2.5),
        }  # fmt: skip
        place = folder / "daily" / f"day={day.isoformat()}"
        place.mkdir(parents=True)
        pq.write_table(pa.table({name: values[name] for name in schema.names}, schema=schema), place / "part.parquet")


@dataclass(frozen=True)
class World:
    """A lake, a registry with a first release in service, and what was said of it."""

    lake: Lake
    held: ModelRegistry
    reports: str
    made: Made
    said: str

    async def promote(self, settings: Settings, name: str, version: str, **how: object) -> str:
        """As `wiring.put_in_service`, without agents to tell."""
        return self.held.promote(name, version, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world(empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("jobs")
    write_days(folder / "lake", MONDAY, WEEKS * 7, seed=1)
    (folder / "registry.db").write_bytes(empty_registry.read_bytes())
    lake, held = Lake(str(folder / "lake")), ModelRegistry(f"sqlite:///{folder / 'registry.db'}")
    history = read_history(lake, "weekly", least=LEAST["weekly"])
    made = make_release(
        history, "weekly", 4, held, str(folder / "reports"), NOW, lambda _: None, CONFIG, compared=False
    )
    first = World(lake, held, str(folder / "reports"), made, "")
    return replace(first, said=serve(Settings(), held, made, first.promote))


@pytest.fixture
def later(world: World, tmp_path: Path) -> Path:
    """A copy of the lake, for four more weeks."""
    folder = tmp_path / "lake"
    folder.mkdir()
    (folder / "daily").mkdir()
    for place in Path(world.lake.path("daily")).iterdir():
        (folder / "daily" / place.name).symlink_to(place)
    return folder


def test_the_first_release_goes_in_service_with_its_report_and_what_it_learnt_from(world: World) -> None:
    release = in_service(world.held)
    assert release is not None
    assert release.version == "20261020-000000"
    assert world.said.startswith("demand 20261020-000000, held-out WAPE 0.")
    assert "on the last 4 periods: in service; report: " in world.said
    page = Path(world.made.report)
    assert page.read_text(encoding="utf-8").count("Demand model 20261020-000000: 2026-06-01 to 2026-10-18") >= 1
    learnt = drift.read(release.path)
    assert learnt.until == "2026-10-19"
    assert len(learnt.series) == SERIES
    assert len(learnt.errors["WAPE"]) == 8  # two held-back stretches of four weeks


def test_a_release_that_is_no_better_on_the_same_weeks_is_published_but_refused_with_both_figures(world: World) -> None:
    history = read_history(world.lake, "weekly")
    again = make_release(
        history, "weekly", 4, world.held, world.reports, NOW + DAY_MS, lambda _: None, CONFIG, compared=False
    )
    assert again.before is not None
    assert again.before["refitted"] == 1.0
    assert again.ours == pytest.approx(again.before["WAPE"])  # the same history, the same recipe
    said = serve(Settings(), world.held, again, world.promote)
    assert "so both recipes were learnt anew without them: 0." in said
    assert "not better, demand 20261020-000000 stays in service" in said
    current = in_service(world.held)
    assert current is not None
    assert current.version == "20261020-000000"
    assert "20261021-000000" in world.held.versions("demand")


async def forecasts(world: World, into: MemoryForecasts, made_at: int) -> int:
    release = in_service(world.held)
    assert release is not None
    frame = lifecycle.forecast_locally(release.path, read_history(world.lake, "weekly").daily, 4)
    stored, refused = await store(forecasts_of(frame, name_of(release), made_at), into)
    assert refused == []
    return stored


async def test_forecasts_are_stored_by_site_sku_and_week(world: World) -> None:
    into = MemoryForecasts()
    assert await forecasts(world, into, NOW) == SERIES * 4
    weeks = [int(datetime(2026, 10, 19, tzinfo=UTC).timestamp() * 1000) + n * 7 * DAY_MS for n in range(4)]
    assert await into.periods("S0", 0) == weeks
    rows = await into.of_site("S1", weeks[0])
    assert [row.sku for row in rows] == [f"K{n:02d}" for n in range(80)]
    assert {row.model for row in rows} == {"demand@20261020-000000"}


@pytest.mark.parametrize(("times", "drifted"), [(1.0, False), (3.0, True)])
async def test_drift_is_seen_in_the_data_and_in_the_errors_of_what_was_forecast(
    world: World, later: Path, times: float, drifted: bool
) -> None:
    into = MemoryForecasts()
    await forecasts(world, into, NOW)
    write_days(later, MONDAY + timedelta(weeks=WEEKS), 28, seed=2, times=times)
    release = in_service(world.held)
    assert release is not None
    learnt = drift.read(release.path)
    found = await findings_of(learnt, release, newest_days(learnt, Lake(str(later))), into)
    assert {f.kind for f in found} == {"data", "error"}
    assert any(f.beyond for f in found if f.kind == "data") is drifted
    assert any(f.beyond for f in found if f.kind == "error") is drifted
    measure(found)
    assert telemetry.DRIFTED.labels("data")._value.get() == drifted


async def test_forecasts_of_another_model_or_made_after_the_fact_are_not_judged(world: World, later: Path) -> None:
    into = MemoryForecasts()
    await forecasts(world, into, NOW + 60 * DAY_MS)
    write_days(later, MONDAY + timedelta(weeks=WEEKS), 28, seed=2)
    release = in_service(world.held)
    assert release is not None
    learnt = drift.read(release.path)
    found = await findings_of(learnt, release, newest_days(learnt, Lake(str(later))), into)
    assert {f.kind for f in found} == {"data"}


def test_drift_asks_the_schedule_for_a_retrain_at_most_once_a_week(tmp_path: Path) -> None:
    settings, journal = Settings(jobs_state=str(tmp_path)), Journal(tmp_path)
    assert ask(settings, "level is high", NOW) == "; retrain-demand is asked for"
    assert journal.story("retrain-demand").asked_why == "level is high"
    journal.end("retrain-demand", Run(NOW + 1, NOW + 2, OK))
    assert "is not asked for again" in ask(settings, "level is high", NOW + 6 * DAY_MS)
    assert ask(settings, "level is high", NOW + 9 * DAY_MS) == "; retrain-demand is asked for"
    assert ask(Settings(), "x", NOW) == "; `inventorybot jobs run retrain-demand` retrains"


@pytest.mark.parametrize(
    ("days", "kind", "words"),
    [
        (0, "weekly", "has no history yet: `inventorybot jobs run build-history` writes it"),
        (
            3,
            "weekly",
            "the lake has 3 days, 2026-06-01 to 2026-06-03, which make 0 whole weeks, Monday to Sunday; at least 8",
        ),
        (27, "daily", "which make 27 whole days; at least 28 are needed"),
    ],
)
def test_too_little_history_is_one_sentence_with_what_there_is_and_what_is_needed(
    tmp_path: Path, days: int, kind: str, words: str
) -> None:
    write_days(tmp_path, MONDAY, days, seed=1)
    with pytest.raises(NotYet) as short:
        read_history(Lake(str(tmp_path)), kind, least=LEAST[kind])
    assert words in str(short.value)


def test_weeks_run_from_monday_to_sunday_and_the_first_may_have_begun_before() -> None:
    assert whole_periods(MONDAY, MONDAY + timedelta(days=13), "weekly") == 2
    assert whole_periods(MONDAY, MONDAY + timedelta(days=12), "weekly") == 1
    assert whole_periods(MONDAY + timedelta(days=2), MONDAY + timedelta(days=13), "weekly") == 2
    assert whole_periods(MONDAY, MONDAY, "daily") == 1


def test_a_run_by_hand_is_noted_with_what_it_said(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVENTORYBOT_JOBS_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INVENTORYBOT_MODELS", "sqlite:///" + str(Path(world.reports).parent / "registry.db"))
    monkeypatch.setenv("INVENTORYBOT_LAKE", str(tmp_path / "nothing"))
    done = CliRunner().invoke(app, ["run", "retrain-demand"])
    assert isinstance(done.exception, NotYet)
    last = Journal(tmp_path / "state").story("retrain-demand").last
    assert last is not None
    assert (last.result, last.said) == (NOT_YET, str(done.exception))
    listed = CliRunner().invoke(app, ["list"]).output
    assert "not yet after" in listed
    assert CliRunner().invoke(app, ["run", "retrain-demand", "--help"]).exit_code == 0
    assert len(Journal(tmp_path / "state").story("retrain-demand").runs) == 1


def test_without_a_registry_the_sentence_names_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INVENTORYBOT_LAKE", str(tmp_path))
    done = CliRunner().invoke(app, ["run", "forecast"])
    assert isinstance(done.exception, SetupError)
    assert "set INVENTORYBOT_MODELS" in str(done.exception)


def test_a_scheduled_run_is_a_process_with_a_log_that_notes_its_end_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVENTORYBOT_JOBS_STATE", str(tmp_path))
    child = Child("load-forecasts", [str(tmp_path / "nothing.csv")], tmp_path / "logs", NOW)
    deadline = time.monotonic() + 60
    while child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    last = Journal(tmp_path).story("load-forecasts").last
    assert child.poll() == 2
    assert last is not None
    assert last.result == FAILED
    assert "nothing.csv cannot be read" in last.said
    assert "nothing.csv cannot be read" in child.last_words()
    assert child.log.name == "load-forecasts-20261020T000000Z.log"


def test_the_scheduler_imports_nothing_heavy() -> None:
    heavy = ("pandas", "torch", "pyspark", "pyarrow", "lightgbm", "sklearn", "cassandra", "confluent_kafka", "mlflow")
    code = f"import sys, ml.jobs.cli; sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
