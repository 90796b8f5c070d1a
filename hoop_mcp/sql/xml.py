"""Which SQL/XML expressions have a value whatever their arguments hold (PostgreSQL manual, 9.15 and 8.13).

``xmlelement`` and ``xmlforest`` escape what they are given and check nothing of it, except that XML knows no infinite
time. Whatever reads or joins XML raises where the text is not what it should be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoop_mcp.sql.coercions import type_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.sql.facts import TypeFacts
    from hoop_mcp.sql.tree import Node

_DOCUMENT = "0"
_TIMES = frozenset({"date", "timestamp", "timestamptz"})


def total(item: Node, types: Mapping[int, TypeFacts]) -> bool:
    """Whether an XMLEXPR raises nothing that depends on its arguments.

    Args:
        item: the node.
        types: what the catalogs say of types, by OID.
    """
    match item["op"]:
        case "1" | "2":
            given = [*item.nodes("args"), *item.nodes("named_args")]
            return all(_knows_no_infinity(type_of(each), types) for each in given)
        case "6":
            return item["xmloption"] != _DOCUMENT and item.get("indent") in (None, "false")
        case _:
            return False


def _knows_no_infinity(oid: int | None, types: Mapping[int, TypeFacts]) -> bool:
    """Whether neither the type nor what its values are made of is a time; not known is no."""
    todo, seen = [oid], set[int]()
    while todo:
        each = todo.pop()
        if each is None or (found := types.get(each)) is None or found.name in _TIMES:
            return False
        if each not in seen:
            seen.add(each)
            todo += found.made_of
    return True
