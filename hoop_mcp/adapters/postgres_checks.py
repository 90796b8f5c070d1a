"""What a login must not be able to do, and what mends it.

The login is the boundary: ``SET ROLE`` and READ ONLY were both escaped in tests, so the analysis above is the second
wall and this is the first. A server that finds one of these faults does not start, unless settings name the risk.

A mend is SQL only for a login that is nobody's tool but ours. Where the login is an administrator's (a superuser, an
owner, one that may make roles or databases), the mend is to use another login: SQL that takes an administrator's
rights away, pasted in good faith, can lock everybody out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoop_mcp.terms import ColumnRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import asyncpg

    from hoop_mcp.sql.catalogue import Catalogue

_CHECKS = """
SELECT current_user::text AS login, current_database()::text AS database,
  r.rolsuper AS superuser, r.rolbypassrls AS bypasses,
  (r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls) AS administrates,
  EXISTS (SELECT FROM pg_catalog.pg_database d
    WHERE d.datname = current_database() AND pg_has_role(current_user, d.datdba, 'MEMBER')) AS owns_database,
  ARRAY(SELECT format('%I.%I', n.nspname, c.relname)::text FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE pg_has_role(current_user, c.relowner, 'MEMBER') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
    ORDER BY 1 LIMIT 5) AS owned,
  ARRAY(SELECT quote_ident(nspname)::text FROM pg_catalog.pg_namespace n
    WHERE has_schema_privilege(n.oid, 'CREATE') AND nspname NOT LIKE 'pg\\_temp%' AND nspname NOT LIKE 'pg\\_toast%'
    ORDER BY 1) AS creates_in,
  has_database_privilege(current_database(), 'CREATE') AS creates_schemas,
  has_database_privilege(current_database(), 'TEMP') AS temporary,
  current_setting('log_min_messages')::text AS log_level,
  current_setting('server_version_num')::int / 10000 AS major
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a login. ``risk`` is the word for ``accepted_risks``, where it is one that may be accepted.

    ``mend`` is what to do: a sentence, or SQL for an administrator that concerns the login alone.
    """

    login: str
    risk: str
    what: str
    mend: str


KEYS = {"full": "dsn", "clean": "clean_dsn"}
"""Which key of settings holds the address of a login."""

PAIR = frozenset({"same-login", "swapped-logins"})
"""What is wrong with the two logins together. No word of settings accepts it."""

OTHER_LOGIN = frozenset({"superuser", "owns-governed-tables"}) | PAIR
"""Risks that only another login mends. Where one is found, what else the login may do is not worth telling."""


async def login_findings(connection: asyncpg.Connection, login: str) -> tuple[Finding, ...]:
    """Everything wrong with the login this connection has.

    Args:
        connection: as the login itself.
        login: what to call it: "clean" or "full".
    """
    row = await connection.fetchrow(_CHECKS)
    name = _quoted(row["login"])
    database = _quoted(row["database"])
    another = another_login(login)
    administrator = row["superuser"] or row["administrates"] or row["owns_database"] or row["owned"]
    found: list[Finding] = []

    def find(risk: str, what: str, sql: str) -> None:
        found.append(Finding(login, risk, what, another if administrator else sql))

    if row["superuser"]:
        find("superuser", "is a superuser", "")
    if row["bypasses"]:
        find("bypasses-row-security", "bypasses row security", "")
    if row["owned"] and not row["superuser"]:
        find("owns-governed-tables", f"owns, or is a member of the owner of, {', '.join(row['owned'])}", "")
    if row["creates_in"] and not row["superuser"]:
        schemas = ", ".join(row["creates_in"])
        sql = f"REVOKE CREATE ON SCHEMA {schemas} FROM PUBLIC, {name};"
        find("creates-objects", f"may create objects in {schemas}", sql)
    if row["creates_schemas"] and not row["superuser"]:
        find("creates-objects", "may create schemas", f"REVOKE CREATE ON DATABASE {database} FROM PUBLIC, {name};")
    if row["temporary"] and not row["superuser"]:
        sql = f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, {name};"
        find("creates-temporary-tables", "may create temporary tables", sql)
    if not await _trees_stay_out(connection, row["log_level"], row["major"]):
        sql = (
            f"GRANT SET ON PARAMETER log_min_messages TO {name};"
            if row["major"] >= 15
            else f"ALTER ROLE {name} SET log_min_messages = 'panic'; -- this silences log_statement for it too"
        )
        find("trees-in-server-log", "would send query trees, literals included, to the server log", sql)
    return tuple(found)


def another_login(login: str) -> str:
    """The mend where the login itself is the mistake."""
    return (
        f"leave that login as it is and point {KEYS[login]} at one of the two that `hoop-mcp policy grants` makes: "
        f"hoop_{login}, unless it was given another name"
    )


def worth_telling(findings: Iterable[Finding], accepted: Sequence[str]) -> tuple[Finding, ...]:
    """The findings to tell a person: of a login that only another one mends, that alone.

    Accepting one risk never accepts another: where settings accept it, the login's other findings stand.
    """
    found = tuple(findings)
    hopeless = {each.login for each in found if each.risk in OTHER_LOGIN and each.risk not in accepted}
    told = [each for each in found if each.login not in hopeless or each.risk in OTHER_LOGIN]
    pair = [each for each in told if each.risk in PAIR]
    return tuple(pair) if pair and not any(each.risk == "superuser" for each in told) else tuple(told)


def pair_findings(
    names: Mapping[str, tuple[str, str]], held: Mapping[str, Mapping[str, Sequence[str]]], catalogue: Catalogue
) -> tuple[Finding, ...]:
    """What is wrong with the two logins together.

    Args:
        names: by "clean" and "full": current and session user, as PostgreSQL says.
        held: by the same: the columns it may read, by relation, see :func:`readable_columns`.
        catalogue: which of them are personal.
    """
    if set(names["clean"]) & set(names["full"]):
        what = f"is the same login as the full one, {_quoted(names['clean'][0])}"
        mend = (
            "a second login that PostgreSQL itself keeps from personal columns is the second wall: "
            "`hoop-mcp policy grants` makes two, hoop_full for dsn and hoop_clean for clean_dsn"
        )
        return (Finding("clean", "same-login", what, mend),)
    clean, full = (_catalogued_personal(held[login], catalogue) for login in ("clean", "full"))
    if clean and not full:
        what = "may read personal columns and the full login none: dsn and clean_dsn are swapped"
        return (Finding("clean", "swapped-logins", what, "exchange the two references in the settings"),)
    return ()


def _catalogued_personal(held: Mapping[str, Sequence[str]], catalogue: Catalogue) -> bool:
    """Whether one of the columns is catalogued as personal; those nobody has named say nothing of who was meant."""
    for relation, columns in held.items():
        schema, _, table = relation.partition(".")
        for column in columns:
            ref = ColumnRef(schema, table, column)
            if catalogue.names(ref) and catalogue.classify(ref).personal:
                return True
    return False


async def _trees_stay_out(connection: asyncpg.Connection, log_level: str, major: int) -> bool:
    if log_level in ("fatal", "panic"):  # LOG ranks below FATAL in the server's log
        return True
    if major < 15:
        return False
    return bool(await connection.fetchval("SELECT has_parameter_privilege('log_min_messages', 'SET')"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


NAMES = """
SELECT n.nspname::text || '.' || c.relname::text AS relation, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
GROUP BY 1
"""
"""Every table and view with its columns, whoever may read them: the catalogs are open to every login."""


async def readable_columns(connection: asyncpg.Connection) -> dict[str, tuple[str, ...]]:
    """The columns this login may SELECT, by relation (``schema.table``), outside the system's schemas."""
    rows = await connection.fetch(
        """
        SELECT n.nspname::text || '.' || c.relname::text AS relation,
          array_agg(a.attname::text ORDER BY a.attnum) AS columns
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
          AND has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT')
        GROUP BY 1
        """
    )
    return {row["relation"]: tuple(row["columns"]) for row in rows}
