"""EXPLAIN, SHOW and everything that is no read, as an agent meets them over stdio."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hoop_mcp.wiring.journal import open_reader

pytestmark = pytest.mark.anyio


async def ask(client, sql, **arguments):
    return await client.call_tool("query", {"sql": sql, **arguments})


def words(result):
    return " ".join(block.text for block in result.content if getattr(block, "text", None))


def lines(result):
    assert not result.is_error, words(result)
    return [line for (line,) in result.structured_content["rows"]]


async def test_a_plan_comes_as_text_without_numbers(shop_client):
    result = await ask(shop_client, "EXPLAIN (COSTS, FORMAT JSON) SELECT id FROM orders WHERE id = $1", params=[7])
    told = "\n".join(lines(result))
    assert "orders" in told
    assert "cost=" not in told
    assert result.structured_content["columns"] == [
        {"name": "QUERY PLAN", "type": "text", "category": None, "mask": None}
    ]
    assert any("COSTS, FORMAT JSON" in notice for notice in result.structured_content["notices"])


async def test_what_is_measured_is_rows(shop_client):
    told = lines(await ask(shop_client, "EXPLAIN (ANALYZE, BUFFERS) SELECT count(*) FROM orders"))
    assert "actual rows=1" in told[0]
    assert not [line for line in told if "Time" in line or "Buffers" in line or "Memory" in line]


async def test_the_explain_tool_and_explain_through_query_tell_the_same_plan(shop_client):
    sql = "SELECT id FROM orders WHERE status = 'paid'"
    judged = await shop_client.call_tool("explain", {"sql": f"EXPLAIN (VERBOSE) {sql}"})
    assert judged.structured_content["verdict"] == "allow"
    assert judged.structured_content["plan"] == lines(await ask(shop_client, f"EXPLAIN {sql}"))
    assert any("VERBOSE" in notice for notice in judged.structured_content["notices"])


async def test_a_view_is_told_in_outline(shop_client):
    told = "\n".join(lines(await ask(shop_client, "EXPLAIN SELECT * FROM order_overview")))
    assert "orders" not in told
    assert "Scan" in told or "Join" in told or "Loop" in told


async def test_a_setting_is_shown(shop_client):
    for setting, value in (("TimeZone", "UTC"), ("server_encoding", "UTF8"), ("search_path", '"public"')):
        assert lines(await ask(shop_client, f"SHOW {setting}")) == [value]
    version = lines(await ask(shop_client, "SHOW server_version"))
    assert version[0].split(".")[0].isdigit()


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("EXPLAIN SELECT id FROM customers WHERE email LIKE 'a%'", "HOOP312"),
        ("EXPLAIN (FORMAT JSON) SELECT id FROM customers ORDER BY email", "HOOP312"),
        ("EXPLAIN SELECT name FROM customers WHERE email = 'x@example.com'", "HOOP219"),
        ("EXPLAIN SELECT salary FROM employees", "HOOP213"),
        ("EXPLAIN SELECT card_number FROM payments", "HOOP302"),
        ("EXPLAIN SELECT pg_read_file('/etc/passwd')", "HOOP204"),
        ("EXPLAIN (ANALYZE, VERBOSE) SELECT id, email FROM customers", "HOOP219"),
        ("EXPLAIN ANALYZE SELECT id FROM order_overview", "HOOP219"),
        ("EXPLAIN ANALYZE DELETE FROM orders WHERE id = 1", "HOOP206"),
        ("EXPLAIN /*x*/ ANALYZE /*y*/ DELETE FROM orders", "HOOP206"),
        ("EXPLAIN (ANALYZE off, ANALYZE on) DELETE FROM orders", "HOOP203"),
        ("EXPLAIN ANALYZE WITH d AS (DELETE FROM orders RETURNING id) SELECT id FROM d", "HOOP206"),
        ("explain (analyze) select id from orders for update", "HOOP218"),
        ("EXPLAIN SELECT id FROM orders FOR SHARE", "HOOP218"),
        ("EXPLAIN SELECT 1; DROP TABLE orders", "HOOP202"),
        ("EXPLAIN EXPLAIN SELECT 1", "HOOP205"),
        ("EXPLAIN EXECUTE hoop_rollback", "HOOP205"),
        ("EXPLAIN CREATE TABLE leak AS SELECT email FROM customers", "HOOP205"),
        ("EXPLAIN\u00a0SELECT 1", "HOOP208"),
        ("EXPLAIN SELECT id FROM orders WHERE id = $1", "HOOP214"),
        ("EXPLAIN ANALYZE SELECT 1/0", "HOOP503"),
        ("SHOW ALL", "HOOP220"),
        ("SHOW data_directory", "HOOP220"),
        ("SHOW app.tenant", "HOOP220"),
        ("SELECT id FROM orders WHERE id = 1 FOR UPDATE", "HOOP218"),
        ("LISTEN ch", "HOOP205"),
        ("SET search_path = x", "HOOP205"),
        ("RESET ALL", "HOOP205"),
        ("PREPARE p AS SELECT 1", "HOOP205"),
        ("DECLARE c CURSOR FOR SELECT email FROM customers", "HOOP205"),
        ("VACUUM orders", "HOOP205"),
        ("DO $$ BEGIN DELETE FROM orders; END $$", "HOOP205"),
        ("CALL f()", "HOOP205"),
        ("COMMIT", "HOOP205"),
    ],
)
async def test_the_rest_is_refused_with_a_code_and_what_to_do(shop_client, sql, code):
    result = await ask(shop_client, sql)
    assert words(result).startswith(f"{code}: "), words(result)
    assert not [name for name in ("hidden", "ALIAS", "COLUMN") if name in words(result)]
    assert lines(await ask(shop_client, "EXPLAIN SELECT 1")) == ["Result"]


async def test_a_value_in_a_plan_is_masked_and_never_in_the_servers_log_as_a_tree(shop):
    sql = "EXPLAIN SELECT id FROM orders WHERE status = $1"
    before = len(shop.written()["server.log"])
    async with shop.client() as client:
        told = "\n".join(lines(await ask(client, sql, params=["zoe.quill@example.com"])))
        lines(await ask(client, "SHOW TimeZone"))
    assert "zoe.quill" not in told
    assert "EMAIL_ADDRESS" in told
    log = shop.written()["server.log"][before:]
    assert b"EXECUTE" in log  # what ran is there for the customer's own audit
    for tree in (b"EXPLAINSTMT", b"EXECUTESTMT", b"VARIABLESHOWSTMT", b"{EXPLAIN", b"parse tree"):
        assert tree not in log


async def test_a_plan_and_a_setting_are_journaled_like_a_read(shop):
    async with shop.client() as client:
        lines(await ask(client, "EXPLAIN ANALYZE SELECT id FROM orders WHERE id = 4711"))
        lines(await ask(client, "SHOW TimeZone"))
    with open_reader(shop.folder / "journal.db") as reader:
        intents = [entry.body for entry in reader.tail(4, ("intent", "outcome")) if entry.kind == "intent"]
    assert sorted((body["statement"], body["login"]) for body in intents) == [
        ("EXPLAIN ANALYZE SELECT id FROM orders WHERE id = ?", "clean"),
        ("SHOW TimeZone", "clean"),
    ]


async def test_policy_explain_judges_them_as_query_does(shop):
    asked = {
        "plain": ("EXPLAIN SELECT id FROM orders WHERE status = 'paid'", "allow", None),
        "shown": ("EXPLAIN SELECT id, email FROM customers", "allow", None),
        "measured": ("EXPLAIN ANALYZE SELECT count(*) FROM orders", "allow", None),
        "personal": ("EXPLAIN (ANALYZE, VERBOSE) SELECT id, email FROM customers", "deny", "HOOP219"),
        "probe": ("EXPLAIN SELECT id FROM customers WHERE email < 'b'", "hold", "HOOP312"),
        "write": ("EXPLAIN ANALYZE DELETE FROM orders WHERE id = 1", "deny", "HOOP206"),
        "lock": ("SELECT id FROM orders WHERE id = 1 FOR UPDATE", "hold", "HOOP218"),
        "locked": ("EXPLAIN SELECT id FROM orders FOR NO KEY UPDATE SKIP LOCKED", "hold", "HOOP218"),
        "show": ("SHOW server_version", "allow", None),
        "not shown": ("SHOW data_directory", "deny", "HOOP220"),
        "listen": ("LISTEN ch", "deny", "HOOP205"),
    }
    text = "".join(json.dumps({"id": ident, "sql": sql}) + "\n" for ident, (sql, _, _) in asked.items())
    command = [
        sys.executable,
        "-m",
        "hoop_mcp",
        "policy",
        "explain",
        "--config",
        str(shop.settings),
        "--database",
        "shop",
    ]
    ran = subprocess.run(
        [*command, "--as", "support-agent", "--json", "-"],
        input=text,
        env=shop.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answers = {answer["id"]: answer for answer in map(json.loads, ran.stdout.splitlines())}
    assert {ident: (answer["effect"], answer["code"]) for ident, answer in answers.items()} == {
        ident: (effect, code) for ident, (_, effect, code) in asked.items()
    }
    assert answers["shown"]["columns"] == ["QUERY PLAN"]
    assert answers["shown"]["masked"] == []
    assert answers["shown"]["relations"] == ["public.customers"]
    assert answers["show"]["columns"] == ["server_version"]
