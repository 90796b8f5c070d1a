"""Behind a connection pooler: PgBouncer in transaction mode, or anything that answers with another backend each time.

What differs from a connection of our own, and what is done about it:

* Between two transactions the backend may change. So everything of one statement happens inside one transaction, its
  session settings are pinned again in each (``SET LOCAL``), and no prepared statement is kept for a later call.
* PgBouncer before 1.21 hands the names of prepared statements through: two clients meet on one backend. Names are drawn
  at random, so that nobody's statement is ever taken for another's.
* PgBouncer from 1.21 on (``max_prepared_statements``) gives statements names of its own and answers a Parse itself when
  the backend holds the same text already: no analysis, no trees, nothing to judge. So each text sent ends in a comment
  of ours that never comes twice.
* Only a few settings may be named while connecting, so nothing but ``application_name`` is.
* The process id told at connect is the pooler's invention, which is also how a pooler is noticed.

A statement costs a Parse each time here, and three round trips more than on a connection of our own.
"""

from __future__ import annotations

import secrets
from typing import Any

import asyncpg

from hoop_mcp.adapters.postgres_session import CONNECT_SECONDS, SESSION_SETTINGS, Kept, Session
from hoop_mcp.errors import Refused

STARTUP_SETTINGS = {"application_name": SESSION_SETTINGS["application_name"]}
_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class BracketedConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A connection whose every query of ours is a transaction of its own, so that Parse and Execute share a backend."""

    async def fetch(self, query: str, *args: Any, **options: Any) -> list[Any]:
        """As asyncpg's, inside a transaction."""
        async with self._bracket():
            return list(await super().fetch(query, *args, **options))

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        """As asyncpg's, inside a transaction."""
        async with self._bracket():
            return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        """As asyncpg's, inside a transaction."""
        async with self._bracket():
            return await super().fetchval(query, *args, **options)

    def _bracket(self) -> Any:
        return self.transaction(readonly=True)


class PooledSession(Session):
    """A session that holds nothing from one transaction to the next."""

    @classmethod
    async def _connect(cls, dsn: str) -> asyncpg.Connection:
        return await asyncpg.connect(
            dsn,
            connection_class=BracketedConnection,
            server_settings=STARTUP_SETTINGS,
            statement_cache_size=0,
            timeout=CONNECT_SECONDS,
            command_timeout=None,
        )

    async def _prepare_own(self, default_log_level: str) -> None:
        self._default_log_level = default_log_level

    async def begin(self, timeout_ms: int, *, parse: bool) -> None:
        """Open the transaction, pin every setting in it, and learn which backend serves it."""
        pins = ", ".join(
            f"set_config('{name}', '{value}', true)"
            for name, value in SESSION_SETTINGS.items()
            if name != "application_name"
        )
        try:
            await self._connection.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SELECT {pins}")
            # asyncpg's own, not the bracketed one: this is inside a transaction already. Needed to end a backend that
            # is stuck, and asked for before printing is on.
            pid = await asyncpg.Connection.fetchval(self._connection, "SELECT pg_backend_pid()::text")
            # Prepared before printing is on, as on a connection of our own, so that its tree is in nobody's log.
            self._rollback = await self._connection.prepare("ROLLBACK", name=self._name())
            await self._connection.execute(self._preamble(timeout_ms, parse=parse, begin=False))
        except _LOST:
            self.usable = False
            raise Refused("HOOP506", "The connection to the database was lost before the statement ran.") from None
        self.pid = int(pid)
        self._notices.clear()

    async def speak(self) -> None:
        """As on a connection of our own, but analysed now: its trees are ours and are dropped before Bind.

        Should this statement accept an invalidation that concerns the agent's, Bind analyses that anew and prints.
        """
        if self._may_hush:
            await self._connection.execute(f"SELECT set_config('log_min_messages', '{self._default_log_level}', true)")
            self._notices.clear()

    async def _hush(self) -> None:
        if self._may_hush:
            await self._connection.execute("SELECT set_config('log_min_messages', 'panic', true)")

    async def _name_there(self, prepared: Any) -> str:
        # The pooler may have given it another name. Its text is unlike any, so it is found by that; if this query makes
        # PostgreSQL analyse the statement anew, that prints its trees.
        return str(
            await asyncpg.Connection.fetchval(
                self._connection,
                "SELECT name FROM pg_catalog.pg_prepared_statements WHERE statement = $1",
                prepared.get_query(),
            )
        )

    def keep(self, kept: Kept) -> None:
        """Nothing outlives its transaction here."""

    def _unlike_any(self, sql: str) -> str:
        # On a line of its own: the agent's text may end in a comment.
        return f"{sql}\n-- {secrets.token_hex(8)}"


async def connect_for_ourselves(dsn: str) -> asyncpg.Connection:
    """A connection through a pooler for our own catalog queries."""
    return await asyncpg.connect(
        dsn,
        connection_class=BracketedConnection,
        server_settings=STARTUP_SETTINGS,
        statement_cache_size=0,
        timeout=CONNECT_SECONDS,
    )


async def greet(dsn: str) -> tuple[int, bool]:
    """The server's major version, and whether a pooler stands before it.

    Raises:
        asyncpg.PostgresError, OSError, ValueError: it cannot be reached, or the address makes no sense.
    """
    connection = await asyncpg.connect(
        dsn, server_settings=STARTUP_SETTINGS, statement_cache_size=0, timeout=CONNECT_SECONDS
    )
    try:
        async with connection.transaction(readonly=True):
            pid = await connection.fetchval("SELECT pg_backend_pid()")
        return int(connection.get_server_version().major), pid != connection.get_server_pid()
    finally:
        await connection.close(timeout=2)
