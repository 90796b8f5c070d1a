"""What the analysis of a statement costs beside a plain Parse of it: one run, interleaved, ratios.

A plain Parse is asyncpg's ``prepare`` of the same text on the same kind of connection (text codecs, inside a transaction),
without the trees printed. An analysis is everything before policy is asked: reading the text, Parse with both trees, the
facts from the catalogs, the trace. *New* statements were never sent before; the catalogs' facts are warm, as they are in a
server that runs. *Seen* is the same text a second time on the same connection. "Of best" compares the best of all rounds,
statement by statement: what is left of the ratio when the machine's other work is taken away.

``python benchmarks/analysis.py [--golden] [--rounds N] [--profile] [--json]``; the statements are the reads of the gauntlet's
corpus (tests/gauntlet), or the smaller ones of tests/golden/analyse.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import itertools
import json
import pstats
import random
import shutil
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import yaml

from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres
from hoop_mcp.adapters.postgres import PostgresDatabase
from hoop_mcp.adapters.postgres_session import _text_codecs
from hoop_mcp.adapters.reading_worker import ReadingWorker
from hoop_mcp.errors import Refused
from hoop_mcp.sql.catalogue import read_catalogue
from hoop_mcp.sql.resolved import Login
from hoop_mcp.terms import Statement

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1] / "tests"
GOLDEN = TESTS / "golden" / "analyse"
GAUNTLET = TESTS / "gauntlet"
PROMISED = {"new": 6.0, "seen": 1.5}


async def main() -> int:
    """Set up, measure, print; 1 where a promise is not kept."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=8)
    arguments.add_argument("--golden", action="store_true", help="the golden statements in place of the corpus")
    arguments.add_argument("--profile", action="store_true", help="print where the time of new statements goes")
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hoop-analysis-"))
    folder.chmod(0o755)
    try:
        async with AsyncExitStack() as stack:
            bench = await Bench.open(stack, GOLDEN_SOURCE if options.golden else CORPUS)
            figures = await bench.measure(options.rounds)
            if options.profile:
                await bench.profile()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures) if options.json else report(figures))
    return int(any(figures[kind]["ratio_p50"] > most for kind, most in PROMISED.items()))


class Source(NamedTuple):
    """A schema to load, and statements over it."""

    scripts: tuple[Path, ...]
    catalogue: Path
    search_path: tuple[str, ...]
    statements: Callable[[], list[str]]


class Bench:
    """The golden database, a connection for plain Parses, and the product's own way to an analysis."""

    def __init__(self, database: PostgresDatabase, plain: Any, statements: list[str]) -> None:
        self.database = database
        self.plain = plain
        self.statements = statements
        self.reading = ReadingWorker()
        self._numbers = itertools.count(1)

    @classmethod
    async def open(cls, stack: AsyncExitStack, source: Source) -> Bench:
        """Start a server, load the schema, and keep the statements that come through."""
        server = await asyncio.to_thread(EmbeddedPostgres().start)
        stack.push_async_callback(asyncio.to_thread, server.stop)
        admin = await asyncpg.connect(server.dsn())
        for script in source.scripts:
            await admin.execute(script.read_text("utf-8"))
        await admin.execute("CREATE ROLE bench LOGIN; GRANT SET ON PARAMETER log_min_messages TO bench")
        for schema in source.search_path:
            await admin.execute(
                f"GRANT USAGE ON SCHEMA {schema} TO bench; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO bench"
            )
        await admin.close()
        catalogue, faults = read_catalogue(source.catalogue.read_text("utf-8"), source.catalogue.name)
        if catalogue is None:
            raise SystemExit(str(faults))
        dsn = server.dsn(user="bench")
        database = await PostgresDatabase.open(
            "bench", dict.fromkeys(Login, dsn), search_path=source.search_path, catalogue=catalogue
        )
        stack.push_async_callback(database.close)
        plain = await asyncpg.connect(
            dsn, statement_cache_size=0, server_settings={"search_path": ", ".join(source.search_path)}
        )
        stack.push_async_callback(plain.close)
        _text_codecs(plain, database.catalog.types)
        bench = cls(database, plain, [])
        stack.push_async_callback(bench.reading.close)
        for sql in source.statements():
            with suppress(Refused, asyncpg.PostgresError):
                await bench.analyse(sql)
                bench.statements.append(sql)
        if not bench.statements:
            raise SystemExit("no statement came through")
        return bench

    async def analyse(self, sql: str) -> float:
        """Seconds from the text to the trace."""
        started = time.perf_counter()
        statement = await self.reading(sql)
        if not isinstance(statement, Statement):
            raise Refused("HOOP205", "This benchmark is about statements.")
        async with self.database.lease(Login.FULL) as lease:
            resolved = await lease.resolve(statement, 5_000)
            resolved.trace()
            taken = time.perf_counter() - started
        await self.settle()
        return taken

    async def parse(self, sql: str) -> float:
        """Seconds of a plain Parse, BEGIN and ROLLBACK not counted."""
        await self.plain.execute("BEGIN READ ONLY")
        started = time.perf_counter()
        prepared = await self.plain.prepare(sql, name=f"plain_{next(self._numbers)}")
        taken = time.perf_counter() - started
        del prepared
        await self.plain.execute("ROLLBACK")
        return taken

    async def settle(self) -> None:
        """Wait until the lease is given back, so that the next one gets the same connection."""
        while self.database._ending:  # noqa: SLF001 - a benchmark may look
            await asyncio.wait(self.database._ending)  # noqa: SLF001 - as above

    async def measure(self, rounds: int) -> dict[str, Any]:
        """Every statement anew in every round, in an order of its own: a comment makes it a text never sent before."""
        ratios: dict[str, list[float]] = {"new": [], "seen": []}
        taken: dict[str, list[float]] = {"parse": [], "new": [], "seen": []}
        best: dict[str, dict[str, float]] = {name: {} for name in taken}
        gc.collect()
        gc.freeze()
        for _ in range(rounds):
            for sql in random.sample(self.statements, len(self.statements)):
                text = f"{sql} /* {next(self._numbers)} */"
                steps = {"parse": self.parse, "new": self.analyse}
                got = {name: await steps[name](text) for name in random.sample(sorted(steps), 2)}
                got["seen"] = await self.analyse(text)
                for name, seconds in got.items():
                    taken[name].append(seconds)
                    best[name][sql] = min(seconds, best[name].get(sql, seconds))
                for name, quotients in ratios.items():
                    quotients.append(got[name] / got["parse"])
        figures: dict[str, Any] = {"statements": len(self.statements), "major": self.database.major}
        for name, taken_here in taken.items():
            figures[name] = {"us_p50": statistics.median(taken_here) * 1e6, "us_p95": quantile(taken_here) * 1e6}
        for name, quotients in ratios.items():
            calm = [best[name][sql] / best["parse"][sql] for sql in self.statements]
            figures[name]["ratio_p50"] = statistics.median(quotients)
            figures[name]["ratio_p95"] = quantile(quotients)
            figures[name]["ratio_of_best_p50"] = statistics.median(calm)
        return figures

    async def profile(self) -> None:
        """Where the time of new statements goes."""
        profiler = cProfile.Profile()
        for _ in range(5):
            for sql in self.statements:
                text = f"{sql} /* {next(self._numbers)} */"
                profiler.enable()
                await self.analyse(text)
                profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


def corpus() -> list[str]:
    """The reads of the gauntlet's corpus."""
    lines = (GAUNTLET / "corpus.jsonl").read_text("utf-8").splitlines()
    return [case["sql"] for case in map(json.loads, lines) if case["kind"] == "read"]


def golden() -> list[str]:
    """The statements of the golden analyses."""
    found = []
    for file in sorted(GOLDEN.glob("*.yaml")):
        cases = yaml.safe_load(file.read_text("utf-8"))
        found += [case["sql"] for case in cases if isinstance(case, dict) and isinstance(case.get("sql"), str)]
    return found


CORPUS = Source(
    (GAUNTLET / "schema.sql", GAUNTLET / "schema_extra.sql"),
    GAUNTLET / "policies" / "gauntlet.catalogue.yaml",
    ("app", "public"),
    corpus,
)
GOLDEN_SOURCE = Source((GOLDEN / "schema.sql",), GOLDEN / "catalogue.yml", ("lab", "public"), golden)


def quantile(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


def report(figures: dict[str, Any]) -> str:
    """A table for people."""
    lines = [
        f"{figures['statements']} statements, PostgreSQL {figures['major']}",
        f"{'':24}{'p50 us':>9}{'p95 us':>9}{'x Parse p50':>13}{'p95':>7}{'of best':>9}{'promised':>10}",
    ]
    for name, label in (("parse", "plain Parse"), ("new", "analysis, new"), ("seen", "analysis, seen")):
        row = figures[name]
        line = f"{label:24}{row['us_p50']:>9.0f}{row['us_p95']:>9.0f}"
        if name in PROMISED:
            line += (
                f"{row['ratio_p50']:>13.2f}{row['ratio_p95']:>7.2f}{row['ratio_of_best_p50']:>9.2f}{PROMISED[name]:>10}"
            )
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
