"""The bodies of the describing tools, as plain JSON values. What may be named at all is decided before it comes here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hoop_mcp.terms import JsonValue, Principal

MATCHES_MAX = 200


@dataclass(frozen=True, slots=True)
class DescribedColumn:
    """A column as an agent may know it: no default, no statistics. ``category`` is None where it is not personal.

    ``references`` is the column a foreign key leads to, ``schema.table.column``.
    """

    name: str
    type_name: str
    nullable: bool
    key: bool
    category: str | None
    lookup: bool
    comment: str | None = field(default=None, repr=False)
    references: str | None = None


@dataclass(frozen=True, slots=True)
class DescribedRelation:
    """A table or view; ``kind`` is "table" or "view". Comments have been through the masker."""

    schema: str
    name: str
    kind: str
    columns: tuple[DescribedColumn, ...]
    comment: str | None = field(default=None, repr=False)

    @property
    def full_name(self) -> str:
        """``schema.name``."""
        return f"{self.schema}.{self.name}"


def databases(named: Mapping[str, int]) -> dict[str, JsonValue]:
    """Each database with the number of tables open to the caller."""
    return {
        "status": "ok",
        "databases": [{"name": name, "open_tables": count} for name, count in sorted(named.items())],
    }


def matches(
    database: str, relations: Iterable[DescribedRelation], pattern: str | None, kind: str | None
) -> dict[str, JsonValue]:
    """Tables, views and columns whose name contains the pattern."""
    wanted = (pattern or "").casefold()
    found: list[JsonValue] = []
    for relation in sorted(relations, key=lambda each: each.full_name):
        if kind in (None, relation.kind) and wanted in relation.full_name.casefold():
            found.append({"kind": relation.kind, "name": relation.full_name, "columns": len(relation.columns)})
        if kind in (None, "column") and wanted:
            found += [
                {"kind": "column", "name": f"{relation.full_name}.{column.name}", **_column(column, brief=True)}
                for column in relation.columns
                if wanted in column.name.casefold()
            ]
    return {
        "status": "ok",
        "database": database,
        "matches": found[:MATCHES_MAX],
        "truncated": len(found) > MATCHES_MAX,
    }


def table(
    database: str, relation: DescribedRelation, masks: Mapping[str, str], open_tables: Iterable[str]
) -> dict[str, JsonValue]:
    """One table with its columns in order.

    Args:
        database: its name.
        relation: the table.
        masks: by category, see :func:`hoop_mcp.policy.reach.standing_masks`.
        open_tables: a foreign key to any other table is not told.
    """
    listed = frozenset(open_tables)
    body: dict[str, JsonValue] = {
        "status": "ok",
        "database": database,
        "table": relation.full_name,
        "kind": relation.kind,
        "columns": [
            {"name": column.name, **_column(column, brief=False), **_further(column, masks, listed)}
            for column in relation.columns
        ],
    }
    if relation.comment:
        body["comment"] = relation.comment
    return body


def standing(
    principal: Principal,
    databases_open: Sequence[str],
    limits: Mapping[str, JsonValue],
    engine: str,
) -> dict[str, JsonValue]:
    """The caller's own standing."""
    return {
        "status": "ok",
        "principal": principal.ident,
        "actor": principal.actor,
        "roles": list(principal.roles),
        "purposes": list(principal.purposes),
        "databases": list(databases_open),
        "limits": dict(limits),
        "masking_engine": engine,
    }


def _further(column: DescribedColumn, masks: Mapping[str, str], listed: frozenset[str]) -> dict[str, JsonValue]:
    told: dict[str, JsonValue] = {}
    if column.category is not None and column.category != "none":
        told["mask"] = masks.get(column.category, "by policy")  # not listed: made of several categories
    if column.references is not None and column.references.rpartition(".")[0] in listed:
        told["references"] = column.references
    return told


def _column(column: DescribedColumn, *, brief: bool) -> dict[str, JsonValue]:
    told: dict[str, JsonValue] = {"type": column.type_name}
    if column.category is not None:
        told["category"] = column.category
    if column.lookup:
        told["lookup"] = True
    if brief:
        return told
    if not column.nullable:
        told["nullable"] = False
    if column.key:
        told["key"] = True
    if column.comment:
        told["comment"] = column.comment
    return told


def with_comments(
    relation: DescribedRelation, comment: str | None, column_comments: Sequence[str | None]
) -> DescribedRelation:
    """The relation with its comments replaced, in order."""
    columns = tuple(
        replace(column, comment=text) for column, text in zip(relation.columns, column_comments, strict=True)
    )
    return replace(relation, comment=comment, columns=columns)
