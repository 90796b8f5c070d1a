"""How much larger than what is stored a statement can make a value, counted before anything runs.

``concat(x, x, …)`` over a sub-query that does the same, five levels deep, is half a page of SQL. The planner folds the
sub-queries into each other and copies the inner expression at every mention, heedless of ``statement_timeout``, until
the machine has no memory left. Where it does come to run, PostgreSQL's limit of 1 GB a value raises or does not raise
by the length of what is stored, and ``translate()`` makes any question about a value a question about a length. So
every column gets a weight: how many mentions it unfolds to, four times that for each function that escapes its argument
(``quote_literal`` of ``quote_literal`` doubles a quote each time). More than :data:`MAX_WEIGHT` is refused, whatever it
is about.

Known limit: a value of tens of kilobytes still reaches 1 GB below that weight, and one aggregate that collects rows may
grow with their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused
from hoop_mcp.sql.tree import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.sql.facts import CatalogFacts

MAX_WEIGHT = 50_000

_ESCAPING = frozenset(
    {
        "array_to_json",
        "encode",
        "format",
        "json_agg",
        "json_build_array",
        "json_build_object",
        "jsonb_agg",
        "jsonb_build_array",
        "jsonb_build_object",
        "jsonb_pretty",
        "quote_ident",
        "quote_literal",
        "quote_nullable",
        "row_to_json",
        "to_json",
        "to_jsonb",
    }
)
_FACTOR = 4


class _Level:
    """One query, the weights of its range table entries and common table expressions as far as they are known."""

    __slots__ = ("ctes", "entries", "known", "outer")

    def __init__(self, query: Node, outer: _Level | None) -> None:
        self.outer = outer
        self.entries = query.nodes("rtable")
        self.ctes: dict[str, list[int]] = {}
        self.known: dict[int, list[int]] = {}

    def up(self, levels: int) -> _Level:
        level: _Level = self
        for _ in range(levels):
            if level.outer is None:
                raise LookupError("a variable reaches out of the statement")
            level = level.outer
        return level


def check_growth(query: Node, facts: CatalogFacts, opaque: Mapping[int, int]) -> None:
    """Refuse a rewritten tree in which any expression outgrows :data:`MAX_WEIGHT`.

    Args:
        query: the tree.
        facts: for the names of functions.
        opaque: ``id()`` of the range table entries that are not entered (vouched metadata views).

    Raises:
        Refused: HOOP207.
    """
    _Weights(facts, opaque).query(query, None)


class _Weights:
    def __init__(self, facts: CatalogFacts, opaque: Mapping[int, int]) -> None:
        self._facts = facts
        self._opaque = opaque

    def query(self, query: Node, outer: _Level | None) -> list[int]:
        """The weight of each output column."""
        level = _Level(query, outer)
        for cte in query.nodes("cteList"):
            inner = cte.node("ctequery")
            if inner is not None:
                level.ctes[cte["ctename"]] = []  # what a recursive query reads of itself weighs one
                level.ctes[cte["ctename"]] = self.query(inner, level)
        for index in range(1, len(level.entries) + 1):
            self._entry(index, level)
        for name, value in query.items():
            if name not in ("cteList", "rtable", "targetList"):
                self._weight(value, level)
        return [self._weight(entry["expr"], level) for entry in query.nodes("targetList") if entry["resjunk"] != "true"]

    def _entry(self, index: int, level: _Level) -> list[int]:
        if index in level.known or not 1 <= index <= len(level.entries):
            return level.known.get(index, [])
        level.known[index] = []
        entry = level.entries[index - 1]
        weights: list[int] = []
        match entry["rtekind"]:
            case "1" if id(entry) in self._opaque:
                pass
            case "1":
                inner = entry.node("subquery")
                weights = self.query(inner, level) if inner is not None else []
            case "2":
                weights = [self._weight(alias, level) for alias in entry["joinaliasvars"] or []]
            case "5":
                rows = [[self._weight(cell, level) for cell in row] for row in entry["values_lists"]]
                weights = [max(column) for column in zip(*rows, strict=False)]
            case "6":
                weights = level.up(entry.number("ctelevelsup")).ctes.get(entry["ctename"], [])
            case "9":
                weights = [self._weight(expression, level) for expression in entry["groupexprs"] or []]
            case _:
                self._weight(entry.get("functions"), level)
        self._weight(entry["securityQuals"], level)
        level.known[index] = weights
        return weights

    def _weight(self, item: Any, level: _Level) -> int:
        """Mentions that *item* unfolds to: at least one."""
        if type(item) is list:
            return max(1, sum(self._weight(inner, level) for inner in item if type(inner) in (Node, list)))
        if type(item) is not Node:
            return 1
        if item.tag == "QUERY":
            return max(1, sum(self.query(item, level)))
        if item.tag == "VAR":
            return self._variable(item, level)
        weight = sum(self._weight(value, level) for value in item.values() if type(value) in (Node, list))
        if self._escapes(item):
            weight *= _FACTOR
        if weight > MAX_WEIGHT:
            raise Refused(
                "HOOP207",
                "The statement is too large to analyse: it repeats a value inside itself many thousand times.",
            )
        return max(1, weight)

    def _variable(self, var: Node, level: _Level) -> int:
        home = level.up(var.number("varlevelsup"))
        weights = self._entry(var.number("varno"), home)
        number = var.number("varattno")
        if number == 0:
            return max(1, sum(weights))
        return weights[number - 1] if 0 < number <= len(weights) else 1

    def _escapes(self, item: Node) -> bool:
        if item.tag == "COERCEVIAIO":
            return True
        oid = item.get("funcid") or item.get("aggfnoid") or item.get("winfnoid")
        function = self._facts.functions.get(int(oid)) if isinstance(oid, str) else None
        return function is not None and function.name in _ESCAPING
