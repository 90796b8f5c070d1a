"""Two databases of one schema that differ in catalogued values and in nothing else.

Both are rewritten row by row in the same order into emptied tables that fit a page or two, so that the place of a row
on disk is the same on both sides; the second gets values that break what reads them: wildcards, brackets, backslashes,
nothing at all, long text, the ends of a calendar. Neither has statistics, and autovacuum is off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres
from hoop_mcp.adapters.postgres import PostgresDatabase
from hoop_mcp.onboarding import assets, shop
from hoop_mcp.policy.document import read_policy
from hoop_mcp.policy.rules import PolicySet
from hoop_mcp.sql.catalogue import read_catalogue
from hoop_mcp.sql.resolved import Login
from hoop_mcp.terms import ColumnRef
from hoop_mcp.wiring.judging import install_logins

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hoop_mcp.sql.catalogue import Catalogue

GAUNTLET = Path(__file__).parents[2] / "gauntlet"
SERVER = {"autovacuum": "off", "track_counts": "off", "max_parallel_workers_per_gather": "0"}
ROLE, PURPOSE = "prober", "probing"
POLICY = """
policy: nothing-kept
owner: dpo@example.com
mode: enforce
applies_to: {{databases: [{database}], roles: [prober], purposes: [probing]}}
rules:
  - id: read-redacted
    when: {{kind: [read], only_schemas: [{schemas}], lookups: [{lookups}]}}
    then: allow
    because: Everything personal is redacted, and nothing personal may steer.
  - id: read-nothing
    when: {{kind: [read], no_tables: true}}
    then: allow
    because: A statement over no table shows nobody.
"""

_MORE_PEOPLE = """
SET search_path = app, public;
INSERT INTO customers (full_name, email, phone, address, profile, tags, segment, country) VALUES
 ('Dora Dahl', 'dora@example.com', NULL, NULL,
  '{"plan": "gold", "contact": {"email": "d@example.net"}}', '{vip,new}', 'vip', 'DE'),
 ('Emil Ernst', 'emil@example.com', '+49 151 5550005', ROW('5 Fir St', 'Bonn', '53111', 'DE'), '[1, 2]', '{a,b,c}', 'std', 'GB'),
 ('Fay Frost', 'fay@example.org', '+49 151 5550006', NULL, '{}', '{}', 'new', 'FR'),
 ('Gus Gale', 'gus@example.org', NULL, ROW('7 Yew St', 'Lyon', '69001', 'FR'), '{"plan": null}', '{beta,vip}', 'new', 'FR');
INSERT INTO products VALUES (3, 'SKU-3', 'Lamp', 0, '{}'), (4, 'sku-4', NULL, 3.25, NULL), (5, 'SKU-5', 'Desk', 140, '{c,a}');
INSERT INTO orders (customer_id, status, total, shipping_address, note, created_at) VALUES
 (3, 'paid', 0, '3 Ash St', 'leave at the door', '2026-04-01'), (4, 'refunded', 12.5, NULL, NULL, '2025-03-01'),
 (5, 'cancelled', 9.99, '5 Fir St', 'x', '2026-05-05'), (1, 'shipped', 77, '1 Elm St', NULL, '2026-06-01');
INSERT INTO order_items VALUES (1, 2, 1, 19.5), (4, 3, 0, 0), (5, 4, 7, 3.25), (6, 5, 2, 70);
INSERT INTO payments (order_id, amount, method, card_pan, card_last4, iban, paid_at) VALUES
 (2, 20, 'card', '5555555555554444', '4444', NULL, '2025-07-02'),
 (5, 12.5, 'sepa', NULL, NULL, 'FR7630006000011234567890189', NULL);
INSERT INTO support_tickets (customer_id, subject, body, payload, status, priority, created_at) VALUES
 (2, 'Refund', 'Please send it to bob.brandt@example.org', '{"a": [1, 2]}', 'open', 1, '2026-01-01'),
 (3, NULL, 'call me', '[]', 'closed', 5, '2026-01-02'), (4, 'Lamp', NULL, NULL, 'open', 3, '2026-01-03');
INSERT INTO hr.employees VALUES (3, 'Gina Gold', 'gina@corp.example', '987-65-1111', 50000, 'ops', 1, '2022-02-02'),
 (4, 'Hal Hunt', 'hal@corp.example', NULL, NULL, 'ops', 3, '2023-03-03'),
 (5, 'Ida Ivy', NULL, '987-65-2222', 61000, NULL, 3, NULL);
INSERT INTO contacts VALUES (5, 'plain'), (6, NULL);
INSERT INTO contacts_private VALUES (2, 'y', NULL, '1990-02-02'), (3, 'x', '+1 555 0103', NULL);
INSERT INTO "Customers" VALUES (2, 'note'); INSERT INTO public.customers VALUES (2, NULL);
"""


@dataclass(frozen=True)
class World:
    """One governed schema: how it is loaded, what it holds, and what policy says of it."""

    name: str
    catalogue: Catalogue
    policies: PolicySet
    search_path: tuple[str, ...]
    load: Callable[[str], Awaitable[object]]


def _world(
    name: str, catalogue: str, search_path: tuple[str, ...], schemas: str, load: Callable[[str], Awaitable[object]]
) -> World:
    read, faults = read_catalogue(catalogue, "catalogue.yaml")
    assert read is not None, faults
    lookups = sorted({held.category for held in read.columns.values() if held.lookup})
    text = POLICY.format(database=name, schemas=schemas, lookups=", ".join(lookups))
    policy, policy_faults = read_policy(text, "policy.yaml")
    assert policy is not None, policy_faults
    return World(name, read, PolicySet.of([policy.policy]), search_path, load)


def gauntlet() -> World:
    """The adversarial schema, with a few more rows."""

    async def load(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for name in ("schema.sql", "schema_extra.sql"):
                await connection.execute((GAUNTLET / name).read_text("utf-8"))
            await connection.execute(_MORE_PEOPLE)
        finally:
            await connection.close()

    catalogue = (GAUNTLET / "policies" / "gauntlet.catalogue.yaml").read_text("utf-8")
    return _world("gauntlet", catalogue, ("app", "public"), "app, hr, audit, reporting, public", load)


def small_shop() -> World:
    """The shop with a handful of customers."""
    size = shop.ShopSize(customers=10, orders=16, tickets=8, employees=4)
    catalogue = assets.policies().joinpath("shop", "shop.catalogue.yaml").read_text("utf-8")
    return _world("shop", catalogue, ("public",), "public", lambda dsn: shop.seed(dsn, size))


WORLDS: dict[str, Callable[[], World]] = {"gauntlet": gauntlet, "shop": small_shop}


def start_server() -> EmbeddedPostgres:
    """A throw-away server on which nothing gathers statistics behind our back."""
    return EmbeddedPostgres(settings=SERVER).start()


async def make_twins(server: EmbeddedPostgres, world: World) -> tuple[PostgresDatabase, PostgresDatabase]:
    """Both databases, opened on their governed logins, under the same name: an answer says which it came from."""
    names = (f"{world.name}_one", f"{world.name}_other")
    admin = await asyncpg.connect(server.dsn())
    try:
        await admin.execute(f"CREATE DATABASE {names[0]}")
        await world.load(server.dsn(names[0]))
        await admin.execute(f"CREATE DATABASE {names[1]} TEMPLATE {names[0]}")
        for name in names:  # rights on a database are not copied with it
            await admin.execute(f"REVOKE TEMP ON DATABASE {name} FROM PUBLIC")
    finally:
        await admin.close()
    logins = {login: f"{world.name}_{login.value}" for login in Login}
    opened = []
    for name, other in zip(names, (False, True), strict=True):
        await _rewrite(server.dsn(name), world, other=other)
        await install_logins(
            server.dsn(name),
            world.name,
            world.catalogue,
            world.policies,
            clean=logins[Login.CLEAN],
            full=logins[Login.FULL],
        )
        dsns = {login: server.dsn(name, role) for login, role in logins.items()}
        opened.append(
            await PostgresDatabase.open(world.name, dsns, search_path=world.search_path, catalogue=world.catalogue)
        )
    return opened[0], opened[1]


# -- the values

_TEXTS = (
    "%", "(", "\\", "", "é" * 700, "UTC", "0", "[[", "%s%I", "2020-01-01", '{"a": 1}', "{}", "x'y\"z", "true",
    "-1", "{1,2}", "day", "infinity", "alice.ashworth@example.com", "1e5", "a\nb", " ", "+49 151 5550001", "z" * 3000,
)  # fmt: skip
_DOCUMENTS = ("[]", "3", '"%"', "{}", '{"a": [1, {"b": null}], "plan": 1e300}', "null", "true", '[["x"], 2]')
_VALUES: dict[str, tuple[str, ...]] = {
    "numeric": ("0", "-99999999.99", "0.01", "NaN", "1", "-1"),
    "int4": ("0", "-2147483648", "2147483647", "1"),
    "int8": ("0", "-9223372036854775808", "9223372036854775807", "1"),
    "date": ("infinity", "-infinity", "0001-01-01", "9999-12-31", "2000-02-29"),
    "timestamptz": ("infinity", "-infinity", "0001-01-01", "9999-12-31"),
    "bool": ("true", "false"),
    "json": _DOCUMENTS,
    "jsonb": _DOCUMENTS,
    "_text": ("{}", "{NULL,a}", "{{a,b},{c,d}}", '{"%"}'),
    "bpchar": ("%", "(", "", "\\", "1", "é"),
    "postal_address": ('("%",,"(",x)', '("","","","")', "(,,,)", '("\\\\","é",1,z)'),
    "email_address": ("@", "%@(", "é@\\", "@" + "z" * 3000, "UTC@", "'@\""),
}
"""What the second database holds; a type that is not here must hold text."""


def _variant(column: dict[str, Any], number: int, rows: int, *, lookup: bool) -> str:
    """SQL of a personal column's value in the second database; where it was null it stays null."""
    name, kind = _quoted(column["name"]), column["type_name"]
    values = _VALUES.get(kind, _TEXTS)
    whens = []
    for place in range(rows):
        literal = "'" + values[(place * 5 + number) % len(values)].replace("'", "''") + "'"
        if (lookup or column["single"]) and kind not in _VALUES | {"email_address": 0}:
            literal += f" || '~{place}'"  # unique, and nothing that a statement asks for
        elif kind == "email_address":
            literal += f" || '~{place}'"
        whens.append(f"WHEN {place + 1} THEN ({literal})::{column['type']}")
    return f"CASE WHEN {name} IS NOT NULL THEN CASE place {' '.join(whens)} END END"


_COLUMNS = """
SELECT a.attname::text AS name, t.typname::text AS type_name, format_type(a.atttypid, a.atttypmod) AS type,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND a.attnum = ANY (i.indkey)) AS single
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""


async def _rewrite(dsn: str, world: World, *, other: bool) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET session_replication_role = replica; SET search_path = app, public")
        tables = await connection.fetch(
            "SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND c.oid >= 16384 AND n.nspname NOT LIKE 'pg%' ORDER BY c.oid"
        )
        full = [f"{_quoted(table['schema'])}.{_quoted(table['name'])}" for table in tables]
        counts = []
        for number, place in enumerate(full):
            await connection.execute(
                f"CREATE TEMP TABLE staged_{number} AS"
                f" SELECT row_number() OVER (ORDER BY ctid) AS place, * FROM ONLY {place}"
            )
            counts.append(await connection.fetchval(f"SELECT count(*) FROM staged_{number}"))
        await connection.execute(f"TRUNCATE {', '.join(full)}")
        for number, (table, place) in enumerate(zip(tables, full, strict=True)):
            columns = [dict(row) for row in await connection.fetch(_COLUMNS, table["oid"])]
            values = []
            for index, column in enumerate(columns):
                held = world.catalogue.classify(ColumnRef(table["schema"], table["name"], column["name"]))
                if other and held.personal and counts[number]:
                    values.append(_variant(column, index, counts[number], lookup=held.lookup))
                else:
                    values.append(_quoted(column["name"]))
            names = ", ".join(_quoted(column["name"]) for column in columns)
            await connection.execute(
                f"INSERT INTO {place} ({names}) OVERRIDING SYSTEM VALUE"
                f" SELECT {', '.join(values)} FROM staged_{number} ORDER BY place"
            )
        await _refresh(connection)
        await connection.execute("DELETE FROM pg_statistic; DELETE FROM pg_statistic_ext_data")
        await connection.execute(
            "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relkind = 'r' AND oid >= 16384"
        )
    finally:
        await connection.close()


async def _refresh(connection: asyncpg.Connection) -> None:
    """Materialized views anew, each in the order of its first key: where a row of theirs lies is no promise to anyone."""
    await connection.execute("SET enable_hashagg = off; SET enable_hashjoin = off; SET enable_nestloop = off")
    if connection.get_server_version().major >= 17:
        await connection.execute("SET enable_group_by_reordering = off")
    for row in await connection.fetch(
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'm' ORDER BY oid"
    ):
        await connection.execute(f"REFRESH MATERIALIZED VIEW {row['name']}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
