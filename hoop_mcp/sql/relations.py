"""Catalog rows to relation facts: which catalogued columns reading a column can show.

A plain column shows itself, and the same column of every child and partition. A generated column, a view and a
materialized view show what they are made from, whatever the catalogue says of them beside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused
from hoop_mcp.sql.bodies import bodies_behind, closure
from hoop_mcp.sql.facts import CatalogFacts, ColumnFacts, RelationFacts
from hoop_mcp.sql.metadata import METADATA, SYSTEM_SCHEMAS
from hoop_mcp.sql.oids import Oids, collect
from hoop_mcp.sql.tracer import Tracer
from hoop_mcp.sql.tree import Node, NodeSchema, read_unwrapped
from hoop_mcp.terms import ColumnRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hoop_mcp.sql.catalogue import Catalogue

_DERIVED = frozenset("vm")


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """``pg_attribute``, with the node text of ``pg_attrdef.adbin`` where the column is generated."""

    number: int
    name: str
    type_oid: int
    generated: str | None
    not_null: bool = False


@dataclass(frozen=True, slots=True)
class RelationRow:
    """``pg_class`` with its columns, all its descendants' OIDs, and the node text of its SELECT rule if it has one.

    ``keys`` are the column numbers of each primary key and unique constraint that holds at every moment.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[ColumnRow, ...]
    children: tuple[int, ...] = ()
    rule: str | None = None
    keys: tuple[tuple[int, ...], ...] = ()

    @property
    def full_name(self) -> str:
        """``schema.name``."""
        return f"{self.schema}.{self.name}"


def rule_relations(row: RelationRow, schema: NodeSchema) -> frozenset[int]:
    """The relations a view or materialized view is made from: what must be loaded beside it."""
    return collect(read_unwrapped(row.rule, schema)).relations - {row.oid} if row.rule else frozenset()


def functions_of(row: RelationRow, schema: NodeSchema) -> frozenset[int]:
    """The functions that a view's rule and generated columns call."""
    texts = [row.rule, *(column.generated for column in row.columns)]
    return collect(*(read_unwrapped(text, schema) for text in texts if text)).functions


class RelationBuilder:
    """Builds the facts of every relation in *rows*; a relation that is missing makes its readers fail closed."""

    def __init__(
        self, rows: Mapping[int, RelationRow], catalogue: Catalogue, facts: CatalogFacts, schema: NodeSchema
    ) -> None:
        self._rows = rows
        self._catalogue = catalogue
        self._facts = facts
        self._schema = schema
        self._built: dict[int, RelationFacts] = {}
        self._busy: set[int] = set()

    def build(self) -> Mapping[int, RelationFacts]:
        """All of them."""
        for oid in self._rows:
            self._relation(oid)
        return self._built

    def _relation(self, oid: int) -> RelationFacts:
        if oid in self._built:
            return self._built[oid]
        if oid in self._busy or oid not in self._rows:
            raise Refused("HOOP213", "A relation the statement reaches is not open to anyone here.")
        self._busy.add(oid)
        row = self._rows[oid]
        if row.schema in SYSTEM_SCHEMAS:
            built = self._metadata(row)
        elif row.kind in _DERIVED:
            built = self._derived(row)
        else:
            built = self._table(row)
        self._busy.discard(oid)
        self._built[oid] = built
        return built

    def _metadata(self, row: RelationRow) -> RelationFacts:
        harmless = METADATA.get(row.full_name)
        columns = {
            column.number: ColumnFacts(column.name, column.type_oid, frozenset())
            for column in row.columns
            if harmless is not None and column.name in harmless
        }
        return RelationFacts(
            row.oid, row.schema, row.name, row.kind, columns, metadata=True, restricted=harmless is None
        )

    def _table(self, row: RelationRow) -> RelationFacts:
        children = [self._relation(child) for child in row.children if child != row.oid]
        columns: dict[int, ColumnFacts] = {}
        for column in row.columns:
            if column.generated is None:
                columns[column.number] = self._own(row, column)
        for column in row.columns:
            if column.generated is not None:
                made_from = self._generated(row, column, columns)
                listed = self._listed(row, column)
                columns[column.number] = ColumnFacts(
                    column.name, column.type_oid, made_from | listed, derived=True, not_null=column.not_null
                )
        for child in children:
            theirs = {column.name: column for column in child.columns.values()}
            for number, mine in columns.items():
                if mine.name in theirs:
                    columns[number] = replace(
                        mine,
                        sources=mine.sources | theirs[mine.name].sources,
                        person=mine.person or theirs[mine.name].person,
                    )
        keys = frozenset(frozenset(key) for key in row.keys if all(_never_null(columns, number) for number in key))
        if row.kind != "p" and row.children:
            # A key of a plain table says nothing of the rows of its children, nor does NOT NULL (18: NO INHERIT).
            keys = frozenset()
            columns = {number: replace(column, not_null=False) for number, column in columns.items()}
        restricted = self._catalogue.restricted(row.full_name) or any(child.restricted for child in children)
        if row.kind == "f" and not self._catalogue.vouches_for_foreign(row.full_name):
            restricted = True  # its rows, and what runs to fetch them, are another server's
        return RelationFacts(row.oid, row.schema, row.name, row.kind, columns, restricted=restricted, keys=keys)

    def _own(self, row: RelationRow, column: ColumnRow) -> ColumnFacts:
        ref = ColumnRef(row.schema, row.name, column.name)
        held = self._catalogue.classify(ref)
        return ColumnFacts(
            column.name,
            column.type_oid,
            frozenset({ref}) if held.personal else frozenset(),
            lookup=held.lookup,
            person=held.person,
            not_null=column.not_null,
        )

    def _listed(self, row: RelationRow, column: ColumnRow) -> frozenset[ColumnRef]:
        """A derived column's own entry in the catalogue: it may add a category, never take one away."""
        ref = ColumnRef(row.schema, row.name, column.name)
        if not self._catalogue.names(ref) or not self._catalogue.classify(ref).personal:
            return frozenset()
        return frozenset({ref})

    def _generated(
        self, row: RelationRow, column: ColumnRow, columns: Mapping[int, ColumnFacts]
    ) -> frozenset[ColumnRef]:
        tree = read_unwrapped(column.generated or "", self._schema)
        sources = self._called(row, column, collect(tree), columns)
        for number in _variables(tree):
            if number == 0:
                return frozenset[ColumnRef]().union(*(column.sources for column in columns.values()))
            if number in columns:
                sources |= columns[number].sources
        return sources

    def _called(
        self, row: RelationRow, column: ColumnRow, oids: Oids, columns: Mapping[int, ColumnFacts]
    ) -> frozenset[ColumnRef]:
        """What users' functions bring into a generated column: all that their bodies reach, and what nobody knows."""
        found: frozenset[ColumnRef] = frozenset()
        for function in bodies_behind(oids, self._facts.functions).values():
            found |= function.results or frozenset()
            if not function.answered_for:
                found |= {ColumnRef(row.schema, row.name, column.name)}
        for oid in closure(oids, self._facts.functions).relations:
            theirs = columns if oid == row.oid else self._relation(oid).columns
            found |= frozenset[ColumnRef]().union(*(each.sources for each in theirs.values()))
        return found

    def _derived(self, row: RelationRow) -> RelationFacts:
        rule = read_unwrapped(row.rule, self._schema) if row.rule else None
        queries = rule if isinstance(rule, list) else []
        query = queries[0] if len(queries) == 1 and type(queries[0]) is Node else None
        reached = closure(collect(query), self._facts.functions).relations
        behind = {oid: self._relation(oid) for oid in sorted(reached - {row.oid})}
        flows: tuple[frozenset[ColumnRef], ...]
        steered = frozenset[ColumnRef]().union(*(relation.steered for relation in behind.values()))
        try:
            if query is None:
                raise Refused("HOOP211", "The rule of a view could not be read.")
            facts = replace(self._facts, relations=behind)
            tracer = Tracer(facts, {})
            flows = tracer.subquery(query, None)
            steered |= tracer.decisive | tracer.lookups
        except (Refused, LookupError):
            # A definition this tracer cannot follow shows everything it could reach, in every column.
            everything = frozenset[ColumnRef]().union(
                *(column.sources for relation in behind.values() for column in relation.columns.values())
            )
            unknown = frozenset({ColumnRef(row.schema, row.name, column.name) for column in row.columns})
            flows = tuple(everything | unknown for _ in row.columns)
        if row.kind == "m":
            # Which rows it holds was decided when it was filled, and no later tree says by what: to read any of its
            # columns is to read of that. Known limit: not of the keys it was grouped by.
            flows = tuple(flow | steered for flow in flows)
        columns = {
            column.number: ColumnFacts(
                column.name,
                column.type_oid,
                (flows[place] if place < len(flows) else frozenset()) | self._listed(row, column),
                lookup=self._catalogue.classify(ColumnRef(row.schema, row.name, column.name)).lookup,
                derived=True,
                person=self._catalogue.classify(ColumnRef(row.schema, row.name, column.name)).person,
            )
            for place, column in enumerate(row.columns)
        }
        restricted = self._catalogue.restricted(row.full_name) or any(
            relation.restricted or relation.kind not in "rpmvf" for relation in behind.values()
        )
        return RelationFacts(
            row.oid,
            row.schema,
            row.name,
            row.kind,
            columns,
            restricted=restricted,
            steered=steered,
            spells=query is None or _holds_a_constant(query),
        )


def _never_null(columns: Mapping[int, ColumnFacts], number: int) -> bool:
    return number in columns and columns[number].not_null


def _nodes(tree: Any) -> Iterator[Node]:
    stack = [tree]
    while stack:
        item = stack.pop()
        if type(item) is list:
            stack.extend(item)
        elif type(item) is Node:
            yield item
            stack.extend(value for value in item.values() if type(value) in (Node, list))


def _holds_a_constant(tree: Any) -> bool:
    return any(node.tag == "CONST" for node in _nodes(tree))


def _variables(tree: Any) -> set[int]:
    return {node.number("varattno") for node in _nodes(tree) if node.tag == "VAR"}
