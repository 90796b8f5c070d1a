"""Expressions by type: personal columns where a value only flows, clean ones where it steers, and now and then one spot
where that is broken."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING

from property.noninterference.places import CLEAN, DATA, HOT, Mood, Places, Scope
from property.noninterference.words import (
    CASTS,
    FROM_TEXT,
    HARMLESS,
    KEYWORDS,
    KINDS,
    NAMES,
    ORACLES,
    SHAPED,
    TO_TEXT,
    WIDER,
)

if TYPE_CHECKING:
    from property.noninterference.vocabulary import Function

    from hoop_mcp.sql.functions import Condition

_ATTEMPTS = 5


class Expressions(Places):
    """Makes expressions; sub-queries come from the statement grammar, which extends this."""

    def expression(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        """An expression of a type."""
        if mood is HOT:
            for _ in range(_ATTEMPTS):
                before = self.touched
                made = self.expression(kind, scope, DATA, depth)
                if self.touched > before:
                    self.spent += 1
                    return made
            self.heat = min(self.heat + 1, 2)  # there is nothing personal to be had here
            return made
        simple = self.column(scope, kind, mood)
        roll = self.random.random()
        if depth <= 0 or roll < 0.34:
            if simple is not None and self.chance(0.95 if mood is not CLEAN else 0.7):
                return simple
            return self._leaf(kind, scope, mood)
        if kind == "text" and mood is not CLEAN and self.steering("argument", likely=0.1) is HOT:
            self.spent += 1
            return self.random.choice(ORACLES).format(t=self.expression("text", scope, DATA, 0))
        if roll < 0.66 and (made := self._called(kind, scope, mood, depth - 1)) is not None:
            return made
        if roll < 0.9:
            return self._structured(kind, scope, mood, depth - 1)
        return self._special(kind, scope, mood, depth - 1)

    def _leaf(self, kind: str, scope: Scope, mood: Mood) -> str:
        if kind == "row":
            return self.row(scope, mood, 0)
        if mood is not CLEAN and kind in FROM_TEXT and self.chance(0.7):
            column = self.column(scope, "text", mood)
            if column is not None:
                return FROM_TEXT[kind].format(column)
        if kind == "text":
            for other in self.random.sample(TO_TEXT, 3):
                if other != "row" and (column := self.column(scope, other, mood)) is not None:
                    return f"{column}::text"
        for other in WIDER.get(kind, ()):
            if (column := self.column(scope, other, mood)) is not None:
                return f"{column}::{NAMES.get(kind, kind)}"
        return self.literal(kind)

    def row(self, scope: Scope, mood: Mood, depth: int) -> str:
        """A row: a whole one where that is allowed, else made by hand."""
        whole = [
            source.alias
            for source in scope.sources
            if source.relation and (mood is not CLEAN or not any(column.personal for column in source.columns))
        ]
        if whole and self.chance(0.6):
            self.touched += 1
            return self.random.choice(whole)
        parts = [self.expression(self.random.choice(KINDS), scope, mood, depth) for _ in range(2)]
        return f"ROW({', '.join(parts)})"

    def call(self, function: Function, scope: Scope, mood: Mood, depth: int) -> str:
        """A call whose arguments are as its judgement wants them."""
        kinds = list(function.arguments)
        if function.variadic:
            one = "text" if kinds[-1] == "_text" else None
            kinds = [*kinds[:-1], *(one or self.any_kind() for _ in range(2))]
        conditions = {condition.place - 1: condition for condition in function.judged.conditions}
        given = []
        for place, kind in enumerate(kinds):
            if kind.startswith("row "):
                given.append(self._row_of(kind.removeprefix("row "), scope))
            elif place in conditions and mood is not CLEAN:
                given.append(self._conditioned(conditions[place], kind, scope, depth))
            elif kind == "text" and conditions and mood is not CLEAN and self.chance(0.4):
                given.append(f"({self.vanishing(scope, DATA)})::text")
            elif mood is not CLEAN and not function.judged.passes(place):
                given.append(self.expression(kind, scope, self.steering("argument", likely=0.2), depth))
            else:
                given.append(self.expression(kind, scope, mood, depth))
        name = f'pg_catalog."{function.name}"' if function.name in KEYWORDS else function.name
        return f"{name}({', '.join(given)})"

    def _conditioned(self, condition: Condition, kind: str, scope: Scope, depth: int) -> str:
        if self.steering("constant", likely=0.25) is HOT:  # the constant that makes it raise, or none at all
            self.spent += 1
            odd = SHAPED[next(iter(condition.words))] if condition.test == "~" else (self.literal(kind),)
            return self.random.choice((*odd, self.expression(kind, scope, CLEAN, depth)))
        if condition.test == "^":
            return self.literal(kind)
        if condition.test == "~":
            (shape,) = condition.words
            return self.random.choice(SHAPED[shape][:HARMLESS])
        if condition.words:
            return "'" + self.random.choice(sorted(condition.words)) + "'"
        return str(self.random.choice((1, 2, 3, 7)))

    def _row_of(self, relation: str, scope: Scope) -> str:
        for source in scope.sources:
            if source.relation == relation:
                self.touched += 1
                return source.alias
        return f"NULL::{relation}"

    def _called(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str | None:
        functions = self.vocabulary.functions.get(kind, ())
        made = [function for function in self.vocabulary.made if function.gives == kind and not function.many]
        if made and mood is not CLEAN and self.chance(0.06):
            self.touched += 1
            return self.call(self.random.choice(made), scope, CLEAN if self.chance(0.5) else DATA, depth)
        if mood is not CLEAN:  # those that a personal value may pass through, most of the time
            passing = [f for f in functions if "p" in f.judged.arguments]
            functions = passing if passing and self.chance(0.9) else functions
        else:
            functions = [f for f in functions if f.gives != "numeric" or len(f.arguments) < 3]
        if not functions:
            return None
        return self.call(self.random.choice(functions), scope, mood, depth)

    def _structured(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        make = partial(self.expression, kind, scope, mood, depth)
        shape = self.random.choice(("case", "case", "coalesce", "greatest", "nullif", "sub", "simple-case"))
        if kind in ("row", "json", "char") and shape in ("greatest", "nullif", "simple-case"):
            shape = "case"
        match shape:
            case "case":
                if self.chance(0.3):  # what a branch says of the condition is plain where the branches are
                    told = f"THEN {self.literal(kind)} ELSE {self.literal(kind)}"
                    return f"CASE WHEN {self.predicate(scope, depth, 'case')} {told} END"
                first = self.raising(kind, scope) if self.chance(0.08) else make()
                return f"CASE WHEN {self.predicate(scope, depth, 'case')} THEN {first} ELSE {make()} END"
            case "simple-case":
                key = self.predicate(scope, depth, "case")
                return f"CASE {key} WHEN {self.literal('bool')} THEN {make()} ELSE {make()} END"
            case "coalesce":
                if kind == "text" and self.steering("coalesce", likely=0.4) is HOT:
                    return f"COALESCE({self.vanishing(scope, HOT)}::text, {self.raising(kind, scope)})"
                # A later argument that cannot raise leaves the first alone.
                later = make() if self.chance(0.3) else self.column(scope, kind, mood) or self.literal(kind)
                return f"COALESCE({make()}, {later})"
            case "greatest":
                return f"{self.random.choice(('GREATEST', 'LEAST'))}({make()}, {make()})"
            case "nullif":
                where = self.steering("argument") if mood is not CLEAN else CLEAN
                one = self.expression(kind, scope, where, depth)
                return f"NULLIF({one}, {self.expression(kind, scope, CLEAN, 0)})"
            case _:
                return self.scalar(kind, scope, mood, depth)

    def raising(self, kind: str, scope: Scope) -> str:
        """Something clean that raises where it is evaluated, which is not before a row is there."""
        number = self.column(scope, "int4", CLEAN) or self.column(scope, "int8", CLEAN)
        if number is None or kind not in ("text", "int4", "int8", "numeric", "float8"):
            return self.expression(kind, scope, CLEAN, 0)
        return f"(1 / ({number} - {number}))::{NAMES.get(kind, kind)}"

    @abstractmethod
    def scalar(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        """A scalar sub-select; the statement grammar knows how."""

    def _special(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        def e(k: str, m: Mood = mood, d: int = depth) -> str:
            return self.expression(k, scope, m, d)

        def steers(k: str) -> str:
            return e(k, self.steering("argument"), 0)

        choose = self.random.choice
        if kind == "text":
            return choose((
                lambda: f"({e('text')} || {e('text')})",
                lambda: f"({e('jsonb')} ->> {choose((chr(39) + 'a' + chr(39), chr(39) + 'plan' + chr(39), '0'))})",
                lambda: f"({e('jsonb')} #>> '{{contact,email}}')",
                lambda: f"({e('_text')})[{steers('int4')}]",
                lambda: f"{e('row')}::text",
                lambda: f"(ARRAY[{e('text')}, {e('text')}])[{choose((1, 2, 3))}]",
                lambda: f"({e('text')} COLLATE \"C\")",
                lambda: f"substring({e('text')} from {choose((1, 2))} for {choose((1, 3, 0))})",
                lambda: f"trim({choose(('both', 'leading', 'trailing'))} {chr(39)}x{chr(39)} from {e('text')})",
                lambda: f"{e(choose(TO_TEXT[:9]))}::text",
                lambda: f"CAST({e('text')} AS varchar({choose((3, 200))}))::text",
                lambda: f"(regexp_match({steers('text')}, {steers('text')}))[1]",
                lambda: f"substring({steers('text')} from '^[a-c]')",
                lambda: f"to_char({steers('numeric')}, '999')",
            ))()  # fmt: skip
        if kind == "bool":
            return self.predicate(scope, depth, "null-test") if mood is CLEAN else self.tested(scope, mood, depth)
        if kind in ("int4", "int8", "numeric", "float8"):
            cast = NAMES.get(kind, kind)
            return choose((
                lambda: f"({steers(kind)} {choose('+-*/')} {steers(kind)})",
                lambda: f"length({e('text')})::{cast}",
                lambda: f"extract({choose(('year', 'month', 'dow'))} from {e('date')})::{cast}",
                lambda: f"strpos({e('text')}, {e('text')})::{cast}",
                lambda: f"cardinality({steers('_text')})::{cast}",
                lambda: f"{self._cast_from(kind, scope)}",
                lambda: f"array_position({steers('_text')}, {steers('text')})::{cast}",
                lambda: f"abs({steers(kind)})",
            ))()  # fmt: skip
        if kind == "jsonb":
            return choose((
                lambda: f"({e('jsonb')} -> {choose((chr(39) + 'a' + chr(39), chr(39) + 'contact' + chr(39), '0'))})",
                lambda: f"to_jsonb({e(choose(('row', 'text', 'numeric')))})",
                lambda: f"({e('jsonb')})['a']",
                lambda: f"({steers('jsonb')} || {steers('jsonb')})",
                lambda: f"jsonb_path_query_first({steers('jsonb')}, '$.a.double()')",
                lambda: f"{self._cast_from(kind, scope)}",
            ))()  # fmt: skip
        if kind == "_text":
            hot = self.steering("slice")
            held = e("_text", CLEAN if hot is HOT else mood)  # of a personal array every part is masked
            bound = e("int4", hot, 0)
            low, high = choose((("1", "2"), ("", "2"), (bound, "9"), (bound, "9"), ("2", bound)))
            if hot is HOT:
                return f"({held})[{bound}:9]"
            return choose((
                lambda: f"({held})[{low}:{high}]",
                lambda: f"ARRAY[{e('text')}, {e('text')}]",
                lambda: f"string_to_array({e('text')}, {choose((chr(39) + ' ' + chr(39), chr(39) + '@' + chr(39), 'NULL'))})",
                lambda: f"({steers('_text')} || {steers('text')})",
                lambda: f"{self._cast_from(kind, scope)}",
            ))()  # fmt: skip
        if kind in CASTS:
            return self._cast_from(kind, scope)
        return self._leaf(kind, scope, mood)

    def _cast_from(self, kind: str, scope: Scope) -> str:
        """A cast that raises on some values: of a clean one, or of a personal one where heat is spent."""
        other = self.random.choice(CASTS[kind])
        made = self.expression(other, scope, self.steering("cast", likely=0.5), 0)
        if '"' not in made:  # a literal is read at Parse, and most are none of this type
            return self.literal(kind)
        return f"({made})::{NAMES.get(kind, kind)}"
