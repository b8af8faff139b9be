"""Other people's programs, each in an environment of its own in the cache, to be measured beside ours.

In: a name and exact requirements. Out: that environment's Python. Made at the first call, kept for the next; nothing of it is
ever installed in the project's own environment. `highspy`, for one, breaks the import of another solver beside it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from inventorybot.errors import SetupError
from services.local.cache import cache_root

UV = Path(sys.executable).with_name("uv")


def environment(name: str, packages: Sequence[str]) -> Path:
    """The Python of an environment that has these packages.

    Args:
        name: of its folder in the cache.
        packages: requirements, each with its exact version, e.g. `highspy==1.15.1`.
    Raises: SetupError: uv is not there, or the packages cannot be installed.
    """
    digest = hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()[:12]
    folder = cache_root() / "benchmarks" / f"{name}-{digest}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.is_file() and python.exists():
        return python
    if not UV.is_file():
        raise SetupError(f"{UV} is missing: `make setup` installs it, and it makes the environment of {name}")
    print(f"making an environment for {name} ({', '.join(packages)}) ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    commands: list[list[str | Path]] = [
        ["venv", "--python", sys.executable, folder],
        ["pip", "install", "--python", python, *packages],
    ]
    for command in commands:
        done = subprocess.run([UV, *command, "--quiet"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupError(f"the environment of {name} cannot be made: {done.stderr.strip()[-500:]}")
    ready.touch()
    return python
