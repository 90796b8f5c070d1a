"""Data that lies apart from its folder, and what happens to it when the folder is copied or moved.

``owner.json`` in the home of a cluster says to which folder it belongs: path, device and inode. A folder whose
``pg.json`` names a home that belongs to another folder is a copy of that one. Two folders never share a cluster in
silence: whoever tries something out on a copy would change the original.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

from hoop_mcp.adapters.embedded_binaries import EmbeddedPostgresError
from hoop_mcp.adapters.embedded_cluster import copy
from hoop_mcp.adapters.embedded_locks import attempt, open_lock

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

    from hoop_mcp.adapters.embedded_binaries import Account

_TRIES = 3
_CONTROL = "global/pg_control"


def claim(home: Path, folder: Path) -> None:
    """Write down that the cluster belongs to the folder."""
    facts = folder.stat()
    said = {"path": str(folder), "device": facts.st_dev, "inode": facts.st_ino}
    part = home / f".owner.{os.getpid()}"
    part.write_text(json.dumps(said) + "\n")
    part.replace(home / "owner.json")


def belongs(home: Path, folder: Path) -> bool:
    """Whether the cluster is the folder's; one without an owner, or whose owner is gone, becomes so.

    The same inode under another name is a folder that was moved. The same name with another inode is one that was
    removed and put back. Anything else is a copy, as long as the original stands and names this cluster.
    """
    try:
        owner = json.loads((home / "owner.json").read_text())
        path, inode = str(owner["path"]), (int(owner["device"]), int(owner["inode"]))
    except (OSError, ValueError, KeyError, TypeError):
        claim(home, folder)
        return True
    facts = folder.stat()
    if (facts.st_dev, facts.st_ino) != inode and path != str(folder) and _names(path, inode, home):
        return False
    if (path, inode) != (str(folder), (facts.st_dev, facts.st_ino)):
        claim(home, folder)
    return True


def _names(path: str, inode: tuple[int, int], home: Path) -> bool:
    """Whether the owner still stands at its path and its ``pg.json`` names this home."""
    try:
        facts = os.stat(path)  # noqa: PTH116 - of what a file says, not of a path of ours
        with open(os.path.join(path, "pg.json"), encoding="utf-8") as record:  # noqa: PTH118, PTH123 - as above
            data = json.load(record)["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return (facts.st_dev, facts.st_ino) == inode and data == str(home / "data")


def in_use(home: Path) -> bool:
    """Whether a server, or its dying processes, hold the cluster."""
    lock = open_lock(home / "server")
    try:
        return not attempt(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)


def copy_cluster(source: Path, home: Path, account: Account) -> None:
    """Copy the data of one cluster into another home; the source may be serving.

    While no server runs, its lock is held meanwhile. Under a running one the copy is what a crash would have left
    (PostgreSQL, "Reliability and the Write-Ahead Log"): ``pg_control`` is copied first and the log last, so that recovery
    begins at a checkpoint that all of the log since is there for. Should a checkpoint come in between, the log may have
    been cut, and the copy is made again.

    Raises:
        EmbeddedPostgresError: the source never held still.
    """
    lock = open_lock(source / "server")
    try:
        attempt(lock, fcntl.LOCK_EX)
        for _ in range(_TRIES):
            if _copied(source / "data", home / "part", account):
                (home / "part").rename(home / "data")
                return
            shutil.rmtree(home / "part", ignore_errors=True)
    finally:
        os.close(lock)
    raise EmbeddedPostgresError(
        f"the data in {source} changes too fast to be copied: end the server that uses it, then start again"
    )


def _copied(data: Path, target: Path, account: Account) -> bool:
    before = (data / _CONTROL).read_bytes()
    try:
        copy(data, target, account)
        shutil.rmtree(target / "pg_wal")
        copy(data / "pg_wal", target / "pg_wal", account)
    except (FileNotFoundError, shutil.Error):
        return False  # a file went while its folder was read
    (target / _CONTROL).write_bytes(before)
    with contextlib.suppress(OSError):
        (target / "postmaster.pid").unlink()
    return (data / _CONTROL).read_bytes() == before
