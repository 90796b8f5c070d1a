"""The query levels a variable may reach up through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hoop_mcp.sql.tree import Node
    from hoop_mcp.terms import ColumnRef


@dataclass(slots=True)
class Scope:
    """One query being traced: its range table, its common table expressions, and the query around it."""

    query: Node
    outer: Scope | None
    range_table: list[Node]
    ctes: dict[str, tuple[frozenset[ColumnRef], ...]] = field(default_factory=dict)
    traced: dict[int, tuple[frozenset[ColumnRef], ...]] = field(default_factory=dict)
    inner: dict[int, Scope] = field(default_factory=dict)
    busy: set[int] = field(default_factory=set)

    def up(self, levels: int) -> Scope:
        """The scope *levels* out; the tree promises it exists."""
        scope: Scope = self
        for _ in range(levels):
            if scope.outer is None:
                raise LookupError("a variable reaches out of the statement")
            scope = scope.outer
        return scope
