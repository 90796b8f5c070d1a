"""A gate that opens beside the handshake and closes with the server.

Opening it means reading settings, loading parsers and recognizers, and connecting; a client that waits for
``initialize`` should wait for none of that. So the gate opens in a task of its own shortly after the first message,
and a call awaits it. If it cannot open, calls are told so and the server ends: a gateway that serves without its
gate is worse than none.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from hoop_mcp.terms import Outcome, ToolCall

AFTER_HANDSHAKE = 0.05  # seconds: imports hold the interpreter, so the handshake's answer goes out first
FAREWELL = 0.25  # seconds: time for waiting calls to be told that the gate did not open
CLOSING = 10.0  # seconds the gate may take to close


class Gatekeeper(Protocol):
    """The one thing every call goes through."""

    async def handle(self, call: ToolCall) -> Outcome:
        """Carry one call to its end, journaled; cancellation is raised through, everything else is a value."""
        ...


class GateShut(Exception):
    """The gate did not open; the reason is on the server's stderr."""


class Opening:
    """One gate, for as long as one server runs."""

    def __init__(self, open_gate: Callable[[], AbstractAsyncContextManager[Gatekeeper]]) -> None:
        self._open_gate = open_gate
        self._wanted = anyio.Event()
        self._settled = anyio.Event()
        self._stop = anyio.Event()
        self._opening = anyio.CancelScope()
        self._soon: asyncio.TimerHandle | None = None
        self._gate: Gatekeeper | None = None

    def want_soon(self) -> None:
        """Open once the current answer is on the wire."""
        if self._soon is None and not self._wanted.is_set():
            self._soon = asyncio.get_running_loop().call_later(AFTER_HANDSHAKE, self._wanted.set)

    async def gate(self) -> Gatekeeper:
        """The open gate; opens it now if nobody asked before.

        Raises:
            GateShut: it could not be opened.
        """
        self._wanted.set()
        await self._settled.wait()
        if self._gate is None:
            raise GateShut
        return self._gate

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Opening]:
        """Keep the gate for the length of the context; a failure to open it ends the context with that failure."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep)
            try:
                yield self
            finally:
                if self._soon is not None:
                    self._soon.cancel()
                self._stop.set()
                self._opening.cancel()

    async def _keep(self) -> None:
        stack = AsyncExitStack()
        try:
            with self._opening:
                await self._wanted.wait()
                self._gate = await stack.enter_async_context(self._open_gate())
            if self._gate is None:
                return
            self._settled.set()
            with anyio.CancelScope(shield=True):  # an ending server still closes its gate: the journal is in there
                await self._stop.wait()
        except Exception:
            self._settled.set()
            with anyio.move_on_after(FAREWELL, shield=True):
                await self._stop.wait()
            raise
        finally:
            with anyio.move_on_after(CLOSING, shield=True):
                await stack.aclose()
