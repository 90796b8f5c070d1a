"""A real client, a real server, a real PostgreSQL: what an agent gets, and what it does not."""

import asyncio
import base64
import json
import os
import sys

import asyncpg
import pytest

from hoop_mcp.journal.verify import verify
from hoop_mcp.onboarding.shop import personal_values
from hoop_mcp.wiring.journal import open_reader

pytestmark = pytest.mark.anyio


async def ask(client, sql, **arguments):
    return await client.call_tool("query", {"sql": sql, **arguments})


def words(result):
    return " ".join(block.text for block in result.content if getattr(block, "text", None))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_personal_data_comes_back_masked_in_both_protocol_eras(shop, mode):
    raw = (await _rows(shop, "SELECT name, email, phone FROM customers WHERE phone IS NOT NULL ORDER BY id LIMIT 1"))[0]
    async with shop.client(mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        result = await ask(
            client, "SELECT name, email, phone, city FROM customers WHERE phone IS NOT NULL ORDER BY id LIMIT 1"
        )
    assert tools == ["query", "explain", "list_databases", "search_schema", "describe_table", "whoami"]
    assert not result.is_error, words(result)
    answer = result.structured_content
    name, email, phone, _ = answer["rows"][0]
    assert name == raw[0]
    assert "*" in email
    assert email != raw[1]
    assert phone != raw[2]
    assert [column["mask"] for column in answer["columns"]] == ["keep", "partial", "partial", "redact"]
    assert answer["receipt"]["seq"] > 0


async def test_every_step_is_in_a_journal_that_verifies(shop):
    async with shop.client() as client:
        await ask(client, "SELECT name FROM customers LIMIT 1")
        await ask(client, "SELECT id FROM customers WHERE email LIKE 'a%'")
    with open_reader(shop.folder / "journal.db") as reader:
        verdict = verify(reader.rows(), damage=reader.damage())
        told = reader.tail(3, ("intent", "outcome", "refusal"))
        kinds = [entry.kind for entry in told]
        assert sorted(kinds) == ["intent", "outcome", "refusal"], [dict(entry.body) for entry in told]
        intent = told[kinds.index("intent")]
        sealed = json.loads(reader.open_part(intent.seq, "sql", shop.folder / "keys"))
    assert verdict.ok
    assert intent.body["statement"] == "SELECT name FROM customers LIMIT ?"
    assert sealed == {"sql": "SELECT name FROM customers LIMIT 1", "params": []}


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("", "HOOP201"),
        ("   ", "HOOP201"),
        ("SELECT 1; SELECT 2", "HOOP202"),
        ("(" * 1_000_000, "HOOP207"),
        ("SELECT '\0'", "HOOP208"),
        ("SELECT * FROM nowhere_at_all", "HOOP209"),
        ("SELECT nothing_at_all FROM customers", "HOOP209"),
        ("SELEC 1", "HOOP203"),
        ("DELETE FROM customers", "HOOP206"),
        ("WITH d AS (DELETE FROM orders RETURNING id) SELECT id FROM d", "HOOP206"),
        ("DROP TABLE customers", "HOOP205"),
        ("COPY customers TO STDOUT", "HOOP205"),
        ("SELECT pg_read_file('/etc/passwd')", "HOOP204"),
        ("SELECT set_config('role', 'postgres', false)", "HOOP204"),
        ("SELECT salary FROM employees", "HOOP213"),
        ("SELECT usename, passwd FROM pg_shadow", "HOOP213"),
        ("SELECT card_number FROM payments", "HOOP302"),
        ("SELECT id FROM customers ORDER BY email", "HOOP312"),
        ("SELECT ctid FROM customers", "HOOP217"),
        ("SELECT id FROM orders FOR UPDATE", "HOOP218"),
        ("SELECT id FROM orders WHERE id = $1", "HOOP214"),
        ("SELECT 1/0", "HOOP503"),
    ],
)
async def test_bad_input_is_a_refusal_with_a_code_and_the_server_still_serves(shop_client, sql, code):
    result = await ask(shop_client, sql)
    assert result.is_error
    assert words(result).startswith(f"{code}: "), words(result)
    assert len(words(result)) > len(code) + 20
    assert not (await ask(shop_client, "SELECT 1")).is_error


async def test_wrong_parameters_are_told_without_running_anything(shop_client):
    for params, code in (([], "HOOP214"), ([1, 2], "HOOP214"), ([{"a": 1}], "HOOP214"), (["x"], "HOOP503")):
        result = await ask(shop_client, "SELECT id FROM orders WHERE id = $1", params=params)
        assert words(result).startswith(code), words(result)
    result = await ask(shop_client, "SELECT id, status FROM orders WHERE id = $1", params=[1])
    assert result.structured_content["row_count"] == 1


async def test_values_have_the_json_types_of_the_surface(shop_client):
    result = await ask(
        shop_client,
        "SELECT 1::int2, 2::int4, 3::int8, 1.5::float8, 2.50::numeric, true, NULL::int, '{\"a\": [1]}'::jsonb,"
        " ARRAY[1, NULL, 3], ARRAY['x', 'y z'], DATE '2026-11-24', 'NaN'::float8, ''::text",
    )
    assert not result.is_error, words(result)
    assert result.structured_content["rows"] == [
        [1, 2, "3", 1.5, "2.50", True, None, {"a": [1]}, [1, None, 3], ["x", "y z"], "2026-11-24", "NaN", ""]
    ]


async def test_describing_tools_name_only_what_some_policy_opens(shop_client):
    listed = (await shop_client.call_tool("list_databases", {})).structured_content
    found = (await shop_client.call_tool("search_schema", {"pattern": "e"})).structured_content
    names = {match["name"] for match in found["matches"]}
    assert listed["databases"][0]["name"] == "shop"
    assert "public.customers.email" in names
    assert not [name for name in names if name.startswith(("public.employees", "public.payments"))]
    described = (await shop_client.call_tool("describe_table", {"table": "customers"})).structured_content
    email = next(column for column in described["columns"] if column["name"] == "email")
    assert email["category"] == "contact"
    refused = await shop_client.call_tool("describe_table", {"table": "employees"})
    assert refused.is_error
    who = (await shop_client.call_tool("whoami", {})).structured_content
    assert who["roles"] == ["support-agent"]


async def test_explain_judges_and_plans_without_running(shop_client):
    allowed = (await shop_client.call_tool("explain", {"sql": "SELECT id FROM orders WHERE id = 1"})).structured_content
    denied = (await shop_client.call_tool("explain", {"sql": "SELECT card_number FROM payments"})).structured_content
    assert allowed["verdict"] == "allow"
    assert any("Scan" in line for line in allowed["plan"])
    assert not any("cost" in line for line in allowed["plan"])
    assert denied["verdict"] == "deny"
    assert denied["plan"] == []
    assert not (await ask(shop_client, "SELECT 1")).is_error


async def test_twenty_calls_at_once_each_get_their_own_answer(shop_client):
    results = await asyncio.gather(*(ask(shop_client, f"SELECT {number} AS n") for number in range(20)))
    assert not [words(result) for result in results if result.is_error]
    assert [result.structured_content["rows"] for result in results] == [[[number]] for number in range(20)]


async def test_cancelling_the_call_cancels_the_query_and_the_journal_says_so(shop):
    slow = "SELECT count(*) FROM generate_series(1, 2000000000)"
    async with shop.client() as client:
        await ask(client, "SELECT 1")
        call = asyncio.create_task(ask(client, slow))
        await _until(shop, f"query LIKE '{slow[:30]}%' AND state = 'active'", there=True)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await _until(shop, f"query LIKE '{slow[:30]}%' AND state = 'active'", there=False)
        assert not (await ask(client, "SELECT 1")).is_error
    with open_reader(shop.folder / "journal.db") as reader:
        codes = [entry.body.get("result", {}).get("code") for entry in reader.tail(6, ("outcome", "refusal"))]
    assert "HOOP109" in codes


async def test_a_server_that_goes_away_in_mid_query_is_a_refusal_and_comes_back(shop):
    slow = "SELECT count(*) FROM generate_series(1, 2000000000)"
    async with shop.client() as client:
        await ask(client, "SELECT 1")
        call = asyncio.create_task(ask(client, slow))
        await _until(shop, f"query LIKE '{slow[:30]}%' AND state = 'active'", there=True)
        await _rows(
            shop, f"SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE query LIKE '{slow[:30]}%'"
            " AND pid <> pg_backend_pid()"
        )  # fmt: skip
        result = await call
        assert words(result).startswith("HOOP506"), words(result)
        assert not (await ask(client, "SELECT 1")).is_error


async def test_a_statement_that_takes_too_long_is_stopped(shop_client):
    result = await ask(shop_client, "SELECT count(*) FROM generate_series(1, 2000000000)")
    assert words(result).startswith("HOOP502"), words(result)


async def test_a_journal_that_cannot_be_written_stops_everything_and_says_so(shop):
    async with shop.client() as client:
        assert not (await ask(client, "SELECT 1")).is_error
        server = await _child_holding(shop.folder / "journal.db")
        # No file of the process may grow any more: what a full disk does.
        os.system(f"prlimit --pid {server} --fsize=1:1")
        result = await ask(client, "SELECT name FROM customers LIMIT 1")
        assert words(result).startswith("HOOP601"), words(result)
        os.system(f"prlimit --pid {server} --fsize=unlimited:unlimited")
    ran = await _rows(shop, "SELECT 1")
    assert ran


async def test_nothing_raw_is_anywhere(shop):
    answers = await _read_everything(shop)
    found = await _leaks(shop, answers)
    assert not found


async def test_the_leak_search_has_teeth(shop, monkeypatch):
    """With masking planted off, the same search finds the same values."""
    script = shop.folder / "unmasked.py"
    script.write_text(
        "import hoop_mcp.masking.apply as apply, hoop_mcp.masking.plan as plan\n"
        "from hoop_mcp.cli import main\n"
        "import hoop_mcp.gate as gate\n"
        "gate.plan = lambda columns, masks: plan.MaskPlan(tuple(plan.ColumnPlan(c.name, 'int8') for c in columns))\n"
        "import hoop_mcp.adapters.mask_worker as worker\n"
        "worker.mask_columns = lambda how, columns, *, finder, key: apply.Masked(\n"
        "    __import__('orjson').dumps(list(zip(*columns))), tuple(c.name for c in how.columns))\n"
        "main()\n"
    )
    answers = await _read_everything(shop, command=(sys.executable, str(script)))
    assert await _leaks(shop, answers)


async def _read_everything(shop, **how):
    statements = [
        f"SELECT * FROM {table} ORDER BY id LIMIT 100"
        for table in ("customers", "orders", "tickets", "order_overview")
    ] + [
        "SELECT id FROM customers WHERE email LIKE 'a%'",
        "SELECT card_number, iban FROM payments",
        "SELECT email::int FROM customers",
        "SELECT id FROM customers WHERE phone::int = 1",
        "SELECT t.id, t.subject, t.body, c.email, c.iban, c.national_id FROM tickets t JOIN customers c ON true LIMIT 100",
        "SELECT row_to_json(c) FROM customers c LIMIT 100",
        "SELECT array_agg(email), string_agg(iban, ' ') FROM customers",
    ]  # fmt: skip
    answers = []
    async with shop.client(**how) as client:
        answers += [(await ask(client, sql)).model_dump_json() for sql in statements]
        for tool, arguments in (("describe_table", {"table": "customers"}), ("explain", {"sql": statements[0]})):
            answers.append((await client.call_tool(tool, arguments)).model_dump_json())
    return answers


async def _leaks(shop, answers):
    """Every seeded value that support's policy masks, looked for plainly, in hex and in base64, everywhere."""
    values = await personal_values(shop.admin_dsn)
    kept = {"public.customers.name", "public.employees.name"}  # support sees customers' names
    places = {**shop.written(), "answers": "\n".join(answers).encode()}
    found = []
    for column, texts in values.items():
        if column in kept:
            continue
        for text in texts:
            raw = text.encode()
            if len(raw) < 8:
                continue
            spellings = [raw, raw.hex().encode(), raw.hex().upper().encode()]
            # base64 at any of the three alignments, without the ends that neighbours would change
            for lead in range(3):
                spelled = base64.b64encode(b"\0" * lead + raw)
                spellings.append(spelled[(lead * 4 + 2) // 3 + (1 if lead else 0) : -4])
            found += [
                (column, place) for place, content in places.items() for each in spellings if len(each) >= 8 and each in content
            ]  # fmt: skip
    return found


async def _rows(shop, sql):
    connection = await asyncpg.connect(shop.admin_dsn)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def _until(shop, condition, *, there, seconds=15):
    for _ in range(seconds * 20):
        rows = await _rows(
            shop, f"SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {condition} LIMIT 1"
        )
        if bool(rows) is there:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"{condition} stayed {not there}")


async def _child_holding(path):
    """The process that has a file open."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                links = {os.readlink(f"/proc/{entry}/fd/{each}") for each in os.listdir(f"/proc/{entry}/fd")}
            except OSError:
                continue
            if str(path) in links:
                return int(entry)
    pytest.fail("no process holds the journal")
