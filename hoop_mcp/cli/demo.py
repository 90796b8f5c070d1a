"""``hoop-mcp demo``."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hoop_mcp.cli.printing import json_option, print_json, say
from hoop_mcp.errors import NotBuiltYet

if TYPE_CHECKING:
    from hoop_mcp.onboarding.demo import Step

_TITLES = {
    "masked-read": "An agent answers a ticket",
    "refused-probe": "A planted instruction makes it fish for an address",
    "journal-verified": "The journal proves it",
}


@click.command()
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), help="Keep everything in this folder."
)
@click.option(
    "--serve",
    is_flag=True,
    help="Keep it running until stdin closes or Ctrl-C, and print what a client needs to use it.",
)
@click.option("--http", metavar="HOST:PORT", help="With --serve: over HTTP.")
@json_option
def demo(folder: Path | None, *, serve: bool, http: str | None, as_json: bool) -> int:
    """Show an agent at work in a governed shop: an embedded PostgreSQL, a real MCP client, nobody real.

    Without --dir everything lies in a temporary folder and is removed at the end.
    """
    if http is not None:
        raise NotBuiltYet("demo --http")
    if folder is not None:
        return _demo(folder.absolute(), serve=serve, as_json=as_json, kept=True)
    with tempfile.TemporaryDirectory(prefix="hoop-demo-") as temporary:
        return _demo(Path(temporary), serve=serve, as_json=as_json, kept=False)


def _demo(folder: Path, *, serve: bool, as_json: bool, kept: bool) -> int:
    from hoop_mcp.onboarding.demo import prepare, run

    about = asyncio.run(prepare(folder, say=say))
    if not as_json:
        print(f"hoop-mcp demo · {about}\n")
    steps = asyncio.run(run(folder))
    client = _client(folder) if serve else None
    if as_json:
        told = [{"name": step.name, "ok": step.ok, "detail": step.detail} for step in steps]
        print_json({"steps": told} if client is None else {"steps": told, "client": client})
    else:
        _print(steps)
        if kept:
            print("\n".join(_try(folder)))
        if client is not None:
            say("Paste this into your client's configuration:")
            print_json(client)
    if serve:
        _serve(folder)
    return 0 if all(step.ok for step in steps) else 1


def _print(steps: list[Step]) -> None:
    for number, step in enumerate(steps, start=1):
        print(f"{number}  {_TITLES[step.name]}{'' if step.ok else '   FAILED'}")
        print("".join(f"   {line}\n" for line in step.lines))


def _client(folder: Path) -> dict[str, object]:
    from hoop_mcp.onboarding.clients import CLIENTS, document, stdio_entry

    client = CLIENTS["claude-desktop"]
    return document(client, stdio_entry(client, folder / "hoop.yaml"))


def _try(folder: Path) -> list[str]:
    """Commands to paste, wherever this installation and the folder lie."""
    from hoop_mcp.onboarding.clients import executable

    command = shlex.join(_near(part) for part in executable())
    config = shlex.quote(_near(str(folder / "hoop.yaml")))
    probe = "SELECT name, email FROM customers WHERE id = 7"
    return [
        f"All of it lies in {folder}. Try it:",
        f'  {command} policy explain --config {config} --database shop --as support-agent "{probe}"',
        f"  {command} journal tail --config {config}",
        f"  {command} journal verify --config {config}",
        f"  {command} doctor --config {config}",
        f"  {command} client-config claude-desktop --config {config}",
    ]


def _near(path: str) -> str:
    """The path from here, where it lies below."""
    here = f"{Path.cwd()}/"
    return path.removeprefix(here) if path.startswith(here) and path != here else path


def _serve(folder: Path) -> None:
    """Keep the database up until input ends or somebody interrupts; each client starts its own server beside it."""
    from hoop_mcp.wiring.embedded import kept_running

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    with kept_running(folder / "postgres"):
        say("Running; ends when stdin closes, or with Ctrl-C.")
        try:
            while os.read(sys.stdin.fileno(), 65_536):
                pass
        except KeyboardInterrupt:
            say("")
