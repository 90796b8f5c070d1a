"""``flock`` by file: the kernel lets go when the last process that holds the open file is gone, however it ended."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from hoop_mcp.adapters.embedded_binaries import EmbeddedPostgresError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAUSE = 0.004  # seconds between attempts: a wait is for another's start or end, which takes tens of milliseconds


class Lock:
    """A lock file's descriptor, closed at the end; processes that inherited it keep the lock."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def take(self) -> bool:
        """Whether the exclusive lock is ours now; does not wait."""
        return attempt(self.fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.fd)


def open_lock(path: Path) -> int:
    """A descriptor of a lock file, made where it is missing; programs we run do not inherit it unless told to."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def attempt(fd: int, kind: int) -> bool:
    """Whether a lock of the kind (LOCK_SH or LOCK_EX) is ours now; does not wait."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def await_lock(fd: int, kind: int, deadline: float, what: str) -> None:
    """Wait until the lock is ours.

    Raises:
        EmbeddedPostgresError: at the deadline (monotonic seconds); ``what`` says what was waited for.
    """
    while not attempt(fd, kind):
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"waited in vain for {what}")
        time.sleep(PAUSE)


@contextlib.contextmanager
def locked(path: Path, deadline: float, what: str) -> Iterator[None]:
    """Hold the exclusive lock on a file; waits and raises as :func:`await_lock`."""
    fd = open_lock(path)
    try:
        await_lock(fd, fcntl.LOCK_EX, deadline, what)
        yield
    finally:
        os.close(fd)
