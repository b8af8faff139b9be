"""Fetch the jars of the embedded Kafka and Cassandra and of Spark's connectors, once a machine, and check every byte of them.

In: `jars.lock` beside this file (coordinates and SHA-256). Out: a folder of jars for each of the three, below the cache:
INVENTORYBOT_CACHE, else XDG_CACHE_HOME/inventorybot, else ~/.cache/inventorybot.
Run: `python -m services.local.jars [--ivy-settings FILE]`; `make setup` does.

Ivy, which pyspark ships, does the fetching: it knows Maven Central, mirrors (its own settings file) and authentication.
Its download cache survives an interruption, so the next run goes on. A checked folder is published by one rename.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.sax.saxutils import quoteattr

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from inventorybot import tether
from inventorybot.errors import SetupError
from services.local.cache import cache_root
from services.local.java import find_java, java_env, network_options

LOCK = Path(__file__).with_name("jars.lock")
GROUPS = ("kafka", "cassandra", "spark")
FETCH_TIMEOUT_S = 900  # 103 MB: 15 minutes is 1 Mbit/s; a fetch that takes longer is resumed by running it again


@dataclass(frozen=True)
class Jar:
    """One line of the lock file."""

    group: str
    org: str
    name: str
    revision: str
    classifier: str
    sha256: str

    @property
    def file(self) -> str:
        """The file's name in its folder."""
        return f"{self.name}-{self.revision}{'-' + self.classifier if self.classifier else ''}.jar"


def read_lock(lock: Path = LOCK) -> list[Jar]:
    """The jars of a lock file, in its order."""
    jars = []
    for line in lock.read_text().splitlines():
        if line and not line.startswith("#"):
            group, coordinates, sha256 = line.split()
            org, name, revision, *classifier = coordinates.split(":")
            jars.append(Jar(group, org, name, revision, "".join(classifier), sha256))
    return jars


def published(group: str, jars: list[Jar], cache: Path) -> Path:
    """The folder that holds a group's jars; its name carries the lock's digest, so a changed lock is another folder."""
    digest = hashlib.sha256("\n".join(f"{j.file} {j.sha256}" for j in jars if j.group == group).encode())
    return cache / "jars" / f"{group}-{digest.hexdigest()[:12]}"


def classpath(group: str) -> list[Path]:
    """The jars of "kafka", "cassandra" or "spark" (its connectors), in a fixed order.

    Raises: SetupError: they have not been fetched.
    """
    jars = read_lock()
    folder = published(group, jars, cache_root())
    if not folder.is_dir():
        raise SetupError(f"The jars of {group} are not on this machine yet: run `make setup`.")
    return [folder / jar.file for jar in jars if jar.group == group]


def wrong_jars(folder: Path, jars: list[Jar]) -> dict[str, str]:
    """By file name, what is wrong with each jar that is missing from `folder` or is not the one that the lock names."""
    said = {}
    for jar in jars:
        path = folder / jar.file
        if not path.is_file():
            said[jar.file] = f"{jar.file} is missing"
        elif (found := hashlib.sha256(path.read_bytes()).hexdigest()) != jar.sha256:
            said[jar.file] = f"{jar.file} has the checksum {found[:12]}…, not {jar.sha256[:12]}…"
    return said


def ivy_module(group: str, jars: list[Jar]) -> str:
    """The Ivy file that asks for exactly these jars, and for nothing that they depend on.

    Not transitively: a transitive resolve of cassandra-all fails on a dependency that only its tests need.
    """
    modules: dict[tuple[str, str, str], str] = {}
    for jar in jars:  # a module that is wanted in two variants must be one dependency with two artifacts
        classifier = f" m:classifier={quoteattr(jar.classifier)}" if jar.classifier else ""
        artifact = f'<artifact name={quoteattr(jar.name)} type="jar" ext="jar"{classifier}/>'
        key = (jar.org, jar.name, jar.revision)
        modules[key] = modules.get(key, "") + artifact
    rows = [
        f"<dependency org={quoteattr(org)} name={quoteattr(name)} rev={quoteattr(revision)}"
        f' transitive="false" conf="default->*">{artifacts}</dependency>'
        for (org, name, revision), artifacts in modules.items()
    ]
    return (
        '<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">'
        f'<info organisation="inventorybot" module="{group}"/><configurations><conf name="default"/></configurations>'
        f"<dependencies>{''.join(rows)}</dependencies></ivy-module>"
    )


def ivy_jar() -> Path:
    """The Ivy that pyspark ships."""
    spec = importlib.util.find_spec("pyspark")
    found = sorted(Path(spec.origin).parent.glob("jars/ivy-*.jar")) if spec and spec.origin else []
    if not found:
        raise SetupError("The Ivy jar of the pyspark package is missing: run `make setup` again.")
    return found[-1]


def fetch(ivy_settings: Path | None = None, console: Console | None = None) -> dict[str, Path]:
    """Make sure that the jars of all groups are in the cache, and return their folders.

    Args:
        ivy_settings: an Ivy settings file, for a company that has a repository of its own.
        console: where the progress goes; the standard error by default.
    Raises: SetupError: no network, no room, or a jar that is not what the lock file names.
    """
    cache, jars = cache_root(), read_lock()
    folders = {group: published(group, jars, cache) for group in GROUPS}
    try:
        (cache / "jars").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"The cache {cache} cannot be written ({error.strerror}): set INVENTORYBOT_CACHE.") from error
    with one_at_a_time(cache / "jars" / ".lock"), bars(console) as progress:
        for group, folder in folders.items():
            wanted = [jar for jar in jars if jar.group == group]
            task = progress.add_task(f"jars of {group}", total=len(wanted))
            if wrong_jars(folder, wanted):
                _fetch_group(group, wanted, cache, ivy_settings, partial(progress.update, task))
            progress.update(task, total=len(wanted), completed=len(wanted))
    return folders


def bars(console: Console | None) -> Progress:
    """A progress display; where there is no terminal, its last state as plain lines."""
    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console or Console(stderr=True))


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Only one process of this machine fetches; another waits, and then finds the work done."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _fetch_group(group: str, jars: list[Jar], cache: Path, settings: Path | None, show: Callable[..., None]) -> None:
    """Fetch into a scratch folder, check, publish by a rename."""
    java = find_java()
    folder = published(group, read_lock(), cache)
    with tempfile.TemporaryDirectory(prefix=f".{group}-", dir=cache / "jars") as scratch_name:
        scratch = Path(scratch_name)
        module, fetched = scratch / "ivy.xml", scratch / "jars"
        module.write_text(ivy_module(group, jars))
        command: list[str | Path] = [java, *network_options(java, scratch), "-Xmx256m", "-jar", ivy_jar()]
        command += ["-settings", settings] if settings else []
        command += ["-cache", cache / "ivy", "-ivy", module]
        command += ["-retrieve", f"{fetched}/[artifact]-[revision](-[classifier]).[ext]"]
        said = _run_ivy(command, len(jars), show)
        if wrong := wrong_jars(fetched, jars):
            _forget(wrong, jars, cache)
            raise SetupError(explain(wrong, said, cache))
        shutil.rmtree(folder, ignore_errors=True)
        fetched.rename(folder)


def _run_ivy(command: list[str | Path], jars: int, show: Callable[..., None]) -> str:
    """Run Ivy and return what it said. It names each module that it has found, and each jar that it has fetched."""
    said, found, got = [], 0, 0
    show(total=2 * jars)
    with tether.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=java_env()) as ivy:
        guard = threading.Timer(FETCH_TIMEOUT_S, ivy.kill)
        guard.start()
        try:
            for raw in ivy.stdout or ():
                line = raw.decode(errors="replace").strip()
                said.append(line)
                found += line.startswith("found ")
                got += "[SUCCESSFUL ]" in line
                show(completed=min(found, jars) + min(got, jars))
        finally:
            guard.cancel()
            ivy.kill()  # does nothing when it has ended; an interrupted set-up leaves no Java behind
    return "\n".join(said)


def _forget(wrong: dict[str, str], jars: list[Jar], cache: Path) -> None:
    """Drop what Ivy has cached of the wrong jars, so that the next run fetches them anew."""
    for jar in jars:
        if jar.file in wrong:
            shutil.rmtree(cache / "ivy" / jar.org / jar.name, ignore_errors=True)


def explain(wrong: dict[str, str], said: str, cache: Path) -> str:
    """One sentence for a fetch that failed: what is wrong, and what to do.

    Args:
        wrong: what `wrong_jars` found, not empty.
        said: what Ivy printed.
        cache: the cache's root.
    """
    if "No space left on device" in said:
        return f"The disk of {cache} is full: 400 MB must be free there, or set INVENTORYBOT_CACHE to another disk."
    tampered = [sentence for sentence in wrong.values() if "checksum" in sentence]
    if tampered:
        return f"{tampered[0]}, so it was not installed: something between here and the repository changes files."
    if re.search(r"PKIX|SSLHandshake", said):
        return (
            "The repository's certificate is not trusted here: set SSL_CERT_FILE to your organisation's "
            "certificates (PEM) and run `make setup` again."
        )
    return (
        f"{len(wrong)} jars could not be fetched from Maven Central: connect to the network and run `make setup` again "
        "(it goes on where it stopped; HTTPS_PROXY is honoured, IVY_SETTINGS=FILE names a mirror), "
        f"or copy {cache / 'jars'} from a machine that has it."
    )


def main() -> int:
    """Fetch, and say where the jars are."""
    parser = argparse.ArgumentParser(prog="python -m services.local.jars", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ivy-settings", type=Path, help="an Ivy settings file that names another repository")
    parser.add_argument("--quiet", action="store_true", help="do not print where the jars are")
    arguments = parser.parse_args()
    try:
        folders = fetch(arguments.ivy_settings)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for folder in () if arguments.quiet else folders.values():
        print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
