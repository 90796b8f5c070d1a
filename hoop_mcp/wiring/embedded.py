"""An embedded database ready to be governed: for the demo, for benchmarks, for whoever has no server at hand."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg

from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from hoop_mcp.errors import DatabaseUnavailable
from hoop_mcp.sql.resolved import Login
from hoop_mcp.wiring.addresses import embedded_login
from hoop_mcp.wiring.judging import install_logins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.sql.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class EmbeddedDatabase:
    """One database of an embedded server. ``admin_dsn`` is its superuser's; ``fresh`` where it was made just now."""

    name: str
    version: str
    admin_dsn: str = field(repr=False)
    fresh: bool

    async def govern(self, catalogue: Catalogue, policies: PolicySet) -> None:
        """Make the two logins and give them what policy owes."""
        await install_logins(
            self.admin_dsn,
            self.name,
            catalogue,
            policies,
            clean=embedded_login(self.name, Login.CLEAN),
            full=embedded_login(self.name, Login.FULL),
        )


@asynccontextmanager
async def embedded_database(folder: Path, name: str) -> AsyncIterator[EmbeddedDatabase]:
    """Start or join the server on *folder* and make the database if it is not there.

    Raises:
        DatabaseUnavailable: the server does not start; the message says the mend where it is known.
    """
    server = EmbeddedPostgres(folder)
    try:
        await asyncio.to_thread(server.start)
    except EmbeddedPostgresError as error:
        raise DatabaseUnavailable(str(error)) from None
    try:
        admin = await asyncpg.connect(server.dsn())
        try:
            fresh = not await admin.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name)
            if fresh:
                await admin.execute(f'CREATE DATABASE "{name}"')
        finally:
            await admin.close(timeout=5)
        yield EmbeddedDatabase(name, server.version, server.dsn(name), fresh)
    finally:
        await asyncio.to_thread(server.stop)


@contextmanager
def kept_running(folder: Path) -> Iterator[None]:
    """Keep the server on *folder* running, whoever else comes and goes.

    Raises:
        DatabaseUnavailable: the server does not start.
    """
    try:
        server = EmbeddedPostgres(folder).start()
    except EmbeddedPostgresError as error:
        raise DatabaseUnavailable(str(error)) from None
    try:
        yield
    finally:
        server.stop()


async def drop_database(folder: Path, name: str) -> None:
    """Drop a database that was only half made."""
    async with embedded_database(folder, "postgres") as server:
        admin = await asyncpg.connect(server.admin_dsn)
        try:
            await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await admin.close(timeout=5)
