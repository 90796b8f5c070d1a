"""What statements are made of: the relations of a database, and the functions this product vouches for, by type."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hoop_mcp.sql.functions import Vouched, vouched_functions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.adapters.postgres import PostgresDatabase

TEXTUAL = frozenset({"text", "varchar", "bpchar", "name", "citext"})
MOVING = re.compile(r"now|timestamp\(\)|timeofday|random|current_database|version\(|clock|gen_random")
"""Functions whose answer is another each time, or that say which database was asked."""

_POLYMORPHIC = {
    "any": "text", "anyelement": "text", "anycompatible": "text", "anynonarray": "text", "anyarray": "_text",
    "anycompatiblearray": "_text", "anyenum": "enum", "record": "row", "varchar": "text", "name": "text",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column as statements see it: ``kind`` is a type the grammar knows, or "other"."""

    name: str
    kind: str
    personal: bool
    lookup: bool = False


@dataclass(frozen=True)
class Relation:
    """A table or view that may be read, by its full name."""

    name: str
    columns: tuple[Column, ...]
    composite: bool


@dataclass(frozen=True)
class Function:
    """A vouched function: what it takes and gives, and what its judgement says of each argument."""

    name: str
    arguments: tuple[str, ...]
    gives: str
    kind: str
    many: bool
    variadic: bool
    judged: Vouched


@dataclass(frozen=True)
class Vocabulary:
    """Everything a statement may be made of."""

    relations: tuple[Relation, ...]
    functions: Mapping[str, tuple[Function, ...]] = field(repr=False)
    aggregates: tuple[Function, ...] = field(repr=False)
    windows: tuple[Function, ...] = field(repr=False)
    sets: tuple[Function, ...] = field(repr=False)
    enum: str | None = None
    made: tuple[Function, ...] = ()


_PROCEDURES = """
SELECT p.proname::text, p.prokind::text, p.proretset, p.provariadic <> 0 AS variadic, r.typname::text AS gives,
  ARRAY(SELECT t.typname::text FROM unnest(p.proargtypes) WITH ORDINALITY u(type, place)
        JOIN pg_type t ON t.oid = u.type ORDER BY u.place) AS arguments
FROM pg_proc p JOIN pg_type r ON r.oid = p.prorettype
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 ORDER BY p.oid
"""

_MADE = """
SELECT n.nspname || '.' || p.proname AS name, p.proretset, r.typname::text AS gives,
  ARRAY(SELECT CASE WHEN t.typtype = 'c' THEN 'row ' || tn.nspname || '.' || t.typname ELSE t.typname::text END
        FROM unnest(p.proargtypes) WITH ORDINALITY u(type, place) JOIN pg_type t ON t.oid = u.type
        JOIN pg_namespace tn ON tn.oid = t.typnamespace ORDER BY u.place) AS arguments
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_type r ON r.oid = p.prorettype
JOIN pg_language l ON l.oid = p.prolang
WHERE p.oid >= 16384 AND p.prokind = 'f' AND l.lanname IN ('sql', 'plpgsql')
  AND n.nspname NOT LIKE 'pg%' AND r.typname NOT IN ('void', 'trigger') ORDER BY p.oid
"""
"""Functions of the schema's own, of which the tracer reads the bodies it can, and refuses the rest."""


async def learn(database: PostgresDatabase) -> Vocabulary:
    """The vocabulary of a governed database."""
    types = database.catalog.types.rows
    relations = []
    enum = None
    for facts in (await database.relations()).values():
        if facts.restricted or facts.kind not in "rpvm" or facts.metadata:
            continue
        columns = []
        for column in facts.columns.values():
            row = types[column.type_oid]
            while row.kind == "d":
                row = types[row.needs[0]]
            if row.kind == "e":
                enum = f"{row.schema}.{row.name}"
            kind = "enum" if row.kind == "e" else "text" if row.name in TEXTUAL else row.name
            columns.append(Column(column.name, kind, bool(column.sources), column.lookup))
        relations.append(Relation(facts.full_name, tuple(columns), composite=facts.kind in "rp"))
    relations.sort(key=lambda relation: relation.name)
    connection = await database.connect(next(iter(database._dsns)))
    try:
        procedures = await connection.fetch(_PROCEDURES)
        own = await connection.fetch(_MADE)
    finally:
        await connection.close()
    found = []
    for row in procedures:
        signature = f"{row['proname']}({','.join(row['arguments'])})"
        judged = vouched_functions().get(signature)
        if judged is None or MOVING.search(signature) or (enum is None and "anyenum" in row["arguments"]):
            continue
        arguments = tuple(_POLYMORPHIC.get(kind, kind) for kind in row["arguments"])
        gives = _POLYMORPHIC.get(row["gives"], row["gives"])
        found.append(
            Function(row["proname"], arguments, gives, row["prokind"], row["proretset"], row["variadic"], judged)
        )
    plain: dict[str, list[Function]] = {}
    for function in found:
        if function.kind == "f" and not function.many:
            plain.setdefault(function.gives, []).append(function)
    return Vocabulary(
        tuple(relations),
        {kind: tuple(functions) for kind, functions in plain.items()},
        tuple(f for f in found if f.kind == "a"),
        tuple(f for f in found if f.kind == "w"),
        tuple(f for f in found if f.many),
        enum,
        tuple(
            Function(
                row["name"],
                tuple(_POLYMORPHIC.get(kind, kind) for kind in row["arguments"]),
                _POLYMORPHIC.get(row["gives"], row["gives"]),
                "f",
                row["proretset"],
                variadic=False,
                judged=Vouched("p"),
            )
            for row in own
        ),
    )
