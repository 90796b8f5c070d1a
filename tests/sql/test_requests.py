"""EXPLAIN and SHOW, read offline: what is taken for the statement, what is refused, and what no spelling gets past."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoop_mcp.errors import CODES, Refused
from hoop_mcp.sql.reader import read
from hoop_mcp.sql.requests import _OPTIONS, SHOWN, read_request
from hoop_mcp.terms import Explain, Show, Statement, Verb


def refusal(sql):
    try:
        read_request(sql)
    except Refused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    ("sql", "inner", "analyze", "omitted"),
    [
        ("EXPLAIN SELECT 1", "SELECT 1", False, ()),
        ("explain\n\tselect 1;", "select 1;", False, ()),
        ("EXPLAIN ANALYZE SELECT 1", "SELECT 1", True, ()),
        ("EXPLAIN ANALYSE VERBOSE SELECT 1", "SELECT 1", True, ("VERBOSE",)),
        ("EXPLAIN VERBOSE SELECT 1", "SELECT 1", False, ("VERBOSE",)),
        ("EXPLAIN (ANALYZE) SELECT 1", "SELECT 1", True, ()),
        ("EXPLAIN (ANALYZE false) SELECT 1", "SELECT 1", False, ()),
        ("EXPLAIN (analyze 0, costs OFF, timing 'off') SELECT 1", "SELECT 1", False, ()),
        ("EXPLAIN (ANALYZE 'true') SELECT 1", "SELECT 1", True, ()),
        ("EXPLAIN(ANALYZE 1)SELECT 1", "SELECT 1", True, ()),
        ("EXPLAIN (FORMAT JSON) SELECT 1", "SELECT 1", False, ("FORMAT JSON",)),
        ("EXPLAIN (FORMAT text, BUFFERS, WAL, SETTINGS) SELECT 1", "SELECT 1", False, ("BUFFERS", "SETTINGS", "WAL")),
        (
            "EXPLAIN (GENERIC_PLAN, MEMORY, SERIALIZE binary, SUMMARY) SELECT $1::int",
            "SELECT $1::int",
            False,
            ("GENERIC_PLAN", "MEMORY", "SERIALIZE", "SUMMARY"),
        ),
        ("EXPLAIN (SERIALIZE none, MEMORY off) SELECT 1", "SELECT 1", False, ()),
        ("/* 😀 */ -- x\nEXPLAIN /*x*/ ANALYZE /*y*/ SELECT '😀' -- z", "SELECT '😀' -- z", True, ()),
        ("EXPLAIN/**/SELECT 1", "SELECT 1", False, ()),
        ("EXPLAIN (SELECT 1)", "(SELECT 1)", False, ()),
        ("EXPLAIN ((SELECT 1))", "((SELECT 1))", False, ()),
        ("EXPLAIN (VALUES (1))", "(VALUES (1))", False, ()),
        ("EXPLAIN (COSTS) (SELECT 1)", "(SELECT 1)", False, ("COSTS",)),
        ("EXPLAIN SELECT 'a\u00a0b; DROP TABLE t'", "SELECT 'a\u00a0b; DROP TABLE t'", False, ()),
    ],
)
def test_the_statement_is_the_exact_slice_behind_the_options(sql, inner, analyze, omitted):
    request = read_request(sql)
    assert isinstance(request, Explain)
    assert (request.statement.sql, request.analyze, request.omitted) == (inner, analyze, omitted)
    assert sql.endswith(inner)
    assert request.statement == read(inner)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("EXPLAIN", "HOOP201"),
        ("EXPLAIN;", "HOOP201"),
        ("EXPLAIN ANALYZE", "HOOP201"),
        ("EXPLAIN (ANALYZE)", "HOOP201"),
        ("EXPLAIN (ANALYZE", "HOOP203"),
        ("EXPLAIN (", "HOOP203"),
        ("EXPLAIN () SELECT 1", "HOOP203"),
        ("EXPLAIN (,ANALYZE) SELECT 1", "HOOP203"),
        ("EXPLAIN (ANALYZE,) SELECT 1", "HOOP203"),
        ("EXPLAIN (ANALYZE true false) SELECT 1", "HOOP203"),
        ("EXPLAIN (ANALYZE maybe) SELECT 1", "HOOP203"),
        ("EXPLAIN (ANALYZE 2) SELECT 1", "HOOP203"),
        ("EXPLAIN (ANALYZE -1) SELECT 1", "HOOP203"),
        ("EXPLAIN (ANALYZE off, ANALYZE on) DELETE FROM t", "HOOP203"),
        ("EXPLAIN (ANALYZE off, ANALYSE on) SELECT 1", "HOOP203"),
        ("EXPLAIN (FROBNICATE) SELECT 1", "HOOP203"),
        ("EXPLAIN (pg_hint_plan.x) SELECT 1", "HOOP203"),
        ("EXPLAIN (FORMAT) SELECT 1", "HOOP203"),
        ("EXPLAIN (FORMAT csv) SELECT 1", "HOOP203"),
        ('EXPLAIN ("analyze") SELECT 1', "HOOP203"),
        ("EXPLAIN ('analyze') SELECT 1", "HOOP203"),
        ("EXPLAIN EXPLAIN SELECT 1", "HOOP205"),
        ("EXPLAIN ANALYZE EXPLAIN ANALYZE SELECT 1", "HOOP205"),
        ("EXPLAIN VERBOSE ANALYZE SELECT 1", "HOOP205"),
        ("EXPLAIN EXECUTE p(1)", "HOOP205"),
        ("EXPLAIN (COSTS) EXECUTE p", "HOOP205"),
        ("EXPLAIN CREATE TABLE t AS SELECT 1", "HOOP205"),
        ("EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT 1", "HOOP205"),
        ("EXPLAIN REFRESH MATERIALIZED VIEW v", "HOOP205"),
        ("EXPLAIN DECLARE c CURSOR FOR SELECT 1", "HOOP205"),
        ("EXPLAIN SHOW search_path", "HOOP205"),
        ("EXPLAIN SELECT 1 INTO t", "HOOP205"),
        ("EXPLAIN SELECT 1; DROP TABLE t", "HOOP202"),
        ("EXPLAIN SELECT 1; EXPLAIN SELECT 2", "HOOP202"),
        ("SELECT 1; EXPLAIN ANALYZE DELETE FROM t", "HOOP202"),
        ("EXPLAIN\u00a0SELECT 1", "HOOP208"),
        ("EXPLAIN\u2003ANALYZE SELECT 1", "HOOP208"),
        ("EXPLAIN /*\u200b*/ SELECT 1", "HOOP208"),
        ("EXPLAIN SELECT\u00a01", "HOOP208"),
        ("EXPLAIN SELECT 'x\0'", "HOOP208"),
        ('EXPLAIN SELECT U&"\\0065mail" FROM t', "HOOP208"),
        ("EXPLAIN SELECT 'open", "HOOP203"),
        ("EXPLAIN " + "(" * 100 + "SELECT 1" + ")" * 100, "HOOP207"),
        ("EXPLAIN SELECT '" + "x" * 70_000 + "'", "HOOP207"),
    ],
)
def test_what_is_no_explain_of_one_statement_is_refused(sql, code):
    assert refusal(sql) == code, sql


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN DELETE FROM t",
        "EXPLAIN /*x*/ ANALYZE /*y*/ DELETE FROM t",
        "EXPLAIN (ANALYZE true, COSTS off) INSERT INTO t VALUES (1)",
        "EXPLAIN (ANALYZE, BUFFERS) UPDATE t SET a = 1",
        "EXPLAIN ANALYZE WITH d AS (DELETE FROM t RETURNING a) SELECT a FROM d",
        "EXPLAIN ANALYZE MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE",
    ],
)
def test_a_write_behind_explain_is_a_write(sql):
    assert read_request(sql).statement.verb is Verb.WRITE


def test_row_locks_behind_explain_are_seen():
    assert read_request("explain (analyze) select a from t for update").statement.locks


@pytest.mark.parametrize(
    "sql", ["SELECT explain FROM show", "SELECT 'EXPLAIN ANALYZE'", "SELECT 1 -- explain", "(SELECT 1 AS show)"]
)
def test_the_words_elsewhere_make_no_explain_of_a_statement(sql):
    assert isinstance(read_request(sql), Statement)


def test_the_journal_is_told_that_it_was_an_explain_and_whether_it_ran():
    told = [
        [token.text for token in read_request(sql).tokens][:3]
        for sql in ("EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1")
    ]
    assert told == [["EXPLAIN", "SELECT", ""], ["EXPLAIN", "ANALYZE", "SELECT"]]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*_OPTIONS, "ANALYSE", "frob"]),
            st.sampled_from(["", "on", "off", "1", "'false'", "json", "x"]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["SELECT 1", "DELETE FROM t"]),
)
@settings(max_examples=300, deadline=None)
def test_an_explain_that_would_run_its_statement_is_never_taken_for_one_that_does_not(options, inner):
    """Whatever PostgreSQL makes of several ANALYZEs: no list is read as harmless in which one of them says yes."""
    listed = ", ".join(f"{name} {value}".strip() for name, value in options)
    try:
        request = read_request(f"EXPLAIN ({listed}) {inner}")
    except Refused:
        return
    says_yes = any(name.lower() in ("analyze", "analyse") and value in ("", "on", "1") for name, value in options)
    assert request.analyze is says_yes
    assert request.statement.sql == inner


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_behind_the_words_is_read_or_refused_and_never_crashes(text):
    for sql in (f"EXPLAIN {text}", f"EXPLAIN ({text}) SELECT 1", f"SHOW {text}", f"{text} EXPLAIN SELECT 1"):
        code = refusal(sql)
        assert code is None or code in CODES


# -- SHOW


@pytest.mark.parametrize("setting", SHOWN)
def test_a_vouched_setting_is_shown_under_its_own_name(setting):
    for sql in (f"SHOW {setting}", f"show {setting.upper()};", f'/* c */ SHOW "{setting}"'):
        assert read_request(sql) == Show(setting)


def test_time_zone_may_be_two_words():
    assert read_request("SHOW TIME ZONE") == Show("TimeZone")


@pytest.mark.parametrize(
    "name",
    [
        "ALL", "data_directory", "config_file", "hba_file", "log_directory", "log_min_messages", "app.tenant", "role",
        "session_authorization", "SESSION AUTHORIZATION", "is_superuser", "listen_addresses", "unix_socket_directories",
        "ssl_key_file", "shared_preload_libraries", "'search_path'", "search_path x", "search_path, data_directory", "",
        "\u017fearch_path", "search_path--\n.x", '"search_path" x', 'search_path"', "u&", "DATABASES", "TABLES",
    ],
)  # fmt: skip
def test_any_other_setting_is_refused_with_the_list(name):
    with pytest.raises(Refused) as refused:
        read_request(f"SHOW {name}")
    assert refused.value.code in ("HOOP220", "HOOP203")
    if refused.value.code == "HOOP220":
        assert "server_version" in refused.value.instead
        assert "directory" not in refused.value.instead


def test_show_is_one_statement():
    assert refusal("SHOW search_path; DROP TABLE t") == "HOOP202"
    assert refusal("SHOW\u00a0search_path") == "HOOP208"
    assert refusal("SHOW search_path\u200b") == "HOOP208"


def test_no_two_settings_are_one_when_folded():
    assert len({name.lower() for name in SHOWN}) == len(SHOWN)
    assert not [name for name in SHOWN if any(part in name for part in ("file", "dir", "log", "user", "role", "addr"))]
