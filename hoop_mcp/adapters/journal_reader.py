"""The journal's read side: never writes, never holds up the writer, and leaves nothing beside the file.

Three situations, told apart by the writer's lock on ``journal.lock``:

* a process is writing: an ordinary read-only connection (``mode=ro``), which cannot checkpoint;
* nobody is writing and nothing is left over: ``immutable=1``, so that SQLite makes no ``-wal`` or ``-shm`` file, even
  in a folder that cannot be written; each page that is read checks that the file has not changed meanwhile;
* nobody is writing and a log is left over (the writer was killed, or this is a copy of a running journal): the file and
  its log are copied into a private temporary folder and read there. That costs the journal's size in temporary space;
  what is copied is what the journal holds, sealed parts stay sealed.

Reads are short pages, each its own transaction: entries never change, so pages add up to one view, and a commit in
safe mode never waits long.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

from sqlite_utils import Database

from hoop_mcp.adapters.journal_file import (
    BUSY_SECONDS,
    ENTRY_COLUMNS,
    OBJECTS,
    SEALED_COLUMNS,
    check_format,
    sqlite,
)
from hoop_mcp.adapters.journal_keys import KeyFolder
from hoop_mcp.errors import JournalUnavailable, SealBroken
from hoop_mcp.journal.entry import parse
from hoop_mcp.journal.seal import Box, Place, open_sealed
from hoop_mcp.journal.verify import SLOTS, Damaged, EntryRow, SealedRow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from hoop_mcp.journal.entry import Entry

PAGE = 64
_ENTRY = f"SELECT {', '.join(ENTRY_COLUMNS)} FROM entry"
_SEALED = f"SELECT {', '.join(SEALED_COLUMNS)} FROM sealed"
_LEAST, _MOST = -(2**63), 2**63 - 1  # a tampered seq may be any integer SQLite stores


def lock_path(journal: Path) -> Path:
    """The file that the writer of ``journal`` keeps locked: ``journal.lock`` for ``journal.db``."""
    return journal.with_name(f"{journal.stem}.lock")


def stored_rows(db: Database, first: int = _LEAST) -> Iterator[EntryRow | SealedRow]:
    """Rows from place ``first`` to the last one when reading begins, each entry followed by its sealed rows.

    Sealed rows beyond the last entry come too, so that they show as orphans.
    """
    last, beyond = _bound(db)
    low = first
    while low <= last:
        # Fetched whole: a cursor left open while the caller works would keep a commit waiting in safe mode.
        stored = db.execute(f"{_ENTRY} WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT {PAGE}", (low, last)).fetchall()
        page: list[EntryRow | SealedRow] = [EntryRow(*row) for row in stored]
        high = _place(page[-1]) if len(page) == PAGE else last
        bounds = (_fit(low * SLOTS), _fit(high * SLOTS + SLOTS - 1))
        parts = db.execute(f"{_SEALED} WHERE id BETWEEN ? AND ? ORDER BY id", bounds).fetchall()
        yield from heapq.merge(page, (SealedRow(*row) for row in parts), key=_place)
        low = high + 1
    yield from beyond


def _bound(db: Database) -> tuple[int, list[SealedRow]]:
    with db.atomic():  # one snapshot: an entry committed between the two would look like an orphan
        found = db.execute("SELECT max(seq) FROM entry").fetchone()[0]
        last = -1 if found is None else found
        beyond = db.execute(f"{_SEALED} WHERE id >= ? ORDER BY id LIMIT {PAGE}", (_fit((last + 1) * SLOTS),)).fetchall()
    return last, [SealedRow(*row) for row in beyond]


def _fit(number: int) -> int:
    return max(_LEAST, min(number, _MOST))


def _place(row: EntryRow | SealedRow) -> int:
    return row.seq if isinstance(row, EntryRow) else row.id // SLOTS


@dataclass(frozen=True, slots=True)
class _Reach:
    """How the file is opened: the URI, the file whose change ends the reading, and the copy to remove."""

    uri: str
    live: bool
    watched: tuple[int, ...] | None = None
    copy: TemporaryDirectory[str] | None = None


class JournalReader:
    """A journal opened for reading. Use it as a context manager, from one thread at a time."""

    def __init__(self, path: Path, reach: _Reach) -> None:
        self._path = path
        self._reach = reach
        connection = sqlite.connect(reach.uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
        # A text that is not UTF-8 is a finding for verification, not the end of reading.
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        self._db = Database(connection, recursive_triggers=False, execute_plugins=False)

    @classmethod
    def open(cls, path: Path) -> JournalReader:
        """Open ``path``, live or not.

        Raises:
            JournalUnavailable: there is no such file, it cannot be read, or it is not a journal of this format.
        """
        path = path.resolve()
        if not path.is_file():
            raise JournalUnavailable(f"there is no journal at {path}")
        reach: _Reach | None = None
        try:
            reach = _reach(path)
            reader = cls(path, reach)
        except (OSError, sqlite.Error) as error:
            _discard(reach)
            raise JournalUnavailable(f"{path} cannot be read: {error}") from None
        try:
            reader._db.execute("PRAGMA trusted_schema=OFF")
            check_format(reader._db.conn, path)
        except sqlite.Error as error:
            reader.close()
            raise JournalUnavailable(f"{path} cannot be read: {error}") from None
        except BaseException:
            reader.close()
            raise
        return reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and remove what was copied."""
        self._db.close()
        _discard(self._reach)

    def rows(self) -> Iterator[EntryRow | SealedRow]:
        """All rows as stored, for :func:`hoop_mcp.journal.verify.verify`.

        Raises:
            Damaged: SQLite can read no further.
            JournalUnavailable: the file changed under a reader that had counted on its rest.
        """
        try:
            for count, row in enumerate(stored_rows(self._db)):
                if count % PAGE == 0:
                    self._check_unchanged()
                yield row
        except sqlite.Error as error:
            raise Damaged(str(error)) from None
        self._check_unchanged()

    def damage(self) -> tuple[str, ...]:
        """Faults of the file around the rows: broken pages, and anything in the schema that no rule covers.

        While a process writes in safe mode the page check is left out: it is one long read, and commits would wait for
        it until they fail. The rows are checked all the same.
        """
        try:
            mode = self._db.execute("PRAGMA journal_mode").fetchone()[0]
            faults = [] if self._reach.live and mode != "wal" else self._broken_pages()
            return (*faults, *self._foreign_objects())
        except sqlite.Error as error:
            return (f"the file is damaged: {error}",)

    def entry(self, seq: int) -> Entry | None:
        """The entry at that place, or None.

        Raises:
            NotCanonical: its bytes are not an entry's: run verify.
            JournalUnavailable: SQLite cannot read it.
        """
        with self._reading():
            row = self._db.execute("SELECT body FROM entry WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else parse(row[0])

    def tail(self, n: int, kinds: tuple[str, ...] = ()) -> tuple[Entry, ...]:
        """The last ``n`` entries (of those kinds), oldest first. Raises as :meth:`entry`."""
        where = f"kind IN ({', '.join('?' * len(kinds))})" if kinds else None
        with self._reading():
            rows = list(self._db["entry"].rows_where(where, kinds, select="body", order_by="seq DESC", limit=n))
        return tuple(parse(row["body"]) for row in reversed(rows))

    def open_part(self, seq: int, part: str, keys: Path) -> bytes:
        """Unseal one part of one entry. Whoever calls this shows personal data and should journal that.

        Args:
            seq: the entry's place.
            part: the part's name, as ``sql``.
            keys: the folder of the key file.

        Raises:
            JournalUnavailable: no such entry or part, or its key is not there.
            SealBroken: what is stored is not what the entry names, or does not open.
        """
        genesis, entry = self.entry(0), self.entry(seq)
        note = None if entry is None else entry.parts.get(part)
        if entry is None or genesis is None or note is None:
            raise JournalUnavailable(f"entry {seq} has no sealed part {part}")
        row_id = seq * SLOTS + sorted(entry.parts).index(part)
        with self._reading():
            row = self._db.execute("SELECT n, ct FROM sealed WHERE id = ?", (row_id,)).fetchone()
        if row is None:
            raise JournalUnavailable(f"the sealed part {part} of entry {seq} is no longer in the journal")
        box = Box(row[0], row[1], bytes.fromhex(note.commitment))
        if box.digest.hex() != note.digest:
            raise SealBroken("the stored part is not the one that the entry names")
        place = Place(str(genesis.body.get("origin")), seq, part)
        return open_sealed(KeyFolder.read(keys).key(note.kid), box, place)

    def _broken_pages(self) -> list[str]:
        lines = [str(row[0]) for row in self._db.execute("PRAGMA quick_check(5)")]
        return [] if lines == ["ok"] else [f"SQLite finds the file damaged: {line[:200]}" for line in lines]

    def _foreign_objects(self) -> list[str]:
        found = {(str(row[0]), str(row[1])) for row in self._db.execute("SELECT type, name FROM sqlite_schema")}
        faults = [
            f"the file holds a {kind} {name!a} that verification does not cover" for kind, name in found - OBJECTS
        ]
        faults += [f"the {kind} {name} is missing from the file" for kind, name in OBJECTS - found]
        for table, expected in (("entry", ENTRY_COLUMNS), ("sealed", SEALED_COLUMNS)):
            columns = tuple(row[1] for row in self._db.execute(f"PRAGMA table_xinfo({table})"))
            if columns != expected:
                faults.append(f"the table {table} does not have the columns of this format")
        return sorted(faults)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite.Error as error:
            raise JournalUnavailable(f"{self._path} cannot be read: {error}") from None
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        if self._reach.watched is not None and _signature(self._path) != self._reach.watched:
            raise JournalUnavailable(f"{self._path} was opened for writing while it was read: read it again")


def _reach(path: Path) -> _Reach:
    if _is_live(path):
        return _Reach(f"{path.as_uri()}?mode=ro", live=True)
    before = _signature(path)
    left_over = [log for log in (Path(f"{path}-wal"), Path(f"{path}-journal")) if log.exists() and log.stat().st_size]
    if not left_over:
        return _Reach(f"{path.as_uri()}?mode=ro&immutable=1", live=False, watched=before)
    copy = TemporaryDirectory(prefix="hoop-mcp-journal-")
    for file in (path, *left_over):
        shutil.copyfile(file, Path(copy.name) / file.name)
    if _is_live(path) or _signature(path) != before:
        copy.cleanup()
        raise JournalUnavailable(f"{path} was opened for writing while it was read: read it again")
    return _Reach(f"{(Path(copy.name) / path.name).as_uri()}?mode=rw", live=False, copy=copy)


def _discard(reach: _Reach | None) -> None:
    if reach is not None and reach.copy is not None:
        reach.copy.cleanup()


def _signature(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _is_live(path: Path) -> bool:
    """Whether a writer holds the lock. The probe itself holds it for an instant; a starting writer tries again."""
    try:
        handle = os.open(lock_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # unknown: the way that is right for a live journal is the careful one
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
