"""What an agent gets does not depend on personal values: a seeded part of ``make fuzz``, and proof that it would fail."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import asyncpg
import pytest
from property.noninterference.campaign import run
from property.noninterference.holes import HOLES
from property.noninterference.line import End, Line
from property.noninterference.shrink import shrink
from property.noninterference.statements import statements
from property.noninterference.twins import WORLDS, make_twins, start_server
from property.noninterference.vocabulary import learn

from hoop_mcp.sql.resolved import Login

SYSTEM_15 = Path("/usr/lib/postgresql/15/bin")
SEED = 20_260_901
COUNTS = {
    ("embedded", "gauntlet"): 140,
    ("embedded", "shop"): 140,
    ("system-15", "gauntlet"): 60,
    ("system-15", "shop"): 60,
}
_MOST_TRIES = 500


class Stage:
    """A world on a running server, with what statements about it are made of."""

    def __init__(self, loop, server, name):
        self.loop, self.server, self.name = loop, server, name
        self.line = loop.run(self._line())
        self.vocabulary = loop.run(learn(self.line.sides[0].database))

    async def _line(self):
        world = WORLDS[self.name]()
        return Line(world, await make_twins(self.server, world))

    def ask(self, sql, tool="query"):
        return self.loop.run(self.line.ask(sql, tool))

    def close(self):
        self.loop.run(self.line.close())


@pytest.fixture(scope="module")
def embedded():
    server = start_server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def system_15():
    if "HOOP_MCP_PG_BIN" in os.environ:
        pytest.skip("HOOP_MCP_PG_BIN names the one server to test")
    if not SYSTEM_15.is_dir():
        pytest.skip(f"no PostgreSQL in {SYSTEM_15}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOOP_MCP_PG_BIN", str(SYSTEM_15))
        server = start_server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stages(_loop):
    made = {}

    def stage(server, name):
        if name == "shop" and int(server.version.split(".")[0]) < 15:
            pytest.skip("the shop needs PostgreSQL 15")
        if (server, name) not in made:
            made[server, name] = Stage(_loop, server, name)
        return made[server, name]

    yield stage
    for each in made.values():
        each.close()


@pytest.fixture(scope="module")
def shop(stages, embedded):
    return stages(embedded, "shop")


@pytest.mark.parametrize(("where", "name"), COUNTS)
def test_what_an_agent_gets_does_not_depend_on_personal_values(request, stages, where, name):
    stage = stages(request.getfixturevalue(where.replace("-", "_")), name)
    tally = stage.loop.run(run(stage.line, stage.vocabulary, seed=SEED, count=COUNTS[where, name]))
    for statement, pair in tally.different:
        pytest.fail(
            f"{statement.tool}: {statement.sql}\none:   {pair.one.told[:500]!r}\nother: {pair.other.told[:500]!r}"
        )
    assert tally.identical == tally.allowed
    # Nothing is proved by statements that are refused, nor by those that show nobody.
    assert tally.allowed > tally.parsed * 0.4
    assert tally.masked > tally.allowed * 0.15


@pytest.mark.parametrize("rule", HOLES)
def test_without_a_rule_the_property_fails(shop, monkeypatch, rule):
    HOLES[rule].plant(monkeypatch)
    for statement in islice(statements(SEED, shop.vocabulary, HOLES[rule].aim), _MOST_TRIES):
        pair = shop.ask(statement.sql, statement.tool)
        if pair.allowed and not pair.same:
            return
    pytest.fail(f"{_MOST_TRIES} statements, and none shows that the rule is gone")


def test_a_difference_is_made_small(shop, monkeypatch):
    HOLES["where"].plant(monkeypatch)
    sql = (
        "WITH x AS (SELECT id, country, email AS e FROM customers) SELECT x.id, upper(x.e), count(*) OVER ()"
        " FROM x JOIN orders o ON o.customer_id = x.id WHERE x.e ~ '^[a-z.]+@' AND x.id > 0 ORDER BY x.id LIMIT 100"
    )

    async def differs(text):
        pair = await shop.line.ask(text)
        return pair.allowed and not pair.same

    assert shop.loop.run(differs(sql))
    small = shop.loop.run(shrink(sql, differs))
    assert shop.loop.run(differs(small))
    assert len(small) < len(sql) / 2, small


def test_the_same_seed_makes_the_same_statements(shop):
    again = [[each.sql for each in islice(statements(seed, shop.vocabulary), 30)] for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


@pytest.mark.parametrize("name", WORLDS)
def test_the_twins_differ_in_every_personal_value_and_in_nothing_else(stages, embedded, name):
    stage = stages(embedded, name)
    found = stage.loop.run(_compared(stage))
    assert found["clean"] == set(), found["clean"]
    assert found["nulls"] == set(), found["nulls"]
    assert found["alike"] <= 0.1 * found["personal"]
    assert found["personal"] > 30


async def _compared(stage):
    found = {"clean": set(), "nulls": set(), "alike": 0, "personal": 0}
    one, _ = [side.database for side in stage.line.sides]
    relations = await one.relations()
    sides = [await asyncpg.connect(stage.server.dsn(f"{stage.name}_{which}")) for which in ("one", "other")]
    for relation in relations.values():
        if relation.restricted or relation.kind != "r":
            continue
        place = f'"{relation.schema}"."{relation.name}"'
        for column in relation.columns.values():
            rows = [await side.fetch(f'SELECT "{column.name}"::text FROM ONLY {place}') for side in sides]
            assert len(rows[0]) == len(rows[1])
            for (left,), (right,) in zip(*rows, strict=True):
                if not column.sources and left != right:
                    found["clean"].add(f"{place}.{column.name}")
                if (left is None) != (right is None):
                    found["nulls"].add(f"{place}.{column.name}")
                if column.sources and left is not None:
                    found["personal"] += 1
                    found["alike"] += left == right
    for side in sides:
        assert await side.fetchval("SELECT count(*) FROM pg_statistic") == 0
        await side.close()
    return found


def test_both_sides_are_asked_on_governed_logins(shop):
    assert all(set(side.database._dsns) == set(Login) for side in shop.line.sides)
    assert shop.ask("SELECT email FROM customers ORDER BY id").one.end is End.ANSWERED
    assert shop.ask("SELECT id FROM customers WHERE email LIKE 'a%'").one.end is End.HELD
    raised = shop.ask("SELECT 1 / (id - 1) FROM customers ORDER BY id")
    assert raised.one.end is End.FAILED
    assert raised.same
