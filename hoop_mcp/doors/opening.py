"""A gate that opens beside the handshake and closes with the server.

Opening it means reading settings, loading parsers and recognizers, and connecting; a client that waits for
``initialize`` should wait for none of that. So the gate opens in a task of its own shortly after the first message, or
shortly after the start where none comes, and a call awaits it. If it cannot open, calls are told so and the server
ends: a gateway that serves without its gate is worse than none. Input that ends before any message ends the server
only once the gate has opened or failed to, so that a server tried out by hand says what is wrong with it.
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
AT_LATEST = 0.5  # seconds after the start, whether or not anybody has said anything
FAREWELL = 0.25  # seconds: time for waiting calls to be told that the gate did not open
TRYING = 30.0  # seconds the gate may take to open where input has ended and nobody waits
CLOSING = 10.0  # seconds the gate may take to close


class Gatekeeper(Protocol):
    """The one thing every call goes through."""

    async def handle(self, call: ToolCall) -> Outcome:
        """Carry one call to its end, journaled; cancellation is raised through, everything else is a value."""
        ...


class GateShut(Exception):
    """The gate did not open; ``why`` is what kept it, for a sentence of ours. The whole reason is on stderr."""

    def __init__(self, why: BaseException | None = None) -> None:
        super().__init__()
        self.why = why


class Opening:
    """One gate, for as long as one server runs."""

    def __init__(self, open_gate: Callable[[], AbstractAsyncContextManager[Gatekeeper]]) -> None:
        self._open_gate = open_gate
        self._wanted = anyio.Event()
        self._settled = anyio.Event()
        self._stop = anyio.Event()
        self._opening = anyio.CancelScope()
        self._soon: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None
        self._heard = False
        self._gate: Gatekeeper | None = None

    def want_soon(self) -> None:
        """Open once the current answer is on the wire."""
        self._heard = True
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
            raise GateShut(self._failure)
        return self._gate

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Opening]:
        """Keep the gate for the length of the context; a failure to open it ends the context with that failure."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep)
            self._late = asyncio.get_running_loop().call_later(AT_LATEST, self._wanted.set)
            try:
                yield self
                if not self._heard:
                    self._wanted.set()
                    with anyio.move_on_after(TRYING):
                        await self._settled.wait()
            finally:
                for timer in (self._soon, self._late):
                    if timer is not None:
                        timer.cancel()
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
        except Exception as error:
            self._failure = error.__cause__ or error  # what was told already is raised as an ending with its cause
            self._settled.set()
            with anyio.move_on_after(FAREWELL, shield=True):
                await self._stop.wait()
            raise
        finally:
            with anyio.move_on_after(CLOSING, shield=True):
                await stack.aclose()
