"""How much larger than what is stored a statement can make a value, counted before anything runs.

``concat(x, x, …)`` over a sub-query that does the same, five levels deep, is half a page of SQL. The planner folds the
sub-queries into each other and copies the inner expression at every mention, heedless of ``statement_timeout``, until
the machine has no memory left. Where it does come to run, PostgreSQL's limit of 1 GB a value raises or does not raise
by the length of what is stored, and ``translate()`` makes any question about a value a question about a length. So
every column gets a weight: how many mentions it unfolds to, four times that for each function that escapes its argument
(``quote_literal`` of ``quote_literal`` doubles a quote each time). More than :data:`MAX_WEIGHT` is refused, whatever it
is about.

A constant weighs by its length, so that what the statement brings along counts like what it repeats.

Known limit: a stored value of tens of kilobytes still reaches 1 GB below that weight, and one aggregate that collects
rows grows with their number, in a process of the server, for as long as ``statement_timeout`` allows. What comes out of it
is dropped where it arrives (:mod:`hoop_mcp.adapters.postgres_meter`); the rest is for the operating system's limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused
from hoop_mcp.sql.bodies import check_nesting
from hoop_mcp.sql.constants import constant
from hoop_mcp.sql.tree import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.sql.facts import CatalogFacts, FunctionFacts

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
_BYTES_A_MENTION = 64
_MAX_CALLS = 500
_PROBE = 1_000
_REPLACING = frozenset({"regexp_replace", "replace"})


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
        self._bound: list[dict[int, int]] = []
        self._inside: list[int] = []
        self._calls = 0

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
            if type(value) in (Node, list) and name not in ("cteList", "rtable", "targetList"):
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
            case "3":
                for function in entry.nodes("functions"):
                    weight = self._weight(function["funcexpr"], level)
                    weights += [weight] * function.number("funccolcount")
                weights.append(1)  # WITH ORDINALITY
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
        if item.tag == "CONST":
            octets = item["constvalue"]
            return 1 + (len(octets) // _BYTES_A_MENTION if isinstance(octets, bytes) else 0)
        if item.tag == "PARAM":
            return self._bound[-1].get(item.number("paramid") - 1, 1) if self._bound else 1
        weight = sum(self._weight(value, level) for value in item.values() if type(value) in (Node, list))
        weight = max(weight, self._made(item, level))
        if self._escapes(item):
            weight *= _FACTOR
        weight *= self._replaces(item)
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
        if item.tag in ("COERCEVIAIO", "XMLEXPR"):
            return True
        function = self._function(item)
        return function is not None and function.name in _ESCAPING

    def _made(self, item: Node, level: _Level) -> int:
        """What a user's function makes of its arguments: as often as its body mentions them."""
        function = self._function(item)
        if function is None or function.builtin:
            return 1
        if function.support:
            self._steady(function)
            return 1
        if function.body is None:
            return 1
        arguments = enumerate(item.nodes("args"))
        return self._body(
            function,
            {
                each.number("argnumber") if each.tag == "NAMEDARGEXPR" else place: self._weight(each, level)
                for place, each in arguments
            },
        )

    def _body(self, function: FunctionFacts, weights: dict[int, int]) -> int:
        body = function.body
        if body is None:
            return 1
        self._calls += 1
        check_nesting(function.oid, self._inside)
        if self._calls > _MAX_CALLS:
            raise Refused("HOOP207", "The statement calls functions that call functions more often than is analysed.")
        missing = body.arguments - len(body.defaults)
        for place in range(max(0, missing), body.arguments):
            if place not in weights:
                weights[place] = self._weight(body.defaults[place - missing], _Level(body.rewritten, None))
        self._bound.append(weights)
        self._inside.append(function.oid)
        try:
            return max(1, sum(self.query(body.rewritten, None)))
        finally:
            self._inside.pop()
            self._bound.pop()

    def _steady(self, aggregate: FunctionFacts) -> None:
        """A step that says its state twice doubles it each row: thirty rows are a gigabyte."""
        step = self._facts.functions.get(aggregate.support[0])
        if step is None or step.body is None:
            return
        rest = dict.fromkeys(range(1, step.body.arguments), 1)
        if self._body(step, {0: _PROBE, **rest}) > _PROBE + _FACTOR * (1 + len(rest)):
            raise Refused("HOOP207", "The statement uses an aggregate that grows with every row.")

    def _replaces(self, item: Node) -> int:
        """How much longer a replacement by a constant makes a text at most."""
        function = self._function(item)
        if function is None or function.name not in _REPLACING:
            return 1
        args = item.nodes("args")
        new = constant(args[2], self._facts.types) if len(args) > 2 else None
        if not isinstance(new, str):
            return 1  # over personal data such a call is a probe
        old = constant(args[1], self._facts.types) if function.name == "replace" else None
        if isinstance(old, str):
            return -(-len(new) // max(1, len(old))) or 1
        return len(new) + 2  # a pattern may match nothing, before each character; what it matched may be said again

    def _function(self, item: Node) -> FunctionFacts | None:
        oid = item.get("funcid") or item.get("opfuncid") or item.get("aggfnoid") or item.get("winfnoid")
        return self._facts.functions.get(int(oid)) if isinstance(oid, str) else None
