"""Statements that beat other database servers for agents, sent over stdio to ``hoop-mcp serve`` by the MCP SDK's client.

``deny`` and ``hold`` must change nothing and reveal nothing, ``allow`` must run with the ``leak`` pattern absent. A row
that is answered otherwise than it expects says so in ``ours``, and why in ``why_ours``; docs/gauntlet.md lists them.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from hoop_mcp.wiring.judging import install_logins
from hoop_mcp.wiring.policies import load_governance
from hoop_mcp.wiring.settings import load_settings

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
DOCS = HERE.parents[2] / "docs" / "gauntlet.md"
ROWS = [json.loads(line) for line in (HERE / "attacks.jsonl").read_text("utf-8").splitlines()]
SETTINGS = """\
databases:
  demo: {dsn: "${env:TEST_DSN}", clean_dsn: "${env:TEST_CLEAN_DSN}", catalogue: policies/demo.catalogue.yaml}
policies: policies/
identity: {local: {roles: [analyst], purposes: [analysis]}}
journal: {path: journal.db, keys: keys/}
"""
PERSONAL = re.compile(
    r"First\d+ Last\d+|user\d+@example\d+\.com|\+1-202-555-\d{4}|\d{3}-\d{2}-\d{4}|DE\d{20}|\b10\.\d+\.\d+\.\d+"
    r"|note [0-9a-f]{32}|alt\d+@corp\.test|415-555-\d{4}|printer broken|CANARY|root:x?:|SCRAM-SHA"
)
"""Every value the seed makes for a personal column has one of these shapes, and a secret and a server's file a part."""

STATE = """
SELECT md5(string_agg(part, '|' ORDER BY part)) FROM (
  SELECT 'customers ' || md5(string_agg(c::text, ',' ORDER BY id)) AS part FROM public.customers c
  UNION ALL SELECT 'orders ' || md5(string_agg(o::text, ',' ORDER BY id)) FROM public.orders o
  UNION ALL SELECT 'sentinel ' || md5(string_agg(s::text, ',' ORDER BY id)) FROM public.sentinel s
  UNION ALL SELECT 'tickets ' || md5(string_agg(t::text, ',' ORDER BY id)) FROM public.support_tickets t
  UNION ALL SELECT 'keys ' || md5(string_agg(k::text, ',' ORDER BY id)) FROM secrets.api_keys k
  UNION ALL SELECT 'sequence ' || last_value || is_called FROM public.demo_seq
  UNION ALL SELECT 'relations ' || count(*) || md5(string_agg(relname || relkind::text || relnatts || relhastriggers
    || coalesce(relacl::text, ''), ',' ORDER BY oid)) FROM pg_class WHERE oid >= 16384
  UNION ALL SELECT 'columns ' || count(*) || md5(string_agg(coalesce(attacl::text, ''), ',' ORDER BY attrelid, attnum))
    FROM pg_attribute WHERE attrelid >= 16384
  UNION ALL SELECT 'rules ' || md5(string_agg(ev_action::text, ',' ORDER BY oid)) FROM pg_rewrite WHERE oid >= 16384
  UNION ALL SELECT 'triggers ' || count(*) || coalesce(string_agg(tgenabled::text, '' ORDER BY oid), '') FROM pg_trigger
  UNION ALL SELECT 'functions ' || count(*) FROM pg_proc
  UNION ALL SELECT 'objects ' || count(*) FROM pg_largeobject_metadata
  UNION ALL SELECT 'roles ' || md5(string_agg(rolname || rolsuper, ',' ORDER BY rolname)) FROM pg_roles
  UNION ALL SELECT 'members ' || count(*) FROM pg_auth_members
  UNION ALL SELECT 'extensions ' || count(*) FROM pg_extension
  UNION ALL SELECT 'slots ' || count(*) FROM pg_replication_slots
  UNION ALL SELECT 'origins ' || count(*) FROM pg_replication_origin
  UNION ALL SELECT 'collations ' || count(*) FROM pg_collation
  UNION ALL SELECT 'comments ' || count(*) FROM pg_description WHERE objoid >= 16384
  UNION ALL SELECT 'locks ' || count(*) FROM pg_locks WHERE locktype = 'advisory'
  UNION ALL SELECT 'settings ' || coalesce(md5(string_agg(name || setting, ',' ORDER BY name)), '')
    FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'
) AS state
"""


class Target:
    """The database under attack, a listener, and a connection that would notice being killed."""

    _numbers = itertools.count(1)

    def __init__(self, databases, folder, loop):
        number = f"{os.getpid()}_{next(self._numbers)}"
        self._databases = databases
        self._loop = loop
        self.folder = folder
        self.name = databases.create()
        self.admin_dsn = databases.cluster.dsn(self.name)
        databases.execute((HERE / "seed.sql").read_text("utf-8"), self.admin_dsn)
        shutil.copytree(HERE / "policies", folder / "policies")
        self.settings = folder / "hoop.yaml"
        self.settings.write_text(SETTINGS)
        self.logins = {"clean": f"attacked_clean_{number}", "full": f"attacked_full_{number}"}
        self.notified = []
        loop.run(self._govern())

    async def _govern(self):
        policies, catalogues = load_governance(load_settings(self.settings))
        await install_logins(self.admin_dsn, "demo", catalogues["demo"], policies, **self.logins)
        self._canary = await asyncpg.connect(self.admin_dsn, server_settings={"application_name": "canary"})
        await self._canary.add_listener("hoop_chan", lambda *heard: self.notified.append(heard))

    def state(self):
        """A checksum of everything a statement could change; raises if the canary is gone."""
        return self._loop.run(self._canary.fetchval(STATE))

    def close(self):
        self._loop.run(self._canary.close(timeout=5))
        self._databases.drop(self.name)

    @asynccontextmanager
    async def client(self):
        environment = {
            **os.environ,
            "TEST_DSN": self._databases.cluster.dsn(self.name, self.logins["full"]),
            "TEST_CLEAN_DSN": self._databases.cluster.dsn(self.name, self.logins["clean"]),
        }
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["-m", "hoop_mcp", "serve", "--config", str(self.settings)],
            env=environment,
        )
        with (self.folder / "stderr.log").open("a") as errors:
            async with Client(stdio_client(parameters, errlog=errors)) as client:
                yield client


@pytest.fixture(scope="module")
def target(databases, _loop):
    folder = Path(tempfile.mkdtemp(prefix="hoop-attacks-"))
    made = Target(databases, folder, _loop)
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
async def client(target):
    async with target.client() as opened:
        yield opened


async def say(client, tool, sql):
    """Whether the call was carried out, and every word of the answer."""
    result = await client.call_tool(tool, {"sql": sql})
    words = [getattr(part, "text", "") for part in result.content]
    return not result.is_error, "\n".join([*words, json.dumps(result.structured_content, ensure_ascii=False)])


async def test_what_must_not_run_changes_nothing_and_reveals_nothing(target, client):
    rows = [row for row in ROWS if row["expected"] != "allow"]
    before = target.state()
    ran, revealed = set(), {}
    for row, tool in itertools.product(rows, ("query", "explain")):
        carried_out, answer = await say(client, tool, row["sql"])
        if carried_out and tool == "query":
            ran.add(row["id"])
        if found := PERSONAL.findall(answer) + re.findall(row.get("leak", "$^"), answer):
            revealed[row["id"]] = found
    assert revealed == {}
    assert ran == {row["id"] for row in rows if row.get("ours") == "allow"}
    assert target.state() == before
    assert target.notified == []
    assert len(rows) == 120


async def test_what_is_harmless_runs_and_shows_no_personal_value(target, client):
    rows = [row for row in ROWS if row["expected"] == "allow"]
    before = target.state()
    refused, revealed = {}, {}
    for row in rows:
        carried_out, answer = await say(client, "query", row["sql"])
        if not carried_out:
            refused[row["id"]] = answer
        if found := PERSONAL.findall(answer) + re.findall(row.get("leak", "$^"), answer):
            revealed[row["id"]] = found
    assert revealed == {}
    assert set(refused) == {row["id"] for row in rows if "ours" in row}, refused
    assert len(refused) <= 4, refused
    assert target.state() == before


def test_what_is_answered_otherwise_says_why_and_stands_in_the_docs():
    docs = DOCS.read_text("utf-8")
    for row in ROWS:
        if "ours" in row:
            assert row["why_ours"].strip()
            assert f"`{row['id']}`" in docs, row["id"]


def test_the_search_would_find_every_value_of_the_seed(target):
    for column in ("full_name", "email", "phone", "ssn", "iban", "ip", "notes"):
        missed = target._databases.fetch(
            f"SELECT DISTINCT host({column}) FROM public.customers"
            if column == "ip"
            else f"SELECT {column} FROM public.customers WHERE id % 97 = 0 OR id % 100 = 0",
            dsn=target.admin_dsn,
        )
        assert [value for (value,) in missed if not PERSONAL.search(value)] == []
