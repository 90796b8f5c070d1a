"""PostgreSQL's printed text to JSON values: numbers, booleans, documents and arrays as themselves, the rest as text.

int2, int4, float4 and float8 become JSON numbers (NaN and the infinities, which JSON lacks, stay text); bool becomes a
boolean; json and jsonb are embedded as they were printed, so a number beyond 2**53 keeps every digit; int8, numeric,
dates and all else stay the text PostgreSQL prints, because a JSON reader may round them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson

from hoop_mcp.masking.literals import check_json, map_leaves, parse_array
from hoop_mcp.masking.pgtypes import DOCUMENTS, element_of

if TYPE_CHECKING:
    from collections.abc import Callable


def delimiter_of(element: str) -> str:
    """What separates an array's elements (pg_type.typdelim)."""
    return ";" if element == "box" else ","


def document(text: str) -> orjson.Fragment:
    """A JSON text as it stands.

    Raises:
        ValueError: it is not JSON; embedding it would break the answer around it. The message does not quote it.
    """
    check_json(text)
    return orjson.Fragment(text)


def _number(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _boolean(text: str) -> bool:
    if text not in {"t", "f"}:
        raise ValueError("not a boolean")
    return text == "t"


def decoder(type_name: str) -> Callable[[str], Any] | None:
    """How to turn a type's printed text into a value orjson can write; None where the text itself is the value.

    The function raises ValueError on text the type cannot print.
    """
    if type_name in {"int2", "int4"}:
        return int
    if type_name in {"float4", "float8"}:
        return _number
    if type_name == "bool":
        return _boolean
    if type_name in DOCUMENTS:
        return document
    element = element_of(type_name)
    if element is None:
        return None
    inner = decoder(element) or str
    delimiter = delimiter_of(element)
    return lambda text: map_leaves(parse_array(text, delimiter), inner)
