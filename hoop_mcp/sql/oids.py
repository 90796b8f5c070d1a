"""The generic second pass: every OID anywhere in a tree, whatever the tracer thinks of the node it stands in.

The tracer walks what it understands; this pass walks everything. A function hidden in a field the tracer forgot is
found here, and must be vouched for like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hoop_mcp.sql.fields import OID_FIELDS
from hoop_mcp.sql.tree import Node


@dataclass(frozen=True, slots=True)
class Oids:
    """The OIDs of one tree by what they name; zero (none) left out."""

    relations: frozenset[int]
    functions: frozenset[int]
    operators: frozenset[int]
    collations: frozenset[int]
    classes: frozenset[int]
    types: frozenset[int]


def collect(*trees: object, opaque: frozenset[int] = frozenset()) -> Oids:
    """Collect from trees; subtrees whose ``id()`` is in ``opaque`` are not entered (vouched catalog views)."""
    found: dict[str, set[int]] = {
        kind: set() for kind in ("relation", "function", "operator", "collation", "class", "type")
    }
    stack: list[Any] = list(trees)
    while stack:
        item = stack.pop()
        if type(item) is list:
            stack.extend(inner for inner in item if type(inner) in (Node, list))
        elif type(item) is Node:
            # Permission lists repeat the range table, with the relations behind opaque views added.
            if id(item) in opaque or item.tag == "RTEPERMISSIONINFO":
                continue
            for field, value in item.items():
                kind = OID_FIELDS.get(field)
                if kind is None:
                    if type(value) in (Node, list):
                        stack.append(value)
                elif type(value) is list:
                    found[kind].update(int(oid) for oid in value)
                elif value is not None:
                    found[kind].add(int(value))
    for oids in found.values():
        oids.discard(0)
    return Oids(
        relations=frozenset(found["relation"]),
        functions=frozenset(found["function"]),
        operators=frozenset(found["operator"]),
        collations=frozenset(found["collation"]),
        classes=frozenset(found["class"]),
        types=frozenset(found["type"]),
    )
