"""data/functions.txt says of each argument that a personal value there raises nothing. Every such argument of every
function is called here, on every server, with the nastiest values its type has.
"""

from __future__ import annotations

import itertools

import pytest

from hoop_mcp.sql.functions import vouched_functions

VALUES = {
    "text": [
        "''",
        "'a'",
        "'%'",
        "'\\'",
        "'('",
        "'é' || chr(128512)",
        "repeat('x', 300)",
        "'it''s \"q\"'",
        "E'\\n\\t'",
        "'{'",
        "'1e999'",
    ],
    "int2": ["0", "1", "32767", "-32768"],
    "int4": ["0", "1", "14", "2147483647", "-2147483648"],
    "int8": ["0", "9223372036854775807", "(-9223372036854775807) - 1"],
    "numeric": ["0", "-1.5", "'NaN'", "1e1000::numeric", "1e-16000::numeric", "'Infinity'", "'-Infinity'"],
    "float4": ["0", "1.5", "'NaN'", "'Infinity'", "'-Infinity'", "3.4e38", "-1e-37"],
    "float8": ["0", "1.5", "'NaN'", "'Infinity'", "'-Infinity'", "1.7e308", "-1e-307"],
    "bool": ["true", "false"],
    "date": ["'1980-01-01'", "'infinity'", "'-infinity'", "'4000-01-01 BC'", "'200000-12-31'"],
    "time": ["'00:00'", "'24:00'", "'12:34:56.789'"],
    "timestamp": ["'1980-01-01'", "'infinity'", "'-infinity'", "'3000-11-24 BC'", "'200000-12-31 23:59:59'"],
    "timestamptz": ["'1980-01-01'", "'infinity'", "'-infinity'", "'3000-11-25 BC'", "'200000-12-31 23:59:59'"],
    "interval": ["'1 day'", "'-178000000 years'", "'178000000 years'", "'2562047788:00:54.775807'"],
    "bytea": ["''", "'\\x00ff'", "'abc'"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'"],
    "inet": ["'1.2.3.4'", "'::1/64'"],
    "jsonb": ["'{}'", "'[]'", "'null'", "'1'", "'\"x\"'", "'{\"a\":{\"b\":[1,2]}}'"],
    "json": ["'{}'", "'[1]'", "'null'", "'{\"a\":1,\"a\":2}'"],
    "_text": ["'{}'", "'{a,NULL}'", "'{{a,b},{c,d}}'"],
    "record": ["ROW(1, 'x')", "ROW(NULL, ROW('a'))"],
    "anyenum": ["'a'"],
    "tsquery": ["'a'", "'a & !b'", "''"],
    "regconfig": ["'english'", "'simple'"],
}  # fmt: skip
VALUES["varchar"] = VALUES["bpchar"] = VALUES["name"] = VALUES["text"]
STANDS_FOR = {
    "any": ["text", "int4", "numeric", "jsonb", "_text"],
    "anyelement": ["text", "int4", "numeric", "date", "jsonb", "float8", "_text"],
    "anynonarray": ["text", "int4"],
    "anyarray": ["_text"],
    "anycompatible": ["text", "int4"],
}
SPELLED = {"_text": "text[]", "anyenum": "pg_temp.letter"}
CONSTANTS = {
    "=": None,
    ">=": ["0", "5", "1000000", "2147483647"],
    "<=": ["-1", "0", "14", "1004"],
    "!=": ["1", "-1", "2147483647", "-2147483648"],
    ">": ["1", "1000000", "2147483647"],
    "^": ["'english'::regconfig"],
}
SHAPED = {
    "plain": ["'%s-%L%%'"],
    "regex": ["'^a.*$'", "'(.+)x?$'", "'[^a-z]+'"],
    "short": ["''", "'0123456789abcdef'", "'\\0'"],
    "path": ["'$'::jsonpath", "'$.a.b'::jsonpath"],
}

NULL_ORACLES = ("ts_headline(text,tsquery,text)", "varchar(varchar,int4,bool)", "overlay(text,text,int4,int4)")
"""Without their conditions these raise on every value, or nearly every one, and not on NULL."""

HELPER = """
CREATE TYPE pg_temp.letter AS ENUM ('a', 'b');
CREATE FUNCTION pg_temp.error(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN EXECUTE statement; RETURN NULL; EXCEPTION WHEN OTHERS THEN RETURN sqlerrm; END $$
"""


def value(text, kind):
    return text if kind == "record" else f"({text})::{SPELLED.get(kind, kind)}"


def calls(signature, judged, kind):
    """(what, the value, statement) of each call; those that differ in nothing but the value have one *what*."""
    name, _, rest = signature.partition("(")
    types = [each for each in rest.rstrip(")").split(",") if each]
    for place, declared in enumerate(types):
        if not judged.passes(place):
            continue
        for actual in STANDS_FOR.get(declared, [declared]):
            others = [constants(name, at, each, actual, judged) for at, each in enumerate(types) if at != place]
            for combination in itertools.islice(itertools.product(*others), 120):
                for given in [*VALUES[actual], "NULL"]:
                    at = iter(combination)
                    arguments = ", ".join(value(given, actual) if n == place else next(at) for n in range(len(types)))
                    yield (signature, place + 1, actual, combination), given, statement(name, arguments, kind)


def constants(name, at, declared, actual, judged):
    conditions = [condition for condition in judged.conditions if condition.place == at + 1]
    if conditions:
        if conditions[0].test == "~":
            return SHAPED[next(iter(conditions[0].words))]
        if conditions[0].test == "=" and "{}" in conditions[0].words:
            return ["'{}'::jsonb", "'{\"a\": 1}'::jsonb"]
        given = CONSTANTS[conditions[0].test]
        if given is not None and conditions[0].test != "^":
            given = [each for each in given if all(condition.met_by(int(each)) for condition in conditions)]
        return given or [repr(word) for word in sorted(conditions[0].words)]
    if name == "date_trunc":
        return ["'Europe/Berlin'"]
    kind = actual if declared in ("any", "anycompatible") else STANDS_FOR.get(declared, [declared])[0]
    return [value(each, kind) for each in VALUES[kind]]


def statement(name, arguments, kind):
    match kind:
        case "a":
            return f"SELECT {name}({arguments})::text FROM (VALUES (1), (2)) v(x)"
        case "w":
            return f"SELECT ({name}({arguments}) OVER ())::text"
        case _:
            return f'SELECT pg_catalog."{name}"({arguments})::text'


def broken(databases, table):
    """Calls that raise on one value and not on another, NULL among them: what is made of a value is null by the value."""
    dsn = databases.cluster.dsn()
    found = databases.fetch(
        "SELECT p.proname || '(' || coalesce((SELECT string_agg(t.typname, ',' ORDER BY o)"
        " FROM unnest(p.proargtypes) WITH ORDINALITY u(type, o) JOIN pg_type t ON t.oid = u.type), '') || ')',"
        " p.prokind::text, p.proretset FROM pg_proc p WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace",
        dsn=dsn,
    )
    kinds = {signature: kind for signature, kind, returns_set in found if not returns_set}
    todo = [
        call
        for signature, judged in table.items()
        if signature in kinds and "p" in judged.arguments and signature != "mode(anyelement)"
        for call in calls(signature, judged, kinds[signature])
    ]
    errors = run(databases, dsn, [text for _, _, text in todo])
    by_call = {}
    for (what, given, text), error in zip(todo, errors, strict=True):
        by_call.setdefault(what, []).append((given, text, error))
    return {
        what: next((text, error) for _, text, error in group if error)
        for what, group in by_call.items()
        if any(error for *_, error in group) and any(error is None for _, _, error in group)
    }, len(todo)


def run(databases, dsn, statements):
    import asyncpg

    async def ask():
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(HELPER)
            rows = await connection.fetch(
                "SELECT pg_temp.error(s) FROM unnest($1::text[]) WITH ORDINALITY u(s, n) ORDER BY n", statements
            )
            return [error for (error,) in rows]
        finally:
            await connection.close()

    return databases._loop.run(ask())


def test_an_argument_marked_as_passing_on_never_raises_by_its_value(any_databases):
    found, tried = broken(any_databases, vouched_functions())
    assert found == {}
    assert tried > 5_000


def test_an_argument_wrongly_marked_would_be_seen(any_databases):
    table = vouched_functions()
    wrong = {
        signature: type(table[signature])("p" * len(table[signature].arguments))
        for signature in (
            "chr(int4)",
            "int4(int8)",
            "split_part(text,text,int4)",
            "ln(numeric)",
            "decode(text,text)",
            *NULL_ORACLES,
        )
    }
    found, _ = broken(any_databases, wrong)
    seen = {what[0] for what in found}
    assert seen >= {"chr(int4)", "int4(int8)", "split_part(text,text,int4)", "ln(numeric)", *NULL_ORACLES}


def test_every_listed_function_exists_on_the_newest_server(databases):
    if int(databases.cluster.version.split(".")[0]) < 18:
        pytest.skip("HOOP_MCP_PG_BIN names an older server: the list holds what came later")
    found = databases.fetch(
        "SELECT p.proname || '(' || coalesce((SELECT string_agg(t.typname, ',' ORDER BY o)"
        " FROM unnest(p.proargtypes) WITH ORDINALITY u(type, o) JOIN pg_type t ON t.oid = u.type), '') || ')'"
        " FROM pg_proc p WHERE p.oid < 16384",
        dsn=databases.cluster.dsn(),
    )
    missing = vouched_functions().keys() - {signature for (signature,) in found}
    # The signature changed in PostgreSQL 18, and both are listed.
    assert missing == {"jsonb_strip_nulls(jsonb)"}


@pytest.mark.parametrize(
    ("format_string", "plain"),
    [
        ("%s", True),
        ("a %L b %% %s", True),
        ("", True),
        ("%I", False),
        ("%1$s", False),
        ("%*s", False),
        ("%10s", False),
        ("%-9L", False),
        ("%", False),
        ("100 %", False),
    ],
)
def test_only_formats_that_say_each_argument_once_are_plain(format_string, plain):
    (condition,) = vouched_functions()["format(text,any)"].conditions
    assert condition.met_by(format_string) is plain
    assert not condition.met_by(None)
