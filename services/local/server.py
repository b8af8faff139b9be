"""A Java server as a child process: what the embedded Kafka and Cassandra have in common.

In: a folder that it owns, ports. Out: a running, tethered process with a log; or one `SetupError`.
`kafka.Broker` and `cassandra.Node` fill in the configuration and how to ask whether it is ready.

A folder is trusted once the server in it has been ready: then the file `ready` stands in it. Without that file the
first start was interrupted; if nothing can have been stored, what is there is made anew, else the user is asked.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from inventorybot import tether
from inventorybot.errors import SetupError
from services.local.checks import need_folder, need_ports, need_space
from services.local.java import find_java, java_env

POLL_S = 0.05  # short against a start of seconds, long against the cost of asking
READY_TIMEOUT_S = 180.0  # measured 3 to 10 s; on a machine that is busy with other work a start took 60 s
STOP_TIMEOUT_S = 20.0  # an orderly stop takes 1 to 5 s; after this the process is killed, which loses nothing
MIN_FREE_MB = 300  # Cassandra's commit log and Kafka's first segments; less than this ends in a crash, not in service


class Server(ABC):
    """One Java server on one folder; may be started again on the same folder after `stop` or `kill`.

    Args:
        folder: where it keeps everything; made if it is not there.
        logs: where its log files go; `folder/logs` by default.
        jvm_options: added to the defaults, and stronger than they are.
        min_free_mb: refuse to start with less room on the disk than this, in MB.
    """

    name: str
    heap: tuple[str, ...]

    def __init__(
        self,
        folder: Path,
        *,
        logs: Path | None = None,
        jvm_options: Sequence[str] = (),
        min_free_mb: int = MIN_FREE_MB,
    ) -> None:
        self.folder = folder.absolute()
        self.logs = (logs or folder / "logs").absolute()
        self.log = self.logs / f"{self.name}.log"
        self.jvm_options = tuple(jvm_options)
        self.min_free_mb = min_free_mb
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def ports(self) -> dict[str, int]:
        """What it listens on: purpose and port."""

    @abstractmethod
    def configure(self) -> None:
        """Write the configuration files; the same inputs write the same files."""

    @abstractmethod
    def prepare(self) -> None:
        """What must be done once, before the first start on an empty folder."""

    @abstractmethod
    def command(self) -> list[str]:
        """Class path, system properties, main class and arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers requests now; asks it, and returns soon."""

    @abstractmethod
    def stored(self) -> list[Path]:
        """The folders that hold what users have stored (not what the server keeps for itself)."""

    @abstractmethod
    def essentials(self) -> list[Path]:
        """What a folder that has once been ready cannot be without."""

    @property
    def pid(self) -> int:
        """The process id.

        Raises: SetupError: it has not been started.
        """
        if self.process is None:
            raise SetupError(f"{self.name} has not been started.")
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it, and return at once; `wait_ready` waits. From the main thread (see tether.py).

        Raises: SetupError: no Java, no jars, no room, a port taken, a folder that cannot be used.
        """
        if self.running:
            return
        for folder in (self.folder, self.logs):
            need_folder(folder)
        need_space(self.folder, self.min_free_mb)
        need_ports(self.ports)
        self._heal()
        scratch = self.folder / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        self.configure()
        if not self._marker.exists():
            self.prepare()
        with self._console.open("wb") as out:
            self.process = tether.start(
                self.java(*self.heap, *self.jvm_options, *self.command()),
                stdout=out,
                stderr=out,
                env=java_env(),
                cwd=scratch,
            )

    def java(self, *arguments: str) -> list[str]:
        """A command line of the Java to use, with what every JVM here is given."""
        return [
            str(find_java()),
            "-XX:+UseSerialGC",  # the smallest and, with a heap this small, also the quickest
            "-XX:TieredStopAtLevel=1",  # the quick compiler only: less memory, and ready in half the time
            "-XX:-UsePerfData",  # no files in the shared /tmp
            "-XX:+ExitOnOutOfMemoryError",  # a JVM without memory is restarted, not left half alive
            f"-XX:ErrorFile={self.logs / self.name}-crash.log",
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",
            "-Djava.net.preferIPv4Stack=true",
            *arguments,
        ]

    def poll_ready(self) -> bool:
        """Whether it is ready; marks the folder as trusted when it is.

        Raises: SetupError: the process has ended; says why.
        """
        if not self.running:
            raise SetupError(self.explain())
        if not self.is_ready():
            return False
        self._marker.touch()
        return True

    def wait_ready(self, progress: Callable[[float], None] | None = None, timeout_s: float = READY_TIMEOUT_S) -> float:
        """Wait until it answers; returns the seconds that it took.

        Args: progress: called with the seconds waited so far, some 20 times a second.
        Raises: SetupError: it ended, or did not answer in time (then it is killed).
        """
        begun = time.monotonic()
        while not self.poll_ready():
            waited = time.monotonic() - begun
            if waited > timeout_s:
                self.kill()
                raise SetupError(f"{self.name} did not answer within {timeout_s:.0f} s: look at {self.log}.")
            if progress:
                progress(waited)
            time.sleep(POLL_S)
        return time.monotonic() - begun

    def ask_to_stop(self) -> None:
        """SIGTERM: flush what is in memory, then end."""
        if self.process is not None and self.running:
            self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """End it in order (SIGTERM); after `timeout_s` by force. Returns whether it ended by itself."""
        if self.process is None or not self.running:
            return True
        self.ask_to_stop()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def explain(self) -> str:
        """One sentence on why the process ended, from what it logged."""
        return explain(self.name, tail(self._console) + tail(self.log), self.log, self.folder)

    @property
    def _marker(self) -> Path:
        return self.folder / "ready"

    @property
    def _console(self) -> Path:
        return self.logs / f"{self.name}.out"

    def _heal(self) -> None:
        """Clear away an interrupted first start; refuse a folder that has lost something.

        Raises: SetupError: stored data would be lost, or have been.
        """
        advice = f"restore {self.folder} from a copy, or start with an empty folder by --data."
        begun = self.folder / "begun"
        if not begun.exists() and not self._marker.exists():
            if strangers := [entry.name for entry in self.folder.iterdir() if entry != self.logs]:
                raise SetupError(
                    f"{self.folder} holds {strangers[0]}, which is not ours: choose another one by --data."
                )
            begun.touch()  # from here on, what lies in the folder is ours
        if self._marker.exists():
            if missing := [path for path in self.essentials() if not path.exists()]:
                raise SetupError(f"{self.folder} has lost {missing[0].relative_to(self.folder)}: {advice}")
            return
        if stored := self.stored():
            raise SetupError(f"{self.folder} is half-written, though {stored[0].name} is stored in it: {advice}")
        for entry in self.folder.iterdir():
            if entry.is_dir() and entry != self.logs:
                shutil.rmtree(entry)


def tail(path: Path, size: int = 200_000) -> str:
    """The last `size` bytes of a file as text; "" where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode(errors="replace")


def explain(name: str, said: str, log: Path, folder: Path) -> str:
    """One sentence for a server that ended.

    Args:
        name: the server.
        said: the end of its log.
        log: where the rest of it is.
        folder: its data.
    """
    if "No space left on device" in said or "Insufficient disk space" in said:
        return f"{name} stopped because the disk of {folder} is full: make room, or choose another disk with --data."
    if found := re.search(r"Address already in use|Failed to bind to|is in use by another process", said):
        return f"{name} could not listen ({found.group()}): choose other ports with --port; details in {log}."
    if "insufficient memory for the Java Runtime" in said or "java.lang.OutOfMemoryError" in said:
        return f"{name} ran out of memory: free some memory and start again; details in {log}."
    if "Permission denied" in said:
        return f"{name} may not write in {folder}: give yourself the right to, or choose another folder with --data."
    errors = re.findall(r"^.*(?:ERROR|FATAL|Exception|Error:).*$", said, re.MULTILINE)
    return f"{name} ended unexpectedly ({(errors[-1].strip() if errors else 'no reason given')[:200]}): look at {log}."
