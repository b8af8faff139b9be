"""Turning bins into a day of events. Run: pytest tests/unit/vision/test_replay.py"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inventorybot.adapters.memory.publisher import MemoryPublisher
from inventorybot.domain.events import Kind
from inventorybot.wire.codec import Message, Record, TimeLimits, read_image, read_movement
from ml.vision.data import read_bins
from ml.vision.render import write_bins
from ml.vision.replay import Stowed, bins_to_events, drawn, messages, miscounted, play, stowed, write_truth

NOW = 1_800_000_000_000
BINS = [
    Stowed("A1", (("socks", 2), ("mugs", 1)), lambda: b"picture A1"),
    Stowed("A2", (), lambda: b"picture A2"),
    Stowed("A3", (("books", 4),), lambda: b"picture A3"),
]


def record(m: Message) -> Record:
    return Record(m.topic, 0, 0, m.key, m.value, m.headers, NOW)


def test_each_line_of_a_record_is_received_before_the_first_picture_is_taken() -> None:
    day = bins_to_events(BINS, site="S", start_ms=NOW, step_ms=10)
    assert [(m.bin, m.sku, m.quantity) for m in day.receipts] == [
        ("A1", "socks", 2),
        ("A1", "mugs", 1),
        ("A3", "books", 4),
    ]
    assert {m.kind for m in day.receipts} == {Kind.RECEIPT}
    assert [m.occurred_at - NOW for m in day.receipts] == [0, 10, 20]
    images = [make() for make in day.images]
    assert [(i.bin, i.image, i.captured_at - NOW) for i in images] == [
        ("A1", b"picture A1", 30), ("A2", b"picture A2", 40), ("A3", b"picture A3", 50),
    ]  # fmt: skip
    assert len({m.event_id for m in day.receipts} | {i.event_id for i in images}) == 6


def test_the_same_site_replayed_twice_says_the_same_events() -> None:
    first, again = (bins_to_events(BINS, site="S", start_ms=NOW + shift, step_ms=1) for shift in (0, 999))
    assert [m.event_id for m in first.receipts] == [m.event_id for m in again.receipts]


def test_every_event_passes_the_checks_that_the_agents_make() -> None:
    day = bins_to_events(drawn(5, seed=3), site="S", start_ms=NOW, step_ms=1)
    made = [make() for make in messages(day)]
    for m in made[: len(day.receipts)]:
        read_movement(record(m), TimeLimits())
    pictures = [read_image(record(m), TimeLimits())[0].image for m in made[len(day.receipts) :]]
    assert all(p is not None and p.startswith(b"\xff\xd8") for p in pictures)


def test_at_rate_1_every_record_is_wrong_and_the_truth_says_by_how_much(tmp_path: Path) -> None:
    day = bins_to_events(BINS, site="S", start_ms=NOW, step_ms=1, miscount_rate=1.0, rng=np.random.default_rng(1))
    received = {b.id: sum(m.quantity for m in day.receipts if m.bin == b.id) for b in BINS}
    for truth, it in zip(day.truths, BINS, strict=True):
        assert (truth.recorded, truth.in_picture) == (received[it.id], it.quantity)
        assert truth.miscount != 0
    write_truth(tmp_path / "truth.csv", day.truths)
    rows = list(csv.DictReader((tmp_path / "truth.csv").read_text().splitlines()))
    assert [int(r["recorded"]) - int(r["in_picture"]) for r in rows] == [int(r["miscount"]) for r in rows]


def test_at_rate_0_no_record_is_wrong_and_at_a_tenth_about_a_tenth_are() -> None:
    many = [replace(BINS[0], id=str(i)) for i in range(1000)]
    assert not any(t.miscount for t in bins_to_events(many, site="S", start_ms=NOW, step_ms=1).truths)
    day = bins_to_events(many, site="S", start_ms=NOW, step_ms=1, miscount_rate=0.1, rng=np.random.default_rng(1))
    assert 70 <= sum(t.miscount != 0 for t in day.truths) <= 130  # three standard deviations about 100


def test_a_miscounted_record_holds_no_line_below_1_and_an_empty_one_can_only_gain() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        assert all(n >= 1 for _, n in miscounted((("a", 1), ("b", 2)), rng))
        assert sum(n for _, n in miscounted((), rng)) >= 1


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        bins_to_events(BINS, site="S", start_ms=NOW, step_ms=1, miscount_rate=rate, rng=np.random.default_rng(1))


@pytest.mark.parametrize("rate", [None, 100.0])
async def test_events_are_published_in_order_and_every_one_is_told_of(rate: float | None) -> None:
    publisher, told = MemoryPublisher(), []
    await play(messages(bins_to_events(BINS, site="S", start_ms=NOW, step_ms=1)), publisher, rate, told.append)
    assert [m.topic for m in publisher.messages] == ["inventory.updates"] * 3 + ["inventory.bin-images"] * 3
    assert [m.key for m in publisher.messages[3:]] == [b"S/A1", b"S/A2", b"S/A3"]
    assert sum(told) == 6


def test_bins_read_from_a_file_are_stowed_as_recorded(tmp_path: Path) -> None:
    bins = read_bins([write_bins(tmp_path / "bins.zip", 3, seed=1, counts=[0, 3, 30], px=64)])
    assert [s.quantity for s in stowed(bins)] == [0, 3, 30]
    assert [s.quantity for s in stowed([replace(bins[1], quantity=4)])] == []  # its lines do not sum to its total


def test_further_looks_at_a_drawn_bin_show_the_same_units_in_other_pictures_after_all_first_looks() -> None:
    day = bins_to_events(drawn(2, seed=3, looks=3), site="S", start_ms=NOW, step_ms=1)
    images = [make() for make in day.images]
    assert [i.bin for i in images] == [t.bin for t in day.truths] * 3
    assert len({i.event_id for i in images}) == len({i.image for i in images}) == 6
    assert [i.captured_at for i in images] == sorted(i.captured_at for i in images)
