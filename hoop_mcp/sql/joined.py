"""What the rows of a query are made of: its tables, seen through plain sub-selects, views and WITH queries. Pure.

The tracer follows values; this follows rows: which use of which table stands behind them, which conditions all of them
fulfil, and which column of which use a variable is. Each use counts by itself: a WITH query read twice is two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from hoop_mcp.sql.tree import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hoop_mcp.sql.facts import CatalogFacts, ColumnFacts, RelationFacts

_INNER, _LEFT, _FULL, _RIGHT = "0", "1", "2", "3"
_UNION = "1"
_DEEP = 16

PLAINLY = "Aggregate in one SELECT over tables and inner joins, without sub-selects that aggregate."


class Uncounted(Exception):
    """The people of a row cannot be told. ``why`` and ``instead`` name only what the statement itself names."""

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(why)
        self.why = why
        self.instead = instead


@dataclass(frozen=True, slots=True)
class Level:
    """One query where it stands: ``path`` are the range table places that lead to it."""

    query: Node
    outer: Level | None = None
    path: tuple[int, ...] = ()

    def up(self, levels: int) -> Level:
        """The query *levels* out.

        Raises:
            LookupError: there is none, or it is not known here.
        """
        level: Level | None = self
        for _ in range(levels):
            level = level.outer if level is not None else None
        if level is None:
            raise LookupError("a variable reaches out of the statement")
        return level


@dataclass(frozen=True, slots=True)
class Leaf:
    """One use of a table in FROM, or of rows that no table holds. ``nullable``: an outer join may leave it empty."""

    path: tuple[int, ...]
    relation: RelationFacts | None
    nullable: bool

    @property
    def people(self) -> bool:
        """Whether people are recorded in it."""
        return self.relation is not None and self.relation.people


class Place(NamedTuple):
    """A column of one leaf."""

    path: tuple[int, ...]
    number: int


@dataclass(slots=True)
class Joined:
    """All leaves of a query, and the conditions, AND-ed, that every one of its rows fulfils."""

    leaves: list[Leaf] = field(default_factory=list)
    conditions: list[tuple[Node, Level]] = field(default_factory=list)


def aggregates(query: Node) -> bool:
    """Whether a query makes one row of several: groups, aggregates, windows, DISTINCT, UNION without ALL."""
    union = query.node("setOperations")
    return (
        query.flag("hasAggs")
        or query.flag("hasWindowFuncs")
        or any(query[clause] for clause in ("groupClause", "groupingSets", "distinctClause", "havingQual"))
        or (union is not None and _removes_duplicates(union))
    )


def _removes_duplicates(item: Node) -> bool:
    if item.tag != "SETOPERATIONSTMT":
        return False
    sides = (item.node("larg"), item.node("rarg"))
    return (
        item["op"] != _UNION
        or not item.flag("all")
        or any(side is not None and _removes_duplicates(side) for side in sides)
    )


def bare(expression: Any) -> Node | None:
    """An expression without the relabellings over it, which change nothing."""
    while type(expression) is Node and expression.tag == "RELABELTYPE":
        expression = expression["arg"]
    return expression if type(expression) is Node else None


class Joins:
    """Follows rows through one statement."""

    def __init__(self, facts: CatalogFacts, opaque: Mapping[int, int]) -> None:
        """Follow with what is known; ``opaque`` as for the tracer: vouched metadata, which is not entered."""
        self._facts = facts
        self._opaque = opaque

    def nodes(self, item: Any, *, enter: bool = True) -> Iterator[Node]:
        """Every node of a tree; with ``enter`` false none that lies in a query below."""
        stack = [item]
        while stack:
            node = stack.pop()
            if type(node) is list:
                stack.extend(node)
            elif type(node) is Node:
                if id(node) in self._opaque or (node.tag == "QUERY" and not enter and node is not item):
                    continue
                yield node
                stack.extend(value for value in node.values() if type(value) in (Node, list))

    def of(self, level: Level) -> Joined:
        """The tables and conditions of a query.

        Raises:
            Uncounted: something in its FROM is not followed here.
            LookupError: the tree or the facts lack a part.
        """
        found = Joined()
        self._from(level.query.node("jointree"), level, found, nullable=False)
        return found

    def column(self, expression: Any, level: Level) -> tuple[Place, ColumnFacts] | None:
        """The table's column that an expression is, through nothing but variables; None for anything else."""
        node = bare(expression)
        if node is None or node.tag != "VAR" or node.number("varattno") <= 0:
            return None
        home = level.up(node.number("varlevelsup"))
        index, number = node.number("varno"), node.number("varattno")
        entry = home.query.nodes("rtable")[index - 1]
        match entry.number("rtekind"):
            case 0:
                column = self._facts.relations[entry.number("relid")].columns.get(number)
                return None if column is None else (Place((*home.path, index), number), column)
            case 2:
                return self.column(entry["joinaliasvars"][number - 1], home)
            case 9:
                return self.column(entry["groupexprs"][number - 1], home)
            case _:
                pass
        below = self._below(entry, index, home)
        if below is None or below.query["setOperations"] is not None:
            return None
        shown = [each for each in below.query.nodes("targetList") if not each.flag("resjunk")]
        return self.column(shown[number - 1]["expr"], below)

    def builtin(self, oid: int) -> str | None:
        """``name(types)`` of a function that came with PostgreSQL, None for any other."""
        function = self._facts.functions.get(oid)
        return function.signature if function is not None and function.builtin else None

    def _from(self, item: Node | None, level: Level, found: Joined, *, nullable: bool) -> None:
        if item is None:
            return
        match item.tag:
            case "FROMEXPR":
                for inner in item.nodes("fromlist"):
                    self._from(inner, level, found, nullable=nullable)
                if not nullable:
                    found.conditions.extend((part, level) for part in _anded(item["quals"]))
            case "JOINEXPR":
                kind = item["jointype"]
                if kind not in (_INNER, _LEFT, _FULL, _RIGHT):
                    raise Uncounted("its join is of a kind this gateway does not follow", PLAINLY)
                self._from(item.node("larg"), level, found, nullable=nullable or kind in (_FULL, _RIGHT))
                self._from(item.node("rarg"), level, found, nullable=nullable or kind in (_FULL, _LEFT))
                if kind == _INNER and not nullable:
                    found.conditions.extend((part, level) for part in _anded(item["quals"]))
            case "RANGETBLREF":
                self._leaf(item.number("rtindex"), level, found, nullable=nullable)
            case _:
                raise Uncounted("its FROM is of a kind this gateway does not follow", PLAINLY)

    def _leaf(self, index: int, level: Level, found: Joined, *, nullable: bool) -> None:
        entry = level.query.nodes("rtable")[index - 1]
        below = self._below(entry, index, level)
        if below is not None:
            _passes_rows_through(below.query)
            self._from(below.query.node("jointree"), below, found, nullable=nullable)
            return
        relation = self._facts.relations[entry.number("relid")] if entry["rtekind"] == "0" else None
        found.leaves.append(Leaf((*level.path, index), relation, nullable))

    def _below(self, entry: Node, index: int, level: Level) -> Level | None:
        """The query behind a range table entry: of a sub-select, a view or a WITH query."""
        if id(entry) in self._opaque:
            return None
        if len(level.path) > _DEEP:
            raise Uncounted("its sub-selects are nested too deep to be followed", PLAINLY)
        inner: Node | None = None
        outer = level
        match entry.number("rtekind"):
            case 1:
                inner = entry.node("subquery")
            case 6:
                outer = level.up(entry.number("ctelevelsup"))
                for cte in outer.query.nodes("cteList"):
                    if cte["ctename"] == entry["ctename"]:
                        if cte.flag("cterecursive"):
                            raise Uncounted("it reads a recursive query", PLAINLY)
                        inner = cte.node("ctequery")
            case _:
                return None
        if inner is None:
            raise LookupError("a query that is not there")
        return Level(inner, outer, (*level.path, index))


def _passes_rows_through(query: Node) -> None:
    """Refuse what does more below than choose rows and columns."""
    plain = query["setOperations"] is None and query["limitOffset"] is None and query["limitCount"] is None
    if not plain or aggregates(query) or query.flag("hasTargetSRFs"):
        raise Uncounted("a sub-select, view or WITH query in its FROM does more than choose rows and columns", PLAINLY)


def _anded(predicate: Any) -> Iterator[Node]:
    if type(predicate) is Node:
        if predicate.tag == "BOOLEXPR" and predicate["boolop"] == "and":
            for part in predicate.nodes("args"):
                yield from _anded(part)
        else:
            yield predicate
