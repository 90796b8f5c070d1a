"""The words of the grammar: types, constants with an eye to odd ones, casts, comparisons."""

KINDS = ("text",) * 5 + (
    "jsonb",
    "_text",
    "int4",
    "int8",
    "numeric",
    "bool",
    "jsonb",
    "date",
    "timestamptz",
    "float8",
    "bytea",
)
NAMES = {
    "_text": "text[]", "_int4": "int[]", "timestamptz": "timestamptz", "int4": "int", "int8": "bigint",
    "row": "record", "char": '"char"',
}  # fmt: skip
LITERALS = {
    "text": (
        "'a'", "'%'", "''", "'e'", "'DE'", "'vip'", "'UTC'", "'day'", "'('", "'{}'", "'\\'", "'std'", "'x|y'", "'SKU-1'",
        "'_'", "'0'", "'paid'", "'zz'", "'[a-z]'", "'.'", "'{\"a\":1}'", "'2020-01-01'", "'é'", "'@'", "NULL",
    ),
    "int4": ("0", "1", "2", "3", "-1", "5", "100", "NULL::int", "2147483647"),
    "int8": ("1::bigint", "2::bigint", "0::bigint", "-1::bigint", "9::bigint"),
    "int2": ("1::smallint", "0::smallint", "2::smallint"),
    "numeric": ("1.5", "0.0", "10.25", "-3.1", "100.0", "NULL::numeric"),
    "float8": ("1.5::float8", "0::float8", "-2::float8"),
    "float4": ("1.5::real", "0::real"),
    "bool": ("true", "false", "NULL::bool"),
    "date": ("date '2026-01-01'", "date '2025-07-01'", "date 'infinity'"),
    "time": ("time '12:00'",),
    "timestamp": ("timestamp '2026-01-01'", "timestamp '2025-06-01 12:00'"),
    "timestamptz": ("timestamptz '2026-01-01'", "timestamptz '2026-03-01'"),
    "interval": ("interval '1 day'", "interval '2 months'", "interval '0'"),
    "jsonb": ("'{\"a\": [1, 2]}'::jsonb", "'[]'::jsonb", "'3'::jsonb", "'{\"plan\": \"gold\"}'::jsonb"),
    "json": ("'{\"a\": [1, 2]}'::json", "'[1]'::json"),
    "bytea": ("'\\x6162'::bytea", "''::bytea"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'::uuid",),
    "_text": ("'{a,b}'::text[]", "ARRAY['x', 'y', NULL]", "'{}'::text[]"),
    "_int4": ("ARRAY[1, 2, 3]", "'{}'::int[]"),
    "jsonpath": (
        "'$.a'::jsonpath", "'$.a.double()'::jsonpath", "'strict $.b'::jsonpath", "'$[*]'::jsonpath",
        "'$.plan ? (@ == \"gold\")'::jsonpath", "'$.contact.email'::jsonpath", "'$.*'::jsonpath",
    ),
    "tsquery": ("'login'::tsquery", "'mail & !call'::tsquery"), "tsvector": ("'login:1 mail:2'::tsvector",),
    "regconfig": ("'english'::regconfig", "'simple'::regconfig"),
    "oid": ("25::oid",), "inet": ("'10.0.0.1'::inet",), "char": ("'a'::\"char\"",),
}  # fmt: skip
TO_TEXT = ("int4", "int8", "int2", "numeric", "bool", "date", "timestamptz", "jsonb", "_text", "enum", "row", "float8")
WIDER = {"int8": ("int4", "int2"), "numeric": ("int8", "int4"), "float8": ("int4",), "int4": ("int2",)}
CASTS = {
    "int4": ("text", "numeric", "int8", "bool", "jsonb"), "numeric": ("text", "jsonb", "float8"), "date": ("text", "timestamptz"),
    "jsonb": ("text", "json"), "json": ("text",), "_text": ("text",), "bool": ("text", "int4"), "timestamptz": ("text", "date"),
    "int8": ("text", "numeric"), "float8": ("numeric", "text"),
}  # fmt: skip
KEYWORDS = frozenset(
    (
        "extract", "position", "overlay", "substring", "trim", "left", "right", "char", "interval", "time", "timestamp",
        "timestamptz", "numeric", "varchar", "bpchar", "bool", "float4", "float8", "int4", "int8", "int2", "date", "name",
        "text", "mode",
    )
)  # fmt: skip
FROM_TEXT = {
    "int4": "length({})", "_text": "string_to_array({}, ' ')", "jsonb": "to_jsonb({}::text)", "bool": "({} IS NULL)",
    "bytea": "convert_to({}, 'UTF8')", "json": "to_json({}::text)", "int8": "length({})::bigint",
    "numeric": "length({})::numeric", "float8": "length({})::float8",
}  # fmt: skip
COMPARE = ("=", "<>", "<", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")
COMPARABLE = ("text", "int4", "numeric", "date", "int8", "timestamptz", "text", "bool")

SHAPED = {
    "plain": ("'%s'", "'%s-%L'", "'%%%s'", "'%s %s %s'", "'%1$s'", "'%I'", "'%*s'"),
    "path": ("'$.a'", "'$.contact.email'", "'$.plan'", "'strict $.b'", "'$.a.double()'", "'$[*]'"),
    "regex": ("'[a-z]+'", "'^.'", "'@(.*)'", "'a|b'", "'(.)\\1'", "'(a*)*b'", "'('"),
    "short": ("'x'", "''", "'<>'", "'\\&\\&'", "repeat('x', 1000)", "'" + "y" * 40 + "'"),
}
"""Constants for the places whose constant matters, harmless ones first."""
HARMLESS = 3
ROWS = (
    "generate_series(1, {n})", "unnest({a})", "jsonb_each_text({j})", "jsonb_array_elements_text('[1,2]'::jsonb)",
    "regexp_split_to_table({t}, 'x')", "generate_series(1, {i} % 3)", "jsonb_object_keys({j})", "string_to_table({t}, ' ')",
)  # fmt: skip
FRAMES = (
    "", "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", "ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING",
    "ROWS UNBOUNDED PRECEDING", "GROUPS 1 PRECEDING", "ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW",
)  # fmt: skip
GROUPABLE = ("text", "int4", "int8", "date", "numeric", "bool", "timestamptz", "enum")
VANISHING = (
    "substring({t} from '^[a-m]')", "{j} -> 'plan'", "{j} ->> 'a'", "{j} #> '{{a,0}}'", "NULLIF(left({t}, 1), 'a')",
    "(regexp_match({t}, '[0-9]'))[1]", "(string_to_array({t}, ' '))[2]", "jsonb_path_query_first({j}, '$.plan')",
)  # fmt: skip
COARSE = (
    "left({t}, 1)",
    "length({t}) / 10",
    "{t} LIKE 'a%'",
    "substr({t}, 2, 1)",
    "ascii({t}) % 3",
    "strpos({t}, '@')",
)
TELLING = {
    "text": ("{} < 'h'", "{} LIKE '%a%'", "length({}) > 14", "{} ~ '[0-9]'", "left({}, 1) IN ('a', 'b', 'c', 'e', '%')"),
    "jsonb": ("{} @> '{{\"plan\": \"gold\"}}'", "{}::text < '{{'", "{} ->> 'plan' = 'gold'"),
    "numeric": ("{} > 60000", "{} <> 1", "{} / 2 > 5"),
    "date": ("{} > '1985-01-01'", "isfinite({})", "extract(year from {}) > 1985"),
    "int4": ("{} > 14", "{} % 2 = 0"), "int8": ("{} > 14", "{} % 2 = 0"), "float8": ("{} > 14.5",),
    "_text": ("cardinality({}) > 1", "({})[1] < 'h'"), "bool": ("{}",), "bytea": ("length({}) > 14", "{} < '\\x68'"),
}  # fmt: skip
"""Questions that some rows answer with yes and others with no."""
ORACLES = (
    "(1 / (ascii(left({t}, 1)) - 97))::text", "to_number({t}, '999')::text", "chr(length({t}) - 14)",
    "to_date({t}, 'YYYY')::text",
    "split_part('a.b', '.', length({t}) % 3)", "substr('abc', 1, 14 - length({t}))",
    "date_trunc({t}, '2026-01-01'::timestamp)::text",
    "decode({t}, 'base64')::text", "log(length({t}) - 14)::text", "regexp_replace('a', {t}, 'b')", "format({t}, 1)",
    "('2026-01-01'::timestamptz AT TIME ZONE {t})::text", "encode('a', {t})", "convert_to('a', {t})::text", "'a' ~ {t}",
    "make_date(2020, length({t}), 1)::text", "width_bucket(1.0, 0.0, length({t}) - 14, 3)::text", "sqrt(length({t}) - 14)::text",
)  # fmt: skip
"""Raising or not by the value: one bit of it."""
AIMED = {"null-test": "bool", "count": "int8", "coalesce": "text", "slice": "_text"}
"""The types in which an aim is reached soonest."""
