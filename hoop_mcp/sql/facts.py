"""What the catalogs say about the OIDs in a tree: frozen, so that the tracer is pure.

The adapter reads the rows (on a second connection, see docs/adr/0003-two-readers.md); :mod:`hoop_mcp.sql.relations`
turns them into these facts with the catalogue's categories already applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.terms import ColumnRef

FIRST_NORMAL_OID = 16384
"""OIDs below this are assigned while the cluster is made: objects no user created (access/transam.h)."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column of a relation.

    ``sources`` are the catalogued columns whose value reading it can show: itself, the
    same column of children, what a generated column or a materialized view is made from; empty when reviewed clean.
    ``derived`` marks one that is computed (generated, or of a view): whether it is null tells what its expression asks,
    and a virtual one is evaluated where it is read.
    """

    name: str
    type_oid: int
    sources: frozenset[ColumnRef]
    lookup: bool = False
    derived: bool = False


@dataclass(frozen=True, slots=True)
class RelationFacts:
    """A table or view by OID.

    ``kind`` is ``pg_class.relkind``. ``metadata`` marks the vouched catalog relations, whose columns beyond the harmless
    ones are simply not in ``columns``. ``steered`` are the columns that decide which rows a view has: of a plain view the
    statement's own tree says so too, of a materialized one nothing else does.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: Mapping[int, ColumnFacts] = field(repr=False)
    metadata: bool = False
    restricted: bool = False
    steered: frozenset[ColumnRef] = frozenset()

    @property
    def full_name(self) -> str:
        """``schema.name``."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A function, aggregate or window function by OID, as ``pg_proc`` has it.

    ``signature`` is ``name(type, …)`` with ``pg_type.typname``s, in the ``pg_catalog`` schema where ``builtin``.
    """

    oid: int
    schema: str
    name: str
    signature: str
    kind: str
    returns_set: bool
    builtin: bool

    @property
    def full_name(self) -> str:
        """``schema.name(types)`` for people; the schema is left out for built-ins."""
        return self.signature if self.builtin else f"{self.schema}.{self.signature}"


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """A type by OID. ``hazardous``: its input, output or CHECK runs code nobody vouched for."""

    oid: int
    schema: str
    name: str
    hazardous: bool


@dataclass(frozen=True, slots=True)
class CatalogFacts:
    """Everything one trace may ask, by OID; what is missing is refused."""

    major: int
    relations: Mapping[int, RelationFacts] = field(repr=False)
    functions: Mapping[int, FunctionFacts] = field(repr=False)
    types: Mapping[int, TypeFacts] = field(repr=False)
