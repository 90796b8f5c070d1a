"""A schema and data the product was not built around: the Northwind sample, governed by policies/northwind.

The sample is not part of the repository. HOOP_MCP_NORTHWIND names the file that makes it; otherwise it is looked for
beside the checkout, at ../shared/data/northwind.sql.
"""

import base64
import json
import os
from pathlib import Path

import asyncpg
import pytest

pytestmark = pytest.mark.anyio

SAMPLE = Path(os.environ.get("HOOP_MCP_NORTHWIND") or Path(__file__).parents[3] / "shared" / "data" / "northwind.sql")
ROLES = {"sales-rep": "order-handling", "hr-assistant": "personnel-administration"}

# What each role's policy masks, whole tables of it. Countries, towns, firms and names are shown to both.
MASKED = {
    "sales-rep": {
        "customers": ["address", "phone", "fax"],
        "suppliers": ["address", "phone", "fax"],
        "shippers": ["phone"],
        "orders": ["ship_address"],
        "employees": ["address", "home_phone", "notes", "photo_path", "birth_date"],
    },
    "hr-assistant": {
        "customers": ["contact_name", "address", "phone", "fax"],
        "suppliers": ["contact_name", "address", "phone", "fax"],
        "orders": ["ship_name", "ship_address"],
        "employees": ["address", "home_phone", "notes", "photo_path", "birth_date"],
    },
}
POSTCODES = {
    "sales-rep": {"customers": "postal_code", "suppliers": "postal_code", "orders": "ship_postal_code"},
    "hr-assistant": {"employees": "postal_code"},
}

STATEMENTS = [
    "SELECT * FROM customers",
    "SELECT * FROM suppliers",
    "SELECT * FROM shippers",
    "SELECT * FROM orders",
    "SELECT * FROM employees",
    "SELECT c.*, o.* FROM customers c JOIN orders o USING (customer_id) LIMIT 50",
    "SELECT row_to_json(c) FROM customers c",
    "SELECT string_agg(phone, ', '), array_agg(address) FROM customers",
    "SELECT string_agg(home_phone, ', '), array_agg(notes) FROM employees",
    "SELECT upper(address), reverse(phone), phone || '/' || fax FROM customers",
    "SELECT address AS a FROM employees UNION SELECT notes FROM employees",
    "SELECT phone::int FROM customers",
    "SELECT (birth_date || 'x')::date FROM employees",
    "SELECT customer_id FROM customers WHERE phone LIKE '0%'",
    "SELECT employee_id FROM employees WHERE notes LIKE '%French%'",
    "SELECT first_name, (SELECT max(phone) FROM customers) FROM employees",
]


REFUSED = {
    "sales-rep": {
        "SELECT customer_id FROM customers WHERE address LIKE 'B%'": "HOOP312",
        "SELECT count(*) FROM orders WHERE ship_address > 'M'": "HOOP312",
        "SELECT customer_id FROM customers WHERE phone LIKE '0%'": "HOOP312",
        "SELECT last_name FROM employees ORDER BY birth_date": "HOOP302",
        "SELECT home_phone FROM employees": "HOOP301",
    },
    "hr-assistant": {
        "SELECT employee_id FROM employees WHERE home_phone LIKE '(206)%'": "HOOP312",
        "SELECT employee_id FROM employees WHERE notes LIKE '%French%'": "HOOP302",
        "SELECT employee_id, count(*) FROM orders GROUP BY 1": "HOOP302",
        "SELECT contact_name FROM suppliers": "HOOP301",
    },
}


@pytest.fixture(scope="session")
def sample(talkative_databases):
    """The name of a database with the sample, to be copied."""
    if not SAMPLE.is_file():
        pytest.skip(f"the Northwind sample is not at {SAMPLE}; HOOP_MCP_NORTHWIND may name it")
    name = talkative_databases.create()
    talkative_databases.execute(SAMPLE.read_text(encoding="utf-8"), talkative_databases.cluster.dsn(name))
    return name


@pytest.fixture
def governed(deployment, folder, talkative, talkative_databases, sample, _loop):
    """``governed(role)`` is the sample in a database of its own, governed for that role."""
    made = []

    def govern(role):
        name = talkative_databases.create(sample)
        made.append(name)
        (folder / role).mkdir()
        northwind = deployment(
            folder / role, talkative, talkative.dsn(name), name="northwind", role=role, purpose=ROLES[role]
        )
        _loop.run(northwind.govern())
        northwind.log_before = len(northwind.written()["server.log"])
        return northwind

    yield govern
    for name in made:
        talkative_databases.drop(name)


async def ask(client, sql, *params):
    return await client.call_tool("query", {"sql": sql, "params": list(params), "max_rows": 1000})


def words(result):
    return " ".join(block.text for block in result.content if getattr(block, "text", None))


async def rows(client, sql, *params):
    result = await ask(client, sql, *params)
    assert not result.is_error, words(result)
    return [tuple(row) for row in result.structured_content["rows"]]


async def stored(deployment, sql):
    """What the database itself says, as its superuser."""
    connection = await asyncpg.connect(deployment.admin_dsn)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def test_a_customer_comes_back_with_what_is_kept_as_stored_and_the_rest_masked(governed):
    northwind = governed("sales-rep")
    sql = (
        "SELECT customer_id, company_name, contact_name, contact_title, city, region, country,"
        " address, postal_code, phone, fax FROM customers ORDER BY customer_id"
    )
    raw = await stored(northwind, sql)
    async with northwind.client() as client:
        told = await rows(client, sql)
    assert len(told) == len(raw) == 91
    assert [row[:7] for row in told] == [row[:7] for row in raw]
    for shown, real in zip(told, raw, strict=True):
        for masked, value in zip(shown[7:], real[7:], strict=True):
            assert (masked is None) == (value is None)
            assert value is None or masked != value
    assert {row[7] for row in told} <= {"[ADDRESS]", None}


async def test_orders_join_count_and_add_up_as_in_the_database(governed):
    northwind = governed("sales-rep")
    statements = [
        "SELECT count(*)::int FROM orders",
        "SELECT ship_country, count(*)::int FROM orders GROUP BY ship_country ORDER BY 2 DESC, 1",
        "SELECT company_name, count(*)::int FROM customers JOIN orders USING (customer_id) GROUP BY 1 ORDER BY 2 DESC, 1",
        "SELECT product_name, sum(quantity)::int FROM order_details JOIN products USING (product_id) GROUP BY 1 ORDER BY 2, 1",
        "SELECT last_name, count(*)::int FROM orders JOIN employees USING (employee_id) GROUP BY last_name ORDER BY 2, 1",
        "SELECT order_id, ship_name, ship_city, ship_country FROM orders ORDER BY order_id",
    ]
    async with northwind.client() as client:
        for sql in statements:
            assert await rows(client, sql) == await stored(northwind, sql)
        masked = await rows(client, "SELECT ship_address, ship_postal_code FROM orders WHERE order_id = $1", 10248)
    real = await stored(northwind, "SELECT ship_address, ship_postal_code FROM orders WHERE order_id = 10248")
    assert masked == [("[ADDRESS]", f"{real[0][1][:2]}***")]


async def test_an_employee_comes_back_with_a_year_of_birth_and_no_remarks(governed):
    northwind = governed("hr-assistant")
    sql = "SELECT * FROM employees ORDER BY employee_id"
    raw = await stored(northwind, sql)
    async with northwind.client() as client:
        result = await ask(client, sql)
        assert not result.is_error, words(result)
        born = await rows(client, "SELECT birth_date FROM employees ORDER BY employee_id")
    names = [column["name"] for column in result.structured_content["columns"]]
    told = [dict(zip(names, row, strict=True)) for row in result.structured_content["rows"]]
    assert len(told) == len(raw) == 9
    for shown, row in zip(told, raw, strict=True):
        real = dict(zip(names, row, strict=True))
        for kept in ("employee_id", "last_name", "first_name", "title", "title_of_courtesy", "city", "country"):
            assert shown[kept] == real[kept]
        assert shown["hire_date"] == real["hire_date"].isoformat()
        assert shown["birth_date"] == f"{real['birth_date'].year}-01-01" != real["birth_date"].isoformat()
        assert shown["notes"] == "[REMARKS]"
        assert shown["address"] == "[ADDRESS]"
        assert shown["photo"] is None
        assert shown["photo_path"] is None
        assert shown["home_phone"] != real["home_phone"]
        assert shown["home_phone"].endswith(real["home_phone"][-2:])
        assert shown["postal_code"].startswith("<POSTCODE:")
    assert born == [(row["birth_date"],) for row in told]


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_probe_or_another_department_s_table_is_refused(governed, role):
    async with governed(role).client() as client:
        for sql, code in REFUSED[role].items():
            result = await ask(client, sql)
            assert result.is_error, sql
            assert words(result).startswith(f"{code}: "), words(result)
        assert await rows(client, "SELECT 1") == [(1,)]


async def test_who_called_is_found_by_exactly_their_number(governed):
    northwind = governed("sales-rep")
    [(phone, customer)] = await stored(
        northwind, "SELECT phone, customer_id FROM customers WHERE customer_id = 'ALFKI'"
    )
    async with northwind.client() as client:
        assert await rows(client, "SELECT customer_id FROM customers WHERE phone = $1", phone) == [(customer,)]
        assert await rows(client, f"SELECT customer_id FROM customers WHERE phone = '{phone}'") == [(customer,)]
    assert not found_in([phone], without_the_log(northwind))


@pytest.mark.parametrize("role", list(ROLES))
async def test_no_masked_value_of_the_sample_is_in_an_answer_a_log_or_the_journal(governed, role):
    northwind = governed(role)
    secrets = await masked_values(northwind, MASKED[role])
    assert len(secrets) > 100
    answers, tables, running = await answers_to(northwind, STATEMENTS)
    places = {**northwind.written(), **running, "answers": answers.encode()}
    places["server.log"] = places["server.log"][northwind.log_before :]
    assert {"journal.db", "stderr.log", "journal.db-wal, running"} <= places.keys(), places.keys()
    assert not found_in(secrets, places)
    # Too short to look for in text: as cells.
    for table, column in POSTCODES[role].items():
        raw = {text for (text,) in await stored(northwind, f"SELECT DISTINCT {column} FROM {table}") if text}
        assert raw
        assert not raw & {cell for row in tables[table] for cell in row if isinstance(cell, str)}


async def test_the_search_for_masked_values_finds_them_where_a_policy_keeps_them(governed):
    """Teeth: the same search finds the numbers under a policy that keeps them."""
    northwind = governed("sales-rep")
    file = northwind.folder / "policies" / "sales.yaml"
    text = file.read_text()
    file.write_text(text.replace("contact: partial", "contact: keep"))
    assert file.read_text() != text
    secrets = await masked_values(northwind, {"customers": ["phone"]})
    answers, _, running = await answers_to(northwind, STATEMENTS[:1])
    assert found_in(secrets, {"answers": answers.encode()})
    # What an agent was shown is sealed in the journal: even then no file holds it.
    assert not found_in(secrets, {**without_the_log(northwind), **running})


async def masked_values(deployment, columns):
    """Every value of these columns, cut where JSON would spell it otherwise, in pieces long enough to be told apart."""
    pieces = set()
    for table, names in columns.items():
        for name in names:
            for (text,) in await stored(deployment, f"SELECT {name}::text FROM {table} WHERE {name} IS NOT NULL"):
                pieces |= {piece for piece in text.replace('"', "\\").split("\\") if len(piece) >= 8}
    return sorted(pieces)


async def answers_to(deployment, statements):
    """All that comes back, refusals too, as text; the rows of whole tables, by their names; and the files as they stand
    while the server still runs, for its journal's WAL is gone once it has ended.
    """
    told, tables = "", {}
    async with deployment.client() as client:
        for sql in statements:
            result = await ask(client, sql)
            told += result.model_dump_json()
            if not result.is_error:
                tables[sql.removeprefix("SELECT * FROM ")] = result.structured_content["rows"]
        for tool, arguments in (
            ("explain", {"sql": statements[0]}),
            ("describe_table", {"table": "customers"}),
            ("describe_table", {"table": "employees"}),
            ("search_schema", {"pattern": "e"}),
        ):
            told += (await client.call_tool(tool, arguments)).model_dump_json()
        running = {f"{place}, running": content for place, content in without_the_log(deployment).items()}
    return told, tables, running


def without_the_log(deployment):
    """The files of the deployment; the PostgreSQL server's own log has its loading in it."""
    return {place: content for place, content in deployment.written().items() if place != "server.log"}


def found_in(secrets, places):
    """Where any of the values stands, plainly, as JSON escapes it, in hex or in base64."""
    found = []
    for text in secrets:
        raw = text.encode()
        spellings = {
            raw,
            json.dumps(text)[1:-1].encode(),
            raw.hex().encode(),
            base64.b64encode(raw)[: len(raw) // 3 * 4],
        }
        found += [(text, place) for place, content in places.items() if any(each in content for each in spellings)]
    return found
