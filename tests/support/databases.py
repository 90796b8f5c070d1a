"""Databases of a throw-away cluster, made and asked as superuser from whatever thread a test runs in."""

import asyncio
import itertools
import threading

import asyncpg

from hoop_mcp.onboarding import shop

_PUBLIC_LACKS_TEMP = """
    SELECT datacl IS NOT NULL AND NOT EXISTS (
             SELECT FROM aclexplode(datacl) WHERE grantee = 0 AND privilege_type = 'TEMPORARY')
      FROM pg_database WHERE datname = $1"""


class Loop:
    """An event loop in a thread of its own, so that a fixture can ask PostgreSQL whether or not a loop runs here."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Databases:
    """Databases of one cluster, made as superuser; about 20 ms each."""

    _numbers = itertools.count(1)

    def __init__(self, cluster, loop):
        self.cluster = cluster
        self._loop = loop
        self._admin = loop.run(asyncpg.connect(cluster.dsn()))
        self._shop = None

    def execute(self, sql, dsn=None):
        """Run statements; without a DSN on the maintenance database."""
        return self._loop.run(self._execute(sql, dsn))

    def fetch(self, sql, *params, dsn):
        """The rows of one statement, as tuples."""
        return self._loop.run(self._fetch(sql, params, dsn))

    def create(self, template="template1"):
        name = f"t{next(self._numbers)}"
        strategy = " STRATEGY wal_log" if int(self.cluster.version.split(".")[0]) >= 15 else ""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}")
        # Rights on a database are not copied with it: without this a copy of the shop lets everybody make TEMP tables.
        if self._loop.run(self._admin.fetchval(_PUBLIC_LACKS_TEMP, template)):
            self.execute(f"REVOKE TEMP ON DATABASE {name} FROM PUBLIC")
        return name

    def drop(self, name):
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def shop(self):
        """The name of the small shop, seeded once: a template, which nothing may stay connected to."""
        if self._shop is None:
            name = self.create()
            self._loop.run(shop.seed(self.cluster.dsn(name), shop.SMALL))
            self._shop = name
        return self._shop

    def close(self):
        self._loop.run(self._admin.close())

    async def _execute(self, sql, dsn):
        if dsn is None:
            return await self._admin.execute(sql)
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.execute(sql)
        finally:
            await connection.close()

    async def _fetch(self, sql, params, dsn):
        connection = await asyncpg.connect(dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *params)]
        finally:
            await connection.close()
