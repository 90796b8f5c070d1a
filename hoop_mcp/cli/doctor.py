"""``hoop-mcp doctor``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from hoop_mcp.cli.options import config_option
from hoop_mcp.cli.printing import json_option, plain, print_json
from hoop_mcp.errors import NotBuiltYet

if TYPE_CHECKING:
    from pathlib import Path

    from hoop_mcp.wiring.examining import Check


@click.command()
@config_option
@click.option("--slack", is_flag=True, help="Check the Slack app too.")
@json_option
def doctor(config: Path, *, slack: bool, as_json: bool) -> int:
    """Check settings, logins against policy, journal, keys; one line each, with the mend."""
    if slack:
        raise NotBuiltYet("doctor --slack")
    checks = asyncio.run(_all(config))
    if as_json:
        print_json(
            {"checks": [{"state": c.state, "name": c.name, "says": c.says, "mend": c.mend or None} for c in checks]}
        )
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{check.state:<5} {check.name:<{width}}  {plain(check.says)}")
            if check.mend:
                print(f"{'':<5} {'':<{width}}    {plain(check.mend)}")
    return 1 if any(check.state == "MEND" for check in checks) else 0


async def _all(config: Path) -> list[Check]:
    from hoop_mcp.wiring.examining import examine

    return [check async for check in examine(config)]
