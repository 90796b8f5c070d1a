"""A whole deployment: settings, policies, logins, and ``hoop-mcp serve`` spoken to by the MCP SDK's own client.

The server log of these clusters is as talkative as a production server's: what the product must keep out of it, it
must keep out by itself.
"""

import itertools
import os
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from support.databases import Databases

from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres
from hoop_mcp.onboarding import assets
from hoop_mcp.wiring.judging import install_logins
from hoop_mcp.wiring.policies import load_governance
from hoop_mcp.wiring.settings import load_settings

TALKATIVE = {"log_min_messages": "warning", "log_min_error_statement": "error", "log_statement": "all"}
SYSTEM_15 = Path("/usr/lib/postgresql/15/bin")
SETTINGS = """\
databases:
  {name}:
    dsn: "${{env:TEST_DSN}}"
    clean_dsn: "${{env:TEST_CLEAN_DSN}}"
    search_path: [public]
    catalogue: policies/{name}.catalogue.yaml
policies: policies/
identity: {{local: {{roles: [{role}], purposes: [{purpose}]}}}}
journal: {{path: journal.db, keys: keys/}}
"""


class Deployment:
    """One folder with everything in it, over one database."""

    _numbers = itertools.count(1)

    def __init__(self, folder, server, database_dsn, *, name="shop", role="support-agent", purpose="customer-support"):
        self.folder = folder
        self.server = server
        self.admin_dsn = database_dsn
        self.name = name
        self.stderr = folder / "stderr.log"
        (folder / "policies").mkdir()
        for file in assets.policies().joinpath(name).iterdir():
            if file.name.endswith(".yaml") and not file.name.endswith(".test.yaml"):
                (folder / "policies" / file.name).write_bytes(file.read_bytes())
        self.settings = folder / "hoop.yaml"
        self.settings.write_text(SETTINGS.format(name=name, role=role, purpose=purpose))
        number = f"{os.getpid()}_{next(self._numbers)}"
        self.logins = {"clean": f"e2e_clean_{number}", "full": f"e2e_full_{number}"}

    async def govern(self):
        policies, catalogues = load_governance(load_settings(self.settings))
        await install_logins(self.admin_dsn, self.name, catalogues[self.name], policies, **self.logins)

    @property
    def environment(self):
        database = self.admin_dsn.split("?")[0].rsplit("/", 1)[1]
        return {
            **os.environ,
            "TEST_DSN": self.server.dsn(database, self.logins["full"]),
            "TEST_CLEAN_DSN": self.server.dsn(database, self.logins["clean"]),
        }

    @asynccontextmanager
    async def client(self, mode="auto", command=(sys.executable, "-m", "hoop_mcp"), environment=None):
        parameters = StdioServerParameters(
            command=command[0],
            args=[*command[1:], "serve", "--config", str(self.settings)],
            env=environment or self.environment,
        )
        with self.stderr.open("a") as errors:
            async with Client(stdio_client(parameters, errlog=errors), mode=mode) as client:
                yield client

    def written(self):
        """Every byte the product wrote, and the PostgreSQL server's log."""
        found = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and "policies" not in path.parts
        }
        log = next(folder / "server.log" for folder in self.server.data.parents if (folder / "server.log").exists())
        return {**found, "server.log": log.read_bytes()}


@pytest.fixture(scope="session", params=["embedded", "system-15"])
def talkative(request):
    """A talkative server: the newest PostgreSQL, and an old one where it is installed."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "system-15":
            if "HOOP_MCP_PG_BIN" in os.environ:
                pytest.skip("HOOP_MCP_PG_BIN names the one server to test")
            if not SYSTEM_15.is_dir():
                pytest.skip(f"no PostgreSQL in {SYSTEM_15}")
            patch.setenv("HOOP_MCP_PG_BIN", str(SYSTEM_15))
        server = EmbeddedPostgres(settings=TALKATIVE).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def talkative_databases(talkative, _loop):
    """As ``databases``, on the talkative server."""
    made = Databases(talkative, _loop)
    yield made
    made.close()


@contextmanager
def open_folder():
    """A folder others may pass through: an embedded server under root's 0700 folders would keep its data elsewhere."""
    made = Path(tempfile.mkdtemp(prefix="hoop-e2e-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def folder():
    """A folder of the test's own."""
    with open_folder() as made:
        yield made


@contextmanager
def governed_shop(folder, talkative, databases, loop):
    """The small shop, governed; nothing is running yet."""
    name = databases.create(databases.shop())
    deployment = Deployment(folder, talkative, talkative.dsn(name))
    loop.run(deployment.govern())
    yield deployment
    databases.drop(name)


@pytest.fixture
def deployment():
    """How to make a deployment of another schema, role and purpose: the class, which test modules cannot import."""
    return Deployment


@pytest.fixture
def shop(folder, talkative, talkative_databases, _loop):
    """The small shop, governed; nothing is running yet."""
    with governed_shop(folder, talkative, talkative_databases, _loop) as deployment:
        yield deployment


@pytest.fixture(scope="module")
async def shop_client(talkative, talkative_databases, _loop):
    """A client of one server that the tests of a module share: each must leave it serving."""
    with open_folder() as folder, governed_shop(folder, talkative, talkative_databases, _loop) as deployment:
        async with deployment.client() as client:
            yield client
