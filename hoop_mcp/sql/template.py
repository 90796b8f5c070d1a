"""The clear text of a statement for the journal: no literal, no comment, no name the agent made up.

By construction every word is a keyword or punctuation, a name the database already had, a parameter, ``?`` for a
literal or ``a1``, ``a2`` … for anything else (aliases are agent text and may spell a person's address).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from hoop_mcp.terms import Token

_NO_SPACE_BEFORE = frozenset({")", ",", ".", ";", "::", "]", "["})
_NO_SPACE_AFTER = frozenset({"(", ".", "::", "["})
_WORDS_MAX = 40


def template(tokens: tuple[Token, ...], known: AbstractSet[str]) -> str:
    """The statement's words, with *known* names (relations, columns, functions, types) kept."""
    invented: dict[str, str] = {}
    text: list[str] = []
    previous = "("
    for kind, word in tokens:
        if kind == "l":
            shown = "?"
        elif kind == "i" and word not in known:
            shown = invented.setdefault(word, f"a{len(invented) + 1}")
        elif kind == "k" and (name := word.lower()) != word and name in known:
            shown = name  # a word that is a keyword somewhere and a name here: "name", "status"
        elif kind == "k" and len(word) > _WORDS_MAX:
            shown = "?"  # no keyword is that long: whatever it is, it does not belong in clear
        else:
            shown = word
        if text and shown not in _NO_SPACE_BEFORE and previous not in _NO_SPACE_AFTER:
            text.append(" ")
        text.append(shown)
        previous = shown
    return "".join(text)


def fingerprint(text: str) -> str:
    """Hex SHA-256 of a template: the same statement with other literals has the same one."""
    return hashlib.sha256(text.encode()).hexdigest()
