"""Follow every catalogued column through PostgreSQL's rewritten tree. Pure: a tree and facts in, an Analysis out.

Queries and range tables are here, expressions in :mod:`.expressions`. The rewritten tree has views, rules and row
security expanded, so their predicates are judged like the agent's own; the parse tree says what the statement names.
Relations whose rows the product vouches for as metadata (information_schema.tables and a few more) are not entered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused
from hoop_mcp.sql.calls import CallTracer
from hoop_mcp.sql.expressions import COLLECTED, NOTHING, Flow, not_understood
from hoop_mcp.sql.facts import ColumnFacts
from hoop_mcp.sql.scope import Scope
from hoop_mcp.sql.tree import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.sql.facts import CatalogFacts, RelationFacts
    from hoop_mcp.terms import ColumnRef

_SELECT = "1"
_RELATION, _SUBQUERY, _JOIN, _FUNCTION, _TABLEFUNC, _VALUES, _CTE, _TUPLESTORE, _RESULT, _GROUP = range(10)
_UNION = "1"
_TABLEOID = -6
_READABLE = frozenset("rpmvf")
_ROUNDS = 64
_LOOKUP_CONSTANTS = 8
_EQUALITY = frozenset(
    {
        "texteq(text,text)",
        "bpchareq(bpchar,bpchar)",
        "nameeq(name,name)",
        "int2eq(int2,int2)",
        "int4eq(int4,int4)",
        "int8eq(int8,int8)",
        "int48eq(int4,int8)",
        "int84eq(int8,int4)",
        "uuid_eq(uuid,uuid)",
    }
)


class Tracer(CallTracer):
    """One trace of one statement; nothing outlives it."""

    def __init__(self, facts: CatalogFacts, opaque: Mapping[int, int]) -> None:
        """Trace with what is known.

        Args:
            facts: what the catalogs say of every OID in the tree.
            opaque: ``id()`` of an expanded range table entry -> OID of the vouched metadata view it stands for.
        """
        super().__init__(facts)
        self._opaque = opaque
        self.lookups: set[ColumnRef] = set()
        self.guesses = 0

    def subquery(self, query: Node, outer: Scope | None) -> tuple[Flow[ColumnRef], ...]:
        """Trace a query at any level; the flow of each output column."""
        flows = self._trace(self._open(query, outer))
        return flows if outer is not None else tuple(flow - {COLLECTED} for flow in flows)

    # -- queries

    def _open(self, query: Node, outer: Scope | None) -> Scope:
        if query.tag != "QUERY" or query["commandType"] != _SELECT or query["utilityStmt"] is not None:
            raise Refused("HOOP206", "The statement, or a part of it, writes.")
        if query.get("rowMarks") is not None or query.flag("hasForUpdate"):
            self.locks = True
        if query.flag("hasRowSecurity"):
            self.secured = True
        for field in ("onConflict", "returningList", "withCheckOptions", "mergeActionList", "mergeJoinCondition"):
            if query.get(field) is not None:
                raise Refused("HOOP206", "The statement, or a part of it, writes.")
        return Scope(query, outer, query.nodes("rtable"))

    def _trace(self, scope: Scope) -> tuple[Flow[ColumnRef], ...]:
        query = scope.query
        self._common_table_expressions(scope)
        for index, entry in enumerate(scope.range_table, start=1):
            for predicate in entry.nodes("securityQuals"):
                self.steer(self.flow(predicate, scope))
            if entry.number("rtekind") not in (_RELATION, _JOIN):
                # Judged whether or not anything refers to it. A join makes nothing: its condition is judged where it
                # joins, and of its columns, all those of both sides, only the ones that are used count.
                self._entry(index, scope)
        tree = query.node("jointree")
        if tree is not None:
            self._jointree(tree, scope)
        for field in ("havingQual", "limitOffset", "limitCount"):
            self.steer(self.flow(query[field], scope))
        outputs, by_reference = self._target_list(scope)
        clauses = [*query.nodes("groupClause"), *query.nodes("distinctClause"), *query.nodes("sortClause")]
        for window in query.nodes("windowClause"):
            clauses += [*window.nodes("partitionClause"), *window.nodes("orderClause")]
            self.steer(self.flow(window["startOffset"], scope) | self.flow(window["endOffset"], scope))
        for clause in clauses:
            reference = clause["tleSortGroupRef"]
            if reference not in by_reference:
                raise not_understood("a sort or group key that is not in the target list")
            self.order(by_reference[reference])
        return outputs

    def _target_list(self, scope: Scope) -> tuple[tuple[Flow[ColumnRef], ...], dict[str, Flow[ColumnRef]]]:
        query = scope.query
        entries = query.nodes("targetList")
        by_reference: dict[str, Flow[ColumnRef]] = {}
        outputs: list[Flow[ColumnRef]] = []
        united = self._set_operation(query.node("setOperations"), scope)
        for place, entry in enumerate(entries):
            if united is not None:
                if place >= len(united):
                    raise not_understood("a set operation with hidden columns")
                flow = united[place]
            else:
                flow = self.flow(entry["expr"], scope)
            if entry["ressortgroupref"] != "0":
                by_reference[entry["ressortgroupref"]] = flow
            if not entry.flag("resjunk"):
                outputs.append(flow)
        return tuple(outputs), by_reference

    def _set_operation(self, item: Node | None, scope: Scope) -> tuple[Flow[ColumnRef], ...] | None:
        if item is None:
            return None
        if item.tag == "RANGETBLREF":
            return self._entry(item.number("rtindex"), scope)
        if item.tag != "SETOPERATIONSTMT":
            raise not_understood("an unknown set operation")
        left = self._set_operation(item.node("larg"), scope)
        right = self._set_operation(item.node("rarg"), scope)
        if left is None or right is None or len(left) != len(right):
            raise not_understood("a set operation of unlike rows")
        both = tuple(one | other for one, other in zip(left, right, strict=True))
        for side, flows in (("larg", left), ("rarg", right)):
            self._coerced(item.node(side), item["colTypes"], flows, scope)
        if item["op"] != _UNION or not item.flag("all"):
            self.steer(NOTHING.union(*both))  # rows are compared: number and order depend on the values
        return both

    def _coerced(self, side: Node | None, wanted: Any, flows: tuple[Flow[ColumnRef], ...], scope: Scope) -> None:
        """Judge the casts that make both sides of a set operation alike: they are in no tree, the planner adds them."""
        if side is None or type(wanted) is not list or len(wanted) != len(flows):
            raise not_understood("a set operation of unlike rows")
        given: list[Any]
        if side.tag == "SETOPERATIONSTMT":
            given = side["colTypes"]
        else:
            inner = scope.inner.get(side.number("rtindex"))
            if inner is None:
                raise not_understood("a set operation over something that is not a query")
            given = [self._coercions.type_of(entry["expr"]) for entry in _shown(inner.query)]
        for have, want, flow in zip(given, wanted, flows, strict=True):
            if self._coercions.may_raise(have, want):
                self.steer(flow)

    def _common_table_expressions(self, scope: Scope) -> None:
        folded: set[str] = set()
        for cte in scope.query.nodes("cteList"):
            name = cte["ctename"]
            plain = " ".join(name.split())
            if plain in folded:
                raise Refused("HOOP215", "Two common table expressions have names that differ only in white space.")
            folded.add(plain)
            if cte["search_clause"] is not None or cte["cycle_clause"] is not None:
                raise not_understood("SEARCH or CYCLE")
            query = cte.node("ctequery")
            if query is None:
                raise not_understood("an empty common table expression")
            scope.ctes[name] = (NOTHING,) * len(_shown(query))
            # A recursive query feeds its own output back: repeat until nothing is added, a real fixpoint.
            for _ in range(_ROUNDS):
                before = scope.ctes[name]
                nested = self._open(query, scope)
                flows = self._trace(nested)
                after = tuple(old | new for old, new in zip(before, flows, strict=True))
                scope.ctes[name] = after
                if after == before or not cte.flag("cterecursive"):
                    break
            else:
                raise not_understood("a recursive query that does not settle")
            if cte.flag("cterecursive"):
                self._grown(nested, scope.ctes[name])

    def _grown(self, query: Scope, flows: tuple[Flow[ColumnRef], ...]) -> None:
        """A recursive step that makes a new value of a personal one may double it each round, up to where 1 GB raises."""
        tree = query.query.node("setOperations")
        step = tree.node("rarg") if tree is not None and tree.tag == "SETOPERATIONSTMT" else None
        inner = query.inner.get(step.number("rtindex")) if step is not None and step.tag == "RANGETBLREF" else None
        if inner is None:
            self.steer(NOTHING.union(*flows))
            return
        for entry, flow in zip(_shown(inner.query), flows, strict=True):
            if flow and not self._passed_on(entry["expr"], inner):
                self.steer(flow)

    def _passed_on(self, expression: Any, scope: Scope) -> bool:
        """Whether an expression is a value of somewhere, unaltered."""
        if type(expression) is not Node:
            return False
        if expression.tag in ("CONST", "PARAM"):
            return True
        if expression.tag == "RELABELTYPE":
            return self._passed_on(expression["arg"], scope)
        if expression.tag != "VAR" or expression.number("varattno") <= 0:
            return False
        home = scope.up(expression.number("varlevelsup"))
        index, number = expression.number("varno"), expression.number("varattno")
        entry = home.range_table[index - 1]
        match entry.number("rtekind"):
            case 0 | 6:
                return True
            case 1 if index in home.inner and home.inner[index].query["setOperations"] is None:
                shown = _shown(home.inner[index].query)
                return number <= len(shown) and self._passed_on(shown[number - 1]["expr"], home.inner[index])
            case 2:
                aliases = entry["joinaliasvars"] or []
                return number <= len(aliases) and self._passed_on(aliases[number - 1], home)
            case 9:
                grouped = entry["groupexprs"] or []
                return number <= len(grouped) and self._passed_on(grouped[number - 1], home)
            case _:
                return False

    # -- the range table

    def _entry(self, index: int, scope: Scope) -> tuple[Flow[ColumnRef], ...]:
        """The flow of each column of a range table entry that is not a plain relation."""
        if index in scope.traced:
            return scope.traced[index]
        if not 1 <= index <= len(scope.range_table) or index in scope.busy:
            raise not_understood("a table expression that refers to itself")
        scope.busy.add(index)
        entry = scope.range_table[index - 1]
        flows: tuple[Flow[ColumnRef], ...]
        match entry.number("rtekind"):
            case 1:  # sub-query
                if (oid := self._opaque.get(id(entry))) is not None:
                    self._relation(oid)
                    flows = ()  # its columns are asked of the relation, by number
                else:
                    inner = entry.node("subquery")
                    if inner is None:
                        raise not_understood("an empty sub-query")
                    scope.inner[index] = nested = self._open(inner, scope)
                    flows = self._trace(nested)
            case 3:  # function
                flows = self._functions(entry, scope)
            case 5:  # VALUES
                rows = [[self.flow(cell, scope) for cell in row] for row in entry["values_lists"]]
                flows = tuple(NOTHING.union(*column) for column in zip(*rows, strict=True))
            case 6:  # common table expression
                ctes = scope.up(entry.number("ctelevelsup")).ctes
                if entry["ctename"] not in ctes:
                    raise not_understood("a common table expression used before it stands")
                flows = ctes[entry["ctename"]]
            case 8:  # no table at all
                flows = ()
            case 9:  # the grouping step of PostgreSQL 18
                flows = tuple(self.flow(expression, scope) for expression in entry["groupexprs"] or [])
            case kind:
                raise not_understood({4: "XMLTABLE or JSON_TABLE"}.get(kind, "an unknown table expression"))
        scope.busy.discard(index)
        scope.traced[index] = flows
        return flows

    def _functions(self, entry: Node, scope: Scope) -> tuple[Flow[ColumnRef], ...]:
        flows: list[Flow[ColumnRef]] = []
        for function in entry.nodes("functions"):
            flows += self._columns_of(function["funcexpr"], function.number("funccolcount"), scope)
        if entry.flag("funcordinality"):
            flows.append(NOTHING)
        return tuple(flows)

    def _columns_of(self, call: Any, count: int, scope: Scope) -> list[Flow[ColumnRef]]:
        """The columns of a function in FROM: of one whose body is known each its own, else each all of them."""
        if type(call) is Node and call.tag == "FUNCEXPR":
            function = self._facts.functions.get(call.number("funcid"))
            if function is not None and function.body is not None:
                columns = self.user_call(self._function(function.oid), call.nodes("args"), scope)
                return list(columns) if len(columns) == count else [NOTHING.union(*columns)] * count
        return [self.flow(call, scope)] * count

    def _relation(self, oid: int) -> RelationFacts:
        relation = self._facts.relations.get(oid)
        if relation is None:
            raise Refused("HOOP213", "The statement reaches a relation that is not open to anyone here.")
        if relation.restricted or relation.kind not in _READABLE:
            raise Refused("HOOP213", f"{relation.full_name} is out of bounds for every policy.")
        return relation

    def variable(self, var: Node, scope: Scope) -> Flow[ColumnRef]:
        """The flow of a variable: of one column, or of the whole row where its number is 0."""
        home = scope.up(var.number("varlevelsup"))
        index, number = var.number("varno"), var.number("varattno")
        if not 1 <= index <= len(home.range_table):
            raise not_understood("a variable outside the range table")
        entry = home.range_table[index - 1]
        if entry.number("rtekind") == _RELATION:
            relation = self._relation(entry.number("relid"))
            if number == 0:
                return _whole_row(relation)
            return self._column(relation, number).sources
        if number < 0:
            raise _system_column()
        if (oid := self._opaque.get(id(entry))) is not None:
            relation = self._relation(oid)
            return self._column(relation, number).sources if number else _whole_row(relation)
        if entry.number("rtekind") == _JOIN:
            aliases = entry["joinaliasvars"] or []
            if number > len(aliases):
                raise not_understood("a column that is not there")
            return self.flow(aliases[number - 1] if number else aliases, home)
        flows = self._entry(index, home)
        if number == 0:
            return NOTHING.union(*flows)
        if number > len(flows):
            raise not_understood("a column that is not there")
        return flows[number - 1]

    def _column(self, relation: RelationFacts, number: int) -> ColumnFacts:
        if number == _TABLEOID:
            # Which partition a row lies in tells the range its key is in, and what the key is the tree does not say.
            return replace(_TABLE_NAME, sources=_whole_row(relation)) if relation.kind == "p" else _TABLE_NAME
        if number < 0:
            raise _system_column()
        column = relation.columns.get(number)
        if column is None:
            raise Refused("HOOP213", f"A column of {relation.full_name} is used that is not open to anyone here.")
        self.reads.update(column.sources)
        return column

    # -- where a bare column stands

    def bare_column(self, expression: Any, scope: Scope) -> ColumnFacts | None:
        """The base-table column an expression is, through nothing but variables; None for anything else."""
        if type(expression) is Node and expression.tag == "RELABELTYPE":
            return self.bare_column(expression["arg"], scope)
        if type(expression) is not Node or expression.tag != "VAR" or expression.number("varattno") <= 0:
            return None
        home = scope.up(expression.number("varlevelsup"))
        index, number = expression.number("varno"), expression.number("varattno")
        entry = home.range_table[index - 1]
        match entry.number("rtekind"):
            case 0:
                column = self._column(self._relation(entry.number("relid")), number)
                return None if column.derived else column
            case 1 if id(entry) not in self._opaque:
                self._entry(index, home)
                inner = home.inner.get(index)
                if inner is None or inner.query["setOperations"] is not None:
                    return None
                shown = _shown(inner.query)
                made = shown[number - 1]["expr"] if number <= len(shown) else None
                # What a LATERAL sub-query passes through is not its own column.
                if type(made) is Node and made.tag == "VAR" and made["varlevelsup"] != "0":
                    return None
                return self.bare_column(made, inner)
            case 2:
                aliases = entry["joinaliasvars"]
                return self.bare_column(aliases[number - 1], home) if number <= len(aliases) else None
            case 9:
                return self.bare_column(entry["groupexprs"][number - 1], home)
            case _:
                return None

    def _own_column(self, expression: Node, scope: Scope) -> ColumnFacts | None:
        """A column of a relation in this very FROM: not through a view, a sub-query or a join's alias."""
        if expression.tag == "RELABELTYPE" and (inner := expression.node("arg")) is not None:
            return self._own_column(inner, scope)
        if expression.tag != "VAR" or expression["varlevelsup"] != "0" or expression.number("varattno") <= 0:
            return None
        entry = scope.range_table[expression.number("varno") - 1]
        if entry.number("rtekind") != _RELATION:
            return None
        return self._column(self._relation(entry.number("relid")), expression.number("varattno"))

    def is_bare_column(self, expression: Node, scope: Scope) -> bool:
        """Whether an expression is a base-table column and nothing more."""
        return self.bare_column(expression, scope) is not None

    def window_frame(self, reference: int, scope: Scope) -> Flow[ColumnRef]:
        """What the frame of a window depends on: the rows a window function sees, and so its result."""
        for window in scope.query.nodes("windowClause"):
            if window.number("winref") == reference:
                return self.flow(window["startOffset"], scope) | self.flow(window["endOffset"], scope)
        raise not_understood("a window that is not defined")

    def field(self, item: Node, scope: Scope) -> Flow[ColumnRef]:
        """``(row).name``: of a whole row of a relation, that column; of anything else, all of it."""
        relation = self.row_of(item["arg"], scope)
        if relation is not None:
            return self._column(relation, item.number("fieldnum")).sources
        return self.flow(item["arg"], scope)

    def row_of(self, expression: Any, scope: Scope) -> RelationFacts | None:
        """The relation an expression is a whole row of, through a function's parameter at most."""
        if type(expression) is not Node:
            return None
        if expression.tag == "PARAM":
            argument = self.bound(expression)
            return argument.row if argument is not None else None
        if expression.tag == "VAR" and expression["varattno"] == "0":
            home = scope.up(expression.number("varlevelsup"))
            entry = home.range_table[expression.number("varno") - 1]
            if entry.number("rtekind") == _RELATION:
                return self._relation(entry.number("relid"))
        return None

    # -- predicates

    def _jointree(self, item: Node | None, scope: Scope) -> None:
        if item is None:
            raise not_understood("a join with one side")
        match item.tag:
            case "RANGETBLREF":
                entry = scope.range_table[item.number("rtindex") - 1]
                if entry.number("rtekind") == _RELATION:
                    self._relation(entry.number("relid"))  # reached, even where no column of it is used
                    if entry.get("tablesample") is not None:
                        raise not_understood("TABLESAMPLE")
            case "FROMEXPR":
                for inner in item.nodes("fromlist"):
                    self._jointree(inner, scope)
                self._conjuncts(item["quals"], scope)
            case "JOINEXPR":
                self._jointree(item.node("larg"), scope)
                self._jointree(item.node("rarg"), scope)
                self.steer(self.flow(item["quals"], scope))
            case _:
                raise not_understood("an unknown kind of join")

    def _conjuncts(self, predicate: Any, scope: Scope) -> None:
        """WHERE: each AND-ed part is a lookup, or whatever is personal in it is a probe."""
        if type(predicate) is Node and predicate.tag == "BOOLEXPR" and predicate["boolop"] == "and":
            for part in predicate.nodes("args"):
                self._conjuncts(part, scope)
        elif scope.outer is None and (found := self._lookup(predicate, scope)) is not None:
            self.lookups.update(found)  # at the top only: inside a sub-select an equality answers other questions
        else:
            self.steer(self.flow(predicate, scope))

    def _lookup(self, predicate: Any, scope: Scope) -> Flow[ColumnRef] | None:
        """Equality of a catalogued lookup column, itself and not something made of it, with constants."""
        if type(predicate) is not Node or predicate.tag not in ("OPEXPR", "SCALARARRAYOPEXPR"):
            return None
        args = predicate.nodes("args")
        function = self._facts.functions.get(predicate.number("opfuncid"))
        if len(args) != 2 or function is None or not function.builtin or function.signature not in _EQUALITY:
            return None
        many = predicate.tag == "SCALARARRAYOPEXPR"
        if many and not predicate.flag("useOr"):
            return None
        for one, other in ((args[0], args[1]), (args[1], args[0])):
            column = self._own_column(one, scope)
            if column is not None and column.lookup and _few_constants(other, array=many):
                self.functions.add(function.full_name)
                self.guesses += _guesses(other) if many else 1
                return column.sources
        return None


def _few_constants(expression: Node, *, array: bool) -> bool:
    """Constants or parameters only, and few: a list of a thousand guesses is a search, not a lookup.

    A parameter that is an array, and an array of arrays, hold any number of guesses.
    """
    if expression.tag == "RELABELTYPE":
        inner = expression.node("arg")
        return inner is not None and _few_constants(inner, array=array)
    if not array:
        return expression.tag == "CONST" or (expression.tag == "PARAM" and expression["paramkind"] == "0")
    if expression.tag == "ARRAYCOERCEEXPR":
        inner, element = expression.node("arg"), expression.node("elemexpr")
        harmless = element is not None and element.tag == "RELABELTYPE" and element["arg"].tag == "CASETESTEXPR"
        return harmless and inner is not None and _few_constants(inner, array=True)
    if expression.tag == "ARRAYEXPR":
        elements = expression.nodes("elements")
        return len(elements) <= _LOOKUP_CONSTANTS and all(_few_constants(each, array=False) for each in elements)
    if expression.tag != "CONST":
        return False
    octets = expression["constvalue"]
    if not isinstance(octets, bytes):
        return True  # NULL
    # An array datum: size, number of dimensions, offset and element type, then the dimensions, each four bytes.
    dimensions = int.from_bytes(octets[4:8], "little")
    if dimensions == 0:
        return True
    return dimensions == 1 and int.from_bytes(octets[16:20], "little") <= _LOOKUP_CONSTANTS


def _guesses(expression: Node) -> int:
    """How many constants a list holds that :func:`_few_constants` took for one; an empty list is a guess all the same."""
    while expression.tag in ("RELABELTYPE", "ARRAYCOERCEEXPR"):
        expression = expression["arg"]
    if expression.tag == "ARRAYEXPR":
        return max(1, len(expression.nodes("elements")))
    octets = expression["constvalue"] if expression.tag == "CONST" else None
    return max(1, int.from_bytes(octets[16:20], "little")) if isinstance(octets, bytes) and len(octets) >= 20 else 1


def _shown(query: Node) -> list[Node]:
    """The target entries that are output columns."""
    return [entry for entry in query.nodes("targetList") if not entry.flag("resjunk")]


def _whole_row(relation: RelationFacts) -> Flow[ColumnRef]:
    if relation.metadata:  # its hidden columns would come along
        raise Refused("HOOP213", f"Name the columns of {relation.full_name}: some of them are not open to anyone here.")
    return NOTHING.union(*(column.sources for column in relation.columns.values()))


def _system_column() -> Refused:
    return Refused("HOOP217", "The statement uses a system column, which says where and when a row was written.")


_TABLE_NAME = ColumnFacts("tableoid", 26, NOTHING)
