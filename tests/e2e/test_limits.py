"""Minimum groups and budgets through the whole line: settings, policy, gate, a real database, a real journal."""

import asyncio
import json
from contextlib import asynccontextmanager

import asyncpg
import pytest

from hoop_mcp.terms import Credential, RunSql, ToolCall, WhoAmI
from hoop_mcp.wiring.journal import open_reader
from hoop_mcp.wiring.serving import open_gate

pytestmark = pytest.mark.anyio

POLICY = """\
policy: figures-and-lookups
owner: dpo@example.com
applies_to: {databases: [shop], roles: [support-agent], purposes: [customer-support]}
rules:
  - id: everything
    when: {kind: [read], only_tables: [public.customers, public.orders], lookups: [contact], probes_only: [location]}
    then: allow
    LIMITS
    because: A policy of a test, which opens what the test asks.
"""
BY_COUNTRY = "SELECT country, count(*) AS people, avg(id) FROM customers GROUP BY country ORDER BY country"

PEOPLE_OF_AA = """
INSERT INTO customers (id, name, email, street, postcode, city, country, born_on, national_id, created_at)
SELECT 900000 + n, name, 'e' || n || '@example.com', street, postcode, city, 'AA', born_on, national_id, created_at
FROM (SELECT * FROM customers ORDER BY id LIMIT 1) c, generate_series({first}, {last}) n
"""


def said(outcome):
    """An answer without what is different in every one: its receipt lies beside it, and the call is always named alike."""
    return json.loads(outcome.body)


class Asking:
    """One principal of one running gate."""

    def __init__(self, gate, shop):
        self.gate = gate
        self.shop = shop

    async def ask(self, sql, *params, session="one", **more):
        asked = RunSql("query", sql, params=params, **more)
        return await self.call(asked, session)

    async def call(self, asked, session="one"):
        return await self.gate.handle(ToolCall("c", Credential("stdio", session, os_user="tester"), asked))

    async def rows(self, sql, **more):
        outcome = await self.ask(sql, **more)
        assert hasattr(outcome, "body"), outcome
        return json.loads(outcome.body)["rows"]

    async def left(self):
        return json.loads((await self.call(WhoAmI(), session="two")).body)["limits"]["left"]

    async def as_owner(self, sql):
        connection = await asyncpg.connect(self.shop.admin_dsn)
        try:
            return await connection.execute(sql)
        finally:
            await connection.close()

    def journal(self, count):
        with open_reader(self.shop.folder / "journal.db") as reader:
            return [entry.body for entry in reader.tail(count, ("intent", "outcome", "refusal"))]


@pytest.fixture
def serving(shop, talkative, monkeypatch):
    """``serving(limits of the rule, limits of the settings)``: a gate over the small shop with the policy above."""
    if not talkative.version.startswith(("16", "17", "18")):
        pytest.skip("nothing here is a matter of PostgreSQL's version; what groups are made of is tested on all")

    @asynccontextmanager
    async def open_(rule="", settings=""):
        for name in ("support.yaml", "analytics.yaml"):
            (shop.folder / "policies" / name).unlink()
        (shop.folder / "policies" / "mine.yaml").write_text(POLICY.replace("LIMITS\n    ", rule and f"{rule}\n    "))
        if settings:
            shop.settings.write_text(shop.settings.read_text() + f"limits: {settings}\n")
        await shop.govern()
        for name in ("TEST_DSN", "TEST_CLEAN_DSN"):
            monkeypatch.setenv(name, shop.environment[name])
        async with open_gate(shop.settings) as gate:
            yield Asking(gate, shop)

    return open_


async def test_a_group_of_too_few_people_is_not_shown_and_nothing_else_tells_of_it(serving):
    async with serving("limits: {min_group: 3}") as asking:
        before = await asking.ask(BY_COUNTRY, max_rows=1)
        whole = await asking.rows(BY_COUNTRY)
        await asking.as_owner(PEOPLE_OF_AA.format(first=1, last=2))
        after = await asking.ask(BY_COUNTRY, max_rows=1)
        assert said(before) == said(after)
        assert await asking.rows(BY_COUNTRY) == whole
        assert "fewer than 3 people" in " ".join(said(after)["notices"])
        withheld = [body["result"]["withheld"] for body in asking.journal(20) if "withheld" in body.get("result", {})]
        assert {withheld.count(n) for n in set(withheld)} == {2}
        assert max(withheld) == min(withheld) + 1
        await asking.as_owner(PEOPLE_OF_AA.format(first=3, last=3))
        assert (await asking.rows(BY_COUNTRY))[0][:2] == ["AA", "3"]

        refusal = await asking.ask("SELECT country, avg(id) FROM customers GROUP BY country")
        assert refusal.code == "HOOP313"
        assert refusal.instead == "Add count(DISTINCT customers.id) AS people to the select list."
        assert asking.journal(1)[0]["decision"] == "deny"
        joined = (
            "SELECT country, count(DISTINCT c.id), sum(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id"
        )
        assert await asking.rows(f"{joined} GROUP BY country")
        assert await asking.rows("SELECT id, country FROM customers ORDER BY id LIMIT 2")


async def test_what_a_rule_lets_a_principal_use_runs_out_and_no_new_session_brings_it_back(serving):
    async with serving("budget: {lookups: 4, rows: 5, per: day}") as asking:
        assert await asking.rows("SELECT id FROM customers WHERE email IN ('a@x.de', 'b@x.de', 'c@x.de')") == []
        assert (await asking.left())["rules"] == [{"rule": "everything", "per": "day", "rows": 5, "lookups": 1}]
        refusal = await asking.ask("SELECT id FROM customers WHERE email IN ('d@x.de', 'e@x.de')", session="new")
        assert refusal.code == "HOOP321"
        assert asking.journal(1)[0]["result"]["code"] == "HOOP321"
        assert await asking.rows("SELECT id FROM customers WHERE email = 'd@x.de'") == []

        assert len(await asking.rows("SELECT id FROM customers", max_rows=3)) == 3
        last = said(await asking.ask("SELECT id FROM customers", max_rows=3))
        assert last["row_count"] == 2
        assert "A budget of yours had 2 rows left" in " ".join(last["notices"])
        assert (await asking.ask("SELECT id FROM customers", max_rows=3)).code == "HOOP321"


async def test_what_fails_runs_out_and_a_success_costs_nothing(serving):
    fails = "SELECT city, 1 / (id - id) FROM customers"
    async with serving(settings="{failures: 2, parse_errors: 2}") as asking:
        for _ in range(2):
            assert (await asking.ask(fails)).code == "HOOP503"
        assert (await asking.ask(fails)).code == "HOOP321"
        assert (await asking.ask("SELECT 1 / (id - id) FROM customers")).code == "HOOP503"
        assert await asking.rows("SELECT id FROM customers LIMIT 1")
        assert (await asking.left())["per_hour"] == {
            "lookups": 500,
            "parse_errors": 2,
            "failures_on_personal_data": 0,
        }
        for _ in range(2):
            assert (await asking.ask("SELECT nonsense FROM customers")).code == "HOOP209"
        assert (await asking.ask("SELECT nonsense FROM customers")).code == "HOOP321"
        assert (await asking.ask("SELECT id FROM orders")).code == "HOOP321"  # it might not parse either


async def test_calls_at_once_share_no_guess_and_wait_their_turn(serving):
    async with serving(settings="{lookups: 3, running: 2, waiting: 3}") as asking:
        outcomes = await asyncio.gather(*(asking.ask("SELECT id FROM customers") for _ in range(8)))
        assert sorted(getattr(each, "code", "ok") for each in outcomes) == ["HOOP110"] * 3 + ["ok"] * 5
        lookups = [asking.ask("SELECT id FROM customers WHERE email = $1", f"{n}@x.de") for n in range(5)]
        outcomes = await asyncio.gather(*lookups)
        assert sorted(getattr(each, "code", "ok") for each in outcomes) == ["HOOP321"] * 2 + ["ok"] * 3

        assert await asking.rows("SELECT count(*) FROM customers WHERE id = 1") == [["1"]]
        assert (await asking.ask("SELECT count(*) FROM customers WHERE id = 1 AND country = 'DE'")).code == "HOOP313"
