"""Stages that batches pass through one behind the other, in the order in which they came.

In: batches, each from a task of its own. Out: a place in each stage, for one batch at a time.

    stage 1   A  B  C  D         work out
    stage 2      A  B  C  D      write rows
    stage 3         A  B  C  D   write levels

A batch that fails takes with it all that had begun by then: they were worked out from what it did.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventorybot.errors import TryLater


class Stages:
    """A row of stages. Args: number: of them."""

    def __init__(self, number: int) -> None:
        self._stages = [asyncio.Lock() for _ in range(number)]  # a lock serves those who wait in the order they came
        self._passages = 0
        self._failed = range(0)

    @asynccontextmanager
    async def passage(self) -> AsyncIterator[Passage]:
        """Take part, from the first stage on. Raises: TryLater: a batch that came before this one failed."""
        passage = Passage(self, self._stages, self._passages)
        self._passages += 1
        try:
            await passage.next()
            yield passage
        except BaseException:  # cancelled or failed: those behind it were worked out from what it did
            if passage.number not in self._failed:
                self._failed = range(passage.number, self._passages)
            raise
        finally:
            passage.leave()

    def check(self, number: int) -> None:
        """Raises: TryLater: a batch that came before failed while this one was under way."""
        if number in self._failed:
            raise TryLater("ledger", "an earlier batch is to be handled again first")


class Passage:
    """The way of one batch."""

    def __init__(self, of: Stages, stages: list[asyncio.Lock], number: int) -> None:
        self._of, self._stages, self.number, self._stage = of, stages, number, -1

    async def next(self) -> None:
        """Enter the next stage, then leave this one. Raises: TryLater: a batch that came before this one failed."""
        await self._stages[self._stage + 1].acquire()
        self.leave()
        self._stage += 1
        self._of.check(self.number)

    def leave(self) -> None:
        """Make room for the next batch."""
        if self._stage >= 0:
            self._stages[self._stage].release()
