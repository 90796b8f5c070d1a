"""Collects the node shapes a server prints: the source of hoop_mcp/sql/data/nodes-NN.json.

Run against a PostgreSQL of yours that holds tests/tree/shapes_schema.sql:
``python tests/support/node_shapes.py postgresql://… [statements.sql …] > nodes-18.json``
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import asyncpg

TREE = Path(__file__).parents[1] / "tree"
_TOKEN = re.compile(r"[(){}]|(?:\\.|[^\s(){}\\])+", re.DOTALL)


def statements(text: str, major: int) -> list[str]:
    wanted, least = [], 0
    for line in text.splitlines():
        if mark := re.fullmatch(r"-- (\d+)\+", line):
            least = int(mark[1])
        elif line and not line.startswith("--"):
            if major >= least:
                wanted.append(line)
            least = 0
    return wanted


def shapes_of(dump: str, found: dict[str, set[tuple[str, ...]]]) -> None:
    """Note every (tag, fields) of one dump, without a schema."""
    words = iter(_TOKEN.findall(dump.replace("\n", " ")))

    def value(word: str) -> None:
        if word == "{":
            node()
        elif word == "(":
            while (inner := next(words)) != ")":
                value(inner)

    def node() -> None:
        tag, fields, key = next(words), [], next(words)
        while key != "}":
            assert key[0] == ":", key
            fields.append(key[1:])
            value(next(words))
            key = next(words)
            if key == "[":
                while next(words) != "]":
                    pass
                key = next(words)
        found.setdefault(tag, set()).add(tuple(fields))

    value(next(words))


async def collect(dsn: str, extra: list[str]) -> dict[str, set[tuple[str, ...]]]:
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    found: dict[str, set[tuple[str, ...]]] = {}
    dumps: list[str] = []

    def listen(_connection: object, message: object) -> None:
        if getattr(message, "server_source_function", "") == "elog_node_display":
            dumps.append(message.detail)  # type: ignore[attr-defined]

    connection.add_log_listener(listen)
    major = connection.get_server_version().major
    await connection.execute("SET debug_print_parse=on; SET debug_print_rewritten=on; SET debug_pretty_print=off")
    await connection.execute("SET client_min_messages=log")
    todo = statements((TREE / "shapes.sql").read_text(), major)
    for path in extra:
        text = Path(path).read_text()
        todo += (
            [json.loads(line)["sql"] for line in text.splitlines()]
            if path.endswith("l") and "jsonl" in path
            else statements(text, major)
        )
    for number, sql in enumerate(todo):
        try:
            await connection.prepare(sql, name=f"s{number}")
        except Exception as error:
            print(f"{type(error).__name__}: {str(error)[:90]} | {sql[:80]}", file=sys.stderr)
    for (text,) in await connection.fetch(
        "SELECT ev_action::text FROM pg_rewrite UNION ALL SELECT adbin::text FROM pg_attrdef"
        " UNION ALL SELECT conbin::text FROM pg_constraint WHERE conbin IS NOT NULL"
        " UNION ALL SELECT polqual::text FROM pg_policy WHERE polqual IS NOT NULL"
        " UNION ALL SELECT prosqlbody::text FROM pg_proc WHERE prosqlbody IS NOT NULL"
    ):
        dumps.append(text)
    for dump in dumps:
        shapes_of(dump, found)
    await connection.close()
    return found


if __name__ == "__main__":
    got = asyncio.run(collect(sys.argv[1], sys.argv[2:]))
    print("{")
    print(",\n".join(f" {json.dumps(tag)}: {json.dumps(sorted(got[tag]))}" for tag in sorted(got)))
    print("}")
