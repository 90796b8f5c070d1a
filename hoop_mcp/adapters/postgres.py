"""A governed PostgreSQL: two logins, a lease for one call, and the catalogs watched from the side.

A lease is one transaction of one login. It resolves (Parse, both trees, facts), it executes what it resolved, and it says
whether anything the statement rests on changed meanwhile. It always ends in ROLLBACK.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from hoop_mcp.adapters.aside import aside
from hoop_mcp.adapters.postgres_catalog import Catalog, Known
from hoop_mcp.adapters.postgres_checks import NAMES, Finding, login_findings, pair_findings, readable_columns
from hoop_mcp.adapters.postgres_connecting import in_words
from hoop_mcp.adapters.postgres_functions import FunctionReader
from hoop_mcp.adapters.postgres_pooler import PooledSession, connect_for_ourselves, greet
from hoop_mcp.adapters.postgres_session import SESSION_SETTINGS, Kept, Session, parameter_texts, seen
from hoop_mcp.adapters.postgres_transport import transport_findings
from hoop_mcp.errors import DatabaseUnavailable, Refused
from hoop_mcp.sql.node_schemas import schema_for
from hoop_mcp.sql.resolved import Login, Resolved
from hoop_mcp.tools.describing import DescribedColumn, DescribedRelation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from hoop_mcp.sql.catalogue import Catalogue
    from hoop_mcp.sql.facts import RelationFacts
    from hoop_mcp.sql.oids import Oids
    from hoop_mcp.sql.plans import PlanForm
    from hoop_mcp.terms import JsonValue, Statement

_DESCRIBE = """
SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, a.attnum::int AS number,
  a.attname::text AS column, format_type(a.atttypid, a.atttypmod)::text AS type, NOT a.attnotnull AS nullable,
  EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
    AND a.attnum = ANY (i.indkey)) AS key,
  (SELECT format('%s.%s.%s', fn.nspname, fc.relname, fa.attname)::text FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class fc ON fc.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = fc.relnamespace
    JOIN pg_catalog.pg_attribute fa ON fa.attrelid = k.confrelid
      AND fa.attnum = k.confkey[array_position(k.conkey, a.attnum)]
    WHERE k.conrelid = c.oid AND k.contype = 'f' AND a.attnum = ANY (k.conkey) ORDER BY k.oid LIMIT 1) AS leads_to,
  obj_description(c.oid, 'pg_class') AS comment, col_description(c.oid, a.attnum) AS column_comment
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = ANY ($1::oid[]) ORDER BY 1, a.attnum
"""

_SESSIONS_PER_LOGIN = 6
_WAIT_SECONDS = 10.0


class Lease:
    """One call's hold on one connection, inside one transaction."""

    def __init__(self, database: PostgresDatabase, session: Session, login: Login) -> None:
        self._database = database
        self._session = session
        self._kept: Kept | None = None
        self._beginning: asyncio.Task[None] | None = None
        self.login = login

    async def resolve(self, statement: Statement, timeout_ms: int) -> Resolved:
        """Parse the statement, unexecuted, and gather the facts its trees need.

        A statement this connection already holds is not parsed again: PostgreSQL re-checks it at Bind by itself, and
        prints its trees if anything changed.
        """
        self._database.check_hazards(statement)
        kept = self._session.kept(statement.sql)
        if kept is not None and kept.known.epoch != self._database.catalog.epoch:
            self._session.forget(statement.sql)
            kept = None
        if kept is None:
            await self._session.begin(timeout_ms, parse=True)
            kept = await self._parse(statement)
        else:
            # BEGIN goes out while the call is decided and its intent is journaled: it runs nothing.
            self._beginning = asyncio.create_task(self._session.begin(timeout_ms, parse=False))
        self._kept = kept
        return kept.resolved

    async def begun(self) -> None:
        """Wait until the transaction is open, however that ends."""
        if self._beginning is not None:
            beginning, self._beginning = self._beginning, None
            await beginning
        await self._session.spoken()

    def leave(self) -> None:
        """What was not waited for, since the call was cancelled, ends with the connection."""
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning.add_done_callback(seen)

    async def _parse(self, statement: Statement) -> Kept:
        database = self._database
        try:
            prepared, trees = await self._session.parse(statement, database.schema)
        except Refused:
            if not self._session.usable:
                database.learn_types_later()  # perhaps a type appeared that this connection was never taught
            raise
        known = await database.catalog.know(trees.oids, self.login)
        rows = database.catalog.types.rows
        columns = tuple((attribute.name, attribute.type.name) for attribute in prepared.get_attributes())
        parameters = []
        for parameter in prepared.get_parameters():
            fact = database.catalog.types.facts.get(parameter.oid)
            # A parameter's input function runs at Bind, before any row is read: only types that run nothing of their own.
            if fact is None or fact.hazardous or rows[parameter.oid].kind not in ("b", "e"):
                raise Refused("HOOP212", "The type of a parameter runs code that nobody here has vouched for.")
            parameters.append(parameter.name)
        resolved = Resolved(
            statement=statement,
            login=self.login,
            trees=trees,
            facts=known.facts,
            columns=columns,
            parameters=tuple(parameters),
            known=_known_names(known, trees.oids),
        )
        if self._session.large:
            with contextlib.suppress(Refused):  # kept with the statement, and raised where the trace is asked for
                await aside(resolved.trace)
        kept = Kept(prepared, resolved, known)
        self._session.keep(kept)
        return kept

    async def execute(
        self,
        resolved: Resolved,
        parameters: Sequence[JsonValue],
        limit: int,
        wanted: Callable[[Sequence[str | None]], bool] | None = None,
    ) -> list[Sequence[str | None]]:
        """Run what was resolved on this lease, fetching at most *limit* rows of text, or of those that are *wanted*."""
        kept = self._held(resolved)
        texts = parameter_texts(parameters, resolved.parameters, self._database.array_types)
        await self.begun()
        try:
            return await self._session.fetch(kept, texts, limit, wanted)
        except Refused as refused:
            self._session.forget(resolved.statement.sql)
            if refused.code == "HOOP505":
                self._database.catalog.outdated()
            raise

    async def plan(self, resolved: Resolved, parameters: Sequence[JsonValue], form: PlanForm) -> list[str]:
        """The plan of what was resolved on this lease, in the lines PostgreSQL prints for *form*."""
        kept = self._held(resolved)
        texts = parameter_texts(parameters, resolved.parameters, self._database.array_types)
        await self.begun()
        try:
            return await self._session.plan(kept, texts, form.value)
        except Refused as refused:
            self._session.forget(resolved.statement.sql)
            if refused.code == "HOOP505":
                self._database.catalog.outdated()
            raise

    async def show(self, setting: str, timeout_ms: int) -> str:
        """The value of one vouched setting, as a call of this login finds it."""
        await self._session.begin(timeout_ms, parse=True)
        return await self._session.show(setting)

    async def unchanged(self, resolved: Resolved) -> None:
        """Check, from the second connection, that nothing the statement rests on changed since it was resolved.

        Raises:
            Refused: HOOP505; the rows must be withheld.
        """
        known = self._held(resolved).known
        if known.dependencies.empty:
            return
        if await self._database.catalog.fingerprint(known.dependencies) != known.fingerprint:
            self._database.catalog.outdated()
            raise Refused("HOOP505", "What the statement depends on changed while it ran; the rows were withheld.")

    async def doubt(self, resolved: Resolved) -> None:
        """Before a no: forget the statement, and make sure that the no does not rest on what was true a while ago.

        Raises:
            Refused: HOOP505, something changed since the facts were learned; asked again, the answer may differ.
        """
        self._session.forget(resolved.statement.sql)
        await self.unchanged(resolved)

    def _held(self, resolved: Resolved) -> Kept:
        if self._kept is None or self._kept.resolved is not resolved:
            raise Refused("HOOP216", "The statement is not the one this lease resolved.")
        return self._kept


class PostgresDatabase:
    """One governed database, as the gate and the describing tools use it."""

    def __init__(
        self,
        name: str,
        dsns: Mapping[Login, str],
        *,
        search_path: tuple[str, ...],
        catalogue: Catalogue,
        references: Mapping[Login, str] | None = None,
    ) -> None:
        self.name = name
        self.catalogue = catalogue
        self._dsns = dict(dsns)
        self._references = references or {}
        self._search_path = search_path
        self._idle: dict[Login, list[Session]] = {login: [] for login in Login}
        self._room = {login: asyncio.Semaphore(_SESSIONS_PER_LOGIN) for login in Login}
        self._ending: set[asyncio.Task[None]] = set()
        self._learning: asyncio.Task[None] | None = None
        self.array_types: Mapping[str, bool] = {}
        self.major = 0
        self.pooled = False
        self.catalog: Catalog
        self.schema = schema_for(18)

    def __repr__(self) -> str:
        return f"<PostgresDatabase {self.name}>"  # never the DSNs

    @classmethod
    async def open(
        cls,
        name: str,
        dsns: Mapping[Login, str],
        *,
        search_path: tuple[str, ...],
        catalogue: Catalogue,
        references: Mapping[Login, str] | None = None,
    ) -> Self:
        """Connect once and learn what does not change.

        Args:
            name: its name in the settings.
            dsns: the address of each login.
            search_path: the schemas unqualified names are looked up in.
            catalogue: what its columns hold.
            references: where the settings say each address is kept (``dsn, ${env:SHOP_DSN}``), for messages.

        Raises:
            DatabaseUnavailable: it cannot be reached, or its version is not supported.
        """
        database = cls(name, dsns, search_path=search_path, catalogue=catalogue, references=references)
        try:
            database.major, database.pooled = await greet(dsns[Login.FULL])
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
            raise database.unavailable(error, Login.FULL) from None
        database.schema = schema_for(database.major)
        database.catalog = Catalog(
            lambda: database.connect(Login.FULL),
            catalogue=catalogue,
            major=database.major,
            schema=database.schema,
            functions=database.functions(),
        )
        await database.catalog.open()
        database._learn_arrays()
        return database

    async def connect(self, login: Login) -> asyncpg.Connection:
        """A plain connection for our own catalog queries; never for an agent's text."""
        if self.pooled:
            return await connect_for_ourselves(self._dsns[login])
        settings = {
            key: value for key, value in SESSION_SETTINGS.items() if key not in ("debug_pretty_print", "row_security")
        }
        return await asyncpg.connect(
            self._dsns[login],
            # Our own catalog queries are the same all day: planning them once is most of their cost.
            server_settings={**settings, "statement_timeout": "10s", "plan_cache_mode": "force_generic_plan"},
            timeout=10.0,
        )

    def functions(self) -> FunctionReader:
        """What reads users' functions, through connections of the login that will run them."""
        return FunctionReader(self.connect, catalogue=self.catalogue, search_path=self._search_path, schema=self.schema)

    async def function_hashes(self) -> Mapping[str, str]:
        """The present hash of every user's function, by signature: what a catalogue may vouch for."""
        connection = await self.connect(Login.FULL)
        try:
            return await self.functions().hashes(connection)
        finally:
            await connection.close(timeout=2)

    async def extension_versions(self) -> Mapping[str, str]:
        """The version of every extension that is installed."""
        rows = await self.catalog.fetch("SELECT extname::text, extversion FROM pg_catalog.pg_extension")
        return {str(row["extname"]): str(row["extversion"]) for row in rows}

    def unavailable(self, error: BaseException, login: Login) -> DatabaseUnavailable:
        """What to say when a login cannot connect: which one, and what happened; never the address or the password."""
        reference = f" ({self._references[login]})" if login in self._references else ""
        return DatabaseUnavailable(
            f"database {self.name}: the {login.value} login{reference} cannot connect: {in_words(error)}"
        )

    def check_hazards(self, statement: Statement) -> None:
        """Refuse before Parse what would run unvouched code at Parse.

        A literal of an array or composite of a domain runs the domain's CHECK while it is parsed. Where such types exist,
        a statement that holds a literal and says one of their names, or that of a relation with such a column, is refused.
        """
        hazards = self.catalog.types.hazardous_names
        if hazards and statement.has_literals and not hazards.isdisjoint(statement.words):
            raise Refused("HOOP212", "The statement names a type that runs code nobody here has vouched for.")

    @asynccontextmanager
    async def lease(self, login: Login) -> AsyncIterator[Lease]:
        """A connection of *login* for one statement; rolled back behind the answer, destroyed after any surprise."""
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._room[login].acquire()
        except TimeoutError:
            raise Refused("HOOP508", "Every connection to this database is busy.") from None
        try:
            session = await self._session(login)
        except BaseException:
            self._room[login].release()
            raise
        clean = False
        lease = Lease(self, session, login)
        try:
            yield lease
            await lease.begun()
            clean = True
        except Refused:
            await lease.begun()
            clean = True
            raise
        finally:
            lease.leave()
            self._give_back(session, login, clean=clean)

    def _give_back(self, session: Session, login: Login, *, clean: bool) -> None:
        # Cancelled, or an error nobody named: the driver sends the cancel request itself; the connection is not reused.
        if not clean or not session.usable:
            pid = session.pid
            session.destroy()
            self._room[login].release()
            self._spawn(self._make_sure(login, pid))
            return

        async def finish() -> None:
            try:
                await session.end()
                if session.usable:
                    self._idle[login].append(session)
                else:
                    session.destroy()
            finally:
                self._room[login].release()

        self._spawn(finish())

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _make_sure(self, login: Login, pid: int) -> None:
        """End a backend whose client is gone: in Parse it does not look at its socket, nor at any timeout."""
        try:
            connection = await self.connect(login)
            try:
                await connection.fetchval(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = 'hoop-mcp'",
                    pid,
                )
            finally:
                await connection.close(timeout=2)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return  # the server is gone, and the backend with it

    async def _session(self, login: Login) -> Session:
        idle = self._idle[login]
        while idle:
            session = idle.pop()
            if session.usable:
                return session
        try:
            kind = PooledSession if self.pooled else Session
            return await kind.open(self._dsns[login], search_path=self._search_path, types=self.catalog.types)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            raise Refused("HOOP501", f"The database {self.name} cannot be reached just now.") from None

    def learn_types_later(self) -> None:
        """Load the types again and start over with fresh connections; one such round at a time."""
        if self._learning is None or self._learning.done():
            self._learning = asyncio.get_running_loop().create_task(self._learn())
            self._ending.add(self._learning)
            self._learning.add_done_callback(self._ending.discard)

    async def _learn(self) -> None:
        try:
            await self.catalog.reload_types()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return  # the next refusal tries again
        self._learn_arrays()
        for login in Login:
            while self._idle[login]:
                self._idle[login].pop().destroy()

    def _learn_arrays(self) -> None:
        self.array_types = {row.name: True for row in self.catalog.types.rows.values() if row.is_array}

    async def relations(self) -> Mapping[int, RelationFacts]:
        """Every table and view of the database, with what each column can show."""
        try:
            return await self.catalog.relations_named()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            raise Refused("HOOP501", f"The database {self.name} cannot be reached just now.") from None

    async def describe(self) -> Sequence[DescribedRelation]:
        """Every table and view with its columns, categories and raw comments; no default, no statistics."""
        relations = await self.relations()
        try:
            rows = await self.catalog.fetch(_DESCRIBE, sorted(relations))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            raise Refused("HOOP501", f"The database {self.name} cannot be reached just now.") from None
        described = []
        for oid, group in itertools.groupby(rows, key=lambda row: row["oid"]):
            columns = list(group)
            first, facts = columns[0], relations[oid]
            described.append(
                DescribedRelation(
                    schema=first["schema"],
                    name=first["name"],
                    kind="view" if first["kind"] in "vm" else "table",
                    comment=first["comment"],
                    columns=tuple(
                        DescribedColumn(
                            name=row["column"],
                            type_name=row["type"],
                            nullable=row["nullable"],
                            key=row["key"],
                            category=self._category(facts, row["number"]),
                            lookup=(held := facts.columns.get(row["number"])) is not None and held.lookup,
                            comment=row["column_comment"],
                            references=row["leads_to"],
                        )
                        for row in columns
                    ),
                )
            )
        return described

    def _category(self, relation: RelationFacts, number: int) -> str | None:
        column = relation.columns.get(number)
        if column is None:
            return None
        categories = sorted({self.catalogue.classify(ref).category for ref in column.sources})
        return " and ".join(categories) or None

    async def names(self) -> dict[str, tuple[str, ...]]:
        """The columns of every table and view outside the system's schemas, by ``schema.table``."""
        try:
            rows = await self.catalog.fetch(NAMES)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise self.unavailable(error, Login.FULL) from None
        return {row["relation"]: tuple(row["columns"]) for row in rows}

    async def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the two logins; an empty tuple is what a server needs to start."""
        found: list[Finding] = []
        names: dict[str, tuple[str, str]] = {}
        held: dict[str, Mapping[str, Sequence[str]]] = {}
        for login in Login:
            found += transport_findings(self._dsns[login], login.value)
            try:
                connection = await self.connect(login)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
                raise self.unavailable(error, login) from None
            try:
                found += await login_findings(connection, login.value)
                who = await connection.fetchrow("SELECT current_user::text, session_user::text")
                names[login.value] = (who[0], who[1])
                held[login.value] = await readable_columns(connection)
            finally:
                await connection.close(timeout=2)
        found += pair_findings(names, held, self.catalogue)
        return tuple(found)

    async def close(self) -> None:
        """Close every connection; statements still ending are waited for."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=5)
        for login in Login:
            while self._idle[login]:
                await self._idle[login].pop().close()
        await self.catalog.close()


def _known_names(known: Known, oids: Oids) -> frozenset[str]:
    names: set[str] = set()
    for relation in known.facts.relations.values():
        names |= {relation.schema, relation.name}
        names |= {column.name for column in relation.columns.values()}
    for oid in oids.functions:
        function = known.facts.functions.get(oid)
        if function is not None:
            names |= {function.name, function.schema}
    return frozenset(names)
