"""The reading process: one statement's text in on fd 0, what it asks for (or a refusal) out on fd 1, until the input ends.

It has no environment, no arguments, no database and no credentials, and a small limit of memory: the one thing it does is
to run a parser over text that an agent wrote, for as long as its parent lets it live.
"""

from __future__ import annotations

import json
import pickle
import sys

from hoop_mcp.adapters.framed_process import LENGTH, confine, read_frame, write_all
from hoop_mcp.errors import Refused
from hoop_mcp.sql.requests import read_request

MEMORY_LIMIT = 1 << 30
"""Bytes of address space (RLIMIT_AS)."""


def main() -> None:
    """Serve until the input ends."""
    replies = confine(MEMORY_LIMIT)
    requests = sys.stdin.buffer
    while (payload := read_frame(requests)) is not None:
        answer = _answer(payload)
        write_all(replies, len(answer).to_bytes(LENGTH, "big") + answer)


def _answer(payload: bytes) -> bytes:
    try:
        return b"+" + pickle.dumps(read_request(payload.decode("utf-8", "surrogatepass")), protocol=5)
    except Refused as refused:
        return b"-" + json.dumps([refused.code, refused.reason, refused.instead]).encode()
    except (RecursionError, MemoryError):
        return b"-" + json.dumps(["HOOP207", "The statement is too large to analyse.", None]).encode()


if __name__ == "__main__":
    main()
