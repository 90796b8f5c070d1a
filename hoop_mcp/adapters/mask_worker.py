"""The server's side of the mask worker: one process, one answer at a time, and a deadline.

Masking runs in a process of its own so that a large answer never stops the event loop, and so that a deadline can be
kept: a thread cannot be ended, a process can. Whatever goes wrong (late, dead, out of memory, gibberish) ends in a
refusal; there is no path on which rows come back unmasked. A worker that misbehaved is killed and a new one started
in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hoop_mcp
from hoop_mcp.errors import Refused
from hoop_mcp.masking import wire
from hoop_mcp.masking.apply import Masked, NeedsDetectionError, mask_columns

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

    from hoop_mcp.masking.plan import MaskPlan

CALL_DEADLINE_S = 5.0
START_DEADLINE_S = 60.0
INLINE_CELLS = 2_000
"""Up to so many cells of numbers and times are typed here, where nothing needs the worker; more would hold the loop."""

_ROOT = str(Path(hoop_mcp.__file__).resolve().parent.parent)
_COMMAND = (
    # Isolated: neither the working directory nor PYTHON* variables choose what code masks.
    "-I",
    "-c",
    f"import sys; sys.path.insert(0, {_ROOT!r}); from hoop_mcp.adapters.mask_worker_main import main; main()",
)


class MaskWorker:
    """Masks answers in another process. Calls may overlap; the worker takes them one by one."""

    def __init__(self, *, deadline_s: float, key: bytes) -> None:
        self._deadline_s = deadline_s
        self._key = key
        self._turn = asyncio.Lock()
        self._starting: asyncio.Task[Process] | None = None
        self._exchanges: set[asyncio.Task[Masked]] = set()
        self._closed = False

    @classmethod
    async def start(cls, *, deadline_s: float = CALL_DEADLINE_S, key: bytes | None = None) -> MaskWorker:
        """Begin to start a worker and return at once; the first call waits for it.

        Args:
            deadline_s: seconds one answer may take, unless the call says otherwise.
            key: the deployment's pseudonym key, at least 16 bytes. Without one, a key of this process is drawn, and
                pseudonyms join within its life only.
        """
        worker = cls(deadline_s=deadline_s, key=secrets.token_bytes(32) if key is None else key)
        worker._begin()
        return worker

    async def mask(
        self, plan: MaskPlan, rows: Sequence[Sequence[str | None]], *, timeout_s: float | None = None
    ) -> Masked:
        """Apply a plan to rows as PostgreSQL prints them.

        Args:
            plan: one place per column.
            rows: tuples or asyncpg records of text and None.
            timeout_s: seconds this answer may wait for its turn, and then take.

        Raises:
            Refused: HOOP701; the rows are withheld.
        """
        if self._closed:
            _refuse("The masking engine has been stopped.")
        try:
            columns: list[tuple[str | None, ...]] = (
                list(zip(*rows, strict=True)) if rows else [() for _ in plan.columns]
            )
            if not plan.needs_worker and len(rows) * len(columns) <= INLINE_CELLS:
                with contextlib.suppress(NeedsDetectionError):
                    return mask_columns(plan, columns, finder=None, key=self._key)
            payload = wire.frame(wire.request(plan, columns))
        except (TypeError, ValueError):  # orjson's errors may quote; ours says that it cannot be sent
            _refuse("The rows cannot be handed to the masking engine.")
        # A task of its own: a client that cancels must not leave half an answer in the pipe for the next call.
        exchange = asyncio.create_task(self._exchange(payload, self._deadline_s if timeout_s is None else timeout_s))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._settle)
        return await asyncio.shield(exchange)

    async def ready(self) -> None:
        """Wait until a worker can be asked.

        Raises:
            Refused: HOOP701, it cannot be started.
        """
        await self._process()

    async def close(self) -> None:
        """End the worker. Calls in flight are refused."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(BaseException):
                await _end(await self._starting)
        await asyncio.gather(*self._exchanges, return_exceptions=True)

    def _settle(self, exchange: asyncio.Task[Masked]) -> None:
        self._exchanges.discard(exchange)
        _seen(exchange)

    async def _exchange(self, payload: bytes, timeout_s: float) -> Masked:
        await self._process()  # the deadline is for the answer, not for the first start
        try:
            async with asyncio.timeout(timeout_s):
                await self._turn.acquire()
        except TimeoutError:
            _refuse("The masking engine is busy with earlier answers.")
        try:
            process = await self._process()
            return await self._ask(process, payload, timeout_s)
        finally:
            self._turn.release()

    async def _ask(self, process: Process, payload: bytes, timeout_s: float) -> Masked:
        assert process.stdin is not None  # noqa: S101 - told to the type checker; the process was made with pipes
        assert process.stdout is not None  # noqa: S101 - told to the type checker; the process was made with pipes
        try:
            async with asyncio.timeout(timeout_s):
                process.stdin.write(payload)
                await process.stdin.drain()
                answer = await _read_frame(process.stdout)
            return wire.read_reply(answer)
        except wire.WorkerSaidNoError as said:
            _refuse(f"The masking engine failed on these rows ({said}).")
        except TimeoutError:
            await self._replace(process)
            _refuse("The masking engine did not finish in time.")
        except BaseException as raised:
            await self._replace(process)
            if isinstance(raised, Exception):
                _refuse("The masking engine stopped while it worked on these rows.")
            raise

    async def _process(self) -> Process:
        if self._starting is None or _is_over(self._starting):
            self._begin()
        starting = self._starting
        if starting is None:
            _refuse("The masking engine has been stopped.")
        try:
            return await asyncio.shield(starting)
        except Exception:
            _refuse("The masking engine cannot be started.")

    def _begin(self) -> None:
        if not self._closed:
            self._starting = asyncio.create_task(_spawn(self._key))
            self._starting.add_done_callback(_seen)

    async def _replace(self, process: Process) -> None:
        self._begin()
        await _end(process)


def _seen(task: asyncio.Task[Process] | asyncio.Task[Masked]) -> None:
    """Look at a task's exception, so that asyncio does not print it when nobody waits any more."""
    if not task.cancelled():
        task.exception()


def _is_over(starting: asyncio.Task[Process]) -> bool:
    """Whether a start has failed, or what it started has ended since."""
    if not starting.done():
        return False
    return starting.cancelled() or starting.exception() is not None or starting.result().returncode is not None


async def _spawn(key: bytes) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},  # the server's environment holds DSNs and tokens; the worker sees every raw value and needs none
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101 - told to the type checker; the process was made with pipes
    assert process.stdout is not None  # noqa: S101 - told to the type checker; the process was made with pipes
    try:
        async with asyncio.timeout(START_DEADLINE_S):
            process.stdin.write(wire.frame(key))
            await process.stdin.drain()
            if await _read_frame(process.stdout) != b"ready":
                raise ConnectionError
    except BaseException:
        await _end(process)
        raise
    return process


async def _read_frame(stream: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await stream.readexactly(wire.LENGTH), "big")
    if size > wire.MAX_FRAME:
        raise ConnectionError
    return await stream.readexactly(size)


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()


def _refuse(reason: str) -> NoReturn:
    # `from None`: the cause may quote what it could not read.
    raise Refused("HOOP701", reason) from None
