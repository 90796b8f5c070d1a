"""How a personal value moves through an expression.

Two things can happen to it. It *flows*: the result carries it, so the result is masked. Or it *steers*: which rows come
back, their order, their number, or whether an error is raised depends on it, so it is a probe and policy must open that.
A comparison in the target list does both, because its result is one bit of the value.

A node that has no case here is refused (HOOP211). Deliberate direction throughout: where PostgreSQL may or may not
raise on a value, this says it does.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused
from hoop_mcp.sql import xml
from hoop_mcp.sql.constants import came_with_postgres, constant
from hoop_mcp.sql.fields import FIELDS
from hoop_mcp.sql.functions import Vouched, vouched_functions
from hoop_mcp.sql.oids import mentioned_relation
from hoop_mcp.sql.tree import Node
from hoop_mcp.terms import ColumnRef

if TYPE_CHECKING:
    from hoop_mcp.sql.facts import CatalogFacts, FunctionFacts
    from hoop_mcp.sql.scope import Scope

Flow = frozenset  # of ColumnRef: the catalogued columns whose value an expression can carry
NOTHING: Flow[ColumnRef] = frozenset()
COLLECTED = ColumnRef("", "", "")
"""In a flow beside the columns: an aggregate has put many rows into one value. Doing so again multiplies, and where a
value reaches 1 GB PostgreSQL raises: its length becomes an error. Never leaves the tracer."""

TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name"})
"""A cast to one of these cannot raise on content; any other cast of a personal value is a probe."""

_EXISTS, _ALL, _ANY, _ROWCOMPARE, _EXPR, _MULTIEXPR, _ARRAY = range(7)
_HARMLESS = frozenset({"CONST", "SQLVALUEFUNCTION", "GROUPINGFUNC"})
_THROUGH = frozenset({"RELABELTYPE", "COLLATEEXPR", "NULLTEST", "BOOLEANTEST"})
_COLLECTING = frozenset({"array_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "string_agg"})
_COMPARES = re.compile(
    r"(?:int[248]+|float[48]+|text|text_|bpchar|name|bool|char|oid|"
    r"(?:numeric|date|time|timestamp|timestamptz|interval|uuid|enum)_)(?:eq|ne|lt|le|gt|ge)\("
)
"""Comparisons of scalars, which answer for any two values."""
_MAX_STEPS = 100_000
"""Expressions walked, a recursive query each time anew: nested ones would take hours, and nothing else runs meanwhile."""


class ExpressionTracer(ABC):
    """Flows through expressions; what a query or a variable is, the subclass knows."""

    def __init__(self, facts: CatalogFacts) -> None:
        self._facts = facts
        self._vouched = vouched_functions()
        self._case_tests: list[Flow[ColumnRef]] = []
        self.decisive: set[ColumnRef] = set()
        self.keys: set[ColumnRef] = set()
        self.functions: set[str] = set()
        self.told: set[str] = set()
        self._steps = 0

    @abstractmethod
    def subquery(self, query: Node, outer: Scope | None) -> tuple[Flow[ColumnRef], ...]:
        """Trace a nested query; the flow of each output column."""

    @abstractmethod
    def variable(self, var: Node, scope: Scope) -> Flow[ColumnRef]:
        """The flow of a VAR."""

    @abstractmethod
    def is_bare_column(self, expression: Node, scope: Scope) -> bool:
        """Whether an expression is, through nothing but variables, a column of a base table."""

    @abstractmethod
    def window_frame(self, reference: int, scope: Scope) -> Flow[ColumnRef]:
        """The flow of the frame bounds of a window, by its number."""

    @abstractmethod
    def user_call(self, function: FunctionFacts, arguments: list[Node], scope: Scope) -> tuple[Flow[ColumnRef], ...]:
        """The flow of each column of what a user's function or aggregate makes of its arguments."""

    @abstractmethod
    def is_settled(self, parameter: Node) -> bool:
        """Whether evaluating a parameter cannot raise."""

    def steer(self, flow: Flow[ColumnRef]) -> None:
        """Whatever is personal in *flow* decides something: a probe."""
        self.decisive.update(flow - {COLLECTED})

    def order(self, flow: Flow[ColumnRef]) -> None:
        """Whatever is personal in *flow* sorts, groups or makes distinct: a probe like the others, kept apart."""
        self.keys.update(flow - {COLLECTED})

    @property
    def probes(self) -> frozenset[ColumnRef]:
        """Everything that steers, in whatever way."""
        return frozenset(self.decisive | self.keys)

    def flow(self, item: Any, scope: Scope) -> Flow[ColumnRef]:
        """The flow of an expression, a list of them, or nothing.

        Raises:
            Refused: HOOP211 for a node with no case, HOOP204 for a function nobody vouched for.
        """
        if item is None:
            return NOTHING
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise Refused("HOOP207", "The statement is too large to analyse: it repeats itself too often.")
        if type(item) is list:
            return NOTHING.union(*(self.flow(inner, scope) for inner in item))
        if type(item) is not Node:
            raise not_understood("a bare word where an expression belongs")
        match item.tag:
            case "VAR":
                return self.variable(item, scope)
            case "CONST" | "SQLVALUEFUNCTION" | "GROUPINGFUNC":
                return NOTHING
            case "PARAM":
                return self._parameter(item)
            case "RELABELTYPE":
                return self.flow(item["arg"], scope)
            case "TARGETENTRY":
                return self.flow(item["expr"], scope)
            case "COLLATEEXPR" | "NAMEDARGEXPR":
                return self.flow(item["arg"], scope)
            case "FUNCEXPR":
                return self._call(item, item.number("funcid"), scope, returns_set=item.flag("funcretset"))
            case "OPEXPR":
                return self._call(item, item.number("opfuncid"), scope)
            case "DISTINCTEXPR" | "NULLIFEXPR" | "SCALARARRAYOPEXPR":
                flow = self._call(item, item.number("opfuncid"), scope)
                self.steer(flow)  # a comparison, whatever the function would do alone
                return flow
            case "BOOLEXPR":
                return self._boolean(item, scope)
            case "BOOLEANTEST":
                return self.flow(item["arg"], scope)
            case "NULLTEST":
                return self._null_test(item, scope)
            case "CASEEXPR":
                return self._case(item, scope)
            case "CASETESTEXPR":
                if not self._case_tests:
                    raise not_understood("a CASE placeholder outside CASE")
                return self._case_tests[-1]
            case "COALESCEEXPR":
                return self._coalesce(item, scope)
            case "MINMAXEXPR" | "ROWEXPR":
                return self.flow(item["args"], scope)
            case "ARRAYEXPR":
                return self.flow(item["elements"], scope)
            case "ROWCOMPAREEXPR":
                flow = self.flow(item["largs"], scope) | self.flow(item["rargs"], scope)
                self.steer(flow)
                return flow
            case "AGGREF":
                return self._aggregate(item, scope)
            case "WINDOWFUNC":
                return self._window_function(item, scope)
            case "SUBLINK":
                return self._sublink(item, scope)
            case "COERCEVIAIO" | "COERCETODOMAIN":
                return self._cast(item, scope)
            case "ARRAYCOERCEEXPR":
                # An array cast applies its element expression to every element: the taint goes through it.
                return self._with_case_test(self.flow(item["arg"], scope), item["elemexpr"], scope)
            case "FIELDSELECT":
                return self.field(item, scope)
            case "XMLEXPR":
                flow = self.flow(item["named_args"], scope) | self.flow(item["args"], scope)
                if not xml.total(item, self._facts.types):
                    self.steer(flow)
                return flow
            case "SUBSCRIPTINGREF":
                return self._subscript(item, scope)
            case tag:
                raise not_understood(tag if tag in FIELDS else tag.lower())

    def field(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        """One field of a composite: the composite's whole flow, unless the subclass knows better."""
        return self.flow(item["arg"], scope)

    # -- one case each

    def _parameter(self, item: Node) -> Flow[ColumnRef]:
        if item["paramkind"] not in ("0", "2"):  # extern; the placeholder inside a sub-select comparison
            raise not_understood("an assignment from a row sub-select")
        return NOTHING

    def _null_test(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        # IS NULL says nothing of the value only on a bare column; substring(email from '^al') IS NOT NULL is a LIKE.
        if not item.flag("argisrow") and self.is_bare_column(item["arg"], scope):
            return NOTHING
        flow = self.flow(item["arg"], scope)
        self.steer(flow)
        return flow

    def _case(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        test = self.flow(item["arg"], scope)
        self.steer(test)
        result = test | self.flow(item["defresult"], scope)
        for when in item.nodes("args"):
            condition = self._with_case_test(test, when["expr"], scope)
            self.steer(condition)
            result |= condition | self.flow(when["result"], scope)  # the branch taken tells of the condition
        return result

    def _coalesce(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        # COALESCE is a CASE: whether a later argument is evaluated, and so may raise, depends on the earlier ones.
        args = item.nodes("args")
        flow = self.flow(args[0], scope)
        for later in args[1:]:
            if not self._cannot_raise(later, scope):
                self.steer(flow)
            flow |= self.flow(later, scope)
        return flow

    def _boolean(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        # AND and OR stop where the answer is known, so one part decides whether another is evaluated, and may raise;
        # in which order PostgreSQL does not promise. A boolean column needs no comparison to be such a part.
        args = item.nodes("args")
        flows = [self.flow(part, scope) for part in args]
        if any(flows):
            raising = [not self._cannot_raise(part, scope) for part in args]
            for place, flow in enumerate(flows):
                if flow and any(raising[:place] + raising[place + 1 :]):
                    self.steer(flow)
        return NOTHING.union(*flows)

    def _cannot_raise(self, expression: Any, scope: Scope) -> bool:
        """Whether an expression has a value whatever its columns hold, and so it does not matter if it is evaluated.

        A variable counts only where it is a stored column: one of a sub-query stands for the sub-query's expression,
        which the planner moves to where the variable is.
        """
        if type(expression) is not Node:
            return False
        if expression.tag in _HARMLESS:
            return True
        if expression.tag == "PARAM":
            return self.is_settled(expression)
        if expression.tag in _THROUGH:
            return self._cannot_raise(expression["arg"], scope)
        if expression.tag == "VAR":
            return self.is_bare_column(expression, scope)
        if expression.tag == "BOOLEXPR":
            return all(self._cannot_raise(part, scope) for part in expression.nodes("args"))
        if expression.tag in ("OPEXPR", "DISTINCTEXPR", "FUNCEXPR"):
            function = self._facts.functions.get(
                expression.number("funcid" if expression.tag == "FUNCEXPR" else "opfuncid")
            )
            if function is None or not function.builtin or function.returns_set:
                return False
            judged = self._vouched.get(function.signature)
            total = judged is not None and not judged.conditions and "s" not in judged.arguments
            return (total or _COMPARES.match(function.signature) is not None) and all(
                self._cannot_raise(part, scope) for part in expression.nodes("args")
            )
        return False

    def _with_case_test(self, test: Flow[ColumnRef], expression: Any, scope: Scope) -> Flow[ColumnRef]:
        self._case_tests.append(test)
        try:
            return test | self.flow(expression, scope)
        finally:
            self._case_tests.pop()

    def _cast(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        flow = self.flow(item["arg"], scope)
        target = self._facts.types.get(item.number("resulttype"))
        if flow and (item.tag == "COERCETODOMAIN" or target is None or target.name not in TEXT_TYPES):
            self.steer(flow)
        return flow

    def _subscript(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        if item["refassgnexpr"] is not None:
            raise not_understood("an assignment to an element")
        where = NOTHING
        for bound in _bounds(item):
            where |= self.flow(bound, scope)
        self.steer(where)
        held = self.flow(item["refexpr"], scope)
        if held and not all(self._cannot_raise(bound, scope) for bound in _bounds(item)):
            self.steer(held)  # of a null array no subscript is evaluated
        return where | held

    def _sublink(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        kind = item.number("subLinkType")
        test = self.flow(item["testexpr"], scope)
        outputs = NOTHING.union(*self.subquery(_query(item["subselect"]), scope))
        if kind == _EXISTS:
            return NOTHING  # whether rows exist was judged where the sub-select filters
        if kind in (_ANY, _ALL, _ROWCOMPARE):
            self.steer(test | outputs)
            return test | outputs
        if kind in (_EXPR, _ARRAY):
            return outputs
        raise not_understood("a sub-select that assigns")

    def _aggregate(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        function = self._function(item.number("aggfnoid"))
        chosen = self.flow(item["aggfilter"], scope)
        self.steer(chosen)
        arguments = [entry["expr"] for entry in item.nodes("args")]
        if function.name == "count" and function.builtin:
            return chosen | self._count(item, arguments, scope)
        entries = {entry["ressortgroupref"]: entry for entry in item.nodes("args")}
        for clause in (*item.nodes("aggorder"), *item.nodes("aggdistinct")):
            self.steer(self.flow(entries[clause["tleSortGroupRef"]]["expr"], scope))
        direct = self.flow(item["aggdirectargs"], scope)
        self.steer(direct)
        return chosen | direct | self._collected(function, self._arguments(function, arguments, scope))

    def _collected(self, function: FunctionFacts, flow: Flow[ColumnRef]) -> Flow[ColumnRef]:
        if not flow or (function.builtin and function.name not in _COLLECTING):
            return flow
        if COLLECTED in flow:
            self.steer(flow)
        return flow | {COLLECTED}

    def _count(self, item: Node, arguments: list[Node], scope: Scope) -> Flow[ColumnRef]:
        # count(*) and count(bare column) say how many; count(DISTINCT expression) says how many different, which for
        # substr(email, 1, 1) is an oracle.
        if not arguments:
            return NOTHING
        if not item.nodes("aggdistinct") and self.is_bare_column(arguments[0], scope):
            return NOTHING
        flow = self.flow(arguments, scope)
        self.steer(flow)
        return flow

    def _window_function(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        function = self._function(item.number("winfnoid"))
        chosen = self.flow(item["aggfilter"], scope)
        self.steer(chosen)
        chosen |= self.window_frame(item.number("winref"), scope)
        arguments = item.nodes("args")
        if function.name == "count" and function.builtin:
            if not arguments or self.is_bare_column(arguments[0], scope):
                return chosen
            flow = self.flow(arguments, scope)
            self.steer(flow)
            return chosen | flow
        return chosen | self._collected(function, self._arguments(function, arguments, scope))

    def _call(self, item: Node, oid: int, scope: Scope, *, returns_set: bool = False) -> Flow[ColumnRef]:
        function = self._function(oid)
        if _counted_by_its_text(function, item):
            return self.flow(item["args"], scope)
        flow = self._arguments(function, item.nodes("args"), scope)
        if function.body is not None:
            return flow  # how many rows come of it was judged in its body
        if returns_set or function.returns_set:
            self.steer(flow)  # the number of rows depends on it
        if item.tag == "FUNCEXPR" and item.flag("funcvariadic") and function.signature.endswith("any)"):
            # VARIADIC array: how many arguments the function sees depends on the array, and format() may want more.
            self.steer(self.flow(item.nodes("args")[-1], scope))
        return flow

    def _function(self, oid: int) -> FunctionFacts:
        function = self._facts.functions.get(oid)
        if function is None:
            raise not_understood("a function the catalogs do not list")
        if not (function.signature in self._vouched if function.builtin else function.answered_for):
            raise unvouched(function.full_name)
        self.functions.add(function.full_name)
        return function

    def _arguments(self, function: FunctionFacts, arguments: list[Node], scope: Scope) -> Flow[ColumnRef]:
        if not function.builtin:
            return NOTHING.union(*self.user_call(function, arguments, scope))
        judged = self._vouched[function.signature]
        places = by_place(arguments)
        if any(place not in places or not came_with_postgres(places[place]) for place in judged.anchored):
            raise unvouched(f"{function.full_name} with something other than what PostgreSQL brings along")
        for place, kind in judged.tells:
            self._tell(function, mentioned_relation(places.get(place)), kind)
        flows = {place: self.flow(argument, scope) for place, argument in places.items()}
        total = NOTHING.union(*flows.values())
        if total:
            met = self._conditions_met(judged, places, flows)
            for place, flow in flows.items():
                if flow and not (met and judged.passes(place)):
                    self.steer(flow)
        return total

    def _tell(self, function: FunctionFacts, oid: int | None, kind: str) -> None:
        """Judge a function that tells of a relation by name; policy is asked about that relation too."""
        relation = self._facts.relations.get(oid) if oid is not None else None
        if relation is None or relation.metadata:
            raise unvouched(f"{function.full_name} of anything but a table it names")
        if relation.restricted:
            raise Refused("HOOP213", f"{relation.full_name} is out of bounds for every policy.")
        if relation.spells if kind == "structure" else relation.people:
            raise unvouched(f"{function.full_name} of {relation.full_name}")
        self.told.add(relation.full_name)

    def _conditions_met(self, judged: Vouched, places: dict[int, Node], flows: dict[int, Flow[ColumnRef]]) -> bool:
        for condition in judged.conditions:
            if condition.test in "^@":
                continue  # asked of every call, personal or not
            argument = places.get(condition.place - 1)
            if argument is None:
                continue  # left out: the default, which PostgreSQL itself gave it, meets what is asked
            if flows[condition.place - 1]:
                return False
            if not condition.met_by(constant(argument, self._facts.types)):
                return False
        return True


def not_understood(what: str) -> Refused:
    """HOOP211, naming the construct."""
    return Refused("HOOP211", f"The statement uses {what.lower()}, which this gateway does not analyse.")


def unvouched(name: str) -> Refused:
    """HOOP204, naming the function."""
    return Refused("HOOP204", f"This statement uses {name}, which nobody here has vouched for.")


def _counted_by_its_text(function: FunctionFacts, item: Node) -> bool:
    """``unnest(ARRAY[a, b])``: as many rows as the statement has words for, whatever they hold."""
    if function.signature != "unnest(anyarray)" or not function.builtin:
        return False
    (argument,) = item.nodes("args")
    return argument.tag == "ARRAYEXPR" and not argument.flag("multidims")


def by_place(arguments: list[Node]) -> dict[int, Node]:
    """Arguments by the parameter they are for: named ones stand in the order written."""
    return {
        argument.number("argnumber") if argument.tag == "NAMEDARGEXPR" else place: argument
        for place, argument in enumerate(arguments)
    }


def _query(item: Any) -> Node:
    if type(item) is not Node or item.tag != "QUERY":
        raise not_understood("a sub-select that is not a query")
    return item


def _bounds(item: Node) -> list[Any]:
    # An omitted bound of a slice is a hole in the list.
    bounds = [*(item["refupperindexpr"] or []), *(item["reflowerindexpr"] or [])]
    return [bound for bound in bounds if bound is not None]
