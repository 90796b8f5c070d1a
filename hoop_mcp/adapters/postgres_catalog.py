"""What the system catalogs say, read on a second connection so that the analysed one is never disturbed.

Everything a tree does not carry is read here: relations with their columns, children and rules, types and what runs in
them, functions by OID. The *fingerprint* is over the row versions (``xmin``) of everything a statement depends on; it is
taken when the facts are learned (before this Parse, or right after it) and again after the last fetch, and a difference
withholds the rows: functions, children and
types are not locked by Parse, so a swap between two fetches would otherwise go unseen. ANALYZE and autovacuum update
these rows in place and do not change ``xmin``.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused
from hoop_mcp.sql.bodies import MAX_FUNCTIONS
from hoop_mcp.sql.facts import FIRST_NORMAL_OID, CatalogFacts, FunctionFacts, RelationFacts, TypeFacts
from hoop_mcp.sql.functions import vouched_functions
from hoop_mcp.sql.relations import ColumnRow, RelationBuilder, RelationRow, functions_of, rule_relations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import asyncpg

    from hoop_mcp.adapters.postgres_functions import FunctionReader
    from hoop_mcp.sql.catalogue import Catalogue
    from hoop_mcp.sql.oids import Oids
    from hoop_mcp.sql.resolved import Login
    from hoop_mcp.sql.tree import NodeSchema

_TYPES = """
WITH direct AS (
  SELECT t.oid, (
    t.typtype = 'b' AND t.oid >= 16384 AND EXISTS (
      SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
      WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout)
        AND p.oid >= 16384 AND l.lanname <> 'internal' AND t.typcategory <> 'A')
    OR t.typtype = 'd' AND EXISTS (
      SELECT FROM pg_catalog.pg_constraint c
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = c.oid
      WHERE c.contypid = t.oid
        AND d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass))
    OR t.typtype IN ('r', 'm') AND EXISTS (
      SELECT FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
        AND (r.rngcanonical::oid >= 16384 OR r.rngsubdiff::oid >= 16384))
  ) AS runs_code
  FROM pg_catalog.pg_type t)
SELECT t.oid, n.nspname::text, t.typname::text, t.typtype::text, d.runs_code,
  array_remove(ARRAY[nullif(t.typelem, 0), nullif(t.typbasetype, 0),
    (SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)], NULL)::int8[] AS parts,
  CASE WHEN t.typtype = 'c' AND t.oid >= 16384 THEN
    (SELECT array_agg(DISTINCT a.atttypid)::int8[] FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END AS fields,
  t.typelem <> 0 AND t.typlen = -1 AS is_array, t.typdelim::text
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace JOIN direct d ON d.oid = t.oid
"""

_TYPES_PRINT = """
SELECT encode(sha256(convert_to(coalesce(string_agg(row, ',' ORDER BY row), ''), 'UTF8')), 'hex') FROM (
  SELECT 'type ' || oid || ':' || xmin FROM pg_catalog.pg_type WHERE oid >= 16384
  UNION ALL SELECT 'constraint ' || oid || ':' || xmin FROM pg_catalog.pg_constraint WHERE contypid <> 0
  UNION ALL SELECT 'extension ' || oid || ':' || xmin FROM pg_catalog.pg_extension
) AS made(row)
"""

_EXTENSION_TYPES = """
SELECT d.objid, e.extname::text, e.extversion FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
"""
_ROUNDS = 16

_HAZARDOUS_FUNCTIONS = """
SELECT DISTINCT proname::text FROM pg_catalog.pg_proc
WHERE oid >= 16384 AND (prorettype = ANY ($1::oid[]) OR proargtypes::oid[] && $1::oid[] OR proallargtypes && $1::oid[])
"""
"""A literal beside a call takes its type from the function, and is read while it is parsed."""

_FUNCTIONS = """
SELECT p.oid, n.nspname::text, p.proname::text, p.prokind::text, p.proretset,
  coalesce((SELECT string_agg(t.typname::text, ',' ORDER BY u.place)
    FROM unnest(p.proargtypes) WITH ORDINALITY u(type, place) JOIN pg_catalog.pg_type t ON t.oid = u.type), '') AS arguments
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.oid < 16384
"""

_RELATIONS = """
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text,
  (SELECT r.ev_action::text FROM pg_catalog.pg_rewrite r
   WHERE r.ev_class = c.oid AND r.ev_type = '1' AND r.is_instead AND c.oid >= 16384 LIMIT 1) AS rule,
  ARRAY(WITH RECURSIVE below(oid) AS (
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid
    UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN below b ON i.inhparent = b.oid)
    SELECT oid::int8 FROM below) AS children,
  ARRAY(SELECT array_to_string(k.conkey, ' ') FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid JOIN pg_catalog.pg_class x ON x.oid = k.conindid
    JOIN pg_catalog.pg_am m ON m.oid = x.relam
    WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u') AND NOT k.condeferrable AND m.amname = 'btree'
      AND i.indisvalid AND i.indisunique AND NOT i.indisexclusion) AS keys
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1::oid[])
"""

_COLUMNS = """
SELECT a.attrelid, a.attnum::int, a.attname::text, a.atttypid,
  CASE WHEN a.attgenerated <> '' THEN d.adbin::text END AS generated, a.attnotnull
FROM pg_catalog.pg_attribute a
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

_FINGERPRINT = """
SELECT encode(sha256(convert_to(coalesce(string_agg(row, ',' ORDER BY row), ''), 'UTF8')), 'hex') FROM (
  SELECT 'class ' || oid || ':' || xmin FROM pg_catalog.pg_class WHERE oid = ANY ($1::oid[])
  UNION ALL SELECT 'attribute ' || attrelid || '.' || attnum || ':' || xmin
    FROM pg_catalog.pg_attribute WHERE attrelid = ANY ($1::oid[]) AND attnum > 0
  UNION ALL SELECT 'default ' || oid || ':' || xmin FROM pg_catalog.pg_attrdef WHERE adrelid = ANY ($1::oid[])
  UNION ALL SELECT 'rule ' || oid || ':' || xmin FROM pg_catalog.pg_rewrite WHERE ev_class = ANY ($1::oid[])
  UNION ALL SELECT 'policy ' || oid || ':' || xmin FROM pg_catalog.pg_policy WHERE polrelid = ANY ($1::oid[])
  UNION ALL SELECT 'child ' || inhrelid || '<' || inhparent || ':' || xmin
    FROM pg_catalog.pg_inherits WHERE inhparent = ANY ($1::oid[])
  UNION ALL SELECT 'trigger ' || oid || ':' || xmin FROM pg_catalog.pg_trigger WHERE tgrelid = ANY ($1::oid[])
  UNION ALL SELECT 'constraint ' || oid || ':' || xmin FROM pg_catalog.pg_constraint WHERE conrelid = ANY ($1::oid[])
  UNION ALL SELECT 'constraint ' || oid || ':' || xmin FROM pg_catalog.pg_constraint WHERE contypid = ANY ($2::oid[])
  UNION ALL SELECT 'type ' || oid || ':' || xmin FROM pg_catalog.pg_type WHERE oid = ANY ($2::oid[])
  UNION ALL SELECT 'function ' || oid || ':' || xmin FROM pg_catalog.pg_proc WHERE oid = ANY ($3::oid[])
  UNION ALL SELECT 'aggregate ' || aggfnoid::oid || ':' || xmin FROM pg_catalog.pg_aggregate
    WHERE aggfnoid = ANY ($3::oid[]::regproc[])
  UNION ALL SELECT 'operator ' || oid || ':' || xmin FROM pg_catalog.pg_operator WHERE oid = ANY ($4::oid[])
  UNION ALL SELECT 'extension ' || oid || ':' || xmin FROM pg_catalog.pg_extension WHERE oid = ANY ($5::oid[])
  -- The text of a function is analysed when it runs: whatever a name in it could mean by then.
  UNION ALL SELECT 'named ' || oid || ':' || relnamespace || '.' || relname FROM pg_catalog.pg_class
    WHERE $6 AND oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relpersistence <> 't'
  UNION ALL SELECT 'named ' || oid || ':' || xmin FROM pg_catalog.pg_proc WHERE $6 AND oid >= 16384
  UNION ALL SELECT 'named ' || oid || ':' || xmin FROM pg_catalog.pg_operator WHERE $6 AND oid >= 16384
  UNION ALL SELECT 'cast ' || oid || ':' || xmin FROM pg_catalog.pg_cast WHERE $6 AND oid >= 16384
) AS dependency(row)
"""


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A type as the codecs and the closure need it. ``needs`` are the types its values are made of."""

    oid: int
    schema: str
    name: str
    kind: str
    needs: tuple[int, ...]
    is_array: bool
    delimiter: str


@dataclass(frozen=True, slots=True)
class TypeTable:
    """Every type of the database, loaded at connect: the driver then never asks on the analysed connection."""

    rows: Mapping[int, TypeRow] = field(repr=False)
    facts: Mapping[int, TypeFacts] = field(repr=False)
    hazardous_names: frozenset[str]

    def closure(self, oids: frozenset[int]) -> frozenset[int]:
        """The user-made types in *oids* and everything they are made of."""
        found: set[int] = set()
        todo = [oid for oid in oids if oid >= FIRST_NORMAL_OID]
        while todo:
            oid = todo.pop()
            if oid in found:
                continue
            found.add(oid)
            if (row := self.rows.get(oid)) is not None:
                todo += [need for need in row.needs if need >= FIRST_NORMAL_OID]
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What one statement rests on; its fingerprint changes when any of it does.

    ``names`` is whether it rests on what names mean: the body of a function is analysed anew when it runs.
    """

    relations: tuple[int, ...]
    types: tuple[int, ...]
    functions: tuple[int, ...]
    operators: tuple[int, ...] = ()
    extensions: tuple[int, ...] = ()
    names: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing that anyone but a superuser could change."""
        return not (self.relations or self.types or self.functions or self.operators)


@dataclass(frozen=True, slots=True)
class Known:
    """Facts as of one fingerprint, learned in one epoch of the catalogs.

    ``printed`` are the trees that PostgreSQL may print while the statement runs, of the bodies that were judged; with
    ``opaque`` any that have a context, since a function that is vouched for without being understood is called.
    """

    epoch: int
    dependencies: Dependencies
    fingerprint: str
    facts: CatalogFacts = field(repr=False)
    printed: frozenset[str] = field(default=frozenset(), repr=False)
    opaque: bool = False


@dataclass(slots=True)
class _Reached:
    """What is behind a statement, as far as it was followed."""

    rows: dict[int, RelationRow]
    functions: dict[int, FunctionFacts]
    oids: Oids
    extensions: frozenset[int]


class Catalog:
    """The catalogs of one database, through a small pool of connections of their own."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        *,
        catalogue: Catalogue,
        major: int,
        schema: NodeSchema,
        functions: FunctionReader,
        connections: int = 2,
    ) -> None:
        self._connect = connect
        self._catalogue = catalogue
        self._major = major
        self._schema = schema
        self._functions = functions
        self._idle: list[asyncpg.Connection] = []
        self._room = asyncio.Semaphore(connections)
        self._builtin: Mapping[int, FunctionFacts] = {}
        self._known: dict[tuple[frozenset[int], frozenset[int], Login | None], Known] = {}
        self.types = TypeTable({}, {}, frozenset())
        self.epoch = 0
        self._types_print = ""
        self._builtin_types: frozenset[int] = frozenset()

    def outdated(self) -> None:
        """Something changed: what was learned before is learned again, by every statement that rests on it."""
        self.epoch += 1
        self._known.clear()

    async def open(self) -> None:
        """Load what never changes while the server runs, and the types."""
        async with self._connection() as connection:
            self._builtin = await _builtin_functions(connection)
        await self.reload_types()

    async def reload_types(self) -> None:
        """Load every type again, after one appeared that was not there."""
        async with self._connection() as connection:
            self._types_print = await connection.fetchval(_TYPES_PRINT)  # first: what changes in between is seen later
            belonging = await connection.fetch(_EXTENSION_TYPES)
            types = _type_table(
                await connection.fetch(_TYPES),
                frozenset(oid for oid, name, version in belonging if self._functions.trusts(name, version)),
            )
            self._builtin_types = frozenset(oid for oid in types.rows if oid < FIRST_NORMAL_OID)
            hazards = [oid for oid, fact in types.facts.items() if fact.hazardous]
            called = await connection.fetch(_HAZARDOUS_FUNCTIONS, hazards) if hazards else []
            self.types = replace(types, hazardous_names=types.hazardous_names | {row["proname"] for row in called})
        self.outdated()

    async def close(self) -> None:
        """Close every connection."""
        while self._idle:
            await self._idle.pop().close(timeout=2)

    async def know(self, oids: Oids, login: Login) -> Known:
        """Facts for every OID of a tree, with the fingerprint they were true at.

        A function's body means what it means to *login*, which will run it.
        """
        called = frozenset(oid for oid in oids.functions if oid not in self._builtin)
        made = called | _made(oids.operators | oids.sorting | oids.classes)
        key = (oids.relations | oids.mentioned, self.types.closure(oids.types) | made, login if made else None)
        # Facts from before this Parse serve as well as fresh ones: the fingerprint taken after the last fetch is compared
        # with theirs, so that whatever changed since they were learned withholds the rows.
        if (known := self._known.get(key)) is not None:
            return known
        epoch = self.epoch
        if oids.types - self._builtin_types:
            await self._types_as_loaded()
        async with self._connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            reached = await self._reach(connection, oids, login)
            rows, functions = reached.rows, reached.functions
            everything = reached.oids
            operators = await self._functions.operators(connection, everything)
            column_types = frozenset(column.type_oid for row in rows.values() for column in row.columns)
            mine = {oid: function for oid, function in functions.items() if oid >= FIRST_NORMAL_OID}
            bodies = [function.body for function in mine.values() if function.body is not None]
            dependencies = Dependencies(
                relations=tuple(sorted(rows)),
                types=tuple(sorted(self.types.closure(everything.types | column_types))),
                # A built-in function is replaced by a superuser only, against whom nothing here helps.
                functions=tuple(sorted(mine)),
                operators=tuple(sorted(_made(everything.operators | everything.sorting))),
                extensions=tuple(sorted(reached.extensions | operators.extensions)),
                names=bool(bodies),
            )
            fingerprint = await _fingerprint(connection, dependencies)
        facts = CatalogFacts(
            self._major,
            {},
            # Shared where there is nothing to add: a copy for each of many statements is a hundred kilobytes each.
            MappingProxyType(functions) if len(functions) > len(self._builtin) else self._builtin,
            self.types.facts,
            operators=operators.operators,
            ordering=operators.ordering,
            families=operators.families,
        )
        relations: Mapping[int, RelationFacts] = RelationBuilder(rows, self._catalogue, facts, self._schema).build()
        known = Known(
            epoch,
            dependencies,
            fingerprint,
            replace(facts, relations=MappingProxyType(dict(relations))),
            printed=frozenset[str]().union(*(body.dumps for body in bodies)),
            opaque=any(function.opaque for function in mine.values()) or self._asks_catalogs(everything.functions),
        )
        if len(self._known) >= 500:
            self._known.clear()
        self._known[key] = known
        return known

    def _asks_catalogs(self, oids: frozenset[int]) -> bool:
        """Whether a built-in function runs queries of its own, which print trees: those that tell of a table do."""
        vouched = vouched_functions()
        called = (self._builtin[oid].signature for oid in oids & self._builtin.keys())
        return any(signature in vouched and vouched[signature].tells for signature in called)

    async def _reach(self, connection: asyncpg.Connection, oids: Oids, login: Login) -> _Reached:
        """Every relation and function behind *oids*: through views, generated columns, and the bodies of functions."""
        reached = _Reached({}, dict(self._builtin), oids, frozenset())
        for _ in range(_ROUNDS):
            missing = (reached.oids.relations | reached.oids.mentioned) - reached.rows.keys()
            fresh = await self._relation_rows(connection, missing) if missing else {}
            reached.rows |= fresh
            called = frozenset[int]().union(*(functions_of(row, self._schema) for row in fresh.values()))
            # Of functions that only a view's rule names the statement's own tree tells where they run.
            unknown = (reached.oids.functions | called) - reached.functions.keys()
            if not unknown:
                return reached
            if len(unknown) > MAX_FUNCTIONS:
                break
            found = await self._functions.learn(connection, unknown, login)
            if not unknown <= found.functions.keys():
                raise Refused("HOOP216", "A function the statement calls went away a moment ago.")
            reached.functions |= found.functions
            reached.oids |= found.oids
            reached.extensions |= found.extensions
        raise Refused("HOOP207", "The statement calls functions that call more functions than are analysed here.")

    async def _types_as_loaded(self) -> None:
        """Refuse (HOOP216) and learn again where a type or a CHECK changed since the types were loaded."""
        async with self._connection() as connection:
            now = await connection.fetchval(_TYPES_PRINT)
        if now != self._types_print:
            await self.reload_types()
            raise Refused("HOOP216", "A type the statement uses changed a moment ago.")

    async def fingerprint(self, dependencies: Dependencies) -> str:
        """The fingerprint of *dependencies* now, in a snapshot of its own."""
        async with self._connection() as connection:
            return await _fingerprint(connection, dependencies)

    async def relations_named(self, schemas: tuple[str, ...] | None = None) -> Mapping[int, RelationFacts]:
        """Facts of every table and view outside the system schemas (or in *schemas*): for describing and for grants."""
        async with self._connection() as connection:
            oids = await connection.fetch(
                "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%'"
                " AND n.nspname <> 'information_schema' AND ($1::text[] IS NULL OR n.nspname = ANY ($1))",
                None if schemas is None else list(schemas),
            )
            wanted = frozenset(row["oid"] for row in oids)
            rows = await self._relation_rows(connection, wanted)
        facts = CatalogFacts(self._major, {}, self._builtin, self.types.facts)
        built = RelationBuilder(rows, self._catalogue, facts, self._schema).build()
        return {
            oid: relation
            for oid, relation in built.items()
            if oid in wanted and not (relation.kind == "f" and relation.restricted)
        }

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """One of our own catalog queries."""
        async with self._connection() as connection:
            return list(await connection.fetch(query, *arguments))

    async def _relation_rows(self, connection: asyncpg.Connection, wanted: frozenset[int]) -> dict[int, RelationRow]:
        rows: dict[int, RelationRow] = {}
        todo = set(wanted)
        while todo:
            oids = sorted(todo)
            columns: dict[int, list[ColumnRow]] = {oid: [] for oid in oids}
            for oid, number, name, type_oid, generated, not_null in await connection.fetch(_COLUMNS, oids):
                columns[oid].append(ColumnRow(number, name, type_oid, generated, not_null))
            found: set[int] = set()
            for oid, schema, name, kind, rule, children, keys in await connection.fetch(_RELATIONS, oids):
                places = tuple(tuple(map(int, key.split())) for key in keys)
                row = RelationRow(oid, schema, name, kind, tuple(columns[oid]), tuple(children), rule, places)
                rows[oid] = row
                found |= set(children) | rule_relations(row, self._schema)
            todo = found - rows.keys() - todo
        return rows

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._room:
            connection = self._idle.pop() if self._idle else None
            if connection is None or connection.is_closed():
                connection = await self._connect()
            try:
                yield connection
            except BaseException:
                connection.terminate()
                raise
            self._idle.append(connection)


async def _fingerprint(connection: asyncpg.Connection, dependencies: Dependencies) -> str:
    value = await connection.fetchval(
        _FINGERPRINT,
        list(dependencies.relations),
        list(dependencies.types),
        list(dependencies.functions),
        list(dependencies.operators),
        list(dependencies.extensions),
        dependencies.names,
    )
    return str(value)


async def _builtin_functions(connection: asyncpg.Connection) -> dict[int, FunctionFacts]:
    return {
        oid: FunctionFacts(
            oid=oid,
            schema=schema,
            name=name,
            signature=f"{name}({arguments})",
            kind=kind,
            returns_set=returns_set,
            builtin=schema == "pg_catalog",
        )
        for oid, schema, name, kind, returns_set, arguments in await connection.fetch(_FUNCTIONS)
    }


def _made(oids: frozenset[int]) -> frozenset[int]:
    return frozenset(oid for oid in oids if oid >= FIRST_NORMAL_OID)


def _type_table(records: list[Any], vouched: frozenset[int]) -> TypeTable:
    rows: dict[int, TypeRow] = {}
    runs_code: set[int] = set()
    for oid, schema, name, kind, own, parts, fields, is_array, delimiter in records:
        rows[oid] = TypeRow(oid, schema, name, kind, (*parts, *(fields or ())), is_array, delimiter)
        if own and oid not in vouched:
            runs_code.add(oid)
    # A type whose value holds a hazardous one is hazardous: its input runs the other's.
    while True:
        more = {oid for oid, row in rows.items() if oid not in runs_code and not runs_code.isdisjoint(row.needs)}
        if not more:
            break
        runs_code |= more
    facts = {
        oid: TypeFacts(oid, row.schema, row.name, oid in runs_code, row.needs, domain=row.kind == "d")
        for oid, row in rows.items()
    }
    return TypeTable(
        MappingProxyType(rows),
        MappingProxyType(facts),
        frozenset(rows[oid].name.lstrip("_") for oid in runs_code) | frozenset(rows[oid].name for oid in runs_code),
    )
