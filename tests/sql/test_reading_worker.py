"""Reading hostile text: the loop keeps turning, the process that hangs is killed, and the next statement is read."""

import asyncio
import pickle
import random
import time

import pytest
from support.bombs import FAMILIES, bombs

from hoop_mcp.adapters import reading_worker, reading_worker_main
from hoop_mcp.adapters.reading_worker import ReadingWorker
from hoop_mcp.errors import Refused
from hoop_mcp.sql.reader import is_quick, read
from hoop_mcp.sql.requests import read_request
from hoop_mcp.terms import Verb

pytestmark = pytest.mark.anyio

FOR_EVER = {
    "types as functions": "SELECT " + "date(" * 44 + "1" + ")" * 44,
    "types with a space": "SELECT " + "int (" * 44 + "1" + ")" * 44,
    "joins without ON": "SELECT 1 FROM a " + "JOIN b " * 30,
    "behind EXPLAIN": "EXPLAIN SELECT " + "date(" * 44 + "1" + ")" * 44,
    "behind EXPLAIN and its options": "EXPLAIN (VERBOSE) SELECT " + "date(" * 44 + "1" + ")" * 44,
}


@pytest.fixture
async def reading():
    worker = ReadingWorker(deadline_s=0.4)
    yield worker
    await worker.close()


class Ticker:
    """How late the event loop was, at worst."""

    def __init__(self):
        self.late = 0.0

    async def tick(self):
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            self.late = max(self.late, time.perf_counter() - started - 0.001)


@pytest.mark.parametrize("sql", FOR_EVER.values(), ids=FOR_EVER)
async def test_text_that_is_never_read_to_its_end_is_refused_and_the_loop_turns_meanwhile(reading, sql):
    assert not is_quick(sql)
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.tick())
    with pytest.raises(Refused, match="HOOP207"):
        await reading(sql)
    ticking.cancel()
    assert reading.late == 1
    assert ticker.late < 0.2
    assert await reading("SELECT 1") == read("SELECT 1")


async def test_the_next_large_statement_gets_a_new_process(reading):
    large = "SELECT " + ", ".join(["1"] * 1_000)
    first = (await reading(large), reading._process.pid)
    with pytest.raises(Refused):
        await reading(FOR_EVER["types as functions"])
    second = (await reading(large), reading._process.pid)
    assert first[0] == second[0] == read(large)
    assert first[1] != second[1]


@pytest.mark.parametrize(
    "name", ["constants in a list", "30 cross joins", "nested tables", "a chain of OR", "NOT upon NOT"]
)
async def test_the_process_reads_what_this_one_reads(reading, name):
    sql = dict(bombs(len(FAMILIES)))[name]
    assert not is_quick(sql)
    assert await said(reading(sql)) == here(sql)


async def test_a_cancelled_reading_leaves_no_half_answer_for_the_next(reading):
    large = "SELECT " + ", ".join(["1"] * 1_000)
    await reading(large)
    task = asyncio.create_task(reading(FOR_EVER["types as functions"]))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await reading(large) == read(large)


async def test_only_small_readings_are_kept(reading):
    for size in (10, 1_000):
        await reading("SELECT " + ", ".join(["1"] * size))
    assert [len(sql) for sql in reading._known] == [len("SELECT " + ", ".join(["1"] * 10))]


def test_nothing_but_terms_is_made_of_what_the_process_sends():
    for planted in (time.sleep, Refused("HOOP201", "x"), Ticker()):
        with pytest.raises((pickle.UnpicklingError, AttributeError)):
            reading_worker._request(b"+" + pickle.dumps(planted))


WORDS = """
interval date timestamp int varchar char json row struct map f a 1 'x' ( ) [ ] , . :: -> < = + - * || not and or is null in
like between case when then else end cast as extract from select where group by order limit join left natural cross full
using on union all distinct values with lateral over filter exists any at zone set table $1 @ ~ ?
"""


def test_what_counts_as_quick_is_quick():
    """The worst of a search by hand over 65,000 hostile texts took 33 ms; the limit leaves room for a busy machine."""
    dice = random.Random(7)
    tried = 0
    for _ in range(1_500):
        unit = " ".join(dice.choices(WORDS.split(), k=dice.randint(1, 4)))
        opened = dice.randint(0, 6)
        sql = "SELECT 1 " + (unit + " ") * dice.choice([1, 6, 30]) + "date(" * opened + "1" + ")" * opened
        if is_quick(sql):
            tried += 1
            started = time.process_time()
            here(sql)
            assert time.process_time() - started < 0.25, sql
    assert tried > 300


def test_were_depth_not_counted_the_search_would_find_it(monkeypatch):
    monkeypatch.setattr("hoop_mcp.sql.reader._QUICK_DEPTH", 60)
    sql = "SELECT " + "date(" * 18 + "1" + ")" * 18
    assert is_quick(sql)
    started = time.process_time()
    here(sql)
    assert time.process_time() - started > 0.25


def here(sql):
    try:
        return read_request(sql)
    except Refused as refused:
        return str(refused)


async def said(asked):
    try:
        return await asked
    except Refused as refused:
        return str(refused)


def test_a_reading_is_packed_alike_whatever_this_python_makes_of_enumerations(monkeypatch):
    def by_name(self, _protocol):
        return getattr, (type(self), self.name)  # Python 3.11.0 to 3.11.3

    monkeypatch.setattr(Verb, "__reduce_ex__", by_name)
    request = read_request("SELECT id FROM customers")
    with pytest.raises(pickle.UnpicklingError):
        reading_worker._request(b"+" + pickle.dumps(request, protocol=5))
    assert reading_worker._request(b"+" + reading_worker_main.packed(request)) == request
