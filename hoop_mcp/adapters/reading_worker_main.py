"""The reading process: one statement's text in on fd 0, what it asks for (or a refusal) out on fd 1, until the input ends.

It has no environment, no arguments, no database and no credentials, and a small limit of memory: the one thing it does is
to run a parser over text that an agent wrote, for as long as its parent lets it live.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
from typing import TYPE_CHECKING, Any

from hoop_mcp.adapters.framed_process import LENGTH, confine, read_frame, write_all
from hoop_mcp.errors import Refused
from hoop_mcp.sql.requests import read_request
from hoop_mcp.terms import Verb

if TYPE_CHECKING:
    from hoop_mcp.terms import Request

MEMORY_LIMIT = 1 << 30
"""Bytes of address space (RLIMIT_AS)."""


def main() -> None:
    """Serve until the input ends."""
    replies = confine(MEMORY_LIMIT)
    requests = sys.stdin.buffer
    while (payload := read_frame(requests)) is not None:
        answer = _answer(payload)
        write_all(replies, len(answer).to_bytes(LENGTH, "big") + answer)


def packed(request: Request) -> bytes:
    """What the server unpacks, made of nothing but our terms whichever Python wrote it."""
    written = io.BytesIO()
    _Pickler(written, protocol=5).dump(request)
    return written.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        # Python 3.11.0 to 3.11.3 writes a member of an enumeration as a call of getattr, which the server refuses.
        return (Verb, (int(obj),)) if isinstance(obj, Verb) else NotImplemented


def _answer(payload: bytes) -> bytes:
    try:
        return b"+" + packed(read_request(payload.decode("utf-8", "surrogatepass")))
    except Refused as refused:
        return b"-" + json.dumps([refused.code, refused.reason, refused.instead]).encode()
    except (RecursionError, MemoryError):
        return b"-" + json.dumps(["HOOP207", "The statement is too large to analyse.", None]).encode()


if __name__ == "__main__":
    main()
