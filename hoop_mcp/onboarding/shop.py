"""The seeded shop: the database of the demo, the policy tests and the benchmarks. Nobody in it is real.

The same size gives the same rows, to the byte, on every machine with the same Faker.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import asyncpg

from hoop_mcp.onboarding import shop_numbers, shop_tickets
from hoop_mcp.onboarding.assets import shop_schema
from hoop_mcp.onboarding.shop_people import CURRENCIES, LANGUAGES, Person, dice_for, people

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class ShopSize:
    """How many rows to make; the other tables follow from these."""

    customers: int
    orders: int
    tickets: int
    employees: int


@dataclass(frozen=True, slots=True)
class ShopCounts:
    """How many rows there are, by table."""

    customers: int
    employees: int
    products: int
    orders: int
    order_items: int
    payments: int
    tickets: int


FULL = ShopSize(customers=20_000, orders=60_000, tickets=8_000, employees=60)
SMALL = ShopSize(customers=300, orders=900, tickets=150, employees=12)

# Columns whose values recognise somebody by themselves: what a leak test looks for in an answer, a log or a journal.
# Towns, dates and amounts are personal data too, but stand in harmless texts by chance.
PERSONAL_COLUMNS = (
    "public.customers.name",
    "public.customers.email",
    "public.customers.phone",
    "public.customers.street",
    "public.customers.iban",
    "public.customers.national_id",
    "public.orders.delivery_address",
    "public.payments.card_number",
    "public.payments.iban",
    "public.employees.name",
    "public.employees.email",
    "public.employees.phone",
)

_Rows = list[tuple[Any, ...]]
_OPENED = datetime(2023, 1, 1, tzinfo=UTC)
_TODAY = datetime(2026, 9, 1, tzinfo=UTC)
_SECONDS = int((_TODAY - _OPENED).total_seconds())
_KINDS = ("kettle", "lamp", "backpack", "desk", "headphones", "bicycle light", "tea", "notebook", "blanket", "drill")
_STYLES = ("small", "large", "blue", "grey", "folding", "quiet", "light", "classic")
_JOBS = ("support agent", "support lead", "buyer", "warehouse clerk", "accountant", "developer")
_STATUSES = ("shipped", "paid", "placed", "returned", "refunded", "cancelled")
_STATUS_WEIGHTS = (70, 10, 5, 6, 5, 4)
_UNPAID = ("placed", "cancelled")


@dataclass(frozen=True, slots=True)
class _Order:
    """What payments and tickets need to know of an order."""

    number: str
    customer: int
    status: str
    total: Decimal
    placed_at: datetime


async def seed(dsn: str, size: ShopSize = FULL) -> ShopCounts:
    """Create the schema and its rows in an existing, empty database, in one transaction.

    Args:
        dsn: of a superuser, who will own the tables (a governed login must not).
        size: how many rows.

    Raises:
        asyncpg.PostgresError: where the database is not empty, or older than PostgreSQL 15.
    """
    tables = dict(_tables(size))
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute(shop_schema())
            # The rows are made to fit each other, and a test checks them: no need to look each reference up again.
            await connection.execute("SET LOCAL session_replication_role = replica")
            for name, rows in tables.items():
                await connection.copy_records_to_table(name, schema_name="public", records=rows)
                if name != "order_items":
                    await connection.execute(
                        f"SELECT setval(pg_get_serial_sequence('public.{name}', 'id'), {len(rows)})"
                    )
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return ShopCounts(**{name: len(rows) for name, rows in tables.items()})


async def personal_values(dsn: str, columns: tuple[str, ...] = PERSONAL_COLUMNS) -> dict[str, frozenset[str]]:
    """Every distinct value of each column (``schema.table.column``), as PostgreSQL prints it: for leak tests."""
    connection = await asyncpg.connect(dsn)
    try:
        found = {}
        for name in columns:
            schema, table, column = name.split(".")
            rows = await connection.fetch(
                f'SELECT DISTINCT "{column}"::text AS value FROM "{schema}"."{table}" WHERE "{column}" IS NOT NULL'
            )
            found[name] = frozenset(str(row["value"]) for row in rows)
    finally:
        await connection.close()
    return found


def _tables(size: ShopSize) -> Iterable[tuple[str, _Rows]]:
    """The rows of each table, in the order of their references, each row in the order of the table's columns."""
    customers = people(size.customers, stream="customers")
    yield "customers", _customers(customers)
    yield "employees", _employees(size.employees)
    products = _products()
    yield "products", products
    orders, order_rows, item_rows = _orders(size.orders, customers, products)
    yield "orders", order_rows
    yield "order_items", item_rows
    yield "payments", _payments(orders, customers)
    yield "tickets", _tickets(size, orders, customers)


def _customers(customers: list[Person]) -> _Rows:
    dice = dice_for("accounts")
    return [
        (
            place,
            person.name,
            person.email,
            person.phone,
            person.street,
            person.postcode,
            person.city,
            person.country,
            person.born_on,
            person.iban,
            person.national_id,
            dice.random() < 0.3,
            _OPENED - timedelta(seconds=dice.randrange(_SECONDS)),
        )
        for place, person in enumerate(customers, 1)
    ]


def _employees(count: int) -> _Rows:
    dice = dice_for("jobs")
    rows: _Rows = []
    # Staff of the countries that set phone numbers aside for fiction: everybody has one.
    for place, person in enumerate(people(count, stream="employees", countries=("DE", "GB", "FR")), 1):
        email = person.email.replace("@", "@staff.")
        salary = Decimal(dice.randrange(28_000, 95_000, 50))
        hired_on = (_OPENED + timedelta(seconds=dice.randrange(_SECONDS))).date()
        rows.append((place, person.name, email, person.phone, dice.choice(_JOBS), salary, person.born_on, hired_on))
    return rows


def _products() -> _Rows:
    dice = dice_for("products")
    titles = [(f"{style} {kind}".capitalize(), kind) for kind in _KINDS for style in _STYLES]
    return [
        (place, f"SKU-{place:04d}", title, kind, Decimal(dice.randrange(399, 19_999)) / 100, dice.randrange(500))
        for place, (title, kind) in enumerate(titles, 1)
    ]


def _orders(count: int, customers: list[Person], products: _Rows) -> tuple[list[_Order], _Rows, _Rows]:
    """Orders in the order of time, so that numbers and ids rise with it."""
    dice = dice_for("orders")
    orders, order_rows, item_rows = [], [], []
    gaps = [dice.random() for _ in range(count)]
    whole = sum(gaps)
    for place, passed in enumerate(accumulate(gaps), 1):
        placed_at = _OPENED + timedelta(seconds=int(passed / whole * _SECONDS))
        # The square leans towards the first customers: some order often, many hardly ever.
        customer = int(dice.random() ** 2 * len(customers))
        person = customers[customer]
        total = Decimal(0)
        for product in dice.sample(products, dice.choice((1, 1, 2, 3, 4))):
            quantity = dice.choice((1, 1, 1, 2, 3))
            item_rows.append((place, product[0], quantity, product[4]))
            total += quantity * product[4]
        order = _Order(
            number=f"SO-{placed_at:%Y}-{place:06d}",
            customer=customer,
            status=dice.choices(_STATUSES, _STATUS_WEIGHTS)[0],
            total=total,
            placed_at=placed_at,
        )
        currency = CURRENCIES.get(person.country, "EUR")
        order_rows.append((place, order.number, customer + 1, order.status, total, currency, person.address, placed_at))
        orders.append(order)
    return orders, order_rows, item_rows


def _payments(orders: list[_Order], customers: list[Person]) -> _Rows:
    dice = dice_for("payments")
    rows: _Rows = []
    for place, order in enumerate(orders, 1):
        if order.status in _UNPAID:
            continue
        account = customers[order.customer].iban
        method = dice.choice(("card", "card", "debit", "invoice") if account else ("card", "invoice"))
        card = shop_numbers.card(dice) if method == "card" else None
        paid_at = order.placed_at + timedelta(minutes=dice.randrange(1, 3000))
        debited = account if method == "debit" else None
        rows.append((len(rows) + 1, place, method, card, debited, order.total, paid_at))
    return rows


def _tickets(size: ShopSize, orders: list[_Order], customers: list[Person]) -> _Rows:
    dice = dice_for("tickets")
    rows: _Rows = []
    for place in range(1, size.tickets + 1):
        order_place = dice.randrange(len(orders))
        order = orders[order_place]
        writer = customers[order.customer]
        language = LANGUAGES[writer.country]
        subject, body = shop_tickets.write(language, writer, order.number, dice)
        rows.append(
            (
                place,
                order.customer + 1,
                order_place + 1,
                dice.randrange(size.employees) + 1,
                language,
                dice.choice(("mail", "mail", "chat", "phone")),
                dice.choice(("open", "waiting", "closed", "closed")),
                subject,
                body,
                order.placed_at + timedelta(hours=dice.randrange(24, 900)),
            )
        )
    return rows
