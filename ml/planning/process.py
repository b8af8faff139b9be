"""`inventorybot planner`: makes the plans that are asked for, and the nightly one, until SIGTERM.

In: inventory.plan-requests, settings. Out: what `planner.Planner` makes of each; a request that can never work goes to the
dead letters. At least once: an offset is committed after all that follows from it is stored. The solver lives in a child
process, which torch makes large, and which ends when it has had nothing to do for a while.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from datetime import timedelta
from typing import Any

from confluent_kafka import Consumer, KafkaException

from inventorybot import __version__, telemetry, wiring
from inventorybot.adapters.cassandra.dead_letters import CassandraDeadLetters
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.adapters.cassandra.ledger import CassandraLedger
from inventorybot.adapters.cassandra.plans import CassandraPlans
from inventorybot.adapters.cassandra.session import Database
from inventorybot.adapters.kafka import Topics
from inventorybot.adapters.kafka_log import record_of
from inventorybot.clock import now_ms
from inventorybot.domain.network_plan import PlanRequest
from inventorybot.errors import BadEvent, SetupError, TryLater
from inventorybot.patience import until_it_works
from inventorybot.ports import DeadLetter, DeadLetters, Publisher
from inventorybot.settings import Settings, load
from inventorybot.wire.codec import Record, TimeLimits, from_ms, to_ms
from inventorybot.wire.plans import read_request, request_message
from inventorybot.wire.topics import PLAN_REQUESTS
from ml.planning.network import Network
from ml.planning.planner import SOURCE, Answer, Planner, Results, Task

NAME = "planner"
POLL_S = 0.5
"""How late an idle planner notices that it is to stop."""
LOOK_S = 30.0
"""Between looks at the clock: how late a nightly plan may begin."""
IDLE_S = 300.0
"""The solver's process ends after this without work: plans of one afternoon find it warm, at night its memory is free."""
LONGEST_PLAN_MS = 3 * 3_600_000
"""A plan that takes longer loses its partition, and is begun again by whoever gets it."""

log = telemetry.log(__name__)


def planner() -> None:
    """Run the planner: plans that are asked for, and one every night, from the network, the forecasts and the levels."""
    settings = load()
    telemetry.configure_logging(settings.log_level, process=NAME)
    telemetry.BUILD.info({"version": __version__})
    Topics(wiring.kafka_config(settings)).state(PLAN_REQUESTS.name)
    database = wiring.database(settings)
    letters = CassandraDeadLetters(database, wiring.kafka_config(settings))
    try:
        asyncio.run(_serve(settings, database, letters))
    finally:
        letters.close()
        database.close()


def assemble(settings: Settings, database: Database, publisher: Publisher, solver: Solver) -> Planner:
    """A planner on the real parts."""
    network = Network(settings.plan_network, CassandraForecasts(database), CassandraLedger(database))
    return Planner(CassandraPlans(database, now_ms), network, Results(settings.plan_results), solver, publisher, now_ms)


async def _serve(settings: Settings, database: Database, letters: DeadLetters) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    consumer = Consumer(
        {
            **wiring.kafka_config(settings),
            "group.id": f"inventorybot-{NAME}", "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "session.timeout.ms": int(settings.broker_session_timeout_s * 1000), "max.poll.interval.ms": LONGEST_PLAN_MS,
        }
    )  # fmt: skip
    consumer.subscribe([PLAN_REQUESTS.name])
    solver = Solver(settings.device)
    try:
        async with wiring.publisher(settings) as publisher:
            made = assemble(settings, database, publisher, solver)
            requests = Requests(made, letters, wiring.time_limits(settings), settings.retry_limit_s)
            nights = Nights(made, publisher, settings.plan_at, now_ms)
            work = (requests.follow(consumer, stop), nights.follow(solver), stop.wait())
            tasks = [asyncio.create_task(each) for each in work]
            telemetry.serve_metrics(settings.metrics_port)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            _, left = await asyncio.wait(tasks, timeout=2 * POLL_S)  # librdkafka must not be closed while it is polled
            for task in left:
                task.cancel()  # a plan under way is made again after the next start
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):  # not foreseen: it ends the process, and is told
                    raise ended
    finally:
        solver.end()
        await asyncio.to_thread(consumer.close)


class Requests:
    """Handles inventory.plan-requests one by one. Args: retry_limit_s: after so long without success it counts as paused."""

    def __init__(self, made: Planner, letters: DeadLetters, limits: TimeLimits, retry_limit_s: float) -> None:
        self._planner, self._letters, self._limits, self._retry_limit_s = made, letters, limits, retry_limit_s

    async def follow(self, consumer: Any, stop: asyncio.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            message = await asyncio.to_thread(consumer.poll, POLL_S)
            if message is None or message.error() is not None:
                continue  # librdkafka goes on by itself; a broker that is away is noticed by the publisher
            await self.handle(record_of(message))
            with suppress(KafkaException):  # another planner has the partition: it finds the plan made
                await asyncio.to_thread(consumer.commit, message=message, asynchronous=False)

    async def handle(self, record: Record) -> None:
        """Until it works, or can never work."""
        await until_it_works(NAME, lambda: self._once(record), self._retry_limit_s)

    async def _once(self, record: Record) -> None:
        try:
            request, head = read_request(record, self._limits)
            plan = await self._planner.handle(request, head.traceparent)
            outcome = str(plan.state)
        except BadEvent as error:
            await self._letters.put([DeadLetter.of(record, error)])
            telemetry.DEAD.labels(record.topic, str(error.code)).inc()
            outcome = "refused"
        telemetry.EVENTS.labels(record.topic, outcome).inc()


class Nights:
    """Asks for the nightly plan. Every planner does; the plan's id is the night's, so it is made once.

    Args: at: "HH:MM", UTC; "": never. now: the wall clock, ms.
    """

    def __init__(self, made: Planner, publisher: Publisher, at: str, now: Callable[[], int]) -> None:
        self._planner, self._publisher, self._at, self._now = made, publisher, at, now
        self._begun, self._asked = now(), 0

    async def follow(self, solver: Solver) -> None:
        """Until cancelled; on the way, the age of the newest plan, and rest for the solver."""
        while True:
            try:
                await self.look()
            except TryLater as error:
                log.warning("waiting", part=error.part, reason=error.reason)
            solver.rest()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Ask for the plan of the night that has begun, if it was not asked for. A night that was slept through is made up
        for where there were plans before."""
        newest, now = await self._planner.newest(), self._now()
        made_at = None if newest is None or newest.figures is None else newest.figures.made_at
        telemetry.PLAN_AGE.set(float("nan") if made_at is None else (now - made_at) / 1000)
        night = due(self._at, now)
        if night is None or night == self._asked:
            return
        if night > self._begun or (made_at is not None and made_at < night):
            name = f"nightly-{from_ms(night):%Y%m%d}"
            if await self._planner.unknown(name):
                await self._publisher.publish([request_message(PlanRequest(name, night, "the nightly plan"), SOURCE)])
            self._asked = night


def due(at: str, now: int) -> int | None:
    """The last time, not after now, that it was HH:MM UTC; ms. None: never."""
    if not at:
        return None
    hour, _, minute = at.partition(":")
    today = from_ms(now).replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    return to_ms(today if to_ms(today) <= now else today - timedelta(days=1))


class Solver:
    """Solves in a child process, started when the first plan is asked for. Args: device: auto, cpu or cuda."""

    def __init__(self, device: str) -> None:
        self._device, self._busy, self._used = device, 0, time.monotonic()
        self._pool: ProcessPoolExecutor | None = None

    async def __call__(self, task: Task) -> Answer:
        """Raises: SetupError: the problem can never be solved, or the solver did not survive it."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _follow_parent)
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _solve, task, self._device)
        except BrokenProcessPool:
            self.end()
            raise SetupError(
                "the solver was killed, as a rule for want of memory: give the planner more, or plan fewer SKUs"
            ) from None
        finally:
            self._busy -= 1
            self._used = time.monotonic()

    def rest(self) -> None:
        """End the child if it has had nothing to do for IDLE_S."""
        if self._pool is not None and not self._busy and time.monotonic() - self._used > IDLE_S:
            self.end()

    def end(self) -> None:
        """End the child, at once."""
        if self._pool is not None:
            for child in multiprocessing.active_children():
                child.kill()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _follow_parent() -> None:
    """In the child: end when the planner has ended, however it did; leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _solve(task: Task, device: str) -> Answer:
    """In the child."""
    from ml.planning.answer import solve_task

    return solve_task(task, device)
