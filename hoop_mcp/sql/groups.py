"""Of how many people each row of an aggregating statement is made, as far as the tree lets it be told. Pure.

A minimum group size is kept on the result and the statement is never rewritten, so the result must carry the number: an
output column that counts the distinct people of its own row. This module finds those columns, or says why there are
none. What it must not be talked into:

* **A count of other people than the row is about.** Cross-joining a thousand customers to one order gives that order's
  total a count of a thousand. So every table that records people must say who they are by a column catalogued
  ``person``, and each such column must be counted, itself or one that an inner join makes equal to it.
* **A count of more people than a value is made from.** ``sum(total) FILTER (WHERE id = 7)``, ``sum(CASE …)``, a column
  that is null for all but one, the empty side of an outer join. So what is aggregated is a column itself, never null,
  unfiltered.
* **A question about a hidden group whose answer shows elsewhere.** LIMIT and OFFSET count hidden rows, ``1 /
  (count(DISTINCT id) - 1)`` raises for a group of one, HAVING may do the same, and a nested aggregate carries its answer
  out by a filter. So one level aggregates, and over its aggregates stands nothing that can raise.

Deliberate direction: whatever is not recognised is uncounted, and policy refuses it where a minimum holds. The refusal
rests on the text and the catalogs alone, so that it says nothing of the data.

Known limits: a minimum says nothing of differencing (the same sum with and without one person), and ``min`` and ``max``
show a value that one person has. A row too wide to be fetched, or a statement made to run out of time, fails for a
withheld group as well: such failures are counted against the caller's budget.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hoop_mcp.sql.joined import PLAINLY, Joined, Joins, Leaf, Level, Place, Uncounted, aggregates, bare
from hoop_mcp.sql.tree import Node
from hoop_mcp.terms import Groups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.sql.facts import CatalogFacts

SUMMARISING = re.compile(r"(?:count|sum|avg|min|max|bool_and|bool_or|every|stddev\w*|variance|var_pop|var_samp)\(")
"""Aggregates that make one value of many. array_agg, string_agg and mode list people or pick them."""

_COUNT = re.compile(r"count\(")
_EQUAL = re.compile(r"(?:int[248]+|text|bpchar|name|uuid_)eq\(")
_FIXES = re.compile(rf"{_EQUAL.pattern}|(?:numeric|date|time|timestamp|timestamptz|enum)_eq\(|(?:oid|float[48]+)eq\(")
_COMPARES = re.compile(
    r"(?:int[248]+|float[48]+|text|text_|bpchar|name|bool|numeric_|date_|timestamp_|timestamptz_)(?:eq|ne|lt|le|gt|ge)\("
)
_ROUNDING = frozenset(
    {
        "round(numeric,int4)",
        "round(numeric)",
        "round(float8)",
        "trunc(numeric,int4)",
        "trunc(numeric)",
        "floor(numeric)",
        "floor(float8)",
        "ceil(numeric)",
        "ceil(float8)",
        "numeric(int8)",
        "numeric(int4)",
        "float8(int8)",
    }
)
"""What may stand over an aggregate: none of these raises, whatever the group."""

_BARE = (
    "Aggregate columns themselves that are NOT NULL (or add WHERE column IS NOT NULL), without FILTER or CASE, "
    "and compute further from the answer."
)
_CALLS = {"FUNCEXPR": "funcid", "OPEXPR": "opfuncid", "AGGREF": "aggfnoid", "WINDOWFUNC": "winfnoid"}
_GROUP = "9"
_TABLES = frozenset({"0", "2", "3", "5", "8"})


def people(query: Node, facts: CatalogFacts, opaque: Mapping[int, int], named: frozenset[int]) -> Groups | None:
    """The people behind each row, or None where nothing is aggregated over people.

    Args:
        query: the rewritten tree.
        facts: for relations and functions by OID.
        opaque: ``id()`` of the range table entries that stand for vouched metadata and are not entered.
        named: the relations the statement names itself; of no other is spoken.
    """
    if _plainly_none(query):
        return None
    counting = _Counting(facts, opaque, named)
    levels = counting.levels(query)
    if not levels:
        return None
    single = any(counting.single(level) for level in levels)
    try:
        return Groups(counted=counting.counted(query, levels), single=single)
    except Uncounted as uncounted:
        return Groups(uncounted=uncounted.why, instead=uncounted.instead, single=single)
    except (LookupError, TypeError, ValueError):
        return Groups(
            uncounted="its groups are made in a way this gateway does not follow", instead=PLAINLY, single=single
        )


def _plainly_none(query: Node) -> bool:
    """Most statements: one level, which aggregates nothing."""
    return (
        not aggregates(query)
        and not query.flag("hasSubLinks")
        and not query["cteList"]
        and all(entry["rtekind"] in _TABLES and not entry["securityQuals"] for entry in query.nodes("rtable"))
    )


class _Counting:
    def __init__(self, facts: CatalogFacts, opaque: Mapping[int, int], named: frozenset[int]) -> None:
        self._facts = facts
        self._named = named
        self._joins = Joins(facts, opaque)

    def levels(self, query: Node) -> list[Node]:
        """Every query, at whatever depth, that aggregates with people under it or come in from around it."""
        nodes = list(self._joins.nodes(query))
        if not any(self._records_people(node) for node in nodes):
            return []
        return [node for node in nodes if node.tag == "QUERY" and aggregates(node) and self._over_people(node)]

    def _records_people(self, node: Node) -> bool:
        if node.tag != "RANGETBLENTRY" or node["rtekind"] != "0":
            return False
        relation = self._facts.relations.get(node.number("relid"))
        return relation is None or relation.people

    def _over_people(self, query: Node) -> bool:
        # What a WITH query holds may stand further out, and a variable may bring a row of people in from there.
        return any(
            self._records_people(node)
            or (node.tag == "RANGETBLENTRY" and node["rtekind"] == "6")
            or (node.tag == "VAR" and node["varlevelsup"] != "0")
            for node in self._joins.nodes(query)
        )

    # -- who the rows are about

    def counted(self, query: Node, levels: list[Node]) -> tuple[int, ...]:
        """The output columns that count people: each kind of person in FROM by one at least.

        Raises:
            Uncounted: some are not counted, or something here could tell of a group that is not shown.
        """
        if any(level is not query for level in levels):
            raise Uncounted("it aggregates over people inside a view, a sub-select or a WITH query", PLAINLY)
        _one_plain_level(query)
        for node in self._joins.nodes(query):
            if node.tag in _CALLS and self._joins.builtin(node.number(_CALLS[node.tag])) is None:
                raise Uncounted("it calls a function of the database's own, which may aggregate inside", PLAINLY)
        top = Level(query)
        joined = self._joins.of(top)
        who = self._people_of(joined)
        self._judge_expressions(query, top, joined)
        found: dict[int, frozenset[Place]] = {}
        shown = [entry for entry in query.nodes("targetList") if not entry.flag("resjunk")]
        for place, entry in enumerate(shown):
            counted = self._counts(entry["expr"], top, joined.leaves)
            if counted is not None:
                found[place] = next((same for same in who if counted in same), frozenset())
        for same in who:
            if same not in found.values():
                raise self._missing(same, joined.leaves)
        return tuple(found)

    def _people_of(self, joined: Joined) -> list[frozenset[Place]]:
        """The columns that say who a row is about; those that are equal in every row taken together."""
        who: list[frozenset[Place]] = []
        for leaf in joined.leaves:
            if leaf.relation is None or not leaf.people:
                continue
            if leaf.nullable:
                raise Uncounted(
                    "its outer join leaves people out whom the count would count",
                    "Use a plain JOIN between tables of people.",
                )
            columns = leaf.relation.columns
            mine = [frozenset({Place(leaf.path, number)}) for number in columns if columns[number].person is not None]
            if not mine:
                spoken = leaf.relation.full_name if leaf.relation.oid in self._named else "a table behind a view"
                raise Uncounted(
                    f"nothing in the catalogue says which person a row of {spoken} is about",
                    "Leave that table out, or ask the owner of the catalogue to mark its column with person.",
                )
            who += mine
        if not who:
            raise Uncounted("the people it is about are not in its FROM", PLAINLY)
        for part, level in joined.conditions:
            if (both := self._equated(part, level)) is not None:
                merged = frozenset[Place]().union(*(same for same in who if same & both))
                who = [*(same for same in who if not same & both), merged]
        return who

    def _equated(self, part: Node, level: Level) -> frozenset[Place] | None:
        """Two columns that identify people of one group, made equal."""
        if not self._calls(part, _EQUAL):
            return None
        sides = [self._joins.column(side, level) for side in part.nodes("args")]
        found = [side for side in sides if side is not None]
        groups = {column.person for _, column in found}
        return (
            frozenset(place for place, _ in found)
            if len(found) == 2 and len(groups) == 1 and None not in groups
            else None
        )

    def _calls(self, part: Node, pattern: re.Pattern[str]) -> bool:
        return part.tag == "OPEXPR" and pattern.match(self._joins.builtin(part.number("opfuncid")) or "") is not None

    # -- what stands in the select list, in ORDER BY and in HAVING

    def _judge_expressions(self, query: Node, top: Level, joined: Joined) -> None:
        sure = {leaf.path for leaf in joined.leaves if not leaf.nullable}
        given = {
            found[0]
            for part, level in joined.conditions
            if part.tag == "NULLTEST" and part["nulltesttype"] == "1" and not part.flag("argisrow")
            if (found := self._joins.column(part["arg"], level)) is not None
        }
        judge = _Judge(self._joins, top, sure, given)
        for entry in query.nodes("targetList"):
            judge.over(entry["expr"])
        for entry in query.nodes("rtable"):
            if entry["rtekind"] == _GROUP:
                judge.over(entry["groupexprs"])
        judge.condition(query["havingQual"])

    def _counts(self, expression: Any, top: Level, leaves: list[Leaf]) -> Place | None:
        """The column of people that an output column counts, each person of its row once."""
        if type(expression) is not Node or not self._is_count(expression):
            return None
        arguments = [entry["expr"] for entry in expression.nodes("args")]
        found = self._joins.column(arguments[0], top) if len(arguments) == 1 else None
        if expression["aggdistinct"]:
            return found[0] if found is not None and found[1].person is not None else None
        if len(leaves) != 1 or leaves[0].relation is None:
            return None
        # One table alone, and no two of its rows about one person: then rows are people.
        columns, keys = leaves[0].relation.columns, leaves[0].relation.keys
        for number, column in columns.items():
            place = Place(leaves[0].path, number)
            one_each = column.person is not None and frozenset({number}) in keys
            if one_each and (not arguments or (found is not None and found[0] == place)):
                return place
        return None

    def _is_count(self, node: Node) -> bool:
        return node.tag == "AGGREF" and _COUNT.match(self._joins.builtin(node.number("aggfnoid")) or "") is not None

    def _missing(self, same: frozenset[Place], leaves: list[Leaf]) -> Uncounted:
        relations = {leaf.path: leaf.relation for leaf in leaves}
        for place in sorted(same):
            relation = relations.get(place.path)
            if relation is not None and relation.oid in self._named:
                column = f"{relation.name}.{relation.columns[place.number].name}"
                return Uncounted(
                    f"no output column counts the different people of each row by {column}",
                    f"Add count(DISTINCT {column}) AS people to the select list.",
                )
        return Uncounted(
            "no output column counts the different people of each row",
            "Add a count(DISTINCT …) of the column that identifies the person to the select list.",
        )

    # -- a count over one

    def single(self, query: Node) -> bool:
        """Whether a query counts what a key narrows to one row, and asks something more of that row.

        ``count(*) … WHERE id = 1 AND country = 'DE'`` is a question about one person, dressed as a number. A key that
        holds something personal is left out: to look it up is a use of its own, which policy opens and budgets count.
        Known limit: a key that is narrowed by anything but ``=`` and a constant is not seen.
        """
        counts = [node for node in self._joins.nodes(query, enter=False) if self._is_count(node)]
        if not counts:
            return False
        try:
            joined = self._joins.of(Level(query))
        except (Uncounted, LookupError, TypeError, ValueError):
            return False
        tables = [leaf for leaf in joined.leaves if leaf.relation is not None]
        if len(tables) != 1 or tables[0].relation is None or not tables[0].people:
            return False
        relation = tables[0].relation
        fixed = {self._fixed(part, level) for part, level in joined.conditions}
        further = any(node["aggfilter"] is not None or _computed(node) for node in counts)
        return any(
            key <= fixed
            and not any(relation.columns[number].sources for number in key)
            and (further or len(joined.conditions) > len(key))
            for key in relation.keys
        )

    def _fixed(self, part: Node, level: Level) -> int | None:
        """The number of the column that a condition fixes to a constant."""
        if not self._calls(part, _FIXES):
            return None
        one, other = part.nodes("args")
        for column, value in ((one, other), (other, one)):
            constant = bare(value)
            if constant is not None and constant.tag in ("CONST", "PARAM"):
                try:
                    found = self._joins.column(column, level)
                except LookupError:
                    return None
                return None if found is None else found[0].number
        return None


def _computed(count: Node) -> bool:
    arguments = (bare(entry["expr"]) for entry in count.nodes("args"))
    return any(argument is None or argument.tag not in ("VAR", "CONST") for argument in arguments)


def _one_plain_level(query: Node) -> None:
    """Refuse the clauses through which a group that is not shown could be told of."""
    if query["setOperations"] is not None:
        raise Uncounted("it aggregates over people and joins results by UNION, INTERSECT or EXCEPT", PLAINLY)
    if query["groupingSets"]:
        raise Uncounted("it makes several sets of groups of people at once", "Send one GROUP BY at a time.")
    if query.flag("hasWindowFuncs"):
        raise Uncounted("it uses window functions over people", "Write GROUP BY instead of OVER.")
    if query["distinctClause"]:
        raise Uncounted("DISTINCT makes groups of people", "Write GROUP BY instead, with a count of the people.")
    if query["limitOffset"] is not None or query["limitCount"] is not None:
        raise Uncounted(
            "LIMIT or OFFSET would count groups that are not shown",
            "Leave LIMIT, OFFSET and FETCH out, and pass max_rows with the call.",
        )
    if query.flag("hasTargetSRFs"):
        raise Uncounted("a function in the select list returns several rows", PLAINLY)


class _Judge:
    """Every aggregate is over all people of its row, and nothing over it can raise."""

    def __init__(self, joins: Joins, top: Level, sure: set[tuple[int, ...]], given: set[Place]) -> None:
        self._joins = joins
        self._top = top
        self._sure = sure
        self._given = given

    def over(self, expression: Any) -> None:
        """An aggregate, with rounding at most over it; or something made of what the row is grouped by."""
        inside = list(self._joins.nodes(expression, enter=False))
        if any(node.tag == "SUBLINK" for node in inside):
            raise Uncounted("a sub-select stands beside its aggregates", PLAINLY)
        if not any(node.tag == "AGGREF" for node in inside):
            return
        match expression.tag:
            case "AGGREF":
                self._aggregate(expression)
            case "RELABELTYPE":
                self.over(expression["arg"])
            case "COALESCEEXPR":
                for part in expression.nodes("args"):
                    self.over(part)
            case "FUNCEXPR" if self._joins.builtin(expression.number("funcid")) in _ROUNDING:
                for place, part in enumerate(expression.nodes("args")):
                    if place and part.tag != "CONST":
                        raise Uncounted("it computes with its aggregates", _BARE)
                    self.over(part)
            case _:
                raise Uncounted("it computes with its aggregates", _BARE)

    def condition(self, condition: Any) -> None:
        """HAVING: comparisons, joined by AND, OR and NOT."""
        if type(condition) is not Node:
            return
        if condition.tag == "BOOLEXPR":
            for part in condition.nodes("args"):
                self.condition(part)
        elif condition.tag == "OPEXPR" and _COMPARES.match(self._joins.builtin(condition.number("opfuncid")) or ""):
            for part in condition.nodes("args"):
                self.over(part)
        else:
            self.over(condition)

    def _aggregate(self, aggregate: Node) -> None:
        known = SUMMARISING.match(self._joins.builtin(aggregate.number("aggfnoid")) or "")
        if known is None or aggregate["agglevelsup"] != "0":
            raise Uncounted("one of its aggregates lists people one by one or picks one", _BARE)
        if aggregate["aggfilter"] is not None or aggregate["aggorder"] or aggregate["aggdirectargs"]:
            raise Uncounted("one of its aggregates is over a part of each group only", _BARE)
        if not all(self._whole(entry["expr"]) for entry in aggregate.nodes("args")):
            raise Uncounted("one of its aggregates may be made from fewer people than are counted", _BARE)

    def _whole(self, argument: Any) -> bool:
        """Whether every person of the row has a part in what is aggregated."""
        node = bare(argument)
        if node is not None and node.tag == "CONST":
            return True
        found = self._joins.column(argument, self._top)
        if found is None:
            return False
        place, column = found
        return place.path in self._sure and (column.not_null or column.person is not None or place in self._given)
