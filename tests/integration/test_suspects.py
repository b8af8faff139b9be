"""Suspect records over a real Spark, Kafka and Cassandra: from a lake to the anomaly that a person sees.

In: a lake written as `build-history` writes it, of a simulated warehouse in which one record is made a phantom. Expected: what the same
code says without Spark, and one anomaly of that slot however often the job runs. Run: pytest tests/integration/test_suspects.py
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from inventorybot import wiring
from inventorybot.adapters.cassandra.anomalies import CassandraAnomalies
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.adapters.kafka import Topics
from inventorybot.adapters.kafka_log import KafkaLog
from inventorybot.domain.alerts import Anomaly
from inventorybot.domain.days import DAY_MS
from inventorybot.domain.forecast import Forecast
from inventorybot.settings import Settings, load
from inventorybot.wire.topics import ANOMALIES, DEAD_LETTERS, MODELS
from ml.anomaly.cases import FORECAST, SUSPECT, evening
from ml.anomaly.daily import story_of
from ml.anomaly.explain import explained
from ml.anomaly.faults import Mix
from ml.anomaly.features import features, stacked
from ml.anomaly.forecasts import periods
from ml.anomaly.model import SHIPPED, Detector
from ml.anomaly.model import load as load_detector
from ml.anomaly.simulate import World
from ml.anomaly.story import FLOWS, Story
from ml.anomaly.train import labelled, log_loss, outcomes, play
from ml.history.lake import Lake, read_daily
from ml.jobs import NotYet
from ml.jobs.find_suspects import decide, publish, score, window
from ml.jobs.retrain_suspect import collect, learn
from services.local.kafka import Broker
from streaming.agents.alert import AlertAgent
from tests.conftest import Schema
from tests.lake_world import lake_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SLOTS_A_CHUNK = 12
PHANTOM = 0  # row of the story


@dataclass(frozen=True)
class Found:
    """A lake, its last day, what Spark says of it, and the story for whoever asks without Spark."""

    lake: Lake
    items: Path
    since: date
    day: date
    story: Story
    rows: pd.DataFrame
    detector: Detector


def with_phantom(told: Story) -> Story:
    """Row PHANTOM sells three a day and is replenished each week, until 30 days before the end; then the record shows 18, and nothing sells."""
    flows = {flow: getattr(told, flow).copy() for flow in FLOWS}
    days, stop = told.days, told.days - 30
    for flow in FLOWS:
        flows[flow][PHANTOM] = np.nan if flow == "counted" else 0.0
    flows["sold"][PHANTOM, :stop] = 3
    flows["received"][PHANTOM, :stop:7] = 21
    flows["received"][PHANTOM, 0] += 15
    flows["recorded"][PHANTOM] = np.cumsum(flows["received"][PHANTOM] - flows["sold"][PHANTOM])
    assert days > stop > 60
    assert flows["recorded"][PHANTOM, -1] > 10
    return Story(told.site, told.sku, told.family, told.first_day, **flows)


@pytest.fixture(scope="module")
def world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Scored once for all tests of this file: three sites, chunks of a few families each."""
    folder = tmp_path_factory.mktemp("suspects")
    told = with_phantom(play(4711, 130, 8, World(Mix().times(30), counts_a_year=12)).story)
    lake = lake_of(told, folder / "lake")
    items = folder / "items.csv"
    pd.DataFrame({"sku": told.sku, "family": told.family}).drop_duplicates().to_csv(items, index=False)
    since, day = window(lake, None, told.day(told.days))
    detector = load_detector(SHIPPED)
    rows = score(spark, lake, since, day, detector, items, (7,), slots=SLOTS_A_CHUNK)
    frame = read_daily(lake, since, day).merge(pd.read_csv(items, dtype=str), on="sku")
    local = story_of(frame, since, day)
    return Found(lake, items, since, day, local, rows.sort_values(["site", "sku"], ignore_index=True), detector)


def test_spark_says_of_every_slot_what_the_same_code_says_on_the_whole_table(world: Found) -> None:
    story, rows = world.story, world.rows
    assert len(set(story.site.tolist())) == 3
    assert rows[["site", "sku"]].values.tolist() == [
        [str(s), str(k)] for s, k in zip(story.site, story.sku, strict=True)
    ]
    x = stacked(features(story))
    p = np.stack([world.detector.score(x[:, at]) for at in range(story.days - 3, story.days)], axis=1)
    np.testing.assert_allclose(np.stack(rows["evenings"].tolist()), p, rtol=1e-6)
    np.testing.assert_allclose(rows["units"], world.detector.units_wrong(x[:, -1]), rtol=1e-5)
    np.testing.assert_array_equal(rows["recorded"], story.recorded[:, -1])
    told = np.flatnonzero(p[:, -1] >= world.detector.threshold / 2)
    assert PHANTOM in told
    for slot, suspect in zip(told, explained(world.detector, story, x, told, p[:, -1], story.days - 1), strict=True):
        assert rows["why"][slot] == suspect.told()
    weeks = np.stack([np.convolve(sold, np.ones(7), "valid").max() for sold in story.sold])
    assert [most[0] for most in rows["most_sold"]] == weeks.tolist()


def test_spark_collects_the_outcomes_of_counts_that_the_whole_table_has(world: Found, spark: SparkSession) -> None:
    """Without an item table this time: each SKU is a family of its own."""
    found = collect(spark, world.lake, world.since, world.day, slots=SLOTS_A_CHUNK)
    story = story_of(read_daily(world.lake, world.since, world.day), world.since, world.day)
    slot, day, wrong, units = labelled(story)
    order = np.lexsort((story.sku[slot], story.site[slot], day))
    assert len(found) > 10
    np.testing.assert_allclose(found.x, stacked(features(story))[slot, day - 1][order], rtol=1e-5, atol=1e-6)
    assert found.wrong.tolist() == wrong[order].tolist()
    assert found.units.tolist() == units[order].tolist()


class Platform:
    """The topic and the store, and the alert agent between them."""

    def __init__(self, settings: Settings, schema: Schema) -> None:
        self.settings, self.log = settings, KafkaLog(wiring.kafka_config(settings))
        self.anomalies, self.forecasts = CassandraAnomalies(schema.database), CassandraForecasts(schema.database)
        self.letters = CassandraDeadLetters(schema.database, wiring.kafka_config(settings))
        self.agent = AlertAgent(self.anomalies, self.letters, epoch=3000)
        self.seen: tuple[int, ...] = ()

    async def run(self, world: Found, rows: pd.DataFrame | None = None, day: date | None = None) -> list[str]:
        """The job's decision, published; then what the alert agent makes of it. Returns: kind and action of each step."""
        day = day or world.day
        asked = await periods(self.forecasts, sorted(set(world.story.site.tolist())), evening(day))
        steps = await decide(
            world.rows if rows is None else rows,
            world.detector,
            "suspect@v1",
            day,
            self.anomalies,
            self.forecasts,
            asked,
            (7,),
        )
        async with wiring.publisher(self.settings) as publisher:
            await publish(steps, publisher)
        _, end = await self.log.bounds(ANOMALIES.name)
        async for records in self.log.read(ANOMALIES.name, self.seen, end):
            await self.agent.handle(records)
        self.seen = end
        return [f"{step.kind} {step.action}" for step in steps]

    async def of(self, world: Found, kind: str, status: str = "open") -> list[Anomaly]:
        """Anomalies of the phantom's slot."""
        site, sku = str(world.story.site[PHANTOM]), str(world.story.sku[PHANTOM])
        return [
            a async for a in self.anomalies.list(kind=kind, status=status, limit=9999) if (a.site, a.sku) == (site, sku)
        ]


@pytest.fixture
async def platform(kafka: Broker, schema: Schema) -> AsyncIterator[Platform]:
    settings = load({"INVENTORYBOT_KAFKA": kafka.bootstrap})
    topics = Topics(wiring.kafka_config(settings))
    topics.create([ANOMALIES, DEAD_LETTERS], 2, 1)
    made = Platform(settings, schema)
    _, made.seen = await made.log.bounds(ANOMALIES.name)
    yield made
    made.letters.close()
    made.log.close()


async def test_a_phantom_in_the_lake_is_an_anomaly_once_and_ends_with_a_count(world: Found, platform: Platform) -> None:
    site, sku = str(world.story.site[PHANTOM]), str(world.story.sku[PHANTOM])
    wild = Forecast(
        site, sku, evening(world.day) + DAY_MS, 50.0, (1.0, 2.0, 3.0, 4.0, 211.0), "demand@v1", evening(world.day)
    )
    await platform.forecasts.write([wild])
    first = await platform.run(world)
    assert f"{SUSPECT} raised" in first
    assert f"{FORECAST} raised" in first
    (suspect,) = await platform.of(world, SUSPECT)
    assert suspect.bin is None
    assert suspect.knowledge.probability is not None
    assert suspect.knowledge.probability >= world.detector.threshold
    assert suspect.knowledge.recorded == round(world.story.recorded[PHANTOM, -1])
    assert "sold 3" in str(suspect.knowledge.why)
    (absurd,) = await platform.of(world, FORECAST)
    assert "211 is more than 10 times 21" in str(absurd.knowledge.why)

    assert await platform.run(world) == []
    assert await platform.of(world, SUSPECT) == [suspect]

    counted, tomorrow = world.rows.copy(), world.day + timedelta(days=1)
    counted["counted"] = [
        tomorrow if (s, k) == (site, sku) else None for s, k in zip(counted["site"], counted["sku"], strict=True)
    ]
    assert f"{SUSPECT} resolved" in await platform.run(world, counted, tomorrow)
    (ended,) = await platform.of(world, SUSPECT, "resolved")
    assert ended.id == suspect.id
    assert ended.updated_at == evening(tomorrow)
    assert datetime.fromtimestamp(suspect.raised_at / 1000, UTC).date() == tomorrow  # midnight: the day is over


async def test_what_counts_have_found_makes_a_better_detector_the_one_in_service(kafka: Broker, tmp_path: Path) -> None:
    """Records go wrong ten times as often as where the detector that ships was calibrated: it must learn at least that."""
    settings = load(
        {"INVENTORYBOT_KAFKA": kafka.bootstrap, "INVENTORYBOT_MODELS": f"sqlite:///{tmp_path / 'models.db'}"}
    )
    Topics(wiring.kafka_config(settings)).create([MODELS], 1, 1)
    grim = outcomes(play(920, 300, 120, World(Mix().times(10), counts_a_year=8)).story)
    now = datetime(2026, 11, 21, 4, 30, tzinfo=UTC)
    with pytest.raises(NotYet, match="39 cycle counts are too few to learn from: 40 are needed"):
        await learn(settings, grim.at(np.arange(39)), now)

    said = await learn(settings, grim, now, rounds=4)
    registry = wiring.registry(settings)
    assert registry.promoted("suspect") == "20261121-043000"
    assert "suspect 20261121-043000 is in service: held-out log loss of cycle counts is" in said
    card = registry.current("suspect").card()
    assert card["grown_from"] == "v1"
    assert card["held_out"]["value"] < card["retrained"]["before"]
    fresh = outcomes(play(930, 200, 120, World(Mix().times(10), counts_a_year=8)).story)
    new, shipped = load_detector(registry.current("suspect").path), load_detector(SHIPPED)
    assert log_loss(new.score(fresh.x), fresh.wrong) < log_loss(shipped.score(fresh.x), fresh.wrong)

    coin = np.random.default_rng(1).random(len(grim)) < np.where(
        np.arange(len(grim)) < len(grim) * 3 // 4, 0.5, new.score(grim.x)
    )
    refused = await learn(settings, replace(grim, wrong=coin), now + timedelta(hours=1), rounds=2)
    assert refused.startswith("suspect 20261121-043000 stays in service: kept the detector in service: log loss")
    assert registry.versions("suspect") == ["20261121-043000"]
