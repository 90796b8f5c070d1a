"""What an argument may be, and the sentence an agent gets when it is not.

No refusal repeats what was sent: not the value, and not the name of an argument nobody knows, since both are the
caller's text and a refusal may be kept. It names what *is* accepted instead.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hoop_mcp.errors import Refused

if TYPE_CHECKING:
    from hoop_mcp.terms import JsonValue

MAX_NAME = 255  # characters; four times what PostgreSQL keeps of one identifier, room for schema.table
MAX_REASON = 2_000  # characters; a sentence for a reviewer, not a document
MAX_SQL = 2_000_000  # characters; only a bound for this layer, the reader's own limit is far lower (HOOP207)
MAX_PARAMS = 65_535  # the Bind message counts parameters in 16 bits (PostgreSQL, Message Formats)
MAX_DEPTH = 32
EXACT = 2**53  # above it a JSON number has lost digits in many a client (RFC 8259 section 6)


def text(name: str, value: object, longest: int) -> str:
    """``value`` as text of 1 to ``longest`` characters without NUL, which PostgreSQL cannot store."""
    if not isinstance(value, str):
        raise Refused("HOOP105", f"{name} must be text.", f"Send {name} as a JSON string.")
    if not value.strip():
        raise Refused("HOOP105", f"{name} is empty.", f"Give {name} some text, or leave it out where it is optional.")
    if len(value) > longest:
        raise Refused("HOOP105", f"{name} is longer than {longest} characters.", f"Shorten {name}.")
    _plain(name, value)
    return value


def statement(name: str, value: object) -> str:
    """``value`` as text of any content: what is wrong with a statement the reader says, and the journal keeps."""
    if not isinstance(value, str):
        raise Refused("HOOP105", f"{name} must be text.", f"Send {name} as a JSON string.")
    if len(value) > MAX_SQL:
        raise Refused("HOOP207", f"The statement has more than {MAX_SQL:,} characters.")
    return value


def choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """``value`` when it is one of ``choices``."""
    listed = ", ".join(choices)
    if not isinstance(value, str) or value not in choices:
        raise Refused("HOOP105", f"{name} is not one of its choices.", f"Use one of: {listed}.")
    return value


def whole(name: str, value: object, low: int, high: int) -> int:
    """``value`` as an integer from ``low`` to ``high``; ``true`` is not 1 here."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refused("HOOP105", f"{name} must be a whole number from {low} to {high}.", f"Send {name} as a number.")
    return value


def values(name: str, value: object) -> tuple[JsonValue, ...]:
    """The values for ``$1``, ``$2``, in order.

    Some clients wrap an array into a string; one that reads as a JSON array is taken as that array. A number that
    JSON cannot carry exactly is refused: rounding it in silence would ask the database about another row.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list):
        raise Refused("HOOP105", f"{name} must be a list.", "Send a JSON array with one value for each of $1, $2, …")
    if len(value) > MAX_PARAMS:
        raise Refused("HOOP105", f"{name} holds more than {MAX_PARAMS} values.", "Send fewer values.")
    _examine(name, value)
    return tuple(value)


def _examine(name: str, value: JsonValue) -> None:
    waiting: list[tuple[JsonValue, int]] = [(value, 0)]
    while waiting:
        found, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise Refused("HOOP105", f"{name} is nested more than {MAX_DEPTH} levels deep.", "Send a flatter value.")
        if isinstance(found, str):
            _plain(name, found)
        elif isinstance(found, (int, float)) and not -EXACT < found < EXACT:
            raise Refused("HOOP105", f"{name} holds a number too large to be exact.", "Send that number as text.")
        elif isinstance(found, float) and found != found:  # noqa: PLR0124 - the one value unlike itself: NaN
            raise Refused("HOOP105", f"{name} holds something that is not a number.", "Send NaN as text.")
        elif isinstance(found, list):
            waiting.extend((item, depth + 1) for item in found)
        elif isinstance(found, dict):
            waiting.extend((key, depth + 1) for key in found)
            waiting.extend((item, depth + 1) for item in found.values())


def _plain(name: str, value: str) -> None:
    if "\0" in value:
        raise Refused("HOOP105", f"{name} holds a NUL character.", "Leave the NUL character out.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused("HOOP105", f"{name} holds half a character.", "Send text that is valid Unicode.") from None
