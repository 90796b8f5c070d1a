"""What the processes that work for the server have in common: frames on two descriptors, no voice, a limit of memory.

A frame is four bytes of length (big endian) and that many bytes.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

LENGTH = 4


def confine(memory: int) -> BinaryIO:
    """Take fd 1 for frames, silence whatever a library prints, and bound the process; where the frames go.

    Args:
        memory: bytes of address space (RLIMIT_AS).
    """
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    # Whatever a library prints must not land between frames, nor a value on a terminal.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle; it ends us by closing the pipe
    with contextlib.suppress(ValueError, OSError):  # not every platform lets a process limit itself
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    return replies


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next payload, None where the input has ended."""
    head = stream.read(LENGTH)
    if len(head) < LENGTH:
        return None
    size = int.from_bytes(head, "big")
    payload = stream.read(size)
    return payload if len(payload) == size else None


def write_all(stream: BinaryIO, frame: bytes) -> None:
    """Write a frame whole to an unbuffered stream."""
    left = memoryview(frame)
    while left:
        left = left[stream.write(left) :]
