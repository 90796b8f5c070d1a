"""Families of PostgreSQL types, by ``pg_type.typname``: what a mask may put there, and what detection must read.

Cells arrive as the text PostgreSQL prints, so a family says two things only: which text is a valid value of the type,
and whether its alphabet could hold personal text at all. Type names: PostgreSQL manual, chapter 8; an array's name is
its element's with an underscore in front (pg_type, ``typname``).
"""

from __future__ import annotations

import re

WHOLE_NUMBERS = frozenset({"int2", "int4", "int8"})
FRACTIONS = frozenset({"float4", "float8", "numeric"})
DATED = frozenset({"date", "timestamp", "timestamptz"})
DOCUMENTS = frozenset({"json", "jsonb"})

TEXT_LIKE = frozenset({"text", "varchar", "bpchar", "name", "citext", "unknown"})
"""Types of which a placeholder such as ``[EMAIL_ADDRESS]`` is itself a valid value."""

GATED = WHOLE_NUMBERS | FRACTIONS | DATED | {"bool", "time", "timetz", "interval", "uuid", "oid"}
"""Types detection does not read: numbers, times and ids mean nothing without their column, and lineage has the column.

Direction: a national number stored as int8 in a column nobody catalogued passes. Scanning every integer would alter
one order number in ten (a checksum of one digit proves nothing about one cell).
"""

_GATED_ALPHABET = re.compile(r"[0-9A-Za-z +\-.:,{}\"\[\]=\n]*\Z")


def element_of(type_name: str) -> str | None:
    """The element type of an array type, None where the type is no array."""
    return type_name[1:] if len(type_name) > 1 and type_name.startswith("_") else None


def is_gated(type_name: str) -> bool:
    """Whether detection may pass over the type (for an array: over its elements)."""
    return (element_of(type_name) or type_name) in GATED


def looks_gated(joined: str) -> bool:
    """Whether printed values, joined by newlines, keep to the alphabet of the gated types.

    A type name is only a name: an owner may have created a type called ``uuid`` in another schema. What does not look
    like a number, a time or an id is read after all.
    """
    return _GATED_ALPHABET.match(joined) is not None
