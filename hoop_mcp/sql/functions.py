"""The vouched-for functions of ``pg_catalog``: data in ``data/functions.txt``, read once.

Totality is judged per argument and per constant, not per name: ``substr(email, 1, -1)`` raises where ``email`` is not
null, and an error that appears or not is one bit of the value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Condition:
    """What a constant argument (1-based ``place``) must satisfy for the call to stay total."""

    place: int
    test: str
    bound: int = 0
    words: frozenset[str] = frozenset()

    def met_by(self, value: int | str | None) -> bool:
        """Whether the constant is known and satisfies the condition."""
        if self.test == "=":
            return isinstance(value, str) and value in self.words
        if self.test == "~":
            return isinstance(value, str) and _PLAIN_FORMAT.fullmatch(value) is not None
        if not isinstance(value, int):
            return False
        return {">=": value >= self.bound, ">": value > self.bound, "!=": value != self.bound}[self.test]


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a personal value may do in each argument: "p" pass on, "s" steer. The last letter covers VARIADIC ones."""

    arguments: str
    conditions: tuple[Condition, ...] = ()

    def passes(self, place: int) -> bool:
        """Whether a personal value in this argument (0-based) only flows on."""
        if not self.arguments:
            return False
        return self.arguments[min(place, len(self.arguments) - 1)] == "p"


_PLAIN_FORMAT = re.compile(r"(?:[^%]|%%|%[sL])*", re.DOTALL)
"""A format that takes each argument once, at its own width: %I raises on null, %* takes a width from an argument, and
%1$s says one again as often as the format is long."""


@cache
def vouched_functions() -> Mapping[str, Vouched]:
    """Signature (``lower(text)``) -> judgement."""
    table: dict[str, Vouched] = {}
    for line in files("hoop_mcp.sql").joinpath("data/functions.txt").read_text("ascii").splitlines():
        if not line or line[0] in "#[":
            continue
        judged, _, conditions = line.partition("|")
        signature, letters = judged.split()
        if signature in table:
            raise ValueError(f"functions.txt lists {signature} twice")
        if letters.strip("ps") not in ("", "-"):
            raise ValueError(f"functions.txt: {line}")
        table[signature] = Vouched(letters.strip("-"), tuple(map(_condition, conditions.split())))
    return table


def _condition(text: str) -> Condition:
    for test in (">=", "!=", ">", "=", "~"):
        place, found, bound = text.partition(test)
        if found:
            if test == "~":
                return Condition(int(place), test)
            if test == "=":
                return Condition(int(place), test, words=frozenset(bound.split(",")))
            return Condition(int(place), test, int(bound))
    raise ValueError(f"functions.txt: condition {text}")
