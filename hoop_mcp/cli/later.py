"""Commands that have a name already: they take anything, do nothing, and say so."""

from __future__ import annotations

import click

from hoop_mcp.errors import NotBuiltYet


def not_built(name: str, says: str, *, group: str = "") -> click.Command:
    """A command that exits 2 with ``not built yet: GROUP NAME`` whatever its arguments."""

    def run(rest: tuple[str, ...]) -> None:
        sub = f" {rest[0]}" if not group and rest and not rest[0].startswith("-") and rest[0].isalnum() else ""
        raise NotBuiltYet(f"{group} {name}{sub}".lstrip())

    return click.Command(
        name,
        callback=run,
        params=[click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)],
        help=f"{says} Not built yet.",
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
