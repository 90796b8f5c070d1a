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

from hoop_mcp.sql.constants import SHAPES

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Condition:
    """What a constant argument (1-based ``place``) must satisfy for the call to stay total.

    Two tests are another matter: where they fail the call is not vouched for at all. ``^``: the argument must name an
    object that came with PostgreSQL. ``@``: it must name a relation of which this may be told, "clean" one that holds
    nothing personal, "structure" a view whose definition spells no value.
    """

    place: int
    test: str
    bound: int = 0
    words: frozenset[str] = frozenset()

    def met_by(self, value: int | str | None) -> bool:
        """Whether the constant is known and satisfies the condition."""
        if self.test == "=":
            return isinstance(value, str) and value in self.words
        if self.test == "~":
            return isinstance(value, str) and all(SHAPES[shape](value) for shape in self.words)
        if not isinstance(value, int):
            return False
        return {
            ">=": value >= self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            "!=": value != self.bound,
        }[self.test]


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a personal value may do in each argument: "p" pass on, "s" steer.

    The last letter covers VARIADIC ones; with a star at the end all letters come round again.
    """

    arguments: str
    conditions: tuple[Condition, ...] = ()

    def passes(self, place: int) -> bool:
        """Whether a personal value in this argument (0-based) only flows on."""
        if not self.arguments:
            return False
        if self.arguments[-1] == "*":
            letters = self.arguments[:-1]
            return letters[place % len(letters)] == "p"
        return self.arguments[min(place, len(self.arguments) - 1)] == "p"

    @property
    def anchored(self) -> tuple[int, ...]:
        """The places (0-based) whose argument must name an object that came with PostgreSQL."""
        return tuple(condition.place - 1 for condition in self.conditions if condition.test == "^")

    @property
    def tells(self) -> tuple[tuple[int, str], ...]:
        """The places (0-based) whose argument must name a relation, and what kind of one."""
        return tuple(
            (condition.place - 1, word)
            for condition in self.conditions
            if condition.test == "@"
            for word in condition.words
        )


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
        if re.fullmatch(r"-|[ps]+\*?", letters) is None:
            raise ValueError(f"functions.txt: {line}")
        table[signature] = Vouched(letters.strip("-"), tuple(map(_condition, conditions.split())))
    return table


def _condition(text: str) -> Condition:
    for test in (">=", "<=", "!=", ">", "=", "~", "^", "@"):
        place, found, bound = text.partition(test)
        if found:
            if test == "^":
                return Condition(int(place), test)
            if (test == "~" and bound in SHAPES) or (test == "@" and bound in ("clean", "structure")):
                return Condition(int(place), test, words=frozenset({bound}))
            if test in "~@":
                break
            if test == "=":
                return Condition(int(place), test, words=frozenset(bound.split(",")))
            return Condition(int(place), test, int(bound))
    raise ValueError(f"functions.txt: condition {text}")
