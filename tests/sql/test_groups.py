"""Of how many people a row is made: what is recognised, what is not, and the ways to be talked into a wrong number."""

from __future__ import annotations

import pytest

from hoop_mcp.errors import Refused
from hoop_mcp.sql import groups as groups_module
from hoop_mcp.sql import joined as joined_module

SCHEMA = """
CREATE TABLE customers (id int PRIMARY KEY, code text UNIQUE, email text, country text NOT NULL, segment text NOT NULL,
  age int NOT NULL, bonus int);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, product_id int, total numeric NOT NULL, status text);
CREATE TABLE products (id int PRIMARY KEY, title text NOT NULL, price numeric NOT NULL);
CREATE TABLE staff (id int PRIMARY KEY, boss int, salary int NOT NULL);
CREATE TABLE letters (id int PRIMARY KEY, body text);
CREATE TABLE visits (customer_id int NOT NULL, day date NOT NULL);
CREATE TABLE base (id int PRIMARY KEY, country text NOT NULL);
CREATE TABLE child () INHERITS (base);
CREATE TABLE split (id int, day date, country text NOT NULL, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE split_old PARTITION OF split FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
CREATE TABLE late (id int NOT NULL UNIQUE DEFERRABLE, country text NOT NULL);
CREATE VIEW plain AS SELECT id AS who, country AS land, age FROM customers;
CREATE VIEW grouped AS SELECT country, count(*) AS n FROM customers GROUP BY country;
CREATE FUNCTION half(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 2';
"""
COLUMNS = {
    "customers": "id:p code country segment age bonus email:c",
    "orders": "id customer_id:p product_id total status",
    "products": "id title price",
    "staff": "id:s boss:s salary",
    "letters": "id body:c",
    "visits": "customer_id:p day",
    "base": "id:p country",
    "child": "id:p country",
    "split": "id:p day country",
    "split_old": "id:p day country",
    "late": "id:p country",
    "plain": "who land age",
    "grouped": "country n",
}
HELD = {"p": "{person: customers}", "s": "{person: staff}", "c": "{category: contact}", "": "none"}
CATALOGUE = "catalogue: lab\ncategories:\n  contact: {data_subjects: [customers]}\ncolumns:\n" + "".join(
    f"  public.{table}.{name.partition(':')[0]}: {HELD[name.partition(':')[2]]}\n"
    for table, names in COLUMNS.items()
    for name in names.split()
)


@pytest.fixture(scope="module")
def shop(govern_still):
    return govern_still(SCHEMA, CATALOGUE)


COUNTED = {
    "a count of people by their key": ("SELECT country, count(DISTINCT id) FROM customers GROUP BY country", (1,)),
    "rows of a table with one row a person": ("SELECT country, count(*) FROM customers GROUP BY country", (1,)),
    "the key itself counted": ("SELECT count(id), country FROM customers GROUP BY country", (0,)),
    "no groups at all": ("SELECT count(*), avg(age) FROM customers", (0,)),
    "other people by their foreign key": (
        "SELECT status, count(DISTINCT customer_id), sum(total) FROM orders GROUP BY 1",
        (1,),
    ),
    "two tables of the same people": (
        "SELECT country, count(DISTINCT c.id), sum(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY 1",
        (1,),
    ),
    "the other side of the equality": (
        "SELECT country, count(DISTINCT o.customer_id) FROM customers c, orders o WHERE c.id = o.customer_id GROUP BY 1",
        (1,),
    ),
    "JOIN USING": ("SELECT count(DISTINCT o.customer_id) FROM orders o JOIN visits v USING (customer_id)", (0,)),
    "a product beside people": (
        "SELECT p.title, count(DISTINCT o.customer_id) FROM orders o LEFT JOIN products p ON p.id = o.product_id GROUP BY 1",
        (1,),
    ),
    "through a plain view": ("SELECT land, count(DISTINCT who) FROM plain GROUP BY land", (1,)),
    "rows of a plain view": ("SELECT land, count(*) FROM plain GROUP BY land", (1,)),
    "through a plain sub-select": (
        "SELECT g, count(DISTINCT i) FROM (SELECT id AS i, upper(country) AS g FROM customers) s GROUP BY g",
        (1,),
    ),
    "through a WITH query": ("WITH c AS (SELECT * FROM customers) SELECT count(*) FROM c WHERE country = 'DE'", (0,)),
    "rounding": ("SELECT count(*), round(avg(age), 2), coalesce(sum(age), 0) FROM customers", (0,)),
    "HAVING and ORDER BY over aggregates": (
        "SELECT country, count(*) FROM customers GROUP BY country HAVING count(*) > 9 AND min(age) < 20 ORDER BY 2 DESC",
        (1,),
    ),
    "what may be null and is not": ("SELECT count(*), sum(bonus) FROM customers WHERE bonus IS NOT NULL", (0,)),
    "chosen by a sub-select": (
        "SELECT count(*) FROM customers WHERE id IN (SELECT customer_id FROM orders WHERE total > 5)",
        (0,),
    ),
    "every kind of person": ("SELECT count(DISTINCT id), count(DISTINCT boss) FROM staff", (0, 1)),
    "each of unrelated people": (
        "SELECT count(DISTINCT c.id), count(DISTINCT s.id), count(DISTINCT s.boss) FROM customers c, staff s",
        (0, 1, 2),
    ),
    "a group made of an expression": ("SELECT age / 10, count(*) FROM customers GROUP BY 1", (1,)),
}


@pytest.mark.parametrize(("sql", "places"), COUNTED.values(), ids=COUNTED)
def test_a_count_of_people_is_recognised(shop, sql, places):
    groups = shop.trace(sql).groups
    assert groups.counted == places, groups


UNCOUNTED = {
    "no count": "SELECT country, avg(age) FROM customers GROUP BY country",
    "one person's sum": "SELECT sum(age), avg(age) FROM customers WHERE id = 7",
    "a count of something else": "SELECT country, count(DISTINCT segment) FROM customers GROUP BY country",
    "a key that may be null": "SELECT count(code), sum(age) FROM customers",
    "a filtered count": "SELECT count(DISTINCT id) FILTER (WHERE age > 5) FROM customers",
    "a filtered sum beside the count": "SELECT count(*), sum(age) FILTER (WHERE id = 7) FROM customers",
    "a sum of one": "SELECT count(*), sum(CASE WHEN id = 7 THEN age END) FROM customers",
    "a sum of one by arithmetic": "SELECT count(*), sum(age * (id - 6)) FROM customers",
    "a sum that most have no part in": "SELECT count(*), sum(bonus) FROM customers",
    "a count that most have no part in": "SELECT count(*), count(bonus) FROM customers",
    "a sum of a computed column below": (
        "SELECT count(*), sum(x) FROM (SELECT id, nullif(age, 5) AS x FROM customers) s"
    ),
    "rows of a join that multiplies": (
        "SELECT c.country, count(*) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.country"
    ),
    "rows beside a table without people": "SELECT count(*) FROM customers, products",
    "rows multiplied by a function": "SELECT count(*) FROM customers, generate_series(1, 9)",
    "rows of orders": "SELECT status, count(*) FROM orders GROUP BY status",
    "a crowd beside one order": ("SELECT count(DISTINCT c.id), max(o.total) FROM customers c, orders o WHERE o.id = 7"),
    "a crowd beside one of themselves": (
        "SELECT count(DISTINCT a.id), max(b.age) FROM customers a, customers b WHERE b.id = 7"
    ),
    "unequal keys": "SELECT count(DISTINCT a.id), max(b.age) FROM customers a JOIN customers b ON a.id < b.id",
    "equal in one case only": (
        "SELECT count(DISTINCT c.id), max(o.total) FROM customers c, orders o WHERE c.id = o.customer_id OR o.id = 7"
    ),
    "one WITH query read twice": (
        "WITH c AS (SELECT * FROM customers) SELECT count(DISTINCT a.id), max(b.age) FROM c a, c b WHERE b.id = 7"
    ),
    "people of two kinds made equal": "SELECT count(DISTINCT c.id) FROM customers c JOIN staff s ON s.id = c.id",
    "the other person of a row": "SELECT count(DISTINCT id), max(salary) FROM staff WHERE boss = 7",
    "an outer join": (
        "SELECT count(DISTINCT c.id), sum(o.total) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id"
    ),
    "a product that is not there for all": (
        "SELECT count(DISTINCT o.customer_id), sum(p.price) FROM orders o LEFT JOIN products p ON p.id = o.product_id"
    ),
    "a table that says nothing of who": "SELECT count(*) FROM letters",
    "such a table beside people": "SELECT count(DISTINCT c.id) FROM customers c JOIN letters l ON l.id = c.id",
    "in a sub-select": "SELECT (SELECT sum(age) FROM customers WHERE id = 7)",
    "in a sub-select that counts": "SELECT s.n FROM (SELECT country, count(*) AS n FROM customers GROUP BY 1) s",
    "in a predicate": "SELECT count(*) FROM customers WHERE 50 < (SELECT max(total) FROM orders WHERE customer_id = 7)",
    "beside the count": "SELECT count(*), (SELECT total FROM orders WHERE id = 7) FROM customers",
    "as the group": "SELECT count(*), (SELECT total FROM orders WHERE id = 7) FROM customers GROUP BY 2",
    "brought in from around": "SELECT id, (SELECT count(DISTINCT v) FROM (VALUES (c.segment), ('a')) x(v)) FROM customers c",
    "in a view": "SELECT * FROM grouped",
    "in a WITH query": "WITH g AS (SELECT country, count(*) AS n FROM customers GROUP BY 1) SELECT * FROM g",
    "union of two": "SELECT count(*) FROM customers WHERE age > 5 UNION ALL SELECT count(*) FROM customers WHERE age < 5",
    "union without ALL": "SELECT country FROM customers UNION SELECT status FROM orders",
    "DISTINCT": "SELECT DISTINCT country FROM customers",
    "DISTINCT ON": "SELECT DISTINCT ON (country) country, age FROM customers",
    "a window": "SELECT id, count(*) OVER (PARTITION BY country) FROM customers",
    "a window over groups": "SELECT country, count(*), sum(count(*)) OVER () FROM customers GROUP BY country",
    "grouping sets": "SELECT country, segment, count(*) FROM customers GROUP BY GROUPING SETS ((country), (segment))",
    "rollup": "SELECT country, count(*) FROM customers GROUP BY ROLLUP (country)",
    "LIMIT": "SELECT country, count(*) FROM customers GROUP BY country ORDER BY 2 LIMIT 1",
    "OFFSET": "SELECT country, count(*) FROM customers GROUP BY country ORDER BY 2 OFFSET 1",
    "LIMIT below": "SELECT count(*) FROM (SELECT * FROM customers ORDER BY age LIMIT 7) s",
    "an error for a group of one": "SELECT country, count(*), 1 / (count(*) - 1) FROM customers GROUP BY country",
    "an error in HAVING": "SELECT country, count(*) FROM customers GROUP BY country HAVING 1 / (count(*) - 1) > 0",
    "an error in ORDER BY": "SELECT country, count(*) FROM customers GROUP BY country ORDER BY 1 / (count(*) - 1)",
    "a list of people": "SELECT count(*), array_agg(age) FROM customers",
    "a pick": "SELECT count(*), mode() WITHIN GROUP (ORDER BY age) FROM customers",
    "rows of a parent table": "SELECT country, count(*) FROM base GROUP BY country",
    "rows of a half key": "SELECT country, count(*) FROM split GROUP BY country",
    "rows of a key that may be late": "SELECT country, count(*) FROM late GROUP BY country",
    "several rows of one": "SELECT count(*), generate_series(1, 3) FROM customers",
    "recursion": (
        "WITH RECURSIVE c AS (SELECT id, age FROM customers UNION ALL SELECT c.id, c.age FROM c WHERE false)"
        " SELECT count(DISTINCT id) FROM c"
    ),
}


@pytest.mark.parametrize("sql", UNCOUNTED.values(), ids=UNCOUNTED)
def test_what_does_not_surely_count_people_is_not_a_count_of_people(shop, sql):
    try:
        groups = shop.trace(sql).groups
    except Refused as refused:
        pytest.fail(f"another rule refuses this, which then shows nothing here: {refused}")
    assert groups is not None
    assert groups.counted == ()
    assert groups.uncounted
    assert groups.instead


NOT_ABOUT_PEOPLE = [
    "SELECT id, country FROM customers WHERE country = 'DE' ORDER BY id LIMIT 5",
    "SELECT count(*), avg(price) FROM products",
    "SELECT DISTINCT title FROM products LIMIT 3",
    "WITH p AS (SELECT * FROM products) SELECT count(*) FROM p",
    "SELECT c.id, o.total FROM customers c LEFT JOIN orders o ON o.customer_id = c.id",
    "SELECT * FROM plain",
    "SELECT id FROM customers WHERE age > (SELECT avg(price) FROM products)",
    "SELECT id FROM customers UNION ALL SELECT id FROM orders",
    "SELECT count(*) FROM information_schema.tables",
    "SELECT 1",
]


@pytest.mark.parametrize("sql", NOT_ABOUT_PEOPLE)
def test_what_aggregates_nobody_is_left_alone(shop, sql):
    assert shop.trace(sql).groups is None


def test_what_to_write_instead_names_the_column(shop):
    groups = shop.trace("SELECT country, avg(age) FROM customers GROUP BY country").groups
    assert groups.instead == "Add count(DISTINCT customers.id) AS people to the select list."


def test_a_table_behind_a_view_is_not_named(shop):
    groups = shop.trace("SELECT land, avg(age) FROM plain GROUP BY land").groups
    assert "customers" not in groups.uncounted + groups.instead


SINGLE = [
    "SELECT count(*) FROM customers WHERE id = 1 AND country = 'DE' AND segment = 'vip'",
    "SELECT count(*) FROM customers WHERE id = $1 AND country = 'DE'",
    "SELECT count(*) FILTER (WHERE country = 'DE') FROM customers WHERE id = 1",
    "SELECT count(nullif(country, 'DE')) FROM customers WHERE 1 = id",
    "SELECT (SELECT count(*) FROM customers WHERE id = 1 AND country = 'DE')",
    "SELECT title, (SELECT count(*) FROM customers WHERE id = 1 AND country = p.title) FROM products p",
    "SELECT count(*) FROM (SELECT * FROM customers WHERE id = 1) s WHERE country = 'DE'",
    "SELECT count(*) FROM customers, (VALUES (1)) v WHERE id = 1 AND country = 'DE'",
    "SELECT count(*) FROM split WHERE id = 1 AND day = '2020-01-01' AND country = 'DE'",
]


@pytest.mark.parametrize("sql", SINGLE)
def test_a_further_question_about_the_one_row_of_a_key_is_seen(shop, sql):
    assert shop.trace(sql).groups.single


NOT_SINGLE = [
    "SELECT count(*) FROM customers WHERE id = 1",
    "SELECT count(*) FROM customers WHERE country = 'DE' AND segment = 'vip'",
    "SELECT count(*) FROM orders WHERE customer_id = 1 AND status = 'paid'",
    "SELECT count(*) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = 1 AND o.status = 'paid'",
    "SELECT count(*) FROM split WHERE id = 1 AND country = 'DE'",
    "SELECT max(age) FROM customers WHERE id = 1 AND country = 'DE'",
]


@pytest.mark.parametrize("sql", NOT_SINGLE)
def test_what_may_be_about_several_is_not_taken_for_one(shop, sql):
    assert not shop.trace(sql).groups.single


def test_the_count_itself_is_true_of_the_data(shop):
    """The recognised counts against the truth, on data with one person in one group and three in another."""
    shop.admin(
        "INSERT INTO customers SELECT g, 'c' || g, 'e', CASE WHEN g = 4 THEN 'FR' ELSE 'DE' END, 's', 20 + g FROM"
        " generate_series(1, 4) g; INSERT INTO orders SELECT g, 1 + g % 4, 1, 10, 'paid' FROM generate_series(1, 40) g;"
        " INSERT INTO visits SELECT 1 + g % 4, '2020-01-01' FROM generate_series(1, 40) g;"
        " INSERT INTO products VALUES (1, 't', 2); INSERT INTO staff VALUES (1, 1, 5), (2, 1, 5)"
    )
    people = {
        "a count of people by their key": {3, 1},
        "rows of a table with one row a person": {3, 1},
        "two tables of the same people": {3, 1},
        "JOIN USING": {4},
        "rows of a plain view": {3, 1},
    }
    for name, expected in people.items():
        sql, (place,) = COUNTED[name]
        _, rows = shop.answer(sql)
        assert {int(row[place]) for row in rows} == expected, name


def weaker(target, name, value):
    return pytest.param(target, name, value, id=name)


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        weaker(groups_module._Judge, "_whole", lambda self, argument: True),
        weaker(groups_module._Judge, "over", lambda self, expression: None),
        weaker(groups_module._Judge, "condition", lambda self, condition: None),
        weaker(groups_module, "_one_plain_level", lambda query: None),
        weaker(joined_module, "_passes_rows_through", lambda query: None),
        weaker(groups_module._Counting, "_equated", lambda self, part, level: None),
        weaker(groups_module._Counting, "_missing", None),
    ],
)
def test_a_weaker_rule_is_caught_by_some_statement_above(shop, monkeypatch, target, name, value):
    if name == "_missing":
        monkeypatch.setattr(groups_module._Counting, "_people_of", lambda self, joined: [])
    else:
        monkeypatch.setattr(target, name, value)

    def changed(sql, counted):
        try:
            groups = shop.trace(sql).groups
        except Refused:
            return True
        return groups is None or bool(groups.counted) != counted or (not counted and not groups.uncounted)

    shop.database.catalog.outdated()
    cases = [(sql, True) for sql, _ in COUNTED.values()] + [(sql, False) for sql in UNCOUNTED.values()]
    try:
        assert any(changed(sql, counted) for sql, counted in cases)
    finally:
        shop.database.catalog.outdated()
