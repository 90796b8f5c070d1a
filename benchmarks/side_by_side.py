"""hoop-mcp beside raw asyncpg and beside a bare MCP server that runs the same SQL unchecked: one run, ratios.

Everything is asked in turn, in an order shuffled anew each round, over stdio with the MCP SDK's own client; raw asyncpg
is called in this process. The machine's noise falls on all of them alike, so read the ratios, not the milliseconds.
``python benchmarks/side_by_side.py [--rounds N] [--json]``
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from hoop_mcp.onboarding import assets
from hoop_mcp.onboarding.shop import ShopSize, seed
from hoop_mcp.wiring.embedded import embedded_database
from hoop_mcp.wiring.policies import load_governance
from hoop_mcp.wiring.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HERE = Path(__file__).parent
SIZE = ShopSize(customers=4_000, orders=12_000, tickets=500, employees=10)
JOINED = (
    "SELECT o.id, o.number, c.name, c.email, c.phone, c.iban, c.street, o.status, o.total, o.placed_at"
    " FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id > {skip} ORDER BY o.id LIMIT {rows}"
)
# name -> (statement by a counter that makes it new, rows, calls in a round)
QUERIES: dict[str, tuple[Callable[[int], str], int, int]] = {
    "SELECT 1": (lambda _: "SELECT 1 AS one", 1, 20),
    "100 x 10": (lambda _: JOINED.format(skip=0, rows=100), 100, 15),
    "10,000 x 10": (lambda _: JOINED.format(skip=0, rows=10_000), 10_000, 2),
    "SELECT n, new each time": (lambda n: f"SELECT {n} AS one", 1, 20),
    "100 x 10, new each time": (lambda n: JOINED.format(skip=n % 1_000, rows=100), 100, 15),
}
IN_FLIGHT = 8
SETTINGS = """\
databases:
  shop: {dsn: "embedded:postgres", search_path: [public], catalogue: policies/shop.catalogue.yaml}
policies: policies/
identity: {local: {roles: [bench], purposes: [measuring]}}
journal: {path: journal.db, keys: keys/}
"""


async def main() -> None:
    """Set up, measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=8)
    arguments.add_argument("--seconds", type=float, default=1.5, help="of eight in flight, a round")
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hoop-bench-"))
    try:
        async with AsyncExitStack() as stack:
            asked = await _set_up(stack, folder)
            figures = await _measure(asked, options.rounds, options.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures) if options.json else _report(figures, options.rounds))


async def _set_up(stack: AsyncExitStack, folder: Path) -> dict[str, Callable[[str, int], Awaitable[None]]]:
    policies = folder / "policies"
    policies.mkdir()
    shutil.copy(HERE / "governance" / "bench.yaml", policies)
    catalogue = assets.policies().joinpath("shop", "shop.catalogue.yaml").read_text("utf-8")
    purposes = "purposes:\n  measuring: {legal_basis: none, recipients: [nobody], retention: 1d, transfers: none}\n"
    (policies / "shop.catalogue.yaml").write_text(catalogue.replace("purposes:\n", purposes, 1))
    (folder / "hoop.yaml").write_text(SETTINGS)
    database = await stack.enter_async_context(embedded_database(folder / "postgres", "shop"))
    await seed(database.admin_dsn, SIZE)
    decided_by, catalogues = load_governance(load_settings(folder / "hoop.yaml"))
    await database.govern(catalogues["shop"], decided_by)
    connection = await asyncpg.connect(database.admin_dsn)
    await connection.execute("ANALYZE")
    stack.push_async_callback(connection.close)

    async def raw(sql: str, rows: int) -> None:
        found = await pool.fetch(sql)
        assert len(found) == rows

    pool = await stack.enter_async_context(asyncpg.create_pool(database.admin_dsn, min_size=2, max_size=10))
    environment = {**os.environ, "BARE_DSN": database.admin_dsn}
    asked: dict[str, Callable[[str, int], Awaitable[None]]] = {"raw asyncpg": raw}
    for name, args in {
        "bare server": [str(HERE / "bare_server.py")],
        "hoop-mcp": ["-m", "hoop_mcp", "serve", "--config", str(folder / "hoop.yaml")],
    }.items():
        server = StdioServerParameters(command=sys.executable, args=args, env=environment)
        client = await stack.enter_async_context(Client(server))
        asked[name] = _asks(client, governed=name == "hoop-mcp")
    return asked


def _asks(client: Any, *, governed: bool) -> Callable[[str, int], Awaitable[None]]:
    async def ask(sql: str, rows: int) -> None:
        arguments: dict[str, Any] = {"sql": sql, "max_rows": rows} if governed else {"sql": sql}
        result = await client.call_tool("query", arguments)
        if result.is_error:
            raise SystemExit(f"refused: {result.content}")
        if result.structured_content is not None and "rows" in result.structured_content:
            assert len(result.structured_content["rows"]) == rows

    return ask


async def _measure(
    asked: dict[str, Callable[[str, int], Awaitable[None]]], rounds: int, seconds: float
) -> dict[str, Any]:
    number = count(1)
    taken: dict[str, dict[str, list[float]]] = {query: {name: [] for name in asked} for query in QUERIES}
    rates: dict[str, dict[str, list[float]]] = {q: {name: [] for name in asked} for q in ("SELECT 1", "100 x 10")}
    for statement, rows, _ in QUERIES.values():
        for ask in asked.values():
            for _ in range(3):
                await ask(statement(next(number)), rows)
    gc.collect()
    gc.freeze()
    gc.disable()  # the client's collector would fall on whoever happens to be asked
    for _ in range(rounds):
        for query, (statement, rows, calls) in QUERIES.items():
            for _ in range(calls):
                order = list(asked.items())
                random.shuffle(order)
                for name, ask in order:
                    sql = statement(next(number))
                    started = time.perf_counter()
                    await ask(sql, rows)
                    taken[query][name].append((time.perf_counter() - started) * 1000)
                if rows > 1_000:
                    gc.collect()
        for query in rates:
            statement, rows, _ = QUERIES[query]
            order = list(asked.items())
            random.shuffle(order)
            for name, ask in order:
                rates[query][name].append(await _rate(ask, statement(0), rows, seconds))
    return {
        "latency_ms": {
            query: {name: {"p50": _percentile(times, 50), "p95": _percentile(times, 95)} for name, times in by.items()}
            for query, by in taken.items()
        },
        "calls_per_second": {
            query: {name: _percentile(each, 50) for name, each in by.items()} for query, by in rates.items()
        },
    }


async def _rate(ask: Callable[[str, int], Awaitable[None]], sql: str, rows: int, seconds: float) -> float:
    done = 0
    started = time.perf_counter()

    async def one() -> None:
        nonlocal done
        while time.perf_counter() - started < seconds:
            await ask(sql, rows)
            done += 1

    await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - started)


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))], 3)


def _report(figures: dict[str, Any], rounds: int) -> str:
    lines = [
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {rounds} rounds, interleaved and shuffled.",
        "Five of ten columns are masked. Ratios are to the bare MCP server of the same run.",
        "",
        "| one at a time | raw asyncpg p50 | bare p50 / p95 ms | hoop-mcp p50 / p95 ms | p50 ratio | p95 ratio |",
        "|---|---|---|---|---|---|",
    ]
    for query, by in figures["latency_ms"].items():
        raw, bare, ours = by["raw asyncpg"], by["bare server"], by["hoop-mcp"]
        lines.append(
            f"| {query} | {raw['p50']:.2f} | {bare['p50']:.2f} / {bare['p95']:.2f} | {ours['p50']:.2f} / {ours['p95']:.2f}"
            f" | **{ours['p50'] / bare['p50']:.2f}** | {ours['p95'] / bare['p95']:.2f} |"
        )
    lines += ["", f"| {IN_FLIGHT} in flight | bare calls/s | hoop-mcp calls/s | ratio |", "|---|---|---|---|"]
    for query, rates in figures["calls_per_second"].items():
        bare, ours = rates["bare server"], rates["hoop-mcp"]
        lines.append(f"| {query} | {bare:.0f} | {ours:.0f} | **{ours / bare:.2f}** |")
    return "\n".join(lines)


if __name__ == "__main__":
    asyncio.run(main())
