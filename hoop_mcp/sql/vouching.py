r"""The hash by which a catalogue vouches for a function: over everything that decides what a call of it does.

The hash is SHA-256 over canonical bytes: a JSON array of ``[field, value]`` pairs in the order of :data:`FIELDS`, as
ASCII (other characters as ``\uXXXX``) and without spaces, values being strings, booleans, null or lists of strings. It
begins with the name of this form. Whoever reads the source of a function and vouches for it vouches for this much: any
change, be it of its text, its settings or (of a SECURITY DEFINER function) its owner, ends that.

Not in it, since a hash cannot see there: what the function calls in turn, and the code in a C library. Functions in C
are vouched for with their extension and its version, never by hash.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FORM: Final = "hoop-mcp function 1"
FIELDS: Final = (
    "signature",
    "language",
    "kind",
    "returns",
    "returns_set",
    "arguments",
    "source",
    "binary",
    "body",
    "settings",
    "security_definer",
    "owner",
    "volatility",
    "parallel",
    "strict",
    "leakproof",
    "support",
    "transforms",
)
"""From ``pg_proc``: ``arguments`` with names, modes and defaults, ``body`` of BEGIN ATOMIC, ``owner`` of a SECURITY
DEFINER function only, ``support`` the planner's support function."""


def source_hash(source: Mapping[str, str | bool | list[str] | None]) -> str:
    """Hex SHA-256 of a function.

    Raises:
        KeyError: a field is missing.
    """
    pairs = [["form", FORM], *([name, source[name]] for name in FIELDS)]
    return hashlib.sha256(json.dumps(pairs, ensure_ascii=True, separators=(",", ":")).encode("ascii")).hexdigest()
