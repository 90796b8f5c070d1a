"""Opens the journal: to write, by the one process that serves; to read, by anybody who may read the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoop_mcp import __version__
from hoop_mcp.adapters.journal_file import describe_library, journal_mode
from hoop_mcp.adapters.journal_reader import JournalReader
from hoop_mcp.adapters.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JournalReader", "SqliteJournal", "open_reader", "open_writer", "sqlite_mode"]


def open_writer(path: Path, keys: Path) -> SqliteJournal:
    """Open the journal for writing; blocks, and belongs before serving.

    Raises:
        JournalUnavailable: it cannot be written, verified or locked, or its keys are missing.
    """
    return SqliteJournal.open(path, keys, about=f"hoop-mcp {__version__}")


def open_reader(path: Path) -> JournalReader:
    """Open the journal for reading, live or not; use it in a ``with`` statement.

    Raises:
        JournalUnavailable: there is no journal there, or it cannot be read.
    """
    return JournalReader.open(path)


def sqlite_mode() -> str:
    """Which SQLite a journal would be written with here, in which mode, and whether that is the safe mode."""
    return describe_library(journal_mode())
