"""The offline reader against an agent that means ill: what it refuses, and that it tells the truth of the rest."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoop_mcp.errors import CODES, Refused
from hoop_mcp.sql import reader
from hoop_mcp.sql.commands import WORDS
from hoop_mcp.sql.reader import read
from hoop_mcp.terms import RelationName, Verb


def refusal(sql):
    try:
        read(sql)
    except Refused as refused:
        return refused.code
    return None


def named(sql):
    return {name if schema is None else f"{schema}.{name}" for schema, name in read(sql).relations}


# -- what is refused


@pytest.mark.parametrize("sql", ["", " ", "\n\t", "-- only a comment", "/* and /* a nested */ one */", ";", " ; ; "])
def test_nothing_is_no_statement(sql):
    assert refusal(sql) == "HOOP201"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE t",
        "SELECT 1;;SELECT 2",
        "SELECT 1; -- x\nSELECT 2",
        "DROP TABLE t; SELECT 1",
        "SELECT 1; COMMIT; DROP TABLE t",
    ],
)
def test_two_statements_are_refused(sql):
    assert refusal(sql) in ("HOOP202", "HOOP205")


def test_one_statement_may_end_in_a_semicolon():
    assert read("SELECT 1;").verb is Verb.READ
    assert read("SELECT 1; -- done").verb is Verb.READ


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT FROM FROM",
        "SELEC 1",
        "SELECT 'open",
        'SELECT "open',
        "SELECT /* open",
        "SELECT (1",
        "SELECT $$open",
        "SELECT `a` FROM t",
    ],
)
def test_what_cannot_be_read_is_refused(sql):
    assert refusal(sql) in ("HOOP203", "HOOP205", "HOOP201")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (a int)",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP TABLE t",
        "ALTER TABLE t ADD b int",
        "TRUNCATE t",
        "COMMENT ON TABLE t IS 'x'",
        "GRANT SELECT ON t TO u",
        "REVOKE SELECT ON t FROM u",
        "COPY t TO STDOUT",
        "COPY t TO PROGRAM 'sh'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "COPY t FROM STDIN",
        "DO $$ BEGIN END $$",
        "CALL f()",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN (ANALYZE, FORMAT JSON) SELECT 1",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "EXECUTE p(1)",
        "DEALLOCATE p",
        "DECLARE c CURSOR FOR SELECT 1",
        "FETCH ALL FROM c",
        "MOVE c",
        "CLOSE c",
        "BEGIN",
        "START TRANSACTION READ WRITE",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "RELEASE s",
        "PREPARE TRANSACTION 'x'",
        "SET search_path = x",
        "SET LOCAL search_path = x",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SET TRANSACTION READ WRITE",
        "RESET ALL",
        "SHOW search_path",
        "DISCARD ALL",
        "LISTEN c",
        "NOTIFY c, 'x'",
        "UNLISTEN *",
        "LOCK TABLE t",
        "LOAD 'x'",
        "VACUUM t",
        "ANALYZE t",
        "CLUSTER t",
        "REINDEX TABLE t",
        "CHECKPOINT",
        "REFRESH MATERIALIZED VIEW v",
        "SECURITY LABEL ON TABLE t IS 'x'",
        "IMPORT FOREIGN SCHEMA s FROM SERVER v INTO l",
        "REASSIGN OWNED BY a TO b",
        "ALTER SYSTEM SET x = 1",
        "USE x",
        "KILL 1",
        "PRAGMA x",
        "DESCRIBE t",
        "ATTACH 'x'",
    ],
)
def test_no_other_kind_of_statement_is_read(sql):
    assert refusal(sql) in ("HOOP203", "HOOP205"), sql


@pytest.mark.parametrize("word", sorted(WORDS))
def test_each_command_is_named_and_says_what_to_do_instead(word):
    for sql in (word, f"{word.lower()} x", f"/* c */ {word} (x) y 'z'; SELECT 1"):
        with pytest.raises(Refused) as refused:
            read(sql)
        assert refused.value.code == "HOOP205"
        assert refused.value.reason.startswith(f"{word} ")
        assert len(refused.value.instead) > 20


def test_a_name_that_is_no_command_is_not_called_one():
    for sql in ("frobnicate x", "ch", "x AS y", "a.b"):
        with pytest.raises(Refused) as refused:
            read(sql)
        assert refused.value.code in ("HOOP203", "HOOP205")
        assert "ALIAS" not in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 INTO t",
        "SELECT 1 AS a INTO TEMP TABLE t",
        "SELECT * INTO UNLOGGED t FROM u",
        "WITH c AS (SELECT 1) SELECT * INTO t FROM c",
    ],
)
def test_select_into_makes_a_table_and_is_refused(sql):
    assert refusal(sql) in ("HOOP205", "HOOP203")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM t FOR UPDATE",
        "SELECT 1 FROM t FOR NO KEY UPDATE",
        "SELECT 1 FROM t FOR SHARE OF t SKIP LOCKED",
        "SELECT 1 FROM t FOR KEY SHARE NOWAIT",
        "SELECT * FROM (SELECT 1 FROM t FOR UPDATE) s",
        "WITH c AS (SELECT 1 FROM t FOR SHARE) SELECT * FROM c",
        "SELECT (SELECT 1 FROM t LIMIT 1 FOR UPDATE)",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM t FOR UPDATE)",
    ],
)
def test_row_locks_are_seen_wherever_they_stand(sql):
    assert read(sql).locks
    assert read(sql).verb is Verb.READ


def test_a_statement_without_row_locks_has_none():
    assert not read("SELECT 'FOR UPDATE' AS \"for update\" FROM t -- FOR UPDATE").locks


@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("SELECT 1", Verb.READ),
        ("VALUES (1)", Verb.READ),
        ("TABLE t", Verb.READ),
        ("(SELECT 1)", Verb.READ),
        ("SELECT 1 UNION SELECT 2", Verb.READ),
        ("INSERT INTO t VALUES (1)", Verb.WRITE),
        ("UPDATE t SET a = 1", Verb.WRITE),
        ("DELETE FROM t", Verb.WRITE),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", Verb.WRITE),
        ("WITH w AS (DELETE FROM t RETURNING a) SELECT a FROM w", Verb.WRITE),
        ("WITH w AS (INSERT INTO t VALUES (1) RETURNING a) SELECT a FROM w", Verb.WRITE),
        ("WITH w AS (UPDATE t SET a = 1 RETURNING a) SELECT 1", Verb.WRITE),
        ("WITH w AS (WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x) SELECT 1", Verb.WRITE),
        ("WITH w AS (SELECT 1) INSERT INTO t SELECT * FROM w", Verb.WRITE),
    ],
)
def test_the_heaviest_verb_anywhere_counts(sql, verb):
    if sql == "TABLE t" and refusal(sql) is not None:  # a form the reader may refuse, never take for something else
        assert refusal(sql) in ("HOOP203", "HOOP205")
        return
    assert read(sql).verb is verb


def test_taking_a_write_inside_a_cte_for_a_read_would_be_seen(monkeypatch):
    monkeypatch.setattr(reader, "_WRITES", ())
    with pytest.raises(AssertionError):
        test_the_heaviest_verb_anywhere_counts("WITH w AS (DELETE FROM t RETURNING a) SELECT a FROM w", Verb.WRITE)


# -- size and depth


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 2**20,
        "SELECT " + "(" * 60 + "1" + ")" * 60,
        "SELECT " + "[" * 60,
        "SELECT " + "CASE WHEN true THEN " * 60 + "1" + " END" * 60,
        "SELECT " + "NOT " * 40 + "true",
        "SELECT " + "- " * 40 + "1",
        "SELECT " + "+ " * 40 + "1",
        "SELECT " + "~ " * 40 + "1",
        "SELECT " + "@ " * 40 + "1",
        "SELECT " + "~ " * 3_900 + "1",
        "SELECT " + "|/ " * 40 + "1",
        "SELECT " + "!! " * 40 + "1",
        "SELECT a" + "::text" * 40,
        "SELECT " + "NOT - " * 20 + "1",
        "SELECT " + ", ".join(["1"] * 9_000),
        "SELECT 1 FROM " + ", ".join(f"t{n}" for n in range(33)),
        "SELECT 1 FROM " + ", ".join(f"t a{n}" for n in range(33)),
        "SELECT 1 FROM t" + " CROSS JOIN t" * 33,
        "SELECT 1 FROM t0" + "".join(f" JOIN t{n} ON true" for n in range(1, 34)),
        " UNION ALL ".join(["SELECT 1"] * 49),
        "SELECT '" + "x" * 70_000 + "'",
        "/*" + "x" * 70_000 + "*/ SELECT 1",
    ],
    ids=lambda sql: sql[:30],
)
def test_what_is_too_large_or_too_deep_never_reaches_the_server(sql):
    assert refusal(sql) == "HOOP207"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 40 + "1" + ")" * 40,
        "SELECT 1 FROM " + ", ".join(f"t{n}" for n in range(32)),
        "SELECT 1 FROM t" + " CROSS JOIN u" * 31,
        "SELECT NOT NOT NOT true, - - - 1",
        "SELECT " + ", ".join(["NULL"] * 100),
        "SELECT sum(a) OVER (ORDER BY b ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE NO OTHERS) FROM t",
        "SELECT a FROM t WHERE a IS NOT NULL AND b IS NULL AND c IS NOT TRUE AND d IS NOT DISTINCT FROM NULL",
        "SELECT '" + "x" * 60_000 + "'",
    ],
    ids=lambda sql: sql[:30],
)
def test_what_is_within_the_limits_is_read(sql):
    assert refusal(sql) is None


def test_depth_that_does_not_show_in_tokens_ends_in_a_refusal():
    for operator in ("AND", "OR", "||", "+", "::text"):
        joined = f" {operator} ".join(["a"] * 3_000) if operator != "::text" else "a" + "::text" * 2_000
        assert refusal(f"SELECT {joined} FROM t") in (None, "HOOP207", "HOOP203")


# -- disguises


@pytest.mark.parametrize("code", [0, *range(1, 9), 11, 12, *range(14, 32), 127])
def test_control_characters_are_refused_anywhere(code):
    character = chr(code)
    for sql in (
        f"SELECT 1{character}",
        f"SELECT '{character}'",
        f'SELECT 1 AS "a{character}b"',
        f"SELECT 1 --{character}",
    ):
        assert refusal(sql) == "HOOP208"


def test_a_lone_surrogate_is_refused():
    assert refusal("SELECT '\ud800'") == "HOOP208"
    assert refusal('SELECT 1 AS "\udfff"') == "HOOP208"


@pytest.mark.parametrize(
    "sql", ['SELECT U&"\\0061"', 'SELECT u&"a"', 'SELECT U& "a"', 'SELECT U&\n"a"', 'SELECT 1 FROM u&\t"a"']
)
def test_names_in_unicode_escapes_are_refused_in_any_spacing(sql):
    assert refusal(sql) == "HOOP208"


DISGUISES = [
    "\u200b",
    "\u200d",
    "\u202e",
    "\u2066",
    "\u2028",
    "\u2029",
    "\u00a0",
    "\u3000",
    "\u0085",
    "\ufeff",
    "\u00ad",
    "\ue000",
    "\U000e0061",
]


@pytest.mark.parametrize("character", DISGUISES, ids=lambda c: f"U+{ord(c):04X}")
def test_what_cannot_be_seen_is_refused_outside_literals_only(character):
    hidden = [
        f'SELECT 1 AS "a{character}b"',
        f"SELECT 1 AS a{character}b",
        f"SELECT id{character}FROM t",
        f"SELECT 1{character}",
        f"SELECT 1 -- {character}",
        f"SELECT /* {character} */ 1",
    ]
    assert [refusal(sql) for sql in hidden] == ["HOOP208"] * len(hidden)
    for literal in (f"'{character}'", f"E'{character}'", f"$${character}$$", f"$q${character}$q$"):
        assert refusal(f"SELECT {literal}") is None


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\rb"])
def test_white_space_other_than_the_blank_is_refused_in_names(name):
    # PostgreSQL wraps its dump at a blank: a name with a line break and one with a blank would be read alike.
    assert refusal(f'WITH "{name}" AS (SELECT 1) SELECT 2') == "HOOP208"


def test_names_longer_than_postgresql_keeps_are_refused():
    for name in ("x" * 64, "é" * 32, '"' + "x" * 64 + '"', '"' + "é" * 32 + '"'):
        assert refusal(f"SELECT 1 AS {name}") == "HOOP208", name
    for name in ("x" * 63, "é" * 31, '"' + "x" * 63 + '"'):
        assert refusal(f"SELECT 1 AS {name}") is None, name


def test_names_that_the_dump_would_cut_in_two_are_refused():
    assert refusal('SELECT 1 AS "' + "(" * 33 + '"') == "HOOP208"
    assert refusal('SELECT 1 AS "' + "\\" * 40 + '"') == "HOOP208"
    assert refusal('SELECT 1 AS "amount (in EUR) {net}"') is None


@pytest.mark.parametrize("sql", ["SELECT $4111111111111111", "SELECT $1, $99999"])
def test_a_number_that_could_be_a_card_is_no_parameter(sql):
    assert refusal(sql) == "HOOP214"


def test_a_name_of_three_parts_is_refused():
    assert refusal("SELECT 1 FROM db.s.t") == "HOOP209"


# -- what it tells


@pytest.mark.parametrize(
    ("sql", "relations"),
    [
        ("SELECT 1", set()),
        ("SELECT * FROM t, s.u", {"t", "s.u"}),
        ('SELECT * FROM "T", t, "s.x".u', {"T", "t", "s.x.u"}),
        ("SELECT * FROM É", {"É"}),
        ("SELECT * FROM \u212aELVIN", {"\u212aelvin"}),
        ("WITH t AS (SELECT 1) SELECT * FROM t", set()),
        ("WITH t AS (SELECT 1) SELECT * FROM s.t", {"s.t"}),
        ("WITH T AS (SELECT 1) SELECT * FROM t", set()),
        ('WITH "T" AS (SELECT 1) SELECT * FROM t', {"t"}),
        ("WITH t AS (SELECT * FROM t) SELECT * FROM t", {"t"}),
        ("WITH RECURSIVE t AS (SELECT * FROM t) SELECT * FROM t", set()),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a", {"b"}),
        ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b", set()),
        ("WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a", set()),
        ("SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM t) x, t", {"t"}),
        ("WITH t AS (SELECT 1) SELECT * FROM (SELECT * FROM t) x", set()),
        ("WITH t AS (WITH u AS (SELECT 1) SELECT * FROM u) SELECT * FROM t, u", {"u"}),
        ("WITH t AS (SELECT 1) SELECT (SELECT max(x) FROM t), EXISTS (SELECT 1 FROM v)", {"v"}),
        ("SELECT * FROM generate_series(1, 2) g, unnest(ARRAY[1]) u", set()),
        ("SELECT * FROM t, LATERAL f(t.a) x", {"t"}),
        ("SELECT * FROM ROWS FROM (generate_series(1, 2)) g", set()),
        ("SELECT a FROM t UNION SELECT b FROM u EXCEPT SELECT c FROM v", {"t", "u", "v"}),
        ("SELECT * FROM ONLY t", {"t"}),
        ("SELECT 'FROM x' FROM t -- FROM y\n", {"t"}),
        ("DELETE FROM t USING u WHERE t.a = u.a", {"t", "u"}),
    ],
)
def test_the_relations_named_are_those_postgresql_would_look_up(sql, relations):
    if refusal(sql) is not None:
        assert refusal(sql) == "HOOP203", sql  # a false refusal is a message; a false name would not be
        return
    assert named(sql) == relations


def test_the_reading_carries_what_later_stages_ask():
    statement = read("SELECT a, 'x', $2 FROM S.\"T\" WHERE b = $1")
    assert statement.parameters == 2
    assert statement.has_literals
    assert statement.relations == {RelationName("s", "T")}
    assert {"a", "b", "s", "T"} <= statement.words
    assert not read("SELECT a FROM t").has_literals
    assert read("SELECT a FROM t").parameters == 0


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused_and_never_crashes(text):
    for sql in (text, f"SELECT {text}", f'SELECT 1 AS "{text}"'):
        code = refusal(sql)
        assert code is None or code in CODES


def test_the_parser_never_logs_what_it_reads(capsys, caplog):
    secret = "zebra_secret"
    with caplog.at_level(logging.DEBUG):
        for sql in (
            f"RENAME {secret}",
            f"LISTEN {secret}",
            f"ALTER TABLE {secret} FROBNICATE",
            f"EXECUTE {secret}",
            f"CREATE FROB {secret}",
            f"SELECT {secret} FROM FROM",
            f"EXPLAIN ANALYZE SELECT '{secret}'",
            f"SHOW {secret}",
            f"SET {secret} TO DEFAULT LOCAL",
        ):
            refused = refusal(sql)
            assert refused is not None, sql
    captured = capsys.readouterr()
    assert secret not in captured.out + captured.err + caplog.text


def test_a_refusal_quotes_nothing_of_the_statement():
    for sql in (
        "SELECT zebra FROM FROM",
        "zebra",
        "SELECT 'zebra",
        "CREATE TABLE zebra (a int)",
        'SELECT 1 AS "zebra\u200b"',
    ):
        with pytest.raises(Refused) as refused:
            read(sql)
        assert "zebra" not in str(refused.value).lower()


def test_without_the_silencing_the_parser_would_log(caplog):
    log = logging.getLogger("sqlglot")
    silenced = log.level
    log.setLevel(logging.DEBUG)
    try:
        refusal("RENAME zebra_secret")
    finally:
        log.setLevel(silenced)
    assert "zebra_secret" in caplog.text


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("SELECT 1 FROM a WHERE x = $1 AND b <> ''", 1),
        ("SELECT $1, ''", 1),
        ("SELECT $1, 'it''s', $12, 'more''', $3", 12),
        ("SELECT $$it's$$, $1", 1),
        ("SELECT $tag$ $1 '' $tag$, $2", 2),
    ],
)
def test_parameters_beside_doubled_quotes_and_dollar_quotes_are_counted(sql, parameters):
    assert read(sql).parameters == parameters
