"""The SQL of the two logins: never more than policy could use, whatever names stand in the database."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoop_mcp.policy.document import read_policy
from hoop_mcp.policy.grants import RelationColumns, due, grants, identifier
from hoop_mcp.policy.rules import PolicySet
from hoop_mcp.sql.catalogue import read_catalogue

NONE = frozenset()
CATALOGUE, _ = read_catalogue(
    """
catalogue: shop
categories: {contact: {data_subjects: [c]}, payment: {data_subjects: [c]}, health: {data_subjects: [c]}}
columns:
  public.customers.id: {person: customers}
  public.customers.email: {category: contact}
  public.customers.iban: {category: payment}
  public.customers.note: {category: health}
  public.orders.id: none
  public.employees.name: {category: contact}
tables: {public.employees: restricted}
""",
    "c.yaml",
)
CUSTOMERS = RelationColumns(
    "public",
    "customers",
    "table",
    (("id", NONE), ("email", NONE), ("iban", NONE), ("note", NONE), ("surprise", NONE)),
)
ORDERS = RelationColumns("public", "orders", "table", (("id", NONE),))
EMPLOYEES = RelationColumns("public", "employees", "table", (("name", NONE),))
OVERVIEW = RelationColumns("public", "overview", "view", (("n", NONE), ("who", frozenset({"contact"}))))


def policies(*rules, head=""):
    body = "".join(f"  - {rule}\n" for rule in rules)
    text = (
        f"policy: p\nowner: o@x\n{head}applies_to: {{databases: [shop], roles: [agent], purposes: [support]}}\n"
        f"rules:\n{body}"
    )
    file, found = read_policy(text, "p.yaml")
    assert not found, [str(fault) for fault in found]
    return PolicySet.of([file.policy])


def rule(then, when, ident="r"):
    extra = ", approval: {from: [lead]}" if then == "hold" else ""
    return f"{{id: {ident}, when: {when}, then: {then}{extra}, because: Because of it.}}"


ALL = "{kind: [read], only_tables: [public.customers, public.orders, public.employees, public.overview]}"
OPEN = rule("allow", ALL)
EVERYTHING = ("id", "email", "iban", "note", "surprise")

DUE = [
    # rules; columns of customers for clean and for full
    ([OPEN], ("id",), EVERYTHING),
    ([rule("hold", ALL)], ("id",), EVERYTHING),  # after approval it runs
    ([rule("deny", "{}")], (), ()),
    ([rule("allow", "{kind: [write], only_tables: [public.customers]}")], (), ()),  # writes are not served yet
    ([rule("allow", "{kind: [read], only_tables: [public.orders]}")], (), ()),
    ([rule("allow", "{only_schemas: [public], shows_only: [contact]}")], ("id",), ("id", "email")),
    ([OPEN, rule("deny", "{touches_any: [payment]}", "n")], ("id",), ("id", "email", "note", "surprise")),
    ([OPEN, rule("deny", "{shows_any: [payment]}", "n")], ("id",), ("id", "email", "note", "surprise")),  # no voice
    (
        [rule("allow", "{only_schemas: [public], probes_any: [payment]}"), rule("deny", "{shows_any: [payment]}", "n")],
        ("id",),
        EVERYTHING,  # a probe is a use: it needs the column
    ),
    (
        [rule("allow", "{only_schemas: [public], shows_only: [contact], lookups: [payment]}")],
        ("id",),
        ("id", "email", "iban"),
    ),
    ([OPEN, rule("deny", "{any_tables: [public.customers]}", "n")], (), ()),
    (
        [OPEN, rule("deny", "{touches_any: [payment], actors: [agent, human, ci]}", "n")],
        ("id",),
        ("id", "email", "note", "surprise"),
    ),
    ([OPEN, rule("deny", "{touches_any: [payment], actors: [agent]}", "n")], ("id",), EVERYTHING),
    (
        [rule("allow", "{only_schemas: [public], hours: {from: '09:00', to: '17:00', tz: Europe/Berlin}}")],
        ("id",),
        EVERYTHING,  # at some hour it may
    ),
    (
        [OPEN, rule("deny", "{touches_any: [payment], hours: {from: '00:00', to: '24:00', tz: UTC}}", "n")],
        ("id",),
        ("id", "email", "note", "surprise"),  # at no hour it may
    ),
    ([rule("allow", "{only_schemas: [public], any_tables: [public.orders]}")], ("id",), EVERYTHING),  # in a join
    ([rule("allow", "{only_schemas: [public], shows_any: [contact]}")], ("id",), EVERYTHING),  # beside an address
    ([OPEN, rule("hold", "{shows_any: [contact]}", "n")], ("id",), EVERYTHING),
]


@pytest.mark.parametrize(("rules", "clean", "full"), DUE)
def test_what_is_due_is_what_some_policy_could_use(rules, clean, full):
    assert due(CATALOGUE, policies(*rules), CUSTOMERS, "shop") == (clean, full)


def test_a_policy_that_only_observes_is_given_nothing():
    assert due(CATALOGUE, policies(OPEN, head="mode: observe\n"), CUSTOMERS, "shop") == ((), ())


def test_a_policy_of_another_database_gives_nothing_here():
    assert due(CATALOGUE, policies(OPEN), CUSTOMERS, "warehouse") == ((), ())


def test_a_restricted_table_is_given_nothing():
    assert due(CATALOGUE, policies(OPEN), EMPLOYEES, "shop") == ((), ())


def test_a_view_is_given_by_what_it_is_made_from():
    assert due(CATALOGUE, policies(OPEN), OVERVIEW, "shop") == (("n",), ("n", "who"))


def test_a_kind_of_relation_nobody_knows_is_never_clean():
    odd = RelationColumns("public", "overview", "sequence", (("last_value", NONE),))
    assert due(CATALOGUE, policies(OPEN), odd, "shop").clean == ()


def test_the_sql_takes_away_before_it_gives_and_names_both_logins():
    sql = grants(CATALOGUE, policies(OPEN), [CUSTOMERS, ORDERS, EMPLOYEES, OVERVIEW], clean="c_login", full="f_login")
    lines = sql.splitlines()
    assert 'GRANT SELECT ("id") ON TABLE "public"."customers" TO c_login;' in lines
    assert 'GRANT SELECT ("id", "email", "iban", "note", "surprise") ON TABLE "public"."customers" TO f_login;' in lines
    assert 'REVOKE ALL ON TABLE "public"."employees" FROM PUBLIC, c_login, f_login;' in lines
    assert not any("employees" in line for line in lines if line.startswith("GRANT"))
    revoked = lines.index('REVOKE ALL ON TABLE "public"."customers" FROM PUBLIC, c_login, f_login;')
    assert revoked < lines.index('GRANT SELECT ("id") ON TABLE "public"."customers" TO c_login;')
    assert "REVOKE TEMP, CREATE ON DATABASE" in sql
    assert "GRANT SET ON PARAMETER log_min_messages TO c_login, f_login" in sql
    assert "PASSWORD '" not in sql
    assert sql.index("BEGIN;") < sql.index("REVOKE")
    assert sql.rstrip().endswith("COMMIT;")


def test_the_order_of_relations_changes_nothing():
    both = [CUSTOMERS, ORDERS]
    assert grants(CATALOGUE, policies(OPEN), both) == grants(CATALOGUE, policies(OPEN), both[::-1])


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_postgresql_cannot_have_is_not_quoted(name):
    with pytest.raises(ValueError, match="not a name"):
        identifier(name)


@pytest.mark.parametrize("login", ["x; DROP ROLE y", "X", 'a"b', "a$hoop$", "", "a-b"])
def test_a_login_that_is_no_plain_identifier_is_refused(login):
    with pytest.raises(ValueError, match="plain lower-case"):
        grants(CATALOGUE, policies(OPEN), [], clean=login)


def test_one_login_for_both_is_refused():
    with pytest.raises(ValueError, match="differ"):
        grants(CATALOGUE, policies(OPEN), [], clean="x", full="x")


@given(st.text(min_size=1).filter(lambda name: "\0" not in name))
@settings(max_examples=100, deadline=None)
def test_no_name_leaves_its_quotes(name):
    quoted = identifier(name)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "").count('"') == 0


@pytest.fixture
def granted(databases, fresh_database):
    """A database with the grants applied twice, and a way to ask what a login may read."""
    dsn = fresh_database()
    clean, full = "g_clean", "g_full"
    databases.execute(
        """
        CREATE TABLE customers (id int, email text, iban text, note text, surprise text);
        CREATE TABLE orders (id int);
        CREATE TABLE employees (name text);
        CREATE VIEW overview AS SELECT o.id AS n, c.email AS who FROM orders o JOIN customers c ON c.id = o.id;
        """,
        dsn,
    )
    sql = grants(CATALOGUE, policies(OPEN), [CUSTOMERS, ORDERS, EMPLOYEES, OVERVIEW], clean=clean, full=full)
    databases.execute(sql, dsn)
    # What somebody granted by hand, or an earlier policy did, is taken back by the second run.
    databases.execute(
        f"GRANT SELECT ON employees, customers TO {clean}; GRANT SELECT (name) ON employees TO {full}", dsn
    )
    databases.execute(sql, dsn)
    yield dsn, clean, full
    databases.execute(f"DROP OWNED BY {clean}, {full}", dsn)
    databases.execute(f"REVOKE SET ON PARAMETER log_min_messages FROM {clean}, {full}", dsn)
    databases.execute(f"DROP ROLE {clean}, {full}", dsn)


def test_postgresql_agrees_about_who_may_read_what(databases, granted):
    dsn, clean, full = granted

    def may(login, table, column):
        [(answer,)] = databases.fetch(
            "SELECT has_column_privilege($1::text, $2::text, $3::text, 'SELECT')", login, table, column, dsn=dsn
        )
        return answer

    assert [may(clean, "customers", column) for column in EVERYTHING] == [True, False, False, False, False]
    assert [may(full, "customers", column) for column in EVERYTHING] == [True] * 5
    assert (may(clean, "overview", "n"), may(clean, "overview", "who")) == (True, False)
    assert not any(may(login, "employees", "name") for login in (clean, full))
    for login in (clean, full):
        [facts] = databases.fetch(
            "SELECT rolcanlogin, rolinherit, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole,"
            " has_database_privilege(rolname, current_database(), 'TEMP'),"
            " has_schema_privilege(rolname, 'public', 'CREATE'), has_schema_privilege(rolname, 'public', 'USAGE'),"
            " has_parameter_privilege(rolname, 'log_min_messages', 'SET')"
            " FROM pg_roles WHERE rolname = $1",
            login,
            dsn=dsn,
        )
        assert facts == (True, False, False, False, False, False, False, False, True, True)
        [(pinned,)] = databases.fetch("SELECT rolconfig FROM pg_roles WHERE rolname = $1", login, dsn=dsn)
        assert {"temp_file_limit=1GB", "work_mem=16MB", "statement_timeout=60s"} <= set(pinned)
