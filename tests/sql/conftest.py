"""A governed database to attack: a schema, its catalogue, and logins made by hand."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import asyncpg
import pytest

from hoop_mcp.adapters.postgres import PostgresDatabase
from hoop_mcp.errors import Refused
from hoop_mcp.sql.catalogue import read_catalogue
from hoop_mcp.sql.reader import read
from hoop_mcp.sql.resolved import Login
from hoop_mcp.terms import Verb

GOLDEN = Path(__file__).parents[1] / "golden" / "analyse"
_numbers = itertools.count(1)


class Governed:
    """One database as the gate sees it, and beside it what its owner does meanwhile."""

    def __init__(self, loop, admin_dsn, database, admin):
        self.loop = loop
        self.run = loop.run
        self.admin_dsn = admin_dsn
        self.database = database
        self._admin = admin

    @property
    def major(self):
        return self.database.major

    def admin(self, sql):
        """As the owner, on a connection of its own."""
        return self.run(self._admin.execute(sql))

    def value(self, sql):
        return self.run(self._admin.fetchval(sql))

    def trace(self, sql, login=Login.FULL):
        return self.run(self._trace(sql, login))

    def refusal(self, sql, login=Login.FULL):
        """The code the statement is refused with, or None."""
        try:
            self.trace(sql, login)
        except Refused as refused:
            return refused.code
        return None

    def answer(self, sql, params=(), *, login=Login.FULL, after_parse=None, before_end=None, timeout_ms=5_000):
        """The whole line without policy: the rows, or Refused. The hooks are what others do in between."""
        return self.run(self.answering(sql, params, login, after_parse, before_end, timeout_ms))

    async def answering(self, sql, params=(), login=Login.FULL, after_parse=None, before_end=None, timeout_ms=5_000):
        statement = read(sql)
        async with self.database.lease(login) as lease:
            resolved = await lease.resolve(statement, timeout_ms)
            try:
                analysis = resolved.trace()
            except Refused:
                await lease.doubt(resolved)  # as the gate does before every no
                raise
            if after_parse is not None:
                await self._admin.execute(after_parse)
            rows = await lease.execute(resolved, params, 1_000)
            if before_end is not None:
                await self._admin.execute(before_end)
            await lease.unchanged(resolved)
        return analysis, [tuple(row) for row in rows]

    async def _trace(self, sql, login):
        statement = read(sql)
        if statement.verb is Verb.WRITE:
            raise Refused("HOOP206", "It writes.")
        async with self.database.lease(login) as lease:
            return (await lease.resolve(statement, 5_000)).trace()

    def close(self):
        self.run(self.database.close())
        self.run(self._admin.close())


def make_governed(loop, admin_dsn, schema, catalogue, *, search_path=("public",), after=""):
    """Load *schema*, make both logins and give them what the catalogue says; *after* is run as owner at the end."""
    read_back, faults = read_catalogue(catalogue, "test.catalogue.yaml")
    assert not faults, faults

    async def make():
        number = next(_numbers)
        clean, full = f"t_clean_{number}", f"t_full_{number}"
        admin = await asyncpg.connect(admin_dsn)
        await admin.execute(schema)
        both = f"{clean}, {full}"
        await admin.execute(f"CREATE ROLE {clean} LOGIN; CREATE ROLE {full} LOGIN")
        await admin.execute(f"GRANT SET ON PARAMETER log_min_messages TO {both}")
        name = await admin.fetchval("SELECT current_database()")
        await admin.execute(f"REVOKE TEMP ON DATABASE {name} FROM PUBLIC")
        as_owner = await PostgresDatabase.open(
            "lab", dict.fromkeys(Login, admin_dsn), search_path=search_path, catalogue=read_back
        )
        relations = await as_owner.relations()
        await as_owner.close()
        rights = []
        for relation in relations.values():
            place = f'"{relation.schema}"."{relation.name}"'
            rights += [f'GRANT USAGE ON SCHEMA "{relation.schema}" TO {both}', f"GRANT SELECT ON {place} TO {full}"]
            cleared = [f'"{column.name}"' for column in relation.columns.values() if not column.sources]
            if cleared and not relation.restricted:
                rights.append(f"GRANT SELECT ({', '.join(cleared)}) ON {place} TO {clean}")
        await admin.execute("; ".join(rights))
        if after:
            await admin.execute(after)
        dsns = {Login.CLEAN: _as(admin_dsn, clean), Login.FULL: _as(admin_dsn, full)}
        return await _open(loop, admin_dsn, dsns, read_back, search_path, admin)

    return loop.run(make())


async def _open(loop, admin_dsn, dsns, catalogue, search_path, admin=None):
    database = await PostgresDatabase.open("lab", dsns, search_path=search_path, catalogue=catalogue)
    governed = Governed(loop, admin_dsn, database, admin or await asyncpg.connect(admin_dsn))
    governed.dsns, governed.search_path = dsns, search_path
    return governed


def copy_of(governed, admin_dsn):
    """The same on a copy of its database, with the same logins."""
    name = admin_dsn.partition("?")[0].rpartition("/")[2]
    dsns = {login: re.sub(r"/[^/?]*\?", f"/{name}?", dsn, count=1) for login, dsn in governed.dsns.items()}
    return governed.run(_open(governed.loop, admin_dsn, dsns, governed.database.catalogue, governed.search_path))


def _as(dsn, login):
    return dsn.replace("postgresql://postgres@", f"postgresql://{login}@")


@pytest.fixture
def govern(any_fresh_database, _loop):
    """``govern(schema, catalogue, **options)``: a database of one test's own, on every server there is."""
    made = []

    def make(schema, catalogue, **options):
        made.append(make_governed(_loop, any_fresh_database(), schema, catalogue, **options))
        return made[-1]

    yield make
    for governed in made:
        governed.close()


@pytest.fixture(scope="module")
def govern_copies(any_databases, _loop):
    """``govern_copies(schema, catalogue, **options)`` gives a function that makes copies, each for a test to change."""
    made = []

    def prepare(schema, catalogue, **options):
        template = any_databases.create()
        made.append(template)
        first = make_governed(_loop, any_databases.cluster.dsn(template), schema, catalogue, **options)
        first.close()  # nothing may be connected to what is copied

        def copy():
            made.append(any_databases.create(template))
            return copy_of(first, any_databases.cluster.dsn(made[-1]))

        return copy

    yield prepare
    for name in reversed(made):
        any_databases.drop(name)


@pytest.fixture
def governed_on(_loop):
    """``governed_on(admin_dsn, schema, catalogue)``: the same on a server the test started; the test closes it."""
    return lambda admin_dsn, schema, catalogue: make_governed(_loop, admin_dsn, schema, catalogue)


@pytest.fixture(scope="module")
def govern_still(any_databases, _loop):
    """As ``govern``, for the whole module: databases that no test changes."""
    made = []

    def make(schema, catalogue, **options):
        name = any_databases.create()
        made.append((name, make_governed(_loop, any_databases.cluster.dsn(name), schema, catalogue, **options)))
        return made[-1][1]

    yield make
    for name, governed in made:
        governed.close()
        any_databases.drop(name)


@pytest.fixture(scope="module")
def lab(govern_still):
    """The database of tests/golden/analyse, which nothing may change."""
    return govern_still(
        (GOLDEN / "schema.sql").read_text("utf-8"),
        (GOLDEN / "catalogue.yml").read_text("utf-8"),
        search_path=("lab", "public"),
    )
