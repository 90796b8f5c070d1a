"""``hoop-mcp demo``."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click

from hoop_mcp.cli.printing import json_option, print_json, say
from hoop_mcp.errors import NotBuiltYet

_TITLES = {
    "masked-read": "An agent answers a ticket",
    "refused-probe": "A planted instruction makes it fish for an address",
    "journal-verified": "The journal proves it",
}


@click.command()
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), help="Keep everything in this folder."
)
@click.option("--serve", is_flag=True, help="Keep the folder and print what a client needs to use it.")
@click.option("--http", metavar="HOST:PORT", help="With --serve: over HTTP.")
@json_option
def demo(folder: Path | None, *, serve: bool, http: str | None, as_json: bool) -> int:
    """Show an agent at work in a governed shop: an embedded PostgreSQL, a real MCP client, nobody real.

    Without --dir everything lies in a temporary folder and is removed at the end.
    """
    if http is not None:
        raise NotBuiltYet("demo --http")
    if folder is None and serve:
        folder = Path("demo")
    if folder is not None:
        return _demo(folder.absolute(), serve=serve, as_json=as_json, kept=True)
    with tempfile.TemporaryDirectory(prefix="hoop-demo-") as temporary:
        return _demo(Path(temporary), serve=False, as_json=as_json, kept=False)


def _demo(folder: Path, *, serve: bool, as_json: bool, kept: bool) -> int:
    from hoop_mcp.onboarding.demo import prepare, run

    about = asyncio.run(prepare(folder, say=say))
    if not as_json:
        print(f"hoop-mcp demo · {about}\n")
    steps = asyncio.run(run(folder))
    if as_json:
        print_json({"steps": [{"name": step.name, "ok": step.ok, "detail": step.detail} for step in steps]})
    else:
        for number, step in enumerate(steps, start=1):
            print(f"{number}  {_TITLES[step.name]}{'' if step.ok else '   FAILED'}")
            print("".join(f"   {line}\n" for line in step.lines))
        if kept:
            print(
                f"All of it: {folder} · try it: hoop-mcp policy explain --config {folder}/hoop.yaml --database shop …"
            )
    if serve:
        from hoop_mcp.onboarding.clients import CLIENTS, document, stdio_entry

        client = CLIENTS["claude-desktop"]
        say("Paste this into your client's configuration; the server starts with the client.")
        print_json(document(client, stdio_entry(client, folder / "hoop.yaml")))
    return 0 if all(step.ok for step in steps) else 1
