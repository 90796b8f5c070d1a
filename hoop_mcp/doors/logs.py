"""What the server says on stderr: one line per event, and never an argument or a value.

Our own loggers write sentences that are made for it. A foreign library's sentence is not: parsers quote the SQL,
drivers quote the row, the event loop prints the exception's text. So a foreign record keeps its level, its logger
and the place it came from, and loses its words; an exception keeps its class and the place it was raised. That
costs some comfort when something breaks, on purpose: a log file is read by more people than the database is.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

OURS = "hoop_mcp"
_PINNED = ("asyncio", "asyncpg", "mcp", "mcp_types", "presidio-analyzer", "py.warnings", "sqlglot")


def place(traceback: TracebackType | None) -> str:
    """``file.py:line`` where an exception was raised; no path, no source line, no local."""
    if traceback is None:
        return "?"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"


class LineFormatter(logging.Formatter):
    """One line per record, in the terms of the module docstring. Times are UTC."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The whole record on one line."""
        if record.name.split(".", 1)[0] == OURS:
            said = "".join(letter if letter.isprintable() else "?" for letter in record.getMessage())
        else:
            said = f"said something at {record.module}:{record.lineno}"
        if record.exc_info and record.exc_info[0] is not None:
            said += f" ({record.exc_info[0].__name__} at {place(record.exc_info[2])})"
        return f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%SZ')} {record.levelname.lower()} {record.name}: {said}"


def configure() -> None:
    """Send every log line of this process to stderr, and keep tracebacks out of it.

    Must run before an MCPServer exists: its constructor configures the root logger unless somebody has, with tables
    eighty columns wide when rich is installed. Levels are pinned, because the SDK's debug lines print whole messages.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger(OURS).setLevel(logging.INFO)
    for name in _PINNED:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a failing handler would print the record's arguments
    log = logging.getLogger(__name__)

    def thread_died(died: threading.ExceptHookArgs) -> None:
        log.error("a thread ended: %s at %s", died.exc_type.__name__, place(died.exc_traceback))

    def unraisable(ignored: sys.UnraisableHookArgs) -> None:
        log.error("an exception was ignored: %s at %s", ignored.exc_type.__name__, place(ignored.exc_traceback))

    threading.excepthook = thread_died
    sys.unraisablehook = unraisable


def ensure() -> None:
    """Configure unless someone has: a program that embeds the server keeps its own logging."""
    if not logging.getLogger().handlers:
        configure()
