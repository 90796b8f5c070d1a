"""Whole statements: what an analyst writes, with personal columns where they may stand, and every clause a reader has to
walk. Seeded: the same seed makes the same statements."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

from property.noninterference.places import CLEAN, DATA, HOT, Mood, Scope, Source
from property.noninterference.sources import Query, Sources
from property.noninterference.vocabulary import Column
from property.noninterference.words import FRAMES, GROUPABLE, KINDS, NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from property.noninterference.vocabulary import Vocabulary

COLD = 0.5
_MOST_MISSES = 2_000
_OF_RECURSION = (
    "n, a, b FROM r",
    "n, a FROM r",
    "n, count(*) FROM r GROUP BY n",
    "n, max(a::text), count(a) FROM r GROUP BY n",
)
"""The share of statements in which nothing personal steers by design."""


class Statement(NamedTuple):
    """One statement and the tool it is sent to; ``hot`` where something personal was made to steer."""

    sql: str
    tool: str
    hot: bool


class Statements(Sources):
    """The grammar."""

    def statement(self) -> Statement:
        """The next one."""
        self._numbers = 0
        self._ctes.clear()
        heat = 0 if self.chance(COLD) and not self.aim else self.random.choice((1, 1, 1, 2))
        self.heat, self.spent = heat, 0
        sql = self._top()
        if self.aim:
            return Statement(sql, "query", hot=self.spent > 0)
        if self.chance(0.04):
            sql = self.random.choice(("EXPLAIN ", "EXPLAIN (ANALYZE) ", "EXPLAIN (VERBOSE, FORMAT JSON) ")) + sql
        return Statement(sql, "explain" if self.chance(0.04) else "query", hot=self.spent > 0)

    # -- whole queries

    def _top(self) -> str:
        roll = self.random.random()
        if roll < 0.22:
            return self._with()
        if roll < 0.32:
            return self._united(None, 2).sql
        if roll < 0.36:
            return self._recursive()
        if roll < 0.39:
            return self._rows_of_values()
        return self._select(None, self.random.choice((1, 1, 2) if self.aim else (1, 1, 2, 2, 3)), order=True).sql

    def query(
        self, outer: Scope | None, depth: int, kinds: tuple[str, ...] | None = None, *, clean: bool = False
    ) -> Query:
        if depth > 0 and self.chance(0.12):
            return self._united(outer, depth - 1, kinds, clean=clean)
        return self._select(outer, depth, kinds, clean=clean)

    def _select(
        self,
        outer: Scope | None,
        depth: int,
        kinds: tuple[str, ...] | None = None,
        *,
        clean: bool = False,
        order: bool = False,
    ) -> Query:
        source, scope = self.source(outer, depth)
        mood = CLEAN if clean else DATA
        form = self.random.random()
        where = f" WHERE {self._where(scope, depth)}" if self.chance(0.45) else ""
        if form < 0.22:
            return self._grouped(source, scope, where, depth, kinds, mood, order=order)
        wanted = kinds or tuple(self.any_kind() for _ in range(self.random.choice((1, 2, 2, 3))))
        distinct, keys = "", []
        if self.chance(0.1):
            distinct = "DISTINCT "
            mood_of = self.steering("key", likely=0.5)
            made, columns = self.outputs(wanted, scope, mood_of, depth - 1)
            made = [sql if '"' in sql else f"COALESCE({sql})" for sql in made]
            keys = made
            if self.chance(0.3):
                distinct = f"DISTINCT ON ({made[0]}) "
                more, further = self.outputs(wanted, scope, mood, depth - 1)
                made[1:], columns = more[1:], (*columns[:1], *further[1:])
        else:
            made, columns = self.outputs(wanted, scope, mood, depth)
        names = [column.name for column in columns]
        listed = ", ".join(f"{sql} AS {self._alias(name, order)}" for sql, name in zip(made, names, strict=True))
        if order and not kinds and self.chance(0.3 if any(not source.relation for source in scope.sources) else 0.05):
            listed = self.random.choice(("*", f"{self.random.choice(scope.sources).alias}.*"))
            distinct, keys = "", []
        tail = self._tail(scope, depth, keys, distinct=bool(distinct)) if order or self.chance(0.3) else ""
        return Query(f"SELECT {distinct}{listed} FROM {source}{where}{tail}", columns)

    def _alias(self, name: str, top: bool) -> str:
        if top and self.chance(0.03):
            return '"' + name + "é" * self.random.choice((5, 35)) + "x" * self.random.choice((3, 40)) + '"'
        return name

    def output(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        roll = self.random.random()
        made = self.plain(scope, (kind,))
        if made and roll > 0.7:
            return self.random.choice(made)
        if mood is not CLEAN and roll < 0.14:
            return self._windowed(kind, scope, depth)
        if mood is not CLEAN and roll < 0.2:
            bare = self.columns(scope, None, DATA)
            if bare and kind == "bool":
                return f"{self.random.choice(bare)[0]} IS NULL"
        if mood is not CLEAN and kind == "text" and roll < 0.26:
            return f"({self.row(scope, DATA, 0)})::text"
        return self.expression(kind, scope, mood, depth)

    def _where(self, scope: Scope, depth: int) -> str:
        parts = [self.predicate(scope, depth - 1, "where")]
        if self.chance(0.3):
            parts.append(self.predicate(scope, depth - 1, "where"))
        lookups = [name for name, column in self.columns(Scope(scope.sources), "text", DATA) if column.lookup]
        if scope.outer is None and lookups and self.chance(0.08):
            parts.append(f"{self.random.choice(lookups)} = 'nobody@nowhere.invalid'")
        return " AND ".join(parts)

    def _tail(self, scope: Scope, depth: int, keys: list[str], *, distinct: bool) -> str:
        parts = []
        if distinct:
            if self.chance(0.6):
                parts.append(f" ORDER BY {', '.join(keys[:1])}")
        elif self.chance(0.6):
            mood = self.steering("key")
            made = [self.key(scope, mood, depth) for _ in range(self.random.choice((1, 2)))]
            parts.append(
                " ORDER BY " + ", ".join(f"{key}{self.random.choice(('', ' DESC', ' NULLS FIRST'))}" for key in made)
            )
        if self.chance(0.3):
            parts.append(f" LIMIT {self._amount(scope)}")
        if self.chance(0.1):
            parts.append(f" OFFSET {self._amount(scope)}")
        return "".join(parts)

    def key(self, scope: Scope, mood: Mood, depth: int) -> str:
        made = self.expression(self.random.choice(GROUPABLE[:7]), scope, mood, min(depth - 1, 1))
        if self.chance(0.5) or '"' not in made:
            found = self.columns(Scope(scope.sources), None, mood)
            found = [name for name, column in found if column.kind in GROUPABLE and (mood is CLEAN or column.personal)]
            if found:
                made = self.random.choice(found)
                self.touched += mood is not CLEAN
                self.spent += mood is HOT
        return f"({made})" if '"' in made else f"COALESCE({made})"  # a bare constant is the number of a column

    def _amount(self, scope: Scope) -> str:
        if self.chance(0.7):
            return str(self.random.choice((0, 1, 2, 5)))
        mood = self.steering("amount", likely=0.6)
        source, inner = self.source(None, 0)
        return f"(SELECT abs(length({self.expression('text', inner, mood, 0)})) % 5 FROM {source} LIMIT 1)"

    # -- grouping and windows

    def _grouped(
        self,
        source: str,
        scope: Scope,
        where: str,
        depth: int,
        kinds: tuple[str, ...] | None,
        mood: Mood,
        *,
        order: bool,
    ) -> Query:
        by = self.steering("key")
        keys = [self.key(scope, by, depth) for _ in range(self.random.choice((0, 1, 1, 2)))]
        wanted = kinds or tuple(self.any_kind() for _ in range(self.random.choice((1, 2))))
        made, columns = [], []
        for place, kind in enumerate(wanted):
            before = self.touched
            made.append(self._aggregate(kind, scope, mood, depth))
            columns.append(Column(f"c{place}", kind, personal=self.touched > before))
        if not kinds:
            made += keys
        listed = ", ".join(f"{sql} AS c{place}" for place, sql in enumerate(made))
        grouping = ""
        if keys:
            inside = ", ".join(keys)
            grouping = " GROUP BY " + self.random.choice(
                (inside, inside, inside, f"ROLLUP ({inside})", f"CUBE ({inside})", f"GROUPING SETS (({inside}), ())")
            )
        having = ""
        if self.chance(0.3):
            number = self._counted(scope, self.steering("count"), depth)
            having = f" HAVING {number} {self.random.choice(('>', '>=', '<>'))} {self.random.choice((0, 1, 2))}"
        tail = f" ORDER BY {', '.join(keys)}" if keys and order and self.chance(0.6) else ""
        return Query(f"SELECT {listed} FROM {source}{where}{grouping}{having}{tail}", tuple(columns))

    def _counted(self, scope: Scope, mood: Mood, depth: int) -> str:
        bare = self.columns(scope, None, DATA)
        roll = self.random.random()
        if roll < 0.3 or not bare:
            return "count(*)"
        if roll < 0.7:
            return f"count({self.random.choice(bare)[0]})"
        distinct = "DISTINCT " if self.chance(0.6) else ""
        kind = self.random.choice(GROUPABLE[:7])
        made = self.coarse(scope, mood) if self.chance(0.5) else self.expression(kind, scope, mood, min(depth - 1, 1))
        return f"count({distinct}{made})"

    def _aggregate(self, kind: str, scope: Scope, mood: Mood, depth: int) -> str:
        if kind in ("int8", "int4", "numeric") and self.chance(0.5):
            number = self._counted(scope, self.steering("count", likely=0.5), depth)
            return f"({number})::{NAMES.get(kind, kind)}"
        found = [f for f in self.vocabulary.aggregates if f.gives == kind]
        if mood is not CLEAN and self.chance(0.85):
            found = [f for f in found if "p" in f.judged.arguments] or found
        if not found:
            return (
                f"max({self.expression('text', scope, mood, depth - 1)})::{ {'_text': 'text[]'}.get(kind, 'text') }"
                if kind == "text"
                else self.literal(kind)
            )
        function = self.random.choice(found)
        if function.name in ("percentile_cont", "percentile_disc", "mode"):
            direct = "" if function.name == "mode" else "0.5"
            mood_of = self.steering("aggregate", likely=0.5)
            key = self.expression(function.arguments[-1], scope, mood_of, 0)
            return f"{function.name}({direct}) WITHIN GROUP (ORDER BY {key})"
        call = self.call(function, scope, mood, depth - 1)
        if len(function.arguments) == 1 and self.chance(0.08):
            steering = self.steering("aggregate", likely=0.7)
            call = f"{function.name}(DISTINCT {self.expression(function.arguments[0], scope, steering, 0)})"
        elif function.arguments and self.chance(0.4):
            call = f"{call[:-1]} ORDER BY {self.key(scope, self.steering('aggregate'), 1)})"
        if self.chance(0.25):
            call += f" FILTER (WHERE {self.predicate(scope, depth - 1, 'aggregate')})"
        return f"({call})"

    def _windowed(self, kind: str, scope: Scope, depth: int) -> str:
        parts = []
        if self.chance(0.6):
            parts.append(f"PARTITION BY {self.key(scope, self.steering('key'), depth)}")
        if self.chance(0.8):
            parts.append(f"ORDER BY {self.key(scope, self.steering('key'), depth)}")
        frame = self.random.choice(FRAMES)
        if "GROUPS" in frame and len(parts) < 2:
            frame = ""
        if self.heat and self.chance(0.1):
            source, inner = self.source(None, 0)
            number = self.expression("text", inner, self.steering("frame", likely=1.0), 0)
            frame = f"ROWS (SELECT length({number}) % 4 FROM {source} LIMIT 1) PRECEDING"
        over = f"OVER ({' '.join([*parts, frame]).strip()})"
        roll = self.random.random()
        if kind in ("int8", "int4") and roll < 0.5:
            made = self.random.choice(
                ("row_number()", "rank()", "dense_rank()", self._counted(scope, self.steering("count", likely=0.5), 1))
            )
            if "DISTINCT" in made:
                made = "count(*)"
            return f"({made} {over})::int"
        value = self.expression(kind, scope, DATA, depth - 1)
        if roll < 0.75 or kind not in ("text", "numeric", "int4", "date"):
            offset = self.expression("int4", scope, self.steering("argument"), 0) if self.chance(0.3) else "1"
            given = self.random.choice((
                f"lag({value}, {offset})", f"lead({value})", f"first_value({value})", f"last_value({value})",
                f"nth_value({value}, {self.random.choice(('1', '2', offset))})",
            ))  # fmt: skip
            return f"({given} {over})"
        return f"({self.random.choice(('max', 'min'))}({value}) {over})"

    # -- WITH, UNION, VALUES

    def _with(self) -> str:
        parts = []
        for _ in range(self.random.choice((1, 1, 2))):
            query = self.query(None, 2, clean=self.chance(0.25))
            name = self.fresh("cte")
            hint = self.random.choice(("", "", " MATERIALIZED", " NOT MATERIALIZED"))
            parts.append(f"{name} AS{hint} ({query.sql})")
            self._ctes.append(Source(name, query.columns))
        return f"WITH {', '.join(parts)} {self._select(None, 2, order=True).sql}"

    def _recursive(self) -> str:
        source, scope = self.source(None, 0)
        kind = self.random.choice(("text", "text", "numeric", "_text"))
        start = self.expression("int4", scope, CLEAN, 0)
        first = self.expression(kind, scope, DATA, 1)
        hot = self.steering("recursion", likely=0.5)
        mine = Source("r", (Column("n", "int4", False), Column("a", kind, True), Column("b", kind, True)))
        step = [self.random.choice(("r.a", "r.b")) for _ in range(2)]
        if hot is HOT:
            step[0] = self.expression(kind, Scope((mine,)), HOT, 1)
        cast = {"_text": "text[]"}.get(kind, kind)
        stop = self.random.choice(("r.n < 3", "r.n < 3", f"r.n < 3 AND {self.predicate(Scope((mine,)), 0, 'where')}"))
        union = "UNION ALL" if self.chance(0.85) else "UNION"
        return (
            f"WITH RECURSIVE r(n, a, b) AS (SELECT 1, ({first})::{cast}, NULL::{cast} FROM {source} WHERE {start} < 4"
            f" {union} SELECT r.n + 1, ({step[0]})::{cast}, ({step[1]})::{cast} FROM r WHERE {stop})"
            f" SELECT {self.random.choice(_OF_RECURSION)}"
        ) + self.random.choice((" ORDER BY n", ""))

    def _united(
        self, outer: Scope | None, depth: int, kinds: tuple[str, ...] | None = None, *, clean: bool = False
    ) -> Query:
        wanted = kinds or tuple(self.random.choice(KINDS) for _ in range(self.random.choice((1, 2))))
        word = self.random.choice(("UNION ALL", "UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT", "EXCEPT ALL"))
        alike = word == "UNION ALL" and not clean
        pure = not alike and self.steering("set", likely=0.6) is CLEAN
        sides = []
        personal = [False] * len(wanted)
        for _ in range(2):
            source, scope = self.source(outer, min(depth - 1, 1))
            made, held = self.outputs(wanted, scope, CLEAN if clean or pure else DATA, min(depth, 1))
            personal = [one or other.personal for one, other in zip(personal, held, strict=True)]
            if self.chance(0.1):  # the sides differ in type: the cast that makes them alike is in no tree
                made[0] = self.literal(wanted[0])
            where = f" WHERE {self._where(Scope(scope.sources, Scope(())), 1)}" if self.chance(0.3) else ""
            sides.append(f"SELECT {', '.join(f'{sql} AS c{n}' for n, sql in enumerate(made))} FROM {source}{where}")
        self.spent += not alike and any(personal)
        columns = tuple(
            Column(f"c{n}", kind, held) for n, (kind, held) in enumerate(zip(wanted, personal, strict=True))
        )
        return Query(f"{sides[0]} {word} {sides[1]}", columns)

    def _rows_of_values(self) -> str:
        one = self.scalar("text", Scope(()), DATA, 1)
        other = self.scalar("text", Scope(()), DATA, 1)
        return self.random.choice((f"VALUES ({one}), ({other})", f"SELECT {one}, {self.random.choice(('1', other))}"))


def statements(seed: int, vocabulary: Vocabulary, aim: str = "") -> Iterator[Statement]:
    """Statements without end; with an *aim*, only those where something personal steers at such a place."""
    grammar = Statements(Random(seed), vocabulary)
    grammar.aim = aim
    missed = 0
    while missed < _MOST_MISSES:
        made = grammar.statement()
        if made.hot or not aim:
            missed = 0
            yield made
        else:
            missed += 1
    raise ValueError(f"the grammar has no place of the kind {aim}")
