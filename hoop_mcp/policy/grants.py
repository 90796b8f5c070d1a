"""The SQL that gives the two logins exactly what policy could use, and takes the rest away.

**Clean** holds column privileges on columns that are not personal; **full** adds the personal columns that some policy
may show, probe or look up. Where the tracer errs, PostgreSQL still refuses (PostgreSQL manual, "Privileges").

A privilege needs a *witness*: facts about a statement reading that column, which :func:`decide` would not deny. So this
module can grant nothing policy denies, whatever rules a later version learns. Direction: where a rule asks for a
combination no witness tries, a privilege may be missing (a refusal the operator sees), never too much.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from hoop_mcp.policy.decide import decide
from hoop_mcp.policy.facts import Facts, Shown, Use
from hoop_mcp.sql.catalogue import NONE, UNCLASSIFIED
from hoop_mcp.terms import ColumnRef, Effect, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hoop_mcp.policy.rules import Policy, PolicySet, Rule, When
    from hoop_mcp.sql.catalogue import Catalogue

_LOGIN = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TABLE_KINDS = frozenset({"table", "partitioned table", "foreign table"})
_ACTORS = ("agent", "human", "ci")
_SOME_TIME = datetime(2024, 1, 1, 12, tzinfo=UTC)  # a Monday; only the hours a rule names matter


@dataclass(frozen=True, slots=True)
class RelationColumns:
    """A relation as it stands in the database, each column with the categories of what it is made from.

    ``kind`` is table, partitioned table, foreign table, view or materialized view. For a view ``columns`` carries what
    tracing its definition found, an empty set meaning nothing personal; for a table the catalogue is asked as well.
    """

    schema: str
    name: str
    kind: str
    columns: tuple[tuple[str, frozenset[str]], ...]

    @property
    def relation(self) -> str:
        """``schema.table``, the form policies use."""
        return f"{self.schema}.{self.name}"


class Due(NamedTuple):
    """The columns of one relation each login may read, in the relation's order."""

    clean: tuple[str, ...]
    full: tuple[str, ...]


def due(catalogue: Catalogue, policies: PolicySet, relation: RelationColumns, database: str) -> Due:
    """What policy could use of one relation."""
    if catalogue.restricted(relation.relation):
        return Due((), ())
    clean, full = [], []
    usable: dict[frozenset[str], bool] = {}
    for name, given in relation.columns:
        categories = _categories(catalogue, relation, name, given)
        if categories not in usable:
            usable[categories] = _usable(policies, relation, categories, database)
        if usable[categories]:
            full.append(name)
            if not categories:
                clean.append(name)
    return Due(tuple(clean), tuple(full))


def grants(
    catalogue: Catalogue,
    policies: PolicySet,
    relations: Sequence[RelationColumns],
    *,
    database: str | None = None,
    clean: str = "hoop_clean",
    full: str = "hoop_full",
) -> str:
    """SQL to run as a superuser, as often as wanted; the result is always the same.

    Args:
        catalogue: what the columns hold.
        policies: those in observe mode are given nothing.
        relations: every table and view of the governed schemas: what is left out keeps the privileges it has.
        database: its name in settings and policies; the catalogue's where None.
        clean: the login for statements that touch nothing personal.
        full: the login for the others.

    Raises:
        ValueError: a login's name is not a plain lower-case identifier, or both are the same.
    """
    for login in (clean, full):
        if not _LOGIN.fullmatch(login):
            raise ValueError("the name of a login must be a plain lower-case identifier")
    if clean == full:
        raise ValueError("the two logins must differ")
    parts = [_HEAD.format(clean=clean, full=full, digest=policies.digest[:16])]
    parts += [_LOGIN_SQL.format(login=login) for login in (clean, full)]
    parts.append(_DATABASE_SQL.format(clean=clean, full=full))
    both = f"{clean}, {full}"
    by_schema: dict[str, list[RelationColumns]] = {}
    for relation in sorted(relations, key=lambda each: (each.schema, each.name)):
        by_schema.setdefault(relation.schema, []).append(relation)
    for schema, members in by_schema.items():
        owed = [(relation, due(catalogue, policies, relation, database or catalogue.name)) for relation in members]
        parts.append("\n".join(_schema_sql(schema, owed, both, clean, full)))
    parts.append(_TAIL.format(clean=clean, full=full))
    return "\n\n".join(parts) + "\n"


def identifier(name: str) -> str:
    """A name quoted for SQL (PostgreSQL manual, "Identifiers and Key Words").

    Raises:
        ValueError: PostgreSQL has no such name.
    """
    if not name or "\0" in name:
        raise ValueError("this is not a name PostgreSQL can have")
    return '"' + name.replace('"', '""') + '"'


def _schema_sql(
    schema: str, owed: Sequence[tuple[RelationColumns, Due]], both: str, clean: str, full: str
) -> Iterator[str]:
    named = identifier(schema)
    yield f"REVOKE ALL ON SCHEMA {named} FROM {both};"
    yield f"REVOKE CREATE ON SCHEMA {named} FROM PUBLIC;"
    if any(columns.full for _, columns in owed):
        # Both: a schema that a login may not use drops out of its search path, and the two must read a name alike.
        yield f"GRANT USAGE ON SCHEMA {named} TO {both};"
    for relation, columns in owed:
        place = f"{named}.{identifier(relation.name)}"
        # Taking the table's privilege takes those on its columns along, also what an earlier policy had granted.
        yield f"REVOKE ALL ON TABLE {place} FROM PUBLIC, {both};"
        for login, names in ((clean, columns.clean), (full, columns.full)):
            if names:
                yield f"GRANT SELECT ({', '.join(identifier(name) for name in names)}) ON TABLE {place} TO {login};"


def _categories(catalogue: Catalogue, relation: RelationColumns, name: str, given: frozenset[str]) -> frozenset[str]:
    """The personal categories of a column: what tracing found and, for a table, what the catalogue says."""
    ref = ColumnRef(relation.schema, relation.name, name)
    found = set(given)
    if relation.kind in _TABLE_KINDS or catalogue.names(ref):
        found.add(catalogue.classify(ref).category)
    elif relation.kind not in {"view", "materialized view"}:
        found.add(UNCLASSIFIED)  # a kind nobody thought of here is not taken for harmless
    return frozenset(found - {NONE})


# Witnesses.


def _usable(policies: PolicySet, relation: RelationColumns, categories: frozenset[str], database: str) -> bool:
    """Whether some call may use a column of these categories; its effect may be a hold, and it may bring a reason."""
    for facts in _witnesses(policies, relation, categories, database):
        decision = decide(policies, facts)
        if decision.effect is not Effect.DENY or decision.code == "HOOP106":
            return True
    return False


def _witnesses(
    policies: PolicySet, relation: RelationColumns, categories: frozenset[str], database: str
) -> Iterator[Facts]:
    times = _times(policies)
    for policy in policies.policies:
        if database not in policy.databases:
            continue
        for rule in policy.rules:
            if not rule.opens or (rule.when.kind is not None and Verb.READ not in rule.when.kind):
                continue
            for facts in _of_rule(policy, rule, relation, categories, database):
                for now, actor in product(times, _ACTORS):
                    yield replace(facts, now=now, actor=actor)


def _of_rule(
    policy: Policy, rule: Rule, relation: RelationColumns, categories: frozenset[str], database: str
) -> Iterator[Facts]:
    """Statements reading the column in each way there is, with whatever else the rule insists on."""
    column = ColumnRef(relation.schema, relation.name, "")
    uses = tuple(Use(column, category) for category in sorted(categories))
    extra_shown = _one_of(rule.when.shows_any, categories, column)
    extra_probed = _one_of(rule.when.probes_any, categories, column)
    for role in sorted(policy.roles):
        for purpose in sorted(policy.purposes or ("",)):
            base = Facts(
                database=database,
                role=role,
                purpose=purpose,
                actor="agent",
                client="a client",
                verb=Verb.READ,
                relations=frozenset({relation.relation}) | _companions(rule.when, relation),
                behind=frozenset(),
                metadata=frozenset(),
                restricted=frozenset(),
                columns=(),
                probes=(),
                lookups=(),
                now=_SOME_TIME,
            )
            for shown, probed, looked_up in ((uses, (), ()), ((), uses, ()), ((), (), uses)):
                for more_shown, more_probed, called in product(extra_shown, extra_probed, _called(rule.when)):
                    yield replace(
                        base,
                        columns=(Shown("", shown + more_shown),),
                        probes=probed + more_probed,
                        lookups=looked_up,
                        functions=called,
                    )


def _companions(when: When, relation: RelationColumns) -> frozenset[str]:
    """A table the rule insists on besides."""
    if when.any_tables is None or relation.relation in when.any_tables:
        return frozenset()
    fitting = sorted(when.any_tables & (when.only_tables if when.only_tables is not None else when.any_tables))
    return frozenset(fitting[:1])


def _called(when: When) -> tuple[frozenset[str], ...]:
    """Nothing, or each function of which the rule insists on one."""
    return tuple(frozenset({each}) for each in sorted(when.functions_any or ())) or (frozenset(),)


def _one_of(asked: frozenset[str] | None, categories: frozenset[str], column: ColumnRef) -> tuple[tuple[Use, ...], ...]:
    """Nothing more, or each category the rule insists on that the column does not bring along."""
    if asked is None:
        return ((),)
    return ((), *(((Use(column, category),)) for category in sorted(asked - categories)))


def _times(policies: PolicySet) -> tuple[datetime, ...]:
    """Moments on both sides of every boundary any rule names, on each day of a week."""
    times = {_SOME_TIME}
    for policy in policies.policies:
        for rule in policy.rules:
            hours = rule.when.hours
            if hours is None:
                continue
            midnight = datetime(2024, 1, 1, tzinfo=ZoneInfo(hours.tz))
            for day, minute, step in product(range(7), (hours.opens, hours.closes), (-1, 0)):
                times.add((midnight + timedelta(days=day, minutes=minute + step)).astimezone(UTC))
    return tuple(sorted(times))


_HEAD = """\
-- Privileges of the two logins of hoop-mcp, from policy set {digest}.
-- Run it as a superuser: it makes roles, and from PostgreSQL 15 on it grants SET ON PARAMETER log_min_messages, which
-- the owner of the database alone may not. Running it again changes nothing more.
-- Neither login gets a password here. Set one, or let pg_hba.conf decide:
--   \\password {clean}
--   \\password {full}
-- Writes are not granted: no statement that writes is served yet.
BEGIN;"""

_LOGIN_SQL = """\
-- A login of a person or an application loses its rights here, so that the two are hoop-mcp's own.
DO $hoop$ BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = '{login}' AND (r.rolsuper OR r.rolcreaterole
      OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls
      OR EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datdba = r.oid)
      OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relowner = r.oid))) THEN
    RAISE EXCEPTION 'hoop-mcp: {login} is an administrator or owns tables: choose another name with --clean or --full';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{login}') THEN
    CREATE ROLE {login} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
END $hoop$;
ALTER ROLE {login} LOGIN NOINHERIT NOCREATEDB NOCREATEROLE;"""

_DATABASE_SQL = """\
-- PUBLIC may make temporary objects in every database unless it is told otherwise, and what PUBLIC may, a login may.
DO $hoop$ BEGIN
  EXECUTE format('REVOKE TEMP, CREATE ON DATABASE %I FROM PUBLIC, {clean}, {full}', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO {clean}, {full}', current_database());
END $hoop$;"""

_TAIL = """\
-- The query trees that hoop-mcp asks for must not reach the server's log: from PostgreSQL 15 on the logins may silence
-- them around Parse alone (a superuser grants this); before that only for the whole login, which silences
-- log_statement and pgaudit as well.
DO $hoop$ BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN
    EXECUTE 'GRANT SET ON PARAMETER log_min_messages TO {clean}, {full}';
  ELSE
    RAISE NOTICE 'PostgreSQL 14: ALTER ROLE {clean} SET log_min_messages = panic; the same for {full}';
  END IF;
END $hoop$;

-- What one statement may take of the server. hoop-mcp sets its own timeouts in each transaction; these stand wherever it
-- does not. Sorting and set-returning functions spill to disk without any limit unless temp_file_limit sets one, and only
-- a superuser may: where you are none, set it for the whole server.
ALTER ROLE {clean} SET statement_timeout = '60s';
ALTER ROLE {full} SET statement_timeout = '60s';
ALTER ROLE {clean} SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE {full} SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE {clean} SET work_mem = '16MB';
ALTER ROLE {full} SET work_mem = '16MB';
DO $hoop$ BEGIN
  ALTER ROLE {clean} SET temp_file_limit = '1GB';
  ALTER ROLE {full} SET temp_file_limit = '1GB';
EXCEPTION WHEN insufficient_privilege THEN
  RAISE NOTICE 'temp_file_limit is for a superuser to set: statements of {clean} and {full} may fill the disk';
END $hoop$;
COMMIT;"""
