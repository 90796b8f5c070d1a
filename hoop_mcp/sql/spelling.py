"""Other spellings of a statement for the offline reader, where it does not know a word that PostgreSQL knows.

The offline reader is a witness to two things: that a statement only reads, and which relations it names. Neither
depends on what an operator is called, of which PostgreSQL lets anybody make more, or on the small words inside SQL/XML
calls. So a text it cannot read is offered to it once more with those spelled plainly. PostgreSQL is given the text as
it came, and the relations and the verb of its tree must agree with what the witness saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SIGNS = frozenset("+-*/<>=~!@#%^&|`?")
_FREE = frozenset("~!@#%^&|`?")
"""An operator ends in + or - only if it holds one of these (PostgreSQL manual, 4.1.3)."""

_BINARY, _PREFIX = "||", "-"
_PLAIN = frozenset({"+", "-", "*", "/", "%", "^", "<", ">", "=", "<=", ">=", "<>", "!=", "||"})
_INSIDE = {"XMLPI": {"NAME"}, "XMLPARSE": {"CONTENT", "DOCUMENT"}, "XMLSERIALIZE": {"CONTENT", "DOCUMENT"}}
_AFTER_COMMA = {"VERSION", "STANDALONE"}


def plainer(sql: str, pieces: Sequence[tuple[str, int]]) -> Iterable[str]:
    """The statement with its unusual operators between two values, then before one, and without the words of SQL/XML.

    Args:
        sql: the text.
        pieces: its words as they stand there, each with its place; comments are none.
    """
    calls = _calls(pieces)
    for operator in (_BINARY, _PREFIX):
        changes = calls + _operators(pieces, operator)
        if changes:
            yield _changed(sql, changes)


def _operators(pieces: Sequence[tuple[str, int]], spelled: str) -> list[tuple[int, int, str]]:
    changes = []
    place = 0
    while place < len(pieces):
        start, text = pieces[place][1], ""
        while place < len(pieces) and _SIGNS.issuperset(pieces[place][0]) and pieces[place][1] == start + len(text):
            text += pieces[place][0]
            place += 1
        if not text:
            place += 1
            continue
        if _FREE.isdisjoint(text):
            text = text[:1] + text[1:].rstrip("+-")
        if text not in _PLAIN:
            changes.append((start, start + len(text), f" {spelled} "))
    return changes


def _calls(pieces: Sequence[tuple[str, int]]) -> list[tuple[int, int, str]]:
    changes: list[tuple[int, int, str]] = []
    words = [text.upper() for text, _ in pieces]
    for place, word in enumerate(words):
        before = words[max(0, place - 2) : place]
        start, end = pieces[place][1], pieces[place][1] + len(pieces[place][0])
        opens = len(before) >= 2 and before[-1] == "(" and word in _INSIDE.get(before[-2], ())
        if opens or (before[-1:] == [","] and word in _AFTER_COMMA and "XMLROOT" in words):
            changes.append((start, end, ""))
        elif word == "DOCUMENT" and (before[-1:] == ["IS"] or before[-2:] == ["IS", "NOT"]):
            changes.append((start, end, "NULL"))
    return changes


def _changed(sql: str, changes: Iterable[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(changes, reverse=True):
        sql = sql[:start] + new + sql[end:]
    return sql
