"""Work in chunks over our own threads, one torch thread each.

In: a function and the chunks' keys. Out: its results in order. torch lets go of Python's lock in its kernels; its own threads
would split every small kernel and wait for each other, which on a busy machine costs ten times the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


def over_threads(work: Callable[[int], T], keys: Sequence[int], threads: int) -> list[T]:
    """The work of every key, in order."""
    if threads <= 1 or len(keys) <= 1:
        return [work(key) for key in keys]
    with ThreadPoolExecutor(min(threads, len(keys))) as pool:
        return list(pool.map(work, keys))


@contextmanager
def one_thread_each(*devices: torch.device) -> Iterator[None]:
    """torch works with one thread on a CPU inside."""
    before = torch.get_num_threads()
    if any(device.type == "cpu" for device in devices):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
