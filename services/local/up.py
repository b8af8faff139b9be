"""`inventorybot up`: the whole platform on this machine, as child processes of this one.

In: a folder for the data, a port, how many ledger workers. Out: Kafka, Cassandra, the agents and the API, running until
Ctrl-C. A second `up` on the same folder goes on from it. Run: `inventorybot up --data .data --port 8700`.

The ports follow from one number N: API N, Kafka N+1 and its controller N+2, Cassandra N+3 (clients) and N+4, N+5 (other
nodes), metrics of the processes from N+10. Everything listens on 127.0.0.1 only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from inventorybot import tether
from inventorybot.errors import SetupError
from inventorybot.settings import PREFIX, load
from services.local.cassandra import Node
from services.local.checks import HOST, need_folder, need_ports, need_space, only_one
from services.local.display import Display, where_to_look
from services.local.jars import GROUPS, classpath
from services.local.java import find_java
from services.local.kafka import Broker
from services.local.server import READY_TIMEOUT_S, Server
from services.local.status import ask, status_line
from services.local.supervisor import Program, Supervisor

AGENTS = ("count", "variance", "alert", "stock-watch")
FREE_MB = 1000  # an empty platform takes 150 MB, the demo day 50 MB more; below this the first hours would end it
START_TRIES = 3  # a part that has never worked and dies a third time will not work the fourth time either
LOOK_S = 0.25  # how soon a death is noticed; looking costs a few system calls
STATUS_S = 15.0  # between two status lines: often enough to see life, seldom enough to read what else is said
STOP_LIMIT_S = 20.0  # for each tier; measured: workers 1 to 3 s, Kafka 0.3 s, Cassandra 3 to 5 s
PROGRAM_READY_S = 120.0  # imports take 2 to 5 s; eight processes at once on two busy cores take six times that


@dataclass(frozen=True)
class Plan:
    """What `up` was asked for: folder, first port, how many ledger workers."""

    folder: Path
    port: int
    workers: int

    @property
    def logs(self) -> Path:
        """Where every part's log goes."""
        return self.folder / "logs"

    @property
    def programs(self) -> list[tuple[str, list[str]]]:
        """The agents, the planner, the jobs' schedule and the API: name, and arguments of `inventorybot`."""
        ledgers = [(f"ledger-{number}", ["worker", "ledger"]) for number in range(1, self.workers + 1)]
        agents = [(name, ["worker", name]) for name in AGENTS]
        others = [("planner", ["planner"]), ("jobs", ["jobs", "schedule"]), ("api", ["api", "--port", str(self.port)])]
        return [*ledgers, *agents, *others]

    def metrics_port(self, name: str) -> int:
        """Where a program serves its metrics; the API does so on its own port."""
        names = [program for program, _ in self.programs]
        return self.port if name == "api" else self.port + 10 + names.index(name)

    def ports(self) -> dict[str, int]:
        """Every port that will be listened on, and for what."""
        fixed = {"the API": 0, "Kafka": 1, "Kafka's controller": 2, "Cassandra": 3, "Cassandra's storage": 4}
        ports = {purpose: self.port + offset for purpose, offset in fixed.items()}
        return ports | {f"the metrics of {name}": self.metrics_port(name) for name, _ in self.programs if name != "api"}

    def settings(self) -> dict[str, str]:
        """The `INVENTORYBOT_…` variables that point a process at this platform."""
        values = {
            "KAFKA": f"{HOST}:{self.port + 1}",
            "CASSANDRA_HOSTS": HOST,
            "CASSANDRA_PORT": str(self.port + 3),
            "API_PORT": str(self.port),
            "MODELS": f"sqlite:///{self.folder / 'models' / 'registry.db'}",
            "MODEL_ARTIFACTS": str(self.folder / "models" / "releases"),
            "IMAGES_ROOT": str(self.folder / "images"),
            "PLAN_NETWORK": str(self.folder / "network"),
            "PLAN_RESULTS": str(self.folder / "plans"),
            "LAKE": str(self.folder / "lake"),
            "JOBS_STATE": str(self.folder / "jobs"),
            "SPARK_JARS": str(classpath("spark")[0].parent),
        }
        return {PREFIX + name: value for name, value in values.items()}

    def env(self, name: str | None = None) -> dict[str, str]:
        """The environment of a child; of the program `name`, with its metrics port."""
        own = {PREFIX + "METRICS_PORT": str(self.metrics_port(name))} if name and name != "api" else {}
        return {**os.environ, **self.settings(), **own}


def up(
    data: Annotated[Path, typer.Option(help="Folder for all data and logs; made if it is not there.")] = Path(".data"),
    port: Annotated[int, typer.Option(min=1024, max=65000, help="Port of the API; the others follow it.")] = 8700,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many ledger workers share the work.")] = 1,
    demo: Annotated[bool, typer.Option(help="Play the demo day, the first time that a folder is used.")] = True,
) -> None:
    """Start the whole platform on this machine: Kafka, Cassandra, the agents and the API; Ctrl-C stops it.

    The data stays in the folder: the next `up` on it goes on from there.
    """
    plan, console = Plan(data.absolute(), port, workers), Console()
    need_folder(plan.folder)
    with only_one(plan.folder), stoppable():
        check(plan)
        display = Display(console)
        supervisor = Supervisor(display.say)
        try:
            start(plan, supervisor, display, demo)
            keep(plan, supervisor, display)
        except KeyboardInterrupt:
            display.say("Stopping; once more Ctrl-C ends everything at once")
        finally:
            stop(supervisor, display)


def check(plan: Plan) -> None:
    """What must hold before anything is started.

    Raises: SetupError: it does not; one sentence that says what to do.
    """
    partitions = load(plan.env()).partitions
    if plan.workers > partitions:
        raise SetupError(f"{plan.workers} workers cannot share {partitions} partitions: set INVENTORYBOT_PARTITIONS.")
    for name in ("logs", "models", "images", "network", "plans", "lake"):
        need_folder(plan.folder / name)
    need_space(plan.folder, FREE_MB)
    need_ports(plan.ports())
    find_java()
    for group in GROUPS:
        classpath(group)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and a closed terminal stop `up` as Ctrl-C does."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(plan: Plan, supervisor: Supervisor, display: Display, demo: bool) -> None:
    """Bring everything up, in order, showing each step.

    Raises: SetupError: a part cannot start; says why.
    """
    begun = time.monotonic()
    servers: list[Server] = [
        Broker(plan.folder / "kafka", plan.port + 1, plan.port + 2, logs=plan.logs),
        Node(plan.folder / "cassandra", plan.port + 3, plan.port + 4, plan.port + 5, logs=plan.logs),
    ]
    with display.steps("Kafka", "Cassandra", "Topics and tables", "Agents", "API") as steps:
        supervisor.start(servers)
        wait_for_servers(servers, steps)
        with steps.doing("Topics and tables"):
            run(plan, "migrate", plan.logs / "migrate.log")
        supervisor.start([Program(n, arguments, plan.env(n), plan.logs / f"{n}.log") for n, arguments in plan.programs])
        wait_for_programs(plan, supervisor, steps)
    exports = [f"export {name}='{value}'\n" for name, value in plan.settings().items()]
    (plan.folder / "env.sh").write_text("".join(exports))
    display.say(f"Everything runs, {time.monotonic() - begun:.0f} s after the start")
    if demo and not (plan.folder / "demo-played").exists():
        play(plan, supervisor, display)
    where_to_look(display.console, plan.port, plan.folder)


def wait_for_servers(servers: list[Server], steps: Any) -> None:
    """Wait for Kafka and Cassandra, which start side by side."""
    for server in servers:
        steps.begin(server.name.capitalize())
    waiting, deadline = list(servers), time.monotonic() + READY_TIMEOUT_S
    while waiting:
        for server in [server for server in waiting if server.poll_ready()]:
            steps.end(server.name.capitalize())
            waiting.remove(server)
        if waiting and time.monotonic() > deadline:
            raise SetupError(f"{waiting[0].name} did not answer within {READY_TIMEOUT_S:.0f} s: see {waiting[0].log}.")
        time.sleep(LOOK_S / 5)


def wait_for_programs(plan: Plan, supervisor: Supervisor, steps: Any) -> None:
    """Wait until every program answers.

    Raises: SetupError: one dies again and again, or does not answer in time.
    """
    steps.begin("Agents")
    steps.begin("API")
    waiting, deadline = [name for name, _ in plan.programs], time.monotonic() + PROGRAM_READY_S
    while waiting:
        supervisor.watch()
        if part := supervisor.given_up(START_TRIES):
            raise SetupError(f"{part.explain()}.")
        waiting = [name for name in waiting if not works(plan, name)]
        if "api" not in waiting:
            steps.end("API")
        if not set(waiting) - {"api"}:
            steps.end("Agents")
        if waiting and time.monotonic() > deadline:
            raise SetupError(f"{waiting[0]} did not start within {PROGRAM_READY_S:.0f} s: see {plan.logs}.")
        time.sleep(LOOK_S)


def works(plan: Plan, name: str) -> bool:
    """Whether a program answers: the API that its parts are well, an agent with its metrics."""
    return bool(ask(plan.metrics_port(name), "/readyz" if name == "api" else "/metrics"))


def run(plan: Plan, command: str, log: Path) -> None:
    """Run one command of ours to its end.

    Raises: SetupError: it failed; with the last line that it said.
    """
    program = Program(command, [command], plan.env(), log)
    program.start()
    try:
        while program.running:
            time.sleep(LOOK_S / 5)
    finally:
        program.kill()
    if program.process is None or program.process.returncode != 0:
        raise SetupError(program.explain())


def play(plan: Plan, supervisor: Supervisor, display: Display) -> None:
    """Play the demo day, its output on this terminal, while the rest is watched; remember that it was played."""
    command = [sys.executable, "-m", "inventorybot", "demo"]
    day = tether.start(command, env=plan.env(), stdout=None, stderr=subprocess.STDOUT)
    try:
        while day.poll() is None:
            supervisor.watch()
            time.sleep(LOOK_S)
    finally:
        day.kill()
        day.wait()
    if day.returncode == 0:
        (plan.folder / "demo-played").touch()
    else:
        display.say("The demo day did not come to its end; everything else goes on, and the next `up` plays it again")


def keep(plan: Plan, supervisor: Supervisor, display: Display) -> None:
    """Watch until interrupted; now and then one line about how things stand."""
    next_status = time.monotonic()
    while True:
        supervisor.watch()
        if time.monotonic() >= next_status:
            next_status = time.monotonic() + STATUS_S
            display.status(status_line([plan.metrics_port(name) for name, _ in plan.programs]))
        time.sleep(LOOK_S)


def stop(supervisor: Supervisor, display: Display) -> None:
    """Stop in reverse order; a second Ctrl-C, or an error here, ends everything at once."""
    begun = time.monotonic()
    try:
        orderly = supervisor.stop(STOP_LIMIT_S)
        display.say(f"All stopped{'' if orderly else ' (some by force)'}, {time.monotonic() - begun:.0f} s")
    except KeyboardInterrupt:
        display.say("Ended at once; the next `up` recovers what was under way")
    finally:
        supervisor.kill()
