"""The hoop-mcp command: one file per command group; parses, calls, prints; no logic.

A command's file is imported when the command runs, so that ``--help`` and a client's start of ``serve`` wait for
nothing they do not need. Exit codes: 0 done and fine, 1 done and something was found, 2 it could not be done. A
command returns 1 to say that it found something; every exception becomes a 2 in one place, :mod:`.endings`.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import click

from hoop_mcp import __version__
from hoop_mcp.cli.endings import ending

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILT: Mapping[str, tuple[str, str]] = {
    "serve": ("hoop_mcp.cli.serve:serve", "Serve MCP on stdio."),
    "demo": ("hoop_mcp.cli.demo:demo", "Show an agent at work in a governed shop."),
    "doctor": ("hoop_mcp.cli.doctor:doctor", "Check settings, logins, journal and keys."),
    "mask": ("hoop_mcp.cli.mask:mask", "Mask a CSV or JSON-lines file."),
    "client-config": ("hoop_mcp.cli.client_config:client_config", "Print or write an MCP client's entry."),
    "policy": ("hoop_mcp.cli.policy:policy", "Check, test and explain policies."),
    "journal": ("hoop_mcp.cli.journal:journal", "Verify and read the journal."),
}
"""Command name to where it lives and what the overview says of it, in the overview's order."""

LATER: Mapping[str, str] = {
    "init": "Inspect a database and write settings.",
    "catalogue": "Profile a database and propose a catalogue.",
    "approvals": "The reviewer's desk.",
    "report": "Accountability reports.",
    "ner": "Install name recognition.",
    "token": "Make and revoke access tokens.",
    "reviewer": "Add and remove reviewers.",
}
"""Names the surface promises whose work has not landed: they exist, and exit 2."""


class Commands(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every name of the surface, built or not."""
        return [*BUILT, *LATER]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command, imported now."""
        if cmd_name in LATER:
            from hoop_mcp.cli.later import not_built

            return not_built(cmd_name, LATER[cmd_name])
        if cmd_name not in BUILT:
            return None
        module, _, attribute = BUILT[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The overview, from the table alone: asking each command would import them all."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in BUILT.items()])
        with formatter.section("Not built yet"):
            formatter.write_dl(list(LATER.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hoop-mcp", message="%(prog)s %(version)s")
def root() -> None:
    """Let AI agents use your PostgreSQL without trusting them."""


def main(args: list[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        code = root.main(args=args, prog_name="hoop-mcp", standalone_mode=False)
    except BaseException as raised:
        sys.exit(ending(raised))
    sys.exit(code if isinstance(code, int) else 0)
