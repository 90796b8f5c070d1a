"""Constants of a tree, and what can be told of a call from them alone.

A call over personal data is total or not by its constants: a pattern may be one that takes time by what it meets, a
replacement may multiply what it replaces, a path may raise where a key is missing. Each shape here is a small grammar
of what is known to be harmless; whatever does not fit makes the call a probe.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hoop_mcp.sql.facts import FIRST_NORMAL_OID
from hoop_mcp.sql.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hoop_mcp.sql.facts import TypeFacts

SHORT = 16
"""Characters of a replacement that may stand in for one character."""

_TEXTS = frozenset({"text", "varchar", "bpchar"})
_HEADER = 4

_PLAIN_FORMAT = re.compile(r"(?:[^%]|%%|%[sL])*", re.DOTALL)
"""A format that takes each argument once, at its own width: %I raises on null, %* takes a width from an argument, and
%1$s says one again as often as the format is long."""

_ATOM = r"(?:[A-Za-z0-9_@%,:; /'\"<>!#&~=-]|\\[.*+?()\[\]{}|^$\\/@dwsDWS-]|\.|\[\^?[A-Za-z0-9_@%,:; /'\"<>!#&~=.*+?()-]+\])[*+?]?"
_PATTERN = re.compile(rf"\^?(?:{_ATOM})*(?:\((?:{_ATOM})*\)(?:{_ATOM})*)?\$?")
_LONGEST_PATTERN = 60
_MOST_REPEATS = 6
"""Without back references, nested repeats and look-around PostgreSQL's matcher is an automaton: its time grows with the
square of the text at worst, whatever the text is (src/backend/regex/README)."""

_COPIES = re.compile(r"\\[0-9&]")

_ROOT, _KEY = 27, 25
_LAX = 0x8000_0000
_OBJECT = 0x2000_0000
_VERSION = 1


def constant(expression: Any, types: Mapping[int, TypeFacts]) -> int | str | None:
    """The value of a constant of a type read here; None for anything else.

    Read are int4, bool, text and its kin, name, jsonpath, and of jsonb whether it is an object.
    """
    while type(expression) is Node and expression.tag == "RELABELTYPE":
        expression = expression["arg"]
    if type(expression) is not Node or expression.tag != "CONST" or expression["constisnull"] != "false":
        return None
    octets = expression["constvalue"]
    kind = types.get(expression.number("consttype"))
    if kind is None or not isinstance(octets, bytes):
        return None
    if kind.name == "int4":
        return int.from_bytes(octets[:4], "little", signed=True)  # a by-value datum prints eight bytes, host order
    if kind.name == "bool":
        return "true" if octets[0] else "false"
    if kind.name in _TEXTS and _whole(octets):
        return octets[_HEADER:].decode("utf-8", "replace")
    if kind.name == "name":
        return octets.rstrip(b"\0").decode("utf-8", "replace")
    if kind.name == "jsonpath" and _whole(octets):
        return _path(octets[_HEADER:])
    if kind.name == "jsonb" and _whole(octets):
        return _document(octets[_HEADER:])
    return None


def came_with_postgres(expression: Any) -> bool:
    """Whether an expression is a constant OID of an object that was made with the cluster."""
    while type(expression) is Node and expression.tag == "RELABELTYPE":
        expression = expression["arg"]
    if type(expression) is not Node or expression.tag != "CONST" or expression["constisnull"] != "false":
        return False
    octets = expression["constvalue"]
    return isinstance(octets, bytes) and 0 < int.from_bytes(octets[:4], "little") < FIRST_NORMAL_OID


def _whole(octets: bytes) -> bool:
    """Whether this is a value of variable length that is neither compressed nor packed: its size, four times."""
    return len(octets) >= _HEADER and int.from_bytes(octets[:_HEADER], "little") == len(octets) << 2


def _path(octets: bytes) -> str | None:
    """A lax path of nothing but keys, ``$.a.b``: it never raises. Any other is None (utils/adt/jsonpath.c).

    The datum is a version with a flag, then items of a type, padding, the distance to the next item, and for a key
    its length and text.
    """
    if len(octets) < 8 or int.from_bytes(octets[:4], "little") != _LAX | _VERSION:
        return None
    text, place = "", 4
    while 0 < place <= len(octets) - 8:
        kind, number = octets[place], int.from_bytes(octets[place + 4 : place + 8], "little", signed=True)
        if kind == _ROOT and not text:
            text = "$"
        elif kind == _KEY and text:
            length = int.from_bytes(octets[place + 8 : place + 12], "little")
            text += "." + octets[place + 12 : place + 12 + length].decode("utf-8", "replace")
        else:
            return None
        if number == 0:
            return text
        if number < 0:
            return None
        place += number
    return None


def _document(octets: bytes) -> str | None:
    """``{}`` for an object, whatever is in it; None for any other document (utils/jsonb.h, JB_FOBJECT)."""
    return "{}" if len(octets) >= 4 and int.from_bytes(octets[:4], "little") & _OBJECT else None


def _simple_pattern(value: str) -> bool:
    repeats = sum(value.count(sign) for sign in "*+?")
    return len(value) <= _LONGEST_PATTERN and repeats <= _MOST_REPEATS and _PATTERN.fullmatch(value) is not None


def _short(value: str) -> bool:
    return len(value) <= SHORT and len(_COPIES.findall(value)) <= 1


SHAPES: Mapping[str, Callable[[str], bool]] = {
    "path": lambda value: value.startswith("$"),
    "plain": lambda value: _PLAIN_FORMAT.fullmatch(value) is not None,
    "regex": _simple_pattern,
    "short": _short,
}
"""The words that may stand after ``~`` in data/functions.txt."""
