"""One governed connection: text in, both trees and text rows out, and nothing in between.

The rules of the road, each with a test:

* A statement is only ever sent by ``prepare(sql, name=…)`` and a cursor. ``execute()`` runs several statements, ``fetch``
  may skip Parse, and an unnamed statement is silently parsed again before Bind.
* The trees come back as LOG notices. Counted are only those with SQLSTATE 00000, from ``elog_node_display``, without a
  context: a function can raise a notice with any text, but not with that routine. Exactly one of each, or refuse.
* After Parse nothing but Bind, Execute and fetch is sent, and tree printing stays on until the last fetch: PostgreSQL
  prints its trees again if it analysed anew, and then the rows are not those that were judged.
* ``log_min_messages`` is ``panic`` only around Parse, so that the trees reach us and not the server's log, while the
  statement that runs is still logged for the customer's own audit. The small statements of ours that must run while
  printing is on were prepared before, so they print nothing.
* Every type is read and written as text: exact, and no introspection on this connection.
* After any surprise the connection is destroyed, never reused.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from hoop_mcp.adapters.postgres_errors import refusal_for
from hoop_mcp.errors import Refused
from hoop_mcp.sql.analyse import Trees, read_trees

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hoop_mcp.adapters.postgres_catalog import Known, TypeTable
    from hoop_mcp.sql.resolved import Resolved
    from hoop_mcp.sql.tree import NodeSchema
    from hoop_mcp.terms import JsonValue, Statement

CONNECT_SECONDS = 10.0
PARSE_SECONDS = 5.0
MAX_RAW_BYTES = 64 * 2**20
_KEPT_STATEMENTS = 200
_BATCH = 2_000

SESSION_SETTINGS = {
    "application_name": "hoop-mcp",
    "default_transaction_read_only": "on",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "15s",
    "client_min_messages": "warning",
    "debug_pretty_print": "off",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "row_security": "on",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmlbinary": "base64",
    "xmloption": "content",
    "jit": "off",
}
"""Pinned at connect: what is printed must not depend on the role's or the database's own settings."""

_PREAMBLE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;"
    " SELECT set_config('statement_timeout', '{timeout}', true), set_config('search_path', {path}, true),"
    " set_config('client_min_messages', 'log', true), set_config('debug_print_parse', 'on', true),"
    " set_config('debug_print_rewritten', 'on', true){hush}"
)
_HUSH = ", set_config('log_min_messages', 'panic', true)"


@dataclass(slots=True)
class Kept:
    """A statement prepared on this connection, with what was learned of it."""

    prepared: Any
    resolved: Resolved
    known: Known


@dataclass(slots=True)
class _Notices:
    """What the server said since the last clearing; filled by the driver's listener, in order, before awaits resume."""

    trees: list[tuple[str, str]] = field(default_factory=list)
    surprise: bool = False

    def hear(self, _connection: object, message: Any) -> None:
        from_printer = message.server_source_function == "elog_node_display"
        named_so = message.message in ("parse tree:", "rewritten parse tree:")
        if from_printer and named_so and message.sqlstate == "00000" and not message.context:
            self.trees.append((message.message, message.detail or ""))
        elif from_printer or named_so:
            self.surprise = True  # a tree of something nested, or something dressed up as a tree

    def clear(self) -> None:
        self.trees.clear()
        self.surprise = False


class Session:
    """One connection of one login, used by one call at a time."""

    def __init__(
        self, connection: asyncpg.Connection, notices: _Notices, search_path: tuple[str, ...], *, may_hush: bool
    ) -> None:
        self._connection = connection
        self._notices = notices
        self._path = ", ".join(_quoted(schema) for schema in search_path)
        self._may_hush = may_hush
        self._names = itertools.count(1)
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._rollback: Any = None
        self._speak: Any = None
        self.usable = True
        self.pid: int = connection.get_server_pid()

    @classmethod
    async def open(cls, dsn: str, *, search_path: tuple[str, ...], types: TypeTable) -> Session:
        """Connect, pin the settings, teach the driver every type.

        Raises:
            asyncpg.PostgresError, OSError: it could not connect; the caller says so without the DSN.
        """
        connection = await asyncpg.connect(
            dsn, server_settings=SESSION_SETTINGS, statement_cache_size=0, timeout=CONNECT_SECONDS, command_timeout=None
        )
        try:
            notices = _Notices()
            connection.add_log_listener(notices.hear)
            _text_codecs(connection, types)
            default = await connection.fetchval("SELECT current_setting('log_min_messages')")
            may_hush = await _may_hush(connection)
            session = cls(connection, notices, search_path, may_hush=may_hush)
            session._rollback = await connection.prepare("ROLLBACK", name="hoop_rollback")
            session._speak = await connection.prepare(
                f"SELECT set_config('log_min_messages', '{_word(default)}', true)", name="hoop_speak"
            )
        except BaseException:
            connection.terminate()
            raise
        return session

    def kept(self, sql: str) -> Kept | None:
        """The statement if this connection already holds it."""
        kept = self._kept.get(sql)
        if kept is not None:
            self._kept.move_to_end(sql)
        return kept

    async def begin(self, timeout_ms: int, *, parse: bool) -> None:
        """Open the transaction the call runs in; *parse* hushes the server's log until :meth:`speak`."""
        hush = _HUSH if parse and self._may_hush else ""
        path = "'" + self._path.replace("'", "''") + "'"
        try:
            await self._connection.execute(_PREAMBLE.format(timeout=timeout_ms, path=path, hush=hush))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self.usable = False
            raise Refused("HOOP506", "The connection to the database was lost before the statement ran.") from None
        self._notices.clear()

    async def parse(self, statement: Statement, schema: NodeSchema) -> tuple[Any, Trees]:
        """Parse, unexecuted; both trees of exactly this statement.

        Raises:
            Refused: what PostgreSQL refused, in our words; HOOP211 when the notices are not as they must be; HOOP502.
        """
        try:
            async with asyncio.timeout(PARSE_SECONDS):
                prepared = await self._connection.prepare(statement.sql, name=f"hoop_{next(self._names)}")
        except TimeoutError:
            self.usable = False
            raise Refused("HOOP502", "PostgreSQL took too long to analyse the statement.") from None
        except (asyncpg.InterfaceError, asyncpg.InternalClientError):
            # The driver met a type it was never taught: it appeared after this connection was opened.
            self.usable = False
            raise Refused("HOOP216", "The statement uses a type that is new here.") from None
        except (asyncpg.PostgresError, OSError, ValueError) as error:
            raise refusal_for(error, parsing=True) from None
        heard = self._notices
        if heard.surprise or [name for name, _ in heard.trees] != ["parse tree:", "rewritten parse tree:"]:
            self.usable = False
            raise Refused("HOOP216", "PostgreSQL analysed more than this statement.")
        trees = read_trees(heard.trees[0][1], heard.trees[1][1], schema)
        heard.clear()
        return prepared, trees

    async def speak(self) -> None:
        """Give the server's log its voice back before Bind, so that the customer's own audit sees what runs."""
        if self._may_hush:
            await self._speak.fetchval()

    def keep(self, kept: Kept) -> None:
        """Remember a prepared statement; the oldest goes when there are too many."""
        self._kept[kept.resolved.statement.sql] = kept
        if len(self._kept) > _KEPT_STATEMENTS:
            self._kept.popitem(last=False)

    def forget(self, sql: str) -> None:
        """Drop a statement whose meaning changed."""
        self._kept.pop(sql, None)

    async def fetch(self, kept: Kept, parameters: Sequence[str | None], limit: int) -> list[Sequence[str | None]]:
        """Bind and fetch at most *limit* rows of text.

        Raises:
            Refused: HOOP505 when PostgreSQL analysed the statement anew, HOOP507 when the rows outgrow memory, and
                whatever :func:`refusal_for` makes of a server error.
        """
        self._notices.clear()
        rows: list[Sequence[str | None]] = []
        try:
            cursor = await kept.prepared.cursor(*parameters)
            self._nothing_new()
            size = 0
            while len(rows) < limit:
                batch = await cursor.fetch(min(_BATCH, limit - len(rows)))
                self._nothing_new()
                rows += batch
                if len(batch) < _BATCH:
                    break
                size += sum(len(cell) for row in batch for cell in row if cell is not None)
                if size > MAX_RAW_BYTES:
                    raise Refused("HOOP507", "The rows hold more than this gateway reads for one answer.")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise refusal_for(error, parsing=False) from None
        return rows

    async def plan(self, statement: Statement, parameters: Sequence[str | None]) -> list[str]:
        """The planner's tree without costs; the statement itself must have been judged before."""
        try:
            prepared = await self._connection.prepare(
                f"EXPLAIN (COSTS OFF) {statement.sql}", name=f"hoop_{next(self._names)}"
            )
            cursor = await prepared.cursor(*parameters)
            return [str(row[0]) for row in await cursor.fetch(500)]
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise refusal_for(error, parsing=False) from None
        finally:
            self.usable = False  # EXPLAIN analyses its inner statement at run time: this connection has heard too much

    async def end(self) -> None:
        """Roll back, always: a read leaves nothing. The connection is unusable if even that fails."""
        try:
            async with asyncio.timeout(5):
                await self._rollback.fetch()
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self.usable = False
        if self._connection.is_closed() or self._connection.is_in_transaction():
            self.usable = False

    def destroy(self) -> None:
        """Drop the connection without another word."""
        self.usable = False
        self._connection.terminate()

    async def close(self) -> None:
        """Say goodbye."""
        self.usable = False
        await self._connection.close(timeout=2)

    def _nothing_new(self) -> None:
        if self._notices.trees or self._notices.surprise:
            self.usable = False
            raise Refused("HOOP505", "What the statement depends on changed while it ran; the rows were withheld.")


def parameter_texts(values: Sequence[JsonValue], types: Sequence[str], table: Mapping[str, bool]) -> list[str | None]:
    """JSON arguments as PostgreSQL text, one for each parameter.

    Args:
        values: what the agent sent.
        types: ``pg_type.typname`` of each parameter, as the server resolved it.
        table: which type names are arrays.

    Raises:
        Refused: HOOP214 when the numbers differ or a value has no text form for its type.
    """
    if len(values) != len(types):
        raise Refused("HOOP214", f"The statement takes {len(types)} parameters and {len(values)} came.")
    return [
        _parameter_text(value, name, is_array=table.get(name, False)) for value, name in zip(values, types, strict=True)
    ]


def _parameter_text(value: JsonValue, type_name: str, *, is_array: bool) -> str | None:
    if type_name in ("json", "jsonb"):
        return None if value is None else value if isinstance(value, str) else json.dumps(value)
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            if "\0" in value:
                raise Refused("HOOP214", "A parameter holds the character NUL, which PostgreSQL text cannot.")
            return value
        case list() if is_array:
            return _array_text(value)
        case _:
            raise Refused("HOOP214", f"A parameter is a {type(value).__name__}, and its type here is {type_name}.")


def _array_text(values: list[JsonValue]) -> str:
    cells = []
    for value in values:
        if isinstance(value, list):
            cells.append(_array_text(value))
        elif value is None:
            cells.append("NULL")
        else:
            text = _parameter_text(value, "text", is_array=False) or ""
            cells.append('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "{" + ",".join(cells) + "}"


def _text_codecs(connection: asyncpg.Connection, types: TypeTable) -> None:
    # The public set_type_codec() asks the server for each type, calls back into Python for each cell, and refuses
    # composites, domains and ranges; the table it fills takes any type by OID and knows a codec for text in C. This is the
    # one private seam of the driver in use: the version is pinned for it.
    settings = connection._protocol.get_settings()  # noqa: SLF001 - see above
    for row in types.rows.values():
        settings.set_builtin_type_codec(row.oid, row.name, row.schema, "scalar", "text", "text")


async def _may_hush(connection: asyncpg.Connection) -> bool:
    """Whether this login may set log_min_messages itself (PostgreSQL 15: GRANT SET ON PARAMETER)."""
    if connection.get_server_version().major < 15:
        return False
    return bool(
        await connection.fetchval("SELECT has_parameter_privilege(current_user, 'log_min_messages', 'SET')::text")
        == "true"
    )


def _word(text: Any) -> str:
    word = str(text)
    return word if word.isalnum() else "warning"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
