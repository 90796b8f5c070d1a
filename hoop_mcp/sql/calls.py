"""How a personal value moves through a function that somebody made.

A function in SQL is its body: the arguments are bound to its parameters, and the rules for what is shown and what
steers hold inside as they do outside. Of a function that is vouched for without being understood every personal
argument steers, and the result carries all of them beside what the catalogue declares. An aggregate is what its support
functions do, again and again.

PostgreSQL may put a body in the place of its call and then evaluates an argument where the parameter stands, or never:
so a parameter counts as something that may raise wherever its argument may.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from hoop_mcp.errors import Refused
from hoop_mcp.sql.bodies import check_nesting
from hoop_mcp.sql.coercions import Coercions
from hoop_mcp.sql.expressions import NOTHING, ExpressionTracer, Flow, by_place, not_understood, unvouched
from hoop_mcp.sql.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.sql.facts import Body, CatalogFacts, FunctionFacts, RelationFacts
    from hoop_mcp.sql.tree import Node
    from hoop_mcp.terms import ColumnRef


class Argument(NamedTuple):
    """What a parameter is bound to: its flow, whether evaluating it cannot raise, and the relation it is a row of."""

    flow: Flow[ColumnRef]
    settled: bool
    row: RelationFacts | None = None


class CallTracer(ExpressionTracer):
    """Adds users' functions to what an expression may hold."""

    def __init__(self, facts: CatalogFacts) -> None:
        super().__init__(facts)
        self._coercions = Coercions(facts)
        self._inside: list[int] = []
        self._bound: list[Mapping[int, Argument]] = []
        self.reads: set[ColumnRef] = set()
        self.locks = False
        self.secured = False

    @abstractmethod
    def row_of(self, expression: Any, scope: Scope) -> RelationFacts | None:
        """The relation an expression is a whole row of."""

    def user_call(self, function: FunctionFacts, arguments: list[Node], scope: Scope) -> tuple[Flow[ColumnRef], ...]:
        """The flow of each column of the result of a call; one where nothing tells them apart."""
        places = {place: self._argument(node, scope) for place, node in by_place(arguments).items()}
        if function.support:
            return (self._aggregated(function, NOTHING.union(*(argument.flow for argument in places.values()))),)
        return self._apply(function, places)

    def bound(self, parameter: Node) -> Argument | None:
        """What a parameter of a function's body is bound to; None outside of bodies."""
        if not self._bound or parameter["paramkind"] != "0":
            return None
        argument = self._bound[-1].get(parameter.number("paramid") - 1)
        if argument is None:
            raise not_understood("a parameter that the function does not have")
        return argument

    def _parameter(self, item: Node) -> Flow[ColumnRef]:
        argument = self.bound(item)
        return super()._parameter(item) if argument is None else argument.flow

    def is_settled(self, parameter: Node) -> bool:
        """Whether evaluating a parameter cannot raise: of a body, only where its argument cannot."""
        argument = self.bound(parameter)
        return argument is None or argument.settled

    def _argument(self, node: Node, scope: Scope) -> Argument:
        inner = node["arg"] if node.tag == "NAMEDARGEXPR" else node
        flow = self.flow(inner, scope)
        row = self.row_of(inner, scope)
        if row is not None:
            self.reads.update(flow)  # the row is read whole, whatever becomes of it
        return Argument(flow, self._cannot_raise(inner, scope), row)

    def _apply(self, function: FunctionFacts, places: dict[int, Argument]) -> tuple[Flow[ColumnRef], ...]:
        given = NOTHING.union(*(argument.flow for argument in places.values()))
        if function.body is None:
            self.steer(given)
            return (given | (function.results or NOTHING),)
        if function.strict:
            self.steer(given)  # a null argument, and the body does not run: it neither raises nor returns
        flows = self._run(function, function.body, places)
        return tuple(flow | given for flow in flows) if function.strict else flows

    def _run(self, function: FunctionFacts, body: Body, places: dict[int, Argument]) -> tuple[Flow[ColumnRef], ...]:
        check_nesting(function.oid, self._inside)
        nowhere = Scope(body.rewritten, None, [])  # a body sees nothing of the statement around it
        for place in range(body.arguments):
            if place not in places:
                which = place - (body.arguments - len(body.defaults))
                if which < 0:
                    raise not_understood("a call that leaves out an argument")
                default = body.defaults[which]
                places[place] = Argument(self.flow(default, nowhere), self._cannot_raise(default, nowhere))
        tests, self._case_tests = self._case_tests, []
        locked = self.locks
        self._inside.append(function.oid)
        self._bound.append(places)
        try:
            flows = self.subquery(body.rewritten, nowhere)
            self._returned(function, body, flows)
        finally:
            self._bound.pop()
            self._inside.pop()
            self._case_tests = tests
        if self.locks and not locked:
            raise Refused("HOOP218", f"{function.full_name} locks rows, which changes what others may do.")
        return flows

    def _returned(self, function: FunctionFacts, body: Body, flows: tuple[Flow[ColumnRef], ...]) -> None:
        """Judge the casts from what the body selects to what the function declares: they are in no tree."""
        shown = [entry for entry in body.rewritten.nodes("targetList") if not entry.flag("resjunk")]
        given = [self._coercions.type_of(entry["expr"]) for entry in shown]
        if len(given) != len(body.results):
            raise unvouched(f"{function.full_name}, whose result is one row in one value")
        for have, want, flow in zip(given, body.results, flows, strict=True):
            if self._coercions.assignment_may_raise(have, want):
                self.steer(flow)

    def _aggregated(self, function: FunctionFacts, given: Flow[ColumnRef]) -> Flow[ColumnRef]:
        """What an aggregate makes of *given*: its state goes round until nothing is added."""
        state = given
        while True:
            before = state
            for oid in function.support:
                state |= self._step(oid, state)
            if state == before:
                return state

    def _step(self, oid: int, state: Flow[ColumnRef]) -> Flow[ColumnRef]:
        function = self._function(oid)
        if function.builtin:
            judged = self._vouched[function.signature]
            if judged.conditions or set(judged.arguments) != {"p"}:
                self.steer(state)
            return state
        if function.body is None:
            return NOTHING.union(*self._apply(function, {0: Argument(state, settled=False)}))
        # The arguments were evaluated before: nothing they raise is left to the step.
        places = {place: Argument(state, settled=True) for place in range(function.body.arguments)}
        return NOTHING.union(*self._apply(function, places))
