"""Users' functions as the catalogs and PostgreSQL's own analyser tell of them.

The body of a function in SQL is read by asking the server: ``fmgr_sql_validator(oid)``, which CREATE FUNCTION itself
calls, analyses the body and prints its trees as it would those of a statement. It is asked as the login that will run
the function, with that login's search path and the function's own ``SET search_path``: then names mean here what they
mean there. Seen on PostgreSQL 14, 15, 16, 17 and 18: it takes EXECUTE on the function and nothing more, prints one pair
of trees a statement with the context ``SQL function "name"`` and text that is byte for byte what is printed when the
function is analysed to be run, and prints nothing of a function with polymorphic arguments.

What cannot be had this way (several statements, polymorphic arguments, settings other than a search path, SECURITY
DEFINER, other languages) is known only if the catalogue vouches for its source, or for its extension.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from hoop_mcp.errors import Refused
from hoop_mcp.sql.analyse import read_trees
from hoop_mcp.sql.bodies import oids_of
from hoop_mcp.sql.facts import FIRST_NORMAL_OID, Body, FunctionFacts
from hoop_mcp.sql.oids import Oids
from hoop_mcp.sql.signatures import spell
from hoop_mcp.sql.tree import Node, read_unwrapped
from hoop_mcp.sql.vouching import source_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from hoop_mcp.sql.catalogue import Catalogue, VouchedFunction
    from hoop_mcp.sql.resolved import Login
    from hoop_mcp.sql.tree import NodeSchema
    from hoop_mcp.terms import ColumnRef

_PLAIN_NAMES = "SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)"
"""Types then print with their schema unless they are PostgreSQL's own."""

_TYPE = """
  (SELECT json_build_array(tn.nspname, CASE WHEN tn.nspname = 'pg_catalog' THEN format_type(b.oid, NULL) ELSE b.typname END,
     b.oid <> t.oid) FROM pg_type b JOIN pg_namespace tn ON tn.oid = b.typnamespace
   WHERE b.oid = CASE WHEN t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A' THEN t.typelem ELSE t.oid END)
"""

_SOURCE = f"""
SELECT p.oid, n.nspname::text AS schema, p.proname::text AS name, p.prokind::text AS kind, p.proretset AS returns_set,
  p.proisstrict AS strict, p.prosecdef AS definer, l.lanname::text AS language, p.proconfig::text[] AS settings,
  p.prosupport::oid AS support, p.protrftypes IS NOT NULL AS transforms, p.pronargs::int AS arguments,
  p.proargdefaults::text AS defaults, p.prorettype AS returns, rt.typtype::text AS returns_kind,
  p.proallargtypes::int8[] AS all_types, p.proargmodes::text[] AS modes,
  ARRAY(SELECT a.atttypid::int8 FROM pg_attribute a WHERE rt.typtype = 'c' AND a.attrelid = rt.typrelid AND a.attnum > 0
    AND NOT a.attisdropped ORDER BY a.attnum) AS fields,
  coalesce((SELECT string_agg(t.typname::text, ',' ORDER BY u.place)
    FROM unnest(p.proargtypes) WITH ORDINALITY u(type, place) JOIN pg_type t ON t.oid = u.type), '') AS plain,
  coalesce((SELECT json_agg({_TYPE} ORDER BY u.place)
    FROM unnest(p.proargtypes) WITH ORDINALITY u(type, place) JOIN pg_type t ON t.oid = u.type), '[]')::text AS spelled,
  e.oid AS extension_oid, e.extname::text AS extension, e.extversion AS version,
  g.aggtranstype AS state, g.aggmtranstype AS moving_state, g.aggsortop::oid AS sorts_by,
  ARRAY(SELECT f::int8 FROM unnest(ARRAY[g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggserialfn, g.aggdeserialfn,
    g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn]::oid[]) WITH ORDINALITY u(f, place) WHERE f <> 0
    ORDER BY place) AS parts,
  json_build_object('language', l.lanname, 'kind', p.prokind, 'returns', format_type(p.prorettype, NULL),
    'returns_set', p.proretset, 'arguments', CASE WHEN p.prokind <> 'a' THEN pg_get_function_arguments(p.oid) END,
    'source', p.prosrc, 'binary', p.probin, 'body', pg_get_function_sqlbody(p.oid), 'settings', p.proconfig,
    'security_definer', p.prosecdef, 'owner', CASE WHEN p.prosecdef THEN pg_get_userbyid(p.proowner) END,
    'volatility', p.provolatile, 'parallel', p.proparallel, 'strict', p.proisstrict, 'leakproof', p.proleakproof,
    'support', CASE WHEN p.prosupport <> 0 THEN p.prosupport::regproc::text END,
    'transforms', (SELECT array_agg(format_type(u, NULL)) FROM unnest(p.protrftypes) u))::text AS source
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
JOIN pg_type rt ON rt.oid = p.prorettype
LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid
LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_extension'::regclass
  AND d.deptype = 'e'
LEFT JOIN pg_extension e ON e.oid = d.refobjid
"""
_BY_OID = _SOURCE + "WHERE p.oid = ANY ($1::oid[])"
_USERS = _SOURCE + "WHERE p.oid >= 16384"

_OPERATORS = """
SELECT o.oid, o.oprcode::oid AS code, e.oid AS extension_oid, e.extname::text AS extension, e.extversion AS version,
  NOT o.oprcanhash AND NOT o.oprcanmerge AND o.oprrest::oid < 16384 AND o.oprjoin::oid < 16384
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_amop a WHERE a.amopopr = o.oid) AS plain
FROM pg_catalog.pg_operator o
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND d.objid = o.oid
  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE o.oid = ANY ($1::oid[])
"""

_FAMILIES = """
SELECT d.objid AS oid, e.oid AS extension_oid, e.extname::text AS extension, e.extversion AS version
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE d.classid = 'pg_catalog.pg_opfamily'::pg_catalog.regclass AND d.objid = ANY ($1::oid[]) AND d.deptype = 'e'
  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
"""

_VALIDATE = """
BEGIN READ ONLY;
SELECT {hush}pg_catalog.set_config('client_min_messages', 'log', true), pg_catalog.set_config('lock_timeout', '1s', true),
  pg_catalog.set_config('statement_timeout', '5s', true), pg_catalog.set_config('check_function_bodies', 'on', true),
  pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('array_nulls', 'on', true),
  pg_catalog.set_config('backslash_quote', 'safe_encoding', true), pg_catalog.set_config('row_security', 'on', true),
  pg_catalog.set_config('transform_null_equals', 'off', true), pg_catalog.set_config('debug_pretty_print', 'off', true),
  pg_catalog.set_config('debug_print_rewritten', 'on', true), pg_catalog.set_config('debug_print_parse', 'on', true),
  pg_catalog.set_config('search_path', {path}, true);
SELECT pg_catalog.fmgr_sql_validator({oid});
ROLLBACK
"""
"""What decides the meaning of a text is as on the connections that run statements. Our own statements print trees too;
theirs have no context."""
_HUSH = "pg_catalog.set_config('log_min_messages', 'panic', true), "
_ONE_PAIR = ["parse tree:", "rewritten parse tree:"]
_RECORD, _VOID = 2249, 2278
_RESULTS = frozenset("obt")
"""Modes of arguments that are columns of the result: OUT, INOUT, TABLE."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was learned of some functions and operators, and what it rests on."""

    functions: Mapping[int, FunctionFacts]
    oids: Oids
    extensions: frozenset[int]


@dataclass(frozen=True, slots=True)
class Operators:
    """Users' operators and operator families by what they may be used for; see :class:`CatalogFacts`."""

    operators: frozenset[int]
    ordering: frozenset[int]
    families: frozenset[int]
    extensions: frozenset[int]
    functions: frozenset[int]


class FunctionReader:
    """Reads users' functions; bodies on a connection of the login that will run them."""

    def __init__(
        self,
        connect: Callable[[Login], Awaitable[asyncpg.Connection]],
        *,
        catalogue: Catalogue,
        search_path: tuple[str, ...],
        schema: NodeSchema,
    ) -> None:
        self._connect = connect
        self._catalogue = catalogue
        self._search_path = ", ".join('"' + schema.replace('"', '""') + '"' for schema in search_path)
        self._schema = schema

    def trusts(self, extension: str | None, version: str | None) -> bool:
        """Whether the catalogue vouches for this version of an extension."""
        return extension is not None and self._catalogue.extensions.get(extension) == version

    async def learn(self, connection: asyncpg.Connection, oids: frozenset[int], login: Login) -> Found:
        """Facts of users' functions, their bodies, and the OIDs in these.

        Args:
            connection: in the transaction whose snapshot the facts are of.
            oids: of functions.
            login: the one that will run them.
        """
        await connection.execute(_PLAIN_NAMES)
        records = await connection.fetch(_BY_OID, sorted(oids))
        wanted = [record for record in records if self._body_may_be_read(record)]
        bodies = await self._bodies(wanted, login) if wanted else {}
        functions: dict[int, FunctionFacts] = {}
        nothing: frozenset[int] = frozenset()
        found = Oids(nothing, nothing, nothing, nothing, nothing, nothing)
        extensions: set[int] = set()
        for record in records:
            facts = self._facts(record, bodies.get(record["oid"]))
            functions[facts.oid] = facts
            found |= Oids(nothing, frozenset(facts.support), nothing, nothing, nothing, _states(record))
            if facts.body is not None:
                found |= oids_of(facts.body)
            if facts.extension:
                extensions.add(record["extension_oid"])
        return Found(functions, found, frozenset(extensions))

    async def operators(self, connection: asyncpg.Connection, oids: Oids) -> Operators:
        """What may be done with the users' operators and families in *oids*."""
        made = sorted(oid for oid in oids.operators | oids.sorting if oid >= FIRST_NORMAL_OID)
        families = sorted(oid for oid in oids.classes if oid >= FIRST_NORMAL_OID)
        records = await connection.fetch(_OPERATORS, made) if made else []
        belonging = await connection.fetch(_FAMILIES, families) if families else []
        trusted = [record for record in (*records, *belonging) if self.trusts(record["extension"], record["version"])]
        return Operators(
            operators=frozenset(record["oid"] for record in records if record["plain"]),
            ordering=frozenset(record["oid"] for record in records if record in trusted),
            families=frozenset(record["oid"] for record in belonging if record in trusted),
            extensions=frozenset(record["extension_oid"] for record in trusted),
            functions=frozenset(record["code"] for record in records),
        )

    async def hashes(self, connection: asyncpg.Connection) -> Mapping[str, str]:
        """The present hash of every user's function by signature; aggregates and functions in C have none."""
        async with connection.transaction(readonly=True):
            await connection.execute(_PLAIN_NAMES)
            records = await connection.fetch(_USERS)
        return {
            _identity(record): _hash(record)
            for record in records
            if record["kind"] in "fw" and record["language"] != "c"
        }

    def _facts(self, record: Any, body: Body | None) -> FunctionFacts:
        identity = _identity(record)
        extension = self.trusts(record["extension"], record["version"])
        vouched = self._catalogue.functions.get(identity)
        known = extension or body is not None or record["kind"] not in "fw" or record["language"] == "c"
        return FunctionFacts(
            oid=record["oid"],
            schema=record["schema"],
            name=record["name"],
            signature=f"{record['name']}({record['plain']})",
            kind=record["kind"],
            returns_set=record["returns_set"],
            builtin=False,
            identity=identity,
            strict=record["strict"],
            body=None if extension else body,
            results=None if known or vouched is None else _vouched_results(record, vouched),
            extension=extension,
            support=() if extension or not _is_plain_aggregate(record) else tuple(record["parts"]),
        )

    def _body_may_be_read(self, record: Any) -> bool:
        settings = record["settings"] or []
        return (
            record["language"] == "sql"
            and record["kind"] == "f"
            and not record["definer"]
            and all(setting.startswith("search_path=") for setting in settings)
            and record["support"] == 0
            and not record["transforms"]
            and bool(_declared(record))
            and not self.trusts(record["extension"], record["version"])
        )

    async def _bodies(self, records: list[Any], login: Login) -> dict[int, Body]:
        """Each body PostgreSQL prints; one that it does not, or not as one statement, is missing."""
        connection = await self._connect(login)
        heard: list[tuple[str, str]] = []

        def hear(_connection: object, message: Any) -> None:
            if message.server_source_function == "elog_node_display" and message.context and message.detail:
                heard.append((message.message, message.detail))

        bodies: dict[int, Body] = {}
        try:
            connection.add_log_listener(hear)
            hush = _HUSH if await _may_hush(connection) else ""
            for record in records:
                settings = record["settings"] or []
                path = settings[-1].partition("=")[2] if settings else self._search_path
                quoted = "'" + path.replace("'", "''") + "'"
                heard.clear()
                try:
                    await connection.execute(_VALIDATE.format(hush=hush, path=quoted, oid=int(record["oid"])))
                except asyncpg.PostgresError:
                    # No EXECUTE on it, or it names what this login cannot see: not readable, so not run.
                    await connection.execute("ROLLBACK")
                    continue
                if (body := self._body(record, heard)) is not None:
                    bodies[record["oid"]] = body
        finally:
            connection.terminate()
        return bodies

    def _body(self, record: Any, heard: list[tuple[str, str]]) -> Body | None:
        if [name for name, _ in heard] != _ONE_PAIR:
            return None
        (_, parse), (_, rewritten) = heard
        try:
            trees = read_trees(parse, rewritten, self._schema)
            defaults = read_unwrapped(record["defaults"], self._schema) if record["defaults"] else []
        except Refused:
            return None
        if type(defaults) is not list or not all(type(default) is Node for default in defaults):
            return None
        return Body(
            parse=trees.parse,
            rewritten=trees.rewritten,
            defaults=tuple(defaults),
            arguments=record["arguments"],
            results=_declared(record),
            dumps=frozenset({parse, rewritten}),
        )


async def _may_hush(connection: asyncpg.Connection) -> bool:
    if connection.get_server_version().major < 15:
        return False
    return bool(await connection.fetchval("SELECT has_parameter_privilege(current_user, 'log_min_messages', 'SET')"))


def _identity(record: Any) -> str:
    types = [(home, kind, bool(array)) for home, kind, array in json.loads(record["spelled"])]
    return spell(record["schema"], record["name"], types)


def _hash(record: Any) -> str:
    return source_hash({**json.loads(record["source"]), "signature": _identity(record)})


def _vouched_results(record: Any, vouched: VouchedFunction) -> frozenset[ColumnRef] | None:
    return vouched.results if _hash(record) == vouched.sha256 else None


def _declared(record: Any) -> tuple[int, ...]:
    """The types of the columns a function declares to return; none where it does not say, or returns nothing."""
    modes = record["modes"] or []
    columns = tuple(kind for kind, mode in zip(record["all_types"] or (), modes, strict=False) if mode in _RESULTS)
    if columns:
        return columns
    if record["returns"] in (_RECORD, _VOID) or record["returns_kind"] == "p":
        return ()
    return tuple(record["fields"]) if record["returns_kind"] == "c" else (record["returns"],)


def _is_plain_aggregate(record: Any) -> bool:
    """One of support functions alone: what it sorts by would run the functions of an operator class."""
    return record["kind"] == "a" and record["sorts_by"] < FIRST_NORMAL_OID and bool(record["parts"])


def _states(record: Any) -> frozenset[int]:
    return frozenset(oid for oid in (record["state"], record["moving_state"]) if oid)
