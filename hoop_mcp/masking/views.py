r"""Other ways to write the same characters, undone before detection looks.

Two kinds. *In place*: characters that stand for another one (wide digits, no-break spaces, typographic dashes) are
swapped one for one, so offsets stay true. *Decoded*: where undoing changes the length (zero-width characters, soft
hyphens, NUL, ``\u0040``, ``%40``, ``&#64;``), the decoded text is read beside the original, and a finding in it masks
the whole cell, because no offset can be trusted.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import lru_cache
from html import unescape
from urllib.parse import unquote

_INVISIBLE = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]"
)
_ENCODED = re.compile(r"\\u[0-9a-fA-F]{4}|%[2-7][0-9a-fA-F]|&#x?[0-9a-fA-F]{2,6};|&(?:commat|period|nbsp);")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_SWAPPED = re.compile("[\u00a0\u0600-\U0010ffff]")
SWAP_GATE = r"(?-i:[\x{a0}\x{600}-\x{10ffff}])"
"""RE2: every character that :func:`in_place` swaps lies in it (case kept: the Kelvin sign would fold to k)."""

DECODE_GATE = (
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{ad}\x{34f}\x{61c}\x{180e}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{2064}"
    r"\x{feff}]|\\u[0-9a-f]{4}|%[2-7][0-9a-f]|&#x?[0-9a-f]{2,6};|&(?:commat|period|nbsp);"
)
"""RE2: every text that :func:`decoded` changes matches it."""

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"


@lru_cache(maxsize=1)
def _swaps() -> dict[int, str]:
    table: dict[int, str] = {ord(dash): "-" for dash in _DASHES}
    for point in range(0x80, sys.maxunicode + 1):
        char = chr(point)
        kind = unicodedata.category(char)
        if kind == "Nd":
            table[point] = str(unicodedata.decimal(char))
        elif kind == "Zs":
            table[point] = " "
        elif 0xFF01 <= point <= 0xFF5E:
            table[point] = chr(point - 0xFEE0)
    table |= {0xFE6B: "@", 0x2024: ".", 0x3002: ".", 0xFF61: ".", 0xA789: ":", 0x2236: ":", 0x2044: "/"}
    return table


def warm_up() -> None:
    """Build the table before the first call needs it."""
    _swaps()


def in_place(text: str) -> str:
    """The text with look-alike characters swapped one for one; the same length as before."""
    return text.translate(_swaps()) if _SWAPPED.search(text) else text


def decoded(text: str) -> str | None:
    """The text with invisible characters dropped and escapes undone, None where that is the text itself."""
    invisible = _INVISIBLE.search(text) is not None
    encoded = _ENCODED.search(text) is not None
    if not invisible and not encoded:
        return None
    result = _INVISIBLE.sub("", text) if invisible else text
    if encoded:
        result = unescape(unquote(_ESCAPE.sub(lambda m: chr(int(m[1], 16)), result), errors="replace"))
    result = in_place(unicodedata.normalize("NFKC", _INVISIBLE.sub("", result)))
    return result if result != text else None
