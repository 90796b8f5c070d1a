"""Plans of judged statements, on every server: what they tell, what they leave out, and what happens in between."""

from __future__ import annotations

import pytest

from hoop_mcp.adapters.postgres_session import Session
from hoop_mcp.errors import Refused
from hoop_mcp.sql import analyse as analyse_module
from hoop_mcp.sql.plans import PlanForm, plan_form, told
from hoop_mcp.sql.requests import SHOWN, read_request
from hoop_mcp.sql.resolved import Login
from hoop_mcp.terms import Explain, Limits

SCHEMA = """
CREATE SCHEMA early;
CREATE TABLE public.people (id int PRIMARY KEY, email text, segment text);
CREATE TABLE public.hidden_ledger (id int, total int);
CREATE TABLE public.orders (id int PRIMARY KEY, person_id int, status text);
CREATE VIEW public.v AS SELECT o.id, o.status FROM public.orders o JOIN public.hidden_ledger l ON l.id = o.id
  WHERE l.total <> 4711;
CREATE VIEW public.bare AS SELECT 4711 AS n, 'bare' AS word;
CREATE MATERIALIZED VIEW public.mat AS SELECT id FROM public.orders;
CREATE TABLE public.parted (id int, who text) PARTITION BY RANGE (id);
CREATE TABLE public.hidden_part PARTITION OF public.parted FOR VALUES FROM (0) TO (10);
CREATE TABLE public.parent (id int, label text);
CREATE TABLE public.hidden_child (extra int) INHERITS (public.parent);
CREATE TABLE public.owned (id int, word text);
ALTER TABLE public.owned ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON public.owned USING (word <> 'hidden_word');
CREATE TABLE public.t9 (x text);
INSERT INTO public.t9 VALUES ('public');
INSERT INTO public.orders SELECT n, n % 7, 'paid' FROM generate_series(1, 500) n;
INSERT INTO public.people SELECT n, n || '@example.com', 'gold' FROM generate_series(1, 500) n;
ANALYZE;
"""
CATALOGUE = """
catalogue: lab
categories:
  contact: {data_subjects: [people]}
columns:
  public.people.id: none
  public.people.email: {category: contact, lookup: true}
  public.people.segment: none
  public.hidden_ledger.id: none
  public.hidden_ledger.total: none
  public.orders.id: none
  public.orders.person_id: none
  public.orders.status: none
  public.bare.n: none
  public.bare.word: none
  public.parted.id: none
  public.parted.who: none
  public.hidden_part.id: none
  public.hidden_part.who: none
  public.parent.id: none
  public.parent.label: none
  public.hidden_child.id: none
  public.hidden_child.label: none
  public.hidden_child.extra: none
  public.owned.id: none
  public.owned.word: none
  public.t9.x: none
"""
AROUND = {"search_path": ("early", "public"), "after": "GRANT USAGE ON SCHEMA early TO PUBLIC"}


@pytest.fixture(scope="module")
def still(govern_still):
    return govern_still(SCHEMA, CATALOGUE, **AROUND)


@pytest.fixture(scope="module")
def copies(govern_copies):
    return govern_copies(SCHEMA, CATALOGUE, **AROUND)


@pytest.fixture
def people(copies):
    governed = copies()
    yield governed
    governed.close()


def planned(governed, sql, params=(), *, login=Login.FULL, form=None, raw=False, after_parse=None, timeout_ms=5_000):
    """The plan's lines as the gate would tell them, or Refused."""

    async def plan():
        request = read_request(sql)
        assert isinstance(request, Explain)
        async with governed.database.lease(login) as lease:
            resolved = await lease.resolve(request.statement, timeout_ms)
            chosen = form or plan_form(resolved.trace(), Limits(), analyze=request.analyze)
            if after_parse is not None:
                await governed._admin.execute(after_parse)
            lines = await lease.plan(resolved, params, chosen)
            await lease.unchanged(resolved)
        return lines if raw else told(chosen, lines)

    return governed.run(plan())


def planned_or_code(*arguments, **named):
    try:
        return planned(*arguments, **named)
    except Refused as refused:
        return refused.code


def code_of(*arguments, **named):
    outcome = planned_or_code(*arguments, **named)
    return outcome if isinstance(outcome, str) else None


# -- what is told


def test_a_plan_is_the_planners_tree_and_no_number_of_it(still):
    for sql in (
        "EXPLAIN SELECT id FROM orders WHERE status = 'paid'",
        "EXPLAIN (COSTS, VERBOSE, BUFFERS, FORMAT JSON, SETTINGS) SELECT id FROM orders WHERE status = 'paid';",
    ):
        assert planned(still, sql) == ["Seq Scan on orders", "  Filter: (status = 'paid'::text)"]


def test_a_measured_plan_counts_rows_and_nothing_else(still):
    lines = planned(
        still,
        "EXPLAIN (ANALYZE, BUFFERS, TIMING) SELECT status, count(*) FROM orders WHERE id > 400 GROUP BY 1 ORDER BY 1",
    )
    text = "\n".join(lines)
    assert "actual rows=1" in text
    assert "Rows Removed by Filter: 400" in text
    for told_never in ("cost=", "width=", "time", "Memory", "Buffers", "Heap", "Batches", "Sort Method", "Planning"):
        assert told_never not in text


def test_what_a_measured_plan_leaves_out_would_tell_of_other_columns(copies):
    """Two databases that differ in personal values only: pages touched depend on how wide those are."""

    def lines_with(email, *, raw):
        governed = copies()
        name = governed.value("SELECT current_database()")
        governed.admin(f"UPDATE public.people SET email = {email}")
        governed.admin("VACUUM FULL public.people")
        governed.admin(
            f"ALTER DATABASE {name} SET enable_seqscan = off; ALTER DATABASE {name} SET enable_indexscan = off;"
            f" ALTER DATABASE {name} SET enable_indexonlyscan = off"
        )
        try:
            return planned(
                governed, "EXPLAIN ANALYZE SELECT segment FROM people WHERE id < 300", login=Login.CLEAN, raw=raw
            )
        finally:
            governed.close()

    wide, narrow = "repeat('y', 1500)", "'n'"
    assert lines_with(wide, raw=False) == lines_with(narrow, raw=False)
    assert lines_with(wide, raw=True) != lines_with(narrow, raw=True)


NODES = set(
    "Seq Scan Index Only Bitmap Heap Hash Join Nested Loop Merge Sort Result Append Subquery CTE Aggregate Unique".split()  # noqa: SIM905
)
HIDING = {
    "EXPLAIN SELECT id FROM v WHERE status = 'paid'": "hidden_ledger",
    "EXPLAIN SELECT o.id FROM orders o WHERE EXISTS (SELECT FROM v WHERE v.id = o.id)": "4711",
    "EXPLAIN SELECT n FROM bare WHERE word = 'x'": "One-Time",
    "EXPLAIN SELECT id FROM parted": "hidden_part",
    "EXPLAIN SELECT id FROM parent": "hidden_child",
    "EXPLAIN SELECT id FROM owned": "hidden_word",
    "EXPLAIN SELECT id FROM (SELECT id FROM owned) s": "hidden_word",
    "EXPLAIN WITH c AS MATERIALIZED (SELECT id FROM owned) SELECT id FROM c": "hidden_word",
    "EXPLAIN SELECT id FROM orders WHERE id IN (SELECT id FROM owned) AND (SELECT count(*) FROM owned) > 0": "hidden_word",
    "EXPLAIN SELECT id FROM orders UNION ALL SELECT id FROM owned": "hidden_word",
}


@pytest.mark.parametrize("sql", HIDING)
def test_of_what_the_statement_does_not_name_only_the_kinds_of_nodes_are_told(still, sql):
    lines = planned(still, sql)
    assert lines
    words = {word for line in lines for word in line.replace("->", " ").split()}
    assert words <= NODES
    # Teeth: the whole plan would have told.
    whole = "\n".join(planned(still, sql, form=PlanForm.WHOLE))
    assert HIDING[sql] in whole
    assert len(whole.splitlines()) >= len(lines)


@pytest.mark.parametrize("sql", HIDING)
def test_of_what_the_statement_does_not_name_nothing_is_counted_but_its_own_rows(still, sql):
    planned_only = planned(still, sql)
    first, *others = planned(still, sql.replace("EXPLAIN", "EXPLAIN ANALYZE"), login=Login.FULL)
    assert [first.partition(" (")[0], *others] == planned_only
    _, rows = still.answer(sql.removeprefix("EXPLAIN "))
    assert first.endswith(f" (actual rows={len(rows)})")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT id FROM orders",
        "SELECT o.id FROM orders o JOIN people p ON p.id = o.person_id",
        "WITH c AS (SELECT id FROM orders) SELECT upper('x') FROM c JOIN mat USING (id)",
        "SELECT relname FROM pg_catalog.pg_class WHERE relkind = 'r'",
        "SELECT generate_series(1, 3)",
    ],
)
def test_a_statement_that_names_all_it_involves_has_a_whole_plan(still, sql):
    assert not still.trace(sql).unnamed


def test_without_looking_for_row_security_its_condition_would_be_told(copies, monkeypatch):
    class Unseeing(analyse_module.Tracer):
        secured = property(lambda _self: False, lambda _self, _value: None)

    monkeypatch.setattr(analyse_module, "Tracer", Unseeing)
    governed = copies()
    try:
        assert "hidden_word" in "\n".join(planned(governed, "EXPLAIN SELECT id FROM owned"))
    finally:
        governed.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM people WHERE email < 'b'",
        "SELECT id FROM people WHERE email = 'a@example.com'",
        "SELECT id FROM people ORDER BY email",
        "SELECT count(*) FROM people GROUP BY email",
        "SELECT o.id FROM orders o JOIN people p ON p.email = o.status",
    ],
)
def test_a_statement_that_personal_data_steers_has_no_plan(still, sql):
    assert code_of(still, f"EXPLAIN {sql}") == "HOOP219"
    assert code_of(still, f"EXPLAIN ANALYZE {sql}") == "HOOP219"


def test_a_statement_that_only_shows_personal_data_is_planned_and_never_measured(still):
    assert planned(still, "EXPLAIN SELECT email FROM people")[0] == "Seq Scan on people"
    assert code_of(still, "EXPLAIN ANALYZE SELECT email FROM people") == "HOOP219"
    assert code_of(still, "EXPLAIN ANALYZE SELECT count(email) FROM people") == "HOOP219"


def test_nothing_is_measured_where_policy_hides_small_groups(still):
    analysis = still.trace("SELECT id FROM orders")
    assert plan_form(analysis, Limits(), analyze=True) is PlanForm.MEASURED
    with pytest.raises(Refused):
        plan_form(analysis, Limits(min_group=5), analyze=True)


# -- what runs


def test_a_measured_plan_is_bound_by_the_time_limit(still):
    assert (
        code_of(still, "EXPLAIN ANALYZE SELECT count(*) FROM generate_series(1, 2000000000)", timeout_ms=300)
        == "HOOP502"
    )
    assert planned(still, "EXPLAIN SELECT 1") == ["Result"]


@pytest.mark.parametrize(
    "value",
    ["paid", "x' OR '1'='1", "x'); DROP TABLE t9; --", "\\", "\\'", "a\nb", "$1", "é😀", "", None, "'", "''", "E'\\''"],
)
def test_a_parameter_is_a_value_whatever_it_spells(still, value):
    lines = planned(still, "EXPLAIN ANALYZE SELECT id FROM orders WHERE status = $1", [value])
    kept = 500 if value == "paid" else 0
    assert f"rows={kept}" in lines[0] or value is None
    assert still.value("SELECT count(*) FROM t9") == 1


def test_parameters_are_taken_by_their_types(still):
    sql = "EXPLAIN ANALYZE SELECT id FROM orders WHERE id = ANY ($1) AND person_id < $2"
    assert "rows=2" in planned(still, sql, [[1, 2, 700], 5])[0]
    assert code_of(still, sql, [[1]]) == "HOOP214"
    assert code_of(still, sql, ["x", 5]) == "HOOP503"


def test_a_connection_goes_on_after_a_plan_and_plans_what_it_keeps(still):
    before = planned(still, "EXPLAIN SELECT id FROM orders WHERE id = 1")
    for _ in range(8):  # past the point where PostgreSQL considers a generic plan
        assert planned(still, "EXPLAIN SELECT id FROM orders WHERE id = 1") == before
        _, rows = still.answer("SELECT id FROM orders WHERE id = 1")
        assert rows == [("1",)]


def test_an_explain_analyze_writes_nothing_even_if_all_before_it_failed(still):
    """The last wall: the transaction is read only."""

    async def run():
        statement = read_request("EXPLAIN ANALYZE SELECT id FROM orders FOR UPDATE").statement
        async with still.database.lease(Login.FULL) as lease:
            resolved = await lease.resolve(statement, 5_000)
            await lease.plan(resolved, (), PlanForm.MEASURED)

    with pytest.raises(Refused) as refused:
        still.run(run())
    assert refused.value.code in ("HOOP206", "HOOP504")


OTHER = "CREATE VIEW early.t9 AS SELECT 'x' AS x FROM public.hidden_ledger; GRANT SELECT ON early.t9 TO PUBLIC"


def test_a_plan_is_of_the_statement_that_was_judged_or_none(people):
    for _ in range(3):
        assert planned_or_code(people, "EXPLAIN SELECT x FROM t9", after_parse=OTHER) in ("HOOP505", ["Seq Scan on t9"])
        people.admin("DROP VIEW early.t9")


def test_explaining_the_text_instead_would_plan_what_nobody_judged(people, monkeypatch):
    async def by_text(self, kept, parameters, options):
        rows = await self._connection.fetch(f"EXPLAIN ({options}) {kept.resolved.statement.sql}")
        return [row[0] for row in rows]

    monkeypatch.setattr(Session, "plan", by_text)
    assert "hidden_ledger" in "\n".join(planned(people, "EXPLAIN SELECT x FROM t9", after_parse=OTHER))


def test_a_change_beside_the_statement_withholds_its_plan(people):
    child = "CREATE TABLE public.late_child () INHERITS (public.t9)"
    assert code_of(people, "EXPLAIN SELECT x FROM t9", after_parse=f"SET lock_timeout = '1s'; {child}") in (
        "HOOP505",
        None,
    )
    assert "late_child" not in "\n".join(planned(people, "EXPLAIN SELECT x FROM t9"))


# -- SHOW


@pytest.mark.parametrize("setting", SHOWN)
def test_every_vouched_setting_is_shown_or_does_not_exist_any_more(still, setting):
    async def show(login):
        async with still.database.lease(login) as lease:
            return await lease.show(setting, 5_000)

    if still.major >= 16 and setting in ("lc_collate", "lc_ctype"):
        with pytest.raises(Refused, match="HOOP220"):
            still.run(show(Login.CLEAN))
        return
    pinned = {"TimeZone": "UTC", "transaction_read_only": "on", "statement_timeout": "5s", "client_encoding": "UTF8"}
    value = still.run(show(Login.CLEAN))
    assert value
    assert value == pinned.get(setting, value)


def test_an_outline_that_cannot_be_read_is_not_told():
    for text in ("", "[]", "[{}]", "null", '[{"Plan": 1}]', '[{"Plan": {"Plans": []}}]', '{"Plan": {}}'):
        with pytest.raises(Refused, match="HOOP219"):
            told(PlanForm.OUTLINE, [text])


def test_an_unknown_line_of_a_measured_plan_is_left_out():
    lines = [
        "Seq Scan on t (actual rows=1 loops=1)",
        "  Secrets: 4711",
        "  Filter: (a = 1)",
        "  Heap Blocks: exact=3",
        "Planning Time: 3 ms",
    ]
    assert told(PlanForm.MEASURED, lines) == ["Seq Scan on t (actual rows=1 loops=1)", "  Filter: (a = 1)"]
