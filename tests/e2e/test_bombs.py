"""Statements that cost more than they look, one after another, while somebody else asks for little.

``HOOP_MCP_BOMBS=300`` sends so many, after one of each kind to warm up; without it sixteen come. Memory is compared with
what it was after the warming up: a heap that has once held a large tree is larger, and does not grow again.
"""

import asyncio
import gc
import itertools
import os
import statistics
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from support.bombs import FAMILIES, VIEWS, bombs

from hoop_mcp.terms import Answer, Credential, RunSql, ToolCall
from hoop_mcp.wiring.serving import open_gate

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]
MANY = int(os.environ.get("HOOP_MCP_BOMBS", "16"))
POLICY = """\
policy: bombs
owner: nobody@example.com
mode: enforce
applies_to: {databases: [shop], roles: [support-agent], purposes: [customer-support]}
rules:
  - {id: all, when: {kind: [read], only_schemas: [public]}, then: allow, because: To be attacked.}
  - {id: none, when: {kind: [read], no_tables: true}, then: allow, because: To be attacked.}
"""
LIMITS = "limits: {parse_errors: 100000, failures: 100000, lookups: 100000}\n"  # budgets would end the attack at once
PROCESS_GROWTH_MB = 60
BACKENDS_MB = 1_200  # one aggregate may reach PostgreSQL's 1 GB before its time is up
BACKENDS_AFTER_MB = 150
OTHERS_P95_S = 0.25


@pytest.fixture
async def gate(shop, monkeypatch):
    (shop.folder / "policies" / "bombs.yaml").write_text(POLICY)
    shop.settings.write_text(shop.settings.read_text() + LIMITS)
    admin = await asyncpg.connect(shop.admin_dsn)
    await admin.execute(VIEWS)
    await admin.close()
    await shop.govern()
    for name in ("TEST_DSN", "TEST_CLEAN_DSN"):
        monkeypatch.setenv(name, shop.environment[name])
    async with open_gate(shop.settings) as opened:
        yield opened


NUMBERS = itertools.count(1)


def call(sql, *, by="attacker"):
    return ToolCall(f"c{next(NUMBERS)}", Credential("stdio", "s", os_user=by), RunSql("query", sql))


def resident_mb(pid="self", field="VmRSS"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1_000
    return 0.0


class Watch:
    """What the others, the event loop and the database's processes felt meanwhile."""

    def __init__(self, gate, admin_dsn):
        self._gate = gate
        self._dsn = admin_dsn
        self.served, self.lags, self.backends = [], [], []

    async def others(self):
        while True:
            started = time.perf_counter()
            outcome = await self._gate.handle(call("SELECT 1 AS one", by="somebody-else"))
            assert isinstance(outcome, Answer), outcome
            self.served.append(time.perf_counter() - started)
            await asyncio.sleep(0.02)

    async def loop(self):
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            self.lags.append(time.perf_counter() - started - 0.001)

    async def database(self):
        admin = await asyncpg.connect(self._dsn)
        try:
            while True:
                pids = [
                    row["pid"]
                    for row in await admin.fetch(
                        "SELECT pid FROM pg_stat_activity"
                        " WHERE datname = current_database() AND application_name = 'hoop-mcp'"
                    )
                ]
                total = 0.0
                for pid in pids:
                    try:
                        total += resident_mb(pid, "RssAnon")
                    except OSError:
                        continue  # it ended meanwhile
                self.backends.append(total)
                await asyncio.sleep(0.1)
        finally:
            admin.terminate()

    @asynccontextmanager
    async def running(self):
        tasks = [asyncio.create_task(work()) for work in (self.others, self.loop, self.database)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(ended, asyncio.CancelledError), ended


async def test_bombs_leave_memory_flat_and_others_served(gate, shop):
    outcomes = Counter()
    warming = min(len(FAMILIES), MANY // 2)
    statements = bombs(MANY + warming)
    for _ in range(warming):
        await gate.handle(call(next(statements)[1]))
    gc.collect()
    before = resident_mb()
    took = {}
    async with Watch(gate, shop.admin_dsn).running() as watch:
        for name, sql in statements:
            started = time.perf_counter()
            outcome = await gate.handle(call(sql))
            took[name] = time.perf_counter() - started
            outcomes["answered" if isinstance(outcome, Answer) else outcome.code] += 1
        await asyncio.sleep(0.5)  # one more look at the database's processes
    gc.collect()
    grown = resident_mb() - before
    p95 = statistics.quantiles(watch.served, n=20)[-1]
    worst = max(took, key=took.get)
    print(
        f"{sum(outcomes.values())} bombs {dict(outcomes)}, the slowest {worst} {took[worst]:.1f} s;"
        f" process {before:.0f} MB {grown:+.0f}, backends at most {max(watch.backends):.0f} MB, at the end"
        f" {watch.backends[-1]:.0f}; {len(watch.served)} others p50 {statistics.median(watch.served) * 1e3:.0f} ms,"
        f" p95 {p95 * 1e3:.0f} ms; loop late by at most {max(watch.lags) * 1e3:.0f} ms,"
        f" p99 {statistics.quantiles(watch.lags, n=100)[-1] * 1e3:.0f} ms"
    )
    assert outcomes["HOOP199"] == 0, outcomes
    assert grown < PROCESS_GROWTH_MB
    assert max(watch.backends) < BACKENDS_MB
    assert watch.backends[-1] < BACKENDS_AFTER_MB
    assert p95 < OTHERS_P95_S
