"""``hoop-mcp client-config``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hoop_mcp.cli.options import config_option
from hoop_mcp.cli.printing import say

CLIENT_NAMES = ("claude-desktop", "claude-code", "cursor", "vscode")


@click.command("client-config")
@click.argument("client", type=click.Choice(CLIENT_NAMES))
@config_option
@click.option("--stdio", is_flag=True, help="Stdio on purpose: no warning for agents that have a shell.")
@click.option("--write", "into_file", is_flag=True, help="Merge the entry into the client's own file.")
def client_config(client: str, config: Path, *, stdio: bool, into_file: bool) -> None:
    """Print the entry that makes CLIENT start this server, or write it into CLIENT's configuration."""
    from hoop_mcp.onboarding import clients

    chosen = clients.CLIENTS[client]
    entry = clients.stdio_entry(chosen, config)
    if chosen.has_shell and not stdio:
        say(clients.WARNING.format(client=client))
    if not config.is_file():
        say(f"warning: {config.absolute()} does not exist yet")
    if not into_file:
        print(json.dumps(clients.document(chosen, entry), indent=2, ensure_ascii=False))
        return
    written = clients.write(chosen, entry, clients.file_of(chosen, Path.home(), Path.cwd()))
    say(f"{written.path}: {'replaced' if written.replaced else 'added'} the server {clients.ENTRY!r}")
    if written.backup is not None:
        say(f"{written.backup}: as it was before")
    say(f"Secrets that settings take from ${{env:NAME}} must be set where {client} starts; restart it to connect.")
