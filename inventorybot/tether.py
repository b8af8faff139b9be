"""Run a command that cannot outlive whoever started it, not even when that one is killed with SIGKILL.

In: a command line. Out: the command, in the place of this process; the kernel kills it when its parent dies.
Run: `python inventorybot/tether.py PARENT_PID SIGNAL COMMAND…`; from Python, `tether.start([...])`.

`prctl(PR_SET_PDEATHSIG)` holds for the process that asks, and stays through `exec` (of a program that is not set-uid):
so this little program asks and then becomes the command. It is Linux's; elsewhere the command runs untethered.
Two things to know: the kernel watches the *thread* that forked, so start children from a thread that lives as long as
the process (the main one); and a parent that died before the request is caught by comparing getppid() with its id.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1  # from linux/prctl.h
PARENT_GONE = 125  # exit status: the parent had died before the tether was tied


def start(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    on_parent_death: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a command tethered to this process, in a session of its own, with no standard input.

    A session of its own keeps a terminal's Ctrl-C away from it: the parent decides in which order things stop.
    The process id is the command's own. Call from the main thread.

    Args:
        command: the program and its arguments.
        env: the whole environment; this process's by default.
        cwd, stdout, stderr: as for `subprocess.Popen`.
        on_parent_death: what the kernel sends when this process dies.
    """
    me = [sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid()), str(int(on_parent_death))]
    return subprocess.Popen(
        [*me, *map(str, command)],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def main(arguments: list[str]) -> None:
    """Tie the tether, then become the command."""
    parent, death, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(death), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
        if os.getppid() != parent:
            sys.exit(PARENT_GONE)
    os.execvp(command[0], command)  # noqa: S606  # to become the command is the point


if __name__ == "__main__":
    main(sys.argv[1:])
