"""The reading process: one statement's text in on fd 0, what it asks for (or a refusal) out on fd 1, until the input ends.

It has no environment, no arguments, no database and no credentials, and a small limit of memory: the one thing it does is
to run a parser over text that an agent wrote, for as long as its parent lets it live.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import signal
import sys
from typing import BinaryIO

from hoop_mcp.errors import Refused
from hoop_mcp.sql.requests import read_request

LENGTH = 4
MEMORY_LIMIT = 1 << 30
"""Bytes of address space (RLIMIT_AS)."""


def main() -> None:
    """Serve until the input ends."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle; it ends us by closing the pipe
    with contextlib.suppress(ValueError, OSError):  # not every platform lets a process limit itself
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    requests = sys.stdin.buffer
    while (payload := _read(requests)) is not None:
        _write(replies, _answer(payload))


def _answer(payload: bytes) -> bytes:
    try:
        return b"+" + pickle.dumps(read_request(payload.decode("utf-8", "surrogatepass")), protocol=5)
    except Refused as refused:
        return b"-" + json.dumps([refused.code, refused.reason, refused.instead]).encode()
    except (RecursionError, MemoryError):
        return b"-" + json.dumps(["HOOP207", "The statement is too large to analyse.", None]).encode()


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(LENGTH)
    if len(head) < LENGTH:
        return None
    size = int.from_bytes(head, "big")
    payload = stream.read(size)
    return payload if len(payload) == size else None


def _write(stream: BinaryIO, payload: bytes) -> None:
    left = memoryview(len(payload).to_bytes(LENGTH, "big") + payload)
    while left:
        left = left[stream.write(left) :]


if __name__ == "__main__":
    main()
