"""`inventorybot demo`: play a warehouse day on a platform that runs, then show cameras finding wrong records.

In: the settings of a running platform. Out: a day's movements, some of them odd, then drawn pictures of bins whose
records are partly wrong on purpose; the first alerts, one line each, beside what is known to be true; a network plan.
Run: `inventorybot demo`; `inventorybot up` does, the first time that a data folder is used.
"""

from __future__ import annotations

import asyncio
import csv
import http.client
import json
import queue
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from inventorybot import tether, wiring
from inventorybot.adapters.cassandra.forecasts import CassandraForecasts
from inventorybot.clock import now_ms
from inventorybot.domain.forecast import Forecast
from inventorybot.settings import Settings, load
from services.local.day import Day, made_up_forecasts, make_day

EVENTS = 3000
SECONDS = 10.0  # for the day's events: 300 a second, slow enough to watch, far below what one worker handles
BATCH_S = 0.1
PICTURES = 60
LOOKS = 3  # robots pass a bin again and again, and the looks add up
MISCOUNTED = 0.25  # far more than in life, so that some alerts come at once
SHOWN = 5
REPLAY_S = 300.0  # to draw and publish: 5 s here; on a machine that is busy training a model, a minute
WAIT_S = 60.0  # for the first alerts after the last picture; a CPU counts 120 pictures in some 10 s
CONNECT_TIMEOUT_S = 10.0  # to open the stream; afterwards a line comes at least every 15 s (the heartbeat)
QUIET_S = 45.0  # three heartbeats without a line: the API has gone
PLAN_S = 240.0  # to have a network planned: 10 s here, and the job itself gives up before
MORE_S = 10.0  # for further alerts after one: they come batch by batch
PLAN = (sys.executable, "-m", "inventorybot", "jobs", "run", "demo-plan")
STREAM_PATH = "/v1/anomalies/stream"


def demo(
    seed: Annotated[int, typer.Option(help="The same seed makes the same day.")] = 7,
    events: Annotated[int, typer.Option(min=300, help="Movements in the day.")] = EVENTS,
    pictures: Annotated[int, typer.Option(min=0, help="Bins to photograph, 3 times each; 0: none.")] = PICTURES,
    network: Annotated[bool, typer.Option(help="Have a made-up network planned, too.")] = True,
) -> None:
    """Play a warehouse day with duplicates, late and broken events, photograph bins, show the first alerts and a plan."""
    settings, console = load(), Console()
    now = now_ms()
    with tempfile.TemporaryDirectory() as folder:
        robots = Robots(seed, pictures, f"demo-{now // 1000:x}", Path(folder)) if pictures else None
        if robots:
            robots.start(settings)  # they drive about while the day goes on
        day = make_day(seed, now, events)
        asyncio.run(publish(settings, day, console))
        asyncio.run(forecast(settings, made_up_forecasts(day, now)))
        console.print(
            f"A day at site DEMO1: {len(day.messages):,} events, of which {day.duplicates} were said twice, {day.late} "
            f"came late and {day.poison} can never be processed (see `inventorybot dead-letters list`).",
            highlight=False,
            soft_wrap=True,
        )
        api = f"http://{settings.api_host}:{settings.api_port}"
        console.print(
            "What will run out, by a made-up forecast, shows within a minute: "
            f"{api}/v1/anomalies?site=DEMO1&kind=projected-stock-out",
            highlight=False,
            soft_wrap=True,
        )
        alerted = not robots or robots.report(console)
    if network:
        tether.start(PLAN).wait(PLAN_S)  # says itself what came of it; the day was played either way
    if not alerted:
        raise typer.Exit(1)


async def publish(settings: Settings, day: Day, console: Console) -> None:
    """Publish the day at an even pace."""
    a_batch = max(1, round(len(day.messages) * BATCH_S / SECONDS))
    async with wiring.publisher(settings) as publisher:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("A warehouse day", total=len(day.messages))
            for start in range(0, len(day.messages), a_batch):
                pause = asyncio.create_task(asyncio.sleep(BATCH_S))
                await publisher.publish(day.messages[start : start + a_batch])
                await pause
                progress.advance(task, a_batch)


async def forecast(settings: Settings, forecasts: Sequence[Forecast]) -> None:
    """Store them, for the stock-watch agent to hold the day's stock against."""
    database = wiring.database(settings)
    try:
        await CassandraForecasts(database).write(forecasts)
    finally:
        database.close()


class Robots:
    """Pictures of bins, drawn and published by `inventorybot replay`, and the alerts that follow.

    Args:
        seed, pictures: which bins are drawn, and how many.
        site: where the events say that they are.
        folder: an empty one.
    """

    def __init__(self, seed: int, pictures: int, site: str, folder: Path) -> None:
        self.pictures, self.site, self.truth, self.log = pictures, site, folder / "truth.csv", folder / "replay.log"
        options = {
            "--site": site,
            "--limit": pictures,
            "--miscount-rate": MISCOUNTED,
            "--looks": LOOKS,
            "--seed": seed,
            "--truth": self.truth,
        }
        words = [str(word) for option in options.items() for word in option]
        self.command = [sys.executable, "-m", "inventorybot", "replay", *words]
        self.alerts: queue.Queue[dict[str, Any]] = queue.Queue()

    def start(self, settings: Settings) -> None:
        """Begin to listen, then to photograph; returns at once. From the main thread."""
        threading.Thread(target=listen, args=(settings, self.site, self.alerts), daemon=True).start()
        with self.log.open("wb") as log:
            self.process = tether.start(self.command, stdout=log, stderr=log)

    def report(self, console: Console) -> bool:
        """Wait for the pictures and the first alerts, and print these; returns whether any came."""
        self.process.wait(REPLAY_S)
        if self.process.returncode != 0:
            said = self.log.read_text(errors="replace").strip().splitlines()
            console.print(f"The pictures could not be played: {said[-1] if said else 'no reason given'}", markup=False)
            return False
        known = read_truth(self.truth)
        wrong = sum(off != 0 for off in known.values())
        console.print(
            f"Robots photographed {self.pictures} bins, {LOOKS} times each, of site {self.site} (drawings: there is no camera here); "
            f"{wrong} records are wrong on purpose.",
            highlight=False,
            soft_wrap=True,
        )
        if not show(self.alerts, known, console):
            console.print(
                f"No alert came within {WAIT_S:.0f} s; the log of the count agent may say why.", highlight=False
            )
            return False
        return True


def read_truth(path: Path) -> dict[str, int]:
    """By bin, units by which its record was made wrong."""
    with path.open(newline="") as file:
        return {row["bin"]: int(row["miscount"]) for row in csv.DictReader(file)}


def show(alerts: queue.Queue[dict[str, Any]], known: dict[str, int], console: Console) -> int:
    """Print the first alerts as they come; returns how many."""
    shown, wait = 0, WAIT_S
    while shown < SHOWN:
        try:
            alert = alerts.get(timeout=wait)
        except queue.Empty:
            break
        line = f"  ALERT bin {alert['bin']}: {alert.get('why', alert['kind'])}{verdict(known.get(alert['bin']))}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        shown, wait = shown + 1, MORE_S
    return shown


def verdict(off: int | None) -> str:
    """What the demo knows about an alert's bin."""
    if off is None:
        return ""
    return f"   [true: the record is {abs(off)} too {'high' if off > 0 else 'low'}]" if off else "   [false alarm]"


def listen(settings: Settings, site: str, alerts: queue.Queue[dict[str, Any]]) -> None:
    """Put the anomalies of a site that are raised from now on into `alerts`; runs in a thread until the process ends."""
    connection = http.client.HTTPConnection(settings.api_host, settings.api_port, timeout=CONNECT_TIMEOUT_S)
    try:
        connection.request("GET", STREAM_PATH, headers={"Accept": "text/event-stream"})
        answer = connection.getresponse()
        if connection.sock is not None:
            connection.sock.settimeout(QUIET_S)
        for event in server_sent(answer):
            data = event.get("data", event)
            if data.get("site") == site and data.get("action") == "raised":
                alerts.put(data)
    except (OSError, http.client.HTTPException):
        return  # the API is away; whoever waits for alerts says that none came
    finally:
        connection.close()


def server_sent(lines: Iterator[bytes] | http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The JSON of each event in a stream.

    Source: WHATWG HTML, server-sent events: `data:` lines up to an empty line are one event; other fields are skipped.
    """
    data: list[str] = []
    for raw in lines:
        line = raw.decode().rstrip("\r\n")
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            found = json.loads("\n".join(data))
            data = []
            if isinstance(found, dict):
                yield found
