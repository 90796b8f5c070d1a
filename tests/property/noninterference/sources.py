"""What stands in FROM, and the sub-selects that bring a FROM of their own."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from property.noninterference.expressions import Expressions
from property.noninterference.places import CLEAN, DATA, Mood, Scope, Source
from property.noninterference.vocabulary import Column
from property.noninterference.words import ROWS

if TYPE_CHECKING:
    from random import Random

    from property.noninterference.vocabulary import Vocabulary


@dataclass(frozen=True)
class Query:
    """A query's text and what its columns hold."""

    sql: str
    columns: tuple[Column, ...]


class Sources(Expressions):
    """Tables, views, sub-queries, VALUES, row makers, and how they are joined."""

    def __init__(self, random: Random, vocabulary: Vocabulary) -> None:
        super().__init__(random, vocabulary)
        self._numbers = 0
        self._ctes: list[Source] = []

    @abstractmethod
    def query(
        self, outer: Scope | None, depth: int, kinds: tuple[str, ...] | None = None, *, clean: bool = False
    ) -> Query:
        """A query of any form."""

    @abstractmethod
    def key(self, scope: Scope, mood: Mood, depth: int) -> str:
        """Something to sort or group by."""

    def outputs(
        self, kinds: tuple[str, ...], scope: Scope, mood: Mood, depth: int
    ) -> tuple[list[str], tuple[Column, ...]]:
        """Expressions of some types, and the columns they make: personal where anything personal went in."""
        made, columns = [], []
        for place, kind in enumerate(kinds):
            before = self.touched
            made.append(self.output(kind, scope, mood, depth))
            columns.append(Column(f"c{place}", kind, personal=self.touched > before))
        return made, tuple(columns)

    def output(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        """One expression of a target list."""
        return self.expression(kind, scope, mood, depth)

    def fresh(self, letter: str) -> str:
        self._numbers += 1
        return f"{letter}{self._numbers}"

    def source(self, outer: Scope | None, depth: int) -> tuple[str, Scope]:
        text, source = self._item(outer, depth)
        sources = [source]
        for _ in range(self.random.choice((0, 0, 0, 1, 1, 2)) if depth > 0 else 0):
            text, added = self._joined(text, tuple(sources), outer, depth)
            sources.append(added)
        return text, Scope(tuple(sources), outer)

    def _item(self, outer: Scope | None, depth: int) -> tuple[str, Source]:
        roll = self.random.random()
        if self._ctes and roll < 0.35:
            cte = self.random.choice(self._ctes)
            alias = self.fresh("w")
            return f"{cte.alias} AS {alias}", Source(alias, cte.columns)
        if depth > 0 and roll < 0.5:
            clean = self.chance(0.3)
            query = self.query(None, depth - 1, clean=clean)
            alias = self.fresh("q")
            return f"({query.sql}) AS {alias}", Source(alias, query.columns)
        if depth > 0 and roll < 0.53:
            return self._values(outer)
        return self._table()

    def _table(self) -> tuple[str, Source]:
        rich = [
            relation for relation in self.vocabulary.relations if any(column.personal for column in relation.columns)
        ]
        relation = self.random.choice(rich if self.chance(0.75) else self.vocabulary.relations)
        alias = self.fresh("t")
        schema, _, name = relation.name.partition(".")
        only = "ONLY " if relation.composite and self.chance(0.05) else ""
        sample = " TABLESAMPLE BERNOULLI (50) REPEATABLE (1)" if relation.composite and self.chance(0.005) else ""
        columns = relation.columns
        renamed = ""
        if self.chance(0.06):
            columns = tuple(
                Column(f"k{n}", column.kind, column.personal) if n < 3 else column for n, column in enumerate(columns)
            )
            renamed = f"({', '.join(f'k{n}' for n in range(min(3, len(columns))))})"
        return f'{only}"{schema}"."{name}" AS {alias}{renamed}{sample}', Source(alias, columns, relation.name)

    def _values(self, outer: Scope | None) -> tuple[str, Source]:
        alias = self.fresh("v")
        scope = outer or Scope(())
        rows = ", ".join(
            f"({self.expression('int4', scope, CLEAN, 0)}, {self.expression('text', scope, CLEAN, 0)})"
            for _ in range(3)
        )
        return f"(VALUES {rows}) AS {alias}(a, b)", Source(
            alias, (Column("a", "int4", False), Column("b", "text", False))
        )

    def _joined(self, text: str, sources: tuple[Source, ...], outer: Scope | None, depth: int) -> tuple[str, Source]:
        here = Scope(sources, outer)
        roll = self.random.random()
        many = [function for function in self.vocabulary.made if function.many and function.gives != "record"]
        if many and roll < 0.01:
            alias = self.fresh("f")
            call = self.call(self.random.choice(many), here, DATA if self.chance(0.3) else CLEAN, 0)
            return f"{text} CROSS JOIN {call} AS {alias}", Source(alias, ())
        if roll < 0.2:
            kinds = tuple(self.any_kind() for _ in range(2))
            if self.chance(0.4):
                query = self.query(here, depth - 1, kinds)
            else:
                # What a LATERAL sub-select hands on may be anything of the rows beside it.
                made, columns = self.outputs(kinds, here, DATA, depth - 1)
                query = Query(f"SELECT {', '.join(f'{sql} AS c{n}' for n, sql in enumerate(made))}", columns)
            alias = self.fresh("l")
            join = self.random.choice(("CROSS JOIN LATERAL ({q}) AS {a}", "LEFT JOIN LATERAL ({q}) AS {a} ON true"))
            return f"{text} {join.format(q=query.sql, a=alias)}", Source(alias, query.columns)
        if roll < 0.3:
            return self._row_maker(text, here)
        other, source = self._item(None, depth - 1)
        if roll < 0.36:
            return f"{text} NATURAL JOIN {other}", source
        shared = {column.name for column in sources[0].columns} & {column.name for column in source.columns}
        if roll < 0.46 and len(sources) == 1 and shared:
            mood = self.steering("join")
            personal = {column.name for each in (*sources, source) for column in each.columns if column.personal}
            usable = sorted(shared if mood is not CLEAN else shared - personal)
            if usable:
                return f'{text} JOIN {other} USING ("{self.random.choice(usable)}")', source
        kind = self.random.choice(("JOIN", "LEFT JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"))
        condition = self._join_condition(Scope((*sources, source), outer), sources, source, depth)
        if kind == "FULL JOIN" and not re.fullmatch(r'\w+\."\w+" = \w+\."\w+"', condition):
            kind = "LEFT JOIN"
        return f"{text} {kind} {other} ON {condition}", source

    def _join_condition(self, both: Scope, sources: tuple[Source, ...], source: Source, depth: int) -> str:
        mood = self.steering("join")
        for kind in self.random.sample(("int8", "int4", "text", "int8", "int4", "date"), 4):
            left = self.column(Scope(sources), kind, mood)
            right = self.column(Scope((source,)), kind, CLEAN)
            if left is not None and right is not None:
                return f"{left} = {right}"
        return self.predicate(both, min(depth, 1), "join")

    def _row_maker(self, text: str, scope: Scope) -> tuple[str, Source]:
        alias = self.fresh("s")
        mood = self.steering("rows", likely=0.6)
        made = self.random.choice(ROWS).format(
            n=self.random.choice((1, 2, 3)),
            a=self.expression("_text", scope, mood, 0),
            j=self.random.choice((self.literal("jsonb"), self.expression("jsonb", scope, mood, 0))),
            t=self.expression("text", scope, mood, 0),
            i=self.expression("int4", scope, mood, 0),
        )
        if "each" in made:
            columns: tuple[Column, ...] = (Column("k", "text", False), Column("v", "text", False))
            return f"{text} CROSS JOIN {made} AS {alias}(k, v)", Source(alias, columns)
        kind = "int4" if made.startswith("generate") else "text"
        column = Column("k", kind, False)
        if self.chance(0.3):
            numbered = (column, Column("n", "int8", False))
            return f"{text} CROSS JOIN {made} WITH ORDINALITY AS {alias}(k, n)", Source(alias, numbered)
        return f"{text} CROSS JOIN {made} AS {alias}(k)", Source(alias, (column,))

    # -- sub-selects

    def scalar(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        """One row, one column: made so that it is never two."""
        source, inner = self.source(scope, min(depth - 1, 1))
        inside = Scope(inner.sources, scope)
        form = self.random.randrange(4)
        if form == 0 and kind in ("text", "numeric", "int4", "date"):
            made = self.expression(kind, inside, mood, depth - 1)
            return f"(SELECT {self.random.choice(('max', 'min'))}({made}) FROM {source})"
        if form == 1 and kind == "_text":
            key = self.key(inside, self.steering("key"), 0)
            return f"ARRAY(SELECT {self.expression('text', inside, mood, depth - 1)} FROM {source} ORDER BY {key})"
        where = f" WHERE {self.predicate(inside, depth - 1, 'sub')}" if self.chance(0.5) else ""
        key = self.key(inside, self.steering("key"), 0)
        return f"(SELECT {self.expression(kind, inside, mood, depth - 1)} FROM {source}{where} ORDER BY {key} LIMIT 1)"

    def membership(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        source, inner = self.source(scope, min(depth, 1))
        inside = Scope(inner.sources, scope)
        test = self.expression(kind, scope, mood, 0)
        value = self.expression(kind, inside, self.steering("member"), 0)
        where = f" WHERE {self.predicate(inside, depth - 1, 'sub')}" if self.chance(0.6) else ""
        lookups = [name for name, column in self.columns(Scope(inner.sources), "text", DATA) if column.lookup]
        if lookups and self.chance(0.15):
            return f"EXISTS (SELECT 1 FROM {source} WHERE {self.random.choice(lookups)} = {self.literal('text')})"
        return self.random.choice((
            f"EXISTS (SELECT {self.expression(kind, inside, DATA, 0)} FROM {source}{where})",
            f"({test} IN (SELECT {value} FROM {source}{where}))",
            f"({test} NOT IN (SELECT {value} FROM {source}{where}))",
            f"({test} = ANY (SELECT {value} FROM {source}{where}))",
            f"({test} < ALL (SELECT {value} FROM {source}{where}))",
        ))  # fmt: skip
