"""What a login must not be able to do, and the SQL that mends it.

The login is the boundary: ``SET ROLE`` and READ ONLY were both escaped in tests, so the analysis above is the second
wall and this is the first. A server that finds one of these faults does not start, unless settings name the risk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

_CHECKS = """
SELECT current_user::text AS login, current_database()::text AS database,
  r.rolsuper AS superuser, r.rolbypassrls AS bypasses,
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
    """One thing wrong with a login. ``risk`` is the word for ``accepted_risks``; ``mend`` is SQL for an administrator."""

    login: str
    risk: str
    what: str
    mend: str


async def login_findings(connection: asyncpg.Connection, login: str) -> tuple[Finding, ...]:
    """Everything wrong with the login this connection has.

    Args:
        connection: as the login itself.
        login: what to call it: "clean" or "full".
    """
    row = await connection.fetchrow(_CHECKS)
    name = _quoted(row["login"])
    database = _quoted(row["database"])
    found: list[Finding] = []
    if row["superuser"]:
        found.append(Finding(login, "superuser", "is a superuser", f"ALTER ROLE {name} NOSUPERUSER;"))
    if row["bypasses"]:
        found.append(
            Finding(login, "bypasses-row-security", "bypasses row security", f"ALTER ROLE {name} NOBYPASSRLS;")
        )
    if row["owned"] and not row["superuser"]:
        tables = ", ".join(row["owned"])
        found.append(
            Finding(
                login,
                "owns-governed-tables",
                f"owns, or is a member of the owner of, {tables}",
                f"-- use a login that owns nothing, such as the ones policy grants makes; {name} owns {tables}",
            )
        )
    if row["creates_in"] and not row["superuser"]:
        schemas = ", ".join(row["creates_in"])
        mend = f"REVOKE CREATE ON SCHEMA {schemas} FROM PUBLIC, {name};"
        found.append(Finding(login, "creates-objects", f"may create objects in {schemas}", mend))
    if row["creates_schemas"] and not row["superuser"]:
        mend = f"REVOKE CREATE ON DATABASE {database} FROM PUBLIC, {name};"
        found.append(Finding(login, "creates-objects", "may create schemas", mend))
    if row["temporary"] and not row["superuser"]:
        mend = f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, {name};"
        found.append(Finding(login, "creates-temporary-tables", "may create temporary tables", mend))
    if not await _trees_stay_out(connection, row["log_level"], row["major"]):
        found.append(
            Finding(
                login,
                "trees-in-server-log",
                "would send query trees, literals included, to the server log",
                f"GRANT SET ON PARAMETER log_min_messages TO {name};"
                if row["major"] >= 15
                else f"ALTER ROLE {name} SET log_min_messages = 'panic'; -- this silences log_statement for it too",
            )
        )
    return tuple(found)


async def _trees_stay_out(connection: asyncpg.Connection, log_level: str, major: int) -> bool:
    if log_level in ("fatal", "panic"):  # LOG ranks below FATAL in the server's log
        return True
    if major < 15:
        return False
    return bool(await connection.fetchval("SELECT has_parameter_privilege('log_min_messages', 'SET')"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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
