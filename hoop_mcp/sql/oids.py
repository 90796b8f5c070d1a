"""The generic second pass: every OID anywhere in a tree, whatever the tracer thinks of the node it stands in.

The tracer walks what it understands; this pass walks everything. A function hidden in a field the tracer forgot is
found here, and must be vouched for like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from hoop_mcp.sql.fields import OID_FIELDS
from hoop_mcp.sql.tree import Node


@dataclass(frozen=True, slots=True)
class Oids:
    """The OIDs of one tree by what they name; zero (none) left out.

    ``mentioned`` are relations that a constant names (``'shop.orders'::regclass``): nothing is read of them.
    """

    relations: frozenset[int]
    functions: frozenset[int]
    operators: frozenset[int]
    collations: frozenset[int]
    classes: frozenset[int]
    types: frozenset[int]
    sorting: frozenset[int] = frozenset()
    mentioned: frozenset[int] = frozenset()

    def __or__(self, other: Oids) -> Oids:
        """Both together."""
        return Oids(*(getattr(self, each.name) | getattr(other, each.name) for each in fields(self)))


_REGCLASS = "2205"
_MENTIONING = frozenset({"CONST", "RELABELTYPE"})


def mentioned_relation(item: Any) -> int | None:
    """The relation that a constant of type regclass names, as it stands or read as a plain OID."""
    while type(item) is Node and item.tag == "RELABELTYPE":
        item = item["arg"]
    if type(item) is not Node or item.tag != "CONST" or item["consttype"] != _REGCLASS:
        return None
    octets = item["constvalue"]
    return int.from_bytes(octets[:4], "little") if isinstance(octets, bytes) else None


def _watched(shape: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The fields of a node that hold OIDs, with what they name. Known by the node's whole shape, never by its tag alone."""
    watched = _WATCHED.get(shape)
    if watched is None:
        watched = tuple((field, OID_FIELDS[field]) for field in shape if field in OID_FIELDS)
        _WATCHED[shape] = watched  # as many as the schemas of all versions have shapes
    return watched


_WATCHED: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {}


def collect(*trees: object, opaque: frozenset[int] = frozenset(), entries: list[Node] | None = None) -> Oids:
    """Collect from trees.

    Args:
        trees: nodes and lists of them.
        opaque: subtrees with one of these ``id()`` are not entered (vouched catalog views).
        entries: where given, every range table entry met is added, the opaque ones too.
    """
    found: dict[str, set[int]] = {
        kind: set()
        for kind in ("relation", "function", "operator", "collation", "class", "type", "sorting", "mentioned")
    }
    stack: list[Any] = list(trees)
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is list:
            stack += [inner for inner in item if type(inner) is Node or type(inner) is list]
        elif kind is Node:
            tag = item.tag
            if tag == "RANGETBLENTRY" and entries is not None:
                entries.append(item)
            # Permission lists repeat the range table, with the relations behind opaque views added.
            if tag == "RTEPERMISSIONINFO" or (opaque and id(item) in opaque):
                continue
            if tag in _MENTIONING and (mentioned := mentioned_relation(item)) is not None:
                found["mentioned"].add(mentioned)
            for field, names in _watched(tuple(item)):
                value = item[field]
                if type(value) is list:
                    found[names].update(map(int, value))
                elif value is not None:
                    found[names].add(int(value))
            stack += [value for value in item.values() if type(value) is Node or type(value) is list]
    for oids in found.values():
        oids.discard(0)
    return Oids(
        relations=frozenset(found["relation"]),
        functions=frozenset(found["function"]),
        operators=frozenset(found["operator"]),
        collations=frozenset(found["collation"]),
        classes=frozenset(found["class"]),
        types=frozenset(found["type"]),
        sorting=frozenset(found["sorting"]),
        mentioned=frozenset(found["mentioned"]),
    )
