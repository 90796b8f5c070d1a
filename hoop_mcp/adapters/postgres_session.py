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
* A function in SQL is analysed once more when it runs, with a context; what is printed then must be, byte for byte, the
  trees of the body that was judged. Only under a function vouched for without being understood may it be anything.
* Every type is read and written as text: exact, and no introspection on this connection.
* After any surprise the connection is destroyed, never reused.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from hoop_mcp.adapters.aside import SMALL_DUMP, aside
from hoop_mcp.adapters.postgres_errors import refusal_for
from hoop_mcp.adapters.postgres_meter import Meter
from hoop_mcp.errors import Refused
from hoop_mcp.sql.analyse import Trees, read_trees
from hoop_mcp.sql.plans import MOST_LINES
from hoop_mcp.sql.requests import takes
from hoop_mcp.sql.tree import MAX_DUMP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hoop_mcp.adapters.postgres_catalog import Known, TypeTable
    from hoop_mcp.sql.resolved import Resolved
    from hoop_mcp.sql.tree import NodeSchema
    from hoop_mcp.terms import JsonValue, Statement

CONNECT_SECONDS = 10.0
PARSE_SECONDS = 5.0
MAX_RAW_BYTES = 32 * 2**20
"""Of rows, as the server sends them, for one answer; counted where they arrive."""

MAX_PARAMETERS = 262_144
MAX_PARSE_BYTES = 2 * MAX_DUMP + 2**20
_KEPT_STATEMENTS = 200
_KEPT_SIZE = 4_000_000
_KEPT_LARGEST = 400_000
_LARGE_PARSE = 1_000_000
_TRANSACTION_TIMEOUT_SINCE = 17
_TRANSACTION_GRACE_MS = 30_000
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

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; "
_PREAMBLE = (
    "SELECT set_config('statement_timeout', '{timeout}', true), set_config('search_path', {path}, true),"
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
    size: int = 0


@dataclass(slots=True)
class _Notices:
    """What the server said since the last clearing; filled by the driver's listener, in order, before awaits resume."""

    trees: list[tuple[str, str]] = field(default_factory=list)
    surprise: bool = False
    judged: frozenset[str] = frozenset()
    opaque: bool = False

    def hear(self, _connection: object, message: Any) -> None:
        from_printer = message.server_source_function == "elog_node_display"
        named_so = message.message in ("parse tree:", "rewritten parse tree:")
        if from_printer and named_so and message.sqlstate == "00000" and not message.context:
            self.trees.append((message.message, message.detail or ""))
        elif from_printer and named_so and message.context and (self.opaque or message.detail in self.judged):
            return  # a function that runs is analysed once more: it still means what was judged
        elif from_printer or named_so:
            self.surprise = True  # a tree of something nested, or something dressed up as a tree

    def clear(self) -> None:
        self.trees.clear()
        self.surprise = False
        self.judged, self.opaque = frozenset(), False

    def expect(self, known: Known) -> None:
        """Take the trees of the functions that were judged for what they are, until the next clearing."""
        self.judged, self.opaque = known.printed, known.opaque


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
        self._mark = secrets.token_hex(8)
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._kept_size = 0
        self._meter = Meter.on(connection)
        self._worn = False
        self._parsed = 0
        self._speaking: asyncio.Task[None] | None = None
        self._rollback: Any = None
        self._speak: Any = None
        self._hushing: Any = None
        self.usable = True
        self.pid: int = connection.get_server_pid()

    @classmethod
    async def open(cls, dsn: str, *, search_path: tuple[str, ...], types: TypeTable) -> Session:
        """Connect, pin the settings, teach the driver every type.

        Raises:
            asyncpg.PostgresError, OSError: it could not connect; the caller says so without the DSN.
        """
        connection = await cls._connect(dsn)
        try:
            notices = _Notices()
            connection.add_log_listener(notices.hear)
            _text_codecs(connection, types)
            default = await connection.fetchval("SELECT current_setting('log_min_messages')")
            may_hush = await _may_hush(connection)
            session = cls(connection, notices, search_path, may_hush=may_hush)
            await session._prepare_own(_word(default))
        except BaseException:
            connection.terminate()
            raise
        return session

    @classmethod
    async def _connect(cls, dsn: str) -> asyncpg.Connection:
        return await asyncpg.connect(
            dsn, server_settings=SESSION_SETTINGS, statement_cache_size=0, timeout=CONNECT_SECONDS, command_timeout=None
        )

    async def _prepare_own(self, default_log_level: str) -> None:
        """Prepare the small statements that must run while trees are printed."""
        self._rollback = await self._connection.prepare("ROLLBACK", name="hoop_rollback")
        self._speak = await self._connection.prepare(
            f"SELECT set_config('log_min_messages', '{default_log_level}', true)", name="hoop_speak"
        )
        self._hushing = await self._connection.prepare(
            "SELECT set_config('log_min_messages', 'panic', true)", name="hoop_hush"
        )

    def kept(self, sql: str) -> Kept | None:
        """The statement if this connection already holds it."""
        kept = self._kept.get(sql)
        if kept is not None:
            self._kept.move_to_end(sql)
        return kept

    async def begin(self, timeout_ms: int, *, parse: bool) -> None:
        """Open the transaction the call runs in; *parse* hushes the server's log until :meth:`speak`."""
        try:
            await self._connection.execute(self._preamble(timeout_ms, parse=parse))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self.usable = False
            raise Refused("HOOP506", "The connection to the database was lost before the statement ran.") from None
        self._notices.clear()

    def _preamble(self, timeout_ms: int, *, parse: bool, begin: bool = True) -> str:
        hush = _HUSH if parse and self._may_hush else ""
        path = "'" + self._path.replace("'", "''") + "'"
        if timeout_ms and self._connection.get_server_version().major >= _TRANSACTION_TIMEOUT_SINCE:
            # Behind every other limit: whatever hangs between two statements of one transaction ends, connection and all.
            hush += f", set_config('transaction_timeout', '{timeout_ms + _TRANSACTION_GRACE_MS}', true)"
        return (_BEGIN if begin else "") + _PREAMBLE.format(timeout=timeout_ms, path=path, hush=hush)

    async def parse(self, statement: Statement, schema: NodeSchema) -> tuple[Any, Trees]:
        """Parse, unexecuted; both trees of exactly this statement.

        Raises:
            Refused: what PostgreSQL refused, in our words; HOOP211 when the notices are not as they must be; HOOP502.
        """
        try:
            self._meter.allow(MAX_PARSE_BYTES)
            async with asyncio.timeout(PARSE_SECONDS):
                prepared = await self._connection.prepare(self._unlike_any(statement.sql), name=self._name())
        except TimeoutError:
            self.usable = False
            raise Refused("HOOP502", "PostgreSQL took too long to analyse the statement.") from None
        except (asyncpg.InterfaceError, asyncpg.InternalClientError):
            self.usable = False
            if self._meter.tripped:
                raise _too_much_to_read() from None
            # The driver met a type it was never taught: it appeared after this connection was opened.
            raise Refused("HOOP216", "The statement uses a type that is new here.") from None
        except (asyncpg.PostgresError, OSError, ValueError) as error:
            if self._meter.tripped:
                self.usable = False
                raise _too_much_to_read() from None
            raise refusal_for(error, parsing=True, sql=statement.sql) from None
        heard = self._notices
        if heard.surprise or [name for name, _ in heard.trees] != ["parse tree:", "rewritten parse tree:"]:
            self.usable = False
            raise Refused("HOOP216", "PostgreSQL analysed more than this statement.")
        (_, parsed), (_, rewritten) = heard.trees
        heard.clear()
        self._parsed = len(parsed) + len(rewritten)
        # The memory of the server's process is never smaller again: after a large statement it is not used for another.
        self._worn |= self._parsed > _LARGE_PARSE
        # Sent at the next wait, which is for the intent to be journaled: the trip costs nothing there. See spoken().
        self._speaking = asyncio.create_task(self.speak())
        if self._parsed <= SMALL_DUMP:
            return prepared, read_trees(parsed, rewritten, schema)
        return prepared, await aside(read_trees, parsed, rewritten, schema)

    async def spoken(self) -> None:
        """Wait until the server's log has its voice back; before anything else is sent, and before the end."""
        if self._speaking is not None:
            speaking, self._speaking = self._speaking, None
            try:
                await speaking
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                self.usable = False
                raise Refused("HOOP506", "The connection to the database was lost before the statement ran.") from None

    async def speak(self) -> None:
        """Give the server's log its voice back before Bind, so that the customer's own audit sees what runs."""
        if self._may_hush:
            await self._speak.fetchval()

    async def _hush(self) -> None:
        """Take the server's log its voice again, around a Parse of ours whose tree holds values."""
        if self._may_hush:
            await self._hushing.fetchval()

    async def _name_there(self, prepared: Any) -> str:
        """What the server calls a prepared statement."""
        return str(prepared.get_name())

    @property
    def large(self) -> bool:
        """Whether the last Parse printed so much that its trace should not hold the event loop."""
        return self._parsed > SMALL_DUMP

    def keep(self, kept: Kept) -> None:
        """Remember a prepared statement; the oldest go when there are too many, or they are too large together.

        The size of the dump stands for what the statement weighs, here and in the server's process.
        """
        kept.size = self._parsed
        self.forget(kept.resolved.statement.sql)
        if kept.size > _KEPT_LARGEST:
            return
        self._kept[kept.resolved.statement.sql] = kept
        self._kept_size += kept.size
        while len(self._kept) > _KEPT_STATEMENTS or self._kept_size > _KEPT_SIZE:
            self._kept_size -= self._kept.popitem(last=False)[1].size

    def forget(self, sql: str) -> None:
        """Drop a statement whose meaning changed."""
        kept = self._kept.pop(sql, None)
        if kept is not None:
            self._kept_size -= kept.size

    async def fetch(
        self,
        kept: Kept,
        parameters: Sequence[str | None],
        limit: int,
        wanted: Callable[[Sequence[str | None]], bool] | None = None,
    ) -> list[Sequence[str | None]]:
        """Bind and fetch at most *limit* rows of text, or of those that are *wanted*, however many lie between.

        Raises:
            Refused: HOOP505 when PostgreSQL analysed the statement anew, HOOP507 when the rows outgrow memory, and
                whatever :func:`refusal_for` makes of a server error.
        """
        self._notices.clear()
        self._notices.expect(kept.known)
        self._meter.allow(MAX_RAW_BYTES)
        rows: list[Sequence[str | None]] = []
        try:
            cursor = await kept.prepared.cursor(*parameters)
            self._nothing_new()
            size = 0
            while len(rows) < limit:
                batch = await cursor.fetch(_BATCH if wanted is not None else min(_BATCH, limit - len(rows)))
                self._nothing_new()
                more = len(batch) == _BATCH
                if wanted is not None:
                    # What is not wanted must not be told of by a cap either: only what is kept adds up.
                    batch = [row for row in batch if wanted(row)]
                    size += sum(len(cell) for row in batch for cell in row if cell is not None)
                    self._meter.allow(MAX_RAW_BYTES - min(size, MAX_RAW_BYTES))
                rows += batch
                if not more:
                    break
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if self._meter.tripped:
                self.usable = False
                raise Refused("HOOP507", "The rows hold more than this gateway reads for one answer.") from None
            raise refusal_for(error, parsing=False) from None
        return rows[:limit]

    async def plan(self, kept: Kept, parameters: Sequence[str | None], options: str) -> list[str]:
        """The plan of the very statement that was judged, in lines; *options* are ours (:class:`PlanForm`).

        EXPLAIN of a text would analyse that text anew and never show the tree. EXPLAIN EXECUTE takes the statement
        prepared before, and PostgreSQL prints its trees again if it has to analyse that anew: as at Bind.
        The values stand in the text, since EXECUTE takes no parameters from outside.

        Raises:
            Refused: as :meth:`fetch`.
        """
        values = ", ".join("NULL" if value is None else _literal(value) for value in parameters)
        try:
            self._meter.allow(MAX_RAW_BYTES)
            await self._hush()  # the tree of our EXPLAIN holds those values
            name = _quoted(await self._name_there(kept.prepared))
            self._notices.clear()
            sql = f"EXPLAIN ({options}) EXECUTE {name}{f' ({values})' if parameters else ''}"
            prepared = await self._connection.prepare(self._unlike_any(sql), name=self._name())
            if [told for told, _ in self._notices.trees] != ["parse tree:", "rewritten parse tree:"]:
                self.usable = False
                raise Refused("HOOP505", "PostgreSQL analysed more than the EXPLAIN.")
            await self.speak()
            self._notices.clear()
            self._notices.expect(kept.known)
            cursor = await prepared.cursor()
            lines = [str(row[0]) for row in await cursor.fetch(MOST_LINES)]
            self._nothing_new()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise refusal_for(error, parsing=False) from None
        return lines

    async def show(self, setting: str) -> str:
        """The value of a setting of the session; *setting* is a name of ours (:data:`hoop_mcp.sql.requests.SHOWN`)."""
        try:
            prepared = await self._connection.prepare(self._unlike_any(f"SHOW {setting}"), name=self._name())
            await self.speak()
            cursor = await prepared.cursor()
            return str((await cursor.fetch(1))[0][0])
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if getattr(error, "sqlstate", None) == "42704":
                raise Refused("HOOP220", "This version of PostgreSQL has no such setting.", "Leave it out.") from None
            raise refusal_for(error, parsing=False) from None

    async def end(self) -> None:
        """Roll back, always: a read leaves nothing. The connection is unusable if even that fails."""
        try:
            async with asyncio.timeout(5):
                await self._roll_back()
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self.usable = False
        if self._worn or self._connection.is_closed() or self._connection.is_in_transaction():
            self.usable = False

    async def _roll_back(self) -> None:
        await self._rollback.fetch()

    def _unlike_any(self, sql: str) -> str:
        """The text to send. Here the agent's own, byte for byte; behind a pooler with a comment of ours at its end."""
        return sql

    def _name(self) -> str:
        """A name nobody can guess: behind a pooler others may reach the same backend."""
        return f"hoop_{self._mark}_{next(self._names)}"

    def destroy(self) -> None:
        """Drop the connection without another word."""
        self.usable = False
        if self._speaking is not None:
            self._speaking.cancel()
            self._speaking.add_done_callback(seen)
        self._connection.terminate()

    async def close(self) -> None:
        """Say goodbye."""
        self.usable = False
        await self._connection.close(timeout=2)

    def _nothing_new(self) -> None:
        if self._notices.trees or self._notices.surprise:
            self.usable = False
            raise Refused("HOOP505", "What the statement depends on changed while it ran; the rows were withheld.")


def seen(task: asyncio.Task[None]) -> None:
    """Look at how a task ended that nobody waits for any more, so that asyncio does not print it."""
    if not task.cancelled():
        task.exception()


def _too_much_to_read() -> Refused:
    return Refused("HOOP207", "PostgreSQL's analysis of the statement is too large to read.")


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
        raise Refused("HOOP214", takes(len(types), len(values)))
    texts = [
        _parameter_text(value, name, is_array=table.get(name, False)) for value, name in zip(values, types, strict=True)
    ]
    if sum(len(text) for text in texts if text is not None) > MAX_PARAMETERS:  # a statement may repeat them many times
        raise Refused("HOOP214", f"The parameters hold more than {MAX_PARAMETERS:,} characters together.")
    return texts


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


def _literal(text: str) -> str:
    # Doubling is all there is to it while standard_conforming_strings is on, which is pinned: a backslash is itself.
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
