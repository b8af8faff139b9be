"""`inventorybot replay`: plays bins through the platform: receipts that put the items there, then their pictures.

In: bins in the ABID layout, or, with none given, drawn ones. Out: events on inventory.updates and inventory.bin-images,
all receipts before the first picture. With --miscount-rate some records are made wrong on purpose (the record says
n + d, the picture shows n), and --truth names the file that says which: what variance alerts are judged by.

Run: inventorybot replay --bins BINS.zip --rate 50 --miscount-rate 0.05 --truth truth.csv
"""

from __future__ import annotations

import asyncio
import csv
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from inventorybot.domain.events import BinImage, Kind, Movement
from inventorybot.errors import SetupError
from inventorybot.ports import Publisher
from inventorybot.wire.codec import Message, image_message, movement_message
from ml.vision.data import Bin, read_bins
from ml.vision.render import draw_bin, render_bins

SOURCE = "inventorybot/replay"
DRAWN = 200
"""Bins that are drawn when no --bins are given."""

TICK_S = 0.1
"""How often the publisher is handed what is due."""

FASTEST = 256
"""Events handed over at once when no rate is asked for: 256 pictures are 20 MB."""


@dataclass(frozen=True, slots=True)
class Stowed:
    """One bin to replay: what its record says, `(sku, quantity)` a line, and its picture, read when needed.

    Args:
        more: further pictures of the same contents, taken on later rides.
    """

    id: str
    lines: tuple[tuple[str, int], ...]
    picture: Callable[[], bytes] = field(repr=False)
    more: tuple[Callable[[], bytes], ...] = field(default=(), repr=False)

    @property
    def quantity(self) -> int:
        return sum(n for _, n in self.lines)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one replayed bin: units on the record we publish, units the picture is labelled with."""

    site: str
    bin: str
    recorded: int
    in_picture: int

    @property
    def miscount(self) -> int:
        """Recorded minus in the picture: 0 where nothing was made wrong."""
        return self.recorded - self.in_picture


@dataclass(frozen=True, slots=True)
class Replay:
    """A day to be played: receipts, then pictures (as functions: they are large), and the truth."""

    receipts: list[Movement]
    images: list[Callable[[], BinImage]]
    truths: list[Truth]


def bins_to_events(
    bins: Iterable[Stowed],
    *,
    site: str,
    start_ms: int,
    step_ms: float,
    miscount_rate: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Replay:
    """Receipts and pictures of some bins, in the order to publish them.

    Args:
        bins: what to replay.
        site: where; ids of events contain it, so that one site replayed twice is one replay, told twice.
        start_ms: time of the first event, ms since the epoch, UTC.
        step_ms: time from event to event.
        miscount_rate: share of bins, 0..1, whose record is made wrong by 1, 2, ... units, each half as likely.
        rng: decides which; needed where the rate is above 0.
    Raises: ValueError: a rate outside 0..1, or above 0 without `rng`.
    """
    if not 0 <= miscount_rate <= 1 or (miscount_rate > 0 and rng is None):
        raise ValueError("miscount_rate lies in 0..1, and needs rng where it is above 0")
    chosen = list(bins)
    receipts: list[Movement] = []
    truths: list[Truth] = []
    for it in chosen:
        wrong = rng is not None and rng.random() < miscount_rate
        lines = miscounted(it.lines, rng) if rng is not None and wrong else it.lines
        for i, (sku, quantity) in enumerate(lines):
            at = start_ms + round(len(receipts) * step_ms)
            event_id = f"{site}-{it.id}-receipt-{i}"
            receipts.append(Movement(event_id, Kind.RECEIPT, at, site, it.id, sku, quantity, source=SOURCE))
        truths.append(Truth(site, it.id, sum(n for _, n in lines), it.quantity))
    looks = [(it, look) for look in range(1 + max((len(it.more) for it in chosen), default=0)) for it in chosen]
    images = [
        _image(it, look, site, start_ms + round((len(receipts) + i) * step_ms))
        for i, (it, look) in enumerate(looks)
        if look <= len(it.more)
    ]
    return Replay(receipts, images, truths)


def miscounted(lines: Sequence[tuple[str, int]], rng: np.random.Generator) -> tuple[tuple[str, int], ...]:
    """A record that is wrong by d units: |d| = 1, 2, ... with probability 1/2, 1/4, ...; too few or too many alike."""
    d = int(rng.geometric(0.5))
    total = sum(n for _, n in lines)
    if rng.random() < 0.5 or total < d:  # too many on record; the only way where there are not d to take away
        if not lines:
            return (("NEVER-ARRIVED", d),)
        i = int(rng.integers(len(lines)))
        return tuple((sku, n + d if j == i else n) for j, (sku, n) in enumerate(lines))
    left = d
    short = []
    for sku, n in lines:
        taken = min(n, left)
        left -= taken
        if n > taken:
            short.append((sku, n - taken))
    return tuple(short)


def _image(it: Stowed, look: int, site: str, at: int) -> Callable[[], BinImage]:
    name = f"{site}-{it.id}-image" + (f"-{look + 1}" if look else "")
    picture = (it.picture, *it.more)[look]
    return lambda: BinImage(name, at, site, it.id, image=picture(), camera="replay", source=SOURCE)


def stowed(bins: Sequence[Bin]) -> list[Stowed]:
    """ABID bins as things to replay; those whose record does not sum to its total are left out (6 in 10,000)."""
    found = []
    for it in bins:
        lines = tuple((line.sku.strip(), line.quantity) for line in it.lines if line.quantity > 0)
        if it.quantity is not None and sum(n for _, n in lines) == it.quantity:
            found.append(Stowed(it.id, lines, it.jpeg))
    return found


def drawn(n: int, seed: int, looks: int = 1) -> list[Stowed]:
    """Drawn bins, 0 to 8 items each: as full as most real ones; from look to look the items have moved a little."""
    counts = np.random.default_rng([seed, 1]).integers(0, 9, n).tolist()
    found = []
    for i, it in render_bins(n, seed, counts=counts):
        units = [quantity for _, quantity in it.lines]
        more = tuple(partial(_another, units, (seed, int(i), look)) for look in range(1, looks))
        found.append(Stowed(i, it.lines, partial(_same, it.jpeg), more))
    return found


def _another(units: Sequence[int], seed: Sequence[int]) -> bytes:
    return draw_bin(units, np.random.default_rng(seed))


def _same(jpeg: bytes) -> bytes:
    return jpeg


def write_truth(path: Path, truths: Iterable[Truth]) -> None:
    """CSV: site, bin, recorded, in_picture, miscount."""
    with path.open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["site", "bin", "recorded", "in_picture", "miscount"])
        rows.writerows([t.site, t.bin, t.recorded, t.in_picture, t.miscount] for t in truths)


async def play(
    events: Sequence[Callable[[], Message]],
    publisher: Publisher,
    rate: float | None,
    advance: Callable[[int], None],
) -> None:
    """Publishes events in order, each batch acknowledged before the next.

    Args:
        rate: events a second; None: as fast as they are acknowledged.
        advance: told how many were acknowledged.
    Raises: TryLater: the broker does not answer.
    """
    began, sent = time.monotonic(), 0
    while sent < len(events):
        due = sent + FASTEST if rate is None else int((time.monotonic() - began) * rate) + 1
        batch = [make() for make in events[sent : min(due, sent + FASTEST)]]
        if batch:
            await publisher.publish(batch)
            sent += len(batch)
            advance(len(batch))
        if rate is not None and sent < len(events):
            await asyncio.sleep(TICK_S)


def messages(it: Replay) -> list[Callable[[], Message]]:
    """The records to publish, receipts first; made when called for, because a picture is large."""
    return [
        *(partial(movement_message, m) for m in it.receipts),
        *(partial(_image_message, make) for make in it.images),
    ]


def _image_message(make: Callable[[], BinImage]) -> Message:
    return image_message(make())


def replay(
    bins: Annotated[list[Path] | None, typer.Option(help="Folder or zip in the ABID layout; none: drawn bins.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Events a second; none: as fast as possible.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Bins at most.")] = None,
    site: Annotated[str | None, typer.Option(help="Site of the events; default: a new one each time.")] = None,
    miscount_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of records to make wrong.")] = 0.0,
    looks: Annotated[int, typer.Option(min=1, max=6, help="Pictures of each drawn bin; looks add up.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides which bins are drawn, and which records are made wrong.")] = 1,
    truth: Annotated[Path | None, typer.Option(help="CSV file saying what each picture really shows.")] = None,
) -> None:
    """Publish bins: receipts that put the recorded items there, then a picture of each bin."""
    from rich.console import Console
    from rich.progress import Progress

    from inventorybot import wiring
    from inventorybot.settings import load

    settings = load()
    stderr = Console(stderr=True)
    if bins:
        if looks > 1:
            raise SetupError("--looks is for drawn bins: a folder holds one picture of each")
        chosen = stowed(read_bins(bins))[:limit]
    else:
        n = limit or DRAWN
        stderr.print(f"No --bins given: playing {n} drawn bins. They are drawings, not photographs of real bins.")
        chosen = drawn(n, seed, looks)
    if not chosen:
        raise SetupError("there is no bin with a record to replay")
    now = datetime.now(UTC)
    site = site or f"replay-{now:%Y%m%d-%H%M%S}"
    step_ms = 1000 / rate if rate else 1.0
    start_ms = int(now.timestamp() * 1000)
    if rate is None:  # without a rate the events are out faster than one a millisecond: let none lie in the future
        start_ms -= sum(len(it.lines) + 1 for it in chosen)
    day = bins_to_events(
        chosen,
        site=site,
        start_ms=start_ms,
        step_ms=step_ms,
        miscount_rate=miscount_rate,
        rng=np.random.default_rng(seed),
    )
    if truth:
        write_truth(truth, day.truths)

    async def publish() -> None:
        async with wiring.publisher(settings) as publisher:
            with Progress(console=stderr, transient=True) as progress:
                task = progress.add_task(f"Playing to {site}", total=len(day.receipts) + len(day.images))
                await play(messages(day), publisher, rate, lambda n: progress.advance(task, n))

    asyncio.run(publish())
    wrong = sum(t.miscount != 0 for t in day.truths)
    stderr.print(
        f"{len(day.receipts)} receipts and {len(day.images)} pictures published to site {site}; "
        f"{wrong} records made wrong on purpose{f', see {truth}' if truth else ''}"
    )
