"""The seeded shop: the same each time, whole, quick, and nobody in it is real."""

import hashlib
import re
import time
from datetime import date
from random import Random

import pytest
import yaml

from hoop_mcp.onboarding import assets, shop, shop_numbers
from hoop_mcp.onboarding.shop_people import COUNTRIES, people

TABLES = ("customers", "employees", "products", "orders", "order_items", "payments", "tickets")


@pytest.fixture
def dsn(fresh_database, shop_template):
    return fresh_database(shop_template)


def digest(databases, dsn, table):
    rows = databases.fetch(f"SELECT t::text FROM public.{table} t ORDER BY 1", dsn=dsn)
    return hashlib.sha256("\n".join(row[0] for row in rows).encode()).hexdigest()


@pytest.mark.anyio
async def test_the_same_size_gives_the_same_rows(databases, fresh_database, shop_template):
    first, second = fresh_database(shop_template), fresh_database()
    counts = await shop.seed(second, shop.SMALL)
    for table in TABLES:
        assert digest(databases, first, table) == digest(databases, second, table), table
        assert databases.fetch(f"SELECT count(*) FROM {table}", dsn=second) == [(getattr(counts, table),)]


def test_every_server_takes_the_shop(any_databases, any_fresh_database):
    dsn = any_fresh_database(any_databases.shop())
    assert any_databases.fetch("SELECT count(*) FROM order_overview", dsn=dsn) == [(shop.SMALL.orders,)]


@pytest.mark.anyio
async def test_another_size_gives_other_rows(databases, fresh_database, shop_template):
    larger = fresh_database()
    await shop.seed(larger, shop.ShopSize(customers=301, orders=900, tickets=150, employees=12))
    assert digest(databases, larger, "customers") != digest(databases, fresh_database(shop_template), "customers")
    assert digest(databases, larger, "products") == digest(databases, fresh_database(shop_template), "products")


@pytest.mark.anyio
async def test_the_full_shop_is_seeded_well_within_twenty_seconds(fresh_database):
    began = time.perf_counter()
    counts = await shop.seed(fresh_database(), shop.FULL)
    assert time.perf_counter() - began < 20
    assert (counts.customers, counts.orders, counts.tickets) == (20_000, 60_000, 8_000)


@pytest.mark.anyio
async def test_a_database_that_is_not_empty_is_left_as_it_was(databases, dsn):
    before = digest(databases, dsn, "customers")
    with pytest.raises(Exception, match="already exists"):
        await shop.seed(dsn, shop.SMALL)
    assert digest(databases, dsn, "customers") == before


def test_every_reference_leads_somewhere(databases, dsn):
    references = databases.fetch(
        """SELECT conrelid::regclass::text, a.attname, confrelid::regclass::text
             FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[1]
            WHERE contype = 'f'""",
        dsn=dsn,
    )
    assert len(references) == 7
    for table, column, target in references:
        astray = databases.fetch(
            f"SELECT count(*) FROM {table} t WHERE {column} IS NOT NULL AND NOT EXISTS "
            f"(SELECT FROM {target} x WHERE x.id = t.{column})",
            dsn=dsn,
        )
        assert astray == [(0,)], (table, column)


def test_new_rows_get_new_ids(databases, dsn):
    ((made,),) = databases.fetch(
        "INSERT INTO products (sku, title, kind, price, stock) VALUES ('x', 'x', 'x', 1, 1) RETURNING id", dsn=dsn
    )
    assert made == 81


def test_an_order_costs_what_its_items_cost(databases, dsn):
    odd = databases.fetch(
        """SELECT o.id FROM orders o JOIN order_items i ON i.order_id = o.id
            GROUP BY o.id HAVING o.total <> sum(i.quantity * i.unit_price)""",
        dsn=dsn,
    )
    assert odd == []


def test_public_may_neither_create_nor_make_temporary_tables(databases, dsn):
    rights = databases.fetch(
        """SELECT has_database_privilege('pg_monitor', current_database(), 'TEMP'),
                  has_schema_privilege('pg_monitor', 'public', 'CREATE')""",
        dsn=dsn,
    )
    assert rights == [(False, False)]


def test_the_view_gives_nobody_more_than_its_tables(databases, dsn):
    databases.execute("CREATE ROLE view_only; GRANT SELECT ON order_overview, orders TO view_only", dsn)
    try:
        with pytest.raises(Exception, match="permission denied for table customers"):
            databases.execute("SET ROLE view_only; SELECT customer_name FROM order_overview", dsn)
    finally:
        databases.execute("DROP OWNED BY view_only; DROP ROLE view_only", dsn)


def test_tickets_mention_their_writers_own_data(databases, dsn):
    tickets = databases.fetch(
        """SELECT t.subject || ' ' || t.body, t.language, c.name, c.email, c.phone, c.iban, o.number
             FROM tickets t JOIN customers c ON c.id = t.customer_id JOIN orders o ON o.id = t.order_id
            WHERE o.customer_id = c.id""",
        dsn=dsn,
    )
    assert len(tickets) == shop.SMALL.tickets
    assert {language for _, language, *_ in tickets} == {"en", "de", "fr", "es", "nl", "it", "sv"}
    assert all(name in text for text, _, name, *_ in tickets)
    for place, least in ((3, 50), (4, 8), (5, 15), (6, 60)):
        assert sum(ticket[place] is not None and ticket[place] in ticket[0] for ticket in tickets) >= least
    assert not any("None" in text or "{" in text for text, *_ in tickets)


@pytest.mark.anyio
async def test_personal_values_are_read_back_by_column(dsn):
    values = await shop.personal_values(dsn)
    assert set(values) == set(shop.PERSONAL_COLUMNS)
    assert len(values["public.customers.email"]) == shop.SMALL.customers
    assert all("@" in value for value in values["public.customers.email"])
    assert all(len(found) > 5 for found in values.values())


def test_nobody_is_real(databases, dsn):
    emails = databases.fetch("SELECT email FROM customers UNION ALL SELECT email FROM employees", dsn=dsn)
    assert all(re.search(r"[@.]example\.(com|org|net)$", email) for (email,) in emails)
    phones = databases.fetch("SELECT country, phone FROM customers", dsn=dsn)
    fiction = {
        "US": r"\+1 \d{3} 555 01\d\d",
        "GB": r"\+44 (7700 900\d{3}|1[1-6]\d 496 0\d{3})",
        "DE": r"\+49 (30 23125|69 90009|40 66969|221 4710|89 99998)\d{3}",
        "FR": r"\+33 (1 99 00|6 39 98) \d\d \d\d",
        "SE": r"\+46 (8 465 004|31 390 06|40 628 04|70 174 06) \d\d",
    }
    for country, phone in phones:
        assert (phone is None) == (country not in fiction)
        assert phone is None or re.fullmatch(fiction[country], phone)
    cards = databases.fetch("SELECT card_number FROM payments WHERE card_number IS NOT NULL", dsn=dsn)
    assert all(re.match("400000|411111|424242|510510|555555", card) for (card,) in cards)


def test_accounts_and_cards_pass_their_check_and_stop_passing_when_a_digit_changes(databases, dsn):
    def account_holds(iban):
        return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1

    def card_holds(card):
        doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(card))]
        return sum(value // 10 + value % 10 for value in doubled) % 10 == 0

    accounts = databases.fetch("SELECT iban FROM customers WHERE iban IS NOT NULL", dsn=dsn)
    cards = databases.fetch("SELECT card_number FROM payments WHERE card_number IS NOT NULL", dsn=dsn)
    assert len(accounts) > 200
    assert len(cards) > 200
    for values, holds in ((accounts, account_holds), (cards, card_holds)):
        for (value,) in values:
            assert holds(value)
            assert not holds(value[:-1] + str((int(value[-1]) + 1) % 10))


def test_check_digits_agree_with_published_examples():
    assert shop_numbers.luhn("7992739871") == "3"  # ISO/IEC 7812-1, as in every description of it
    # The registry of ISO 13616 prints ES91 2100 0418 45 0200051332 and IT60 X 05428 11101 000000123456.
    assert shop_numbers._ccc("0021000418") + shop_numbers._ccc("0200051332") == "45"
    assert shop_numbers._italian_check("0542811101000000123456") == "X"
    assert shop_numbers._iban("GB", "WEST12345698765432") == "GB82WEST12345698765432"
    assert shop_numbers._italian_check("RSSMRA85T10A562") == "S"
    assert shop_numbers._cf_letters("Gianfranco", four=True) == "GFR"


def test_identity_numbers_pass_the_check_of_their_country():
    dice = Random(2)
    made = {
        country: [shop_numbers.national_id(country, "Ada", "Fo", date(1970, 1, 1), dice) for _ in range(100)]
        for country in ("DE", "FR", "ES", "NL", "SE")
    }
    for number in made["DE"]:
        assert sorted(number[:10].count(digit) for digit in set(number[:10])) == [1] * 8 + [2]
        product = 10
        for digit in number[:10]:
            product = ((product + int(digit)) % 10 or 10) * 2 % 11
        assert (product + int(number[10])) % 10 == 1
    assert all((int(number[:13]) + int(number[13:])) % 97 == 0 for number in made["FR"])
    assert all("TRWAGMYFPDXBNJZSQVHLCKE"[int(number[:8]) % 23] == number[8] for number in made["ES"])
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    assert all(sum(w * int(digit) for w, digit in zip(weights, number, strict=True)) % 11 == 0 for number in made["NL"])
    for number in made["SE"]:
        assert shop_numbers.luhn(number.replace("-", "")[:9]) == number[-1]


@pytest.mark.parametrize("country", COUNTRIES)
def test_identity_numbers_have_the_shape_of_their_country(country):
    shapes = {
        "US": r"9\d\d-[0-4]\d-\d{4}",
        "GB": r"QQ\d{6}[A-D]",
        "DE": r"0\d{10}",
        "FR": r"[12]70010{2}\d{6}\d\d",
        "ES": r"99\d{6}[A-Z]",
        "NL": r"999\d{6}",
        "IT": r"MLLMRA70A[04]1Z999[A-Z]",
        "SE": r"700101-9[89]\d\d",
    }
    dice = Random(1)
    for _ in range(200):
        number = shop_numbers.national_id(country, "Maria", "Müller", date(1970, 1, 1), dice)
        assert re.fullmatch(shapes[country], number), number


def test_every_column_of_the_shop_is_catalogued_and_nothing_else(databases, dsn):
    catalogue = yaml.safe_load(assets.policies().joinpath("shop", "shop.catalogue.yaml").read_text())
    columns = databases.fetch(
        """SELECT format('%s.%s.%s', table_schema, table_name, column_name)
             FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
            WHERE table_schema = 'public' AND table_type = 'BASE TABLE'""",
        dsn=dsn,
    )
    assert set(catalogue["columns"]) == {name for (name,) in columns}
    used = {
        entry["category"] for entry in catalogue["columns"].values() if isinstance(entry, dict) and "category" in entry
    }
    assert used == set(catalogue["categories"])


def test_personal_columns_are_catalogued_as_personal():
    catalogue = yaml.safe_load(assets.policies().joinpath("shop", "shop.catalogue.yaml").read_text())
    assert all("category" in catalogue["columns"][name] for name in shop.PERSONAL_COLUMNS)


def test_people_are_drawn_from_every_country():
    assert {person.country for person in people(300, stream="customers")} == set(COUNTRIES)
