"""PostgreSQL array literals and JSON texts, read with the place of every leaf.

Array literals: PostgreSQL manual, section 8.15.6 (quotes, backslashes, NULL, ``[l:u]=`` prefixes; the delimiter is a
comma for every built-in type but box, whose is a semicolon). JSON: RFC 8259. Both are lists of tokens over the raw
text, so a masked leaf is spliced in and everything else stays byte for byte, numbers beyond 2**53 included.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Nested: TypeAlias = "str | list[Nested] | None"

_BOUNDS = re.compile(r"(?:\[[+-]?\d+:[+-]?\d+\])+=")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)
_BARE = {",": re.compile(r'[^,{}"\\]+(?:\\.[^,{}"\\]*)*+'), ";": re.compile(r'[^;{}"\\]+(?:\\.[^;{}"\\]*)*+')}
_MAX_DIMENSIONS = 6  # PostgreSQL's own MAXDIM


def parse_array(literal: str, delimiter: str = ",") -> list[Nested]:
    """Read an array literal as PostgreSQL prints it; elements are text or None, nesting as written.

    Raises:
        ValueError: the text is not an array literal. The message does not quote it.
    """
    prefix = _BOUNDS.match(literal)
    at = prefix.end() if prefix else 0
    if literal[at : at + 1] != "{":
        raise ValueError("not an array literal")
    if literal[at:] == "{}":
        return []
    bare = _BARE[delimiter]
    root: list[Nested] = []
    stack: list[list[Nested]] = []
    current = root
    at += 1
    value_due = True
    while True:
        char = literal[at : at + 1]
        if value_due:
            if char == "{":
                if len(stack) + 2 > _MAX_DIMENSIONS:
                    raise ValueError("an array has at most six dimensions")
                inner: list[Nested] = []
                current.append(inner)
                stack.append(current)
                current = inner
                at += 1
                continue
            if char == '"':
                quoted = _QUOTED.match(literal, at)
                if quoted is None:
                    raise ValueError("an array element's quote is not closed")
                body = quoted[1]
                current.append(_UNESCAPE.sub(r"\1", body) if "\\" in body else body)
                at = quoted.end()
            else:
                plain = bare.match(literal, at)
                if plain is None:
                    raise ValueError("an array element is missing")
                word = plain[0]
                current.append(None if word.upper() == "NULL" else _UNESCAPE.sub(r"\1", word) if "\\" in word else word)
                at = plain.end()
            value_due = False
        elif char == delimiter:
            value_due = True
            at += 1
        elif char == "}":
            at += 1
            if not stack:
                break
            current = stack.pop()
        else:
            raise ValueError("an array element is not followed by a delimiter")
    if at != len(literal):
        raise ValueError("an array literal goes on after its end")
    return root


def leaves(nested: list[Nested]) -> Iterator[str]:
    """Every text in an array, depth first."""
    for item in nested:
        if isinstance(item, list):
            yield from leaves(item)
        elif item is not None:
            yield item


def map_leaves(nested: list[Nested], change: Callable[[str], object]) -> list[object]:
    """The same nesting with every text replaced by ``change`` of it."""
    return [
        map_leaves(item, change) if isinstance(item, list) else None if item is None else change(item)
        for item in nested
    ]


class Leaf(NamedTuple):
    """One string or number of a JSON text.

    ``start`` and ``end`` are code points of the raw text: of a string's content between its quotes, of a number
    whole. ``text`` is decoded. ``key`` is the nearest object key above, "" at the top; ``escaped`` says that decoded
    and raw offsets differ.
    """

    start: int
    end: int
    text: str
    key: str
    is_number: bool
    escaped: bool


def check_json(text: str) -> None:
    """Make sure that a text may be embedded in an answer as it stands (RFC 8259).

    orjson refuses numbers that no double can hold, which jsonb prints; the standard library reads those unconverted.
    Half a surrogate pair in an escape is refused by both: not every client could read the answer around it.

    Raises:
        ValueError: the text is not JSON. The message does not quote it.
    """
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            if _SURROGATE.search(text):
                raise ValueError
            json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise ValueError("not a JSON text") from None


def _no_constant(_: str) -> None:
    raise ValueError  # NaN and the infinities are no JSON


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*+)"(\s*:)?|([{}\[\]])|(-?\d[\d.eE+\-]*)', re.DOTALL)


def json_leaves(document: str) -> list[Leaf]:
    """Every string (keys included) and number of a JSON text.

    Raises:
        ValueError: the text is not JSON. The message does not quote it.
    """
    check_json(document)
    found: list[Leaf] = []
    keys: list[str] = [""]
    for token in _TOKEN.finditer(document):
        string, colon, bracket, number = token.groups()
        if string is not None:
            escaped = "\\" in string
            text = orjson.loads(token[0][: len(string) + 2]) if escaped else string
            start = token.start() + 1
            if colon is not None:
                found.append(Leaf(start, start + len(string), text, keys[-2] if len(keys) > 1 else "", False, escaped))
                keys[-1] = text
            else:
                found.append(Leaf(start, start + len(string), text, keys[-1], False, escaped))
        elif bracket is not None:
            if bracket in "{[":
                keys.append(keys[-1])
            elif len(keys) > 1:
                keys.pop()
        else:
            found.append(Leaf(token.start(), token.end(), number, keys[-1], True, False))
    return found
