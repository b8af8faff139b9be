"""What must hold before anything is started: the folder is ours, the disk has room, the ports are free.

In: a folder, ports. Out: nothing, or one `SetupError` that says what to do. Used by `up` and the two servers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from inventorybot.errors import SetupError

HOST = "127.0.0.1"
MB = 1_000_000


def need_folder(folder: Path) -> None:
    """Make `folder` if it is not there, and be sure that files can be written in it.

    Raises: SetupError: it cannot be made or written.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise SetupError(f"{folder} cannot be written ({error.strerror}): choose another one with --data.") from error


def need_space(folder: Path, free_mb: int) -> None:
    """Be sure that the disk of `folder`, which exists, has this much room.

    Raises: SetupError: it has less.
    """
    free = shutil.disk_usage(folder).free // MB
    if free < free_mb:
        raise SetupError(
            f"The disk of {folder} is full: {free} MB are free and {free_mb} MB are needed; "
            "make room, or choose another disk with --data."
        )


def need_ports(ports: Mapping[str, int]) -> None:
    """Be sure that nobody listens on these ports of 127.0.0.1.

    Args: ports: what each is for, and its number.
    Raises: SetupError: one is taken; names it.
    """
    for purpose, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free for a server
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise SetupError(
                    f"Port {port}, needed for {purpose}, is in use: stop the program that listens on it, "
                    "or choose other ports with --port."
                ) from error


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on at this moment; for tests and tools, not for a fixed address."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the kernel lets go of it however the process ends.

    Raises: SetupError: another process holds it.
    """
    with (folder / ".lock").open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            held.seek(0)
            raise SetupError(
                f"{folder} is in use by another `inventorybot up` (process {held.read().strip() or 'unknown'}): "
                "stop that one, or choose another folder with --data and other ports with --port."
            ) from error
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        yield


def answers(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    try:
        # 0.2 s: on this machine a listener accepts in microseconds; a slower one is asked again by whoever polls
        socket.create_connection((HOST, port), timeout=0.2).close()
    except OSError:
        return False
    return True
