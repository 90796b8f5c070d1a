"""Where an embedded server's cluster and sockets lie, and whom to believe about it.

What lies in these folders decides which server we talk to, so they are ours and nobody else can write them. The
direction is to refuse: a folder with too open a mode is a message with its mend, a planted server is a silent loss.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hoop_mcp.adapters import embedded_binaries, embedded_moving
from hoop_mcp.adapters.embedded_binaries import EmbeddedPostgresError

if sys.platform != "win32":
    from hoop_mcp.adapters import embedded_supervisor

if TYPE_CHECKING:
    from hoop_mcp.adapters.embedded_binaries import Account

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of ours is made in it, with owner and mode checked
_ROOM = 2**30  # bytes
_LONGEST_DATA = 900  # bytes; PostgreSQL's MAXPGPATH is 1024 and it appends names of its own
_LONGEST_SOCKET_FOLDER = 80  # bytes; a socket address holds 104 on macOS, 108 on Linux, its name takes 20


def passage(account: Account) -> int:
    """The mode of a folder on the way to the data: an account that is not ours passes through, nobody lists."""
    return 0o711 if account.dropped else 0o700


def own(folder: Path, account: Account) -> None:
    """Make or check a folder: ours, and written by nobody else, since what lies in it is believed."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
        folder.chmod(passage(account))
    facts = folder.lstat() if not folder.is_symlink() else folder.stat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise EmbeddedPostgresError(f"{folder} is not a folder of the account that runs this (uid {os.geteuid()})")
    if facts.st_mode & 0o022:
        raise EmbeddedPostgresError(f"{folder} can be written by other accounts: chmod go-w it")


def _read_record(record: Path) -> str:
    """The data folder that ``pg.json`` names, believed only where the file is ours alone."""
    facts = record.lstat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise EmbeddedPostgresError(f"{record} is not a file that only this account can write; remove it")
    try:
        data = json.loads(record.read_text())["data"]
    except (ValueError, KeyError, TypeError):
        data = None
    if not isinstance(data, str) or not data.startswith("/"):
        raise EmbeddedPostgresError(f"{record} does not say where the data lies; remove it to begin anew")
    return data


def short_folder(account: Account) -> str:
    """A folder for temporary things that the account reaches and whose paths are short enough for a socket."""
    for candidate in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - a folder of ours is made in it, with owner and mode checked
        place = Path(candidate)
        short = len(os.fsencode(candidate)) <= _LONGEST_SOCKET_FOLDER and place.is_dir()
        if short and os.access(place, os.W_OK) and embedded_binaries.reaches(account, place.resolve()):
            return candidate
    raise EmbeddedPostgresError("no temporary folder with a short path that the server's account can reach")


def passing_folder(account: Account) -> str:
    """Where data lies that dies with its server: in memory where there is room for it, else among temporary files.

    A cluster and each of its databases are hundreds of small files, which a busy disk takes a second to make. Without
    a cache the programs may have to lie beside the data, and memory is often mounted ``noexec``.
    """
    with contextlib.suppress(OSError):
        roomy = shutil.disk_usage(_MEMORY).free >= _ROOM and os.access(_MEMORY, os.W_OK)
        if roomy and embedded_binaries.reaches(account, _MEMORY) and embedded_binaries.cache_folder() is not None:
            return str(_MEMORY)
    return short_folder(account)


def cluster_home(folder: Path, account: Account) -> Path:
    """The folder of the cluster: inside PATH, or where ``pg.json`` says, or a new one.

    A copy of PATH is a database of its own: where its ``pg.json`` names the data of the original, that is copied. Where
    PATH was moved or copied to a place that the account cannot reach, the data in it moves to one that it can.
    Called under the lock of PATH.
    """
    inside, record = folder / "cluster", folder / "pg.json"
    if not inside.exists() and record.exists():
        home = Path(_read_record(record)).parent
        if not home.is_dir():
            raise EmbeddedPostgresError(f"{record} names {home}, which is gone; remove {record} to begin anew")
        own(home, account)
        if embedded_moving.belongs(home, folder):
            return home
        copied = _new_home(folder)
        try:
            embedded_moving.copy_cluster(home, copied, account)
            embedded_supervisor.write_record(record, {"data": str(copied / "data")})
        except BaseException:
            shutil.rmtree(copied, ignore_errors=True)
            raise
        return copied
    fits = len(os.fsencode(inside / "data")) <= _LONGEST_DATA
    if fits and embedded_binaries.reaches(account, folder):
        own(inside, account)
        return inside
    if inside.exists():
        return _moved_out(inside, record, account)
    return _new_home(folder)


def _new_home(folder: Path) -> Path:
    home = Path(tempfile.mkdtemp(prefix="cluster-", dir=embedded_binaries.state_folder()))
    embedded_moving.claim(home, folder)
    return home


def _moved_out(inside: Path, record: Path, account: Account) -> Path:
    """The new home of data that lies in PATH where the account cannot reach it; the server that runs there, if one does.

    ``pg.json`` names the new home before the old data goes, so that a move cut short loses nothing.
    """
    own(inside, account)
    if embedded_moving.in_use(inside):
        return inside  # the way there was closed while it ran; joining needs the socket alone
    home = _new_home(inside.parent)
    try:
        embedded_moving.copy_cluster(inside, home, account)
        embedded_supervisor.write_record(record, {"data": str(home / "data")})
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    left = inside.with_name("cluster.moved")
    shutil.rmtree(left, ignore_errors=True)
    inside.rename(left)  # in one step: half a cluster must not be taken for one
    shutil.rmtree(left, ignore_errors=True)
    return home
