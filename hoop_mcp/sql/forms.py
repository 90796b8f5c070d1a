"""Whether an output column is a stored value, or something the agent computed from one.

A mask is judged on the value the catalogue describes. Put over an expression it can be turned into an oracle: with
``partial`` showing a first letter, ``substr(email, g)`` for every g spells the address; with ``redact`` leaving '' and
NULL as they are, ``split_part(street, 'x', 1)`` answers one question a row. So policy applies the lighter operators to
stored values only, and redacts what is computed to one constant, NULL and '' included.

Deliberate direction: what this module does not follow is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hoop_mcp.sql.expressions import TEXT_TYPES
from hoop_mcp.sql.tree import Node
from hoop_mcp.terms import Form

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hoop_mcp.sql.facts import CatalogFacts

PRESERVING = frozenset({"lower(text)", "upper(text)", "initcap(text)", "to_json(anyelement)", "to_jsonb(anyelement)"})
"""Functions after which every entity in a text still stands whole and apart; joining texts is not one of them."""

COLLECTING = frozenset({"array_agg", "json_agg", "jsonb_agg", "min", "max"})
PICKING = frozenset({"lag", "lead", "first_value", "last_value", "nth_value"})


@dataclass(slots=True)
class _Level:
    query: Node
    outer: _Level | None
    ctes: dict[str, Node] = field(default_factory=dict)

    def up(self, levels: int) -> _Level:
        level: _Level | None = self
        for _ in range(levels):
            level = level.outer if level is not None else None
        if level is None:
            raise LookupError("a variable reaches out of the statement")
        return level


class Forms:
    """The forms of the output columns of one statement."""

    def __init__(self, facts: CatalogFacts, opaque: Mapping[int, int]) -> None:
        self._facts = facts
        self._opaque = opaque
        self._known: dict[int, tuple[Form, ...]] = {}

    def of(self, query: Node) -> tuple[Form, ...]:
        """One form for each output column of the whole statement."""
        return self._query(query, None)

    def _query(self, query: Node, outer: _Level | None) -> tuple[Form, ...]:
        if id(query) in self._known:
            return self._known[id(query)]
        shown = [entry for entry in query.nodes("targetList") if not entry.flag("resjunk")]
        self._known[id(query)] = (Form.COMPUTED,) * len(shown)  # what refers to itself on the way is computed
        level = _Level(query, outer, {cte["ctename"]: cte for cte in query.nodes("cteList")})
        united = query.node("setOperations")
        forms = (
            tuple(self._safely(entry["expr"], level) for entry in shown)
            if united is None
            else self._united(united, level, len(shown))
        )
        self._known[id(query)] = forms
        return forms

    def _united(self, item: Node | None, level: _Level, width: int) -> tuple[Form, ...]:
        if item is not None and item.tag == "RANGETBLREF":
            inner = level.query.nodes("rtable")[item.number("rtindex") - 1].node("subquery")
            forms = self._query(inner, level) if inner is not None else ()
            return forms if len(forms) == width else (Form.COMPUTED,) * width
        if item is None or item.tag != "SETOPERATIONSTMT":
            return (Form.COMPUTED,) * width
        sides = (self._united(item.node(side), level, width) for side in ("larg", "rarg"))
        return tuple(max(pair) for pair in zip(*sides, strict=True))

    def _safely(self, expression: Any, level: _Level) -> Form:
        try:
            return self._form(expression, level)
        except (LookupError, TypeError, ValueError):
            return Form.COMPUTED

    def _form(self, item: Any, level: _Level) -> Form:
        if type(item) is not Node:
            return Form.COMPUTED
        match item.tag:
            case "CONST" | "PARAM":
                return Form.STORED  # nothing personal: the other arguments decide
            case "RELABELTYPE":
                return self._form(item["arg"], level)
            case "VAR":
                return self._variable(item, level)
            case "COALESCEEXPR" | "MINMAXEXPR" | "ROWEXPR":
                return self._preserved(item["args"], level)
            case "ARRAYEXPR":
                return self._preserved(item["elements"], level)
            case "CASEEXPR":
                return self._preserved([item["defresult"], *(when["result"] for when in item.nodes("args"))], level)
            case "COERCEVIAIO":
                target = self._facts.types.get(item.number("resulttype"))
                if target is None or target.name not in TEXT_TYPES:
                    return Form.COMPUTED
                return self._preserved([item["arg"]], level)
            case "FIELDSELECT":
                return self._preserved([item["arg"]], level)
            case "FUNCEXPR":
                function = self._facts.functions.get(item.number("funcid"))
                if function is None or not function.builtin or function.signature not in PRESERVING:
                    return Form.COMPUTED
                return self._preserved(item["args"], level)
            case "AGGREF" | "WINDOWFUNC":
                return self._aggregate(item, level)
            case "SUBLINK" if item["subLinkType"] in ("4", "6"):
                inner = item.node("subselect")
                forms = self._query(inner, level) if inner is not None else ()
                return max(Form.PRESERVED, *forms) if forms else Form.COMPUTED
            case _:
                return Form.COMPUTED

    def _preserved(self, items: Iterable[Any] | None, level: _Level) -> Form:
        return max([Form.PRESERVED, *(self._form(item, level) for item in items or ())])

    def _aggregate(self, item: Node, level: _Level) -> Form:
        aggregate = item.tag == "AGGREF"
        function = self._facts.functions.get(item.number("aggfnoid" if aggregate else "winfnoid"))
        if function is None or not function.builtin or function.name not in (COLLECTING if aggregate else PICKING):
            return Form.COMPUTED
        arguments = [entry["expr"] for entry in item.nodes("args")] if aggregate else item.nodes("args")
        return self._preserved(arguments[:1], level)

    def _variable(self, var: Node, level: _Level) -> Form:
        home = level.up(var.number("varlevelsup"))
        number = var.number("varattno")
        if number == 0:
            return Form.PRESERVED  # a whole row, printed with its values apart
        entry = home.query.nodes("rtable")[var.number("varno") - 1]
        match entry.number("rtekind"):
            case 0:
                relation = self._facts.relations[entry.number("relid")]
                return Form.COMPUTED if number > 0 and relation.columns[number].derived else Form.STORED
            case 1 if id(entry) in self._opaque:
                return Form.STORED
            case 1:
                inner = entry.node("subquery")
                return self._query(inner, home)[number - 1] if inner is not None else Form.COMPUTED
            case 2:
                return self._form(entry["joinaliasvars"][number - 1], home)
            case 5:
                return max(self._form(row[number - 1], home) for row in entry["values_lists"])
            case 6:
                where = home.up(entry.number("ctelevelsup"))
                cte = where.ctes[entry["ctename"]]
                inner = cte.node("ctequery")
                if inner is None or cte.flag("cterecursive"):
                    return Form.COMPUTED
                return self._query(inner, where)[number - 1]
            case 9:
                return self._form(entry["groupexprs"][number - 1], home)
            case _:
                return Form.COMPUTED
