"""MCP over stdin and stdout: one JSON-RPC message per line.

A transport of our own, because the SDK's hops through three threads per message, drops a malformed line without a
word, and cannot end while a thread waits for input. It reads and writes on the event loop, bounds what one message
may be, answers every line it cannot read, and lets an answer's bytes through as they are. It needs pipes or sockets;
on anything else (a terminal, a file, Windows) the SDK's own transport serves.

While serving, descriptor 0 is the null device and 1 is stderr, so that a stray print, or a child process, cannot
write into the protocol.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import orjson
from mcp.shared._context_streams import create_context_streams
from mcp.shared.message import SessionMessage
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from hoop_mcp.doors.splice import splicing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Self

    from mcp.shared._context_streams import ContextReceiveStream, ContextSendStream
    from mcp.types import JSONRPCMessage, RequestId

    from hoop_mcp.doors.mcp import Door

MAX_MESSAGE = 4 * 1024 * 1024  # bytes of one line; what the SDK's HTTP transport takes as well
QUEUE = 32  # messages read ahead of the dispatcher
HIGH_WATER = 1024 * 1024  # bytes waiting to be written before a writer waits
LAST_WORDS = 2.0  # seconds a client may take to read what is left when serving ends


async def serve_stdio(door: Door) -> None:
    """Serve until stdin ends or SIGTERM comes; both let the gate close.

    Raises:
        Exception: whatever kept the gate from opening, possibly inside exception groups.
    """
    if not pipes_or_sockets():
        await door.run_stdio_async()
        return
    door.middleware.append(splicing)
    with anyio.CancelScope() as scope:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            loop.add_signal_handler(signal.SIGTERM, scope.cancel)
        async with _wire() as (read, write):
            await door.serve_streams(read, write)


def pipes_or_sockets() -> bool:
    """Whether both ends can be waited for on the event loop.

    Waiting needs non-blocking mode, which belongs to the open file, not to us: if stdout is also stderr or stdin,
    whoever shares it would find it changed, so those are left to the SDK.
    """
    if sys.platform == "win32":
        return False
    try:
        kinds = [os.fstat(fd) for fd in (0, 1, 2)]
    except OSError:
        return False
    if not all(stat.S_ISFIFO(kind.st_mode) or stat.S_ISSOCK(kind.st_mode) for kind in kinds[:2]):
        return False
    stdin, stdout, stderr = ((kind.st_dev, kind.st_ino) for kind in kinds)
    return stdout not in (stdin, stderr)


class Writer(asyncio.Protocol):
    """The sending side: a message becomes a line at once; a slow reader makes the next sender wait."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the pipe."""
        if not isinstance(transport, asyncio.WriteTransport):
            raise TypeError("the sending side needs a transport that writes")
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._transport = transport

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._free.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._free.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is given
        """The client is gone; whoever waits to write must not wait for ever."""
        self._lost = True
        self._free.set()

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message.

        Raises:
            anyio.BrokenResourceError: the client is gone; the dispatcher drops the message.
        """
        await self.write_line(encode(item.message))

    async def write_line(self, line: bytes) -> None:
        """Write one line, then wait while too much is unread."""
        if self._lost or self._transport is None or self._transport.is_closing():
            raise anyio.BrokenResourceError
        self._transport.write(line + b"\n")
        await self._free.wait()

    async def flush(self) -> None:
        """Wait until the client has read everything, or is gone, or has had its time."""
        if self._transport is None or self._lost:
            return
        self._transport.set_write_buffer_limits(high=0)
        if self._transport.get_write_buffer_size():
            self._free.clear()
            with anyio.move_on_after(LAST_WORDS, shield=True):
                await self._free.wait()

    async def aclose(self) -> None:
        """The dispatcher is done; the pipe itself is closed by whoever opened it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return None


def encode(message: JSONRPCMessage) -> bytes:
    """One message as JSON on one line.

    A result that cannot be printed (half a character in a text) becomes an error for that request: the SDK's writer
    would end the server over it.
    """
    try:
        if isinstance(message, JSONRPCResponse):
            return orjson.dumps({"jsonrpc": "2.0", "id": message.id, "result": message.result})
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode()
    except (TypeError, ValueError):
        return _error(getattr(message, "id", None), INTERNAL_ERROR, "The answer could not be written as JSON")


def _error(request: RequestId | None, code: int, message: str) -> bytes:
    error = JSONRPCError(jsonrpc="2.0", id=request, error=ErrorData(code=code, message=message))
    return error.model_dump_json(by_alias=True, exclude_unset=True).encode()


def decode(line: bytes) -> JSONRPCMessage | bytes:
    """The message in a line, or the line to answer with when there is none. Neither repeats what was sent."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _error(None, PARSE_ERROR, "The line is not valid JSON in UTF-8")
    request = value.get("id") if isinstance(value, dict) else None
    known = request if isinstance(request, str) or type(request) is int else None
    invalid = _error(known, INVALID_REQUEST, "The line is not a JSON-RPC 2.0 message")
    if isinstance(value, dict) and "method" in value and "id" in value and known is None:
        return invalid  # the SDK would take a request with an impossible id for a notification and never answer it
    try:
        return jsonrpc_message_adapter.validate_python(value, by_name=False)
    except ValidationError:
        return invalid


async def read_messages(
    reader: asyncio.StreamReader, send: ContextSendStream[SessionMessage | Exception], writer: Writer
) -> None:
    """Hand every readable line to the dispatcher and answer every other one; ends with the input."""
    async with send:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                line = end.partial
                if not line:
                    return
            except asyncio.LimitOverrunError as excess:
                await _skip_line(reader, excess.consumed)
                line = b""
                await writer.write_line(
                    _error(None, INVALID_REQUEST, f"A message may be {MAX_MESSAGE} bytes long; this one was dropped")
                )
            if not line.strip():
                continue
            message = decode(line)
            if isinstance(message, bytes):
                await writer.write_line(message)
            else:
                await send.send(SessionMessage(message))


async def _skip_line(reader: asyncio.StreamReader, consumed: int) -> None:
    """Drop the rest of a line, holding no more of it than the limit."""
    while True:
        await reader.readexactly(consumed)
        try:
            await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as more:
            consumed = more.consumed
        except asyncio.IncompleteReadError:
            return
        else:
            return


@asynccontextmanager
async def _wire() -> AsyncIterator[tuple[ContextReceiveStream[SessionMessage | Exception], Writer]]:
    """Stdin and stdout as message streams, and both descriptors out of everyone else's reach meanwhile."""
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    kept = _divert()
    source, sink = (os.fdopen(_private(fd), mode, 0) for fd, mode in zip(kept, ("rb", "wb"), strict=True))
    reader = asyncio.StreamReader(limit=MAX_MESSAGE)
    writer = Writer()
    incoming, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    outgoing, _ = await loop.connect_write_pipe(lambda: writer, sink)
    send, receive = create_context_streams[SessionMessage | Exception](QUEUE)

    async def pump() -> None:
        try:
            await read_messages(reader, send, writer)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
            send.close()  # the client or the dispatcher is gone: the same as the end of input

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump)
            try:
                yield receive, writer
            finally:
                tasks.cancel_scope.cancel()
    finally:
        await writer.flush()
        incoming.close()
        outgoing.close()
        for fd, private in enumerate(kept):
            os.set_blocking(private, True)
            os.dup2(private, fd)
            os.close(private)


def _divert() -> tuple[int, int]:
    """Private duplicates of stdin and stdout; 0 becomes the null device, 1 stderr."""
    kept = _private(0), _private(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return kept


def _private(fd: int) -> int:
    """A duplicate that no child inherits, above the standard descriptors."""
    import fcntl  # noqa: PLC0415 - only on the fallback

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
