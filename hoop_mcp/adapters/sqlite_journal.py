"""The journal's writer: one thread, one connection, durable before it says so.

A record waits in a queue; the thread takes all that wait, seals, chains and hashes them, commits once, and only then
resolves them. So the cost of a sync is shared by whoever came meanwhile, and the order of the chain is the order of
the queue.

What holds, whatever happens:

* HOOP invariant: seal before put. A sealed part reaches SQLite, and so any file, only as ciphertext.
* HOOP invariant: a receipt means durable. It is given after COMMIT under ``synchronous=FULL``, from the file that lies
  under the journal's name.
* A COMMIT that raises may have stored its entries all the same. So after any error the batch and everything waiting
  fails, the connection is given up, and writing goes on only from a reopened file whose end verifies and still holds
  the last acknowledged entry; until then every record raises. The chain may then hold entries that nobody was
  promised; an ``alarm`` entry says so. The direction is deliberate: an entry too many can be
  explained, one too few cannot.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hoop_mcp.adapters.journal_chain import Batch, Head, end_of_chain
from hoop_mcp.adapters.journal_file import connect_writer, describe_library, journal_mode, sqlite
from hoop_mcp.adapters.journal_keys import KeyFolder
from hoop_mcp.adapters.journal_reader import lock_path
from hoop_mcp.errors import JournalHeld, JournalUnavailable, NotCanonical
from hoop_mcp.journal.entry import Moment
from hoop_mcp.terms import Event, EventKind, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hoop_mcp.terms import JsonValue

    Future: TypeAlias = asyncio.Future[Receipt]

BATCH = 512
_IDLE_SECONDS = 1.0
_LOCK_SECONDS = 1.0
_INSERT_ENTRY = "INSERT INTO entry (seq, ts, kind, session, call, decision, body, leaf) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_SEALED = "INSERT INTO sealed (id, seq, part, kid, n, ct) VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A record on its way: who waits for it, and where. The start entry has nobody."""

    event: Event
    loop: asyncio.AbstractEventLoop
    future: Future


class SqliteJournal:
    """An open journal. Made by :meth:`open`; :meth:`record` from any event loop; :meth:`close` at the end."""

    def __init__(
        self,
        path: Path,
        keys: KeyFolder,
        origin: str,
        *,
        clock: Callable[[], int],
        connect: Callable[[Path, str], sqlite.Connection],
        mode: str,
    ) -> None:
        self._path = path
        self._keys = keys
        self._origin = origin
        self._clock = clock
        self._connect = connect
        self._mode = mode
        self._boot = secrets.token_hex(8)
        self._head = Head()
        self._connection: sqlite.Connection | None = None
        self._files: tuple[tuple[int, int], ...] = ()
        self._announced: frozenset[str] = frozenset()
        self._dirty = False
        self._unpromised = 0
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._door = threading.Lock()
        self._closed = False
        self._lock_handle = -1
        self._thread = threading.Thread(target=self._run, name="hoop-mcp-journal", daemon=True)

    @classmethod
    def open(
        cls,
        path: Path,
        keys: Path,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        connect: Callable[[Path, str], sqlite.Connection] = connect_writer,
        mode: str | None = None,
        about: str = "",
    ) -> SqliteJournal:
        """Open ``path`` for writing, making it and its keys at the first start, and write the ``boot`` entry. Blocks.

        Args:
            path: the journal's file; its folder exists.
            keys: the folder of the key file.
            clock: wall clock in microseconds since 1970 UTC.
            connect: opens the writing connection to a path in a journal mode.
            mode: ``wal`` or ``truncate``; by default what this SQLite does safely.
            about: the program's version, for the boot entry.

        Raises:
            JournalUnavailable: another process writes it, its end does not verify, its keys are missing although it
                has entries, or it cannot be written.
        """
        path = path.resolve()
        handle = _lock(path)
        connection: sqlite.Connection | None = None
        try:
            mode = journal_mode() if mode is None else mode
            connection = connect(path, mode)
            head, origin = end_of_chain(connection)
            if head.seq and not KeyFolder.exists(keys):
                raise JournalUnavailable(
                    f"{path} has entries, and there is no key file in {keys}: bring the keys back, "
                    "or name another path to begin a new journal"
                )
            journal = cls(path, KeyFolder.make(keys), origin, clock=clock, connect=connect, mode=mode)
            journal._start(connection, head, handle, about)
        except (OSError, sqlite.Error) as error:
            _give_up(connection, handle)
            raise JournalUnavailable(f"{path} cannot be opened for writing: {error}") from None
        except BaseException:
            _give_up(connection, handle)
            raise
        return journal

    @property
    def sqlite_mode(self) -> str:
        """Which SQLite in which mode, and whether that is the safe mode: one phrase, for ``doctor``."""
        return describe_library(self._mode)

    @property
    def available(self) -> bool:
        """Whether the last thing the journal did succeeded; False until it has mended itself, and once closed."""
        return not self._closed and self._connection is not None

    async def record(self, event: Event) -> Receipt:
        """Append one entry; it is durable when this returns. Cancelling the wait does not take the entry back.

        Raises:
            JournalUnavailable: it is not known to be durable. It may be in the journal all the same.
            NotCanonical: the event has no canonical bytes; nothing was written.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(event, loop, loop.create_future())
        with self._door:
            if self._closed:
                raise JournalUnavailable("the journal is closed")
            self._queue.put(waiting)
        return await waiting.future

    def close(self) -> None:
        """Write what waits, close the file and let go of the lock. Blocks; may be called more than once."""
        with self._door:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()
        if self._lock_handle >= 0:
            os.close(self._lock_handle)
            self._lock_handle = -1

    # Before serving, on the caller's thread.

    def _start(self, connection: sqlite.Connection, head: Head, handle: int, about: str) -> None:
        self._head = head
        clear: dict[str, JsonValue] = {
            "origin": self._origin,
            "keys": self._keys.fingerprint,
            "sqlite": self.sqlite_mode,
        }
        boot = Event(EventKind.BOOT, clear | ({"program": about} if about else {}))
        self._write(connection, boot)
        _settle_log(connection)  # so that the file alone is a journal from the first moment on
        self._connection = connection
        self._files = self._identities()
        self._lock_handle = handle
        self._thread.start()

    # On the writer's thread.

    def _run(self) -> None:
        error = JournalUnavailable("the journal is closed")
        try:
            while (batch := self._take()) is not None:
                if batch:
                    self._serve(batch)
                elif self._connection is not None:
                    self._tidy(self._connection)
        except BaseException:
            error = JournalUnavailable("the journal's writer has stopped")
            raise
        finally:
            with self._door:
                self._closed = True
            self._fail(self._drain(), str(error))
            if self._connection is not None:
                _close(self._connection)
            self._connection = None

    def _take(self) -> list[_Waiting] | None:
        """What waits, up to a batch; an empty list after a quiet second with work for it; None at the end."""
        try:
            first = self._queue.get(timeout=_IDLE_SECONDS if self._dirty else None)
        except queue.Empty:
            return []
        batch: list[_Waiting] = []
        item = first
        try:
            while item is not None and len(batch) < BATCH:
                batch.append(item)
                if len(batch) < BATCH:
                    item = self._queue.get_nowait()
        except queue.Empty:
            return batch
        if item is None:
            if not batch:
                return None
            self._queue.put(None)  # nothing can come after it: the door is closed
        return batch

    def _serve(self, waiting: list[_Waiting]) -> None:
        try:
            connection = self._connection or self._mend()
            batch = Batch(self._head, self._origin, self._keys, self._announced)
            receipts: list[tuple[_Waiting, Receipt]] = []
            for item in waiting:
                try:
                    receipts.append((item, batch.add(item.event, self._moment())))
                except NotCanonical as error:
                    # One caller's mistake: it alone is told, the others' entries are unaffected.
                    _resolve([(item, NotCanonical(str(error)))])
            self._commit(connection, batch)
        except Exception as error:
            self._poison(waiting, error)
            return
        _resolve(receipts)

    def _write(self, connection: sqlite.Connection, event: Event) -> None:
        batch = Batch(self._head, self._origin, self._keys, self._announced)
        batch.add(event, self._moment())
        self._commit(connection, batch)

    def _commit(self, connection: sqlite.Connection, batch: Batch) -> None:
        connection.execute("BEGIN IMMEDIATE")
        last = connection.execute("SELECT seq, leaf FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
        if (last or (-1, bytes(32))) != (self._head.seq - 1, bytes.fromhex(self._head.prev)):
            raise JournalUnavailable("the journal no longer ends with the last acknowledged entry")
        connection.executemany(_INSERT_ENTRY, batch.entries)
        if batch.sealed:
            connection.executemany(_INSERT_SEALED, batch.sealed)
        connection.execute("COMMIT")
        if self._files and self._identities() != self._files:
            # Moved, replaced, or its log deleted: what was just stored is not in the file that anybody will read.
            raise JournalUnavailable("another file lies under the journal's name")
        self._head = batch.head
        self._announced = batch.announced
        self._dirty = True

    def _poison(self, waiting: list[_Waiting], error: Exception) -> None:
        if self._connection is not None:
            _close(self._connection)
        self._connection = None
        waiting = [*waiting, *self._drain()]
        self._unpromised += len(waiting)
        self._fail(waiting, f"the journal could not commit: {error}")

    def _mend(self) -> sqlite.Connection:
        """Open again after an error, or raise; the writer goes on only from an end that it can vouch for."""
        if self._identities()[:1] != self._files[:1]:
            # Not even opened: what is left of the old file's log would be taken for this one's.
            raise JournalUnavailable("another file lies under the journal's name: put the old one back, or start again")
        connection = self._connect(self._path, self._mode)
        try:
            # After a failed sync the kernel may show pages from memory that never reached the disk. Moving the whole
            # log into the file and syncing that leaves nothing which only memory holds.
            if not _settle_log(connection):
                raise JournalUnavailable("a reader keeps the journal's log from being settled")
            known = self._head
            self._head, _ = end_of_chain(connection, known)
            stored = self._head.seq - known.seq
            self._files = self._identities()
            self._announced = frozenset()
            alarm: dict[str, JsonValue] = {
                "alarm": "journal.reopened",
                "failed": self._unpromised,
                "stored_unacknowledged": stored,
            }
            self._write(connection, Event(EventKind.ALARM, alarm))
        except BaseException:
            _close(connection)
            raise
        self._connection = connection
        self._unpromised = 0
        return connection

    def _tidy(self, connection: sqlite.Connection) -> None:
        """In a quiet moment move the log into the file, without waiting for anybody."""
        self._dirty = False
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite.Error as error:
            self._poison([], error)

    def _moment(self) -> Moment:
        return Moment(self._clock(), time.monotonic_ns() // 1000, self._boot)

    def _identities(self) -> tuple[tuple[int, int], ...]:
        names = [self._path, Path(f"{self._path}-wal")] if self._mode == "wal" else [self._path]
        return tuple(_identity(name) for name in names)

    def _drain(self) -> list[_Waiting]:
        waiting: list[_Waiting] = []
        ended = False
        try:
            while True:
                item = self._queue.get_nowait()
                if item is None:
                    ended = True
                else:
                    waiting.append(item)
        except queue.Empty:
            if ended:
                self._queue.put(None)
        return waiting

    def _fail(self, waiting: Iterable[_Waiting], why: str) -> None:
        _resolve([(item, JournalUnavailable(why)) for item in waiting])


def _settle_log(connection: sqlite.Connection) -> bool:
    """Move the whole write-ahead log into the file; False if a reader is in the way. Nothing to do in safe mode."""
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


def _resolve(outcomes: Iterable[tuple[_Waiting, Receipt | Exception]]) -> None:
    """Hand outcomes to the loops that wait, one call for each loop; a loop that is gone needs none."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Future, Receipt | Exception]]] = {}
    for item, outcome in outcomes:
        by_loop.setdefault(item.loop, []).append((item.future, outcome))
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_futures, pairs)
        except RuntimeError:
            continue


def _settle_futures(pairs: list[tuple[Future, Receipt | Exception]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue  # the wait was cancelled; the entry stands
        if isinstance(outcome, Receipt):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)


def _lock(path: Path) -> int:
    """Take the journal's lock for the life of this process; the kernel lets go of it however the process ends."""
    if not path.parent.is_dir():
        raise JournalUnavailable(f"the folder {path.parent} does not exist")
    try:
        handle = os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalUnavailable(f"{path} cannot be opened for writing: {error}") from None
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                os.close(handle)
                raise JournalHeld(
                    f"another hoop-mcp server holds the journal {path}: one journal has one writer"
                ) from None
            time.sleep(0.02)  # a reader's probe holds it for an instant
        else:
            return handle


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (-1, -1)
    return (found.st_dev, found.st_ino)


def _close(connection: sqlite.Connection) -> None:
    try:
        connection.close()
    except sqlite.Error:
        return  # given up in any case; what it left is judged when the file is opened again


def _give_up(connection: sqlite.Connection | None, handle: int) -> None:
    if connection is not None:
        _close(connection)
    os.close(handle)
