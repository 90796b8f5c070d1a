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
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import hoop_mcp
from hoop_mcp.adapters.mask_channel import Channel
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


class _Worker(NamedTuple):
    """A worker's process and the way to ask it."""

    process: Process
    channel: Channel

    @property
    def is_over(self) -> bool:
        return self.channel.lost or self.process.returncode is not None


class MaskWorker:
    """Masks answers in another process. Calls may overlap; the worker takes them one by one."""

    def __init__(self, *, deadline_s: float, key: bytes) -> None:
        self._deadline_s = deadline_s
        self._key = key
        self._turn = asyncio.Lock()
        self._starting: asyncio.Task[_Worker] | None = None
        self._ending: set[asyncio.Task[None]] = set()
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
        limit = self._deadline_s if timeout_s is None else timeout_s
        await self._running()  # the deadline is for the answer, not for the first start
        try:
            async with asyncio.timeout(limit):
                await self._turn.acquire()
        except TimeoutError:
            _refuse("The masking engine is busy with earlier answers.")
        try:
            outcome = self._ask(await self._running(), payload, limit)
        except BaseException:
            self._turn.release()
            raise
        # From here on the turn is the question's, not ours: a client that cancels leaves an answer that is still to
        # come, and nobody else may ask before it is in.
        masked = await outcome
        if isinstance(masked, Refused):
            raise masked
        return masked

    async def ready(self) -> None:
        """Wait until a worker can be asked.

        Raises:
            Refused: HOOP701, it cannot be started.
        """
        await self._running()

    async def close(self) -> None:
        """End the worker. Calls in flight are refused."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(BaseException):
                await _end(await self._starting)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _ask(self, worker: _Worker, payload: bytes, limit: float) -> asyncio.Future[Masked | Refused]:
        """Ask, and give the turn back once the answer is in or the worker has ended, whether or not anyone waits."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Masked | Refused] = loop.create_future()
        ended = False

        def settle(masked: Masked | Refused) -> None:
            self._turn.release()
            if not outcome.done():
                outcome.set_result(masked)

        def give_up(reason: str) -> None:
            nonlocal ended
            ended = True  # ending the worker makes the channel say that no answer will come, which is no news then
            late.cancel()
            self._replace(worker).add_done_callback(lambda _: settle(Refused("HOOP701", reason)))

        def told(answer: memoryview | None) -> None:
            if ended:
                return
            try:
                masked = None if answer is None else wire.read_reply(answer)
            except wire.WorkerSaidNoError as said:
                late.cancel()
                settle(Refused("HOOP701", f"The masking engine failed on these rows ({said})."))
                return
            except Exception:  # gibberish; the cause may quote it
                masked = None
            if masked is None:
                give_up("The masking engine stopped while it worked on these rows.")
            else:
                late.cancel()
                settle(masked)

        late = loop.call_later(limit, give_up, "The masking engine did not finish in time.")
        worker.channel.ask(payload, told)
        return outcome

    async def _running(self) -> _Worker:
        if self._closed:
            _refuse("The masking engine has been stopped.")
        known = self._known()
        if known is not None and not known.is_over:
            return known
        starting = self._starting
        if starting is None or starting.done():
            starting = self._begin()
            if known is not None:
                self._end_soon(known)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if not starting.cancelled():
                raise  # not the start was cancelled, but who waits for it
            _refuse("The masking engine has been stopped.")
        except Exception:
            _refuse("The masking engine cannot be started.")

    def _known(self) -> _Worker | None:
        """The worker that was started last, if its start has succeeded."""
        starting = self._starting
        if starting is None or not starting.done() or starting.cancelled() or starting.exception() is not None:
            return None
        return starting.result()

    def _begin(self) -> asyncio.Task[_Worker]:
        self._starting = asyncio.create_task(_spawn(self._key))
        self._starting.add_done_callback(_seen)
        return self._starting

    def _replace(self, worker: _Worker) -> asyncio.Task[None]:
        if not self._closed and self._known() is worker:
            self._begin()
        return self._end_soon(worker)

    def _end_soon(self, worker: _Worker) -> asyncio.Task[None]:
        ending = asyncio.create_task(_end(worker))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending


def _seen(starting: asyncio.Task[_Worker]) -> None:
    """Look at a start's exception, so that asyncio does not print it when nobody waits any more."""
    if not starting.cancelled():
        starting.exception()


async def _spawn(key: bytes) -> _Worker:
    """Start a worker and wait until it can be asked."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *_COMMAND,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=asyncio.subprocess.DEVNULL,
                env={},  # the server's holds DSNs and tokens; the worker sees every raw value and needs none
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    try:
        _, channel = await loop.create_unix_connection(Channel, sock=ours)
    except BaseException:
        ours.close()
        process.kill()
        raise
    worker = _Worker(process, channel)
    said: asyncio.Future[memoryview | None] = loop.create_future()
    try:
        async with asyncio.timeout(START_DEADLINE_S):
            channel.ask(wire.frame(key), lambda answer: None if said.done() else said.set_result(answer))
            answer = await said
            if answer is None or bytes(answer) != b"ready":
                raise ConnectionError
    except BaseException:
        await _end(worker)
        raise
    return worker


async def _end(worker: _Worker) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.process.kill()
    worker.channel.end()
    await worker.process.wait()


def _refuse(reason: str) -> NoReturn:
    # `from None`: the cause may quote what it could not read.
    raise Refused("HOOP701", reason) from None
