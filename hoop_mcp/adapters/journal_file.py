"""The journal's file: which SQLite, in which mode, with which tables.

**One SQLite library.** Two copies of SQLite in one process cancel each other's POSIX locks on the same file, so this
module takes whichever library sqlite-utils itself took (pysqlite3 where it is installed, else the standard library's)
and nothing in the process opens a journal by another way.

**Safe mode.** SQLite 3.7.0 to 3.51.2 can corrupt a database in WAL mode when one connection commits while another
one checkpoints and the log is reset. Where the library is one of these, the journal uses a rollback journal that is
truncated after each commit: the faulty code is then not on the path at all, not even for a backup tool that would
checkpoint a live log. The price is two or three more syncs for each commit, and readers that must be brief, because a
commit waits for them (see ``journal_reader``). The direction is deliberate: a slower journal is an inconvenience, a
corrupt one is no journal.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sqlite_utils import Database

from hoop_mcp.errors import JournalUnavailable

if TYPE_CHECKING:
    import sqlite3 as sqlite
    from pathlib import Path
else:
    from sqlite_utils.utils import sqlite3 as sqlite

__all__ = [
    "BUSY_SECONDS",
    "ENTRY_COLUMNS",
    "OBJECTS",
    "SEALED_COLUMNS",
    "check_format",
    "connect_writer",
    "describe_library",
    "journal_mode",
    "sqlite",
]

APPLICATION_ID = 0x686F6F70  # "hoop", where file(1) and the reader look
FORMAT = 1
FIRST_MENDED = (3, 51, 3)
BUSY_SECONDS = 5.0

ENTRY_COLUMNS = ("seq", "ts", "kind", "session", "call", "decision", "body", "leaf")
SEALED_COLUMNS = ("id", "seq", "part", "kid", "n", "ct")
TRIGGERS = {
    f"{table}_refuses_{verb.lower()}": (
        f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
    )
    for table in ("entry", "sealed")
    for verb in ("UPDATE", "DELETE")
}
OBJECTS = frozenset({("table", "entry"), ("table", "sealed")} | {("trigger", name) for name in TRIGGERS})
"""Everything a journal's schema holds; anything else would be content that verification does not cover."""


def journal_mode(version: tuple[int, ...] | None = None) -> str:
    """``wal``, or ``truncate`` where the SQLite library has the WAL-reset bug."""
    found = sqlite.sqlite_version_info if version is None else version
    return "wal" if found >= FIRST_MENDED else "truncate"


def describe_library(mode: str) -> str:
    """One phrase for ``doctor`` and for the entry that each start writes."""
    note = "" if mode == "wal" else ", safe mode: no write-ahead log, because SQLite before 3.51.3 can corrupt it"
    return f"SQLite {sqlite.sqlite_version}, {mode}, synchronous=FULL{note}"


def connect_writer(path: Path, mode: str) -> sqlite.Connection:
    """Open the journal's one writing connection, making the file and its tables where there are none.

    It belongs to the writer's thread. Each COMMIT is durable when it returns (``synchronous=FULL``).

    Raises:
        JournalUnavailable: the file is something else than a journal, or the mode cannot be had.
        sqlite.Error: SQLite cannot open or write it.
    """
    # Made here and not by SQLite, so that it and the files SQLite puts beside it are never readable by others.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite.connect(
        str(path), timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=32
    )
    try:
        _prepare(connection, path, mode)
    except BaseException:
        connection.close()
        raise
    return connection


def check_format(connection: sqlite.Connection, path: Path) -> None:
    """Refuse a file that is not a journal of this format.

    Raises:
        JournalUnavailable: another application's file, or a later format.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise JournalUnavailable(f"{path} is not a hoop-mcp journal")
    if version != FORMAT:
        raise JournalUnavailable(f"{path} is a journal of format {version}; this program knows format {FORMAT}")


def _prepare(connection: sqlite.Connection, path: Path, mode: str) -> None:
    connection.execute("PRAGMA trusted_schema=OFF")  # a tampered file's schema must not call functions
    connection.execute("PRAGMA recursive_triggers=ON")  # so that REPLACE meets the DELETE trigger too
    connection.execute("PRAGMA mmap_size=0")  # a mapped page could change under us, and an I/O error would be a signal
    if connection.execute("PRAGMA schema_version").fetchone()[0] == 0:
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    check = connection.execute("PRAGMA application_id").fetchone()[0]
    if check != APPLICATION_ID:
        raise JournalUnavailable(f"{path} is not a hoop-mcp journal")
    got = connection.execute(f"PRAGMA journal_mode={mode}").fetchone()[0]
    if got != mode:
        raise JournalUnavailable(f"{path} cannot be put into journal mode {mode}: another program holds it")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    if connection.execute("PRAGMA schema_version").fetchone()[0] == 0:
        _create(Database(connection, execute_plugins=False))
    check_format(connection, path)


def _create(db: Database) -> None:
    with db.atomic():
        db.table("entry").create(
            {"seq": int, "ts": int, "kind": str, "session": str, "call": str, "decision": str}
            | {"body": bytes, "leaf": bytes},
            pk="seq",
            not_null={"ts", "kind", "body", "leaf"},
            strict=True,
        )
        # No second index: verification then reads every copy of every value there is.
        db.table("sealed").create(
            {"id": int, "seq": int, "part": str, "kid": str, "n": bytes, "ct": bytes},
            pk="id",
            not_null={"seq", "part", "kid", "n", "ct"},
            strict=True,
        )
        for statement in TRIGGERS.values():
            db.execute(statement)
        db.execute(f"PRAGMA user_version={FORMAT}")
