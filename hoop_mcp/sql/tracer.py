"""Follow every catalogued column through PostgreSQL's rewritten tree. Pure: a tree and facts in, an Analysis out.

Queries and range tables are here, expressions in :mod:`.expressions`. The rewritten tree has views, rules and row
security expanded, so their predicates are judged like the agent's own; the parse tree says what the statement names.
Relations whose rows the product vouches for as metadata (information_schema.tables and a few more) are not entered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused
from hoop_mcp.sql.expressions import NOTHING, ExpressionTracer, Flow, not_understood
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
_READABLE = frozenset("rpmv")
_ROUNDS = 64
_LOOKUP_CONSTANTS = 8
_ARRAY_HEAD = 20
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


class Tracer(ExpressionTracer):
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

    def subquery(self, query: Node, outer: Scope | None) -> tuple[Flow[ColumnRef], ...]:
        """Trace a query at any level; the flow of each output column."""
        return self._trace(self._open(query, outer))

    # -- queries

    def _open(self, query: Node, outer: Scope | None) -> Scope:
        if query.tag != "QUERY" or query["commandType"] != _SELECT or query["utilityStmt"] is not None:
            raise Refused("HOOP206", "The statement, or a part of it, writes.")
        if query.get("rowMarks") is not None or query.flag("hasForUpdate"):
            raise Refused("HOOP218", "The statement locks rows, which changes what others may do.")
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
            if entry.number("rtekind") != _RELATION:
                self._entry(index, scope)  # judged whether or not anything refers to it
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
            self.steer(by_reference[reference])
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
        if item["op"] != _UNION or not item.flag("all"):
            self.steer(NOTHING.union(*both))  # rows are compared: number and order depend on the values
        return both

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
            width = sum(1 for entry in query.nodes("targetList") if not entry.flag("resjunk"))
            scope.ctes[name] = (NOTHING,) * width
            # A recursive query feeds its own output back: repeat until nothing is added, a real fixpoint.
            for _ in range(_ROUNDS):
                before = scope.ctes[name]
                flows = self.subquery(query, scope)
                after = tuple(old | new for old, new in zip(before, flows, strict=True))
                scope.ctes[name] = after
                if after == before or not cte.flag("cterecursive"):
                    break
            else:
                raise not_understood("a recursive query that does not settle")

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
            case 2:  # join
                flows = tuple(self.flow(alias, scope) for alias in entry["joinaliasvars"] or [])
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
            flows += [self.flow(function["funcexpr"], scope)] * function.number("funccolcount")
        if entry.flag("funcordinality"):
            flows.append(NOTHING)
        return tuple(flows)

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
        flows = self._entry(index, home)
        if number == 0:
            return NOTHING.union(*flows)
        if number > len(flows):
            raise not_understood("a column that is not there")
        return flows[number - 1]

    def _column(self, relation: RelationFacts, number: int) -> ColumnFacts:
        if number == _TABLEOID:
            return _TABLE_NAME
        if number < 0:
            raise _system_column()
        column = relation.columns.get(number)
        if column is None:
            raise Refused("HOOP213", f"A column of {relation.full_name} is used that is not open to anyone here.")
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
                return self._column(self._relation(entry.number("relid")), number)
            case 1 if id(entry) not in self._opaque:
                self._entry(index, home)
                inner = home.inner.get(index)
                if inner is None or inner.query["setOperations"] is not None:
                    return None
                shown = [target for target in inner.query.nodes("targetList") if not target.flag("resjunk")]
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
        row = item["arg"]
        if type(row) is Node and row.tag == "VAR" and row["varattno"] == "0":
            home = scope.up(row.number("varlevelsup"))
            entry = home.range_table[row.number("varno") - 1]
            if entry.number("rtekind") == _RELATION:
                return self._column(self._relation(entry.number("relid")), item.number("fieldnum")).sources
        return self.flow(row, scope)

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
        if predicate.tag == "SCALARARRAYOPEXPR" and not predicate.flag("useOr"):
            return None
        for one, other in ((args[0], args[1]), (args[1], args[0])):
            column = self._own_column(one, scope)
            if column is not None and column.lookup and _few_constants(other):
                self.functions.add(function.full_name)
                return column.sources
        return None


def _few_constants(expression: Node) -> bool:
    """Constants or parameters only, and few: a list of a thousand guesses is a search, not a lookup."""
    if expression.tag == "ARRAYEXPR":
        elements = expression.nodes("elements")
        return len(elements) <= _LOOKUP_CONSTANTS and all(map(_few_constants, elements))
    if expression.tag == "RELABELTYPE":
        inner = expression.node("arg")
        return inner is not None and _few_constants(inner)
    if (
        expression.tag == "CONST"
        and isinstance(octets := expression["constvalue"], bytes)
        and len(octets) >= _ARRAY_HEAD
    ):
        # An array datum starts with its size, number of dimensions, offset and element type, then the dimensions; for
        # text the same bytes are characters, and a text of that length is simply a long constant.
        dimensions = int.from_bytes(octets[4:8], "little")
        if dimensions == 1 and int.from_bytes(octets[16:20], "little") > _LOOKUP_CONSTANTS:
            return False
    return expression.tag == "CONST" or (expression.tag == "PARAM" and expression["paramkind"] == "0")


def _whole_row(relation: RelationFacts) -> Flow[ColumnRef]:
    if relation.metadata:  # its hidden columns would come along
        raise Refused("HOOP213", f"Name the columns of {relation.full_name}: some of them are not open to anyone here.")
    return NOTHING.union(*(column.sources for column in relation.columns.values()))


def _system_column() -> Refused:
    return Refused("HOOP217", "The statement uses a system column, which says where and when a row was written.")


_TABLE_NAME = ColumnFacts("tableoid", 26, NOTHING)
