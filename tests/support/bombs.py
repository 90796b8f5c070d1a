"""Statements that cost more than they look: what an agent would send to take the server's memory, its loop or the database.

Each family is named for what it multiplies. Over the small shop's ``customers``; they are to be answered or refused,
never to hang. ``bombs()`` gives as many as asked for, no two alike.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILO = 1_000


def _joins(many: int) -> str:
    return "SELECT 1 AS n{n} FROM " + " CROSS JOIN ".join(f"customers c{i}" for i in range(many)) + " LIMIT 1"


def _list(many: int) -> str:
    return "SELECT id AS n{n} FROM customers WHERE id IN (" + ", ".join(map(str, range(many))) + ")"


def _nested_in(depth: int) -> str:
    sql = "SELECT id FROM customers"
    for _ in range(depth):
        sql = f"SELECT id FROM customers WHERE id IN ({sql})"
    return "SELECT id AS n{n} FROM (" + sql + ") AS s"


def _nested_from(depth: int, width: int) -> str:
    columns = ", ".join(f"c.id AS a{i}" for i in range(width))
    sql = f"SELECT {columns} FROM customers c"
    for level in range(depth):
        sql = f"SELECT * FROM ({sql}) AS s{level}"
    return "SELECT * , {n} AS n FROM (" + sql + ") AS last"


def _ctes(many: int) -> str:
    made = ["c0 AS (SELECT id FROM customers)"]
    made += [f"c{i} AS (SELECT a.id FROM c{i - 1} a)" for i in range(1, many)]
    return "WITH " + ", ".join(made) + f" SELECT id AS n{{n}} FROM c{many - 1}"


def _recursive(depth: int) -> str:
    sql = "SELECT 1 AS a"
    for level in range(depth):
        sql = (
            f"WITH RECURSIVE r{level}(a) AS (SELECT a FROM ({sql}) AS s{level} UNION ALL"
            f" SELECT a + 1 FROM r{level} WHERE a < 2) SELECT a FROM r{level}"
        )
    return "SELECT a AS n{n} FROM (" + sql + ") AS last"


FAMILIES: dict[str, Callable[[], str]] = {
    "30 cross joins": lambda: _joins(30),
    "32 cross joins, every column": lambda: _joins(32).replace("1 AS n{n}", "{n} AS n, *"),
    "300 cross joins": lambda: _joins(300),
    "900 cross joins": lambda: _joins(900),
    "32 relations with commas": lambda: (
        "SELECT {n} AS n FROM " + ", ".join(f"customers c{i}" for i in range(32)) + " LIMIT 1"
    ),
    "natural joins": lambda: (
        "SELECT {n} AS n, * FROM customers c0 " + " ".join(f"NATURAL JOIN customers c{i}" for i in range(1, 32))
    ),
    "full joins using": lambda: (
        "SELECT {n} AS n, * FROM customers c0 "
        + " ".join(f"FULL JOIN customers c{i} USING (id, name, email)" for i in range(1, 32))
    ),
    "every column ten times": lambda: "SELECT {n} AS n, " + ", ".join(["t.*"] * 10) + " FROM customers t LIMIT 1",
    "every column many times": lambda: "SELECT {n} AS n, " + ", ".join(["t.*"] * 900) + " FROM customers t LIMIT 1",
    "constants in a list": lambda: _list(3_900),
    "ten thousand constants": lambda: _list(10_000),
    "texts in a list": lambda: (
        "SELECT {n} AS n FROM customers WHERE city IN (" + ", ".join(f"'{i:08}'" for i in range(3_000)) + ")"
    ),
    "rows of values": lambda: (
        "SELECT {n} AS n, * FROM (VALUES " + ", ".join(f"({i}, 2)" for i in range(1_300)) + ") AS v(a, b)"
    ),
    "too many rows of values": lambda: (
        "SELECT {n} AS n, * FROM (VALUES " + ", ".join(f"({i})" for i in range(9_000)) + ") AS v(a)"
    ),
    "30,000 brackets": lambda: "SELECT " + "(" * 30 * KILO + "{n}" + ")" * 30 * KILO,
    "brackets within the limit": lambda: "SELECT " + " + ".join(["(" * 20 + "{n}" + ")" * 20] * 90),
    "a chain of AND": lambda: "SELECT {n} AS n FROM customers WHERE " + " AND ".join(["id > 1"] * 1_900),
    "a chain of OR": lambda: "SELECT {n} AS n FROM customers WHERE " + " OR ".join(["id = 1"] * 1_900),
    "a chain of plus": lambda: "SELECT {n} AS n, " + " + ".join(["id"] * 3_900) + " AS s FROM customers LIMIT 1",
    "a chain of concatenation": lambda: (
        "SELECT {n} AS n, " + " || ".join(["city"] * 3_900) + " AS s FROM customers LIMIT 1"
    ),
    "casts upon casts": lambda: "SELECT {n} AS n, id" + "::text::int" * 1_900 + " AS s FROM customers LIMIT 1",
    "NOT upon NOT": lambda: "SELECT {n} AS n FROM customers WHERE " + "NOT " * 3_000 + "true",
    "minus upon minus": lambda: "SELECT {n} AS n, " + "- " * 7_000 + "1",
    "nested lists of ids": lambda: _nested_in(20),
    "nested tables": lambda: _nested_from(40, 150),
    "CASE in CASE": lambda: "SELECT {n} AS n, " + "CASE WHEN true THEN " * 45 + "1" + " END" * 45,
    "CASE with many arms": lambda: (
        "SELECT {n} AS n, CASE id "
        + " ".join(f"WHEN {i} THEN {i}" for i in range(1_900))
        + " END AS c FROM customers LIMIT 1"
    ),
    "COALESCE of many": lambda: (
        "SELECT {n} AS n, COALESCE(" + ", ".join(["id"] * 3_900) + ") AS c FROM customers LIMIT 1"
    ),
    "many CTEs": lambda: _ctes(40),
    "recursion in recursion": lambda: _recursive(20),
    "many windows": lambda: (
        "SELECT {n} AS n, "
        + ", ".join(f"row_number() OVER (PARTITION BY id, {i} ORDER BY id) AS w{i}" for i in range(180))
        + " FROM customers LIMIT 1"
    ),
    "many window names": lambda: (
        "SELECT {n} AS n, "
        + ", ".join(f"count(*) OVER w{i} AS c{i}" for i in range(180))
        + " FROM customers WINDOW "
        + ", ".join(f"w{i} AS (ORDER BY id, {i})" for i in range(180))
        + " LIMIT 1"
    ),
    "grouping sets": lambda: "SELECT {n} AS n, count(*) FROM customers GROUP BY CUBE (" + ", ".join(["id"] * 12) + ")",
    "one long text": lambda: "SELECT {n} AS n, '" + "x" * 60 * KILO + "' AS t",
    "texts of quotes": lambda: "SELECT {n} AS n, '" + "''" * 30 * KILO + "' AS t",
    "one long comment": lambda: "SELECT {n} /* " + "/* " * 5 * KILO + "*/ " * 5 * KILO + " */ AS n",
    "many comments": lambda: "SELECT {n} AS n " + "/**/ " * 12 * KILO,
    "many line comments": lambda: "SELECT {n} AS n " + "--\n" * 20 * KILO,
    "dollar quotes": lambda: "SELECT {n} AS n, " + "$a$" * 20 * KILO,
    "unions": lambda: " UNION ALL ".join(["SELECT {n} AS n"] * 47),
    "parameters": lambda: "SELECT {n} AS n, " + ", ".join(f"${i}::int AS p{i}" for i in range(1, 190)),
    "arrays in arrays": lambda: (
        "SELECT {n} AS n, " + ", ".join(["ARRAY[ARRAY[ARRAY[" + ", ".join(["1"] * 90) + "]]]"] * 30)
    ),
    "an array constant": lambda: "SELECT {n} AS n, '{{" + ",".join(["1"] * 30 * KILO) + "}}'::int[] AS a",
    "a function in a function": lambda: (
        "SELECT {n} AS n, " + "upper(" * 45 + "city" + ")" * 45 + " FROM customers LIMIT 1"
    ),
    "wide calls": lambda: "SELECT {n} AS n, concat(" + ", ".join(["city"] * 90) + ") AS c FROM customers LIMIT 1",
    "one cell from a cross join": lambda: (
        "SELECT string_agg(concat(a.city, a.city, a.city, a.city), '') AS n{n}"
        " FROM customers a, customers b, customers c, customers d"
    ),
    "one cell repeated": lambda: "SELECT repeat('x', 900000000) AS n{n}",
    "one cell padded": lambda: "SELECT lpad('x', 900000000) AS n{n}",
    "rows without end": lambda: "SELECT {n} AS n, g FROM generate_series(1, 2000000000) AS g LIMIT 1000",
    "sorted without end": lambda: "SELECT {n} AS n, g FROM generate_series(1, 2000000000) AS g ORDER BY g DESC LIMIT 1",
    "a view on a view on a view": lambda: "SELECT {n} AS n, * FROM bomb_3 LIMIT 1",
    "a view eight times": lambda: "SELECT {n} AS n FROM " + ", ".join(f"bomb_1 v{i}" for i in range(8)) + " LIMIT 1",
}

VIEWS = """
CREATE VIEW bomb_1 AS SELECT a.id, b.city FROM customers a, customers b, customers c, customers d, customers e;
CREATE VIEW bomb_2 AS SELECT a.id, b.city FROM bomb_1 a, bomb_1 b, bomb_1 c, bomb_1 d, bomb_1 e;
CREATE VIEW bomb_3 AS SELECT a.id, b.city FROM bomb_2 a, bomb_2 b, bomb_2 c, bomb_2 d, bomb_2 e;
"""
"""125 relations behind one name."""


def bombs(many: int) -> Iterator[tuple[str, str]]:
    """*many* bombs by family, in turn, each a statement that was not sent before."""
    numbers = itertools.count(1)
    families = itertools.cycle(FAMILIES.items())
    for name, make in itertools.islice(families, many):
        yield name, make().replace("{n}", str(next(numbers))).replace("{{", "{").replace("}}", "}")
