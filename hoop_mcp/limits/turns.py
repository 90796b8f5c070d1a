"""Calls of one principal at a time: some at work, some waiting, and no more.

A database has few connections. Without this one principal that sends everything at once would hold all of them, and the
others would wait.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoop_mcp.errors import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE_S = 10.0


@dataclass(slots=True)
class _Queue:
    places: asyncio.Semaphore
    inside: int = 0
    waiting: int = 0


class Turns:
    """First come, first served, for each principal by itself."""

    def __init__(self, running: int, waiting: int, *, patience_s: float = PATIENCE_S) -> None:
        """At most *running* calls of one principal at work and *waiting* behind them, for *patience_s* seconds."""
        self._running = running
        self._waiting = waiting
        self._patience_s = patience_s
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def turn(self, principal: str) -> AsyncIterator[None]:
        """Wait for a place and hold it.

        Raises:
            Refused: HOOP110, too many are waiting already, or this one waited too long.
        """
        queue = self._queues.get(principal)
        if queue is None:
            queue = self._queues[principal] = _Queue(asyncio.Semaphore(self._running))
        queue.inside += 1
        try:
            await self._place(queue)
            try:
                yield
            finally:
                queue.places.release()
        finally:
            queue.inside -= 1
            if not queue.inside:
                del self._queues[principal]

    async def _place(self, queue: _Queue) -> None:
        if not queue.places.locked():
            await queue.places.acquire()
            return
        if queue.waiting >= self._waiting:
            raise Refused("HOOP110", f"{self._running} calls of yours are at work and {queue.waiting} wait already.")
        queue.waiting += 1
        try:
            async with asyncio.timeout(self._patience_s):
                await queue.places.acquire()
        except TimeoutError:
            raise Refused(
                "HOOP110", f"The call waited {self._patience_s:.0f} seconds behind others of yours."
            ) from None
        finally:
            queue.waiting -= 1
