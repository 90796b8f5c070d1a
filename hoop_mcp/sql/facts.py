"""What the catalogs say about the OIDs in a tree: frozen, so that the tracer is pure.

The adapter reads the rows (on a second connection, see docs/adr/0003-two-readers.md); :mod:`hoop_mcp.sql.relations`
turns them into these facts with the catalogue's categories already applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.sql.tree import Node
    from hoop_mcp.terms import ColumnRef

FIRST_NORMAL_OID = 16384
"""OIDs below this are assigned while the cluster is made: objects no user created (access/transam.h)."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column of a relation.

    ``sources`` are the catalogued columns whose value reading it can show: itself, the
    same column of children, what a generated column or a materialized view is made from; empty when reviewed clean.
    ``derived`` marks one that is computed (generated, or of a view): whether it is null tells what its expression asks,
    and a virtual one is evaluated where it is read. ``person`` is the group of people that the catalogue says it
    identifies one of; ``not_null`` what PostgreSQL itself guarantees of every row, children included.
    """

    name: str
    type_oid: int
    sources: frozenset[ColumnRef]
    lookup: bool = False
    derived: bool = False
    person: str | None = None
    not_null: bool = False


@dataclass(frozen=True, slots=True)
class RelationFacts:
    """A table or view by OID.

    ``kind`` is ``pg_class.relkind``. ``metadata`` marks the vouched catalog relations, whose columns beyond the harmless
    ones are simply not in ``columns``. ``steered`` are the columns that decide which rows a view has: of a plain view the
    statement's own tree says so too, of a materialized one nothing else does. ``keys`` are the sets of column numbers that
    differ between any two rows and are never null, children included. ``spells`` is whether its definition may hold a
    value: false only of a view without a constant.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: Mapping[int, ColumnFacts] = field(repr=False)
    metadata: bool = False
    restricted: bool = False
    steered: frozenset[ColumnRef] = frozenset()
    keys: frozenset[frozenset[int]] = frozenset()
    spells: bool = True

    @property
    def people(self) -> bool:
        """Whether people are recorded in it: somebody is identified, or something personal is held."""
        return any(column.person is not None or column.sources for column in self.columns.values())

    @property
    def full_name(self) -> str:
        """``schema.name``."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """What a function in SQL is: the trees of its one statement, as the server analyses it for the login that runs it.

    ``defaults`` are those of the last of its ``arguments`` arguments; ``results`` the OIDs of the types it declares to
    return, one for each column. ``dumps`` are the texts of both trees: what the server prints when it analyses the
    function to run it must be one of them.
    """

    parse: Node = field(repr=False)
    rewritten: Node = field(repr=False)
    defaults: tuple[Node, ...] = field(repr=False)
    arguments: int
    results: tuple[int, ...]
    dumps: frozenset[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A function, aggregate or window function by OID, as ``pg_proc`` has it.

    ``signature`` is ``name(type, …)`` with ``pg_type.typname``s, in the ``pg_catalog`` schema where ``builtin``.
    Of a user's function ``identity`` is its name as :mod:`.signatures` spells it, and at most one of these says what it
    does: ``body`` where PostgreSQL tells; ``results`` where the catalogue vouches for its source, the columns its result
    stands for; ``extension`` where the catalogue vouches for the version of the extension it belongs to; ``support``, the
    functions an aggregate is made of, the one that takes the arguments first.
    """

    oid: int
    schema: str
    name: str
    signature: str
    kind: str
    returns_set: bool
    builtin: bool
    identity: str = ""
    strict: bool = False
    body: Body | None = field(default=None, repr=False)
    results: frozenset[ColumnRef] | None = None
    extension: bool = False
    support: tuple[int, ...] = ()

    @property
    def full_name(self) -> str:
        """``schema.name(types)`` for people; the schema is left out for built-ins."""
        return self.signature if self.builtin else self.identity or f"{self.schema}.{self.signature}"

    @property
    def answered_for(self) -> bool:
        """Whether it is known what a user's function does, or somebody vouches for it."""
        return self.body is not None or self.opaque or bool(self.support)

    @property
    def opaque(self) -> bool:
        """Whether it is vouched for without being understood: it may analyse statements of its own while it runs."""
        return self.extension or self.results is not None


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """A type by OID. ``hazardous``: its input, output or CHECK runs code nobody vouched for.

    ``made_of`` are the types its values hold: of an array, a domain, a range, a composite. ``domain`` is one.
    """

    oid: int
    schema: str
    name: str
    hazardous: bool
    made_of: tuple[int, ...] = ()
    domain: bool = False


@dataclass(frozen=True, slots=True)
class CatalogFacts:
    """Everything one trace may ask, by OID; what is missing is refused.

    ``operators`` are those users made that are nothing but another way to write a call of their function; ``ordering``
    those of vouched extensions, which may also sort, group and join; ``families`` the operator families of these.
    """

    major: int
    relations: Mapping[int, RelationFacts] = field(repr=False)
    functions: Mapping[int, FunctionFacts] = field(repr=False)
    types: Mapping[int, TypeFacts] = field(repr=False)
    operators: frozenset[int] = frozenset()
    ordering: frozenset[int] = frozenset()
    families: frozenset[int] = frozenset()
