"""What one statement may take: bytes where they arrive, what is kept of it, relations behind views, columns."""

import asyncio
import gc
import sys
import time
from pathlib import Path

import pytest

from hoop_mcp.adapters import postgres_session
from hoop_mcp.errors import Refused
from hoop_mcp.sql import analyse
from hoop_mcp.sql.reader import read
from hoop_mcp.sql.resolved import Login

SCHEMA = """
CREATE TABLE public.things (id int PRIMARY KEY, word text);
INSERT INTO public.things SELECT g, repeat('x', 1000) FROM generate_series(1, 100) g;
CREATE VIEW public.five AS SELECT a.id FROM things a, things b, things c, things d, things e;
CREATE VIEW public.twenty AS SELECT a.id FROM five a, five b, five c, five d;
CREATE VIEW public.forty AS SELECT a.id FROM twenty a, twenty b;
"""
CATALOGUE = """
catalogue: lab
controller: {name: Lab, contact: lab@example.org, dpo: dpo@example.org}
categories: {contact: {data_subjects: [people]}}
columns:
  public.things.id: none
  public.things.word: none
"""
HUGE = "SELECT string_agg(a.word, '') FROM things a, things b, generate_series(1, 20)"  # 200 MB in one cell
MANY = "SELECT a.id, b.word FROM things a, things b, things c"  # a million rows of a kilobyte


@pytest.fixture
def things(govern):
    return govern(SCHEMA, CATALOGUE)


def refusal(things, sql, **more):
    with pytest.raises(Refused) as refused:
        things.answer(sql, **more)
    return refused.value


def resident_mb():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1_000
    raise AssertionError


def fetch_all(things, sql, limit):
    async def fetching():
        async with things.database.lease(Login.CLEAN) as lease:
            resolved = await lease.resolve(read(sql), 60_000)
            return await lease.execute(resolved, (), limit)

    return things.run(fetching())


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("sql", [HUGE, MANY], ids=["one cell", "a million rows"])
def test_what_is_too_large_is_dropped_where_it_arrives(things, monkeypatch, sql):
    monkeypatch.setattr(postgres_session, "MAX_RAW_BYTES", 8 * 2**20)
    things.answer("SELECT id FROM things")
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = resident_mb()
    with pytest.raises(Refused, match="HOOP507"):
        fetch_all(things, sql, 1_000_000)
    assert resident_mb() - before < 60
    assert things.answer("SELECT id FROM things WHERE id = 1")[1] == [("1",)]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_without_the_meter_the_process_would_hold_all_of_it(things, monkeypatch):
    monkeypatch.setattr(postgres_session, "MAX_RAW_BYTES", 2**31)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mb()
    rows = fetch_all(things, "SELECT string_agg(a.word, '') FROM things a, things b, generate_series(1, 10)", 10)
    assert len(rows[0][0]) == 100_000_000
    assert resident_mb() - before > 95


def test_after_a_dropped_connection_the_backend_goes_too(things, monkeypatch):
    monkeypatch.setattr(postgres_session, "MAX_RAW_BYTES", 2**20)
    pids = []

    async def huge():
        async with things.database.lease(Login.CLEAN) as lease:
            pids.append(lease._session.pid)
            resolved = await lease.resolve(read(MANY), 60_000)
            await lease.execute(resolved, (), 1_000_000)

    with pytest.raises(Refused, match="HOOP507"):
        things.run(huge())
    gone(things, pids[0])


def test_a_statement_that_runs_on_after_its_caller_left_is_ended(things):
    pids = []

    async def left():
        async with things.database.lease(Login.CLEAN) as lease:
            pids.append(lease._session.pid)
            resolved = await lease.resolve(
                read("SELECT count(*) FROM things a, things b, things c, things d, things e"), 0
            )
            async with asyncio.timeout(0.2):
                await lease.execute(resolved, (), 10)

    with pytest.raises(TimeoutError):
        things.run(left())
    gone(things, pids[0])


def gone(things, pid):
    deadline = time.monotonic() + 5
    while things.value(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"):
        assert time.monotonic() < deadline, "the backend is still there"
        time.sleep(0.02)


def test_trees_that_are_too_large_are_dropped_where_they_arrive(things, monkeypatch):
    sql = "SELECT 1 FROM " + ", ".join(f"things t{i}" for i in range(32))
    assert things.answer(sql + " LIMIT 1")
    monkeypatch.setattr(postgres_session, "MAX_PARSE_BYTES", 10_000)
    assert refusal(things, sql + " LIMIT 2").code == "HOOP207"
    assert things.answer("SELECT 1")[1] == [("1",)]


def test_relations_are_counted_with_the_views_expanded(things):
    assert things.answer("SELECT id FROM twenty LIMIT 1")
    told = refusal(things, "SELECT id FROM forty LIMIT 1")
    assert told.code == "HOOP207"
    assert "reaches 40 relations" in told.reason
    assert things.refusal("SELECT 1 FROM five a, five b, five c, five d, five e, five f, five g LIMIT 1") == "HOOP207"


def test_were_views_not_expanded_for_the_count_forty_would_pass(things, monkeypatch):
    monkeypatch.setattr(analyse, "_count", lambda *_: None)
    assert things.answer("SELECT id FROM forty LIMIT 1")


@pytest.mark.parametrize(("columns", "code"), [(200, None), (201, "HOOP207")])
def test_columns_are_counted(things, columns, code):
    assert things.refusal("SELECT " + ", ".join(["id"] * columns) + " FROM things") == code


def test_large_statements_are_not_kept_and_wear_their_connection_out(things):
    async def parsed(sql):
        async with things.database.lease(Login.CLEAN) as lease:
            await lease.resolve(read(sql), 5_000)
            session = lease._session
        await asyncio.wait(things.database._ending)
        return session.usable, session.kept(sql) is not None

    large = "SELECT id FROM things WHERE id IN (" + ", ".join(map(str, range(3_800))) + ")"
    assert things.run(parsed("SELECT id FROM things")) == (True, True)
    assert things.run(parsed(large)) == (False, False)


def test_what_is_kept_has_a_size_and_closing_what_is_not_reaches_the_server(things, monkeypatch):
    monkeypatch.setattr(postgres_session, "_KEPT_SIZE", 20_000)

    async def many():
        async with things.database.lease(Login.CLEAN) as lease:
            session = lease._session
        await asyncio.wait(things.database._ending)
        for number in range(40):
            async with things.database.lease(Login.CLEAN) as lease:
                assert lease._session is session
                await lease.resolve(read(f"SELECT id + {number} FROM things"), 5_000)
            await asyncio.wait(things.database._ending)
        async with things.database.lease(Login.CLEAN) as lease:
            await lease.begun()
            held = await session._connection.fetchval("SELECT count(*)::text FROM pg_prepared_statements")
        return len(session._kept), session._kept_size, int(held)

    kept, size, held = things.run(many())
    assert 1 <= kept < 20
    assert size <= 20_000
    assert held < kept + 8


def test_parameters_have_a_size(things):
    assert things.answer("SELECT $1::text = 'x'", ["x" * 200_000])[1] == [("f",)]
    assert refusal(things, "SELECT $1::text || $2 = 'x'", params=["x" * 200_000] * 2).code == "HOOP214"


def test_a_constant_weighs_by_its_length(things):
    sql = "SELECT length({0}) FROM (SELECT {1} AS b FROM (SELECT {2} AS a) AS x) AS y"
    for long, code in (("x" * 10, None), ("x" * 5_000, "HOOP207")):
        twenty = [" || ".join([name] * 20) for name in ("b", "a", f"'{long}'::text")]
        assert things.refusal(sql.format(*twenty)) == code


def test_tls_and_the_meter_count_the_same_bytes():
    """The meter sits behind TLS: what it is given is what the driver is given."""
    passed = []

    class Inner:
        data_received = staticmethod(passed.append)

    class Transport:
        aborted = False

        def abort(self):
            self.aborted = True

    transport = Transport()
    meter = postgres_session.Meter(Inner(), transport)
    meter.data_received(b"unlimited until told otherwise" * 100)
    meter.allow(10)
    meter.data_received(b"1234567890")
    assert not meter.tripped
    meter.data_received(b"1")
    assert meter.tripped
    assert transport.aborted
    meter.data_received(b"2")
    assert passed[1:] == [b"1234567890"]
