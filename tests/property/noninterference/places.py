"""Where an expression may stand, what it may name there, and the conditions that steer.

Every place asks for a type and a *mood*. DATA takes personal columns gladly, CLEAN takes none. A place that steers is
asked for with :meth:`Places.steering`, which is CLEAN unless the statement has *heat* left: then it may be HOT, and
something personal is put where the tracer must notice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from property.noninterference.words import (
    AIMED,
    COARSE,
    COMPARABLE,
    COMPARE,
    KINDS,
    LITERALS,
    NAMES,
    TELLING,
    VANISHING,
)

if TYPE_CHECKING:
    from random import Random

    from property.noninterference.vocabulary import Column, Vocabulary


class Mood(Enum):
    """What a place takes."""

    DATA = 1
    CLEAN = 2
    HOT = 3


DATA, CLEAN, HOT = Mood.DATA, Mood.CLEAN, Mood.HOT


@dataclass(frozen=True)
class Source:
    """Something in FROM."""

    alias: str
    columns: tuple[Column, ...]
    relation: str = ""


@dataclass(frozen=True)
class Scope:
    """What an expression may name: the sources of its own FROM, then those of the queries around it."""

    sources: tuple[Source, ...]
    outer: Scope | None = None


class Places(ABC):
    """Moods, columns and conditions; what an expression is, the subclass knows."""

    @abstractmethod
    def expression(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        """An expression of a type."""

    def __init__(self, random: Random, vocabulary: Vocabulary) -> None:
        self.random = random
        self.vocabulary = vocabulary
        self.heat = 0
        self.aim = ""
        self.spent = 0
        self.touched = 0

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def steering(self, at: str = "", *, likely: float = 0.3) -> Mood:
        """The mood of a place that steers: CLEAN, or DATA where heat is spent; *at* says what kind of place it is."""
        if not self.heat or (self.aim and self.aim != at):
            return CLEAN
        if self.chance(max(likely, 0.8) if self.aim else likely):
            self.heat -= 1
            return HOT
        return CLEAN

    def columns(self, scope: Scope, kind: str | None, mood: Mood) -> list[tuple[str, Column]]:
        found = []
        at: Scope | None = scope
        for _ in range(2):
            if at is None:
                break
            for source in at.sources:
                found += [
                    (f'{source.alias}."{column.name}"', column)
                    for column in source.columns
                    if (kind is None or column.kind == kind) and (mood is not CLEAN or not column.personal)
                ]
            at = at.outer
        return found

    def column(self, scope: Scope, kind: str, mood: Mood) -> str | None:
        found = self.columns(scope, kind, mood)
        if not found:
            return None
        if mood is not CLEAN:
            found = [each for each in found if each[1].personal] or found
        name, column = self.random.choice(found)
        self.touched += column.personal
        return f"{name}::text" if column.kind == "text" and self.chance(0.3) else name

    def literal(self, kind: str) -> str:
        if kind == "enum":
            return f"'{self.random.choice(('new', 'paid', 'shipped'))}'::{self.vocabulary.enum}"
        made = self.random.choice(LITERALS.get(kind, (f"NULL::{NAMES.get(kind, kind)}",)))
        return f"{made}::text" if kind == "text" else made

    def plain(self, scope: Scope, kinds: tuple[str, ...]) -> list[str]:
        """Clean columns that are made, not stored: what a sub-query found out, where it is not shown it is not heard."""
        return [
            f'{source.alias}."{column.name}"'
            for source in scope.sources
            if not source.relation
            for column in source.columns
            if not column.personal and column.kind in kinds
        ]

    def any_kind(self) -> str:
        if self.aim in AIMED and self.chance(0.5):
            return AIMED[self.aim]
        return self.random.choice(KINDS)

    def tested(self, scope: Scope, mood: Mood, depth: int) -> str:
        """A truth value in a data position: NULL tests of bare columns, which are allowed, and of other things."""
        bare = self.columns(scope, None, mood)
        if bare and self.chance(0.7):
            return f"({self.random.choice(bare)[0]} IS {self.random.choice(('NULL', 'NOT NULL'))})"
        hot = self.steering("null-test", likely=0.6)
        where = self.vanishing(scope, hot) if self.chance(0.6) else self.expression(self.any_kind(), scope, hot, depth)
        return f"(({where}) IS {self.random.choice(('NULL', 'NOT NULL'))})"

    def predicate(self, scope: Scope, depth: int, at: str) -> str:
        """A condition: a place that steers, made of clean things unless heat is spent on it."""
        mood = self.steering(at)
        if mood is CLEAN and self.chance(0.6):
            return self._gentle(scope)
        if mood is HOT and self.chance(0.75):
            return self.telling(scope)
        kinds = [column.kind for _, column in self.columns(scope, None, mood) if column.kind in COMPARABLE]
        kind = self.random.choice(kinds or COMPARABLE)

        def e(wanted: str) -> str:
            return self.expression(wanted, scope, mood, max(0, min(depth, 1)))

        def simple(wanted: str) -> str:
            return self.expression(wanted, scope, CLEAN, 0)

        match self.random.randrange(14):
            case 0 | 1 | 2:
                return f"({e(kind)} {self.random.choice(COMPARE)} {simple(kind)})"
            case 3:
                return f"({e('text')} {self.random.choice(('LIKE', 'ILIKE', '~', 'NOT LIKE'))} {self.pattern()})"
            case 4:
                bare = self.columns(scope, None, DATA)
                made = self.vanishing(scope, mood) if self.chance(0.5) else e(self.any_kind())
                where = self.random.choice(bare)[0] if bare and mood is CLEAN and self.chance(0.6) else made
                return f"(({where}) IS {self.random.choice(('NULL', 'NOT NULL'))})"
            case 5:
                return f"({e(kind)} {self.random.choice(('IN', 'NOT IN'))} ({simple(kind)}, {simple(kind)}))"
            case 6:
                return f"({e(kind)} BETWEEN {simple(kind)} AND {simple(kind)})"
            case 7 if depth > 0:
                return self.membership(kind, scope, mood, depth - 1)
            case 8:
                return f"({self.predicate(scope, depth - 1, at)} {self.random.choice(('AND', 'OR'))} {simple('bool')})"
            case 9:
                return f"(({e('int4')}, {e('text')}) {self.random.choice(('<', '=', '>='))} ({simple('int4')}, {simple('text')}))"
            case 10:
                return f"({e('jsonb')} {self.random.choice(('@>', '<@'))} {simple('jsonb')})"
            case 11:
                return f"({e(kind)} = ANY (ARRAY[{simple(kind)}, {simple(kind)}]))"
            case 12:
                return f"(NOT {e('bool')})" if depth > 0 else "(1 = 1)"
            case _:
                return f"({e('int4')} {self.random.choice(('=', '<', '>'))} {simple('int4')})"

    def telling(self, scope: Scope) -> str:
        """A question to a personal value."""
        found = [each for each in self.columns(scope, None, DATA) if each[1].personal and each[1].kind in TELLING]
        if not found:
            kind = self.random.choice(list(TELLING))
            return f"({self.random.choice(TELLING[kind]).format(self.expression(kind, scope, HOT, 0))})"
        name, column = self.random.choice(found)
        self.touched += 1
        self.spent += 1
        return f"({self.random.choice(TELLING[column.kind]).format(name)})"

    def _gentle(self, scope: Scope) -> str:
        """A clean condition that lets most rows through: where there are none, nothing can be told of them."""
        clean = self.columns(scope, None, CLEAN)
        if not clean:
            return "true"
        name, column = self.random.choice(clean)
        if column.kind in COMPARABLE and column.kind != "bool" and self.chance(0.6):
            return f"({name} {self.random.choice(('<>', '>=', '<=', 'IS DISTINCT FROM'))} {self.literal(column.kind)})"
        return f"({name} IS NOT NULL)" if self.chance(0.5) else f"({name} IS NULL OR {name} = {name})"

    def vanishing(self, scope: Scope, mood: Mood) -> str:
        """Something that is null or not by what a value holds, and not only by whether there is one."""
        text, document = self.expression("text", scope, mood, 0), self.expression("jsonb", scope, mood, 0)
        made = self.random.choice(VANISHING)
        return made.format(t=text, j=document)

    def coarse(self, scope: Scope, mood: Mood) -> str:
        """Something of which there are fewer than rows: how many says what the values have in common."""
        return self.random.choice(COARSE).format(t=self.expression("text", scope, mood, 0))

    @abstractmethod
    def membership(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        """EXISTS, IN, ANY over a sub-select; the statement grammar knows how."""

    def pattern(self) -> str:
        return self.random.choice(("'a%'", "'%e%'", "'^[a-m]'", "'_'", "'%'", "'S'"))
