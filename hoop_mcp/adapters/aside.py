"""Analysis that could hold the event loop, done beside it.

Reading a tree and tracing it are pure Python, bounded by the size of the dump and by the tracer's own count of steps: what
goes in comes out, if late. So a thread serves (the interpreter lets others in every few milliseconds), and one is enough:
several would only take the loop's share of the processor. Whoever waits longer than the deadline is refused; the thread
ends by itself.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hoop_mcp.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

ANALYSIS_SECONDS = 6.0
"""From asking to the result, waiting for other large statements included."""

SMALL_DUMP = 48_000
"""Characters of both dumps up to which reading and tracing are done in place: some milliseconds, less than a few hops."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hoop-analysis")


async def aside(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The result of *work*, or its exception.

    Raises:
        Refused: HOOP207, it was not there in time.
    """
    future = asyncio.get_running_loop().run_in_executor(_THREAD, partial(work, *args, **kwargs))
    try:
        async with asyncio.timeout(ANALYSIS_SECONDS):
            return await future
    except TimeoutError:
        raise Refused("HOOP207", "The statement is too large to analyse: tracing it takes too long.") from None
