"""Frames to and from one mask worker: one question at a time, and for each exactly one answer or none.

A protocol of its own instead of asyncio's streams: the event loop wakes once for an answer, and whoever asked is told
within that same turn of the loop. Whatever the worker says unasked, or beyond its answer, ends the channel: bytes of
one answer must never be taken for the next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from hoop_mcp.masking import wire

if TYPE_CHECKING:
    from collections.abc import Callable


class Channel(asyncio.Protocol):
    """The server's end of a worker's socket."""

    def __init__(self) -> None:
        self.lost = False
        """Nothing can be asked any more; how that came about makes no difference."""
        self._told: Callable[[memoryview | None], None] | None = None
        self._parts: list[bytes] = []
        self._have = 0
        self._due = 0

    def ask(self, payload: bytes, told: Callable[[memoryview | None], None]) -> None:
        """Send a frame. ``told`` is called once: with the answer's payload, or with None when none will come.

        Raises:
            RuntimeError: the last question has not been answered yet.
        """
        if self._told is not None:
            raise RuntimeError("one question at a time")
        self._told = told
        if self.lost:
            self.end()
        else:
            self._transport.write(payload)

    def end(self) -> None:
        """Close the channel. An answer that was due will not come."""
        self.lost = True
        self._transport.abort()
        self._parts.clear()
        told, self._told = self._told, None
        if told is not None:
            told(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is there."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the socket is closed, from either side."""
        self.end()

    def data_received(self, data: bytes) -> None:
        """asyncio: some bytes of a frame, or all of them."""
        self._parts.append(data)
        self._have += len(data)
        if self._have < wire.LENGTH:
            return
        if not self._due:
            self._parts = [b"".join(self._parts)]
            self._due = wire.LENGTH + int.from_bytes(self._parts[0][: wire.LENGTH], "big")
        if self._told is None or self._have > self._due or self._due > wire.LENGTH + wire.MAX_FRAME:
            self.end()
        elif self._have == self._due:
            answer = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            told, self._told = self._told, None
            self._parts, self._have, self._due = [], 0, 0
            told(memoryview(answer)[wire.LENGTH :])
