"""Between Parse and the last fetch, on every server: what others change meanwhile, what code runs, what the log keeps.

Each attack is made as an agent or a colleague could make it; the answer may be a refusal or the right rows, never the
wrong ones.
"""

from __future__ import annotations

import asyncio
import os
import time
from types import SimpleNamespace

import asyncpg
import pytest

from hoop_mcp.adapters import postgres_session
from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres
from hoop_mcp.adapters.postgres_session import Session, _Notices
from hoop_mcp.analyst import Analyst
from hoop_mcp.errors import Refused
from hoop_mcp.policy.rules import PolicySet
from hoop_mcp.sql.reader import read
from hoop_mcp.sql.resolved import Login
from hoop_mcp.sql.tracer import Tracer

SCHEMA = """
CREATE SCHEMA early;
CREATE TABLE public.people (id int PRIMARY KEY, email text, segment text);
INSERT INTO public.people VALUES (1, 'ann@example.com', 'gold'), (2, 'bob@example.com', 'free');
CREATE TABLE public.t9 (x text);
INSERT INTO public.t9 VALUES ('public');
CREATE VIEW public.v AS SELECT id, segment FROM public.people;
CREATE TABLE public.parted (id int, who text) PARTITION BY RANGE (id);
CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM (0) TO (10);
INSERT INTO public.parted VALUES (1, 'one'), (2, 'two'), (3, 'three');
CREATE TABLE public.loose (id int, who text);
INSERT INTO public.loose VALUES (11, 'eleven');
CREATE TABLE public.parent (id int, label text);
INSERT INTO public.parent VALUES (1, 'parent');
CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 30);
CREATE TABLE public.coded (id int, code public.short);
INSERT INTO public.coded VALUES (1, 'c');
CREATE TABLE public.owned (id int, word text);
INSERT INTO public.owned VALUES (1, 'mine');
"""
CATALOGUE = """
catalogue: lab
categories:
  contact: {data_subjects: [people]}
columns:
  public.people.id: none
  public.people.email: {category: contact}
  public.people.segment: none
  public.t9.x: none
  early.t9.x: {category: contact}
  public.parted.id: none
  public.parted.who: none
  public.parted_1.id: none
  public.parted_1.who: none
  public.parent.id: none
  public.parent.label: none
  public.coded.id: none
  public.coded.code: none
  public.owned.id: none
  public.owned.word: none
"""
EARLY = "CREATE TABLE early.t9 (x text); INSERT INTO early.t9 VALUES ('early'); GRANT SELECT ON early.t9 TO PUBLIC"


@pytest.fixture(scope="module")
def copies(govern_copies):
    return govern_copies(
        SCHEMA, CATALOGUE, search_path=("early", "public"), after="GRANT USAGE ON SCHEMA early TO PUBLIC"
    )


@pytest.fixture
def people(copies):
    """A database of the test's own to change."""
    governed = copies()
    yield governed
    governed.close()


@pytest.fixture(scope="module")
def still(govern_still):
    """The same for tests that change nothing in it, or are kept from doing so."""
    return govern_still(
        SCHEMA, CATALOGUE, search_path=("early", "public"), after="GRANT USAGE ON SCHEMA early TO PUBLIC"
    )


def code_of(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Refused as refused:
        return refused.code
    return None


def shown(analysis):
    return sorted(str(ref) for ref in analysis.shown)


# -- A2: the statement is analysed anew at Bind


def test_a_table_of_the_same_name_made_after_parse_never_answers(people):
    outcome = tried(people, "SELECT x FROM t9", after_parse=EARLY)
    assert outcome == "HOOP505" or (outcome[0].relations, outcome[1]) == BOTH[0]
    # Whichever of the two a connection means afterwards, what it judged is what it reads.
    for _ in range(3):
        analysis, rows = settled(people, "SELECT x FROM t9")
        assert (analysis.relations, rows) in BOTH
    analysis, rows = settled(people, "SELECT x AS y FROM t9")
    assert (analysis.relations, rows) == BOTH[1]
    assert shown(analysis) == ["early.t9.x"]


BOTH = (({"public.t9"}, [("public",)]), ({"early.t9"}, [("early",)]))


def tried(governed, sql, **named):
    """What :meth:`answer` gives, or the code it is refused with."""
    try:
        return governed.answer(sql, **named)
    except Refused as refused:
        return refused.code


def settled(governed, sql, *, tries=8):
    """What the statement comes to once everybody has noticed; every refusal on the way is one that says so."""
    for _ in range(tries):
        outcome = tried(governed, sql)
        if not isinstance(outcome, str):
            return outcome
        assert outcome in ("HOOP505", "HOOP216", "HOOP503", "HOOP506")
    return pytest.fail("it never settled")


async def swap_path(governed, sql):
    """The session's own path changes after Parse: PostgreSQL then analyses the kept text again at Bind."""
    await governed._admin.execute(EARLY)
    statement = read(sql)
    async with governed.database.lease(Login.FULL) as lease:
        resolved = await lease.resolve(statement, 5_000)
        # Made visible in the session itself, as a catalog query of ours in the transaction would.
        await lease._session._connection.execute("SET LOCAL search_path = early, public")
        return [tuple(row) for row in await lease.execute(resolved, (), 10)]


@pytest.fixture
def late(govern):
    return govern(SCHEMA, CATALOGUE, search_path=("public",), after="GRANT USAGE ON SCHEMA early TO PUBLIC")


def test_a_search_path_that_changes_after_parse_withholds_the_rows(late):
    assert code_of(late.run, swap_path(late, "SELECT x FROM t9")) == "HOOP505"


def test_without_listening_for_new_trees_the_other_table_would_answer(late, monkeypatch):
    monkeypatch.setattr(Session, "_nothing_new", lambda _self: None)
    assert late.run(swap_path(late, "SELECT x FROM t9")) == [("early",)]


@pytest.mark.parametrize(
    ("sql", "change"),
    [
        ("SELECT id, segment FROM v", "CREATE OR REPLACE VIEW v AS SELECT id, email AS segment FROM people"),
        ("SELECT id FROM people", "ALTER TABLE people RENAME segment TO other"),
        ("SELECT id FROM people", "CREATE POLICY p ON people USING (email LIKE 'a%')"),
        ("SELECT id FROM people", "ALTER TABLE people ENABLE ROW LEVEL SECURITY"),
        ("SELECT id FROM people", "DROP TABLE people CASCADE"),
    ],
)
def test_what_parse_locks_cannot_change_until_the_last_fetch(still, sql, change):
    with pytest.raises(asyncpg.LockNotAvailableError):
        still.answer(sql, after_parse=f"SET lock_timeout = '200ms'; {change}")


# -- A3: what Parse does not lock

MEANWHILE = {
    "a partition is attached": (
        "SELECT who FROM parted",
        "ALTER TABLE parted ATTACH PARTITION loose FOR VALUES FROM (10) TO (20)",
    ),
    "a child is made": (
        "SELECT label FROM parent",
        "CREATE TABLE child (more text) INHERITS (parent); INSERT INTO child VALUES (2, 'child', 'x')",
    ),
    "a type gets another check": ("SELECT code FROM coded", "ALTER DOMAIN short ADD CHECK (VALUE <> 'zzz')"),
}


@pytest.mark.parametrize("what", MEANWHILE)
@pytest.mark.parametrize("moment", ["after_parse", "before_end"])
def test_a_change_that_parse_does_not_lock_out_withholds_the_rows(people, what, moment):
    sql, change = MEANWHILE[what]
    assert people.answer(sql)[1]
    assert code_of(people.answer, sql, **{moment: change}) == "HOOP505"
    analysis, rows = settled(people, sql)
    assert rows
    assert analysis.columns


@pytest.mark.parametrize("what", MEANWHILE)
def test_a_change_between_two_fetches_withholds_the_rows(people, monkeypatch, what):
    sql, change = MEANWHILE[what]
    monkeypatch.setattr(postgres_session, "_BATCH", 1)
    many = "INSERT INTO parent VALUES (3, 'b'), (4, 'c'); INSERT INTO coded VALUES (2, 'd'), (3, 'e')"
    people.admin(many)

    async def interrupted():
        statement = read(sql)
        async with people.database.lease(Login.FULL) as lease:
            resolved = await lease.resolve(statement, 5_000)
            prepared = lease._kept.prepared
            lease._kept.prepared = SimpleNamespace(cursor=interrupting(prepared, lambda: people._admin.execute(change)))
            rows = await lease.execute(resolved, (), 100)
            await lease.unchanged(resolved)
            return rows

    assert code_of(people.run, interrupted()) == "HOOP505"


def interrupting(prepared, act):
    """``prepared.cursor``, with something happening between the first fetch and the second."""

    async def cursor(*parameters):
        inner = await prepared.cursor(*parameters)
        fetched = 0

        async def fetch(count):
            nonlocal fetched
            fetched += 1
            if fetched == 2:
                await act()
            return await inner.fetch(count)

        return SimpleNamespace(fetch=fetch)

    return cursor


def test_without_the_second_fingerprint_a_new_partition_would_answer(people, monkeypatch):
    from hoop_mcp.adapters.postgres import Lease

    async def trusting(_self, _resolved):
        return

    monkeypatch.setattr(Lease, "unchanged", trusting)
    analysis, rows = people.answer("SELECT who FROM parted", after_parse=MEANWHILE["a partition is attached"][1])
    assert ("eleven",) in rows  # from a table whose columns nobody has catalogued
    assert not analysis.shown


# -- statements already kept, and what changes between two calls

KEPT = {
    "the view is redefined": (
        "SELECT id, segment FROM v",
        "CREATE OR REPLACE VIEW v AS SELECT id, email AS segment FROM people",
        lambda analysis, rows: shown(analysis) == ["public.people.email"] and rows[0][1] == "ann@example.com",
    ),
    "columns change places": (
        "SELECT segment FROM people ORDER BY id",
        (
            "ALTER TABLE people RENAME segment TO s; ALTER TABLE people RENAME email TO segment;"
            " ALTER TABLE people RENAME s TO email"
        ),
        lambda _analysis, rows: rows[0] == ("ann@example.com",),  # the catalogue goes by name, and so does the answer
    ),
    "a column is added": (
        "SELECT * FROM people WHERE id = 1",
        "ALTER TABLE people ADD phone text DEFAULT '555'",
        lambda analysis, rows: (
            rows == [("1", "ann@example.com", "gold", "555")]
            and [str(ref) for ref in analysis.columns[3].sources] == ["public.people.phone"]
        ),
    ),
    "row security comes on": (
        "SELECT word FROM owned",
        "ALTER TABLE owned ENABLE ROW LEVEL SECURITY",
        lambda _analysis, rows: rows == [],
    ),
    "a policy is added": (
        "SELECT word FROM owned",
        "ALTER TABLE owned ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON owned USING (id > 0)",
        lambda _analysis, rows: rows == [("mine",)],
    ),
    "the table is analysed": (
        "SELECT word FROM owned",
        "ANALYZE owned",
        lambda _analysis, rows: rows == [("mine",)],
    ),
    "a table of the same name comes first": (
        "SELECT x FROM t9",
        EARLY,
        lambda analysis, rows: (analysis.relations, rows) in BOTH,
    ),
    "a partition is attached": (
        "SELECT who FROM parted WHERE id > 10",
        "ALTER TABLE parted ATTACH PARTITION loose FOR VALUES FROM (10) TO (20)",
        lambda analysis, rows: rows == [("eleven",)] and shown(analysis) == ["public.loose.who"],
    ),
    "a column becomes generated": (
        "SELECT segment FROM people ORDER BY id",
        (
            "DROP VIEW v; ALTER TABLE people DROP segment;"
            " ALTER TABLE people ADD segment text GENERATED ALWAYS AS (upper(email)) STORED"
        ),
        lambda analysis, rows: rows[0] == ("ANN@EXAMPLE.COM",) and shown(analysis) == ["public.people.email"],
    ),
    "the table is made again": (
        "SELECT word FROM owned",
        (
            "DROP TABLE owned; CREATE TABLE owned (word text, id int); INSERT INTO owned VALUES ('new', 7);"
            " GRANT SELECT ON owned TO PUBLIC"
        ),
        lambda _analysis, rows: rows == [("new",)],
    ),
}


@pytest.mark.parametrize("what", KEPT)
def test_a_kept_statement_follows_what_changed_or_refuses(people, what):
    sql, change, right = KEPT[what]
    before = people.answer(sql)
    assert before == people.answer(sql)
    people.admin(change)
    # Of a table that was analysed PostgreSQL analyses the statements anew, and the first call of each connection pays.
    analysis, rows = settled(people, sql)
    assert right(analysis, rows), (rows, shown(analysis))


def test_no_change_withholds_nothing(still):
    for sql, *_ in KEPT.values():
        assert still.answer(sql) == still.answer(sql) == still.answer(sql)


def test_a_privilege_taken_away_ends_in_a_refusal_and_not_in_rows(people):
    assert people.answer("SELECT word FROM owned")[1]
    login = people.value(
        "SELECT usename FROM pg_stat_activity WHERE usename LIKE 't_full%' AND datname = current_database() LIMIT 1"
    )
    people.admin(f"REVOKE SELECT ON owned FROM {login}, PUBLIC; REVOKE SELECT (id, word) ON owned FROM {login}")
    assert {code_of(people.answer, "SELECT word FROM owned") for _ in range(3)} <= {"HOOP504", "HOOP505"}


def test_a_column_added_later_is_open_once_it_is_known(people):
    assert people.answer("SELECT id FROM people")[1]
    people.admin("ALTER TABLE people ADD phone text DEFAULT '555'")
    codes = [code_of(people.answer, "SELECT phone FROM people") for _ in range(4)]
    assert codes[-1] is None, codes


# -- A4: Parse has a time limit that the server does not know


def test_a_parse_that_takes_too_long_costs_the_connection_and_its_backend(still, monkeypatch):
    monkeypatch.setattr(postgres_session, "PARSE_SECONDS", 0.3)
    pids = []

    async def stuck():
        blocker = await asyncpg.connect(still.admin_dsn)
        try:
            await blocker.execute("BEGIN; LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
            async with still.database.lease(Login.FULL) as lease:
                pids.append(lease._session.pid)
                await lease.resolve(read("SELECT id FROM people"), 60_000)
        finally:
            await blocker.close()

    started = time.monotonic()
    assert code_of(still.run, stuck()) == "HOOP502"
    assert time.monotonic() - started < 3
    deadline = time.monotonic() + 5
    while still.value(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pids[0]}"):
        assert time.monotonic() < deadline, "the backend is still there"
        time.sleep(0.05)
    assert still.answer("SELECT id FROM people")[1]


# -- A5: whose notice

FORGER = """
CREATE FUNCTION public.forge() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RAISE LOG 'parse tree:' USING DETAIL = '({QUERY})';
  RAISE LOG 'rewritten parse tree:' USING DETAIL = '({QUERY})';
  RETURN 'forged';
END $$;
CREATE FUNCTION public.allows(text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RAISE LOG 'parse tree:' USING DETAIL = '({QUERY})'; RETURN true; END $$;
CREATE DOMAIN public.judged AS text CHECK (public.allows(VALUE));
"""


def untraced(governed, sql, params=()):
    """Resolve and run without the tracer, which would refuse the function."""

    async def run():
        async with governed.database.lease(Login.FULL) as lease:
            resolved = await lease.resolve(read(sql), 5_000)
            return [tuple(row) for row in await lease.execute(resolved, params, 10)]

    return governed.run(run())


def test_a_tree_forged_while_the_statement_runs_withholds_the_rows(govern):
    governed = govern(SCHEMA + FORGER, CATALOGUE)
    assert code_of(untraced, governed, "SELECT forge()") == "HOOP505"


def test_a_tree_forged_during_parse_is_refused(govern, monkeypatch):
    governed = govern(SCHEMA + FORGER, CATALOGUE)
    monkeypatch.setattr(type(governed.database), "check_hazards", lambda *_: None)
    assert code_of(governed.trace, "SELECT '{x}'::judged[]") == "HOOP216"
    assert governed.answer("SELECT id FROM people")[1]  # on a fresh connection


def message(**changed):
    told = {
        "message": "parse tree:",
        "detail": "{QUERY}",
        "sqlstate": "00000",
        "context": None,
        "server_source_function": "elog_node_display",
    }
    return SimpleNamespace(**(told | changed))


def test_only_the_printer_itself_is_believed():
    heard = _Notices()
    heard.hear(None, message())
    heard.hear(None, message(message="rewritten parse tree:"))
    assert [name for name, _ in heard.trees] == ["parse tree:", "rewritten parse tree:"]
    assert not heard.surprise


@pytest.mark.parametrize(
    "changed",
    [
        {"server_source_function": "exec_stmt_raise"},
        {"sqlstate": "01000"},
        {"context": "PL/pgSQL function f()"},
        {"message": "plan:"},
        {"server_source_function": None},
    ],
    ids=str,
)
def test_anything_like_a_tree_that_is_not_one_is_a_surprise(changed):
    heard = _Notices()
    heard.hear(None, message(**changed))
    assert heard.surprise
    assert not heard.trees
    heard.clear()
    assert not heard.surprise


def test_other_notices_are_nobodys_business():
    heard = _Notices()
    heard.hear(None, message(message="table is large", server_source_function="f"))
    assert not heard.surprise
    assert not heard.trees


@pytest.mark.parametrize(
    "columns",
    [
        "m",
        "ms",
        "m, p, ms",
    ],
)
def test_a_type_that_came_later_is_refused_once_and_then_known(people, columns):
    assert people.answer("SELECT id FROM people")[1]
    people.admin("CREATE TYPE mood AS ENUM ('low'); CREATE TYPE pair AS (a int, b mood)")
    people.admin("CREATE TABLE feelings (id int, m mood, p pair, ms mood[]); INSERT INTO feelings VALUES (1, 'low')")
    people.admin("GRANT SELECT ON feelings TO PUBLIC")
    codes = []
    for _ in range(6):
        codes.append(code_of(people.answer, f"SELECT {columns} FROM feelings"))
        if codes[-1] is None:
            break
        time.sleep(0.1)
    assert codes[-1] is None, codes
    assert set(codes[:-1]) <= {"HOOP216", "HOOP212", "HOOP505", "HOOP501"}


# -- A6: code that runs during Parse or Bind

RUNS_CODE = """
CREATE FUNCTION public.ran() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'code ran' USING ERRCODE = '58000'; END $$;
CREATE FUNCTION public.allows(text) RETURNS boolean LANGUAGE sql AS 'SELECT public.ran()';
CREATE FUNCTION public.gap(float8, float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 1; END $$;
CREATE DOMAIN public.judged AS text CHECK (public.allows(VALUE));
CREATE DOMAIN public.deeper AS public.judged;
CREATE TYPE public.boxed AS (a int, b public.judged);
CREATE TYPE public.nested AS (c public.boxed[]);
CREATE TYPE public.span AS RANGE (subtype = float8, subtype_diff = public.gap);
CREATE TYPE public.judged_span AS RANGE (subtype = public.judged);
CREATE TABLE public.verdicts (id int, list public.judged[]);
CREATE VIEW public.seen_verdicts AS SELECT id, list FROM public.verdicts;
CREATE FUNCTION public.wants(public.judged[]) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION public.gives() RETURNS public.judged[] LANGUAGE sql STABLE AS 'SELECT NULL::public.judged[]';
"""


@pytest.fixture(scope="module")
def hazards(govern_still):
    return govern_still(SCHEMA + RUNS_CODE, CATALOGUE)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '{x}'::judged[]",
        "SELECT 'x'::judged",
        "SELECT '{x}'::deeper[]",
        "SELECT '(1,x)'::boxed",
        "SELECT '{\"(1,x)\"}'::boxed[]",
        'SELECT CAST(\'("{""(1,x)""}")\' AS nested)',
        "SELECT '{x}'::\"judged\"[]",
        "SELECT '{x}'::public.judged[]",
        "SELECT '{x}'::pg_catalog._text::JUDGED[]",
        "SELECT '[1,2]'::span",
        "SELECT '[a,b]'::judged_span",
        "SELECT id FROM verdicts WHERE list = '{x}'",
        "SELECT id FROM seen_verdicts WHERE list = '{x}'",
        "SELECT $1::judged[] || '{x}'",
    ],
)
def test_a_literal_whose_type_runs_code_never_reaches_the_server(hazards, monkeypatch, sql):
    async def parse(_self, _statement, _schema):
        raise AssertionError("it was sent")

    monkeypatch.setattr(Session, "parse", parse)
    assert hazards.refusal(sql) == "HOOP212"


def test_those_literals_would_run_code_if_they_were_sent(hazards, monkeypatch):
    monkeypatch.setattr(type(hazards.database), "check_hazards", lambda *_: None)
    for sql in ("SELECT '{x}'::judged[]", "SELECT '(1,x)'::boxed", "SELECT id FROM verdicts WHERE list = '{x}'"):
        assert hazards.refusal(sql) == "HOOP503", sql


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT $1::judged",
        "SELECT $1::judged[]",
        "SELECT $1::boxed",
        "SELECT $1::nested",
        "SELECT $1::span",
        "SELECT id FROM verdicts WHERE list = $1",
    ],
)
def test_a_parameter_whose_type_runs_code_is_refused_before_bind(hazards, sql):
    assert code_of(hazards.answer, sql, ("{x}",)) == "HOOP212"


@pytest.mark.parametrize("sql", ["SELECT wants('{x}')", "SELECT 1 WHERE gives() = '{x}'"])
def test_a_literal_that_a_function_gives_its_type_runs_no_code(hazards, sql):
    # HOOP503 would be the error that the CHECK raised.
    assert hazards.refusal(sql) in ("HOOP204", "HOOP212")


# -- A7, A8: functions of users, generated columns


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_a_generated_column_has_the_class_of_its_expression(govern, kind):
    version = "STORED"
    governed = govern("CREATE TABLE one (id int)", "catalogue: lab\ncolumns:\n  public.one.id: none\n")
    if kind == "VIRTUAL":
        if governed.major < 18:
            pytest.skip("virtual generated columns came with PostgreSQL 18")
        version = "VIRTUAL"
    governed = govern(
        f"CREATE TABLE g (id int, email text, e2 text GENERATED ALWAYS AS (lower(email)) {version},"
        f" flag int GENERATED ALWAYS AS (CASE WHEN email LIKE 'a%' THEN 1 END) {version},"
        f" twice int GENERATED ALWAYS AS (id * 2) {version});"
        " INSERT INTO g VALUES (1, 'A@b.c')",
        "catalogue: lab\ncategories:\n  contact: {data_subjects: [people]}\ncolumns:\n  public.g.id: none\n"
        "  public.g.email: {category: contact}\n  public.g.e2: none\n  public.g.flag: none\n  public.g.twice: none\n",
    )
    analysis, rows = governed.answer("SELECT e2, flag, twice, id FROM g")
    sources = [[str(ref) for ref in column.sources] for column in analysis.columns]
    assert sources == [["public.g.email"], ["public.g.email"], [], []]
    assert rows == [("a@b.c", None, "2", "1")]
    for sql in (
        "SELECT id FROM g WHERE flag IS NULL",
        "SELECT count(flag) FROM g",
        "SELECT id FROM g WHERE e2 = 'x'",
        "SELECT id FROM g ORDER BY flag",
    ):
        assert [str(ref) for ref in governed.trace(sql).probes] == ["public.g.email"], sql
    assert not governed.trace("SELECT id FROM g WHERE twice IS NULL").probes
    # And PostgreSQL's own privileges say the same: the clean login was given neither.
    assert code_of(untraced_on_clean, governed, "SELECT e2 FROM g") == "HOOP504"
    assert untraced_on_clean(governed, "SELECT twice FROM g") == [("2",)]


def untraced_on_clean(governed, sql):
    async def run():
        async with governed.database.lease(Login.CLEAN) as lease:
            resolved = await lease.resolve(read(sql), 5_000)
            return [tuple(row) for row in await lease.execute(resolved, (), 10)]

    return governed.run(run())


# -- A9: the server's log


@pytest.fixture(params=["embedded", "system-15"])
def logging_server(request, monkeypatch):
    """A server of its own that logs every statement it runs."""
    if request.param == "system-15":
        folder = "/usr/lib/postgresql/15/bin"
        if not os.path.isdir(folder) or "HOOP_MCP_PG_BIN" in os.environ:
            pytest.skip("no PostgreSQL 15 here")
        monkeypatch.setenv("HOOP_MCP_PG_BIN", folder)
    settings = {"log_min_messages": "warning", "log_statement": "all", "log_min_error_statement": "error"}
    with EmbeddedPostgres(settings=settings) as server:
        yield server


def test_the_log_keeps_what_ran_and_nothing_of_the_trees(logging_server, governed_on):
    governed = governed_on(logging_server.dsn(), SCHEMA, CATALOGUE)
    log = logging_server.data.parent / "server.log"
    try:
        before = log.stat().st_size
        rows = governed.answer("SELECT segment FROM people WHERE id = $1", (1,))[1]
        assert rows == [("gold",)]
        assert governed.refusal("SELECT lower('quagga-only-parsed'), ctid FROM people") == "HOOP217"
        text = log.read_bytes()[before:].decode("utf-8", "replace")
    finally:
        governed.close()
    assert "SELECT segment FROM people WHERE id = $1" in text  # the customer's own audit
    for tree in ("{QUERY", "parse tree", ":rtable", "TARGETENTRY", "quagga"):
        assert tree not in text, tree


def test_without_the_hush_the_trees_would_be_in_the_log(logging_server, governed_on, monkeypatch):
    monkeypatch.setattr(postgres_session, "_HUSH", "")
    governed = governed_on(logging_server.dsn(), SCHEMA, CATALOGUE)
    try:
        governed.trace("SELECT segment FROM people")
    finally:
        governed.close()
    assert "{QUERY" in (logging_server.data.parent / "server.log").read_text("utf-8", "replace")


# -- A10: READ ONLY is chosen before Parse


def test_a_function_that_writes_cannot_even_if_nobody_had_refused_it(govern):
    governed = govern(
        SCHEMA + "CREATE FUNCTION public.writes() RETURNS int LANGUAGE sql VOLATILE SECURITY DEFINER"
        " AS 'INSERT INTO public.people VALUES (99, NULL, NULL) RETURNING id'",
        CATALOGUE,
    )
    assert governed.refusal("SELECT writes()") == "HOOP204"
    assert code_of(untraced, governed, "SELECT writes()") in ("HOOP206", "HOOP505")
    assert governed.value("SELECT count(*) FROM people WHERE id = 99") == 0


def test_no_statement_of_the_session_can_turn_it_back(still):
    async def try_it():
        async with still.database.lease(Login.FULL) as lease:
            resolved = await lease.resolve(read("SELECT id FROM people"), 5_000)
            await lease.execute(resolved, (), 1)
            await lease._session._connection.execute("SET TRANSACTION READ WRITE")

    with pytest.raises(asyncpg.PostgresError):
        still.run(try_it())


# -- the second wall: where the tracer errs, PostgreSQL refuses


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT email FROM people",
        "SELECT * FROM people",
        "SELECT p FROM people p",
        "SELECT count(p) FROM people p",
        "SELECT id FROM people ORDER BY email",
        "SELECT id FROM people WHERE email LIKE 'a%'",
        "SELECT CASE WHEN email LIKE 'a%' THEN 1 END FROM people",
    ],
)
def test_a_tracer_that_calls_personal_columns_clean_meets_permission_denied(still, monkeypatch, sql):
    monkeypatch.setattr(Tracer, "variable", lambda *_: frozenset())
    analyst = Analyst({"lab": still.database}, PolicySet.of(()), lambda: None)

    async def line():
        trail = SimpleNamespace(known=None, analysis=None, login=None, principal=None)
        async with analyst.resolve(still.database, read(sql), trail) as (lease, resolved, _):
            assert trail.login is Login.CLEAN
            return await lease.execute(resolved, (), 10)

    assert code_of(still.run, line()) == "HOOP504"


def test_the_clean_login_reads_what_is_clean(still):
    assert still.answer("SELECT id, segment FROM people ORDER BY id", login=Login.CLEAN)[1] == [
        ("1", "gold"),
        ("2", "free"),
    ]
    assert still.answer("SELECT count(*) FROM people", login=Login.CLEAN)[1] == [("2",)]


# -- cost: a short statement must not take the server or the gateway down


def test_a_value_repeated_inside_itself_is_refused_before_the_planner_sees_it(still):
    inner = "SELECT segment AS x FROM people"
    for _ in range(5):
        inner = f"SELECT concat({', '.join(['x'] * 40)}) AS x FROM ({inner}) s"
    started = time.monotonic()
    assert still.refusal(inner) == "HOOP207"
    assert time.monotonic() - started < 2


def test_nested_recursion_is_given_up_in_time(still):
    sql = "SELECT email AS x FROM people"
    for level in range(14):
        sql = f"WITH RECURSIVE r{level}(x) AS ({sql} UNION ALL SELECT x FROM r{level}) SELECT x FROM r{level}"
    started = time.monotonic()
    assert still.refusal(sql) in (None, "HOOP207")
    assert time.monotonic() - started < 10


def test_a_parse_and_a_listener_do_not_outlive_the_loop(still):
    async def several():
        return await asyncio.gather(*(still.answering("SELECT id FROM people ORDER BY id") for _ in range(12)))

    answers = still.run(several())
    assert {tuple(rows) for _, rows in answers} == {(("1",), ("2",))}
