"""What an agent computes from personal data is one constant: no operator, no '' and no NULL answers a question about it."""

import pytest

pytestmark = pytest.mark.anyio

COMPUTED = [
    # A first or last letter shown by partial would spell the value, one row for each place.
    "SELECT translate(substr(email, g), '@.', 'AD') || 'zz' FROM customers, generate_series(1, 12) g WHERE customers.id = 1",
    "SELECT '0000000000' || left(phone, g) FROM customers, generate_series(1, 16) g WHERE customers.id = 1",
    "SELECT reverse(email) FROM customers WHERE id < 20",
    "SELECT 'x@y.' || split_part(email, '@', 1) FROM customers WHERE id < 20",
    "SELECT strpos(email, 'q') FROM customers WHERE id < 20",
    "SELECT length(email) FROM customers WHERE id < 20",
    "SELECT ascii(substr(email, 1, 1)) FROM customers WHERE id < 20",
    # '' or NULL left as they are would answer one question a row.
    "SELECT translate(substr(born_on::text, 1, 1), '1', '') FROM customers WHERE id < 20",
    "SELECT split_part(born_on::text, '2004', 1) FROM customers WHERE id < 20",
    "SELECT ltrim(street, 'ABCDEFGHIJK') FROM customers WHERE id < 20",
    "SELECT substr(street, 14) FROM customers WHERE id < 20",
    "WITH c AS (SELECT substr(street, 14) AS s FROM customers WHERE id < 20) SELECT s FROM c",
    "SELECT s.x FROM (SELECT substr(street, 14) AS x FROM customers WHERE id < 20) s",
    "SELECT substr(street, 14) FROM customers WHERE id < 10 UNION ALL SELECT reverse(street) FROM customers WHERE id < 10",
    "SELECT (SELECT substr(c.street, 14) FROM customers c WHERE c.id = o.customer_id) FROM orders o WHERE o.id < 20",
    # Kept text is kept because it is read for what must not be: encoded or cut it cannot be read.
    "SELECT encode(convert_to(subject, 'UTF8'), 'base64') FROM tickets WHERE id < 20",
    "SELECT substr(subject, g, 1) FROM tickets, generate_series(1, 12) g WHERE tickets.id = 5",
    "SELECT translate(subject, '0123456789@', 'abcdefghij#') FROM tickets WHERE id < 20",
    "SELECT left(subject, 90) FROM tickets WHERE id < 20",
    "SELECT subject || 'AAA' FROM tickets WHERE id < 20",
    "SELECT reverse(subject) FROM tickets WHERE id < 20",
    "SELECT md5(subject) FROM tickets WHERE id < 20",
    "SELECT reverse(body) FROM tickets WHERE id < 20",
]


@pytest.mark.parametrize("sql", COMPUTED)
async def test_what_is_computed_is_one_constant(shop_client, sql):
    result = await shop_client.call_tool("query", {"sql": sql})
    if result.is_error:
        assert result.content[0].text.startswith(("HOOP312", "HOOP204")), result.content[0].text
        return
    answer = result.structured_content
    assert answer["row_count"] > 1
    assert {str(row[0]) for row in answer["rows"]} in (
        {"[CONTACT]"},
        {"[EMAIL_ADDRESS]"},
        {"[PHONE_NUMBER]"},
        {"None"},
    ) or (len({str(row[0]) for row in answer["rows"]}) == 1 and str(answer["rows"][0][0]).startswith("["))
    assert answer["columns"][0]["mask"] in ("redact", "nullify")


@pytest.mark.parametrize(
    ("sql", "mask"),
    [
        ("SELECT email FROM customers WHERE id < 20", "partial"),
        ("SELECT e FROM (SELECT email AS e FROM customers) x", "partial"),
        ("WITH x AS (SELECT email AS e FROM customers) SELECT e FROM x", "partial"),
        ("SELECT c.email FROM customers c JOIN orders o ON o.customer_id = c.id", "partial"),
        ("SELECT (SELECT email FROM customers c WHERE c.id = o.customer_id) FROM orders o", "redact"),
        ("SELECT name FROM customers", "keep"),
        ("SELECT upper(name) FROM customers", "keep"),
        ("SELECT left(name, 1) FROM customers", "keep"),
        ("SELECT subject FROM tickets", "keep"),
        ("SELECT lower(subject) FROM tickets", "keep"),
        ("SELECT email FROM customers UNION ALL SELECT email FROM customers", "partial"),
    ],
)
async def test_stored_values_keep_the_operator_that_policy_gives_them(shop_client, sql, mask):
    answer = (await shop_client.call_tool("query", {"sql": sql})).structured_content
    assert answer["columns"][0]["mask"] == mask


@pytest.mark.parametrize(
    "sql", ["SELECT id, phone IS NULL FROM customers LIMIT 5", "SELECT count(phone) FROM customers"]
)
async def test_a_column_that_is_only_counted_or_tested_for_null_is_answered(shop_client, sql):
    result = await shop_client.call_tool("query", {"sql": sql})
    assert not result.is_error, result.content[0].text
