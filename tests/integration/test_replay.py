"""`inventorybot replay` to a real broker. Run: pytest tests/integration/test_replay.py"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import typer
from confluent_kafka import Consumer
from typer.testing import CliRunner

from inventorybot.adapters.kafka import Topics
from inventorybot.wire.codec import Record, TimeLimits, read_image, read_movement
from inventorybot.wire.topics import BIN_IMAGES, UPDATES
from ml.vision.replay import replay
from services.local.kafka import Broker

app = typer.Typer()
app.command()(replay)


def test_a_replay_with_a_miscounted_record_arrives_as_receipts_and_pictures(
    kafka: Broker, unique_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVENTORYBOT_KAFKA", kafka.bootstrap)
    Topics({"bootstrap.servers": kafka.bootstrap}).create([UPDATES, BIN_IMAGES], partitions=1, replication=1)
    truth = tmp_path / "truth.csv"
    result = CliRunner().invoke(
        app, ["--limit", "6", "--site", unique_name, "--miscount-rate", "0.5", "--truth", str(truth)]
    )
    assert result.exit_code == 0, result.output
    assert "drawings, not photographs" in result.stderr.replace("\n", " ")
    rows = list(csv.DictReader(truth.read_text().splitlines()))
    recorded = {r["bin"]: int(r["recorded"]) for r in rows}
    got = records(kafka, unique_name, sum(1 for _ in recorded))
    received = dict.fromkeys(recorded, 0)
    for r in got[UPDATES.name]:
        event, _ = read_movement(r, TimeLimits())
        received[event.bin] += event.quantity
    assert received == recorded
    assert {read_image(r, TimeLimits())[0].bin for r in got[BIN_IMAGES.name]} == set(recorded)


def records(kafka: Broker, site: str, images: int) -> dict[str, list[Record]]:
    """Every record of a site, by topic; ends when `images` pictures have come, as they are published last."""
    found: dict[str, list[Record]] = {UPDATES.name: [], BIN_IMAGES.name: []}
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": site,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe(list(found))
    ended: set[str] = set()
    try:
        while len(found[BIN_IMAGES.name]) < images or len(ended) < 2:
            m = consumer.poll(30)
            assert m is not None, f"only {len(found[BIN_IMAGES.name])} of {images} pictures came"
            if m.error():
                ended.add(m.topic())
            elif (m.key() or b"").startswith(site.encode()):
                found[m.topic()].append(
                    Record(
                        m.topic(), m.partition(), m.offset(), m.key(), m.value(), m.headers() or [], m.timestamp()[1]
                    )
                )
    finally:
        consumer.close()
    return found
