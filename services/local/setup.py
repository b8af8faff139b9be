"""Make this clone ready to run: `.venv` with exactly the locked packages, this project in it, and the jars.

In: `requirements.lock`, `uv.lock`, `jars.lock`, all with checksums; Python >= 3.11. Out: `.venv/bin/inventorybot`.
Run: `python3 -m services.local.setup`; `make setup` does, and `make run` and `make test` do first. Running it again
only does what is missing, and after an interruption it goes on. The standard library is all it needs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from services.local.cache import cache_root

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
OLDEST = (3, 11)
SPACE_GB = 12  # PyTorch with CUDA is 5.3 GB installed and 1.8 GB as wheels, which wait in the cache until all are there
FULL_MB = 300  # a disk with less than this at a failure is what made it fail


class CannotSetUp(Exception):
    """One sentence: what is wrong, and what to do."""


def main() -> int:
    """Do what is missing; 0 when everything is there."""
    steps = (check_python, make_venv, install_uv, install_packages, install_project, fetch_jars)
    try:
        for number, step in enumerate(steps, 1):
            print(f"[{number}/{len(steps)}] {(step.__doc__ or '').splitlines()[0]}", flush=True)
            step()
    except CannotSetUp as error:
        print(f"\nsetup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; run it again and it goes on from here", file=sys.stderr)
        return 130
    return 0


def check_python() -> None:
    """Look at the Python that is here."""
    if sys.version_info < OLDEST:
        have = ".".join(map(str, sys.version_info[:2]))
        raise CannotSetUp(
            f"Python {have} is too old: install 3.11 or later, or name one: `make PYTHON=/path/to/python3`."
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        raise CannotSetUp(
            f"this Python has no `{error.name}`: install your system's package for virtual environments (python3-venv "
            "on Debian and Ubuntu), or name another Python with `make PYTHON=/path/to/python3`."
        ) from error


def make_venv() -> None:
    """Make the virtual environment .venv."""
    if PYTHON.exists() and belongs_here() and succeeds([PYTHON, "-m", "pip", "--version"]):
        return
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if free_gb < SPACE_GB:
        raise CannotSetUp(f"the disk of {ROOT} has {free_gb:.0f} GB free, {SPACE_GB} GB are needed: make room there.")
    if not succeeds([sys.executable, "-m", "venv", "--clear", VENV], show=True):
        raise CannotSetUp(f"the virtual environment {VENV} could not be made: the lines above say why.")


def belongs_here() -> bool:
    """Whether .venv was made in this folder: its programs name their folder, so a moved one does not run."""
    settings = VENV / "pyvenv.cfg"
    lines = settings.read_text().splitlines() if settings.is_file() else []
    made = [line.split()[-1] for line in lines if line.startswith("command")]
    return not made or Path(made[0]).resolve() == VENV.resolve()


def install_uv() -> None:
    """Install uv, which fetches in parallel, checks, caches and resumes."""
    lock = Path(__file__).with_name("uv.lock")
    version = (
        next(line for line in lock.read_text().splitlines() if line.startswith("uv==")).split()[0].partition("==")[2]
    )
    kept = cache_root() / "bin" / f"uv-{version}"  # it needs nothing else: the next clone copies it
    if uv_version(UV) == version:
        return
    if uv_version(kept) == version:
        shutil.copy2(kept, UV)
        return
    if not succeeds([PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock], show=True):
        raise CannotSetUp(why_not_installed())
    kept.parent.mkdir(parents=True, exist_ok=True)
    new = kept.with_name(f"{kept.name}.{os.getpid()}")
    shutil.copy2(UV, new)
    new.replace(kept)


def uv_version(program: Path) -> str:
    """The version that a uv reports; "" where it cannot be run."""
    if not program.is_file():
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return said[1] if len(said) > 1 else ""


def install_packages() -> None:
    """Install the locked packages, each checked by its hash."""
    command: list[str | Path] = [
        UV,
        "pip",
        "install",
        "--python",
        PYTHON,
        "--require-hashes",
        "-r",
        ROOT / "requirements.lock",
    ]
    if succeeds(command, show=True, env=uv_env()):
        return
    if not succeeds([*command, "--offline"], env=uv_env()):  # without a network, a full cache is enough
        raise CannotSetUp(why_not_installed())
    print("      (installed from the cache, without the network)")


def install_project() -> None:
    """Install this project so that edits take effect at once."""
    command: list[str | Path] = [
        UV,
        "pip",
        "install",
        "--python",
        PYTHON,
        "--no-deps",
        "--no-build-isolation",
        "--offline",
        "--quiet",
    ]
    if not succeeds([*command, "--editable", ROOT], show=True, env=uv_env()):
        raise CannotSetUp("the project itself could not be installed: the lines above say why.")


def fetch_jars() -> None:
    """Fetch the jars of Kafka, Cassandra and Spark's connectors, each checked by its hash."""
    settings = os.environ.get("IVY_SETTINGS")
    extra = ["--ivy-settings", settings] if settings else []
    if not succeeds([PYTHON, "-m", "services.local.jars", "--quiet", *extra], show=True):
        raise CannotSetUp("the jars are not complete: the line above says what to do.")


def uv_env() -> dict[str, str]:
    """This environment, with what pip was told about the network handed on to uv, which does not read it."""
    env = {"UV_HTTP_TIMEOUT": "180", **os.environ}  # 180 s without a byte: the default of 30 s is short on a slow line
    told = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "cert": "SSL_CERT_FILE",
        "proxy": "ALL_PROXY",
    }
    listed = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        variable = told.get(name.rsplit(".", 1)[-1])
        if variable:
            env.setdefault(variable, value.strip().strip("'\""))
    return env


def why_not_installed() -> str:
    """One sentence for packages that could not be installed."""
    for folder in (ROOT, Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache")):
        if folder.exists() and shutil.disk_usage(folder).free < FULL_MB * 1_000_000:
            return f"the disk of {folder} is full: make room there and run this again; it goes on where it stopped."
    return (
        "the packages could not be fetched (the lines above say why): connect to the network and run this again, "
        "it goes on where it stopped. HTTPS_PROXY, PIP_INDEX_URL and SSL_CERT_FILE are honoured; without a network, "
        f"copy ~/.cache/uv and {cache_root()} from a machine that has done this once."
    )


def succeeds(command: Sequence[str | Path], show: bool = False, env: dict[str, str] | None = None) -> bool:
    """Run a command in the root of the clone; whether it ended with 0. Its output is hidden unless `show`."""
    out = None if show else subprocess.DEVNULL
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False)
    except OSError:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
