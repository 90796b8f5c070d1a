"""Answers as bytes: what was sealed is what is sent.

The gate hands over an answer that is already JSON. Parsing it only for the SDK to copy, check and print it again
costs more than the rest of the door at 10,000 rows. A transport of ours can instead put the very bytes into the
finished message: it installs :func:`splicing` as the innermost middleware, the door leaves the bytes with
:func:`hand_over`, and the transport prints the fragment. Other transports install nothing and get plain values.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

_left: ContextVar[list[bytes] | None] = ContextVar("hoop_mcp_left_bytes", default=None)


def add_member(body: bytes, name: bytes, value: bytes) -> bytes:
    """``body``, a JSON object, with one more member at its end; ``name`` needs no escaping.

    Raises:
        ValueError: ``body`` is not the text of an object on one line. The gate's serialiser escapes line ends; a raw
            one would tear the message in two on the wire.
    """
    if body[:1] != b"{" or body[-1:] != b"}" or b"\n" in body:
        raise ValueError("an answer must be one JSON object on one line")
    comma = b"" if body == b"{}" else b","
    return b"".join((body[:-1], comma, b'"', name, b'":', value, b"}"))


def hand_over(body: bytes) -> bool:
    """Leave ``body`` for the transport, if it takes bytes; says whether it does."""
    left = _left.get()
    if left is None:
        return False
    left.append(body)
    return True


async def splicing(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware: put the bytes a tool left behind into its finished result."""
    if ctx.method != "tools/call":
        return await call_next(ctx)
    left: list[bytes] = []
    before = _left.set(left)
    try:
        result = await call_next(ctx)
    finally:
        _left.reset(before)
    if left and isinstance(result, dict):
        result["structuredContent"] = orjson.Fragment(left[0])
    return result
