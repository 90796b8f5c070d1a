"""Many statements, for ``make fuzz``: progress as it goes, a table at the end, and every difference made small."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING

from property.noninterference.campaign import HEADING, Tally, run
from property.noninterference.line import Line
from property.noninterference.shrink import shrink
from property.noninterference.twins import WORLDS, make_twins, start_server
from property.noninterference.vocabulary import learn

if TYPE_CHECKING:
    from property.noninterference.line import Pair
    from property.noninterference.statements import Statement

    from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres

_SHOWN = 10


async def _world(server: EmbeddedPostgres, name: str, *, seed: int, count: int, until: float) -> Tally:
    world = WORLDS[name]()
    line = Line(world, await make_twins(server, world))
    started = time.monotonic()

    def told(tally: Tally) -> bool:
        if tally.generated % 500 == 0:
            pace = tally.generated / (time.monotonic() - started)
            print(f"{name:<9} {tally.row()}   {pace:.0f}/s", file=sys.stderr, flush=True)
        return time.monotonic() < until

    try:
        tally = await run(line, await learn(line.sides[0].database), seed=seed, count=count, told=told)
        for statement, _ in tally.different[:_SHOWN]:
            await _tell(line, statement)
    finally:
        await line.close()
    return tally


async def _tell(line: Line, statement: Statement) -> None:
    async def differs(sql: str) -> bool:
        pair = await line.ask(sql, statement.tool)
        return pair.allowed and not pair.same

    small = await shrink(statement.sql, differs)
    pair: Pair = await line.ask(small, statement.tool)
    print(
        f"\nDIFFERENT ({statement.tool}): {small}\n  one:   {pair.one.told[:400]!r}\n  other: {pair.other.told[:400]!r}"
    )
    print(f"  made from: {statement.sql}")


async def _all(server: EmbeddedPostgres, options: argparse.Namespace) -> int:
    until = time.monotonic() + options.minutes * 60
    rows, different = [], 0
    worlds = [name for name in WORLDS if name != "shop" or int(server.version.split(".")[0]) >= 15]
    for place, name in enumerate(worlds):
        left = until - time.monotonic()
        share = time.monotonic() + left / (len(worlds) - place)
        tally = await _world(server, name, seed=options.seed, count=options.count // len(worlds), until=share)
        rows.append(f"{name:<9} {tally.row()}")
        different += len(tally.different)
        codes = ", ".join(f"{code} {number}" for code, number in tally.codes.most_common())
        rows.append(f"{'':<9} not allowed: {codes}")
    print(f"\nPostgreSQL {server.version}, seed {options.seed}\n{'world':<9} {HEADING}")
    print("\n".join(rows))
    return 1 if different else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="noninterference", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="statements in all")
    parser.add_argument("--seed", type=int, default=20_260_901)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop before the count is reached")
    options = parser.parse_args()
    server = start_server()
    try:
        return asyncio.run(_all(server, options))
    finally:
        server.stop()


if __name__ == "__main__":
    raise SystemExit(main())
