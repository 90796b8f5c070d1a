"""Reading statements without ever stopping the event loop: the quick ones here, the others in a process with a deadline.

The offline parser is compiled and backtracks; on hostile text it runs for as long as the universe, and a thread of it
would hold the interpreter's lock meanwhile. So whatever is not sure to be quick goes to one other process, which is
killed when it is late. Deliberate direction: a statement too long in the reading is refused, whatever it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hoop_mcp
from hoop_mcp.adapters.framed_process import LENGTH
from hoop_mcp.errors import Refused
from hoop_mcp.sql.reader import MAX_BYTES, is_quick
from hoop_mcp.sql.requests import read_request

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from hoop_mcp.terms import Request

READ_SECONDS = 2.0
"""What one reading may take; the slowest honest one measured takes a tenth of it."""

TURN_SECONDS = 6.0
START_SECONDS = 30.0
_KEPT = 1_000
_MAX_REPLY = 64 * 2**20
_TERMS = frozenset({"Statement", "Explain", "Show", "RelationName", "Token", "Verb"})

_ROOT = str(Path(hoop_mcp.__file__).resolve().parent.parent)
_COMMAND = (
    "-I",
    "-c",
    f"import sys; sys.path.insert(0, {_ROOT!r}); from hoop_mcp.adapters.reading_worker_main import main; main()",
)


class ReadingWorker:
    """``await reading(sql)``: what the text asks for, or Refused. The process is started when it is first needed."""

    def __init__(self, *, deadline_s: float = READ_SECONDS) -> None:
        self._deadline_s = deadline_s
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._known: OrderedDict[str, Request] = OrderedDict()
        self._closed = False
        self.late = 0
        """Readings that were ended because they ran into the deadline."""

    async def __call__(self, sql: str) -> Request:
        """Read *sql*.

        Raises:
            Refused: what :func:`hoop_mcp.sql.requests.read_request` says; HOOP207, reading it takes too long; HOOP508,
                others' long readings are before it.
        """
        known = self._known.get(sql)
        if known is not None:
            self._known.move_to_end(sql)
            return known
        if len(sql) > MAX_BYTES or is_quick(sql):
            request = read_request(sql)
            self._known[sql] = request  # only what is small is kept: a large reading weighs a megabyte
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return request
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise Refused("HOOP508", "The gateway is reading other long statements.") from None
        try:
            return await self._elsewhere(sql)
        finally:
            self._turn.release()

    async def close(self) -> None:
        """End the process."""
        self._closed = True
        await self._end()

    async def _elsewhere(self, sql: str) -> Request:
        try:
            process = await self._started()
            payload = sql.encode("utf-8", "surrogatepass")
            async with asyncio.timeout(self._deadline_s):
                reply = await _ask(process, payload)
            return _request(reply)
        except Refused:
            raise
        except TimeoutError:
            self.late += 1
            await self._end()
            raise Refused(
                "HOOP207", "The statement is too large to analyse: reading it takes too long.", _PLAINER
            ) from None
        except BaseException as raised:
            # Cancelled in the middle of an answer, dead or talking gibberish: the next statement gets a new process.
            await self._end()
            if isinstance(raised, Exception):
                raise Refused("HOOP203", "The statement could not be read.") from None
            raise

    async def _started(self) -> Process:
        if self._closed:
            raise ConnectionError
        if self._process is None or self._process.returncode is not None:
            async with asyncio.timeout(START_SECONDS):
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *_COMMAND,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env={},  # the server's environment holds DSNs and tokens, and a parser needs none
                    start_new_session=True,
                )
                await _ask(self._process, b"SELECT 1")  # the deadline is for the reading, not for the start
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def _ask(process: Process, payload: bytes) -> bytes:
    assert process.stdin is not None  # noqa: S101 - told to the type checker; the process was made with pipes
    assert process.stdout is not None  # noqa: S101 - told to the type checker; the process was made with pipes
    process.stdin.write(len(payload).to_bytes(LENGTH, "big") + payload)
    await process.stdin.drain()
    size = int.from_bytes(await process.stdout.readexactly(LENGTH), "big")
    if size > _MAX_REPLY:
        raise ConnectionError
    return await process.stdout.readexactly(size)


def _request(reply: bytes) -> Request:
    if reply[:1] == b"-":
        code, reason, instead = json.loads(reply[1:])
        raise Refused(code, reason, instead)
    request: Request = _OurTerms(io.BytesIO(reply[1:])).load()
    return request


class _OurTerms(pickle.Unpickler):
    """Makes nothing but the terms a reading is made of, whatever the bytes ask for."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "hoop_mcp.terms.statement" and name in _TERMS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError


_PLAINER = "Write it with fewer levels of brackets, and every JOIN with its own ON."
