"""inventory.bin-images → decode, score → inventory.bin-counts: how many items each picture shows, as a distribution.

In: batches of image records, inline or by reference. Out: a count event for each picture, or a dead letter with the
reason; both are durable when `handle` returns. An event's id follows from the picture's: a repeat is the same event.
A newer model release is loaded beside the one in service and takes over between two batches.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from inventorybot import telemetry
from inventorybot.domain.counting import CountDistribution
from inventorybot.domain.events import BinImage
from inventorybot.errors import BadEvent, Code, TryLater
from inventorybot.ports import Blobs, CountModel, DeadLetter, DeadLetters, Publisher
from inventorybot.wire import schemas
from inventorybot.wire.codec import Envelope, Message, Record, TimeLimits, from_ms, message, read_image
from inventorybot.wire.schemas import BinCountData, ModelRef

SOURCE = "inventorybot/count"
FETCHES = 16
"""Referenced pictures that are fetched at once: a store's latency is hidden, its rate limit is not met."""
BUDGET_S = 0.25
"""How long the first picture of a batch may wait for the last: long batches are scored and published in parts."""
AGAIN_S = 300.0
"""A release that does not load is tried again after this at the latest: reading it anew costs little, and it may be whole."""
_NAMESPACE = uuid.UUID("0b6b1f6e-5c0e-5d59-8a57-3d1f0f3f7c52")

log = telemetry.log(__name__)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Picture:
    """One good record of a batch, with the bytes of its picture."""

    record: Record
    event: BinImage
    traceparent: str | None
    jpeg: bytes


class Serving(Generic[R]):
    """The model in service, and the way to a newer one.

    Args:
        current: names the release in service (equal to the last answer where nothing has changed).
        load: fetches and loads a release (blocks).
        poll_s: how often to ask `current`.
        clock: seconds, monotonic.
        spare: what to start with where the release in service turns out to be damaged; None: do not start then.
    """

    def __init__(
        self, current: Callable[[], Awaitable[R]], load: Callable[[R], CountModel], *, poll_s: float,
        clock: Callable[[], float], spare: R | None = None,
    ) -> None:  # fmt: skip
        self._current, self._load, self._poll_s, self._clock, self._spare = current, load, poll_s, clock, spare
        self._release: R | None = None
        self._refused = Refused[R]()
        self._model: CountModel | None = None
        self._asked = 0.0
        self._search: asyncio.Task[None] | None = None

    async def model(self) -> CountModel:
        """The model to score with now. Waits for the first one only. Raises: TryLater, SetupError: there is none."""
        if self._model is None:
            await self._start()
        elif self._clock() - self._asked >= self._poll_s and (self._search is None or self._search.done()):
            self._asked = self._clock()
            self._search = asyncio.create_task(self._look_for_newer())
        assert self._model is not None
        return self._model

    async def _start(self) -> None:
        """What is only away will come back, and the pictures wait for it; what is damaged stays so until someone acts."""
        self._asked = self._clock()
        release = await self._current()
        try:
            self._serve(release, await asyncio.to_thread(self._load, release))
        except TryLater:
            raise
        except Exception:  # a bad release may fail in any way; at the start what ships serves in its place
            if self._spare is None or self._spare == release:
                raise
            self._refuse(release)
            self._serve(self._spare, await asyncio.to_thread(self._load, self._spare))

    def _serve(self, release: R, model: CountModel) -> None:
        self._release, self._model = release, model
        telemetry.MODEL.info({"name": model.name, "version": model.version})
        log.info("count model in service", name=model.name, version=model.version)

    def _refuse(self, release: R) -> None:
        wait_s = self._refused.add(release, self._clock(), self._poll_s)
        telemetry.MODEL_SWAPS.labels("refused").inc()
        log.exception("a release does not load; another stays in service", release=str(release), next_try_s=wait_s)

    async def _look_for_newer(self) -> None:
        """In the background: whatever goes wrong here, the release in service stays in service."""
        release: R | None = None
        try:
            release = await self._current()
            if release == self._release or self._refused.waits(release, self._clock()):
                return
            self._serve(release, await asyncio.to_thread(self._load, release))
        except TryLater as error:
            telemetry.MODEL_SWAPS.labels("later").inc()
            log.warning("a release cannot be reached; keeping the one in service", reason=str(error))
        except Exception:  # a bad release may fail in any way, and must not stop the counting
            if release is None:
                log.exception("nobody can say which release is in service; keeping the one that is")
            else:
                self._refuse(release)
        else:
            telemetry.MODEL_SWAPS.labels("swapped").inc()


class Refused(Generic[R]):
    """The release that did not load, and when it is tried again: someone may repair it, at the latest in `AGAIN_S`."""

    def __init__(self) -> None:
        self._release: R | None = None
        self._times, self._until = 0, 0.0

    def add(self, release: R, now: float, poll_s: float) -> float:
        """Notes a failure. Returns: seconds until the next attempt, twice as many as the last time."""
        self._times = self._times + 1 if release == self._release else 1
        self._release, wait_s = release, min(poll_s * 2.0**self._times, AGAIN_S)
        self._until = now + wait_s
        return wait_s

    def waits(self, release: R, now: float) -> bool:
        """Whether it is too early to try that release again."""
        return release == self._release and now < self._until


class Pace:
    """How many pictures fit the latency budget, learnt from how long they took. Args: budget_s: seconds a part may take."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s, self._each_s = budget_s, 0.0

    def fits(self, waiting: int) -> int:
        """Of so many that wait: all where they are few or nothing is known yet, else what the budget allows, at least 1."""
        return waiting if not self._each_s else max(1, min(waiting, int(self._budget_s / self._each_s)))

    def learn(self, pictures: int, seconds: float) -> None:
        """Takes note of a part that was scored; a single slow one moves the estimate by a fifth."""
        each = seconds / pictures
        self._each_s = 0.8 * self._each_s + 0.2 * each if self._each_s else each


class CountAgent:
    """Counts pictures. A batch is what waits in the log; it is scored and published in parts that keep the latency budget.

    Args:
        serving: where the model comes from.
        now: the wall clock, ms.
    """

    name = "count"

    def __init__(
        self, serving: Serving[R], blobs: Blobs, publisher: Publisher, dead_letters: DeadLetters, *,
        limits: TimeLimits, now: Callable[[], int],
    ) -> None:  # fmt: skip
        self._serving, self._blobs, self._publisher, self._dead_letters = serving, blobs, publisher, dead_letters
        self._limits, self._now = limits, now
        self._fetching, self._pace = asyncio.Semaphore(FETCHES), Pace(BUDGET_S)

    def forget(self, partition: int) -> None:
        """Nothing is kept of a partition."""

    async def handle(self, records: Sequence[Record]) -> None:
        """Count a batch. Raises: TryLater: nothing is lost; handle the same batch again."""
        model = await self._serving.model()
        while records:
            n = self._pace.fits(len(records))
            await self._handle_part(model, records[:n])
            records = records[n:]

    async def _handle_part(self, model: CountModel, records: Sequence[Record]) -> None:
        dead: list[DeadLetter] = []
        pictures: list[Picture] = []
        for record, answer in zip(records, await asyncio.gather(*map(self._read, records)), strict=True):
            if isinstance(answer, BadEvent):
                dead.append(DeadLetter.of(record, answer))
            else:
                pictures.append(answer)
        messages: list[Message] = []
        for picture, scored in zip(pictures, await self._score(model, pictures), strict=True):
            if isinstance(scored, BadEvent):
                dead.append(DeadLetter.of(picture.record, scored))
            else:
                messages.append(_count_message(picture, scored, model))
        await asyncio.gather(self._publisher.publish(messages), self._dead_letters.put(dead))
        telemetry.EVENTS.labels("inventory.bin-images", "counted").inc(len(messages))
        for letter in dead:
            telemetry.DEAD.labels(letter.topic, letter.code).inc()

    async def _read(self, record: Record) -> Picture | BadEvent:
        """The picture of a record, fetched if need be; its refusal is a value, so that its neighbours go on."""
        try:
            event, head = read_image(record, self._limits)
            jpeg = event.image
            if jpeg is None:
                async with self._fetching:
                    jpeg = await self._blobs.read(event.image_url or "")
        except BadEvent as error:
            return error
        except TryLater as error:  # already tried again by the adapter; other pictures must not wait for one store
            reason = f"{error}; replay this event when the store answers again"
            return BadEvent(Code.IMAGE_UNREACHABLE, "/data/image_url", reason)
        return Picture(record, event, head.traceparent, jpeg)

    async def _score(self, model: CountModel, pictures: Sequence[Picture]) -> list[CountDistribution | BadEvent]:
        if not pictures:
            return []
        started = time.perf_counter()
        answers = await asyncio.to_thread(model.score, [picture.jpeg for picture in pictures])
        device = str(getattr(model, "device", "cpu"))  # where the adapter ran it; a fake need not say
        took = time.perf_counter() - started
        self._pace.learn(len(pictures), took)
        telemetry.SCORE_SECONDS.labels(device).observe(took)
        telemetry.IMAGES.labels(device).inc(len(pictures))
        return answers


def count_id(event: BinImage) -> str:
    """The id of the count of a picture: the same picture, the same id, whichever release counts it."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join((event.site, event.bin, event.event_id))))


def _count_message(picture: Picture, p: CountDistribution, model: CountModel) -> Message:
    event, record = picture.event, picture.record
    data = BinCountData(
        site=event.site, bin=event.bin, image_id=event.event_id, p=list(p.p), prior=list(model.class_prior),
        count=p.count, confidence=p.confidence, model=ModelRef(model.name, model.version), image_url=event.image_url,
        image_at=f"{record.partition}:{record.offset}", image_arrived=from_ms(record.timestamp),
    )  # fmt: skip
    trace = telemetry.follow(picture.traceparent)
    head = Envelope(count_id(event), SOURCE, schemas.BIN_COUNT, event.captured_at, trace)
    return message(head, f"{event.site}/{event.bin}", data)
