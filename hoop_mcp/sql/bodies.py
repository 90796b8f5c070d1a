"""What users' functions bring into a statement: the trees of their bodies, by the closure of everything they call.

The trees are the server's own (red team's rule: reading a body oneself reimplements name resolution, and a parameter
named like a column or a default that calls another function fools it). This module only follows them: from the OIDs of
one tree to the functions, to the OIDs of their bodies and defaults, and so on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoop_mcp.errors import Refused
from hoop_mcp.sql.oids import Oids, collect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.sql.facts import Body, FunctionFacts

MAX_FUNCTIONS = 64
"""Different users' functions that one statement may reach."""
MAX_DEPTH = 12
"""Functions called inside each other."""


def check_nesting(oid: int, inside: list[int]) -> None:
    """Refuse a call of a function inside itself, and functions nested deeper than :data:`MAX_DEPTH`."""
    if oid in inside:
        raise Refused(
            "HOOP211", "The statement uses a function that calls itself, which this gateway does not analyse."
        )
    if len(inside) >= MAX_DEPTH:
        raise Refused("HOOP207", "The statement calls functions inside functions deeper than is analysed here.")


def oids_of(body: Body, opaque: frozenset[int] = frozenset()) -> Oids:
    """The OIDs in a body and in the defaults of its arguments."""
    return collect(body.rewritten, *body.defaults, opaque=opaque)


def bodies_behind(oids: Oids, functions: Mapping[int, FunctionFacts]) -> Mapping[int, FunctionFacts]:
    """Every user's function that the functions in *oids* are made of or call, themselves among them.

    Raises:
        Refused: HOOP207 where they are too many.
    """
    found: dict[int, FunctionFacts] = {}
    todo = set(oids.functions)
    while todo:
        oid = todo.pop()
        function = functions.get(oid)
        if function is None or function.builtin or oid in found:
            continue
        found[oid] = function
        if len(found) > MAX_FUNCTIONS:
            raise Refused("HOOP207", "The statement calls functions that call more functions than are analysed here.")
        todo |= set(function.support)
        if function.body is not None:
            todo |= oids_of(function.body).functions
    return found


def closure(oids: Oids, functions: Mapping[int, FunctionFacts], opaque: frozenset[int] = frozenset()) -> Oids:
    """*oids* with those of every body behind them."""
    nothing: frozenset[int] = frozenset()
    for function in bodies_behind(oids, functions).values():
        made_of = frozenset(function.support)
        oids |= Oids(nothing, made_of, nothing, nothing, nothing, nothing)
        if function.body is not None:
            oids |= oids_of(function.body, opaque)
    return oids
