"""The casts no tree shows: those that make the two sides of a UNION, INTERSECT or EXCEPT alike.

Analysis only checks that such a cast exists; the planner puts it in. A cast that raises on some values makes a personal
one a probe, and a cast that somebody defined runs a function that nobody was asked about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused
from hoop_mcp.sql.facts import FIRST_NORMAL_OID
from hoop_mcp.sql.tree import Node

if TYPE_CHECKING:
    from hoop_mcp.sql.facts import CatalogFacts

_TYPE_FIELDS = {
    "AGGREF": "aggtype",
    "ARRAYCOERCEEXPR": "resulttype",
    "ARRAYEXPR": "array_typeid",
    "CASEEXPR": "casetype",
    "COALESCEEXPR": "coalescetype",
    "COERCETODOMAIN": "resulttype",
    "COERCEVIAIO": "resulttype",
    "CONST": "consttype",
    "FIELDSELECT": "resulttype",
    "FUNCEXPR": "funcresulttype",
    "MINMAXEXPR": "minmaxtype",
    "OPEXPR": "opresulttype",
    "PARAM": "paramtype",
    "RELABELTYPE": "resulttype",
    "ROWEXPR": "row_typeid",
    "SQLVALUEFUNCTION": "type",
    "SUBSCRIPTINGREF": "refrestype",
    "VAR": "vartype",
    "WINDOWFUNC": "wintype",
}
_EXACT = ("int2", "int4", "int8", "numeric")
_TOTAL = frozenset(
    {(one, other) for place, one in enumerate(_EXACT) for other in _EXACT[place:]}
    | {(one, other) for one in ("int2", "int4", "int8", "float4") for other in ("float4", "float8")}
    | {(one, other) for one in ("text", "varchar", "bpchar", "name") for other in ("text", "varchar", "bpchar")}
)
_TEXTS = frozenset({"text", "varchar", "bpchar"})
_DOMAIN_TARGETS = frozenset({*_EXACT, "text", "varchar", "bpchar"})
"""What every built-in type that implicitly becomes one of these becomes without fail."""


def type_of(expression: Any) -> int | None:
    """The OID of an expression's type; None where the node does not say."""
    if type(expression) is not Node:
        return None
    if expression.tag == "COLLATEEXPR":
        return type_of(expression["arg"])
    field = _TYPE_FIELDS.get(expression.tag)
    return expression.number(field) if field is not None else None


class Coercions:
    """Judges by the types on either side."""

    def __init__(self, facts: CatalogFacts) -> None:
        self._facts = facts

    def type_of(self, expression: Any) -> int | None:
        """The OID of an expression's type; None where the node does not say."""
        return type_of(expression)

    def may_raise(self, have: int | None, want: int) -> bool:
        """Whether turning one type into the other can fail on a value.

        Raises:
            Refused: HOOP204 where only a cast that somebody defined can turn it.
        """
        if have == want:
            return False
        source = self._facts.types.get(have) if have is not None else None
        target = self._facts.types.get(want)
        if source is None or target is None:
            return True
        # PostgreSQL turns nothing into a domain here, so that a user's type as the target means a user's cast.
        if want >= FIRST_NORMAL_OID:
            raise Refused(
                "HOOP204", "A set operation turns one type into another by a cast nobody here has vouched for."
            )
        # And a user's type that becomes a built-in one is a domain: that it is read as what it is made of is no cast.
        if source.oid >= FIRST_NORMAL_OID:
            return target.name not in _DOMAIN_TARGETS
        return (source.name, target.name) not in _TOTAL

    def assignment_may_raise(self, have: int | None, want: int) -> bool:
        """As :meth:`may_raise`, for what a function's body selects and the type the function declares to return.

        PostgreSQL casts here as it does to store into a column, and no tree of the body shows it. Any of its own types
        becomes text that way without fail.

        Raises:
            Refused: HOOP204 where a cast that somebody defined may be what turns it.
        """
        if have == want:
            return False
        source = self._facts.types.get(have) if have is not None else None
        target = self._facts.types.get(want)
        if source is None or target is None:
            return True
        if want >= FIRST_NORMAL_OID or (source.oid >= FIRST_NORMAL_OID and not source.domain):
            raise Refused("HOOP204", "A function returns its result by a cast nobody here has vouched for.")
        if source.domain:
            return target.name not in _TEXTS
        return target.name not in _TEXTS and (source.name, target.name) not in _TOTAL
