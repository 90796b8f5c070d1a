"""``hoop-mcp serve``."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import click

from hoop_mcp.cli.endings import ending
from hoop_mcp.cli.options import config_option
from hoop_mcp.errors import NotBuiltYet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hoop_mcp.doors.opening import Gatekeeper


@click.command()
@config_option
@click.option("--http", metavar="HOST:PORT", help="Serve Streamable HTTP instead of stdio.")
def serve(config: Path, http: str | None) -> None:
    """Serve MCP on stdio; stdout belongs to the protocol, everything else goes to stderr."""
    if http is not None:
        raise NotBuiltYet("serve --http")
    from hoop_mcp.doors import logs
    from hoop_mcp.wiring.policies import load_governance
    from hoop_mcp.wiring.settings import load_settings

    # Faults in settings, policies and catalogues are told before the handshake; what only a connection shows ends the
    # server once its gate opens.
    load_governance(load_settings(config))

    logs.configure()
    from hoop_mcp.doors.mcp import build_server
    from hoop_mcp.doors.stdio import serve_stdio

    by_hand = sys.stdin is not None and sys.stdin.isatty()  # asked now: a transport may put another input there
    asyncio.run(serve_stdio(build_server(lambda: _gate(config, by_hand=by_hand))))


@asynccontextmanager
async def _gate(config: Path, *, by_hand: bool) -> AsyncIterator[Gatekeeper]:
    # Parsers, drivers and recognizers load in a thread, so that messages are still answered meanwhile.
    await asyncio.to_thread(__import__, "hoop_mcp.wiring.serving")
    from hoop_mcp.wiring.serving import open_gate

    async with AsyncExitStack() as stack:
        try:
            gate = await stack.enter_async_context(open_gate(config))
        except Exception as error:
            code = ending(error)  # at once: waiting calls are answered before the server ends
            if by_hand:
                sys.stderr.flush()
                os._exit(code)  # a thread waits for a line that nobody types
            raise click.exceptions.Exit(code) from error
        yield gate
