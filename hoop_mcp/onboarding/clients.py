"""Entries for MCP clients: what to put into their configuration, and putting it there without losing anything.

Facts about each client's file are its vendor's documentation, late 2026. A client starts its servers with a bare
environment and an unknown working directory, so every path in an entry is absolute.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hoop_mcp.errors import HoopError

if TYPE_CHECKING:
    from collections.abc import Mapping

ENTRY = "hoop"


@dataclass(frozen=True, slots=True)
class McpClient:
    """One client: the key its servers live under, and whether the agent in it has a shell of its own.

    An agent with a shell under the server's account could read the settings and the secrets they name, so for such
    clients a server on stdio protects little; see :data:`WARNING`.
    """

    name: str
    key: str
    has_shell: bool
    names_type: bool = False


CLIENTS: Mapping[str, McpClient] = {
    client.name: client
    for client in (
        McpClient("claude-desktop", "mcpServers", has_shell=False),
        McpClient("claude-code", "mcpServers", has_shell=True, names_type=True),
        McpClient("cursor", "mcpServers", has_shell=True),
        McpClient("vscode", "servers", has_shell=True, names_type=True),
    )
}

WARNING = (
    "warning: {client} has a shell. On stdio the server runs under the same account, so the agent could read the "
    "settings and the secrets they name, and go around the gateway. Until `serve --http` is built, use this to try "
    "hoop-mcp out, not to protect data."
)


class ClientFileError(HoopError):
    """A client's configuration cannot be merged without losing something; it was left as it is."""


@dataclass(frozen=True, slots=True)
class Written:
    """What :func:`write` did: the file, its copy from before (None if it is new), whether an entry was replaced."""

    path: Path
    backup: Path | None
    replaced: bool


def stdio_entry(client: McpClient, config: Path) -> dict[str, object]:
    """The server's entry for ``client``, as JSON values."""
    command, *args = executable()
    entry: dict[str, object] = {"type": "stdio"} if client.names_type else {}
    return entry | {"command": command, "args": [*args, "serve", "--config", str(config.absolute())]}


def executable() -> tuple[str, ...]:
    """The command that starts this very installation, by absolute path."""
    beside = Path(sys.executable).absolute().parent / "hoop-mcp"
    if os.access(beside, os.X_OK):
        return (str(beside),)
    return (str(Path(sys.executable).absolute()), "-m", "hoop_mcp")


def document(client: McpClient, entry: Mapping[str, object]) -> dict[str, object]:
    """The entry inside the structure the client's file has: what to paste into an empty one."""
    return {client.key: {ENTRY: dict(entry)}}


def file_of(client: McpClient, home: Path, project: Path) -> Path:
    """Where the client keeps its servers: for this account, or for coding agents the project's own file."""
    match client.name:
        case "claude-desktop" if sys.platform == "darwin":
            return home / "Library" / "Application Support" / "Claude" / "claude_desktop_config.json"
        case "claude-desktop":
            return home / ".config" / "Claude" / "claude_desktop_config.json"
        case "claude-code":
            return project / ".mcp.json"
        case "cursor":
            return home / ".cursor" / "mcp.json"
        case _:
            return project / ".vscode" / "mcp.json"


def write(client: McpClient, entry: Mapping[str, object], path: Path) -> Written:
    """Put the entry into the client's file, keeping everything else, its order, its mode and a copy from before.

    Raises:
        ClientFileError: the file is not plain JSON of the expected shape (a comment counts: it would be lost).
    """
    path = Path(os.path.realpath(path))  # through a link into a dotfiles folder, whose file is then the one replaced
    whole: dict[str, object] = {}
    before = path.read_bytes() if path.exists() else None
    if before is not None:
        whole = _parse(before, path)
    servers = whole.setdefault(client.key, {})
    if not isinstance(servers, dict):
        raise ClientFileError(f"{path}: {client.key} is not an object; it was left as it is")
    backup = None if before is None else _keep(path, before)
    replaced = ENTRY in servers
    servers[ENTRY] = dict(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    return Written(path, backup, replaced)


def _parse(text: bytes, path: Path) -> dict[str, object]:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError
        return dict(pairs)

    def exact(number: str) -> object:
        if repr(float(number)) != number:  # 1.10 or 1e400 would come back as something else
            raise ValueError
        return float(number)

    def never(_: str) -> object:
        raise ValueError

    try:
        whole = json.loads(
            text.decode("utf-8-sig") or "{}", object_pairs_hook=once, parse_float=exact, parse_constant=never
        )
    except (ValueError, RecursionError):
        raise ClientFileError(
            f"{path}: not plain JSON, or JSON with comments or repeated names that merging would lose; it was left as "
            "it is. Paste the entry by hand: run the command without --write"
        ) from None
    if not isinstance(whole, dict):
        raise ClientFileError(f"{path}: holds no JSON object; it was left as it is")
    return whole


def _keep(path: Path, before: bytes) -> Path:
    number = 0
    while True:
        backup = path.with_name(f"{path.name}.bak{number or ''}")
        try:
            with backup.open("xb") as copy:
                copy.write(before)
        except FileExistsError:
            number += 1
            continue
        shutil.copymode(path, backup)
        return backup


def _replace(path: Path, text: str) -> None:
    """Write beside, then rename: the file is the old one or the new one at every moment."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        else:
            Path(beside).chmod(0o600)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
